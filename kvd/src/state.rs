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

use protocol::{
    ClusterId, Command, Decided, Operation, Refused,
    history::{Kept, WindowChange},
    response::Found,
};
use raft::{Entry, Membership, Payload, Position};

use crate::{
    disk::Disk,
    instruments::{Mark, Mutant, mark, mutant},
    store::{
        Base, Store,
        overlay::{Overlay, Slot},
        recent::Recent,
    },
};

pub(crate) mod book;
pub mod changes;
mod error;
mod flush;
pub(crate) mod history;
pub(crate) mod leases;
mod leasing;
mod merge;
mod past;
mod received;
pub(crate) mod requests;
pub(crate) mod row;
mod scan;
pub(crate) mod staging;
mod transaction;
pub mod view;
mod write;

use book::Book;
pub use error::StateError;
pub use flush::{Flush, Flushed};
use history::{Before, History, Occasion};
use leases::Leases;
pub(crate) use protocol::stored::hash;
pub use received::{Install, Installed};
use requests::{Requests, Verdict};
use row::{Meta, Row};
use staging::Staging;
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
    retired: (Overlay, Recent),
    active: Overlay,
    requests: Requests,
    history: History,
    book: Book,
    leases: Leases,
    staging: Staging,
    /// The changes that came with the active overlay.
    recent: Recent,
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
    recent: Recent,
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
            frozen: None,
            retired: (Overlay::default(), Recent::default()),
            active: Overlay::default(),
            history: store.history(&header)?,
            book: store.book()?,
            leases: store.leases(&header)?,
            staging: store.staging(&header)?,
            store,
            requests,
            recent: Recent::default(),
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
            Payload::Membership(membership) => {
                self.book.follow(membership);
                None
            }
            Payload::Command(bytes) => {
                let command = Command::decode(bytes);
                let command = command.map_err(|source| StateError::CannotApply { position, source })?;
                let stamp_ms = self.stamp_ms.max(command.stamp_ms);
                let (revision, wall_ms) = (position.index.0, command.wall_ms);
                let occasion = Occasion { revision, stamp_ms, wall_ms, expired: false };
                // An expiry is nobody's request, and judged anew wherever it is named again.
                let applied = if let Operation::Expire { leases } = &command.operation {
                    self.expire(occasion, leases)?
                } else {
                    let applied = self.execute(occasion, command)?;
                    self.changed = revision;
                    applied
                };
                self.stamp_ms = stamp_ms;
                Some(applied)
            }
        };
        self.applied = position;
        Ok(applied)
    }

    fn execute(&mut self, occasion: Occasion, command: Command) -> Result<Applied, StateError> {
        let revision = occasion.revision;
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
                let outcome = self.perform(occasion, operation, command.operation)?;
                self.requests.remember(outcome.remembered(token, operation));
                self.history.trim(occasion.stamp_ms, self.flush_began_ms, &mut self.recent);
                Ok(outcome)
            }
        };
        Ok(Applied { revision, result })
    }

    /// Does what the operation says.
    fn perform(
        &mut self,
        occasion: Occasion,
        content: u64,
        operation: Operation,
    ) -> Result<Outcome, StateError> {
        let (key, value) = match operation {
            Operation::Set { key, value } => (key, Some(value)),
            Operation::Delete { key } => (key, None),
            Operation::SetWindow(change) => return Ok(self.set_window(occasion, &change)),
            Operation::SetMember(record) => {
                let (revision, verdict) = (occasion.revision, self.book.record(record));
                return Ok(Outcome::Decided(Box::new(Decided { revision, verdict, ..Decided::default() })));
            }
            Operation::Restore(step) => return Ok(Outcome::Decided(Box::new(self.restore(occasion, step)))),
            operation @ (Operation::Grant { .. }
            | Operation::Renew { .. }
            | Operation::Revoke { .. }
            | Operation::SetHeld { .. }) => {
                return Ok(Outcome::Decided(Box::new(self.lease(occasion, operation)?)));
            }
            other => return Ok(Outcome::Decided(Box::new(self.decide(occasion, other)?))),
        };
        // The one fallible step comes first.
        let before = self.before(&key)?;
        let (revision, existed) = (occasion.revision, before.is_row());
        let slot = value.map_or(Slot::Deleted(revision), |value| {
            Slot::Row(Arc::new(Row { meta: self.written(before.meta(), revision, content), value }))
        });
        self.replace(occasion, &key, before, slot);
        Ok(Outcome::Written(WriteOutcome { revision, existed, deduplicated: false }))
    }

    /// What there is of a key that is about to be written.
    fn before(&self, key: &[u8]) -> Result<Before, StateError> {
        let before = match self.recent(key) {
            Some(Slot::Row(row)) => Ok(Before::Row(Arc::clone(row))),
            Some(Slot::Deleted(revision)) => Ok(Before::Nothing(self.kept(*revision))),
            None => self.stored_before(key),
        };
        match before {
            Err(_) if mutant(Mutant::StateSwallowsFailedRead) => Ok(Before::Nothing(0)),
            before => before,
        }
    }

    fn stored_before(&self, key: &[u8]) -> Result<Before, StateError> {
        if let Some(before) = self.base.get(key, |meta, value| Before::Stored(meta, value.len()))? {
            return Ok(before);
        }
        let deleted = self.base.deleted(key)?.unwrap_or(0);
        Ok(Before::Nothing(self.kept(deleted)))
    }

    /// The revision of a removal, or zero where that is trimmed: when its tombstone goes is each node's own affair.
    fn kept(&self, deleted: u64) -> u64 {
        if deleted > self.history.facts().floor || mutant(Mutant::HistoryTrustsTombstones) {
            deleted
        } else {
            0
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
        Meta { revision, created, version: version + local, content, lease: 0 }
    }

    /// Puts a row, or nothing, where `before` was, and notes the change.
    fn replace(&mut self, occasion: Occasion, key: &[u8], before: Before, slot: Slot) {
        let key: Arc<[u8]> = Arc::from(key);
        match (before.meta(), &slot) {
            (None, Slot::Deleted(_)) => return,
            (before, slot) => {
                let held = before.as_ref().map_or(0, |before| before.lease);
                let holds = if let Slot::Row(row) = slot { row.meta.lease } else { 0 };
                if held != holds {
                    self.leases.shift(&key, held, holds);
                }
                let restored = self.staging.restored();
                let gone = before.as_ref().map_or(0, |before| before.element_since(restored));
                let come = if let Slot::Row(row) = slot { row.meta.element() } else { 0 };
                self.rows_hash = self.rows_hash.wrapping_sub(gone).wrapping_add(come);
            }
        }
        let change = occasion.change(&key, matches!(slot, Slot::Deleted(_)), before);
        self.history.add(&change);
        self.recent.push(change);
        self.active.put(&key, slot);
    }

    /// Sets how much of the past is kept, and trims what that no longer holds.
    fn set_window(&mut self, occasion: Occasion, change: &WindowChange) -> Outcome {
        mark(Mark::HistoryWindowSet);
        self.history.set_window(self.history.facts().window.with(change));
        self.history.trim(occasion.stamp_ms, self.flush_began_ms, &mut self.recent);
        let number = self.history.facts().floor;
        Outcome::Decided(Box::new(Decided { revision: occasion.revision, number, ..Decided::default() }))
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

    /// Shows the key's row to `look`, without copying it.
    fn see<T>(&self, key: &[u8], look: impl FnOnce(Meta, &[u8]) -> T) -> Result<Option<T>, StateError> {
        match self.recent(key) {
            Some(Slot::Row(row)) => Ok(Some(look(row.meta, &row.value))),
            Some(Slot::Deleted(_)) => Ok(None),
            None => self.base.get(key, look),
        }
    }

    /// The key's row at [`State::applied`].
    pub fn get(&self, key: &[u8]) -> Result<Option<Found>, StateError> {
        match self.recent(key).filter(|_| !mutant(Mutant::StateReadsStoreFirst)) {
            Some(Slot::Row(row)) => Ok(Some(row.meta.found(&row.value))),
            Some(Slot::Deleted(_)) => {
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
            frozen: self.frozen.as_ref().map(|frozen| (frozen.rows.clone(), frozen.recent.clone())),
            active: self.active.clone(),
            recent: self.recent.clone(),
            revision: self.applied.index.0,
            changed: self.changed,
            history: self.history.facts(),
            leases: self.leases.all().clone(),
            clock_ms: self.stamp_ms,
        }
    }

    /// A hash of all rows, of leases, of the request memory, of what is kept of the past and of who is in the cluster, equal on
    /// all nodes with an equal [`State::applied`].
    pub fn hash(&self) -> u64 {
        let memory = self.requests.hash().wrapping_add(self.history.hash()).wrapping_add(self.book.hash());
        let rows = self.rows_hash.wrapping_add(self.staging.hash());
        rows.wrapping_add(self.leases.hash()).wrapping_add(memory)
    }

    /// The membership of the last entry of its kind that was applied; nothing while the founders are in effect.
    pub fn membership(&self) -> Option<&Membership> {
        self.book.membership().filter(|_| !mutant(Mutant::BookNotRestored))
    }

    /// Who is in the cluster, with what is recorded of them.
    pub(crate) fn book(&self) -> &Book {
        &self.book
    }

    /// The leases.
    pub(crate) fn leases(&self) -> &Leases {
        &self.leases
    }

    /// How much of the past is kept.
    pub fn kept_history(&self) -> Kept {
        self.history.kept()
    }

    /// Bytes on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.store.bytes()
    }
}

#[cfg(test)]
mod tests;
