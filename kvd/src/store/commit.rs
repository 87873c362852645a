//! One commit: everything that must agree goes into one transaction.

use raft::Position;
use redb::{Database, WriteTransaction};

use super::{
    Batch, Header, META, REQUESTS, ROWS,
    history::write_history,
    leases::write_leases,
    members::write_members,
    overlay::{Overlay, Slot},
    staging::{turn, write_staged},
};
use crate::{
    instruments::{Mutant, mutant},
    state::StateError,
};

/// Makes a batch durable, all of it or nothing.
pub(super) fn write(database: &Database, batch: &Batch) -> Result<(), StateError> {
    let mut transaction = begin(database)?;
    if mutant(Mutant::StoreCommitsLazily) && batch.header.applied != Position::ZERO {
        let _ = transaction.set_durability(redb::Durability::None);
    }
    turn(&transaction, batch.staging.plan)?;
    if mutant(Mutant::StoreRowsFirst) {
        write_rows(&transaction, &batch.rows)?;
        transaction = apart(Mutant::StoreRowsFirst, transaction, database)?;
    }
    if !mutant(Mutant::HistoryMovesTooLate) {
        write_history(&transaction, batch)?;
    }
    write_meta(&transaction, &batch.header)?;
    let transaction = apart(Mutant::StorePositionFirst, transaction, database)?;
    write_rows(&transaction, &batch.rows)?;
    let transaction = apart(Mutant::StoreRequestsApart, transaction, database)?;
    write_requests(&transaction, batch)?;
    write_leases(&transaction, batch)?;
    write_staged(&transaction, batch)?;
    if mutant(Mutant::HistoryMovesTooLate) {
        write_history(&transaction, batch)?;
    }
    if let Some(members) = &batch.members {
        write_members(&transaction, members)?;
    }
    transaction.commit().map_err(StateError::store("commit"))
}

/// A transaction whose commit is found again without walking the file.
pub(super) fn begin(database: &Database) -> Result<WriteTransaction, StateError> {
    let mut transaction = database.begin_write().map_err(StateError::store("begin a commit"))?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// The same transaction; a bug that is on splits it here.
fn apart(
    bug: Mutant,
    transaction: WriteTransaction,
    database: &Database,
) -> Result<WriteTransaction, StateError> {
    if !mutant(bug) {
        return Ok(transaction);
    }
    transaction.commit().map_err(StateError::store("commit"))?;
    begin(database)
}

fn write_meta(transaction: &WriteTransaction, header: &Header) -> Result<(), StateError> {
    let mut table = transaction.open_table(META).map_err(StateError::store("open its own facts"))?;
    for (name, value) in header.rows() {
        table.insert(name, value).map_err(StateError::store("write its own facts"))?;
    }
    Ok(())
}

fn write_rows(transaction: &WriteTransaction, rows: &Overlay) -> Result<(), StateError> {
    let mut table = transaction.open_table(ROWS).map_err(StateError::store("open the rows"))?;
    let failed = StateError::store("write a row");
    let mut bytes = Vec::new();
    for (key, slot) in rows.iter() {
        match slot {
            Slot::Row(row) => {
                row.encode(&mut bytes);
                table.insert(key, bytes.as_slice()).map_err(&failed)?;
            }
            Slot::Deleted(_) if mutant(Mutant::StoreKeepsDeleted) => {}
            Slot::Deleted(_) => {
                table.remove(key).map_err(&failed)?;
            }
        }
    }
    Ok(())
}

/// Adds the new chunks and removes those whose every id is forgotten.
fn write_requests(transaction: &WriteTransaction, batch: &Batch) -> Result<(), StateError> {
    let mut table = transaction.open_table(REQUESTS).map_err(StateError::store("open the request memory"))?;
    let failed = StateError::store("write the request memory");
    for chunk in &batch.requests {
        table.insert(chunk.last(), chunk.bytes()).map_err(&failed)?;
    }
    table.retain_in(..=batch.header.floor, |_, _| false).map_err(&failed)
}
