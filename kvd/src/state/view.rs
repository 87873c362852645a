//! All rows of one revision, however long it takes to read them.
//!
//! ```text
//!   active overlay ─┐ clones that share everything
//!   frozen overlay ─┼─► View ──► Cursor ──► page, page, … end
//!   the store ──────┘ a read transaction: pages of later commits are written elsewhere
//! ```
//!
//! A [`View`] is taken by the node, between two events, at a revision it knows; the [`Cursor`] over it belongs on
//! another thread, for it reads the disk. Each call of [`Cursor::answer`] looks at a bounded number of keys and makes a page
//! of bounded size, so that many scans take turns. Between two pages a cursor holds nothing but the view and the key
//! where it goes on.
//!
//! What a view costs: the overlays as they were (each within its bound), and pages of the store that later commits
//! would have used again. That is why its holder bounds how many there are and how long each lives.

use std::{ops::ControlFlow, sync::Arc};

use protocol::{
    Consistency, Refused,
    history::Version,
    limits,
    response::Found,
    scan::{Digest, End, Page, Row, Scan, ScanFrame, Want, successor},
};

use super::{
    StateError, hash,
    history::Facts,
    leases::Map,
    merge::{Layer, Layered, Merge},
    past::{Back, Held, Keys},
    row::Meta,
};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::{Base, overlay::Overlay, recent::Recent},
};

/// See the module.
pub struct View {
    /// For a bug on purpose: a page of another moment.
    #[cfg(feature = "mutants")]
    pub(super) store: crate::store::Store,
    pub(super) base: Arc<Base>,
    /// Rows and changes of each overlay.
    pub(super) frozen: Option<(Overlay, Recent)>,
    pub(super) active: Overlay,
    pub(super) recent: Recent,
    pub(super) revision: u64,
    /// Rows are as they were at this revision.
    pub(super) changed: u64,
    /// How far the past goes back.
    pub(super) history: Facts,
    /// What holds rows, and for how long.
    pub(super) leases: Map,
    /// The replicated clock when it was taken.
    pub(super) clock_ms: u64,
}

/// Bounds of a page.
#[derive(Clone, Copy, Debug)]
pub struct PageLimits {
    /// It is full when its rows have so many bytes.
    pub bytes: usize,
    /// It is full with so many rows.
    pub rows: usize,
    /// It ends when so many keys were looked at, shown or not.
    pub keys: usize,
}

impl Default for PageLimits {
    fn default() -> Self {
        Self { bytes: limits::PAGE_BYTES, rows: limits::PAGE_ROWS, keys: 16 * 1024 }
    }
}

/// A scan of a view, and how far it has come.
pub struct Cursor {
    view: View,
    scan: Scan,
    revision: u64,
    /// Rows shown or counted so far.
    count: u64,
    /// Of versions the change after which to go on.
    passed: Option<u64>,
    /// What the key with which the next page begins is known to have held, where the way back was too long for one page.
    halfway: Option<Held>,
    /// Of a hash what there was so far, and how many rows are not what they say.
    hash: (u64, u64),
    /// Whether there is more, once it is at its end.
    ended: Option<bool>,
    limits: PageLimits,
}

/// A page that is being filled.
struct Filling {
    rows: Vec<Row>,
    versions: Vec<Version>,
    bytes: usize,
    keys: usize,
    hash: (u64, u64),
}

impl View {
    /// The revision that it shows.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How late it was by the replicated clock when it was taken.
    pub fn clock_ms(&self) -> u64 {
        self.clock_ms
    }

    /// The same when it is so late by the replicated clock.
    #[must_use]
    pub fn at_time(self, clock_ms: u64) -> Self {
        Self { clock_ms: self.clock_ms.max(clock_ms), ..self }
    }

    /// Adds how long a row of now is still to be there.
    fn show_time_left(&self, found: &mut Found) {
        if let Some(held) = &mut found.lease {
            let lease = self.leases.get(&held.lease);
            held.remaining_ms = lease.map(|lease| lease.stored.deadline_ms.saturating_sub(self.clock_ms));
        }
    }

    /// Begins a scan, or says why it cannot be done here.
    pub fn scan(self, scan: Scan, limits: PageLimits) -> Result<Cursor, Refused> {
        let revision = scan.at.unwrap_or(self.revision);
        let is_one = scan.names_one_key() && scan.want != Want::Versions;
        if let Some(refused) = self.refuses(revision, scan.consistency != Consistency::Linearizable, is_one) {
            return Err(refused);
        }
        if scan.at.is_some() {
            mark(if revision < self.changed { Mark::PastByRevision } else { Mark::ScanResumed });
        }
        let (passed, halfway, hash, ended) = (None, None, (0, 0), None);
        Ok(Cursor { view: self, scan, revision, count: 0, passed, halfway, hash, ended, limits })
    }
}

impl Cursor {
    /// The next answer: a page, or at last the end.
    ///
    /// # Errors
    /// The store cannot be read: nothing it says can be trusted any more.
    pub fn answer(&mut self) -> Result<ScanFrame, StateError> {
        if let Some(age_ms) = self.scan.age_ms.take() {
            match self.view.revision_ago(age_ms)? {
                Ok(revision) => self.revision = revision,
                Err(refused) => return Ok(ScanFrame::Refused(refused)),
            }
        }
        if let Some(time_ms) = self.scan.time_ms.take() {
            match self.view.revision_at(time_ms)? {
                Ok(revision) => self.revision = revision,
                Err(refused) => return Ok(ScanFrame::Refused(refused)),
            }
        }
        let mut page = Filling { rows: Vec::new(), versions: Vec::new(), bytes: 0, keys: 0, hash: self.hash };
        if self.ended.is_none() {
            let filled = if self.scan.want == Want::Versions {
                self.fill_versions(&mut page)?
            } else if self.revision < self.view.changed && !mutant(Mutant::ScanGoesOnAnywhere) {
                self.fill_past(&mut page)?
            } else {
                self.fill(&mut page)?
            };
            match filled {
                ControlFlow::Break(Stop::Full) => mark(Mark::ScanPaged),
                ControlFlow::Break(Stop::Limit) => self.ended = Some(true),
                ControlFlow::Break(Stop::NotKept) => return Ok(ScanFrame::Refused(self.view.not_kept())),
                ControlFlow::Break(Stop::End) | ControlFlow::Continue(()) => self.ended = Some(false),
            }
        }
        if self.revision >= self.view.changed {
            page.rows.iter_mut().for_each(|row| self.view.show_time_left(&mut row.found));
        }
        self.hash = page.hash;
        let (Filling { rows, versions, .. }, revision) = (page, self.revision);
        Ok(match self.ended {
            Some(_) if self.scan.want == Want::Hash => {
                let (hash, damaged) = self.hash;
                ScanFrame::Digest(Digest { revision, count: self.count, hash, damaged })
            }
            // What is left goes before the end.
            Some(more) if rows.is_empty() && versions.is_empty() => {
                ScanFrame::End(End { count: self.count, revision, more })
            }
            _ => ScanFrame::Page(Page { revision, rows, versions }),
        })
    }

    /// Fills a page with what there is now.
    fn fill(&mut self, page: &mut Filling) -> Result<ControlFlow<Stop>, StateError> {
        let Self { view, scan, count, limits, .. } = self;
        let base = view.base_of_page()?;
        let mut merge = Merge::new(view.layers(&scan.from), &base, &scan.from)?;
        while let Some(found) = merge.next()? {
            if matches!(found, Layered::Slot(1, ..)) {
                mark(Mark::ScanFrozen);
            }
            let (key, row) = found.split();
            let flow = page.offer((scan, count), limits, key, row);
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Fills a page with what there was.
    fn fill_past(&mut self, page: &mut Filling) -> Result<ControlFlow<Stop>, StateError> {
        let Self { view, scan, count, limits, revision, halfway, .. } = self;
        let from = scan.from.clone();
        let merge = Merge::new(view.layers(&from), &view.base, &from)?;
        let mut keys = Keys::new(view, merge, &from)?;
        let mut any = false;
        while let Some((key, now)) = keys.next()? {
            if !scan.covers(&key) {
                break;
            }
            any = true;
            let room = limits.keys.saturating_sub(page.keys).max(1);
            let (held, steps) = match view.back(&key, halfway.take().unwrap_or(now), *revision, room)? {
                Back::Found(held, steps) => (held, steps),
                Back::Halfway(held) => {
                    mark(Mark::PastHalfway);
                    (scan.from, *halfway) = (key, Some(held));
                    return Ok(ControlFlow::Break(Stop::Full));
                }
                Back::NotKept => return Ok(ControlFlow::Break(Stop::NotKept)),
            };
            let row = view.show(&key, &held, matches!(scan.want, Want::Rows | Want::Hash))?;
            let flow =
                page.offer((scan, count), limits, &key, row.as_ref().map(|(meta, value)| (*meta, &**value)));
            if flow.is_break() {
                return Ok(flow);
            }
            page.keys = page.keys.saturating_add(steps);
        }
        let lost = !any && *revision < view.history.floor && !mutant(Mutant::PastReadsTrimmed);
        Ok(if lost { ControlFlow::Break(Stop::NotKept) } else { ControlFlow::Continue(()) })
    }

    /// Fills a page with what one key held.
    fn fill_versions(&mut self, page: &mut Filling) -> Result<ControlFlow<Stop>, StateError> {
        let Self { view, scan, count, limits, revision, passed, .. } = self;
        let (key, below) = (&scan.from, scan.below.unwrap_or(u64::MAX));
        let mut held = view.versions_below(key, passed.or(scan.below))?;
        loop {
            // Values are read of those versions only that are wanted, and find room.
            let wanted = held.revision <= *revision && held.revision < below;
            let room = !page.is_full(limits) && scan.limit != Some(*count);
            let Some((version, step)) = view.version(key, &held, wanted && room)? else { break };
            if wanted && scan.limit == Some(*count) {
                return Ok(ControlFlow::Break(Stop::Limit));
            }
            if page.is_full(limits) {
                return Ok(ControlFlow::Break(Stop::Full));
            }
            if wanted {
                *count += 1;
                page.bytes += version.found.as_ref().map_or(0, |found| found.value.len());
                page.versions.push(version);
            }
            page.keys += 1;
            let Some(step) = step else { break };
            *passed = Some(held.revision);
            held = step.before;
        }
        Ok(ControlFlow::Continue(()))
    }
}

/// Why a page is not filled any further.
enum Stop {
    /// It is full.
    Full,
    /// The scan is at its limit, and there is more.
    Limit,
    /// What follows is not wanted.
    End,
    /// What is wanted is no longer kept.
    NotKept,
}

impl Filling {
    /// Takes the next key of a scan, with its row where there is one, if there is room.
    fn offer(
        &mut self,
        (scan, count): (&mut Scan, &mut u64),
        limits: &PageLimits,
        key: &[u8],
        row: Option<(Meta, &[u8])>,
    ) -> ControlFlow<Stop> {
        if scan.to.as_ref().is_some_and(|to| *key >= **to) {
            return ControlFlow::Break(Stop::End);
        }
        if self.is_full(limits) {
            let skipped = mutant(Mutant::ScanSkipsAtBoundary) && !self.rows.is_empty();
            scan.from = if skipped { successor(key) } else { key.to_vec() };
            return ControlFlow::Break(Stop::Full);
        }
        self.keys += 1;
        let Some((meta, value)) = row else {
            mark(Mark::ScanTombstone);
            return ControlFlow::Continue(());
        };
        if scan.limit == Some(*count) {
            mark(Mark::ScanLimited);
            return ControlFlow::Break(Stop::Limit);
        }
        *count += 1;
        match scan.want {
            Want::Rows => self.put(key, meta, value),
            Want::Keys => self.put(key, meta, b""),
            Want::Hash => self.digest(key, meta, value),
            Want::Count | Want::Versions => {}
        }
        if mutant(Mutant::ScanDoublesAtBoundary) && self.is_full(limits) {
            scan.from = key.to_vec();
            return ControlFlow::Break(Stop::Full);
        }
        ControlFlow::Continue(())
    }

    fn put(&mut self, key: &[u8], meta: Meta, value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.rows.push(Row { key: key.to_vec(), found: meta.found(value) });
    }

    /// Takes a row into the hash by what was read of it, not by what it says of itself.
    fn digest(&mut self, key: &[u8], meta: Meta, value: &[u8]) {
        self.bytes += key.len() + value.len();
        let read = Meta { content: hash::content(key, value), ..meta };
        self.hash.0 = self.hash.0.wrapping_add(read.element());
        self.hash.1 += u64::from(read != meta);
    }

    fn is_full(&self, limits: &PageLimits) -> bool {
        self.rows.len() + self.versions.len() >= limits.rows
            || self.bytes >= limits.bytes
            || self.keys >= limits.keys
    }
}

impl View {
    /// What lies over the rows, from a key on.
    fn layers(&self, from: &[u8]) -> Vec<Layer<'_>> {
        let frozen = self.frozen.as_ref().map(|(rows, _)| rows);
        let frozen = frozen.filter(|_| !mutant(Mutant::ScanIgnoresFrozen));
        let overlays = [Some(&self.active), frozen].into_iter().flatten();
        overlays.map(|overlay| -> Layer<'_> { Box::new(overlay.starting_at(from)) }).collect()
    }

    /// The rows below the overlays.
    #[cfg_attr(
        not(feature = "mutants"),
        expect(clippy::unnecessary_wraps, reason = "a bug on purpose opens the store anew")
    )]
    fn base_of_page(&self) -> Result<Arc<Base>, StateError> {
        #[cfg(feature = "mutants")]
        if mutant(Mutant::ScanOpensStoreAnew) {
            return Ok(Arc::new(self.store.base()?));
        }
        Ok(Arc::clone(&self.base))
    }
}
