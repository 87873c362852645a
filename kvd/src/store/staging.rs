//! What is staged of a backup, in the store, and how it comes to be all there is.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `staged` | the key | a row of revision zero, as [`protocol::restore::staged`] |
//!
//! The table is there while something is staged. A switch gives it the name `rows` and removes the one that had it, with the
//! changes and tombstones of the past, in the commit that has the switch in it: no row is read or written for it. Rows keep the
//! revision zero in the file; [`RESTORED`](protocol::snapshot::RESTORED) says what it stands for, and whoever reads a row fills
//! it in. What was staged and is dropped is removed in the same way, as a table.

use redb::{
    ReadOnlyTable, ReadTransaction, ReadableTable as _, ReadableTableMetadata as _, TableDefinition,
    TableError, WriteTransaction,
};

use super::{
    Batch, Header, ROWS, Store,
    history::{CHANGES, DELETED},
    overlay::{Overlay, Slot},
    recent::Recent,
};
use crate::{
    snapshot::SnapshotError,
    state::{
        StateError,
        row::Meta,
        staging::{Facts, Origin, Plan, Staging},
    },
};

pub(crate) const STAGED: TableDefinition<&[u8], &[u8]> = TableDefinition::new("staged");

/// The table of one commit.
pub(super) type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What a commit does about it.
#[derive(Default)]
pub(crate) struct StagingBatch {
    /// What becomes of the tables, before anything is written.
    pub(crate) plan: Plan,
    /// Rows to be staged.
    pub(crate) rows: Overlay,
    /// What is in memory and nobody needs any more.
    pub(crate) discarded: Vec<(Overlay, Recent)>,
}

/// The table, where there is one.
pub(super) fn open(transaction: &ReadTransaction) -> Result<Option<Table>, StateError> {
    match transaction.open_table(STAGED) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(StateError::store("open what is staged")(error)),
    }
}

/// Gives each table the part that it has from now on. First of all that a commit does: what it writes, and what changes say of
/// the rows that they replace, is of the tables after that.
pub(super) fn turn(transaction: &WriteTransaction, plan: Plan) -> Result<(), StateError> {
    let failed = StateError::store("put what is staged in its place");
    if plan.rows != Origin::Kept {
        transaction.delete_table(ROWS).map_err(&failed)?;
        transaction.delete_table(CHANGES).map_err(&failed)?;
        transaction.delete_table(DELETED).map_err(&failed)?;
    }
    if plan.rows == Origin::Staged {
        // Nothing of it may have been written down yet: then there is no table, and no row.
        transaction.open_table(STAGED).map_err(&failed)?;
        transaction.rename_table(STAGED, ROWS).map_err(&failed)?;
    }
    if plan.staged == Origin::Empty {
        transaction.delete_table(STAGED).map_err(&failed)?;
    }
    Ok(())
}

impl Store {
    /// What is staged in the last commit: its facts, and the key of its last row.
    pub(crate) fn staging(&self, header: &Header) -> Result<Staging, StateError> {
        let Some(facts) = header.staging else { return Ok(Staging::default()) };
        let failed = StateError::store("read what is staged");
        let table = open(&self.read()?)?;
        let (count, last) = match &table {
            Some(table) => {
                let last = table.last().map_err(&failed)?.map(|(key, _)| key.value().to_vec());
                (table.len().map_err(&failed)?, last.unwrap_or_default())
            }
            None => (0, Vec::new()),
        };
        if count != facts.count || (facts.id == 0 && count > 0) {
            return Err(self.damaged("what it has staged is not what it was written with"));
        }
        Ok(Staging::load(facts, last))
    }
}

/// Takes rows of a state that is received; returns how many, and the sum of their hashes.
pub(super) fn put_staged(
    transaction: &WriteTransaction,
    pairs: &[(&[u8], &[u8])],
) -> Result<(u64, u64), SnapshotError> {
    let mut table = transaction.open_table(STAGED).map_err(StateError::store("open what is staged"))?;
    let (mut count, mut sum) = (0_u64, 0_u64);
    for (key, row) in pairs {
        let meta = Meta::split(row).map(|(meta, _)| meta);
        let meta =
            meta.filter(|meta| (meta.revision, meta.created, meta.version, meta.lease) == (0, 0, 1, 0));
        let meta = meta.ok_or_else(|| SnapshotError::content("a staged row is none"))?;
        (count, sum) = (count.saturating_add(1), sum.wrapping_add(meta.element()));
        table.insert(*key, *row).map_err(StateError::store("stage a row"))?;
    }
    Ok((count, sum))
}

/// Writes the rows that are staged.
pub(super) fn write_staged(transaction: &WriteTransaction, batch: &Batch) -> Result<(), StateError> {
    let rows = &batch.staging.rows;
    if rows.len() == 0 {
        return Ok(());
    }
    let mut table = transaction.open_table(STAGED).map_err(StateError::store("open what is staged"))?;
    let mut bytes = Vec::new();
    for (key, slot) in rows.iter() {
        let Slot::Row(row) = slot else { continue };
        row.encode(&mut bytes);
        table.insert(key, bytes.as_slice()).map_err(StateError::store("stage a row"))?;
    }
    Ok(())
}

/// The facts of a state into which something was ever staged.
pub(super) fn facts(facts: &Facts) -> [(&'static str, u128); 5] {
    [
        (protocol::snapshot::RESTORED, u128::from(facts.restored)),
        ("restored_by", facts.restored_by),
        ("staging", facts.id),
        ("staged", u128::from(facts.count)),
        ("staged_hash", u128::from(facts.hash)),
    ]
}

/// What a store begins with that is made out of a backup: nothing is staged, and what was restored stays so.
pub(super) const NOTHING: [&str; 3] = ["staging", "staged", "staged_hash"];
