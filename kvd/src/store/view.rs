//! One commit of the store, for as long as somebody looks at it. It is consistent and blocks nobody; what is overwritten
//! meanwhile keeps its pages, so a view that lives long makes the file grow.

use std::{ops::Bound, sync::Arc};

use redb::{Database, ReadOnlyTable, ReadableTable as _, TableHandle as _};

use super::{
    Header, META, REQUESTS, ROWS, Store,
    history::{CHANGES, DELETED, SPANS},
    leases::{LEASED, LEASES},
    members::{self, MEMBERS},
    staging::{self, STAGED},
};
use crate::{
    instruments::{Mutant, mutant},
    snapshot::{Head, Table},
    state::StateError,
};

/// Leases, and the keys that they hold.
type Leases = (ReadOnlyTable<u64, &'static [u8]>, ReadOnlyTable<&'static [u8], ()>);

/// See the module.
pub(crate) struct View {
    header: Header,
    meta: ReadOnlyTable<&'static str, u128>,
    rows: ReadOnlyTable<&'static [u8], &'static [u8]>,
    requests: ReadOnlyTable<u64, &'static [u8]>,
    changes: ReadOnlyTable<&'static [u8], &'static [u8]>,
    deleted: ReadOnlyTable<&'static [u8], u64>,
    spans: ReadOnlyTable<u64, &'static [u8]>,
    members: Option<members::Table>,
    staged: Option<staging::Table>,
    /// Where there ever was a lease.
    leases: Option<Leases>,
    /// Kept open though another state has taken the place of this one.
    _database: Arc<Database>,
}

/// Facts of a store that are its own alone.
const OWN: [&str; 2] = ["received_index", "received_term"];

impl Store {
    /// The last commit.
    pub(crate) fn view(&self) -> Result<View, StateError> {
        let transaction = self.read()?;
        let tables = transaction.list_tables().map_err(StateError::store("list its tables"))?;
        let history = [CHANGES.name(), DELETED.name(), SPANS.name()];
        let own = [META.name(), REQUESTS.name(), ROWS.name(), LEASES.name(), LEASED.name(), MEMBERS.name()];
        let known: Vec<_> = own.into_iter().chain(history).chain([STAGED.name()]).collect();
        for table in tables {
            assert!(known.contains(&table.name()), "a table of the store is missing in what is sent of it");
        }
        let failed = StateError::store("open its tables");
        let header = self.header_of(&transaction)?;
        let leases = header.leases_hash.map(|_| {
            Ok((
                transaction.open_table(LEASES).map_err(&failed)?,
                transaction.open_table(LEASED).map_err(&failed)?,
            ))
        });
        Ok(View {
            header,
            leases: leases.transpose()?,
            meta: transaction.open_table(META).map_err(&failed)?,
            rows: transaction.open_table(ROWS).map_err(&failed)?,
            requests: transaction.open_table(REQUESTS).map_err(&failed)?,
            changes: transaction.open_table(CHANGES).map_err(&failed)?,
            deleted: transaction.open_table(DELETED).map_err(&failed)?,
            spans: transaction.open_table(SPANS).map_err(&failed)?,
            members: members::open(&transaction)?,
            staged: staging::open(&transaction)?,
            _database: Arc::clone(&self.database),
        })
    }
}

impl View {
    /// What is sent first.
    pub(crate) fn head(&self) -> Head {
        Head { state_format: self.header.format(), cluster: self.header.cluster, at: self.header.applied }
    }

    /// Shows the pairs of a table after `after` to `see`, in order, until it has seen enough. Returns the last key that
    /// was seen, or nothing when there is nothing after it.
    pub(crate) fn visit(
        &self,
        table: Table,
        after: Option<&[u8]>,
        see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        match table {
            Table::Meta => self.visit_meta(see),
            Table::Rows => visit_rows(&self.rows, after, see),
            Table::Requests => self.visit_requests(after, see),
            Table::Changes => self.visit_changes(after, see),
            Table::Deleted => self.visit_deleted(after, see),
            Table::Spans => self.visit_spans(after, see),
            Table::Members => self.visit_members(see),
            Table::Leases => self.visit_leases(after, see),
            Table::Leased => self.visit_leased(after, see),
            Table::Staged => match &self.staged {
                Some(staged) => visit_rows(staged, after, see),
                None => Ok(None),
            },
        }
    }

    /// They are few.
    fn visit_meta(&self, mut see: impl FnMut(&[u8], &[u8]) -> bool) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read its own facts");
        for fact in self.meta.iter().map_err(&failed)? {
            let (name, value) = fact.map_err(&failed)?;
            let dropped = (name.value() == "stamp" && mutant(Mutant::SnapshotDropsStamp))
                || (name.value() == "floor" && mutant(Mutant::SnapshotDropsFloor));
            let value = if dropped { 0 } else { value.value() };
            if !OWN.contains(&name.value()) {
                see(name.value().as_bytes(), &value.to_le_bytes());
            }
        }
        Ok(None)
    }

    fn visit_requests(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read the request memory");
        let from = match after.and_then(|after| after.first_chunk()) {
            Some(after) => Bound::Excluded(u64::from_le_bytes(*after)),
            None => Bound::Unbounded,
        };
        for chunk in self.requests.range((from, Bound::Unbounded)).map_err(&failed)? {
            let (key, value) = chunk.map_err(&failed)?;
            let last = key.value().to_le_bytes();
            if !see(&last, value.value()) {
                return Ok(Some(last.to_vec()));
            }
        }
        Ok(None)
    }

    /// Only those that are kept: what lies below the floor waits to be removed.
    fn visit_changes(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read a change");
        let kept = self.header.history.floor.saturating_add(1).to_be_bytes();
        let from = after.map_or(Bound::Included(kept.as_slice()), Bound::Excluded);
        for change in self.changes.range::<&[u8]>((from, Bound::Unbounded)).map_err(&failed)? {
            let (place, value) = change.map_err(&failed)?;
            if !see(place.value(), value.value()) {
                return Ok(Some(place.value().to_vec()));
            }
        }
        Ok(None)
    }

    /// As above.
    fn visit_deleted(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read a tombstone");
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for tombstone in self.deleted.range::<&[u8]>((from, Bound::Unbounded)).map_err(&failed)? {
            let (key, revision) = tombstone.map_err(&failed)?;
            let kept = revision.value() > self.header.history.floor;
            if kept && !see(key.value(), &revision.value().to_le_bytes()) {
                return Ok(Some(key.value().to_vec()));
            }
        }
        Ok(None)
    }

    /// They are few, and one block takes them all.
    fn visit_members(
        &self,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let Some(members) = self.members.as_ref().filter(|_| !mutant(Mutant::BookNotSent)) else {
            return Ok(None);
        };
        let failed = StateError::store("read who is in the cluster");
        for pair in members.iter().map_err(&failed)? {
            let (key, value) = pair.map_err(&failed)?;
            see(key.value(), value.value());
        }
        Ok(None)
    }

    fn visit_leases(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read a lease");
        let Some((leases, _)) = &self.leases else { return Ok(None) };
        let from = match after.and_then(|after| after.first_chunk()) {
            Some(after) => Bound::Excluded(u64::from_be_bytes(*after)),
            None => Bound::Unbounded,
        };
        for lease in leases.range((from, Bound::Unbounded)).map_err(&failed)? {
            let (id, value) = lease.map_err(&failed)?;
            let id = id.value().to_be_bytes();
            if !see(&id, value.value()) {
                return Ok(Some(id.to_vec()));
            }
        }
        Ok(None)
    }

    fn visit_leased(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read a key of a lease");
        let Some((_, leased)) = &self.leases else { return Ok(None) };
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        for held in leased.range::<&[u8]>((from, Bound::Unbounded)).map_err(&failed)? {
            let (place, _) = held.map_err(&failed)?;
            if !see(place.value(), &[]) {
                return Ok(Some(place.value().to_vec()));
            }
        }
        Ok(None)
    }

    fn visit_spans(
        &self,
        after: Option<&[u8]>,
        mut see: impl FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<Option<Vec<u8>>, StateError> {
        let failed = StateError::store("read a span of history");
        let from = match after.and_then(|after| after.first_chunk()) {
            Some(after) => Bound::Excluded(u64::from_be_bytes(*after)),
            None => Bound::Unbounded,
        };
        for span in self.spans.range((from, Bound::Unbounded)).map_err(&failed)? {
            let (first, value) = span.map_err(&failed)?;
            let first = first.value().to_be_bytes();
            if !see(&first, value.value()) {
                return Ok(Some(first.to_vec()));
            }
        }
        Ok(None)
    }
}

/// Of a table whose keys are keys.
fn visit_rows(
    rows: &ReadOnlyTable<&'static [u8], &'static [u8]>,
    after: Option<&[u8]>,
    mut see: impl FnMut(&[u8], &[u8]) -> bool,
) -> Result<Option<Vec<u8>>, StateError> {
    let failed = StateError::store("read a row");
    let from = after.map_or(Bound::Unbounded, Bound::Excluded);
    for row in rows.range::<&[u8]>((from, Bound::Unbounded)).map_err(&failed)? {
        let (key, value) = row.map_err(&failed)?;
        if !see(key.value(), value.value()) {
            return Ok(Some(key.value().to_vec()));
        }
    }
    Ok(None)
}
