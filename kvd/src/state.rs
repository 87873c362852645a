//! The state machine: applies committed entries, once each, and answers reads.
//!
//! ```text
//!   apply ──► active overlay     ◄─┐
//!                 │ begin_flush    │ a read looks here in turn;
//!                 ▼                │ the first layer that knows the key decides
//!             frozen overlay     ◄─┤
//!                 │ Flush::run     │
//!                 ▼                │
//!             the store on disk  ◄─┘
//! ```
//!
//! An entry changes memory only. When the active overlay is large or old it is frozen, and another thread writes it
//! in **one** durable commit with the applied position, the request memory and the hash (`store.rs`); a new
//! overlay takes the writes meanwhile. The Raft log is the write-ahead log of the overlays: after a crash the state
//! is exactly its last commit, and the caller applies the log again from [`State::applied`]`.index + 1`. The log
//! may be discarded up to [`State::flushed`] and no further.
//!
//! Invariants:
//! - The state at an applied index is a function of the entries up to it. Flushes change where rows are, never what
//!   they are; no clock, random number or hash-map order takes part. [`State::hash`] is equal on all nodes with an
//!   equal applied index.
//! - The revision of a write is the index of its entry.
//! - A request id takes effect at most once (`state/requests.rs`). A refused write changes the applied index
//!   and nothing else.
//! - An entry that cannot be understood stops the node; it is never skipped.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{ClusterId, Command, Decided, Operation, Refused, response::Found};
use raft::{Entry, Payload, Position};

use crate::{
    disk::Disk,
    instruments::{Mark, Mutant, mark, mutant},
    store::{
        Base, Batch, Header, Store,
        overlay::{Overlay, Slot},
    },
};

mod error;
mod hash;
mod merge;
mod received;
pub(crate) mod requests;
pub(crate) mod row;
mod scan;
mod transaction;
pub mod view;
mod write;

pub use error::StateError;
pub use received::{Install, Installed};
use requests::{Requests, Verdict};
use row::{Meta, Row};
use view::View;

/// Bounds on what the state keeps in memory, and when it writes it down.
#[derive(Clone, Copy, Debug)]
pub struct StateLimits {
    /// A flush is due when the overlay and the request ids that came with it reach so many bytes.
    pub overlay_bytes: usize,
    /// A flush is due when the overlay reaches so many keys.
    pub overlay_entries: usize,
    /// A flush is due when something is not on disk and the last flush began so long ago.
    pub overlay_age_ms: u64,
    /// Bytes of the store's file kept in memory.
    pub cache_bytes: usize,
    /// How many applied writes are remembered by their request id. It decides which requests are expired, so it must
    /// be the same on every node, always; a store refuses to open with another.
    pub request_ids: usize,
}

impl Default for StateLimits {
    fn default() -> Self {
        Self {
            overlay_bytes: 64 * 1024 * 1024,
            overlay_entries: 262_144,
            overlay_age_ms: 10_000,
            cache_bytes: 256 * 1024 * 1024,
            request_ids: 1_000_000,
        }
    }
}

/// What an entry did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The entry's index.
    pub revision: u64,
    /// What to tell the client.
    pub result: Result<Outcome, Refused>,
}

/// What came of a write that was not refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of a set or a delete.
    Written(WriteOutcome),
    /// Of any other.
    Decided(Box<Decided>),
}

/// The outcome of a set or a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteOutcome {
    /// The revision of the entry that did it: an earlier one when `deduplicated`.
    pub revision: u64,
    /// Whether the key was there before.
    pub existed: bool,
    /// Whether this request had been applied before and this is the remembered outcome.
    pub deduplicated: bool,
}

/// See the module.
pub struct State {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    store: Store,
    base: Arc<Base>,
    frozen: Option<Frozen>,
    /// The overlay of the last finished flush. Taking a quarter of a million rows apart takes tens of milliseconds,
    /// in which no heartbeat would leave; the next flush does it on its own thread.
    retired: Overlay,
    active: Overlay,
    requests: Requests,
    cluster: ClusterId,
    limits: StateLimits,
    applied: Position,
    /// The last entry that may have changed a row; nothing was changed since.
    changed: u64,
    flushed: Position,
    received: Position,
    stamp_ms: u64,
    rows_hash: u64,
    flush_began_ms: u64,
}

/// An overlay on its way to the disk, and what will be on disk once it is there.
struct Frozen {
    rows: Overlay,
    applied: Position,
}

/// A frozen overlay with everything that must be committed with it. Belongs on another thread.
#[must_use = "until it has run and `State::finish_flush` has its result, no other flush begins"]
pub struct Flush {
    store: Store,
    batch: Batch,
    retired: Overlay,
}

/// A durable flush, for [`State::finish_flush`].
#[must_use = "the state keeps the frozen overlay until it is told"]
pub struct Flushed {
    base: Base,
    applied: Position,
}

impl State {
    /// Opens the state in `dir` as its last commit left it, or an empty one when there is none.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        cluster: ClusterId,
        limits: StateLimits,
    ) -> Result<Self, StateError> {
        let (store, header) = Store::open(&*disk, dir, cluster, limits.request_ids, limits.cache_bytes)?;
        if store.walked() {
            tracing::warn!(
                "the state store was walked as a whole to be opened; its last commit was not ours"
            );
        }
        let requests = store.requests(&header)?;
        Ok(Self {
            base: Arc::new(store.base()?),
            received: store.received()?,
            disk,
            dir: dir.to_owned(),
            store,
            frozen: None,
            retired: Overlay::default(),
            active: Overlay::default(),
            requests,
            cluster,
            limits,
            applied: header.applied,
            changed: header.applied.index.0,
            flushed: header.applied,
            stamp_ms: header.stamp_ms,
            rows_hash: header.rows_hash,
            flush_began_ms: 0,
        })
    }

    /// The last entry applied.
    pub fn applied(&self) -> Position {
        self.applied
    }

    /// The last entry that survives a crash without the log.
    pub fn flushed(&self) -> Position {
        self.flushed
    }

    /// The newest stamp of the commands applied: no later one may be below it.
    pub fn stamp_ms(&self) -> u64 {
        self.stamp_ms
    }

    /// Applies the next committed entry. `None` for an entry that is nobody's write.
    ///
    /// # Errors
    /// The state is unchanged and the caller must stop: the entry cannot be understood, or the store cannot be read.
    ///
    /// # Panics
    /// When `entry` is not the one after [`State::applied`].
    pub fn apply(&mut self, entry: &Entry) -> Result<Option<Applied>, StateError> {
        let position = entry.position;
        assert_eq!(position.index, self.applied.index.next(), "entries are applied in order, without a gap");
        assert!(position.term >= self.applied.term, "terms do not fall along the log");
        let applied = match &entry.payload {
            Payload::Noop => None,
            Payload::Command(bytes) => {
                let command = Command::decode(bytes);
                let command = command.map_err(|source| StateError::CannotApply { position, source })?;
                let stamp_ms = command.stamp_ms;
                let applied = self.execute(position.index.0, command)?;
                self.changed = position.index.0;
                self.stamp_ms = self.stamp_ms.max(stamp_ms);
                Some(applied)
            }
        };
        self.applied = position;
        Ok(applied)
    }

    fn execute(&mut self, revision: u64, command: Command) -> Result<Applied, StateError> {
        let operation = hash::operation(&command.operation);
        let token = command.request.token;
        let result = match self.requests.judge(&command.request, operation, revision, self.cluster) {
            Verdict::Refused(refused) => {
                if refused == Refused::Expired && mutant(Mutant::RequestsKeepRefused) {
                    let kept = WriteOutcome { revision, existed: false, deduplicated: false };
                    self.requests.remember(Outcome::Written(kept).remembered(token, operation));
                }
                Err(refused)
            }
            Verdict::Repeated(first) => Ok(self.repeated(revision, first, &command.operation)?),
            Verdict::New => {
                let outcome = self.perform(revision, operation, command.operation)?;
                self.requests.remember(outcome.remembered(token, operation));
                Ok(outcome)
            }
        };
        Ok(Applied { revision, result })
    }

    /// Does what the operation says.
    fn perform(&mut self, revision: u64, content: u64, operation: Operation) -> Result<Outcome, StateError> {
        let (key, value) = match operation {
            Operation::Set { key, value } => (key, Some(value)),
            Operation::Delete { key } => (key, None),
            other => return Ok(Outcome::Decided(Box::new(self.decide(revision, other)?))),
        };
        // The one fallible step comes first.
        let before = self.before(&key)?;
        let slot = value.map_or(Slot::Deleted, |value| {
            Slot::Row(Arc::new(Row { meta: self.written(before, revision, content), value }))
        });
        self.replace(&key, before, slot);
        Ok(Outcome::Written(WriteOutcome { revision, existed: before.is_some(), deduplicated: false }))
    }

    /// What the row of a key says that is about to be written.
    fn before(&self, key: &[u8]) -> Result<Option<Meta>, StateError> {
        match self.meta(key) {
            Err(_) if mutant(Mutant::StateSwallowsFailedRead) => Ok(None),
            before => before,
        }
    }

    /// What the row of a key says that is written now.
    fn written(&self, before: Option<Meta>, revision: u64, content: u64) -> Meta {
        let (created, version) = match before {
            Some(before) if mutant(Mutant::StateKeepsVersion) => (before.created, before.version),
            Some(before) if !mutant(Mutant::StateRecreates) => (before.created, before.version + 1),
            _ => (revision, 1),
        };
        let local = if mutant(Mutant::StateReadsLocalClock) { self.flush_began_ms % 2 } else { 0 };
        Meta { revision, created, version: version + local, content }
    }

    /// Puts a row, or nothing, where `before` was.
    fn replace(&mut self, key: &[u8], before: Option<Meta>, slot: Slot) {
        if let Some(before) = before {
            self.rows_hash = self.rows_hash.wrapping_sub(before.element());
        }
        match slot {
            Slot::Row(row) => {
                self.rows_hash = self.rows_hash.wrapping_add(row.meta.element());
                self.active.put(key, Slot::Row(row));
            }
            Slot::Deleted if before.is_some() => self.active.put(key, Slot::Deleted),
            Slot::Deleted => {}
        }
    }

    /// What the overlays say of `key`, the newer first.
    fn recent(&self, key: &[u8]) -> Option<&Slot> {
        let found = self.active.get(key);
        if found.is_some() || mutant(Mutant::StateIgnoresFrozen) {
            return found;
        }
        let found = self.frozen.as_ref()?.rows.get(key)?;
        mark(Mark::FrozenRead);
        Some(found)
    }

    fn meta(&self, key: &[u8]) -> Result<Option<Meta>, StateError> {
        self.see(key, |meta, _| meta)
    }

    /// Shows the key's row to `look`, without copying it.
    fn see<T>(&self, key: &[u8], look: impl FnOnce(Meta, &[u8]) -> T) -> Result<Option<T>, StateError> {
        match self.recent(key) {
            Some(Slot::Row(row)) => Ok(Some(look(row.meta, &row.value))),
            Some(Slot::Deleted) => Ok(None),
            None => self.base.get(key, look),
        }
    }

    /// The key's row at [`State::applied`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>, StateError> {
        match self.recent(key).filter(|_| !mutant(Mutant::StateReadsStoreFirst)) {
            Some(Slot::Row(row)) => Ok(Some(row.meta.found(&row.value))),
            Some(Slot::Deleted) => {
                mark(Mark::TombstoneRead);
                Ok(None)
            }
            None => self.base.get(key, |meta, value| meta.found(value)),
        }
    }

    /// All rows at [`State::applied`], for as long as they are wanted: what is applied later does not change them.
    /// Constant-time; what it holds is not freed before it goes.
    pub fn view(&self) -> View {
        View {
            #[cfg(feature = "mutants")]
            store: self.store.clone(),
            base: Arc::clone(&self.base),
            frozen: self.frozen.as_ref().map(|frozen| frozen.rows.clone()),
            active: self.active.clone(),
            revision: self.applied.index.0,
            changed: self.changed,
        }
    }

    /// A hash of all rows and of the request memory, equal on all nodes with an equal [`State::applied`].
    pub fn hash(&self) -> u64 {
        self.rows_hash.wrapping_add(self.requests.hash())
    }

    /// Whether [`State::begin_flush`] should be called now.
    pub fn flush_due(&self, now_ms: u64) -> bool {
        let old = now_ms.saturating_sub(self.flush_began_ms) >= self.limits.overlay_age_ms
            && !mutant(Mutant::StateIgnoresAge);
        self.can_flush() && (old || self.full() && !mutant(Mutant::StateIgnoresSize))
    }

    /// Whether the overlay has reached its bound while the one before is still being written. Until that is done the
    /// caller should apply nothing more, or memory has no bound.
    pub fn saturated(&self) -> bool {
        self.frozen.is_some() && self.full()
    }

    fn full(&self) -> bool {
        self.active.bytes() + self.requests.unflushed_bytes() >= self.limits.overlay_bytes
            || self.active.len() >= self.limits.overlay_entries
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
        self.frozen = Some(Frozen { rows: rows.clone(), applied: self.applied });
        let header = Header {
            cluster: self.cluster,
            memory: self.limits.request_ids,
            applied: self.applied,
            stamp_ms: self.stamp_ms,
            floor: if mutant(Mutant::FlushDropsFloor) { 0 } else { self.requests.floor() },
            rows_hash: if mutant(Mutant::FlushDropsHash) { 0 } else { self.rows_hash },
            requests_hash: self.requests.hash(),
        };
        let mut requests = self.requests.take_unflushed();
        if mutant(Mutant::FlushDropsRequests) {
            requests.clear();
        }
        let retired = std::mem::take(&mut self.retired);
        Some(Flush { store: self.store.clone(), batch: Batch { header, rows, requests }, retired })
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
        self.retired = frozen.rows;
        if !mutant(Mutant::FlushKeepsStore) {
            self.base = Arc::new(flushed.base);
        }
        self.flushed = flushed.applied;
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.bytes()
    }
}

impl Flush {
    /// Writes everything in one durable commit. Takes as long as the disk does.
    ///
    /// # Errors
    /// Nothing of it is on disk, or all of it, and nobody knows which: the caller ends the process.
    pub fn run(self) -> Result<Flushed, StateError> {
        let Self { store, batch, retired } = self;
        drop(retired);
        let base = store.commit(&batch).inspect_err(|_| mark(Mark::FlushFailed))?;
        Ok(Flushed { base, applied: batch.header.applied })
    }
}

impl Flushed {
    /// What is durable now; the log may be discarded up to here once [`State::finish_flush`] was called.
    pub fn position(&self) -> Position {
        self.applied
    }
}

#[cfg(test)]
mod tests;
