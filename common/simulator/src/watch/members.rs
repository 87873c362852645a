//! Who counts: the voters of the latest membership in a log, and while they are changed the outgoing ones as well. Counted
//! here from what servers were seen to hand to their disks.

use std::sync::Arc;

use raft::{Entry, Membership, Payload, RoleName, Status};

use super::{Place, Watch, place};
use crate::server::ELECTION_TICKS;

/// See the module.
pub(super) struct Members {
    /// Ids of the voters that the cluster began with.
    founders: Vec<u64>,
    /// How many entries a server may lack that is made a voter.
    caught_up: u64,
}

impl Members {
    pub(super) fn new(founders: u64, caught_up: u64) -> Self {
        Self { founders: (1..=founders).collect(), caught_up }
    }

    /// Whether these servers are a majority of the membership, or of the founders where there is none.
    pub(super) fn is_majority(&self, members: Option<&Membership>, is_in: impl Fn(usize) -> bool) -> bool {
        let most = |half: &[u64]| {
            let count =
                half.iter().filter(|id| is_in(usize::try_from(**id - 1).unwrap_or(usize::MAX))).count();
            2 * count > half.len()
        };
        let ids = |nodes: &[raft::NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        members.map_or_else(
            || most(&self.founders),
            |members| most(&ids(members.voters())) && (!members.is_joint() || most(&ids(members.outgoing()))),
        )
    }

    /// Whether this server's voice counts.
    pub(super) fn votes(&self, members: Option<&Membership>, id: u64) -> bool {
        members.map_or_else(
            || self.founders.contains(&id),
            |members| members.voters().iter().chain(members.outgoing()).any(|voter| voter.0 == id),
        )
    }
}

/// The membership after an entry.
pub(super) fn after(before: Option<&Arc<Membership>>, entry: &Entry) -> Option<Arc<Membership>> {
    match &entry.payload {
        Payload::Membership(membership) => Some(Arc::clone(membership)),
        Payload::Noop | Payload::Command(_) => before.cloned(),
    }
}

impl Watch {
    /// Whether `me` may ask for votes: it has one itself, or had before what it does not know as committed.
    fn may_stand(&self, me: usize) -> bool {
        let seen = &self.servers[me];
        let known = usize::try_from(seen.commit).unwrap_or(usize::MAX).saturating_sub(1);
        let id = me as u64 + 1;
        let since = seen.handed.get(known..).unwrap_or_default();
        seen.commit == 0 && self.members.votes(None, id)
            || since.iter().any(|place| self.members.votes(place.members.as_deref(), id))
    }

    /// Server `me` shows itself after `ticks` of its clock: who stands may. A leader, where it does not vote, and that is committed, it leads no longer
    /// than handing over takes.
    ///
    /// # Panics
    /// When it leads on, or stands and never had a vote.
    pub fn goes(&mut self, me: usize, status: &Status, ticks: u64) {
        let stands = matches!(status.role, RoleName::PreCandidate | RoleName::Candidate);
        assert!(
            !stands || self.may_stand(me),
            "VIOLATION s{me} stands in term {} and never had a vote",
            status.term
        );
        let votes = self.members.votes(Some(&status.membership), me as u64 + 1);
        let gone = status.role == RoleName::Leader && status.membership_committed && !votes;
        let since = &mut self.servers[me].gone;
        *since = gone.then(|| since.unwrap_or(ticks));
        let long = since.map_or(0, |since| ticks - since);
        assert!(
            long <= 2 * u64::from(ELECTION_TICKS),
            "VIOLATION s{me} does not vote and leads on for {long} ticks"
        );
    }

    /// Whether a majority holds an entry: of one of the memberships that were the latest in the log of `me` since the entry
    /// came into it.
    pub(super) fn is_held(&self, me: usize, index: u64, own: &Place) -> bool {
        let holds =
            |at: usize| place(&self.servers[at].durable, index).is_some_and(|place| place.chain == own.chain);
        let from = usize::try_from(index - 1).unwrap_or(usize::MAX);
        let mut last = None;
        self.servers[me].handed[from..].iter().any(|place| {
            let members = place.members.as_ref().map(Arc::as_ptr);
            let again = last.replace(members) == Some(members);
            !again && self.members.is_majority(place.members.as_deref(), holds)
        })
    }

    /// Whether those that `voted` are a majority of the membership under which `me` stood in `term`.
    pub(super) fn is_elected(&self, me: usize, term: u64, voted: impl Fn(usize) -> bool) -> bool {
        let before = self.servers[me].handed.iter().rev().find(|place| place.term < term);
        let members = before.and_then(|place| place.members.as_deref());
        self.members.is_majority(members, voted)
    }

    /// Leader `me` appends an entry: whoever comes to vote by it has caught up.
    pub(super) fn promotes(&self, me: usize, before: Option<&Membership>, entry: &Entry) {
        let Payload::Membership(after) = &entry.payload else { return };
        let leader = &self.servers[me];
        if !leader.leads || leader.term != entry.position.term.0 {
            return;
        }
        for voter in after.voters().iter().filter(|voter| !self.members.votes(before, voter.0)) {
            let held = self.held(usize::try_from(voter.0 - 1).unwrap_or(usize::MAX));
            assert!(
                held + self.members.caught_up >= leader.commit,
                "VIOLATION s{me} lets server {voter} vote, which holds {held} of {}",
                leader.commit
            );
        }
    }

    /// Server `me` says that a change of members is done where `revision` stands.
    ///
    /// # Panics
    /// When that is not committed, or voters are being changed there.
    pub fn changed_members(&self, me: usize, revision: u64) {
        let Some(at) = usize::try_from(revision).ok().and_then(|revision| revision.checked_sub(1)) else {
            return;
        };
        let committed = self.committed.get(at);
        assert!(committed.is_some(), "VIOLATION s{me} says that members changed at {revision}");
        let joint = committed.and_then(|committed| committed.place.members.as_ref());
        let joint = joint.is_some_and(|members| members.is_joint());
        assert!(
            !joint,
            "VIOLATION s{me} says that members have changed, and voters are being changed at {revision}"
        );
    }
}
