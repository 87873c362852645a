//! The server: what all roles share, the term gate, and the only place where roles change (Figure 2, "Rules for
//! Servers").
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
//! they never change the role themselves. Every message first passes the gate: strangers and impossible numbers
//! are dropped, pre-votes and the votes that stickiness forbids are answered without a role, a higher term is
//! entered, a lower one answered with ours. What reaches a role's `step` is of the present term.

use alloc::{sync::Arc, vec::Vec};
use core::fmt;

use crate::{
    candidate::{Ballot, Candidate},
    config::{Config, ConfigError, Restored},
    effects::{Effects, Fetch, Fetched, Persist},
    follower::Follower,
    instruments::{Mark, mark},
    invariants::Before,
    leader::Leader,
    log::Log,
    membership::Membership,
    message::{Envelope, Message},
    outbox::Outbox,
    rng::Rng,
    status::{RoleName, Status},
    types::{Entry, HardState, Index, NodeId, Payload, Position, ReadId, Term, Ticket},
};

/// No honest server counts this far; a peer that claims to is not believed, so that no sum overflows.
const IMPOSSIBLE: u64 = 1 << 62;

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
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotLeader { hint: Some(leader) } => write!(f, "not the leader; ask server {leader}"),
            Self::NotLeader { hint: None } => write!(f, "no leader is known"),
            Self::Busy => write!(f, "too much is under way; try again"),
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

/// What all roles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) membership: Membership,
    pub(crate) rng: Rng,
    pub(crate) log: Log,
    pub(crate) outbox: Outbox,
    pub(crate) commit: Index,
    /// Given to the caller to apply.
    pub(crate) applying: Index,
    /// Confirmed by the caller as applied.
    pub(crate) applied: Index,
    /// The latest number of a session, a read round or a question: one numbering, so that none is used twice.
    pub(crate) number: u64,
    /// Confirmed reads, each to be served once its index was given to apply.
    pub(crate) ready: Vec<(Index, ReadId)>,
    pub(crate) failed: Vec<ReadId>,
    pub(crate) fetch: Vec<Fetch>,
    held: bool,
    ticket: Ticket,
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
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.propose(&mut raft.core, Payload::Command(command)),
            Role::Follower(follower) => Err(Refusal::NotLeader { hint: follower.leader() }),
            Role::Candidate(_) => Err(Refusal::NotLeader { hint: None }),
        })
    }

    /// Asks for a linearizable read; `id` comes back in `reads` or in `failed_reads`, once.
    pub fn read(&mut self, id: ReadId) -> Result<(), Refusal> {
        self.observed(|raft| match &mut raft.role {
            Role::Leader(leader) => leader.read(&raft.core, id),
            Role::Follower(follower) => follower.read(&raft.core, id),
            Role::Candidate(_) => Err(Refusal::NotLeader { hint: None }),
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
            progress: match &self.role {
                Role::Leader(leader) => leader.status(core),
                Role::Follower(_) | Role::Candidate(_) => Vec::new(),
            },
        }
    }

    /// Runs one step and checks what must hold before, after, and between the two.
    fn observed<T>(&mut self, step: impl FnOnce(&mut Self) -> T) -> T {
        let before = Before::of(self);
        let result = step(self);
        before.check(self);
        result
    }

    /// The gate: what is left is of the present term and for the role.
    fn gate(&mut self, envelope: Envelope) -> Option<Envelope> {
        let Envelope { from, to, term, ref message } = envelope;
        let core = &mut self.core;
        let known = to == core.config.id && from != to && core.membership.contains(from);
        if !known || term.0 >= IMPOSSIBLE {
            mark(Mark::StrangerDropped);
            return None;
        }
        match message {
            Message::PreVote { last } => {
                let granted = term > core.term() && !self.role.hears_leader(core) && core.would_elect(*last);
                core.answer_pre_vote(from, term, granted);
                return None;
            }
            Message::PreVoteReply { granted: true } => {
                return (term == core.term().next()).then_some(envelope);
            }
            // Stickiness (thesis 4.2.3): who hears a leader does not help to depose it, nor enters the term.
            Message::Vote { .. } if term > core.term() && self.role.hears_leader(core) => return None,
            _ => {}
        }
        if term < core.term() {
            core.answer_old(&envelope);
            return None;
        }
        if term > core.term() {
            self.enter(term, envelope.message.leads().then_some(from));
        }
        Some(envelope)
    }

    /// Hands a message of the present term to the role. Votes, and hearing of the term's leader, are common to all.
    fn deliver(&mut self, envelope: Envelope) {
        if let Message::Vote { last } = envelope.message {
            return self.vote(envelope.from, last);
        }
        if envelope.message.leads() {
            match &mut self.role {
                Role::Follower(follower) => follower.hear(envelope.from, &mut self.core),
                Role::Candidate(_) => self.turn(Next::Follow(Some(envelope.from))),
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
        let free = hard.vote.is_none_or(|vote| vote == candidate);
        let granted = free && self.role.leader(self.core.config.id).is_none() && self.core.would_elect(last);
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
        self.core.outbox.set_hard(HardState { term, vote: None });
        self.turn(Next::Follow(leader));
    }

    /// Changes the role: the only place that does.
    fn turn(&mut self, next: Next) {
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
        core.failed.extend(failed);
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
            Self::Leader(_) => true,
        }
    }
}

impl Core {
    fn new(config: Config, restored: Restored) -> Self {
        let mut rng = Rng::new(config.seed, config.id.0);
        let applied = restored.applied.index;
        let mut log = Log::new(restored.base, restored.discarded.index, restored.entries);
        log.evict(applied, config.cache_bytes);
        Self {
            membership: Membership::new(&config.voters),
            number: rng.numbering(),
            rng,
            log,
            outbox: Outbox::new(restored.hard),
            commit: applied,
            applying: applied,
            applied,
            ready: Vec::new(),
            failed: Vec::new(),
            fetch: Vec::new(),
            held: false,
            ticket: Ticket(0),
            config,
        }
    }

    /// The present term.
    pub(crate) fn term(&self) -> Term {
        self.outbox.hard().term
    }

    /// A number that was never used.
    pub(crate) fn number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Sends a message of the present term, which waits for term and vote to be durable.
    pub(crate) fn send(&mut self, to: NodeId, message: Message) {
        self.send_after(to, message, Index(0));
    }

    /// As [`Core::send`], and waits also for the log to be durable up to `entries`.
    pub(crate) fn send_after(&mut self, to: NodeId, message: Message, entries: Index) {
        let envelope = Envelope { from: self.config.id, to, term: self.term(), message };
        self.outbox.send(envelope, entries, self.log.persisted());
    }

    /// Whether the log at `last` is at least as up-to-date as ours.
    fn would_elect(&self, last: Position) -> bool {
        last.up_to_date_with(self.log.last())
    }

    /// A granted pre-vote repeats the term it was asked for; a refused one carries ours (thesis 9.6).
    fn answer_pre_vote(&mut self, to: NodeId, term: Term, granted: bool) {
        let message = Message::PreVoteReply { granted };
        if granted {
            self.outbox.send_unbound(Envelope { from: self.config.id, to, term, message });
        } else {
            self.send(to, message);
        }
    }

    /// Tells who speaks for an old term which one it is now; replies are not answered.
    fn answer_old(&mut self, envelope: &Envelope) {
        let answer = match envelope.message {
            Message::Vote { .. } => Message::VoteReply { granted: false },
            Message::Append { session, round, .. } | Message::Heartbeat { session, round, .. } => {
                Message::HeartbeatReply { session, round }
            }
            _ => return,
        };
        self.send(envelope.from, answer);
    }

    /// Learns that the log is committed up to `index`.
    pub(crate) fn commit_to(&mut self, index: Index) {
        assert!(index <= self.log.last().index, "only entries that are here are committed here");
        self.commit = self.commit.max(index);
    }

    /// Whether memory holds more than it should because applying is slow, or the disk that it waits for.
    pub(crate) fn is_full(&self) -> bool {
        let bound = self.config.cache_bytes + 4 * self.config.max_uncommitted_bytes;
        self.log.bytes() > bound && self.applied < self.commit
    }

    fn effects(&mut self) -> Effects {
        let persist = self.write();
        let until = if self.held { self.applying } else { self.commit.min(self.log.persisted()) };
        let apply = self.log.page(self.applying, until);
        self.applying = apply.last().map_or(self.applying, |last| last.position.index);
        let applying = self.applying;
        let (now, later) = core::mem::take(&mut self.ready).into_iter().partition(|(at, _)| *at <= applying);
        self.ready = later;
        Effects {
            persist,
            send: self.outbox.take(),
            fetch: core::mem::take(&mut self.fetch),
            apply,
            reads: Vec::into_iter(now).map(|(_, id)| id).collect(),
            failed_reads: core::mem::take(&mut self.failed),
        }
    }

    /// What the disk was not given yet, as one write.
    fn write(&mut self) -> Option<Persist> {
        let hard = self.outbox.hand();
        let entries: Vec<Entry> = self.log.hand();
        if hard.is_none() && entries.is_empty() {
            return None;
        }
        self.ticket = Ticket(self.ticket.0 + 1);
        self.log.writing(self.ticket);
        self.outbox.writing(self.ticket);
        Some(Persist { ticket: self.ticket, hard, entries })
    }
}
