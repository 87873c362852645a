//! Handing over leadership (thesis 3.10).
//!
//! ```text
//!   asked ──► no proposal is taken, and the successor catches up ──► it has everything: told to stand at once ──► a higher term
//!     │                     an election timeout passes: all is as before                    │
//!     └────────────────────────────────◄────────────────────────────────────────────────────┘
//! ```
//!
//! The successor is told once it holds the leader's whole log and all of it is committed and applied: so it wins any honest
//! vote, and no write that a client waits for is in doubt. It stands without a pre-vote, and its requests say that the leader wants
//! it so, or else those who hear the leader would not listen (4.2.3). None of this is needed for safety: a vote is a vote,
//! and a server that stands without being told only disturbs.
//!
//! The successor is one that votes, and goes on to where voters are being changed.
//!
//! A *reluctant* server is one that is soon to be stopped: it does not take leadership that is handed to it, and stands by
//! itself only where nobody else has for long.

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    leader::Leader,
    membership::MemberRole,
    message::Message,
    progress::Progress,
    raft::{Next, Raft, Refusal, Role},
    shared::Core,
    types::{Index, NodeId},
};

/// A reluctant server waits for so many election timeouts before it stands.
pub(crate) const RELUCTANCE: u32 = 10;

/// A hand-over that is under way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Transfer {
    pub(crate) to: NodeId,
    /// Whether the successor was told to stand, lately.
    told: bool,
    /// Ticks until it is given up.
    left: u32,
}

impl Raft {
    /// Hands leadership over to `to`, or to the follower that is furthest. Returns who it is.
    ///
    /// What comes of it shows in [`Raft::status`]: another term, or the same one with nobody in
    /// [`Status::transferring`](crate::Status::transferring) after an election timeout. Until then proposals are refused
    /// as [`Refusal::Transferring`].
    pub fn transfer(&mut self, to: Option<NodeId>) -> Result<NodeId, Refusal> {
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.begin_transfer(&raft.core, to),
            Role::Follower(follower) => Err(Refusal::NotLeader { hint: follower.leader() }),
            Role::Candidate(_) => Err(Refusal::NotLeader { hint: None }),
        })
    }

    /// Whether this server leads.
    pub fn is_leader(&self) -> bool {
        matches!(self.role, Role::Leader(_))
    }

    /// The membership in effect.
    pub fn membership(&self) -> &crate::Membership {
        self.core.membership()
    }

    /// The shortest election timeout, in ticks.
    pub fn election_ticks(&self) -> u32 {
        self.core.config.election_ticks
    }

    /// Whether this server leads and is handing over, so that it takes no proposal.
    pub fn is_transferring(&self) -> bool {
        matches!(&self.role, Role::Leader(leader) if leader.transfer.is_some())
            && !mutant(Mutant::ProposesWhileHandingOver)
    }

    /// Whether this server is to leave leading to others from now on, see the module.
    pub fn set_reluctant(&mut self, reluctant: bool) {
        self.core.reluctant = reluctant;
        if reluctant && matches!(self.role, Role::Candidate(_)) {
            self.observed(|raft| raft.turn(Next::Follow(None)));
        }
    }
}

impl Leader {
    /// Begins to hand over, to a voter.
    pub(crate) fn begin_transfer(&mut self, core: &Core, to: Option<NodeId>) -> Result<NodeId, Refusal> {
        if self.transfer.is_some() {
            mark(Mark::TransferUnderWay);
            return Err(Refusal::Transferring);
        }
        let votes = |id| Self::role_of(core, id) == MemberRole::Voter || mutant(Mutant::HandsOverToLearner);
        let follows =
            |(id, peer): &(&NodeId, &Progress)| !peer.is_silent() && !peer.is_sent_snapshot() && votes(**id);
        // Who is down shows in an idle cluster only by the rounds that it does not answer; who declined may do so again.
        let furthest = || {
            let able = self.peers.iter().filter(follows);
            let rank = |id: NodeId, peer: &Progress| (self.declined != Some(id), peer.matched(), peer.round);
            able.max_by_key(|(id, peer)| rank(**id, peer)).map(|(&id, _)| id)
        };
        if to.is_some_and(|to| self.peers.contains_key(&to) && !votes(to)) {
            mark(Mark::TransferToNonVoter);
            return Err(Refusal::NotVoter);
        }
        let known = |to: NodeId| self.peers.contains_key(&to).then_some(to);
        let Some(to) = to.map_or_else(furthest, known) else {
            mark(Mark::TransferToNobody);
            return Err(Refusal::NoSuccessor);
        };
        mark(Mark::TransferBegun);
        self.transfer = Some(Transfer { to, told: false, left: core.config.election_ticks });
        Ok(to)
    }

    /// Time passes for a hand-over; what was said is said `again` now and then.
    pub(crate) fn tick_transfer(&mut self, again: bool) {
        let Some(transfer) = &mut self.transfer else { return };
        transfer.left -= 1;
        transfer.told &= !again;
        if transfer.left == 0 && !mutant(Mutant::TransferNeverEnds) {
            mark(Mark::TransferGivenUp);
            self.declined = Some(transfer.to);
            self.transfer = None;
        } else {
            transfer.left = transfer.left.max(1);
        }
    }

    /// Tells the successor to stand, once it has everything.
    pub(crate) fn hand_over(&mut self, core: &mut Core) {
        let Some(transfer) = &mut self.transfer else { return };
        let matched = self.peers.get(&transfer.to).map_or(Index(0), Progress::matched);
        let last = core.log.last();
        let ready = matched == last.index && core.applied == last.index;
        if transfer.told || !(ready || mutant(Mutant::HandsOverEarly)) {
            return;
        }
        mark(Mark::TransferTold);
        transfer.told = true;
        core.send(transfer.to, Message::TimeoutNow);
    }
}
