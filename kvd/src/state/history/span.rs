//! Changes that are trimmed together.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use protocol::history::Window;

use super::{Change, SPANS};

/// The changes of some revisions in a row. Those of one revision are never in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The revision of its first change.
    pub(crate) first: u64,
    /// The revision of its last.
    pub(crate) last: u64,
    /// How many there are.
    pub(crate) changes: u64,
    /// What they count for.
    pub(crate) bytes: u64,
    /// The stamp of the first.
    pub(crate) began_ms: u64,
    /// The stamp of the last.
    pub(crate) ended_ms: u64,
    /// The sum of their hashes.
    pub(crate) hash: u64,
}

impl Span {
    /// With its first change.
    pub(super) fn begin(change: &Change, bytes: u64, hash: u64) -> Self {
        let Change { revision, stamp_ms, .. } = *change;
        Self {
            first: revision,
            last: revision,
            changes: 1,
            bytes,
            began_ms: stamp_ms,
            ended_ms: stamp_ms,
            hash,
        }
    }

    /// Whether the next change belongs to another one.
    pub(super) fn is_full(&self, window: &Window, next: &Change) -> bool {
        let lasted = next.stamp_ms.saturating_sub(self.began_ms);
        let full = |has: u64, most: u64| has.saturating_mul(SPANS) >= most;
        self.last != next.revision
            && (full(self.changes, window.changes)
                || full(self.bytes, window.bytes)
                || full(lasted, window.age_ms))
    }

    pub(super) fn add(&mut self, change: &Change, bytes: u64, hash: u64) {
        self.last = change.revision;
        self.ended_ms = change.stamp_ms;
        self.changes = self.changes.saturating_add(1);
        self.bytes = self.bytes.saturating_add(bytes);
        self.hash = self.hash.wrapping_add(hash);
    }

    /// Its stored form.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let Self { last, changes, bytes, began_ms, ended_ms, hash, .. } = *self;
        [last, changes, bytes, began_ms, ended_ms, hash].into_iter().flat_map(u64::to_le_bytes).collect()
    }

    /// Reads it. `None` when it is not as long as it should be.
    pub(crate) fn decode(first: u64, bytes: &[u8]) -> Option<Self> {
        let (words, rest) = bytes.as_chunks::<8>();
        let [last, changes, bytes, began_ms, ended_ms, hash] = *words else { return None };
        let [last, changes, bytes, began_ms, ended_ms, hash] =
            [last, changes, bytes, began_ms, ended_ms, hash].map(u64::from_le_bytes);
        rest.is_empty().then_some(Self { first, last, changes, bytes, began_ms, ended_ms, hash })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_survives_its_bytes_and_another_length_is_refused() {
        let span = Span { first: 1, last: 2, changes: 3, bytes: 4, began_ms: 5, ended_ms: 6, hash: 7 };
        let bytes = span.encode();
        assert_eq!((bytes.len(), Span::decode(1, &bytes)), (48, Some(span)));
        assert_eq!(Span::decode(1, &bytes[1..]), None);
        assert_eq!(Span::decode(1, &[bytes, vec![0]].concat()), None);
    }
}
