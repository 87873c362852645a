//! What all roles share: term and vote, the log, and how far it is committed, given out and applied.
//!
//! A role changes this and nothing else of the server. Whatever a server wants done leaves here, as one
//! [`Effects`].

use alloc::{sync::Arc, vec::Vec};

use crate::{
    config::{Config, Restored},
    effects::{Effects, Fetch, Persist, SendSnapshot},
    instruments::{Mark, Mutant, mark, mutant},
    log::Log,
    membership::{History, Membership},
    message::{Envelope, Message},
    outbox::Outbox,
    rng::Rng,
    room::Disk,
    types::{Entry, Index, NodeId, Position, ReadId, Term, Ticket},
};

/// What all roles share.
#[derive(Debug)]
pub(crate) struct Core {
    pub(crate) config: Config,
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
    pub(crate) send_snapshot: Vec<SendSnapshot>,
    /// Whether the caller is about to make a state current that goes beyond what is committed here.
    pub(crate) installing: bool,
    /// Where the log begins anew, until the disk was told.
    pub(crate) restart: Option<Position>,
    /// Whether nothing is given out to apply.
    pub(crate) held: bool,
    /// Whether this server leaves leading to others.
    pub(crate) reluctant: bool,
    /// What this server's disk cannot do.
    pub(crate) disk: Disk,
    /// The latest write.
    pub(crate) ticket: Ticket,
}

impl Core {
    /// What a server has at its start.
    pub(crate) fn new(config: Config, restored: Restored) -> Self {
        let mut rng = Rng::new(config.seed, config.id.0);
        let applied = restored.applied.index;
        let membership = founded(&config, restored.membership);
        let memberships = History::new(applied, membership);
        let mut log = Log::new(restored.base, restored.discarded.index, restored.entries, memberships);
        let last = log.last().index;
        log.evict(applied, config.cache_bytes);
        Self {
            number: rng.numbering(),
            rng,
            log,
            outbox: Outbox::new(restored.hard),
            commit: if mutant(Mutant::RestartCommits) { last } else { applied },
            applying: applied,
            applied,
            ready: Vec::new(),
            failed: Vec::new(),
            fetch: Vec::new(),
            send_snapshot: Vec::new(),
            installing: false,
            restart: None,
            held: false,
            reluctant: false,
            disk: Disk::default(),
            ticket: Ticket(0),
            config,
        }
    }

    /// The present term.
    pub(crate) fn term(&self) -> Term {
        self.outbox.hard().term
    }

    /// The membership in effect: the latest in the log.
    pub(crate) fn membership(&self) -> &Membership {
        self.log.memberships().latest().1
    }

    /// Whether this server may stand for election.
    pub(crate) fn may_stand(&self) -> bool {
        self.log.memberships().may_stand(self.config.id)
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
    pub(crate) fn would_elect(&self, last: Position) -> bool {
        last.up_to_date_with(self.log.last())
    }

    /// A granted pre-vote repeats the term it was asked for; a refused one carries ours (thesis 9.6).
    pub(crate) fn answer_pre_vote(&mut self, to: NodeId, term: Term, granted: bool) {
        let message = Message::PreVoteReply { granted };
        if granted {
            self.outbox.send_unbound(Envelope { from: self.config.id, to, term, message });
        } else if !mutant(Mutant::PreVoteRefusalSilent) {
            self.send(to, message);
        }
    }

    /// Tells who speaks for an old term which one it is now; replies are not answered.
    pub(crate) fn answer_old(&mut self, envelope: &Envelope) {
        let answer = match envelope.message {
            Message::Vote { .. } => Message::VoteReply { granted: false },
            Message::Append { session, round, .. } | Message::Heartbeat { session, round, .. } => {
                Message::HeartbeatReply { session, round }
            }
            _ => return,
        };
        mark(Mark::OldTermAnswered);
        if !mutant(Mutant::OldTermUnanswered) {
            self.send(envelope.from, answer);
        }
    }

    /// Learns that the log is committed up to `index`; not while a state is made current that goes beyond.
    pub(crate) fn commit_to(&mut self, index: Index) {
        if self.installing && !mutant(Mutant::AppliesWhileInstalling) {
            return;
        }
        assert!(index <= self.log.last().index, "only entries that are here are committed here");
        self.commit = if mutant(Mutant::CommitFalls) { index } else { self.commit.max(index) };
        self.log.committed(self.commit);
    }

    /// A tick has passed for term and vote, where the disk does not hold them yet.
    pub(crate) fn tick_disk(&mut self) {
        let waits = if self.outbox.hard_is_durable() { 0 } else { self.disk.waits.saturating_add(1) };
        self.disk.waits = waits;
    }

    /// Whether this server is the only voter.
    pub(crate) fn is_alone(&self) -> bool {
        self.membership().is_alone(self.config.id)
    }

    /// Whether this server stands for no election, for want of room.
    pub(crate) fn must_not_lead(&self) -> bool {
        self.disk.without_room && !self.is_alone()
    }

    /// Whether memory holds more than it should because applying is slow, or the disk that it waits for.
    pub(crate) fn is_full(&self) -> bool {
        let bound = self.config.cache_bytes + 4 * self.config.max_uncommitted_bytes;
        self.log.bytes() > bound && self.applied < self.commit && !mutant(Mutant::NeverFull)
    }

    /// All that is to be done now.
    pub(crate) fn effects(&mut self) -> Effects {
        let persist = self.write();
        let apply = self.log.page(self.applying, self.may_apply());
        self.applying = apply.last().map_or(self.applying, |last| last.position.index);
        let due = if mutant(Mutant::ServesBeforeApplied) { self.commit } else { self.applying };
        let (now, later) = core::mem::take(&mut self.ready).into_iter().partition(|(at, _)| *at <= due);
        self.ready = later;
        if !self.ready.is_empty() {
            mark(Mark::ReadWaitsForState);
        }
        Effects {
            persist,
            send: self.outbox.take(),
            fetch: core::mem::take(&mut self.fetch),
            send_snapshot: core::mem::take(&mut self.send_snapshot),
            apply,
            reads: Vec::into_iter(now).map(|(_, id)| id).collect(),
            failed_reads: core::mem::take(&mut self.failed),
        }
    }

    /// How far entries may be given out: committed, durable here, and wanted.
    fn may_apply(&self) -> Index {
        let durable = self.log.persisted();
        if self.held && self.applying < self.commit {
            mark(Mark::ApplyHeld);
        }
        if durable < self.commit {
            mark(Mark::ApplyWaitsForDisk);
        }
        if self.held || self.installing && !mutant(Mutant::AppliesWhileInstalling) {
            self.applying
        } else if mutant(Mutant::AppliesBeforeDurable) {
            self.commit
        } else {
            self.commit.min(durable)
        }
    }

    /// What the disk was not given yet, as one write.
    fn write(&mut self) -> Option<Persist> {
        let hard = self.outbox.hand();
        let restart = self.restart.take();
        let entries: Vec<Entry> = self.log.hand();
        if hard.is_none() && restart.is_none() && entries.is_empty() {
            return None;
        }
        self.ticket = Ticket(self.ticket.0 + 1);
        self.log.writing(self.ticket);
        self.outbox.writing(self.ticket);
        Some(Persist { ticket: self.ticket, hard, restart, entries })
    }
}

/// The membership of a state; where it has none, nobody changed it yet, and the founders are in effect.
pub(crate) fn founded(config: &Config, membership: Option<Membership>) -> Arc<Membership> {
    let founders = || Membership::new(&config.voters, &[]).unwrap_or(Membership::nobody());
    let known = membership.filter(|_| !mutant(Mutant::StateForgetsMembership));
    Arc::new(known.unwrap_or_else(founders))
}
