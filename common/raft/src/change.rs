//! Changing who is in the cluster (thesis 4).
//!
//! ```text
//!            voters change: both sets decide        committed             committed
//!  [1 2 3] ────────────► [1 2 3]→[1 2 4] ────────────────► [1 2 4] ─────────────────► done: 3 is told and let go
//!     │    appended, in effect at once     the leader appends          a leader that does not
//!     │                                    the next by itself          vote hands over and follows
//!     └───────────────► [1 2 3]+[4] ─────────────────────────────────────────────────► done
//!       only learners change                committed
//! ```
//!
//! **Joint consensus** (4.3). A server uses the latest membership in its log, committed or not. While the entries of a
//! change spread, some servers use the old voters, some both, some the new ones; a leader is elected and an entry
//! committed only by a majority of every set in effect where it is. The new set decides alone only once both together
//! have committed that they do, and from then on no majority of the old set elects anybody: one of it holds the joint
//! entry, and does not vote for a log without. A change of learners leaves the voters, and so the majorities, as they are.
//! It needs no such phase.
//!
//! **One at a time.** A change begins when the last one is done and committed, so that consecutive memberships are
//! always of one chain. And it waits for the first commit of the leader's own term: an entry of an earlier term may
//! hold a membership that another leader began and that is in effect elsewhere (the error in single-server changes that
//! Ongaro reported in 2015; the rule costs nothing here). The two entries of a change are taken beyond the bounds for
//! proposals: a cluster that is busy may be the one that needs a member.
//!
//! **Whoever asks is answered** (4.1). Votes, pre-votes and appends are not judged by the own membership, which may be
//! older than the sender's: a new server takes its first entries from a leader that it does not know, and a vote of a
//! server that does not know yet that it votes may be the one that is missing. What counts is decided by who counts it.
//! Who may speak to a server at all, the caller has decided before a message comes here.
//!
//! **Removed servers.** Who stands is said in [`History::may_stand`](crate::membership::History::may_stand). One that was
//! removed without learning so asks for pre-votes, and is refused by whoever hears a leader (4.2.3, 9.6). So that this is
//! rare, who goes is sent the log until it was told that the entry without it is committed, for up to an election timeout.
//!
//! **A leader that does not vote** (4.2.2), because it removed itself or made itself a learner, leads until that is
//! committed, by a majority in which it does not count. Then it hands over, and follows when that has succeeded or failed.
//!
//! A server that lost its log must not go on, for it voted and acknowledged by what it had. It is removed, by which a leader
//! forgets how far its log was, and added again, under the same id or another. That nothing of its former life is heard then
//! is the caller's to see to.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    leader::Leader,
    membership::{MemberRole, Membership},
    progress::Progress,
    raft::{Next, Raft, Role},
    shared::Core,
    types::{NodeId, Payload, Position},
};

/// One step of a change; several are done in one. What is so already changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A server becomes a learner: it is sent the log and does not count.
    Add(NodeId),
    /// A learner becomes a voter. It should have caught up: from then on commits may wait for it.
    Promote(NodeId),
    /// A voter becomes a learner.
    Demote(NodeId),
    /// A member goes.
    Remove(NodeId),
}

/// Why a change was not begun. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChangeRefusal {
    /// Only a leader can do this; ask `hint` if it is known.
    NotLeader {
        /// The leader as far as this server knows.
        hint: Option<NodeId>,
    },
    /// Leadership is being handed over; ask again, here or at the next leader, within an election timeout.
    Transferring,
    /// The last change is not done; ask again.
    Pending,
    /// The leader was just elected and does not know yet what is committed; ask again.
    NotReady,
    /// There is no such member to promote, demote or remove; zero is not a server and cannot be added.
    NoSuchMember {
        /// Who was named.
        node: NodeId,
    },
    /// Nobody would be left to vote.
    NoVoter,
    /// All is as it should become.
    NothingChanges,
    /// There would be more members, old and new together, than [`Membership::MOST`].
    TooMany,
}

impl fmt::Display for ChangeRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { hint: Some(leader) } => write!(f, "not the leader; ask server {leader}"),
            Self::NotLeader { hint: None } => write!(f, "no leader is known"),
            Self::Transferring => write!(f, "leadership is being handed over; try again"),
            Self::Pending => write!(f, "another change of members is under way; try again when it is done"),
            Self::NotReady => write!(f, "the leader was elected just now; try again"),
            Self::NoSuchMember { node } => write!(f, "server {node} is no member"),
            Self::NoVoter => write!(f, "no voter would be left; promote a learner in the same change"),
            Self::NothingChanges => write!(f, "the members are so already"),
            Self::TooMany => {
                write!(f, "a cluster has at most {} members, old and new together", Membership::MOST)
            }
        }
    }
}

impl core::error::Error for ChangeRefusal {}

impl Raft {
    /// Begins a change of members; the edits take effect together. Returns where its entry stands. It is done when
    /// [`Status::membership`](crate::Status::membership) says so: not joint, and committed. Another leader may undo it
    /// before its entry is committed; once it is, it will be finished, whoever leads.
    pub fn change(&mut self, edits: &[Edit]) -> Result<Position, ChangeRefusal> {
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.change(&mut raft.core, edits).inspect_err(mark_refusal),
            Role::Follower(follower) => {
                mark(Mark::ChangeElsewhere);
                Err(ChangeRefusal::NotLeader { hint: follower.leader() })
            }
            Role::Candidate(_) => {
                mark(Mark::ChangeElsewhere);
                Err(ChangeRefusal::NotLeader { hint: None })
            }
        })
    }
}

fn mark_refusal(refusal: &ChangeRefusal) {
    mark(match refusal {
        ChangeRefusal::NotLeader { .. } => Mark::ChangeElsewhere,
        ChangeRefusal::Transferring => Mark::ChangeWhileHandingOver,
        ChangeRefusal::Pending => Mark::ChangePending,
        ChangeRefusal::NotReady => Mark::ChangeBeforeFirstCommit,
        ChangeRefusal::NoSuchMember { .. } => Mark::ChangeOfNoMember,
        ChangeRefusal::NoVoter => Mark::ChangeLeavesNoVoter,
        ChangeRefusal::NothingChanges => Mark::ChangeOfNothing,
        ChangeRefusal::TooMany => Mark::ChangeHasTooMany,
    });
}

impl Membership {
    /// The members after these edits, once the change under way is done.
    pub fn edited(&self, edits: &[Edit]) -> Result<Self, ChangeRefusal> {
        let (mut voters, mut learners) = (self.voters().to_vec(), self.learners().to_vec());
        for &edit in edits {
            let (Edit::Add(node) | Edit::Promote(node) | Edit::Demote(node) | Edit::Remove(node)) = edit;
            let known = voters.contains(&node) || learners.contains(&node);
            let adds = matches!(edit, Edit::Add(_));
            if node == NodeId(0) || !known && !adds {
                return Err(ChangeRefusal::NoSuchMember { node });
            }
            if known && adds {
                continue;
            }
            voters.retain(|&voter| voter != node);
            learners.retain(|&learner| learner != node);
            match edit {
                Edit::Add(_) | Edit::Demote(_) => learners.push(node),
                Edit::Promote(_) => voters.push(node),
                Edit::Remove(_) => {}
            }
        }
        if voters.is_empty() {
            return Err(ChangeRefusal::NoVoter);
        }
        Self::new(&voters, &learners).map_err(|_| ChangeRefusal::TooMany)
    }
}

impl Leader {
    fn change(&mut self, core: &mut Core, edits: &[Edit]) -> Result<Position, ChangeRefusal> {
        if self.transfer.is_some() {
            return Err(ChangeRefusal::Transferring);
        }
        let done = core.log.memberships().is_settled() && !core.membership().is_joint();
        if !done && !mutant(Mutant::ChangesWhileChanging) {
            return Err(ChangeRefusal::Pending);
        }
        let knows = core.log.term_at(core.commit) == Some(core.term());
        if !knows && !mutant(Mutant::ChangesBeforeFirstCommit) {
            return Err(ChangeRefusal::NotReady);
        }
        let now = core.membership().finished();
        let target = now.edited(edits)?;
        if target == now {
            return Err(ChangeRefusal::NothingChanges);
        }
        let next = now.toward(target);
        if next.all().count() > Membership::MOST {
            return Err(ChangeRefusal::TooMany);
        }
        mark(if next.is_joint() { Mark::ChangeOfVoters } else { Mark::ChangeOfLearners });
        // Who comes back under its id is not believed what it answered before it went.
        if !mutant(Mutant::SessionOutlivesRemoval) {
            self.peers.retain(|&peer, _| now.role(peer).is_some());
        }
        Ok(self.adopt(core, next))
    }

    /// Appends a membership, which is in effect from here on.
    fn adopt(&mut self, core: &mut Core, membership: Membership) -> Position {
        let position = self.append(core, Payload::Membership(Arc::new(membership)));
        self.regroup(core);
        self.recount(core);
        position
    }

    /// Everyone who is to be sent the log has a progress, and nobody else.
    fn regroup(&mut self, core: &mut Core) {
        let audience = core.log.memberships().audience(core.config.id);
        self.peers.retain(|peer, _| audience.binary_search(peer).is_ok());
        for peer in audience {
            let last = core.log.last().index;
            self.peers.entry(peer).or_insert_with(|| Progress::new(core.number(), last));
        }
        let members = core.membership();
        self.leaving = self.peers.keys().copied().filter(|&peer| members.role(peer).is_none()).collect();
        self.farewell = core.config.election_ticks;
    }

    /// Other servers count than before: perhaps what was sent and answered already is enough.
    fn recount(&mut self, core: &mut Core) {
        if !mutant(Mutant::CommitNotLookedAtAgain) {
            self.advance(core);
        }
        self.settle(core);
    }

    /// More is committed: perhaps a joint membership, which ends with that, whoever began it (thesis 4.3). Not while leadership
    /// is handed over: a successor that lacks the entry would not be elected, and finishes the change itself.
    pub(crate) fn finish_change(&mut self, core: &mut Core) {
        if core.membership().is_joint()
            && core.log.memberships().is_settled()
            && (self.transfer.is_none() || mutant(Mutant::FinishesWhileHandingOver))
            && !mutant(Mutant::JointForEver)
        {
            mark(Mark::JointLeft);
            let finished = core.membership().finished();
            self.adopt(core, finished);
        }
    }

    /// Lets those go who are no members: once they were told that this is committed, or after an election timeout.
    pub(crate) fn tick_leaving(&mut self, core: &Core) {
        if self.leaving.is_empty() || !core.log.memberships().is_settled() {
            return;
        }
        self.farewell = self.farewell.saturating_sub(1);
        let (since, _) = core.log.memberships().latest();
        let peers = &mut self.peers;
        let knows = |peer: &&NodeId| {
            peers.get(peer).is_none_or(|progress| progress.matched() >= since && progress.told >= since)
        };
        let (told, untold): (Vec<NodeId>, Vec<NodeId>) = self.leaving.iter().partition(knows);
        if !told.is_empty() {
            mark(Mark::RemovedTold);
        }
        let over = self.farewell == 0;
        if over && !untold.is_empty() {
            mark(Mark::RemovedUntold);
        }
        peers.retain(|peer, _| !(told.contains(peer) || over && untold.contains(peer)));
        self.leaving = if over { Vec::new() } else { untold };
    }

    /// A leader that does not vote leads no longer than until that is committed (thesis 4.2.2).
    pub(crate) fn leave(&mut self, core: &Core) -> Next {
        let stays = core.membership().votes(core.config.id) || mutant(Mutant::RemovedLeaderStays);
        if stays || !core.log.memberships().is_settled() || self.transfer.is_some() {
            return Next::Stay;
        }
        if !self.offered {
            self.offered = true;
            if self.begin_transfer(core, None).is_ok() {
                mark(Mark::RemovedLeaderHandsOver);
                return Next::Stay;
            }
        }
        mark(Mark::RemovedLeaderFollows);
        Next::Follow(None)
    }

    /// What `peer` is.
    pub(crate) fn role_of(core: &Core, peer: NodeId) -> MemberRole {
        core.membership().role(peer).unwrap_or(MemberRole::Removed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(ids: &[u64]) -> Vec<NodeId> {
        ids.iter().copied().map(NodeId).collect()
    }

    fn after(edits: &[Edit]) -> Result<Membership, ChangeRefusal> {
        Membership::new(&nodes(&[1, 2, 3]), &nodes(&[4])).expect("a membership").edited(edits)
    }

    #[test]
    fn edits_are_done_in_their_order() {
        use Edit::{Add, Demote, Promote, Remove};
        for (edits, expected) in [
            (&[][..], "[1 2 3]+[4]"),
            (&[Add(NodeId(5))], "[1 2 3]+[4 5]"),
            (&[Add(NodeId(2)), Add(NodeId(4))], "[1 2 3]+[4]"),
            (&[Promote(NodeId(4)), Remove(NodeId(1))], "[2 3 4]"),
            (&[Add(NodeId(5)), Promote(NodeId(5))], "[1 2 3 5]+[4]"),
            (&[Demote(NodeId(3)), Demote(NodeId(4))], "[1 2]+[3 4]"),
            (&[Remove(NodeId(4)), Add(NodeId(4))], "[1 2 3]+[4]"),
            (&[Promote(NodeId(2))], "[1 2 3]+[4]"),
        ] {
            assert_eq!(
                after(edits).map(|members| alloc::format!("{members}")).as_deref(),
                Ok(expected),
                "{edits:?}"
            );
        }
    }

    #[test]
    fn edits_that_make_no_sense_are_refused() {
        use Edit::{Add, Demote, Promote, Remove};
        for edit in [Promote, Demote, Remove] {
            assert_eq!(after(&[edit(NodeId(9))]), Err(ChangeRefusal::NoSuchMember { node: NodeId(9) }));
        }
        assert_eq!(after(&[Add(NodeId(0))]), Err(ChangeRefusal::NoSuchMember { node: NodeId(0) }));
        let all = [1, 2, 3].map(|id| Demote(NodeId(id)));
        assert_eq!(after(&all), Err(ChangeRefusal::NoVoter));
        let many: Vec<Edit> = (5..=Membership::MOST as u64).map(|id| Add(NodeId(id))).collect();
        assert_eq!(after(&many).map(|members| members.all().count()), Ok(Membership::MOST));
        let more = [many.as_slice(), &[Add(NodeId(100))]].concat();
        assert_eq!(after(&more), Err(ChangeRefusal::TooMany));
    }
}
