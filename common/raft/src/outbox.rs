//! The durability gate (thesis 3.8, 10.2.1): a message waits here until this server's disk holds what it promises.
//!
//! A message waits for at most two things: the term and vote it speaks for, and the entries it acknowledges. Term
//! and vote are numbered by version: each change is a new version, and the disk's version follows with
//! `persisted`. Only pre-votes pass by, for they bind nobody. Leaving a term discards what still waits: to the
//! receivers that is loss, which they survive.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    message::{Envelope, Message},
    types::{HardState, Index, Ticket},
};

/// More messages than this do not wait; the rest are lost as a network would lose them.
const MOST_HELD: usize = 8192;

/// What may leave, and what waits for the disk.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    free: Vec<Envelope>,
    held: VecDeque<Held>,
    hard: HardState,
    version: u64,
    handed: u64,
    durable: u64,
    writes: VecDeque<(Ticket, u64)>,
}

#[derive(Clone, Debug)]
struct Held {
    version: u64,
    entries: Index,
    envelope: Envelope,
}

impl Outbox {
    /// A gate for a server whose disk holds `hard`.
    pub(crate) fn new(hard: HardState) -> Self {
        let (free, held, writes) = (Vec::new(), VecDeque::new(), VecDeque::new());
        let vote = if mutant(Mutant::RestartForgetsVote) { None } else { hard.vote };
        let hard = HardState { vote, ..hard };
        Self { free, held, hard, version: 0, handed: 0, durable: 0, writes }
    }

    /// The term and vote, durable or not.
    pub(crate) fn hard(&self) -> HardState {
        self.hard
    }

    /// Whether the present term and vote are on disk.
    pub(crate) fn hard_is_durable(&self) -> bool {
        self.durable == self.version
    }

    /// Takes a new term or vote.
    pub(crate) fn set_hard(&mut self, hard: HardState) {
        assert!(hard.term >= self.hard.term, "terms never fall");
        let revote = hard.term == self.hard.term && self.hard.vote.is_some() && hard.vote != self.hard.vote;
        assert!(!revote, "one vote a term");
        if hard == self.hard {
            return;
        }
        if hard.term > self.hard.term && !self.held.is_empty() && !mutant(Mutant::HeldOutlivesTerm) {
            mark(Mark::HeldDiscarded);
            self.held.clear();
        }
        if hard.term > self.hard.term || !mutant(Mutant::VoteAloneUnwritten) {
            self.version += 1;
        }
        self.hard = hard;
    }

    /// Sends without waiting: pre-votes only.
    pub(crate) fn send_unbound(&mut self, envelope: Envelope) {
        self.free.push(envelope);
    }

    /// Sends once the present term and vote are durable, and the log up to `entries`; `persisted` says how far the
    /// log is durable now.
    pub(crate) fn send(&mut self, envelope: Envelope, entries: Index, persisted: Index) {
        let held = Held { version: self.version, entries, envelope };
        if self.may_leave(&held, persisted) {
            self.free.push(held.envelope);
        } else if self.held.len() < MOST_HELD {
            self.held.push_back(held);
        }
    }

    /// Whether the disk holds what `held` promises.
    fn may_leave(&self, held: &Held, persisted: Index) -> bool {
        let early = match held.envelope.message {
            Message::Vote { .. } => mutant(Mutant::AsksBeforeDurable),
            Message::VoteReply { .. } => mutant(Mutant::GrantsBeforeDurable),
            _ => mutant(Mutant::SpeaksBeforeDurable),
        };
        (held.version <= self.durable || early)
            && (held.entries <= persisted || mutant(Mutant::AcknowledgesBeforeDurable))
    }

    /// The log begins anew after `index`: what waits for entries beyond it speaks of a log that is gone.
    pub(crate) fn forget_above(&mut self, index: Index) {
        self.held.retain(|held| held.entries <= index);
    }

    /// The term and vote, when the disk was not yet given them; from now on it was.
    pub(crate) fn hand(&mut self) -> Option<HardState> {
        (self.handed < self.version).then(|| {
            self.handed = self.version;
            self.hard
        })
    }

    /// Notes that the write `ticket` holds the term and vote handed so far.
    pub(crate) fn writing(&mut self, ticket: Ticket) {
        self.writes.push_back((ticket, self.handed));
    }

    /// All writes up to `ticket` are durable, and with them the log up to `persisted`: lets go what waited for that.
    pub(crate) fn written(&mut self, ticket: Ticket, persisted: Index) {
        while let Some(&(next, version)) = self.writes.front() {
            if next > ticket {
                break;
            }
            self.writes.pop_front();
            self.durable = self.durable.max(version);
        }
        for held in core::mem::take(&mut self.held) {
            if self.may_leave(&held, persisted) {
                self.free.push(held.envelope);
            } else {
                self.held.push_back(held);
            }
        }
    }

    /// What may leave now.
    pub(crate) fn take(&mut self) -> Vec<Envelope> {
        core::mem::take(&mut self.free)
    }
}
