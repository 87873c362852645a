//! What is kept in memory of the log on disk: where entries stand, coarsely, and which terms they have, exactly.
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

use raft::{Index, Position, Term};

use crate::instruments::{Mark, mark};

/// A place is kept for about every so many bytes of log, so memory is under a thousandth of the disk.
const STRIDE: u64 = 64 * 1024;

/// Where one batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first entry.
    pub(super) first: Index,
    /// The segment's sequence.
    pub(super) segment: u64,
    /// Byte in the segment.
    pub(super) offset: u64,
}

/// A sparse map from index to place.
///
/// Ascending by `first` and by place. The live entries from one place's `first` up to the next one's are contiguous
/// on disk from that place on, in one segment: every segment has a place for its first entries, and so has every
/// batch that replaced older ones.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

impl Places {
    /// Notes a batch that was appended; `replaces` when entries at or after its first were there before.
    pub(super) fn add(&mut self, place: Place, replaces: bool) {
        while let Some(last) = self.0.pop_if(|last| last.first >= place.first) {
            if last.segment < place.segment {
                mark(Mark::LogReplacedAcrossSegments);
            }
        }
        let near = |last: &Place| {
            last.segment == place.segment && place.offset.saturating_sub(last.offset) < STRIDE && !replaces
        };
        if !self.0.last().is_some_and(near) {
            self.0.push(place);
        }
    }

    /// The place to look for `index` from, and the first index that is to be looked for elsewhere.
    pub(super) fn find(&self, index: Index) -> Option<(Place, Option<Index>)> {
        let after = self.0.partition_point(|place| place.first <= index);
        let place = self.0.get(after.checked_sub(1)?)?;
        Some((*place, self.0.get(after).map(|next| next.first)))
    }

    /// First live index in segments after this one.
    pub(super) fn first_after(&self, segment: u64) -> Option<Index> {
        self.0.iter().find(|place| place.segment > segment).map(|place| place.first)
    }

    /// Forgets a segment and those before it.
    pub(super) fn forget(&mut self, segment: u64) {
        self.0.retain(|place| place.segment > segment);
    }
}

/// The term of every entry, by runs: one position for each change of term.
#[derive(Debug)]
pub(super) struct Terms(Vec<Position>);

impl Terms {
    /// Of a log that starts after `base`.
    pub(super) fn new(base: Position) -> Self {
        Self(vec![base])
    }

    /// Term of the entry at `index`, which must not be after the last; none before the base.
    pub(super) fn at(&self, index: Index) -> Option<Term> {
        let after = self.0.partition_point(|run| run.index <= index);
        self.0.get(after.checked_sub(1)?).map(|run| run.term)
    }

    /// Forgets everything after `index`.
    pub(super) fn truncate(&mut self, index: Index) {
        self.0.retain(|run| run.index <= index);
    }

    /// Appends the next entry's.
    pub(super) fn push(&mut self, position: Position) {
        if self.0.last().is_none_or(|run| run.term != position.term) {
            self.0.push(position);
        }
    }

    /// Forgets everything before `base`.
    pub(super) fn discard(&mut self, base: Position) {
        self.0.retain(|run| run.index > base.index);
        self.0.insert(0, base);
    }
}
