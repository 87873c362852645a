//! The server: the term gate, and the only place where roles change (Figure 2, "Rules for Servers").
//!
//! ```text
//!            timeout            majority would            majority voted
//!  Follower ─────────► pre-vote ─────────────► candidate ────────────────► Leader
//!     ▲                   │ timeout: again        │ timeout: pre-vote         │
//!     └───────────────────┴───────────────────────┴───────────────────────────┘
//!              a leader of this term, any higher term, or a quorum gone silent
//! ```
//!
//! [`Raft`] is a [`Core`] and a [`Role`]. A role's `step` and `tick` change the core and say what to become next;
//! they never change the role themselves. Every message first passes the gate: what went astray and impossible numbers
//! are dropped, pre-votes and the votes that stickiness forbids are answered without a role, a higher term is
//! entered, a lower one answered with ours. What reaches a role's `step` is of the present term.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    candidate::{Ballot, Candidate},
    config::{Config, ConfigError, Restored},
    effects::{Effects, Fetched},
    follower::Follower,
    instruments::{Mark, Mutant, mark, mutant},
    invariants::Before,
    leader::Leader,
    message::{Envelope, Message},
    shared::Core,
    status::{RoleName, Status},
    types::{HardState, Index, NodeId, Payload, Position, ReadId, Term, Ticket},
};

/// No honest server counts this far; a peer that claims to is not believed, so that no sum overflows.
pub(crate) const IMPOSSIBLE: u64 = 1 << 62;

/// Why a question was not taken. Nothing was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Only a leader can do this; ask `hint` if it is known.
    NotLeader {
        /// The leader as far as this server knows.
        hint: Option<NodeId>,
    },
    /// A bound is reached; ask again later.
    Busy,
    /// Leadership is being handed over; ask again, here or at the next leader, within an election timeout.
    Transferring,
    /// Nobody follows closely enough to lead next.
    NoSuccessor,
    /// Who was named does not vote, or not for long, and cannot lead next.
    NotVoter,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { hint: Some(leader) } => write!(f, "not the leader; ask server {leader}"),
            Self::NotLeader { hint: None } => write!(f, "no leader is known"),
            Self::Busy => write!(f, "too much is under way; try again"),
            Self::Transferring => write!(f, "leadership is being handed over; try again"),
            Self::NoSuccessor => write!(f, "nobody follows closely enough to lead next"),
            Self::NotVoter => write!(f, "a server that does not vote cannot lead; name a voter"),
        }
    }
}

impl core::error::Error for Refusal {}

/// One server of a cluster. See the crate's documentation for the contract.
#[derive(Debug)]
pub struct Raft {
    pub(crate) core: Core,
    pub(crate) role: Role,
}

/// What a server is, with what only that role needs.
#[derive(Debug)]
pub(crate) enum Role {
    Follower(Follower),
    Candidate(Candidate),
    Leader(Leader),
}

/// What to become, as a role wishes it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Next {
    Stay,
    Follow(Option<NodeId>),
    Campaign(Ballot),
    Lead,
}

impl Raft {
    /// A server with what its disk holds. It follows; everything else is learned.
    pub fn new(config: Config, restored: Restored) -> Result<Self, ConfigError> {
        config.check()?;
        restored.check()?;
        let mut core = Core::new(config, restored);
        let role = Role::Follower(Follower::new(None, &mut core));
        Ok(Self { core, role })
    }

    /// One unit of time has passed.
    pub fn tick(&mut self) {
        self.observed(|raft| {
            raft.core.tick_disk();
            let next = match &mut raft.role {
                Role::Follower(follower) => follower.tick(&mut raft.core),
                Role::Candidate(candidate) => candidate.tick(&raft.core),
                Role::Leader(leader) => leader.tick(&mut raft.core),
            };
            raft.turn(next);
        });
    }

    /// A message arrived. Whatever it says, this server keeps its own rules.
    pub fn step(&mut self, envelope: Envelope) {
        self.observed(|raft| {
            if let Some(envelope) = raft.gate(envelope) {
                raft.deliver(envelope);
            }
        });
    }

    /// The write `ticket` is durable, and with it all before it.
    pub fn persisted(&mut self, ticket: Ticket) {
        self.observed(|raft| {
            assert!(ticket <= raft.core.ticket, "only what was given to the disk can be durable");
            raft.core.log.written(ticket);
            raft.core.outbox.written(ticket, raft.core.log.persisted());
            let next = match &mut raft.role {
                Role::Follower(_) => Next::Stay,
                Role::Candidate(candidate) => candidate.persisted(&raft.core),
                Role::Leader(leader) => leader.persisted(&mut raft.core),
            };
            raft.turn(next);
        });
    }

    /// The caller has applied everything up to `index`.
    pub fn applied(&mut self, index: Index) {
        self.observed(|raft| {
            let core = &mut raft.core;
            assert!(index <= core.applying, "only what was given can be applied");
            core.applied = core.applied.max(index);
            core.log.evict(core.applied, core.config.cache_bytes);
        });
    }

    /// Whether `effects` keeps back what is to be applied, because the state machine has no room; reads wait with it.
    pub fn hold_apply(&mut self, hold: bool) {
        self.core.held = hold;
    }

    /// The answer to a fetch; a late one is ignored.
    pub fn fetched(&mut self, fetched: Fetched) {
        self.observed(|raft| {
            if let Role::Leader(leader) = &mut raft.role {
                leader.fetched(&mut raft.core, fetched);
            }
        });
    }

    /// The disk's log now begins after `to`, of which everything was applied and is durable in the state: what a
    /// follower still needs of it, it gets as a state.
    pub fn discarded(&mut self, to: Index) {
        self.observed(|raft| {
            assert!(to <= raft.core.applied, "only what was applied is discarded");
            raft.core.log.discard(to);
        });
    }

    /// What came of sending the state to `peer` in `session`: the last entry in the state that it made current, or
    /// nothing when it did not. Late news of an earlier attempt is ignored.
    pub fn snapshot_sent(&mut self, peer: NodeId, session: u64, installed: Option<Index>) {
        self.observed(|raft| {
            if let Role::Leader(leader) = &mut raft.role {
                leader.snapshot_sent(&raft.core, peer, session, installed);
            }
        });
    }

    /// What was sent to `peer` lately is likely lost.
    pub fn unreachable(&mut self, peer: NodeId) {
        self.observed(|raft| {
            if let Role::Leader(leader) = &mut raft.role {
                leader.unreachable(peer);
            }
        });
    }

    /// Appends a command to the log of a leader. It is committed when it comes back in `apply` at this position;
    /// if another term's entry comes at this index instead, it was not.
    pub fn propose(&mut self, command: Arc<[u8]>) -> Result<Position, Refusal> {
        self.offer(command, false)
    }

    /// The same for a command of the caller's own that must not wait behind those of clients: it is taken beyond the bounds
    /// on what is not committed. The caller keeps the bound: one such small command at a time.
    pub fn propose_urgent(&mut self, command: Arc<[u8]>) -> Result<Position, Refusal> {
        self.offer(command, true)
    }

    fn offer(&mut self, command: Arc<[u8]>, urgent: bool) -> Result<Position, Refusal> {
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.propose(&mut raft.core, Payload::Command(command), urgent),
            Role::Follower(follower) => {
                mark(Mark::ProposalAtFollower);
                Err(Refusal::NotLeader { hint: follower.leader() })
            }
            Role::Candidate(_) => {
                mark(Mark::ProposalAtCandidate);
                Err(Refusal::NotLeader { hint: None })
            }
        })
    }

    /// Asks for a linearizable read; `id` comes back in `reads` or in `failed_reads`, once.
    pub fn read(&mut self, id: ReadId) -> Result<(), Refusal> {
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.read(&raft.core, id),
            Role::Follower(follower) => follower.read(&raft.core, id),
            Role::Candidate(_) => {
                mark(Mark::ReadAtCandidate);
                Err(Refusal::NotLeader { hint: None })
            }
        })
    }

    /// What to do now. Everything in it may be done at once and in any order.
    pub fn effects(&mut self) -> Effects {
        self.observed(|raft| {
            match &mut raft.role {
                Role::Follower(follower) => follower.flush(&mut raft.core),
                Role::Candidate(_) => {}
                Role::Leader(leader) => leader.flush(&mut raft.core),
            }
            raft.core.effects()
        })
    }

    /// A picture of this server.
    pub fn status(&self) -> Status {
        let core = &self.core;
        let hard = core.outbox.hard();
        Status {
            id: core.config.id,
            role: self.role.name(),
            term: hard.term,
            leader: self.role.leader(core.config.id),
            vote: hard.vote,
            commit: core.commit,
            applied: core.applied,
            last: core.log.last(),
            persisted: core.log.persisted(),
            discarded: core.log.discarded(),
            membership: Arc::clone(core.log.memberships().latest().1),
            membership_at: core.log.memberships().latest().0,
            membership_committed: core.log.memberships().is_settled(),
            transferring: match &self.role {
                Role::Leader(leader) => leader.transfer.map(|transfer| transfer.to),
                Role::Follower(_) | Role::Candidate(_) => None,
            },
            progress: match &self.role {
                Role::Leader(leader) => leader.status(core),
                Role::Follower(_) | Role::Candidate(_) => Vec::new(),
            },
        }
    }

    /// Runs one step and checks what must hold before, after, and between the two.
    pub(crate) fn observed<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        let before = Before::of(self);
        let result = step(self);
        before.check(self);
        result
    }

    /// The gate: what is left is of the present term and for the role.
    fn gate(&mut self, envelope: Envelope) -> Option<Envelope> {
        let Envelope { from, to, term, ref message } = envelope;
        let core = &mut self.core;
        // Whoever asks is answered, member or not (thesis 4.1); see `change`.
        let heard = !mutant(Mutant::StrangersUnheard) || core.membership().role(from).is_some();
        let sound = to == core.config.id && from != to && from != NodeId(0);
        if !sound || !heard || term.0 >= IMPOSSIBLE {
            return None;
        }
        match message {
            Message::PreVote { last } => {
                let granted = self.pre_vote(term, *last);
                self.core.answer_pre_vote(from, term, granted);
                return None;
            }
            Message::PreVoteReply { granted: true } => {
                if term != core.term().next() {
                    mark(Mark::PreVoteTooLate);
                    return None;
                }
                return Some(envelope);
            }
            // Stickiness (thesis 4.2.3): who hears a leader does not help to depose it, nor enters the term.
            Message::Vote { handed, .. }
                if term > core.term()
                    && self.role.hears_leader(core)
                    && (!handed || mutant(Mutant::HandedVoteIgnored))
                    && !mutant(Mutant::VoteAlwaysHeard) =>
            {
                mark(Mark::VoteIgnored);
                return None;
            }
            _ => {}
        }
        if term < core.term() {
            core.answer_old(&envelope);
            return None;
        }
        if term > core.term() {
            let replies = !matches!(message, Message::Vote { .. }) && !message.leads();
            if replies && mutant(Mutant::HigherReplyIgnored) {
                return None;
            }
            // Only members are asked, so a stranger's reply is to nothing, and deposes nobody.
            if replies && self.core.membership().role(from).is_none() {
                return None;
            }
            self.enter(term, envelope.message.leads().then_some(from));
        }
        Some(envelope)
    }

    /// Whether this server would vote in `term` for a log that ends at `last`.
    fn pre_vote(&mut self, term: Term, last: Position) -> bool {
        let refusal = if term <= self.core.term() {
            Mark::PreVoteForOldTerm
        } else if self.role.hears_leader(&self.core) {
            Mark::PreVoteAgainstLeader
        } else if !self.core.would_elect(last) {
            Mark::PreVoteWithOldLog
        } else if self.core.disk.waits >= self.core.config.election_ticks {
            // Its vote would never leave, and terms would go up for nothing while others who can be elected try.
            Mark::PreVoteWithoutDisk
        } else {
            return true;
        };
        mark(refusal);
        if let Role::Follower(follower) = &mut self.role
            && mutant(Mutant::RefusedGiveRest)
        {
            follower.voted(&mut self.core);
        }
        false
    }

    /// Hands a message of the present term to the role. Votes, and hearing of the term's leader, are common to all.
    fn deliver(&mut self, envelope: Envelope) {
        if let Message::Vote { last, .. } = envelope.message {
            return self.vote(envelope.from, last);
        }
        if envelope.message.leads() {
            match &mut self.role {
                Role::Follower(follower) => follower.hear(envelope.from, &mut self.core),
                Role::Candidate(_) if mutant(Mutant::CandidateIgnoresLeader) => {}
                Role::Candidate(_) => {
                    mark(Mark::CandidateFollows);
                    self.turn(Next::Follow(Some(envelope.from)));
                }
                // Two leaders in a term cannot be: the other one is lying or broken.
                Role::Leader(_) => return,
            }
        }
        let next = match &mut self.role {
            Role::Follower(follower) => follower.step(&mut self.core, envelope),
            Role::Candidate(candidate) => candidate.step(&self.core, &envelope),
            Role::Leader(leader) => leader.step(&mut self.core, &envelope),
        };
        self.turn(next);
    }

    /// Answers a request for this term's vote (Figure 2, `RequestVote`): one vote a term, first come first served,
    /// and only for a log at least as up-to-date as ours (thesis 3.6.1).
    fn vote(&mut self, candidate: NodeId, last: Position) {
        let hard = self.core.outbox.hard();
        let free = hard.vote.is_none_or(|vote| vote == candidate) || mutant(Mutant::VotesTwice);
        let granted = if !free || self.role.leader(self.core.config.id).is_some() {
            mark(Mark::VoteAlreadyGiven);
            false
        } else if !self.core.would_elect(last) {
            mark(Mark::VoteWithOldLog);
            false
        } else {
            !mutant(Mutant::LearnerRefusesVote) || self.core.membership().votes(self.core.config.id)
        };
        if granted {
            self.core.outbox.set_hard(HardState { vote: Some(candidate), ..hard });
            if let Role::Follower(follower) = &mut self.role {
                follower.voted(&mut self.core);
            }
        }
        self.core.send(candidate, Message::VoteReply { granted });
    }

    /// Enters a higher term, in which no vote was given yet.
    fn enter(&mut self, term: Term, leader: Option<NodeId>) {
        assert!(term > self.core.term(), "only a higher term is entered");
        mark(Mark::HigherTermEntered);
        let vote = self.core.outbox.hard().vote.filter(|_| mutant(Mutant::VoteOutlivesTerm));
        self.core.outbox.set_hard(HardState { term, vote });
        if !(matches!(self.role, Role::Leader(_)) && mutant(Mutant::LeadsOn)) {
            self.turn(Next::Follow(leader));
        }
    }

    /// Changes the role: the only place that does.
    pub(crate) fn turn(&mut self, next: Next) {
        let (core, role) = (&mut self.core, &mut self.role);
        let fresh = match next {
            Next::Stay => return,
            Next::Follow(leader) => Role::Follower(Follower::new(leader, core)),
            Next::Campaign(ballot) => Role::Candidate(Candidate::new(ballot, core)),
            Next::Lead => {
                assert!(matches!(role, Role::Candidate(_)), "only a candidate is elected");
                Role::Leader(Leader::new(core))
            }
        };
        let failed = match core::mem::replace(role, fresh) {
            Role::Follower(follower) => follower.abandon(),
            Role::Candidate(_) => Vec::new(),
            Role::Leader(leader) => leader.abandon(),
        };
        if !failed.is_empty() {
            mark(Mark::ReadsFail);
        }
        if !mutant(Mutant::ReadsForgotten) {
            core.failed.extend(failed);
        }
        // Alone in the cluster, a candidate needs nobody's answer.
        if let Role::Candidate(candidate) = &self.role {
            let next = candidate.verdict(&self.core);
            self.turn(next);
        }
    }
}

impl Role {
    /// The role's name.
    fn name(&self) -> RoleName {
        match self {
            Self::Follower(_) => RoleName::Follower,
            Self::Candidate(candidate) => candidate.name(),
            Self::Leader(_) => RoleName::Leader,
        }
    }

    /// The leader of the present term, as this server `me` knows it.
    fn leader(&self, me: NodeId) -> Option<NodeId> {
        match self {
            Self::Follower(follower) => follower.leader(),
            Self::Candidate(_) => None,
            Self::Leader(_) => Some(me),
        }
    }

    /// Whether a leader was heard within the shortest election timeout (thesis 4.2.3). A leader hears itself: it
    /// gives up by its own check of the quorum.
    fn hears_leader(&self, core: &Core) -> bool {
        match self {
            Self::Follower(follower) => follower.hears_leader(core),
            Self::Candidate(_) => false,
            Self::Leader(_) => !mutant(Mutant::LeaderHelpsOthers),
        }
    }
}
