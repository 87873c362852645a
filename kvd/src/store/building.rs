//! A store that is made from another's tables, pair by pair, under the name of one that is not current.

use std::path::{Path, PathBuf};

use protocol::{
    ClusterId,
    snapshot::{Head, RESTORED, SAVED},
    version::{STATE_FORMAT, STATE_FORMAT_LEASES, STATE_FORMAT_PLAIN},
};
use raft::Position;
use redb::WriteTransaction;

use super::{
    META, REQUESTS, ROWS, Store, begin, disk_error,
    generation::INCOMING,
    history::{CHANGES, DELETED, SPANS},
    leases::{LEASED, LEASES, put_leased, put_leases},
    members::MEMBERS,
    staging::{NOTHING, STAGED, put_staged},
};
use crate::{
    disk::{Create, Disk},
    instruments::{Mutant, mutant},
    snapshot::{SnapshotError, Table},
    state::{StateError, history::Replaced, requests::Requests, row::Meta},
};

/// So many bytes are one commit: what is not committed takes memory.
const COMMIT: usize = 16 * 1024 * 1024;

/// Most facts that a store may have of its own: they are kept in memory until the end.
const MOST_FACTS: usize = 64;

/// Whose a restored store is to be, where it ends, and how many request ids it remembers at most.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renamed {
    pub(crate) cluster: ClusterId,
    pub(crate) at: Position,
    pub(crate) memory: usize,
}

/// See the module.
pub(crate) struct Building {
    store: Store,
    transaction: Option<WriteTransaction>,
    uncommitted: usize,
    facts: Vec<(String, u128)>,
    rows_hash: u64,
    changes_hash: u64,
    /// The hash of its leases, where it has any.
    leases_hash: Option<u64>,
    /// How many rows are staged, and the sum of their hashes.
    staged: (u64, u64),
}

impl Building {
    /// An empty file.
    pub(crate) fn begin(disk: &dyn Disk, dir: &Path, cache_bytes: usize) -> Result<Self, StateError> {
        let path: PathBuf = dir.join(INCOMING);
        if disk.exists(&path).map_err(disk_error("look for", &path))? {
            disk.remove(&path).map_err(disk_error("remove", &path))?;
        }
        let store = Store::open_file(disk, &path, Create::New, cache_bytes)?;
        let facts = Vec::new();
        Ok(Self {
            store,
            transaction: None,
            uncommitted: 0,
            facts,
            rows_hash: 0,
            changes_hash: 0,
            leases_hash: None,
            staged: (0, 0),
        })
    }

    /// Takes pairs of a table.
    pub(crate) fn put(&mut self, table: Table, pairs: &[(&[u8], &[u8])]) -> Result<(), SnapshotError> {
        if table == Table::Meta {
            return pairs.iter().try_for_each(|(name, value)| self.fact(name, value));
        }
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => begin(&self.store.database)?,
        };
        match table {
            Table::Requests => put_requests(&transaction, pairs)?,
            Table::Changes => {
                self.changes_hash = self.changes_hash.wrapping_add(put_changes(&transaction, pairs)?);
            }
            Table::Deleted => put_deleted(&transaction, pairs)?,
            Table::Spans => put_spans(&transaction, pairs)?,
            Table::Members => put_members(&transaction, pairs)?,
            Table::Leases => self.add_leases(put_leases(&transaction, pairs)?),
            Table::Leased => self.add_leases(put_leased(&transaction, pairs)?),
            Table::Staged => {
                let (count, sum) = put_staged(&transaction, pairs)?;
                self.staged = (self.staged.0.saturating_add(count), self.staged.1.wrapping_add(sum));
            }
            Table::Meta | Table::Rows => {
                let restored = self.restored();
                self.rows_hash = self.rows_hash.wrapping_add(put_rows(&transaction, pairs, restored)?);
            }
        }
        let bytes = pairs.iter().map(|(key, value)| key.len().saturating_add(value.len()));
        self.uncommitted = bytes.fold(self.uncommitted, usize::saturating_add);
        if self.uncommitted < COMMIT {
            self.transaction = Some(transaction);
            return Ok(());
        }
        self.uncommitted = 0;
        transaction.commit().map_err(StateError::store("commit"))?;
        Ok(())
    }

    fn add_leases(&mut self, hash: u64) {
        self.leases_hash = Some(self.leases_hash.unwrap_or(0).wrapping_add(hash));
    }

    fn fact(&mut self, name: &[u8], value: &[u8]) -> Result<(), SnapshotError> {
        let name = std::str::from_utf8(name).map_err(|_| SnapshotError::content("the name of a fact"))?;
        let value = value.try_into().map_err(|_| SnapshotError::content("the value of a fact"))?;
        if self.facts.len() >= MOST_FACTS {
            return Err(SnapshotError::content("it has more facts of its own than any state"));
        }
        self.facts.push((name.to_owned(), u128::from_le_bytes(value)));
        Ok(())
    }

    /// Checks the facts against the head, the rows and what this server is set to, and makes everything durable as a
    /// store that was received at `at`.
    pub(crate) fn finish(self, at: Position, cluster: ClusterId, memory: usize) -> Result<(), SnapshotError> {
        self.check(at, cluster)?;
        if !trusts() && !self.says("memory", memory as u128) {
            return Err(SnapshotError::content("its facts contradict what it holds"));
        }
        self.write(at)
    }

    /// The same for the store of another cluster, which becomes that of a new one: as `new` says, at a later place, and
    /// without the memory of requests and without its members, which were of the other cluster and mean nothing here.
    pub(crate) fn finish_as(mut self, old: Head, new: Renamed) -> Result<(), SnapshotError> {
        self.check(old.at, old.cluster)?;
        let floor = new.at.index.0;
        let facts = [
            ("cluster", u128::from_be_bytes(new.cluster.0)),
            ("memory", new.memory as u128),
            ("index", u128::from(new.at.index.0)),
            ("term", u128::from(new.at.term.0)),
            ("floor", u128::from(floor)),
            ("requests_hash", u128::from(Requests::new(1, floor).hash())),
        ];
        self.facts.retain(|(name, _)| name != SAVED && !facts.iter().any(|fact| fact.0 == name));
        self.facts.extend(facts.map(|(name, value)| (name.to_owned(), value)));
        for (name, value) in &mut self.facts {
            if NOTHING.contains(&name.as_str()) {
                *value = 0;
            }
        }
        self.forget_members()?;
        self.write(new.at)
    }

    /// A cluster that is restored begins with the servers of its configuration, and with nothing staged.
    fn forget_members(&mut self) -> Result<(), StateError> {
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => begin(&self.store.database)?,
        };
        transaction.delete_table(MEMBERS).map_err(StateError::store("remove who was in the cluster"))?;
        transaction.delete_table(STAGED).map_err(StateError::store("remove what was staged"))?;
        self.transaction = Some(transaction);
        Ok(())
    }

    fn check(&self, at: Position, cluster: ClusterId) -> Result<(), SnapshotError> {
        let expected = [
            ("cluster", u128::from_be_bytes(cluster.0)),
            ("index", u128::from(at.index.0)),
            ("term", u128::from(at.term.0)),
            ("rows_hash", u128::from(self.rows_hash)),
            ("changes_hash", u128::from(self.changes_hash)),
        ];
        let facts = expected.iter().all(|(name, value)| self.says(name, *value));
        let sound = trusts() || facts && self.format_is_sound() && self.staging_is_sound();
        if sound { Ok(()) } else { Err(SnapshotError::content("its facts contradict what it holds")) }
    }

    /// What it says of its rows that have no revision of their own.
    fn restored(&self) -> u64 {
        self.fact_of(RESTORED).and_then(|revision| u64::try_from(revision).ok()).unwrap_or(0)
    }

    fn fact_of(&self, name: &str) -> Option<u128> {
        self.facts.iter().find(|fact| fact.0 == name).map(|fact| fact.1)
    }

    fn staging_is_sound(&self) -> bool {
        let (count, hash) = self.staged;
        let staged = (self.fact_of("staged").unwrap_or(0), self.fact_of("staged_hash").unwrap_or(0));
        staged == (count.into(), hash.into())
    }

    /// Whether its format is known, and says whether there are leases and whether anything was ever staged.
    fn format_is_sound(&self) -> bool {
        let leases = self.fact_of("leases_hash");
        match self.leases_hash.map(u128::from).or(leases.map(|_| 0)) {
            None => self.says("format", STATE_FORMAT_PLAIN.into()),
            hash => {
                let staging = self.fact_of("staging").is_some();
                let format = if staging { STATE_FORMAT } else { STATE_FORMAT_LEASES };
                leases == hash && self.says("format", format.into())
            }
        }
    }

    fn says(&self, name: &str, value: u128) -> bool {
        self.facts.iter().any(|fact| fact.0 == name && fact.1 == value)
    }

    fn write(mut self, at: Position) -> Result<(), SnapshotError> {
        let transaction = match self.transaction.take() {
            Some(transaction) => transaction,
            None => begin(&self.store.database)?,
        };
        self.facts.push(("received_index".to_owned(), u128::from(at.index.0)));
        self.facts.push(("received_term".to_owned(), u128::from(at.term.0)));
        put_facts(&transaction, &self.facts)?;
        transaction.commit().map_err(StateError::store("commit"))?;
        self.check_loads()
    }
}

impl Building {
    /// What would not open must not become current: then it would be the node's end.
    fn check_loads(&self) -> Result<(), SnapshotError> {
        let loaded = self.store.header().and_then(|header| {
            self.store.requests(&header)?;
            self.store.book()?;
            self.store.leases(&header)?;
            self.store.staging(&header)?;
            self.store.history(&header)
        });
        match loaded {
            Err(StateError::Damaged { .. }) if !trusts() => Err(SnapshotError::content(
                "its request memory, its history or its members are not what it was written with",
            )),
            Err(StateError::Damaged { .. }) | Ok(_) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A bug on purpose: what does not check is taken all the same.
fn trusts() -> bool {
    [Mutant::SnapshotTakenPartial, Mutant::SnapshotUnchecked, Mutant::SnapshotForgetsHistory]
        .into_iter()
        .any(mutant)
}

fn put_facts(transaction: &WriteTransaction, facts: &[(String, u128)]) -> Result<(), StateError> {
    // All tables are there, also those that hold nothing.
    transaction.open_table(ROWS).map_err(StateError::store("open the rows"))?;
    transaction.open_table(REQUESTS).map_err(StateError::store("open the request memory"))?;
    transaction.open_table(CHANGES).map_err(StateError::store("open the changes"))?;
    transaction.open_table(DELETED).map_err(StateError::store("open the tombstones"))?;
    transaction.open_table(SPANS).map_err(StateError::store("open the spans of history"))?;
    if facts.iter().any(|(name, value)| name == "format" && *value > u128::from(STATE_FORMAT_PLAIN)) {
        transaction.open_table(LEASES).map_err(StateError::store("open the leases"))?;
        transaction.open_table(LEASED).map_err(StateError::store("open the keys of leases"))?;
    }
    let mut table = transaction.open_table(META).map_err(StateError::store("open its own facts"))?;
    for (name, value) in facts {
        table.insert(name.as_str(), value).map_err(StateError::store("write its own facts"))?;
    }
    Ok(())
}

/// Writes rows; returns the sum of their hashes.
fn put_rows(
    transaction: &WriteTransaction,
    pairs: &[(&[u8], &[u8])],
    restored: u64,
) -> Result<u64, SnapshotError> {
    let mut table = transaction.open_table(ROWS).map_err(StateError::store("open the rows"))?;
    let mut sum = 0_u64;
    for (key, row) in pairs {
        let (meta, _) = Meta::split(row).ok_or_else(|| SnapshotError::content("a row is too short"))?;
        if !meta.resolved(restored).is_possible() {
            return Err(SnapshotError::content("a row has numbers that no row has"));
        }
        sum = sum.wrapping_add(meta.element_since(restored));
        table.insert(key, row).map_err(StateError::store("write a row"))?;
    }
    Ok(sum)
}

fn put_requests(transaction: &WriteTransaction, pairs: &[(&[u8], &[u8])]) -> Result<(), SnapshotError> {
    let mut table = transaction.open_table(REQUESTS).map_err(StateError::store("open the request memory"))?;
    for (last, chunk) in pairs {
        let last =
            (*last).try_into().map_err(|_| SnapshotError::content("the key of remembered requests"))?;
        let last = u64::from_le_bytes(last);
        table.insert(last, *chunk).map_err(StateError::store("write the request memory"))?;
    }
    Ok(())
}

/// Writes changes; returns the sum of their hashes.
fn put_changes(transaction: &WriteTransaction, pairs: &[(&[u8], &[u8])]) -> Result<u64, SnapshotError> {
    let mut table = transaction.open_table(CHANGES).map_err(StateError::store("open the changes"))?;
    let mut sum = 0_u64;
    for (place, value) in pairs {
        let read = Replaced::split(place).zip(Replaced::decode(value));
        let ((revision, key), change) = read.ok_or_else(|| SnapshotError::content("a change is none"))?;
        if change.before.is_ok_and(|(meta, _)| !meta.is_possible()) {
            return Err(SnapshotError::content("a replaced row has numbers that no row has"));
        }
        sum = sum.wrapping_add(change.element(revision, key));
        table.insert(place, value).map_err(StateError::store("write a change"))?;
    }
    Ok(sum)
}

fn put_deleted(transaction: &WriteTransaction, pairs: &[(&[u8], &[u8])]) -> Result<(), SnapshotError> {
    let mut table = transaction.open_table(DELETED).map_err(StateError::store("open the tombstones"))?;
    for (key, revision) in pairs {
        let revision = (*revision).try_into().map_err(|_| SnapshotError::content("a tombstone"))?;
        let revision = u64::from_le_bytes(revision);
        table.insert(key, revision).map_err(StateError::store("write a tombstone"))?;
    }
    Ok(())
}

fn put_members(transaction: &WriteTransaction, pairs: &[(&[u8], &[u8])]) -> Result<(), SnapshotError> {
    let mut table =
        transaction.open_table(MEMBERS).map_err(StateError::store("open who is in the cluster"))?;
    for (key, value) in pairs {
        table.insert(*key, *value).map_err(StateError::store("write who is in the cluster"))?;
    }
    Ok(())
}

fn put_spans(transaction: &WriteTransaction, pairs: &[(&[u8], &[u8])]) -> Result<(), SnapshotError> {
    let mut table = transaction.open_table(SPANS).map_err(StateError::store("open the spans of history"))?;
    for (first, span) in pairs {
        let first =
            (*first).try_into().map_err(|_| SnapshotError::content("the key of a span of history"))?;
        table
            .insert(u64::from_be_bytes(first), *span)
            .map_err(StateError::store("write a span of history"))?;
    }
    Ok(())
}
