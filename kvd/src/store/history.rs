//! What is kept of the past, in the store.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `changes` | revision and key, `state/history/change.rs` | what was there before, the same |
//! | `deleted` | the key | u64: the revision that removed it, as long as the change is kept |
//! | `spans` | u64: revision of the first change of the span | [`Span::encode`] |
//!
//! Changes are written in the order of their keys, each after all that are there, which is the cheapest that a tree can be
//! asked for; the row that a change replaces is moved from `rows` by the commit that overwrites it. What lies at or below
//! the floor is garbage: nobody reads it, it counts in no hash, and it differs from node to node, for it is removed by
//! commits, each of which takes a bounded number. A key's row hides its tombstone.

use std::{collections::VecDeque, ops::Bound};

use redb::{AccessGuard, ReadableTable as _, TableDefinition, WriteTransaction};

use super::{Base, Batch, Header, ROWS, Store};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    state::{
        StateError,
        history::{Before, Change, History, Replaced, Span},
    },
};

pub(crate) const CHANGES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("changes");
pub(crate) const DELETED: TableDefinition<&[u8], u64> = TableDefinition::new("deleted");
pub(crate) const SPANS: TableDefinition<u64, &[u8]> = TableDefinition::new("spans");

/// So many trimmed changes are removed by a commit, and twice as many as it adds.
const REMOVED: usize = 4096;

/// A change in the file, shown without being copied.
pub(crate) struct StoredChange(AccessGuard<'static, &'static [u8]>);

/// The revision of a change, its place, and what it says.
type Placed = (u64, Vec<u8>, StoredChange);

impl StoredChange {
    /// What it says.
    pub(crate) fn read(&self) -> Option<Replaced<'_>> {
        Replaced::decode(self.0.value())
    }
}

impl Store {
    /// The history of the last commit, checked against the header.
    pub(crate) fn history(&self, header: &Header) -> Result<History, StateError> {
        let transaction = self.read()?;
        let table = transaction.open_table(SPANS).map_err(|_| self.damaged("it has no spans of history"))?;
        let read = StateError::store("read the spans of history");
        let mut spans = VecDeque::new();
        for span in table.iter().map_err(&read)? {
            let (first, bytes) = span.map_err(&read)?;
            let span = Span::decode(first.value(), bytes.value());
            spans.push_back(span.ok_or_else(|| self.damaged("a span of history has another length"))?);
        }
        let history = History::load(header.history, spans).map_err(|why| self.damaged(why))?;
        if history.changes_hash() != header.changes_hash && !mutant(Mutant::SnapshotForgetsHistory) {
            return Err(self.damaged("its history is not the one it was written with"));
        }
        Ok(history)
    }
}

impl Base {
    /// The change of a key at a revision.
    pub(crate) fn change(&self, revision: u64, key: &[u8]) -> Result<Option<StoredChange>, StateError> {
        let place = Change::place(revision, key);
        let found = self.changes.get(place.as_slice()).map_err(StateError::store("read a change"))?;
        Ok(found.map(StoredChange))
    }

    /// The changes from a revision on: the revision of each, where it stands, and what it says.
    pub(crate) fn changes_from(
        &self,
        revision: u64,
    ) -> Result<impl Iterator<Item = Result<Placed, StateError>>, StateError> {
        let from = revision.to_be_bytes();
        let failed = StateError::store("read changes");
        let changes = self.changes.range::<&[u8]>(from.as_slice()..).map_err(&failed)?;
        Ok(changes.map(move |change| {
            let (place, value) = change.map_err(StateError::store("read the next change"))?;
            let place = place.value();
            let revision = Replaced::split(place).map(|(revision, _)| revision);
            let revision = revision.ok_or_else(|| self.damaged("a change stands nowhere"))?;
            Ok((revision, place.to_vec(), StoredChange(value)))
        }))
    }

    /// The revision that removed a key, where that is known.
    pub(crate) fn deleted(&self, key: &[u8]) -> Result<Option<u64>, StateError> {
        let found = self.deleted.get(key).map_err(StateError::store("read a tombstone"))?;
        Ok(found.map(|revision| revision.value()))
    }

    /// The first tombstone at or after a key.
    pub(crate) fn deleted_from(&self, from: Bound<&[u8]>) -> Result<Option<(Vec<u8>, u64)>, StateError> {
        let failed = StateError::store("read tombstones");
        let mut found = self.deleted.range::<&[u8]>((from, Bound::Unbounded)).map_err(&failed)?;
        let Some(tombstone) = found.next() else { return Ok(None) };
        let (key, revision) = tombstone.map_err(&failed)?;
        Ok(Some((key.value().to_vec(), revision.value())))
    }

    /// Something contradicts itself.
    pub(crate) fn damaged(&self, why: &'static str) -> StateError {
        StateError::Damaged { path: self.path.to_path_buf(), why }
    }
}

/// Adds the changes of a batch, before its rows are written, and removes what was trimmed, a bounded number.
pub(super) fn write_history(transaction: &WriteTransaction, batch: &Batch) -> Result<(), StateError> {
    let floor = batch.header.history.floor;
    let restored = batch.header.staging.map_or(0, |facts| facts.restored);
    let mut changes = transaction.open_table(CHANGES).map_err(StateError::store("open the changes"))?;
    let mut deleted = transaction.open_table(DELETED).map_err(StateError::store("open the tombstones"))?;
    let rows = transaction.open_table(ROWS).map_err(StateError::store("open the rows"))?;
    let failed = StateError::store("write a change");
    let (mut bytes, mut added) = (Vec::new(), 0_usize);
    for change in batch.changes.starting_at(floor.saturating_add(1)) {
        let encoded = if matches!(change.before, Before::Stored(..)) {
            mark(Mark::HistoryMoved);
            let row = rows.get(&*change.key).map_err(&failed)?;
            change.encode(row.as_ref().map(AccessGuard::value), restored, &mut bytes)
        } else {
            change.encode(None, restored, &mut bytes)
        };
        // A row that goes missing between two commits was never there: the file is not what it was.
        if encoded.is_none() {
            return Err(StateError::Store {
                what: "find a row that is replaced",
                source: Box::new(redb::Error::Corrupted("a row has gone".into())),
            });
        }
        let place = Change::place(change.revision, &change.key);
        changes.insert(place.as_slice(), bytes.as_slice()).map_err(&failed)?;
        if change.deleted && !mutant(Mutant::HistoryForgetsTombstones) {
            deleted.insert(&*change.key, change.revision).map_err(&failed)?;
        }
        added = added.saturating_add(1);
    }
    let most = added.saturating_mul(2).saturating_add(REMOVED);
    let end = floor.saturating_add(1).to_be_bytes();
    let failed = StateError::store("remove a trimmed change");
    let trimmed = changes.extract_from_if::<&[u8], _>(..end.as_slice(), |_, _| true).map_err(&failed)?;
    for change in trimmed.take(most) {
        let (place, value) = change.map_err(&failed)?;
        mark(Mark::HistoryRemoved);
        let Some((_, key)) = Replaced::split(place.value()) else { continue };
        let removed = Replaced::decode(value.value()).is_some_and(|change| change.deleted);
        let gone = removed && deleted.get(key).map_err(&failed)?.is_some_and(|at| at.value() <= floor);
        if gone {
            deleted.remove(key).map_err(&failed)?;
        }
    }
    write_spans(transaction, &batch.spans)
}

fn write_spans(transaction: &WriteTransaction, spans: &[Span]) -> Result<(), StateError> {
    let mut table = transaction.open_table(SPANS).map_err(StateError::store("open the spans of history"))?;
    let failed = StateError::store("write the spans of history");
    let first = spans.first().map_or(u64::MAX, |span| span.first);
    table.retain_in(..first, |_, _| false).map_err(&failed)?;
    for span in spans {
        table.insert(span.first, span.encode().as_slice()).map_err(&failed)?;
    }
    Ok(())
}

#[cfg(test)]
impl Store {
    /// How many changes and tombstones lie in the file, those that are only waiting to be removed included.
    pub(crate) fn stored_history(&self) -> (u64, u64) {
        use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
        let transaction = self.database.begin_read().unwrap();
        let changes = transaction.open_table(CHANGES).unwrap().len().unwrap();
        (changes, transaction.open_table(DELETED).unwrap().len().unwrap())
    }
}
