//! Who is in the cluster, and all quorum arithmetic (thesis 3.4, 3.5, 4, 6.4): nothing outside of this file counts a
//! majority.
//!
//! Two majorities of the same voters share a server. Election safety, commitment and read rounds all rest on that
//! one fact, so the counting stands in one place, under an exhaustive test.
//!
//! While voters change, two sets of them are in effect at once (joint consensus, thesis 4.3): `voters`, who will vote,
//! and `outgoing`, who voted before. Then everything takes a majority of *both*, so that it shares a server with any
//! majority of either, whichever of the two a server knows of. *Learners* are sent the log and never count (4.2.1).
//!
//! ```text
//!   [1 2 3]                  voters
//!   [1 2 3]+[4]              and a learner
//!   [1 2 3]→[1 2 4]          joint: 1 and 2 vote in both, 3 is outgoing
//!   [1 2 3]→[1 2 4]+[3]      joint, and 3 will be a learner: until then it votes
//! ```
//!
//! The bytes of a membership stand in `bytes`, which of those in a log is in effect in `history`.

use alloc::{borrow::Cow, collections::BTreeSet, vec::Vec};
use core::fmt;

use crate::{
    instruments::{Mutant, mutant},
    types::NodeId,
};

mod bytes;
mod history;

pub(crate) use history::History;

/// The members of a cluster: lists in ascending order, nobody twice in one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    voters: Vec<NodeId>,
    outgoing: Vec<NodeId>,
    learners: Vec<NodeId>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberRole {
    /// Votes and counts, and goes on to.
    Voter,
    /// Votes and counts until the change under way is done.
    Outgoing,
    /// Is sent the log; neither votes nor counts.
    Learner,
    /// Is no member any more, and is sent the log only until it has learned so.
    Removed,
}

impl MemberRole {
    /// Its name, for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Outgoing => "outgoing",
            Self::Learner => "learner",
            Self::Removed => "removed",
        }
    }
}

/// Why this is no membership.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MembershipError(&'static str);

impl MembershipError {
    /// The reason, without the rest of the sentence.
    pub fn reason(&self) -> &'static str {
        self.0
    }
}

impl fmt::Display for MembershipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "this is no membership: {}", self.0)
    }
}

impl core::error::Error for MembershipError {}

impl Membership {
    /// Most members, of whatever role. Every one of them is sent everything, and every majority is counted among them.
    pub const MOST: usize = 64;

    /// These voters and learners, in any order.
    pub fn new(voters: &[NodeId], learners: &[NodeId]) -> Result<Self, MembershipError> {
        let sorted = |nodes: &[NodeId]| {
            let mut nodes = nodes.to_vec();
            nodes.sort_unstable();
            nodes
        };
        Self { voters: sorted(voters), outgoing: Vec::new(), learners: sorted(learners) }.checked()
    }

    /// Of a server that is not yet told who is in its cluster: nobody.
    pub(crate) const fn nobody() -> Self {
        Self { voters: Vec::new(), outgoing: Vec::new(), learners: Vec::new() }
    }

    /// This membership, if it is one.
    fn checked(self) -> Result<Self, MembershipError> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        let ascends = |list: &&Vec<NodeId>| list.is_sorted_by(|a, b| a < b);
        let wrong = [
            (self.voters.is_empty(), "nobody votes"),
            (lists.iter().any(|list| list.contains(&NodeId(0))), "zero is not a server"),
            (!lists.iter().all(ascends), "a server is listed twice, or out of order"),
            (self.learners.iter().any(|node| self.voters.contains(node)), "a voter is a learner too"),
            (self.all().count() > Self::MOST, "it has too many members"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(MembershipError(why)),
            None => Ok(self),
        }
    }

    /// Who votes, and goes on to.
    pub fn voters(&self) -> &[NodeId] {
        &self.voters
    }

    /// Who voted before the change under way; empty when there is none.
    pub fn outgoing(&self) -> &[NodeId] {
        &self.outgoing
    }

    /// Who is sent the log and does not count. An outgoing voter may be here too, and is a learner once the change is done.
    pub fn learners(&self) -> &[NodeId] {
        &self.learners
    }

    /// Whether voters are being changed.
    pub fn is_joint(&self) -> bool {
        !self.outgoing.is_empty()
    }

    /// What `node` is; nothing when it is no member.
    pub fn role(&self, node: NodeId) -> Option<MemberRole> {
        let among = |list: &Vec<NodeId>| list.binary_search(&node).is_ok();
        if among(&self.voters) {
            Some(MemberRole::Voter)
        } else if among(&self.outgoing) {
            Some(MemberRole::Outgoing)
        } else {
            among(&self.learners).then_some(MemberRole::Learner)
        }
    }

    /// All members, once each, in ascending order.
    pub fn all(&self) -> impl Iterator<Item = NodeId> {
        let lists = [&self.voters, &self.outgoing, &self.learners];
        lists.into_iter().flatten().copied().collect::<BTreeSet<_>>().into_iter()
    }

    /// Whether `node` votes, in either half.
    pub(crate) fn votes(&self, node: NodeId) -> bool {
        matches!(self.role(node), Some(MemberRole::Voter | MemberRole::Outgoing))
    }

    /// Whom `me` asks for a vote.
    pub(crate) fn electors(&self, me: NodeId) -> Vec<NodeId> {
        self.all().filter(|&node| node != me && self.votes(node)).collect()
    }

    /// Whether `me` alone is a majority, whatever the others say.
    pub fn is_alone(&self, me: NodeId) -> bool {
        self.voters == [me] && !self.is_joint()
    }

    /// The membership on the way to `target`. Where the voters stay as they are, that is `target` itself: its majorities
    /// are the same sets as before, so any two of them overlap, and learners are in none.
    pub(crate) fn toward(&self, target: Self) -> Self {
        assert!(!self.is_joint(), "one change at a time");
        let joint = target.voters != self.voters && !mutant(Mutant::JointSkipped);
        Self { outgoing: if joint { self.voters.clone() } else { Vec::new() }, ..target }
    }

    /// The membership once the change under way is done.
    pub(crate) fn finished(&self) -> Self {
        Self { outgoing: Vec::new(), ..self.clone() }
    }

    /// Whether the servers in `these` that vote are a majority of the voters, and of the outgoing ones if there are any.
    pub(crate) fn is_quorum(&self, these: &BTreeSet<NodeId>) -> bool {
        let enough =
            |half: &[NodeId]| half.iter().filter(|node| these.contains(node)).count() >= quorum(half);
        self.halves().all(|half| enough(&half))
    }

    /// The highest value that a majority has reached, of both halves, where `value` says how far each voter is.
    pub(crate) fn reached(&self, value: impl Fn(NodeId) -> u64) -> u64 {
        let of = |half: &[NodeId]| {
            let mut values: Vec<u64> = half.iter().map(|&node| value(node)).collect();
            values.sort_unstable_by(|a, b| b.cmp(a));
            let more = usize::from(mutant(Mutant::CountsOneTooMany) && quorum(half) < values.len());
            values[quorum(half) - 1 + more]
        };
        self.halves().map(|half| of(&half)).min().unwrap_or(0)
    }

    /// The sets of voters of which each must agree; the outgoing one only while there is one.
    fn halves(&self) -> impl Iterator<Item = Cow<'_, [NodeId]>> {
        let old = self.is_joint() && !mutant(Mutant::NewMajorityAlone);
        let new = !self.is_joint() || !mutant(Mutant::OldMajorityAlone);
        let voters = if mutant(Mutant::LearnerCounts) {
            Cow::Owned(self.voters.iter().chain(&self.learners).copied().collect())
        } else {
            Cow::Borrowed(self.voters.as_slice())
        };
        let outgoing = Cow::Borrowed(self.outgoing.as_slice());
        new.then_some(voters).into_iter().chain(old.then_some(outgoing))
    }
}

/// How many of these make a majority: any two of this many among them overlap.
fn quorum(half: &[NodeId]) -> usize {
    if mutant(Mutant::HalfIsQuorum) { half.len().div_ceil(2) } else { half.len() / 2 + 1 }
}

impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, nodes: &[NodeId]| {
            write!(f, "[")?;
            for (i, node) in nodes.iter().enumerate() {
                write!(f, "{}{node}", if i == 0 { "" } else { " " })?;
            }
            write!(f, "]")
        };
        if self.is_joint() {
            list(f, &self.outgoing)?;
            write!(f, "→")?;
        }
        list(f, &self.voters)?;
        if !self.learners.is_empty() {
            write!(f, "+")?;
            list(f, &self.learners)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
