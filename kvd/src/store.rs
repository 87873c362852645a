//! The store on disk: one redb file, read through a snapshot and written by large durable commits only.
//!
//! redb is a copy-on-write B-tree: a commit becomes visible by one synced header, so after any crash the file is
//! exactly its last commit. Everything that must agree (rows, applied index and term, request memory, floor, hash)
//! therefore goes into **one** commit, and nothing is ever written outside of one. `quick_repair` stores the
//! allocator with each commit, so that opening after a crash does not walk the file.
//!
//! | table | key | value |
//! | --- | --- | --- |
//! | `meta` | a name | u128: `format`, `cluster`, `index`, `term`, `stamp`, `rows_hash`, `requests_hash`, `floor`, `memory`, those of history |
//! | `rows` | the key | [`Row::encode`](crate::state::row::Row::encode) |
//! | `requests` | last revision of the chunk | [`Chunk::bytes`] |
//! | `changes`, `deleted`, `spans` | see `store/history.rs` | |
//! | `members` | see `store/members.rs` | |
//! | `leases`, `leased` | see `store/leases.rs` | |
//! | `staged` | see `store/staging.rs` | |
//!
//! A new file is made under another name and renamed when its first commit is durable, so a file under the final name
//! is always a whole store.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use protocol::{
    ClusterId,
    history::Window,
    snapshot::RESTORED,
    version::{STATE_FORMAT, STATE_FORMAT_LEASES, STATE_FORMAT_PLAIN, knows_state_format},
};
use raft::Position;
use redb::{Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, TableDefinition};

use crate::{
    disk::{Create, Disk},
    instruments::{Mark, Mutant, mark, mutant},
    state::{
        StateError,
        history::{Facts, Span},
        leases::LeaseChanges,
        requests::{Chunk, Requests},
        staging as restoring,
    },
};

mod backend;
pub(crate) mod base;
pub(crate) mod building;
mod commit;
pub(crate) mod generation;
pub(crate) mod history;
pub(crate) mod leases;
mod members;
#[cfg(test)]
pub(crate) mod memory;
pub(crate) mod overlay;
pub(crate) mod recent;
pub(crate) mod staging;
pub(crate) mod view;

use backend::Backend;
pub(crate) use base::{Base, Rows, Stored};
use commit::{begin, write};
use overlay::Overlay;
use recent::Recent;

const META: TableDefinition<&str, u128> = TableDefinition::new("meta");
const ROWS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("rows");
const REQUESTS: TableDefinition<u64, &[u8]> = TableDefinition::new("requests");

const NAME: &str = "state.redb";
const UNFINISHED: &str = "state.redb.new";

/// What a commit says beside rows and request ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Whose state it is.
    pub(crate) cluster: ClusterId,
    /// How many request ids it remembers at most.
    pub(crate) memory: usize,
    /// The last entry in it.
    pub(crate) applied: Position,
    /// The newest stamp of the commands in it.
    pub(crate) stamp_ms: u64,
    /// The highest revision its request memory has forgotten.
    pub(crate) floor: u64,
    /// The hash of its rows.
    pub(crate) rows_hash: u64,
    /// The hash of its request memory, checked when that is loaded.
    pub(crate) requests_hash: u64,
    /// How far its history goes back, and by which bounds.
    pub(crate) history: Facts,
    /// The hash of the changes in it, checked when their spans are loaded.
    pub(crate) changes_hash: u64,
    /// The hash of its leases, checked when they are loaded; nothing where there never was one.
    pub(crate) leases_hash: Option<u64>,
    /// What is staged of a backup, and what was restored; nothing where nothing ever was.
    pub(crate) staging: Option<restoring::Facts>,
}

/// One commit.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) header: Header,
    pub(crate) rows: Overlay,
    pub(crate) requests: Vec<Chunk>,
    pub(crate) changes: Recent,
    pub(crate) spans: Vec<Span>,
    /// Who is in the cluster, where that has changed.
    pub(crate) members: Option<Vec<(Vec<u8>, Vec<u8>)>>,
    pub(crate) leases: LeaseChanges,
    pub(crate) staging: staging::StagingBatch,
}

/// The open file. Clones share it.
#[derive(Clone)]
pub(crate) struct Store {
    database: Arc<Database>,
    path: Arc<Path>,
    length: Arc<AtomicU64>,
    walked: Arc<AtomicBool>,
}

impl Store {
    /// Opens the store in `dir`, or makes an empty one of `cluster`. The file must be this cluster's, of a known
    /// format, and remember as many request ids as `memory` says.
    ///
    /// An empty store is made once more: a process that ended between the rename and the sync of the directory, or
    /// whose sync failed, leaves a name that is readable and may not be on the disk.
    pub(crate) fn open(
        disk: &dyn Disk,
        dir: &Path,
        cluster: ClusterId,
        memory: usize,
        cache_bytes: usize,
    ) -> Result<(Self, Header), StateError> {
        disk.create_dir(dir).map_err(disk_error("make", dir))?;
        remove_unfinished(disk, dir)?;
        if let Some(path) = generation::current(disk, dir)? {
            let (store, header) = Self::open_checked(disk, &path, cluster, memory, cache_bytes)?;
            if header.applied != Position::ZERO {
                mark(Mark::StoreFound);
                return Ok((store, header));
            }
            mark(Mark::StoreMadeAgain);
        }
        mark(Mark::StoreMade);
        create(disk, dir, Header { cluster, memory, ..Header::EMPTY })?;
        Self::open_checked(disk, &dir.join(NAME), cluster, memory, cache_bytes)
    }

    fn open_checked(
        disk: &dyn Disk,
        path: &Path,
        cluster: ClusterId,
        memory: usize,
        cache_bytes: usize,
    ) -> Result<(Self, Header), StateError> {
        let store = Self::open_file(disk, path, Create::Never, cache_bytes)?;
        let header = store.header()?;
        let path = path.to_path_buf();
        if header.cluster != cluster {
            return Err(StateError::OtherCluster { path, found: header.cluster, expected: cluster });
        }
        if header.memory != memory {
            return Err(StateError::OtherMemory { path, stored: header.memory, configured: memory });
        }
        Ok((store, header))
    }

    fn open_file(
        disk: &dyn Disk,
        path: &Path,
        create: Create,
        cache_bytes: usize,
    ) -> Result<Self, StateError> {
        let file = disk.open(path, create).map_err(disk_error("open", path))?;
        #[cfg(feature = "mutants")]
        let file = backend::unsynced(file, path);
        let (backend, length) = Backend::new(file).map_err(disk_error("secure the length of", path))?;
        let walked = Arc::new(AtomicBool::new(false));
        let walking = Arc::clone(&walked);
        let opened = Database::builder()
            .set_cache_size(cache_bytes)
            .set_repair_callback(move |_| walking.store(true, Ordering::Relaxed))
            .create_with_backend(backend);
        let database = opened
            .map_err(|why| StateError::WillNotOpen { path: path.to_path_buf(), why: why.to_string() })?;
        Ok(Self { database: Arc::new(database), path: Arc::from(path), length, walked })
    }

    /// The header of the last commit.
    fn header(&self) -> Result<Header, StateError> {
        self.header_of(&self.read()?)
    }

    /// The last entry in it when it was received from another server; zero when it never was.
    pub(crate) fn received(&self) -> Result<Position, StateError> {
        let failed = StateError::store("read its own facts");
        let meta = self.read()?.open_table(META).map_err(StateError::store("open its own facts"))?;
        let number = |name| -> Result<u64, StateError> {
            let stored = meta.get(name).map_err(&failed)?.map_or(0, |value| value.value());
            u64::try_from(stored).map_err(|_| self.damaged("one of its own facts is out of range"))
        };
        Ok(Position::new(number("received_index")?, number("received_term")?))
    }

    fn header_of(&self, transaction: &ReadTransaction) -> Result<Header, StateError> {
        let meta =
            transaction.open_table(META).map_err(|_| self.damaged("it has no table of its own facts"))?;
        let number = |name: &'static str| {
            let stored = meta.get(name).map_err(StateError::store("read its own facts"))?;
            stored.map(|value| value.value()).ok_or_else(|| self.damaged("one of its own facts is missing"))
        };
        let small = |name| {
            u64::try_from(number(name)?).map_err(|_| self.damaged("one of its own facts is out of range"))
        };
        // First of all: what follows is only known to mean what we think when the format is ours.
        let found = number("format")?;
        if !knows_state_format(found) {
            return Err(StateError::UnknownFormat {
                path: self.path.to_path_buf(),
                found,
                known: STATE_FORMAT,
            });
        }
        let memory = usize::try_from(small("memory")?);
        Ok(Header {
            cluster: ClusterId(number("cluster")?.to_be_bytes()),
            memory: memory.map_err(|_| self.damaged("one of its own facts is out of range"))?,
            applied: Position::new(small("index")?, small("term")?),
            stamp_ms: small("stamp")?,
            floor: small("floor")?,
            rows_hash: small("rows_hash")?,
            requests_hash: small("requests_hash")?,
            history: Facts {
                window: Window {
                    changes: small("window_changes")?,
                    age_ms: small("window_age")?,
                    bytes: small("window_bytes")?,
                },
                floor: small("history_floor")?,
                floor_ms: small("history_stamp")?,
            },
            changes_hash: small("changes_hash")?,
            leases_hash: (found > u128::from(STATE_FORMAT_PLAIN))
                .then(|| small("leases_hash"))
                .transpose()?,
            staging: (found > u128::from(STATE_FORMAT_LEASES))
                .then(|| {
                    Ok::<_, StateError>(restoring::Facts {
                        restored: small(RESTORED)?,
                        restored_by: number("restored_by")?,
                        id: number("staging")?,
                        count: small("staged")?,
                        hash: small("staged_hash")?,
                    })
                })
                .transpose()?,
        })
    }

    /// Loads the request memory of the last commit and checks it against the header's hash.
    pub(crate) fn requests(&self, header: &Header) -> Result<Requests, StateError> {
        let mut requests = Requests::new(header.memory, header.floor);
        let transaction = self.read()?;
        let table = transaction.open_table(REQUESTS).map_err(|_| self.damaged("it has no request memory"))?;
        let read = StateError::store("read the request memory");
        for row in table.iter().map_err(&read)? {
            let (last, bytes) = row.map_err(&read)?;
            requests.load(last.value(), bytes.value()).map_err(|why| self.damaged(why))?;
        }
        if requests.hash() != header.requests_hash {
            return Err(self.damaged("the request memory is not the one it was written with"));
        }
        Ok(requests)
    }

    /// Makes a batch durable, all of it or nothing, and returns the rows with it.
    pub(crate) fn commit(&self, batch: &Batch) -> Result<Base, StateError> {
        write(&self.database, batch)?;
        self.base()
    }

    /// Whether opening it walked the whole file. It never should: each commit stores the allocator.
    pub(crate) fn walked(&self) -> bool {
        self.walked.load(Ordering::Relaxed)
    }

    /// Length of the file.
    pub(crate) fn bytes(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    fn read(&self) -> Result<ReadTransaction, StateError> {
        self.database.begin_read().map_err(StateError::store("begin a read"))
    }

    fn damaged(&self, why: &'static str) -> StateError {
        StateError::Damaged { path: self.path.to_path_buf(), why }
    }
}

impl Default for Header {
    fn default() -> Self {
        Self::EMPTY
    }
}

impl Header {
    const EMPTY: Self = Self {
        cluster: ClusterId([0; 16]),
        memory: 0,
        applied: Position::ZERO,
        stamp_ms: 0,
        floor: 0,
        rows_hash: 0,
        requests_hash: 0,
        history: Facts::FIRST,
        changes_hash: 0,
        leases_hash: None,
        staging: None,
    };

    fn rows(&self) -> impl Iterator<Item = (&'static str, u128)> {
        let Facts { window, floor, floor_ms } = self.history;
        let leases_hash = self.leases_hash.map(|hash| ("leases_hash", u128::from(hash)));
        let rows = [
            ("format", u128::from(self.format())),
            ("cluster", u128::from_be_bytes(self.cluster.0)),
            ("memory", self.memory as u128),
            ("index", u128::from(self.applied.index.0)),
            ("term", u128::from(self.applied.term.0)),
            ("stamp", u128::from(self.stamp_ms)),
            ("floor", u128::from(self.floor)),
            ("rows_hash", u128::from(self.rows_hash)),
            ("requests_hash", u128::from(self.requests_hash)),
            ("history_floor", u128::from(floor)),
            ("history_stamp", u128::from(floor_ms)),
            ("window_changes", u128::from(window.changes)),
            ("window_age", u128::from(window.age_ms)),
            ("window_bytes", u128::from(window.bytes)),
            ("changes_hash", u128::from(self.changes_hash)),
        ];
        let staging = self.staging.iter().flat_map(staging::facts);
        rows.into_iter().chain(leases_hash).chain(staging)
    }
}

/// Removes what an earlier process did not finish making.
fn remove_unfinished(disk: &dyn Disk, dir: &Path) -> Result<(), StateError> {
    for (name, seen) in
        [(UNFINISHED, Mark::StoreUnfinishedRemoved), (generation::INCOMING, Mark::StoreIncomingRemoved)]
    {
        let unfinished = dir.join(name);
        if disk.exists(&unfinished).map_err(disk_error("look for", &unfinished))? {
            mark(seen);
            disk.remove(&unfinished).map_err(disk_error("remove", &unfinished))?;
        }
    }
    Ok(())
}

/// Makes the file under a provisional name, and gives it its own once its first commit is durable.
fn create(disk: &dyn Disk, dir: &Path, header: Header) -> Result<(), StateError> {
    let (mut unfinished, path) = (dir.join(UNFINISHED), dir.join(NAME));
    if mutant(Mutant::StoreMadeInPlace) {
        unfinished.clone_from(&path);
    }
    let store = Store::open_file(disk, &unfinished, Create::IfAbsent, 1024 * 1024)?;
    let requests_hash = Requests::new(1, 0).hash();
    let header = Header { requests_hash, ..header };
    write(&store.database, &Batch { header, ..Batch::default() })?;
    drop(store);
    disk.rename(&unfinished, &path).map_err(disk_error("rename", &unfinished))?;
    if mutant(Mutant::StoreSkipsDirectory) {
        return Ok(());
    }
    disk.sync_dir(dir).map_err(disk_error("sync", dir))
}

fn disk_error(what: &'static str, path: &Path) -> impl Fn(std::io::Error) -> StateError {
    let path: PathBuf = path.to_path_buf();
    move |source| StateError::Disk { what, path: path.clone(), source }
}

#[cfg(test)]
impl Store {
    /// Changes one fact behind everybody's back.
    pub(crate) fn overwrite(&self, name: &str, value: u128) {
        let transaction = self.database.begin_write().unwrap();
        transaction.open_table(META).unwrap().insert(name, value).unwrap();
        transaction.commit().unwrap();
    }

    /// Changes the last byte of a row behind everybody's back, as a disk that rots.
    pub(crate) fn spoil(&self, key: &[u8]) {
        let transaction = self.database.begin_write().unwrap();
        {
            let mut rows = transaction.open_table(ROWS).unwrap();
            let mut row = rows.get(key).unwrap().unwrap().value().to_vec();
            *row.last_mut().unwrap() ^= 1;
            rows.insert(key, row.as_slice()).unwrap();
        }
        transaction.commit().unwrap();
    }

    /// Rows of the request memory.
    pub(crate) fn stored_chunks(&self) -> usize {
        let table = self.read().unwrap().open_table(REQUESTS).unwrap();
        usize::try_from(redb::ReadableTableMetadata::len(&table).unwrap()).unwrap()
    }
}
