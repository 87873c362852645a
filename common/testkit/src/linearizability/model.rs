//! What one key can hold and what can be done to it: small enough to be compared and remembered by the million.

/// One operation of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Its place among the operations of its key.
    pub(super) from: usize,
    pub(super) act: Act,
    pub(super) invoked: u64,
    /// `None` if its outcome is unknown: it may take effect at any time after it was asked, or never.
    pub(super) ended: Option<u64>,
}

/// What it did, with what its client was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// `existed` is whether the key was there before, if that is known.
    Set {
        value: usize,
        existed: Option<bool>,
    },
    Delete {
        existed: Option<bool>,
    },
    Get {
        value: Option<usize>,
    },
}

/// What the key holds, as far as it matters for what comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum State {
    /// Nothing.
    Absent,
    /// Some value that nobody will ask for any more: which one makes no difference.
    Present,
    /// A value that will be read by someone who has not asked yet.
    Value(usize),
}

/// One way in which a history can have gone so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Config {
    pub(super) state: State,
    /// Which of the open operations have taken effect, by their slots.
    pub(super) done: u128,
    /// How many unread sets of unknown outcome have taken effect.
    pub(super) sets: u32,
    /// How many deletes of unknown outcome have.
    pub(super) deletes: u32,
}

impl Config {
    pub(super) const START: Self = Self { state: State::Absent, done: 0, sets: 0, deletes: 0 };

    pub(super) fn is_done(&self, slot: usize) -> bool {
        self.done & (1 << slot) != 0
    }
}
