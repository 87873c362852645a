//! From memory to the disk: when a flush is due, and what one commit takes with it.

use std::sync::Arc;

use raft::Position;

use super::{Frozen, State, StateError};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::{Base, Batch, Header, Store, overlay::Overlay, recent::Recent},
};

/// A frozen overlay with everything that must be committed with it. Belongs on another thread.
#[must_use = "until it has run and `State::finish_flush` has its result, no other flush begins"]
pub struct Flush {
    store: Store,
    batch: Box<Batch>,
    retired: (Overlay, Recent),
}

/// A durable flush, for [`State::finish_flush`].
#[must_use = "the state keeps the frozen overlay until it is told"]
pub struct Flushed {
    base: Arc<Base>,
    applied: Position,
}

impl State {
    /// Whether [`State::begin_flush`] should be called now.
    pub fn flush_due(&self, now_ms: u64) -> bool {
        let old = now_ms.saturating_sub(self.flush_began_ms) >= self.limits.overlay_age_ms
            && !mutant(Mutant::StateIgnoresAge);
        self.can_flush() && (old || self.full() && !mutant(Mutant::StateIgnoresSize))
    }

    /// Whether the overlay has reached its bound.
    pub fn is_full(&self) -> bool {
        self.full()
    }

    /// Whether the overlay has reached its bound while the one before is still being written. Until that is done the
    /// caller should apply nothing more, or memory has no bound.
    pub fn saturated(&self) -> bool {
        self.frozen.is_some() && self.full()
    }

    fn full(&self) -> bool {
        let (staged_bytes, staged) = self.staging.size();
        self.active.bytes() + staged_bytes + self.recent.bytes() + self.requests.unflushed_bytes()
            >= self.limits.overlay_bytes
            || self.active.len() + staged >= self.limits.overlay_entries
    }

    fn can_flush(&self) -> bool {
        self.frozen.is_none() && self.applied != self.flushed
    }

    /// Freezes the overlay. `None` when a flush is under way, or when everything is on disk already.
    pub fn begin_flush(&mut self, now_ms: u64) -> Option<Flush> {
        if !self.can_flush() {
            return None;
        }
        mark(Mark::FlushBegun);
        self.flush_began_ms = now_ms;
        let rows = std::mem::take(&mut self.active);
        let changes = std::mem::take(&mut self.recent);
        self.frozen = Some(Frozen { rows: rows.clone(), recent: changes.clone(), applied: self.applied });
        let header = Header {
            cluster: self.cluster,
            memory: self.limits.request_ids,
            applied: self.applied,
            stamp_ms: self.stamp_ms,
            floor: if mutant(Mutant::FlushDropsFloor) { 0 } else { self.requests.floor() },
            rows_hash: if mutant(Mutant::FlushDropsHash) { 0 } else { self.rows_hash },
            requests_hash: self.requests.hash(),
            history: self.history.facts(),
            changes_hash: self.history.changes_hash(),
            // Members too are of the format that has leases.
            leases_hash: (self.leases.is_used() || !self.book.is_empty()).then(|| self.leases.hash()),
            staging: self.staging.facts(),
        };
        let mut requests = self.requests.take_unflushed();
        if mutant(Mutant::FlushDropsRequests) {
            requests.clear();
        }
        let retired = std::mem::take(&mut self.retired);
        let spans = self.history.spans().copied().collect();
        let members = self.book.take_unwritten().then(|| {
            mark(Mark::BookWritten);
            self.book.pages().map(|page| page.encode()).collect()
        });
        let leases = self.leases.take_unflushed();
        let staging = self.staging.freeze();
        let batch = Box::new(Batch { header, rows, requests, changes, spans, members, leases, staging });
        Some(Flush { store: self.store.clone(), batch, retired })
    }

    /// Retires the frozen overlay: from now on its rows are read from disk.
    ///
    /// # Panics
    /// When this is not the flush that was begun last.
    pub fn finish_flush(&mut self, flushed: Flushed) {
        let frozen = self.frozen.take().expect("a flush is finished once, after it was begun");
        assert_eq!(frozen.applied, flushed.applied, "the finished flush is the one that was begun");
        mark(Mark::FlushFinished);
        if mutant(Mutant::FlushDropsOverlay) {
            self.active = Overlay::default();
        }
        self.retired = (frozen.rows, frozen.recent);
        let base = self.staging.thaw(flushed.base);
        if !mutant(Mutant::FlushKeepsStore) {
            self.base = base;
        }
        self.flushed = flushed.applied;
    }
}

impl Flush {
    /// Writes everything in one durable commit. Takes as long as the disk does.
    ///
    /// # Errors
    /// Nothing of it is on disk, or all of it, and nobody knows which: the caller ends the process.
    pub fn run(self) -> Result<Flushed, StateError> {
        let Self { store, mut batch, retired } = self;
        drop((retired, std::mem::take(&mut batch.staging.discarded)));
        let base = store.commit(&batch).inspect_err(|_| mark(Mark::FlushFailed))?;
        Ok(Flushed { base: Arc::new(base), applied: batch.header.applied })
    }
}

impl Flushed {
    /// What is durable now; the log may be discarded up to here once [`State::finish_flush`] was called.
    pub fn position(&self) -> Position {
        self.applied
    }
}
