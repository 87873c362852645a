//! What keys held at an earlier revision, and all that one of them held.
//!
//! A walk begins with what a key holds now and goes from change to change, newest first: the change at the revision of a
//! row has the row before it (`state/history.rs`). How long that takes depends on how often the key was written since, so
//! it is done where pages are made, and what a view shows of the past never changes. Where a key was written very often the
//! walk is met from the other end: the first of all changes after a revision that is of this key has the same row, and the
//! more often a key is written the sooner it is found.

use std::{ops::Bound, sync::Arc};

use protocol::{
    Refused,
    history::{Moment, Version},
};

use super::{
    StateError,
    history::{Before, Change},
    merge::{Layered, Merge},
    row::{Meta, Row},
    view::View,
};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::{history::StoredChange, overlay::Slot, recent::Recent},
};

/// After so many steps a walk is met from the other end.
const STRIDE: usize = 16;

/// So many revisions before a place are looked at for changes that were made later by their clock.
const LOOKED_BACK: u64 = 256;
/// So often at most, one after the other.
const SETBACKS: usize = 16;

/// When a change was made.
struct Place {
    revision: u64,
    stamp_ms: u64,
    wall_ms: u64,
}

/// What a key held from a revision on.
pub(super) struct Held {
    /// The revision: zero where it held nothing and it is not kept since when.
    pub(super) revision: u64,
    row: Option<(Meta, Source)>,
}

/// Where the value of a row is.
enum Source {
    Shared(Arc<Row>),
    /// In the store, under its key.
    Stored,
    /// In the store, with the change that replaced it.
    Replaced(StoredChange),
}

/// One step back.
pub(super) struct Step {
    pub(super) before: Held,
    stamp_ms: u64,
    wall_ms: u64,
    expired: bool,
}

impl Held {
    const NOTHING: Self = Self { revision: 0, row: None };

    fn row(meta: Meta, source: Source) -> Self {
        Self { revision: meta.revision, row: Some((meta, source)) }
    }

    fn nothing(revision: u64) -> Self {
        Self { revision, row: None }
    }

    fn of(found: &Layered<'_>) -> Self {
        match found {
            Layered::Slot(_, _, slot) => Self::of_slot(slot),
            Layered::Stored(stored) => {
                stored.split().map_or(Self::NOTHING, |(meta, _)| Self::row(meta, Source::Stored))
            }
        }
    }

    fn of_slot(slot: &Slot) -> Self {
        match slot {
            Slot::Row(row) => Self::row(row.meta, Source::Shared(Arc::clone(row))),
            Slot::Deleted(revision) => Self::nothing(*revision),
        }
    }

    /// Whether it held something.
    pub(super) fn is_row(&self) -> bool {
        self.row.is_some()
    }
}

/// Where a way back ended.
pub(super) enum Back {
    /// At what the key held then, after so many steps.
    Found(Held, usize),
    /// Too early: from here it goes on.
    Halfway(Held),
    /// Before what is kept.
    NotKept,
}

impl Step {
    fn of(change: &Change) -> Self {
        let before = match &change.before {
            Before::Nothing(revision) => Held::nothing(*revision),
            Before::Row(row) => Held::row(row.meta, Source::Shared(Arc::clone(row))),
            Before::Stored(meta, _) => Held::row(*meta, Source::Stored),
        };
        Self { before, stamp_ms: change.stamp_ms, wall_ms: change.wall_ms, expired: change.expired }
    }
}

impl View {
    /// Why the revision cannot be read, where it cannot; `is_one` says that one key is meant, of which more may be
    /// known.
    pub(super) fn refuses(&self, revision: u64, is_stale: bool, is_one: bool) -> Option<Refused> {
        let newest = self.revision;
        if revision > newest {
            mark(Mark::PastNotYet);
            return Some(if is_stale {
                Refused::Unavailable(format!("this node is at revision {newest}, {revision} is later"))
            } else {
                Refused::Invalid(format!("revision {revision} is not written yet, the newest is {newest}"))
            });
        }
        (revision < self.history.floor && !is_one && !mutant(Mutant::PastReadsTrimmed))
            .then(|| self.not_kept())
    }

    /// What is asked for is older than what is kept.
    pub(super) fn not_kept(&self) -> Refused {
        mark(Mark::PastNotKept);
        let age_ms = self.clock_ms.saturating_sub(self.history.floor_ms);
        Refused::NotKept { oldest: self.history.floor, age_ms: Some(age_ms) }
    }

    /// The newest revision that was there so long ago.
    pub(super) fn revision_ago(&self, age_ms: u64) -> Result<Result<u64, Refused>, StateError> {
        let then_ms = self.clock_ms.saturating_sub(age_ms);
        if self.history.floor > 0 && then_ms < self.history.floor_ms {
            return Ok(Err(self.not_kept()));
        }
        // Stamps do not fall along the log, so there is one such place.
        let from = self.last_change(|change| change.stamp_ms <= then_ms)?;
        mark(Mark::PastByAge);
        self.before_next(from).map(Ok)
    }

    /// The newest revision before a change that says it was made later than this time on the wall.
    ///
    /// Clocks on walls are set, and leaders' differ: then there is more than one place where an earlier change is followed by a
    /// later one. The search ends at one of them, and goes back from there as long as a change shortly before it says that it
    /// is later, too.
    pub(super) fn revision_at(&self, time_ms: u64) -> Result<Result<u64, Refused>, StateError> {
        let floor = self.history.floor;
        let mut from = self.last_change(|change| change.wall_ms <= time_ms)?;
        for _ in 0..SETBACKS {
            let Some(later) = self.later_before(from, time_ms)? else { break };
            from = later - 1;
        }
        if from <= floor && floor > 0 {
            return Ok(Err(self.not_kept()));
        }
        self.before_next(from).map(Ok)
    }

    /// The last revision of changes that are early, where those are followed by changes that are not.
    fn last_change(&self, is_early: impl Fn(&Place) -> bool) -> Result<u64, StateError> {
        let (mut from, mut to) = (self.history.floor, self.revision);
        while from < to {
            let middle = from + (to - from).div_ceil(2);
            match self.first_change(middle)? {
                Some(change) if is_early(&change) => from = change.revision,
                _ => to = middle - 1,
            }
        }
        Ok(from)
    }

    /// The first of the changes shortly before a revision that says it was made later than this time.
    fn later_before(&self, revision: u64, time_ms: u64) -> Result<Option<u64>, StateError> {
        let mut next = revision.saturating_sub(LOOKED_BACK).max(self.history.floor) + 1;
        while let Some(change) = self.first_change(next)?.filter(|change| change.revision < revision) {
            if change.wall_ms > time_ms {
                return Ok(Some(change.revision));
            }
            next = change.revision + 1;
        }
        Ok(None)
    }

    /// Between two changes every revision shows the same: the newest of them.
    fn before_next(&self, revision: u64) -> Result<u64, StateError> {
        Ok(self.first_change(revision + 1)?.map_or(self.revision, |next| next.revision - 1))
    }

    /// The first change at or after a revision, which is kept.
    fn first_change(&self, revision: u64) -> Result<Option<Place>, StateError> {
        if let Some(change) = self.base.changes_from(revision)?.next() {
            let (revision, _, change) = change?;
            let change = change.read().ok_or_else(|| self.base.damaged("a change is none"))?;
            return Ok(Some(Place { revision, stamp_ms: change.stamp_ms, wall_ms: change.wall_ms }));
        }
        let first = self.recents().find_map(|recent| recent.starting_at(revision).next());
        Ok(first.map(|change| Place {
            revision: change.revision,
            stamp_ms: change.stamp_ms,
            wall_ms: change.wall_ms,
        }))
    }

    /// The changes that are not in the store, the older ones first.
    pub(super) fn recents(&self) -> impl Iterator<Item = &Recent> {
        self.frozen.iter().map(|(_, recent)| recent).chain([&self.recent])
    }

    /// What a key holds in this view.
    pub(super) fn head(&self, key: &[u8]) -> Result<Held, StateError> {
        let overlays = [Some(&self.active), self.frozen.as_ref().map(|(rows, _)| rows)];
        if let Some(slot) = overlays.into_iter().flatten().find_map(|overlay| overlay.get(key)) {
            return Ok(Held::of_slot(slot));
        }
        if let Some(meta) = self.base.get(key, |meta, _| meta)? {
            return Ok(Held::row(meta, Source::Stored));
        }
        Ok(self.base.deleted(key)?.map_or(Held::NOTHING, Held::nothing))
    }

    /// The change of a key at a revision, where it is kept.
    pub(super) fn change(&self, revision: u64, key: &[u8]) -> Result<Option<Step>, StateError> {
        if revision <= self.history.floor && !mutant(Mutant::PastReadsTrimmed) {
            return Ok(None);
        }
        if let Some(change) = self.recents().find_map(|recent| recent.get(revision, key)) {
            return Ok(Some(Step::of(change)));
        }
        self.base.change(revision, key)?.map(|change| self.stored_step(change)).transpose()
    }

    fn stored_step(&self, change: StoredChange) -> Result<Step, StateError> {
        let read = change.read().ok_or_else(|| self.base.damaged("a change is none"))?;
        let (stamp_ms, wall_ms, expired) = (read.stamp_ms, read.wall_ms, read.expired);
        let before = match read.before.map(|(meta, _)| meta) {
            Ok(meta) => Held::row(meta, Source::Replaced(change)),
            Err(revision) => Held::nothing(revision),
        };
        Ok(Step { before, stamp_ms, wall_ms, expired })
    }

    fn value(&self, key: &[u8], source: &Source) -> Result<Vec<u8>, StateError> {
        let value = match source {
            Source::Shared(row) => Some(row.value.clone()),
            Source::Stored => self.base.get(key, |_, value| value.to_vec())?,
            Source::Replaced(change) => {
                change.read().and_then(|change| change.before.ok()).map(|(_, value)| value.to_vec())
            }
        };
        value.ok_or_else(|| self.base.damaged("a row that a change replaced is not there"))
    }

    /// What a key held at a revision, on the way back from what it held later; of `most` steps at most.
    pub(super) fn back(&self, key: &[u8], mut held: Held, at: u64, most: usize) -> Result<Back, StateError> {
        let floor = self.history.floor;
        let (mut steps, mut stride) = (0, STRIDE);
        while held.revision > at {
            if held.revision <= floor {
                return Ok(Back::NotKept);
            }
            if steps >= most {
                return Ok(Back::Halfway(held));
            }
            if steps == stride {
                if at >= floor
                    && let Some(met) = self.meet(key, at, stride * 8)?
                {
                    mark(Mark::PastMet);
                    return Ok(Back::Found(met, steps * 9));
                }
                stride *= 2;
            }
            let step = self.change(held.revision, key)?;
            held = step.ok_or_else(|| self.base.damaged("a change that is kept is not there"))?.before;
            steps += 1;
        }
        // Of a key that holds nothing it is known since when only where that is kept.
        let known = at >= floor || held.is_row();
        Ok(if known { Back::Found(held, steps) } else { Back::NotKept })
    }

    /// What the first change of a key after a revision replaced, if it is among so many.
    fn meet(&self, key: &[u8], at: u64, most: usize) -> Result<Option<Held>, StateError> {
        let mut looked = 0;
        for change in self.base.changes_from(at + 1)?.take(most) {
            let (_, place, change) = change?;
            looked += 1;
            if place.get(size_of::<u64>()..) == Some(key) {
                return Ok(Some(self.stored_step(change)?.before));
            }
        }
        let mut changes = self.recents().flat_map(|recent| recent.starting_at(at + 1)).take(most - looked);
        Ok(changes.find(|change| *change.key == *key).map(|change| Step::of(change).before))
    }

    /// The row that was held, with its value where that is wanted.
    pub(super) fn show(
        &self,
        key: &[u8],
        held: &Held,
        with_value: bool,
    ) -> Result<Option<(Meta, Vec<u8>)>, StateError> {
        let Some((meta, source)) = &held.row else { return Ok(None) };
        let value = if with_value { self.value(key, source)? } else { Vec::new() };
        Ok(Some((*meta, value)))
    }

    /// Where the versions of a key begin that come before a revision.
    pub(super) fn versions_below(&self, key: &[u8], below: Option<u64>) -> Result<Held, StateError> {
        match below.map(|below| self.change(below, key)).transpose()?.flatten() {
            Some(step) => Ok(step.before),
            None => self.head(key),
        }
    }

    /// A version of a key, and the step to the one before it, where that is kept; nothing where nobody knows of it.
    pub(super) fn version(
        &self,
        key: &[u8],
        held: &Held,
        with_value: bool,
    ) -> Result<Option<(Version, Option<Step>)>, StateError> {
        let step = self.change(held.revision, key)?;
        if held.revision > self.history.floor && step.is_none() {
            return Err(self.base.damaged("a change that is kept is not there"));
        }
        if step.is_none() && !held.is_row() {
            return Ok(None);
        }
        let found = self.show(key, held, with_value)?.map(|(meta, value)| meta.found(&value));
        let moment = step.as_ref().map(|step| Moment {
            age_ms: self.clock_ms.saturating_sub(step.stamp_ms),
            wall_ms: step.wall_ms,
        });
        let expired = step.as_ref().is_some_and(|step| step.expired);
        Ok(Some((Version { revision: held.revision, found, moment, expired }, step)))
    }
}

/// All keys that hold something or held something that is kept, in their order.
pub(super) struct Keys<'a> {
    view: &'a View,
    merge: Merge<'a>,
    next: Option<Layered<'a>>,
    /// The next tombstone of the store.
    stone: Option<(Vec<u8>, u64)>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(view: &'a View, mut merge: Merge<'a>, from: &[u8]) -> Result<Self, StateError> {
        let next = merge.next()?;
        Ok(Self { view, merge, next, stone: view.base.deleted_from(Bound::Included(from))? })
    }

    /// The next key and what it holds now.
    pub(super) fn next(&mut self) -> Result<Option<(Vec<u8>, Held)>, StateError> {
        let found = self.next.as_ref().map(|found| found.split().0);
        let stone = self.stone.take_if(|(key, _)| found.is_none_or(|found| key.as_slice() <= found));
        let Some((key, revision)) = stone else {
            let Some(found) = self.next.take() else { return Ok(None) };
            self.next = self.merge.next()?;
            return Ok(Some((found.split().0.to_vec(), Held::of(&found))));
        };
        self.stone = self.view.base.deleted_from(Bound::Excluded(&key))?;
        if found == Some(key.as_slice()) {
            // What was written after the removal decides.
            return self.next();
        }
        Ok(Some((key, Held::nothing(revision))))
    }
}
