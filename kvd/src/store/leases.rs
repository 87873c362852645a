//! Leases, in the store.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `leases` | u64: the id | [`StoredLease::encode`] |
//! | `leased` | id, u64 big-endian, and a key that it holds | nothing |
//!
//! Both tables are there from the first lease or the first change of members on, and the store is of [`STATE_FORMAT_LEASES`] at least from then on; before
//! that it is what it was without either, byte by byte.

use std::sync::Arc;

use protocol::{
    stored::StoredLease,
    version::{STATE_FORMAT, STATE_FORMAT_LEASES, STATE_FORMAT_PLAIN},
};
use redb::{ReadableTable as _, TableDefinition, WriteTransaction};

use super::{Batch, Header, Store};
use crate::{
    snapshot::SnapshotError,
    state::{StateError, leases::Leases},
};

pub(crate) const LEASES: TableDefinition<u64, &[u8]> = TableDefinition::new("leases");
pub(crate) const LEASED: TableDefinition<&[u8], ()> = TableDefinition::new("leased");

impl Header {
    /// The format that says all that is in it.
    pub(crate) fn format(&self) -> u16 {
        match (self.staging, self.leases_hash) {
            (Some(_), _) => STATE_FORMAT,
            (None, Some(_)) => STATE_FORMAT_LEASES,
            (None, None) => STATE_FORMAT_PLAIN,
        }
    }
}

impl Store {
    /// The leases of the last commit, checked against the header.
    pub(crate) fn leases(&self, header: &Header) -> Result<Leases, StateError> {
        let Some(hash) = header.leases_hash else { return Ok(Leases::new()) };
        let transaction = self.read()?;
        let damaged = |_| self.damaged("it has no leases, and its format says that there are");
        let leases = transaction.open_table(LEASES).map_err(damaged)?;
        let keys = transaction.open_table(LEASED).map_err(damaged)?;
        let read = StateError::store("read the leases");
        let (mut all, mut held) = (Vec::new(), Vec::new());
        for lease in leases.iter().map_err(&read)? {
            let (id, bytes) = lease.map_err(&read)?;
            let lease = StoredLease::decode(bytes.value());
            all.push((id.value(), lease.ok_or_else(|| self.damaged("a lease is none"))?));
        }
        for place in keys.iter().map_err(&read)? {
            let (place, ()) = place.map(|(place, nothing)| (place, nothing.value())).map_err(&read)?;
            let split = StoredLease::split(place.value());
            let (id, key) = split.ok_or_else(|| self.damaged("a key that a lease holds is none"))?;
            held.push((id, Arc::from(key)));
        }
        Leases::load(hash, all, held).map_err(|why| self.damaged(why))
    }
}

/// Writes what changed.
pub(super) fn write_leases(transaction: &WriteTransaction, batch: &Batch) -> Result<(), StateError> {
    if batch.header.leases_hash.is_none() {
        return Ok(());
    }
    let mut table = transaction.open_table(LEASES).map_err(StateError::store("open the leases"))?;
    let failed = StateError::store("write a lease");
    for (id, lease) in &batch.leases.leases {
        match lease {
            Some(lease) => table.insert(id, lease.encode().as_slice()).map_err(&failed)?,
            None => table.remove(id).map_err(&failed)?,
        };
    }
    let mut table = transaction.open_table(LEASED).map_err(StateError::store("open the keys of leases"))?;
    for ((id, key), is_held) in &batch.leases.held {
        let place = StoredLease::place(*id, key);
        if *is_held {
            table.insert(place.as_slice(), ()).map_err(&failed)?;
        } else {
            table.remove(place.as_slice()).map_err(&failed)?;
        }
    }
    Ok(())
}

/// Takes leases of a state that is received; returns the sum of their hashes.
pub(super) fn put_leases(
    transaction: &WriteTransaction,
    pairs: &[(&[u8], &[u8])],
) -> Result<u64, SnapshotError> {
    let mut table = transaction.open_table(LEASES).map_err(StateError::store("open the leases"))?;
    let mut sum = 0_u64;
    for (id, bytes) in pairs {
        let id = (*id).try_into().ok().map(u64::from_be_bytes);
        let read = id.zip(StoredLease::decode(bytes));
        let (id, lease) = read.ok_or_else(|| SnapshotError::content("a lease is none"))?;
        sum = sum.wrapping_add(lease.element(id));
        table.insert(id, *bytes).map_err(StateError::store("write a lease"))?;
    }
    Ok(sum)
}

/// The same of the keys that they hold.
pub(super) fn put_leased(
    transaction: &WriteTransaction,
    pairs: &[(&[u8], &[u8])],
) -> Result<u64, SnapshotError> {
    let mut table = transaction.open_table(LEASED).map_err(StateError::store("open the keys of leases"))?;
    let mut sum = 0_u64;
    for (place, nothing) in pairs {
        let split = StoredLease::split(place).filter(|_| nothing.is_empty());
        let (id, key) = split.ok_or_else(|| SnapshotError::content("a key that a lease holds is none"))?;
        sum = sum.wrapping_add(StoredLease::key_element(id, key));
        table.insert(*place, ()).map_err(StateError::store("write a key of a lease"))?;
    }
    Ok(sum)
}
