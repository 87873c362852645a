//! What is kept of the past: the changes of all keys in one order, and the window that bounds them.
//!
//! A **change** is one key written or removed at one revision. It says what was there *before*, not what came: what a
//! key holds now is in its row, and what it held before lies in the change that replaced it, so no value is stored twice.
//! A row names the revision that wrote it, and the change at that revision holds the row before, which names the revision
//! before: so a key's versions are found one after the other, newest first, without an index that each write would have
//! to keep. A key that was removed has no row; its tombstone names the revision of its removal for as long as that is
//! kept.
//!
//! ```text
//!  row of k: revision 9 ──► change (9, k): before = row of revision 5 ──► change (5, k): before = nothing
//!                           change (8, m)                               ╎
//!                           change (7, m)                               ╎ below the floor: trimmed
//! ```
//!
//! **The window** bounds how many changes are kept, how old they may be and for how many bytes they count. It is state: it
//! is changed by a write, and every node trims the same at the same revision. Age is the distance of the leaders' stamps
//! in the log; no clock of this node takes part. The **floor** is the highest revision of which a change was trimmed:
//! every revision from the floor on can be read, and of those before it none is promised.
//!
//! **Trimming costs nothing where writes are applied.** Changes are counted in [spans](Span), some hundred
//! whatever the window (a few more where it was small and was enlarged), each with its number of changes, its bytes and
//! its share of the state's hash. A write adds to the newest span, and while the window is exceeded the oldest goes as a
//! whole, in a few additions and without reading anything. What it stood for is removed from the store by later flushes,
//! a bounded amount by each; until then it lies below the floor and is not looked at. A span holds at most a 64th of what the window does, or one write.
//!
//! On disk: `store/history.rs`. Reading: `state/past.rs`.

use std::{collections::VecDeque, sync::Arc};

use protocol::{
    history::{Kept, Window},
    limits::NUMBER,
};

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    state::hash,
    store::recent::Recent,
};

mod change;
mod span;

pub(crate) use change::{Before, Change, Replaced};
pub(crate) use span::Span;

/// A window is made of so many spans at least, unless single writes are larger.
const SPANS: u64 = 64;
/// Most trimmed changes that a write takes out of memory.
const TIDIED: usize = 64;

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct History {
    facts: Facts,
    spans: VecDeque<Span>,
    changes: u64,
    bytes: u64,
    hash: u64,
}

/// What a commit says of it beside changes and spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The bounds.
    pub(crate) window: Window,
    /// The highest revision of which a change was trimmed; zero while none was.
    pub(crate) floor: u64,
    /// The stamp of that change.
    pub(crate) floor_ms: u64,
}

impl Facts {
    /// Of an empty state.
    pub(crate) const FIRST: Self = Self { window: Window::FIRST, floor: 0, floor_ms: 0 };
}

impl History {
    /// What was kept at the last commit. The error says what is wrong with it.
    pub(crate) fn load(facts: Facts, spans: VecDeque<Span>) -> Result<Self, &'static str> {
        let mut history = Self { facts, spans: VecDeque::new(), changes: 0, bytes: 0, hash: 0 };
        let mut last = facts.floor;
        // What is added to it later must not overflow.
        let sum = |all: u64, more: u64| all.checked_add(more).filter(|sum| *sum <= NUMBER);
        for span in &spans {
            if span.first <= last || span.last < span.first {
                return Err("the spans of its history are not in order");
            }
            last = span.last;
            let sums = sum(history.changes, span.changes).zip(sum(history.bytes, span.bytes));
            (history.changes, history.bytes) =
                sums.ok_or("the spans of its history count for more than any do")?;
            history.hash = history.hash.wrapping_add(span.hash);
        }
        history.spans = spans;
        Ok(history)
    }

    /// Counts a change that is made now.
    pub(super) fn add(&mut self, change: &Change) {
        let (bytes, element) = (change.bytes(), change.element());
        match self.spans.back_mut().filter(|span| !span.is_full(&self.facts.window, change)) {
            Some(span) => span.add(change, bytes, element),
            None => self.spans.push_back(Span::begin(change, bytes, element)),
        }
        self.changes += 1;
        self.bytes += bytes;
        self.hash = self.hash.wrapping_add(element);
    }

    /// Trims what the window no longer holds, as of the newest stamp. `local_ms` is for a bug on purpose.
    pub(super) fn trim(&mut self, stamp_ms: u64, local_ms: u64, recent: &mut Recent) {
        let window = self.facts.window;
        let now =
            if mutant(Mutant::HistoryTrimsByLocalClock) { stamp_ms + local_ms % 1000 } else { stamp_ms };
        while let Some(oldest) = self.spans.front() {
            let most = if mutant(Mutant::HistoryTrimsTooMuch) { window.changes / 2 } else { window.changes };
            let old = oldest.began_ms.saturating_add(window.age_ms) < now;
            let many = self.changes > most;
            let large = self.bytes > window.bytes && !mutant(Mutant::HistoryIgnoresBytes);
            if !(old || many || large) {
                break;
            }
            mark(match (many, large) {
                (true, _) => Mark::HistoryTrimmedMany,
                (_, true) => Mark::HistoryTrimmedLarge,
                _ => Mark::HistoryTrimmedOld,
            });
            self.changes -= oldest.changes;
            self.bytes -= oldest.bytes;
            self.hash = self.hash.wrapping_sub(oldest.hash);
            self.facts.floor = oldest.last - u64::from(mutant(Mutant::HistoryFloorTooLow));
            self.facts.floor_ms = oldest.ended_ms;
            self.spans.pop_front();
        }
        recent.forget(self.facts.floor, TIDIED);
    }

    /// Sets the bounds; what they no longer hold goes with the next trimming.
    pub(super) fn set_window(&mut self, window: Window) {
        self.facts.window = window;
    }

    /// Nothing of before this revision is kept.
    pub(super) fn begin_anew(&mut self, revision: u64, stamp_ms: u64) {
        let facts = Facts { window: self.facts.window, floor: revision, floor_ms: stamp_ms };
        *self = Self { facts, spans: VecDeque::new(), changes: 0, bytes: 0, hash: 0 };
    }

    /// What the bounds are and how far it goes back.
    pub(crate) fn facts(&self) -> Facts {
        self.facts
    }

    /// The spans, oldest first.
    pub(crate) fn spans(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter()
    }

    /// The sum of the hashes of its changes.
    pub(crate) fn changes_hash(&self) -> u64 {
        self.hash
    }

    /// Its share of the state's hash.
    pub(super) fn hash(&self) -> u64 {
        let Facts { window: Window { changes, age_ms, bytes }, floor, floor_ms } = self.facts;
        self.hash.wrapping_add(hash::element(&[changes, age_ms, bytes, floor, floor_ms]))
    }

    /// For people.
    pub(super) fn kept(&self) -> Kept {
        let Facts { window, floor, .. } = self.facts;
        Kept { oldest: floor, changes: self.changes, bytes: self.bytes, window }
    }
}

/// The entry that is applied, as far as its changes tell of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Occasion {
    pub(crate) revision: u64,
    pub(crate) stamp_ms: u64,
    pub(crate) wall_ms: u64,
    /// Whether what it removes is removed because its time is over.
    pub(crate) expired: bool,
}

impl Occasion {
    /// A change of a key.
    pub(super) fn change(self, key: &Arc<[u8]>, deleted: bool, before: Before) -> Change {
        let Self { revision, stamp_ms, wall_ms, expired } = self;
        Change { revision, key: Arc::clone(key), stamp_ms, wall_ms, deleted, expired, before }
    }
}

#[cfg(test)]
mod tests;
