//! What is kept of the past: one window over all changes of all keys, and what is shown of one key's.
//!
//! The window is part of the state: it is changed by a write ([`Operation::SetWindow`](crate::Operation::SetWindow)) and is
//! therefore the same on every node at the same revision. Only that makes it possible that every node trims the same.

use crate::{DecodeError, limits, response::Found};

/// How much of the past is kept: as much as all three bounds allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Most changes: one write of one key is one change.
    pub changes: u64,
    /// How old a change may be, in milliseconds of the leaders' stamps.
    pub age_ms: u64,
    /// Most bytes: the keys of the changes, the values that they replaced, and
    /// [`limits::CHANGE_BYTES`] for each.
    pub bytes: u64,
}

impl Window {
    /// With which every cluster begins. It is part of what all versions must agree on: another one needs another format
    /// of the state.
    pub const FIRST: Self =
        Self { changes: 1_000_000, age_ms: 24 * 60 * 60 * 1000, bytes: 256 * 1024 * 1024 };

    /// The window after a change of some of its bounds.
    #[must_use]
    pub fn with(self, change: &WindowChange) -> Self {
        Self {
            changes: change.changes.unwrap_or(self.changes),
            age_ms: change.age_ms.unwrap_or(self.age_ms),
            bytes: change.bytes.unwrap_or(self.bytes),
        }
    }
}

/// New bounds for the window; those that are not named stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct WindowChange {
    /// At most [`limits::WINDOW_CHANGES`].
    pub changes: Option<u64>,
    /// At most [`limits::WINDOW_AGE_MS`].
    pub age_ms: Option<u64>,
    /// At most [`limits::WINDOW_BYTES`].
    pub bytes: Option<u64>,
}

impl WindowChange {
    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        let over = |bound: Option<u64>, limit: u64| bound.is_some_and(|bound| bound > limit);
        if *self == Self::default() {
            return Err(DecodeError::Malformed("a window of which nothing changes"));
        }
        if over(self.changes, limits::WINDOW_CHANGES) {
            return Err(DecodeError::Malformed("a window of more than 10000000 changes"));
        }
        if over(self.age_ms, limits::WINDOW_AGE_MS) {
            return Err(DecodeError::Malformed("a window of more than 366 days"));
        }
        if over(self.bytes, limits::WINDOW_BYTES) {
            return Err(DecodeError::Malformed("a window of more than 16 GiB"));
        }
        Ok(())
    }
}

/// What is kept now, and by which bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The oldest revision that can be read; zero while nothing was trimmed.
    pub oldest: u64,
    /// How many changes are kept.
    pub changes: u64,
    /// How many bytes they count for.
    pub bytes: u64,
    /// The bounds.
    pub window: Window,
}

impl Default for Kept {
    fn default() -> Self {
        Self { oldest: 0, changes: 0, bytes: 0, window: Window::FIRST }
    }
}

/// What a key came to hold, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    /// The revision that made it so.
    pub revision: u64,
    /// What it held from then on; `None` where it was removed.
    pub found: Option<Found>,
    /// When that was; unknown of what was there already when the window began.
    pub moment: Option<Moment>,
    /// Whether it was removed because its time was over.
    pub expired: bool,
}

/// When something was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Moment {
    /// How long before the read, in milliseconds of the leaders' stamps.
    pub age_ms: u64,
    /// What the leader's clock on the wall said, in milliseconds since 1970; for display only.
    pub wall_ms: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct WindowChangeWire {
    #[prost(uint64, optional, tag = "1")]
    changes: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    age_ms: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    bytes: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct KeptWire {
    #[prost(uint64, tag = "1")]
    oldest: u64,
    #[prost(uint64, tag = "2")]
    changes: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
    #[prost(message, optional, tag = "4")]
    window: Option<WindowChangeWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct VersionWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, optional, tag = "2")]
    found: Option<crate::response::wire::FoundWire>,
    #[prost(message, optional, tag = "3")]
    moment: Option<MomentWire>,
    #[prost(bool, tag = "4")]
    expired: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct MomentWire {
    #[prost(uint64, tag = "1")]
    age_ms: u64,
    #[prost(uint64, tag = "2")]
    wall_ms: u64,
}

impl From<WindowChange> for WindowChangeWire {
    fn from(WindowChange { changes, age_ms, bytes }: WindowChange) -> Self {
        Self { changes, age_ms, bytes }
    }
}

impl From<WindowChangeWire> for WindowChange {
    fn from(WindowChangeWire { changes, age_ms, bytes }: WindowChangeWire) -> Self {
        Self { changes, age_ms, bytes }
    }
}

impl From<Kept> for KeptWire {
    fn from(Kept { oldest, changes, bytes, window }: Kept) -> Self {
        let Window { changes: most, age_ms, bytes: room } = window;
        let window = WindowChangeWire { changes: Some(most), age_ms: Some(age_ms), bytes: Some(room) };
        Self { oldest, changes, bytes, window: Some(window) }
    }
}

impl From<KeptWire> for Kept {
    fn from(KeptWire { oldest, changes, bytes, window }: KeptWire) -> Self {
        let window = window.map(WindowChange::from).unwrap_or_default();
        Self { oldest, changes, bytes, window: Window::FIRST.with(&window) }
    }
}

impl From<Version> for VersionWire {
    fn from(Version { revision, found, moment, expired }: Version) -> Self {
        let moment = moment.map(|Moment { age_ms, wall_ms }| MomentWire { age_ms, wall_ms });
        Self { revision, found: found.map(Into::into), moment, expired }
    }
}

impl From<VersionWire> for Version {
    fn from(VersionWire { revision, found, moment, expired }: VersionWire) -> Self {
        let moment = moment.map(|MomentWire { age_ms, wall_ms }| Moment { age_ms, wall_ms });
        Self { revision, found: found.map(Into::into), moment, expired }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_bounded_and_says_something() {
        let changes = |changes| WindowChange { changes: Some(changes), ..WindowChange::default() };
        let age = |age_ms| WindowChange { age_ms: Some(age_ms), ..WindowChange::default() };
        let bytes = |bytes| WindowChange { bytes: Some(bytes), ..WindowChange::default() };
        let at = [changes(limits::WINDOW_CHANGES), age(limits::WINDOW_AGE_MS), bytes(limits::WINDOW_BYTES)];
        for within in at.into_iter().chain([changes(0), age(0), bytes(0)]) {
            assert_eq!(within.check(), Ok(()));
        }
        let past = [
            changes(limits::WINDOW_CHANGES + 1),
            age(limits::WINDOW_AGE_MS + 1),
            bytes(limits::WINDOW_BYTES + 1),
        ];
        for beyond in past.into_iter().chain([WindowChange::default()]) {
            assert!(beyond.check().is_err(), "{beyond:?}");
        }
    }

    #[test]
    fn what_is_not_named_stays() {
        let window = Window::FIRST.with(&WindowChange { age_ms: Some(7), ..WindowChange::default() });
        assert_eq!(window, Window { age_ms: 7, ..Window::FIRST });
    }
}
