//! Wishes that other servers should be members: that one is added, promoted, demoted, removed, or takes the place of
//! another; and wishes that make no sense.

use std::sync::Arc;

use protocol::{Intent, MemberChange, MemberEdit, MemberRecord, Operation, Request, RequestId};
use raft::Membership;

use super::{
    World,
    calling::PROBER,
    healing::{AGREE_WITHIN, TIMEOUT},
};
use crate::server::{CLUSTER, address};

impl World {
    /// The members as whoever leads has them.
    fn seen_members(&self) -> Option<Arc<Membership>> {
        let process = self.servers[self.leader()?].up()?;
        Some(process.node.consensus().membership)
    }

    /// Somebody wants the members changed.
    pub(super) fn wish_members(&mut self) {
        let Some(seen) = self.seen_members() else { return };
        let ids = |nodes: &[raft::NodeId]| nodes.iter().map(|node| node.0).collect::<Vec<_>>();
        let (voters, learners) = (ids(seen.voters()), ids(seen.learners()));
        let members: Vec<u64> = seen.all().map(|node| node.0).collect();
        let outsiders: Vec<u64> =
            (1..=self.servers.len() as u64).filter(|id| !members.contains(id)).collect();
        let (voter, learner) = (self.rng.pick(&voters).copied(), self.rng.pick(&learners).copied());
        let (member, outsider) = (self.rng.pick(&members).copied(), self.rng.pick(&outsiders).copied());
        let kind = self.rng.below(9);
        let edits = match (kind, voter, learner, outsider) {
            (0 | 1, _, _, Some(new)) => {
                self.record(new, voter);
                vec![MemberEdit::Add(new)]
            }
            (2, ..) => member.map(MemberEdit::Remove).into_iter().collect(),
            (3 | 4, _, Some(learner), _) => vec![MemberEdit::Promote(learner)],
            (5, Some(voter), Some(learner), _) => {
                vec![MemberEdit::Promote(learner), MemberEdit::Remove(voter)]
            }
            (6, ..) => self.nonsense(&voters, &members),
            (8, ..) => self.many_for_many(&voters, &learners),
            (_, Some(voter), ..) => vec![MemberEdit::Demote(voter)],
            _ => return,
        };
        self.wish_change(edits);
        if kind == 7 && member.is_some() {
            self.wish_change(member.map(MemberEdit::Remove).into_iter().collect());
        }
    }

    /// All learners are to vote, and as many voters go: majorities before and after may have nobody in common.
    fn many_for_many(&mut self, voters: &[u64], learners: &[u64]) -> Vec<MemberEdit> {
        let mut going = voters.to_vec();
        self.rng.shuffle(&mut going);
        going.truncate(learners.len());
        let come = learners.iter().copied().map(MemberEdit::Promote);
        come.chain(going.into_iter().map(MemberEdit::Demote)).collect()
    }

    fn nonsense(&mut self, voters: &[u64], members: &[u64]) -> Vec<MemberEdit> {
        match self.rng.below(4) {
            0 => vec![MemberEdit::Promote(99)],
            1 => voters.iter().copied().map(MemberEdit::Demote).collect(),
            2 => members.iter().copied().map(MemberEdit::Add).collect(),
            _ => vec![MemberEdit::Add(99)],
        }
    }

    /// Records a server that is about to be added, and what is to become of it.
    fn record(&mut self, id: u64, voter: Option<u64>) {
        let intent = match (self.rng.below(3), voter.filter(|voter| *voter != id)) {
            (0, _) => Intent::Hold,
            (1, Some(voter)) => Intent::Replace(voter),
            _ => Intent::Promote,
        };
        let (number, learned) = (self.number(), self.watch.committed());
        let mut token = [0xfe; 16];
        token[..8].copy_from_slice(&number.to_le_bytes());
        let request = RequestId { token, learned, cluster: CLUSTER };
        let at = usize::try_from(id - 1).unwrap_or(0);
        let record =
            MemberRecord { id, name: format!("s{at}"), address: address(at), intent, incarnation: None };
        let operation = Operation::SetMember(record);
        let asked = self.leader().unwrap_or(0);
        self.post(PROBER, asked, number, 5000, Request::Write { request, operation });
    }

    fn wish_change(&mut self, edits: Vec<MemberEdit>) {
        let servers = self.servers.len();
        let asked = self.leader().filter(|_| self.rng.below(8) > 0);
        let asked = asked.unwrap_or_else(|| self.rng.index(servers));
        // Nobody insists that a server vote which has not caught up: that it has is then a promise.
        let promotes = edits.iter().any(|edit| matches!(edit, MemberEdit::Promote(_)));
        let force = !promotes && self.rng.below(3) == 0;
        let deadline_ms = if self.rng.below(4) == 0 { 20 } else { 5000 };
        let number = self.number();
        self.counts.add("members: asked for a change");
        let change = MemberChange { edits, force };
        self.post(PROBER, asked, number, deadline_ms, Request::ChangeMembers(change));
    }

    /// What was begun is finished, and whoever is a member then is what is judged.
    ///
    /// # Panics
    /// When it is not finished in time.
    pub(super) fn settle_members(&mut self, slack: u64) -> Vec<usize> {
        let until = self.agenda.now() + 2 * AGREE_WITHIN * TIMEOUT + slack;
        let settled = |world: &Self| {
            let process = world.leader().and_then(|leader| world.servers[leader].up());
            process.is_some_and(|process| {
                let status = process.node.consensus();
                status.membership_committed && !status.membership.is_joint() && !process.node.awaits_members()
            })
        };
        self.run_until(until, settled);
        assert!(settled(self), "VIOLATION a change of members does not end: {}", self.standings_of_all());
        let members = self.seen_members().map(|seen| seen.all().collect::<Vec<_>>()).unwrap_or_default();
        self.counts.add("liveness: members settled");
        members.into_iter().filter_map(|node| usize::try_from(node.0 - 1).ok()).collect()
    }

    /// Whether every server votes.
    pub(super) fn all_vote(&self) -> bool {
        let all = self.servers.len();
        self.seen_members().is_some_and(|seen| seen.voters().len() == all)
    }
}
