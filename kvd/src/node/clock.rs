//! The time that goes into the log, made of what is in it already: no node's wall clock decides anything.

use crate::{
    event::Time,
    instruments::{Mark, mark},
};

/// The only clock that reaches the state: the newest stamp in the log plus the time that passed here since.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct ReplicatedClock {
    pub(super) stamp_ms: u64,
    pub(super) seen_at_ms: u64,
    /// The stamp that this node gave last.
    pub(super) given: Option<u64>,
}

impl ReplicatedClock {
    pub(super) fn at(self, now: Time) -> u64 {
        self.stamp_ms.saturating_add(now.monotonic_ms.saturating_sub(self.seen_at_ms))
    }

    /// Gives a stamp: to an entry that is proposed just now.
    pub(super) fn gave(&mut self, stamp_ms: u64, now: Time) {
        self.saw(stamp_ms, now);
        self.given = Some(stamp_ms);
    }

    /// Follows an entry that is appended, unless it was given its stamp here: what passed since then has passed, and a leader
    /// whose own entries held it up would go slow by all the time between proposing and appending.
    pub(super) fn follow(&mut self, stamp_ms: u64, now: Time) {
        if self.given != Some(stamp_ms) {
            self.saw(stamp_ms, now);
        }
    }

    /// Follows an entry that was appended here just now, also where this node's own clock ran ahead of it: drift does
    /// not add up from entry to entry. Stamps in the log never go back, for a leader's clock starts from the newest.
    pub(super) fn saw(&mut self, stamp_ms: u64, now: Time) {
        if stamp_ms >= self.stamp_ms {
            if stamp_ms < self.at(now) {
                mark(Mark::ClockSetBack);
            }
            *self = Self { stamp_ms, seen_at_ms: now.monotonic_ms, ..*self };
        }
    }
}
