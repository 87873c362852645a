//! What happened after a revision, in the order in which it happened: what watches are told.
//!
//! A change says what was there *before* (`state/history.rs`). What it put is therefore read from what comes after it: from
//! the next change of the same key, or, of the last one, from what the key holds now. So the changes of a stretch of the log
//! are collected first, keys and no values, and the values only of those that somebody wants:
//!
//! ```text
//!  after ┊ (7, k)  (8, m)  (9, k)  (9, n) ┊ through
//!            │               │ put: what the view holds of k, or, where that is later, the way back from it
//!            └─ put: what (9, k) replaced
//! ```
//!
//! A [`Stretch`] is of whole revisions and bounded: so many changes are looked at and so many taken, and the rest of the last
//! revision. Its
//! changes are kept in the order of their keys as well, so that many watches find theirs in it without looking at all of
//! them. How far a watch has come is a [`Place`]: a revision, and how much of the next it has been told already where that
//! did not fit into a frame.

use std::sync::Arc;

use protocol::{
    Watch,
    limits::{PAGE_ROWS, WATCH_EVENT_BYTES, WATCH_FRAME_BYTES, WATCH_PREVIOUS_BYTES},
    response::Found,
    watch::{Event, Events},
};

use super::{
    StateError,
    past::{Back, Held},
    view::View,
};

/// See the module.
pub struct Stretch<'v> {
    view: &'v View,
    after: u64,
    through: u64,
    /// In the order of revision and key.
    changes: Vec<Changed>,
    /// Places in `changes`, in the order of key and revision.
    by_key: Vec<usize>,
}

/// A change, and where the next one of its key is.
struct Changed {
    revision: u64,
    key: Arc<[u8]>,
    deleted: bool,
    expired: bool,
    wall_ms: u64,
    next: Option<usize>,
}

/// How far a watch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Place {
    /// All of this revision and those before it was told.
    pub after: u64,
    /// Of the next revision of which there is anything: its number, how many events of it were told, and the bytes of
    /// values that they replaced.
    part: Option<(u64, usize, usize)>,
}

impl Place {
    /// After a revision.
    pub fn after(revision: u64) -> Self {
        Self { after: revision, part: None }
    }

    /// Whether it is within a revision.
    pub fn is_partial(&self) -> bool {
        self.part.is_some()
    }
}

/// Bounds of a stretch.
#[derive(Clone, Copy, Debug)]
pub struct StretchLimits {
    /// It ends with the revision with which so many changes were looked at.
    pub looked: usize,
    /// It ends with the revision with which so many of them were wanted.
    pub taken: usize,
}

/// Bounds of a frame.
#[derive(Clone, Copy, Debug)]
pub struct FrameLimits {
    /// It is full when its events have so many bytes.
    pub bytes: usize,
    /// It is full with so many events.
    pub events: usize,
    /// An event that would make it larger goes into the next one; with what it replaced it must not be larger by itself.
    pub event: usize,
    /// Values that one revision replaced, beyond which they are left out.
    pub previous: usize,
}

impl Default for FrameLimits {
    fn default() -> Self {
        Self {
            bytes: WATCH_FRAME_BYTES,
            events: PAGE_ROWS,
            event: WATCH_EVENT_BYTES,
            previous: WATCH_PREVIOUS_BYTES,
        }
    }
}

impl View {
    /// The oldest revision after which all changes are kept.
    pub fn oldest(&self) -> u64 {
        self.history.floor
    }

    /// The changes after a revision of the keys that are `wanted`, whole revisions until a limit is reached.
    ///
    /// # Errors
    /// The store cannot be read, or is not what it was.
    ///
    /// # Panics
    /// In tests, when not all that comes after the revision is kept.
    pub fn changes_after(
        &self,
        after: u64,
        limits: StretchLimits,
        wanted: impl Fn(&[u8]) -> bool,
    ) -> Result<Stretch<'_>, StateError> {
        debug_assert!(after >= self.oldest(), "what is trimmed cannot be told");
        let mut taken = Taken { changes: Vec::new(), looked: 0, limits, last: after };
        let through = if self.take_changes(&mut taken, &wanted)? { self.revision } else { taken.last };
        let mut changes = taken.changes;
        let mut by_key: Vec<usize> = (0..changes.len()).collect();
        // The sort is stable, and the changes of a key come in the order of their revisions.
        by_key.sort_by(|a, b| changes[*a].key.cmp(&changes[*b].key));
        for pair in by_key.windows(2) {
            if changes[pair[0]].key == changes[pair[1]].key {
                changes[pair[0]].next = Some(pair[1]);
            }
        }
        Ok(Stretch { view: self, after, through: through.max(after), changes, by_key })
    }

    /// Takes changes from the store and then from memory. Returns whether all were looked at.
    fn take_changes(&self, taken: &mut Taken, wanted: &impl Fn(&[u8]) -> bool) -> Result<bool, StateError> {
        let from = taken.last + 1;
        for change in self.base.changes_from(from)? {
            let (revision, place, change) = change?;
            if !taken.has_room(revision) {
                return Ok(false);
            }
            let key = place.get(size_of::<u64>()..).unwrap_or_default();
            if wanted(key) {
                let read = change.read().ok_or_else(|| self.base.damaged("a change is none"))?;
                taken.push(revision, Arc::from(key), (read.deleted, read.expired), read.wall_ms);
            }
        }
        for change in self.recents().flat_map(|recent| recent.starting_at(from)) {
            if !taken.has_room(change.revision) {
                return Ok(false);
            }
            if wanted(&change.key) {
                let how = (change.deleted, change.expired);
                taken.push(change.revision, Arc::clone(&change.key), how, change.wall_ms);
            }
        }
        Ok(true)
    }
}

/// Changes that are being collected.
struct Taken {
    changes: Vec<Changed>,
    looked: usize,
    limits: StretchLimits,
    /// The revision of the change that was looked at last.
    last: u64,
}

impl Taken {
    /// Looks at one more, unless there were enough and a new revision begins.
    fn has_room(&mut self, revision: u64) -> bool {
        let full = self.looked >= self.limits.looked || self.changes.len() >= self.limits.taken;
        if full && revision != self.last {
            return false;
        }
        self.looked += 1;
        self.last = revision;
        true
    }

    fn push(&mut self, revision: u64, key: Arc<[u8]>, (deleted, expired): (bool, bool), wall_ms: u64) {
        self.changes.push(Changed { revision, key, deleted, expired, wall_ms, next: None });
    }
}

impl Stretch<'_> {
    /// Up to which revision it has all changes.
    pub fn through(&self) -> u64 {
        self.through
    }

    /// Whether it has a change after the place that the watch is to be told.
    pub fn concerns(&self, watch: &Watch, place: Place) -> bool {
        self.of(watch).any(|at| self.changes[at].revision > place.after)
    }

    /// The changes of the keys of a watch, by key.
    fn of(&self, watch: &Watch) -> impl Iterator<Item = usize> {
        let from = self.by_key.partition_point(|at| *self.changes[*at].key < *watch.from);
        let rest = self.by_key.get(from..).unwrap_or_default().iter().copied();
        rest.take_while(|at| watch.to.as_ref().is_none_or(|to| *self.changes[*at].key < **to))
    }

    /// The next frame of a watch, and where that leaves it.
    ///
    /// # Errors
    /// As [`View::changes_after`].
    pub fn frame(
        &self,
        watch: &Watch,
        place: Place,
        limits: &FrameLimits,
    ) -> Result<(Events, Place), StateError> {
        debug_assert!(place.after >= self.after, "a watch goes on within the stretch or behind it");
        let mut own: Vec<usize> =
            self.of(watch).filter(|at| self.changes[*at].revision > place.after).collect();
        own.sort_unstable();
        let (mut events, mut bytes) = (Vec::new(), 0);
        // The revision that is being told, how many of it, and what they replaced.
        let (mut revision, mut told, mut replaced) = place.part.unwrap_or_default();
        for at in own.iter().skip(told).copied() {
            if self.changes[at].revision != revision {
                (revision, told, replaced) = (self.changes[at].revision, 0, 0);
            }
            let fits = |more: usize| bytes + more <= limits.event;
            let full = |more| {
                !events.is_empty() && (bytes >= limits.bytes || events.len() >= limits.events || !fits(more))
            };
            let mut spent = replaced;
            let event =
                if full(0) { None } else { Some(self.event(at, watch.previous, &mut spent, limits)?) };
            let Some(event) = event.filter(|event| !full(event.bytes())) else {
                let unfinished = told > 0;
                let through = revision.saturating_sub(1).max(place.after);
                let part = unfinished.then_some((revision, told, replaced));
                return Ok((Events { events, through, unfinished }, Place { after: through, part }));
            };
            bytes += event.bytes();
            events.push(event);
            (told, replaced) = (told + 1, spent);
        }
        let through = self.through.max(place.after);
        Ok((Events { events, through, unfinished: false }, Place::after(through)))
    }

    /// What a change looks like to a watch. `spent` is what was replaced so far.
    fn event(
        &self,
        at: usize,
        with_previous: bool,
        spent: &mut usize,
        limits: &FrameLimits,
    ) -> Result<Event, StateError> {
        let changed = &self.changes[at];
        let found = if changed.deleted { None } else { Some(self.put(at)?) };
        let mut event = Event {
            key: changed.key.to_vec(),
            revision: changed.revision,
            found,
            previous: None,
            previous_left_out: false,
            wall_ms: changed.wall_ms,
            expired: changed.expired,
        };
        if with_previous {
            event.previous = self.replaced(at)?;
            let bytes = event.previous.as_ref().map_or(0, |previous| previous.value.len());
            if *spent + bytes > limits.previous || event.bytes() > limits.event {
                event.previous_left_out = true;
                event.previous = event.previous.map(|previous| Found { value: Vec::new(), ..previous });
            } else {
                *spent += bytes;
            }
        }
        Ok(event)
    }

    /// What a change put.
    fn put(&self, at: usize) -> Result<Found, StateError> {
        let changed = &self.changes[at];
        let held = match changed.next {
            Some(next) => self.before(next)?,
            None => self.last_of(&changed.key)?,
        };
        let row = self.view.show(&changed.key, &held, true)?;
        let row = row.filter(|(meta, _)| meta.revision == changed.revision);
        let (meta, value) = row.ok_or_else(|| self.view.base.damaged("what a change put is not there"))?;
        Ok(meta.holding(value))
    }

    /// What a change replaced.
    fn replaced(&self, at: usize) -> Result<Option<Found>, StateError> {
        let row = self.view.show(&self.changes[at].key, &self.before(at)?, true)?;
        Ok(row.map(|(meta, value)| meta.holding(value)))
    }

    fn before(&self, at: usize) -> Result<Held, StateError> {
        let changed = &self.changes[at];
        let step = self.view.change(changed.revision, &changed.key)?;
        Ok(step.ok_or_else(|| self.view.base.damaged("a change that is kept is not there"))?.before)
    }

    /// What a key held at the end of the stretch.
    fn last_of(&self, key: &[u8]) -> Result<Held, StateError> {
        let now = self.view.head(key)?;
        match self.view.back(key, now, self.through, usize::MAX)? {
            Back::Found(held, _) => Ok(held),
            Back::Halfway(_) | Back::NotKept => Err(self.view.base.damaged("what a change put is not kept")),
        }
    }
}
