//! The time that goes into the log, made of what is in it already: no node's wall clock decides anything.

use raft::Term;

use crate::{
    event::Time,
    instruments::{Mark, mark},
};

/// The only clock that reaches the state: the newest stamp in the log plus the time that passed here since.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ReplicatedClock {
    pub(super) stamp_ms: u64,
    pub(super) seen_at_ms: u64,
    /// The term in which this node gave the newest stamp, if it was this node.
    pub(super) given_in: Option<Term>,
}

impl ReplicatedClock {
    pub(super) fn at(self, now: Time) -> u64 {
        self.stamp_ms.saturating_add(now.monotonic_ms.saturating_sub(self.seen_at_ms))
    }

    /// Gives a stamp: to an entry that is proposed just now.
    pub(super) fn gave(&mut self, stamp_ms: u64, term: Term, now: Time) {
        *self = Self { stamp_ms, seen_at_ms: now.monotonic_ms, given_in: Some(term) };
    }

    /// Follows the newest stamp of what is appended here just now, also where this node's own clock ran ahead of it: drift does
    /// not add up from entry to entry, and a stamp that this node gave to an entry that was lost says nothing. A renewal that
    /// is stamped by a slower clock would else be over before its time. Stamps in the log never go back, for a leader's clock
    /// starts from the newest.
    ///
    /// What this node itself gave is left alone: what passed since then has passed, and a leader whose own entries held it up
    /// would go slow by all the time between proposing and appending. A term has one leader, so an entry of the term in which
    /// this node gave the newest stamp is its own.
    pub(super) fn follow(&mut self, stamp_ms: u64, term: Term, now: Time) {
        if self.given_in != Some(term) {
            self.set(stamp_ms, now);
        }
    }

    /// Goes on from a state that took the place of this node's; its stamp is the newest where no log is left behind it.
    pub(super) fn install(&mut self, stamp_ms: u64, is_last: bool, now: Time) {
        if is_last || stamp_ms >= self.stamp_ms {
            self.set(stamp_ms, now);
        }
    }

    fn set(&mut self, stamp_ms: u64, now: Time) {
        if stamp_ms < self.at(now) {
            mark(Mark::ClockSetBack);
        }
        *self = Self { stamp_ms, seen_at_ms: now.monotonic_ms, given_in: None };
    }
}
