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

use std::sync::Arc;

use protocol::{
    limits,
    scan::{End, Page, Row, Scan, ScanFrame, Want, successor},
};

use super::{
    StateError,
    merge::{Layer, Layered, Merge},
    row::Meta,
};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::{Base, overlay::Overlay},
};

/// See the module.
pub struct View {
    /// For a bug on purpose: a page of another moment.
    #[cfg(feature = "mutants")]
    pub(super) store: crate::store::Store,
    pub(super) base: Arc<Base>,
    pub(super) frozen: Option<Overlay>,
    pub(super) active: Overlay,
    pub(super) revision: u64,
    /// Rows are as they were at this revision.
    pub(super) changed: u64,
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
    limits: PageLimits,
}

/// A page that is being filled.
struct Filling {
    rows: Vec<Row>,
    bytes: usize,
    keys: usize,
}

impl View {
    /// The revision that it shows.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Begins a scan, or says why it cannot go on here with what another began.
    pub fn scan(self, scan: Scan, limits: PageLimits) -> Result<Cursor, String> {
        let revision = scan.at.unwrap_or(self.revision);
        let same = (self.changed..=self.revision).contains(&revision) || mutant(Mutant::ScanGoesOnAnywhere);
        if !same {
            mark(Mark::ScanGone);
            return Err(format!(
                "revision {revision} can no longer be read: this node is at {}",
                self.revision
            ));
        }
        if scan.at.is_some() {
            mark(Mark::ScanResumed);
        }
        Ok(Cursor { view: self, scan, revision, count: 0, limits })
    }
}

impl Cursor {
    /// The next answer: a page, or at last the end.
    ///
    /// # Errors
    /// The store cannot be read: nothing it says can be trusted any more.
    pub fn answer(&mut self) -> Result<ScanFrame, StateError> {
        let mut page = Filling { rows: Vec::new(), bytes: 0, keys: 0 };
        let more = self.fill(&mut page)?;
        let (rows, revision) = (page.rows, self.revision);
        match more {
            None => {
                mark(Mark::ScanPaged);
                Ok(ScanFrame::Page(Page { revision, rows }))
            }
            // What is left goes before the end.
            Some(_) if !rows.is_empty() => Ok(ScanFrame::Page(Page { revision, rows })),
            Some(more) => Ok(ScanFrame::End(End { count: self.count, revision, more })),
        }
    }

    /// Fills a page: `None` when it is full, else whether there is more beyond the limit.
    fn fill(&mut self, page: &mut Filling) -> Result<Option<bool>, StateError> {
        let Self { view, scan, count, limits, .. } = self;
        let base = view.base_of_page()?;
        let mut merge = Merge::new(view.layers(&scan.from), &base, &scan.from)?;
        while let Some(found) = merge.next()? {
            if matches!(found, Layered::Slot(1, ..)) {
                mark(Mark::ScanFrozen);
            }
            let (key, row) = found.split();
            if scan.to.as_ref().is_some_and(|to| *key >= **to) {
                break;
            }
            if page.is_full(limits) {
                let skipped = mutant(Mutant::ScanSkipsAtBoundary) && !page.rows.is_empty();
                scan.from = if skipped { successor(key) } else { key.to_vec() };
                return Ok(None);
            }
            page.keys += 1;
            let Some((meta, value)) = row else {
                mark(Mark::ScanTombstone);
                continue;
            };
            if scan.limit == Some(*count) {
                mark(Mark::ScanLimited);
                scan.from = key.to_vec();
                return Ok(Some(true));
            }
            *count += 1;
            match scan.want {
                Want::Rows => page.put(key, meta, value),
                Want::Keys => page.put(key, meta, b""),
                Want::Count => {}
            }
            if mutant(Mutant::ScanDoublesAtBoundary) && page.is_full(limits) {
                scan.from = key.to_vec();
                return Ok(None);
            }
        }
        scan.to = Some(Vec::new());
        Ok(Some(false))
    }
}

impl Filling {
    fn put(&mut self, key: &[u8], meta: Meta, value: &[u8]) {
        self.bytes += key.len() + value.len();
        self.rows.push(Row { key: key.to_vec(), found: meta.found(value) });
    }

    fn is_full(&self, limits: &PageLimits) -> bool {
        self.rows.len() >= limits.rows || self.bytes >= limits.bytes || self.keys >= limits.keys
    }
}

impl View {
    /// What lies over the rows, from a key on.
    fn layers(&self, from: &[u8]) -> Vec<Layer<'_>> {
        let frozen = self.frozen.as_ref().filter(|_| !mutant(Mutant::ScanIgnoresFrozen));
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
