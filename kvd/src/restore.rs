//! `kvd restore`: the directories of a server of a new cluster, made from a backup before its first start.
//!
//! Run on each server of the new cluster, each makes the same state out of the same backup. What becomes of it:
//!
//! | of the backup | in the new cluster |
//! | --- | --- |
//! | keys, values, revisions, created, versions | as they were |
//! | the changes that are kept, and the window | as they were |
//! | the last revision | [`AHEAD`] higher: the first write is of a revision that the old cluster has never given |
//! | the memory of requests | gone: its ids name the old cluster, and the new one refuses them for that |
//! | the cluster's id | another, of the backup, the name that was given, the CA and the servers |
//!
//! Keys keep their revisions because the past names them: a change says which row it replaced, and a key's history is a walk
//! along these numbers. It costs nothing in safety. Whoever holds a revision of the old cluster that is in the backup holds it
//! of the same row; one that the backup does not have lies between the two and belongs to no row, so that a condition on it
//! fails, as it must, for what it saw is lost.
//!
//! The backup is read twice: once to judge all of it before anything is made, once to build.

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    ClusterId,
    limits::NUMBER,
    snapshot::{Block, ReadError, Reader, Summary, Table},
};
use raft::{HardState, Index, Persist, Position, Ticket};

use crate::{
    bootstrap::{self, StartError, claim::Steps, record::Origin, restoring},
    cli::Exit,
    config::Config,
    disk::{Disk, RealDisk},
    log::{self, LogError},
    opening::{self, OpenError, Place},
    snapshot::SnapshotError,
    state::{StateError, StateLimits},
    store::{
        building::{Building, Renamed},
        generation,
    },
};

/// How far revisions of a restored cluster lie above those of the backup. The old cluster may have written on after it; no
/// cluster writes so much behind its last backup.
pub const AHEAD: u64 = 1_000_000_000;

/// Why a restore was refused or failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The configuration, the certificates or the directories.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The backup cannot be read.
    #[error("{}: {why}\n  try: check that the path is right and readable for this user", file.display())]
    Unreadable {
        /// Where it should be.
        file: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The backup is damaged, or none.
    #[error("{}: no sound backup: at byte {at}: {why}\n  try: another copy of it, looked at with `kvctl snapshot verify`", file.display())]
    Damaged {
        /// Which.
        file: PathBuf,
        /// Where.
        at: u64,
        /// What is wrong.
        why: String,
    },
    /// There is no room above its revision.
    #[error("{}: its revision {revision} is too near to the end of all revisions", file.display())]
    TooFar {
        /// Which.
        file: PathBuf,
        /// Its revision.
        revision: u64,
    },
    /// The backup was exchanged while it was read.
    #[error("{}: it changed while it was read\n  try: again, with a file that nobody writes to", .0.display())]
    Changed(PathBuf),
    /// The state could not be built.
    #[error(
        "the state cannot be built: {0}\n  try: kvctl snapshot verify, and kvd restore again when the backup is sound and the disk has room"
    )]
    State(#[from] SnapshotError),
    /// The log could not be begun.
    #[error("the log cannot be begun: {0}\n  try: kvd restore again, when the disk has room and is sound")]
    Log(#[from] LogError),
    /// What was built does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
}

impl RestoreError {
    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Start(error) => error.exit(),
            Self::TooFar { .. } => Exit::Usage,
            Self::Unreadable { .. } | Self::State(SnapshotError::Disk(_)) | Self::Log(_) | Self::Open(_) => {
                Exit::Disk
            }
            // What is built from a backup says more of it than whoever judges it before.
            Self::Damaged { .. } | Self::Changed(_) | Self::State(_) => Exit::Integrity,
        }
    }

    fn reading(file: &Path, error: ReadError) -> Self {
        let file = file.to_owned();
        match error {
            ReadError::Io(error) => Self::Unreadable { file, why: error.to_string() },
            ReadError::Damaged { at, why } => Self::Damaged { file, at, why: why.to_string() },
        }
    }
}

/// What was restored.
#[derive(Clone, Debug)]
pub struct Restored {
    /// The name of the server.
    pub node: String,
    /// What the backup is.
    pub backup: Summary,
    /// The new cluster.
    pub cluster: ClusterId,
    /// Its last revision so far.
    pub revision: u64,
}

/// Makes the directories of the server called `node` out of a backup.
pub fn restore(
    config: &Config,
    node: Option<&str>,
    backup: &Path,
    name: &str,
) -> Result<Restored, RestoreError> {
    let me = config.select(node).map_err(StartError::from)?.clone();
    let summary = open(backup)?.read_all().map_err(|error| RestoreError::reading(backup, error))?;
    let Position { index, term } = summary.head.at;
    let revision = index.0.saturating_add(AHEAD);
    if revision > NUMBER {
        return Err(RestoreError::TooFar { file: backup.to_owned(), revision: index.0 });
    }
    let at = Position { index: Index(revision), term };
    let site = bootstrap::site(config, &me)?;
    let origin = Origin::new(&summary.sum, name);
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (places, wanted) = (&site.places, &site.wanted);
    let made = restoring::restore(places, wanted, origin, &mut Steps::all(), |record| {
        let limits = StateLimits::default();
        let place = Place {
            log: &places.log,
            state: &places.state,
            cluster: record.cluster,
            limits,
            settings: log::Settings {
                segment_bytes: config.log.segment_bytes,
                ..log::Settings::production()
            },
        };
        build(&disk, place, (open(backup)?, backup), &summary, at)
    });
    let (record, _locks) = made?;
    Ok(Restored { node: me.name, backup: summary, cluster: record.cluster, revision })
}

fn open(backup: &Path) -> Result<Reader<BufReader<File>>, RestoreError> {
    let file = File::open(backup).map_err(|error| RestoreError::reading(backup, error.into()))?;
    Ok(Reader::new(BufReader::with_capacity(1 << 18, file)))
}

/// Fills both directories, which are empty: the state as the backup has it, at `at`, and a log that begins there. Once it
/// returns all of it is durable; before that none of it is of use.
pub fn build<R: Read>(
    disk: &Arc<dyn Disk>,
    place: Place<'_>,
    (reader, backup): (Reader<R>, &Path),
    summary: &Summary,
    at: Position,
) -> Result<(), RestoreError> {
    build_state(disk, place, (reader, backup), summary, at)?;
    let mut opened = opening::open(disk, place)?;
    // The log knows nothing of the term of what it begins after, and a node must.
    let hard = Some(HardState { term: at.term, vote: None });
    opened.log.write(&[Persist { ticket: Ticket(0), hard, restart: None, entries: Vec::new() }])?;
    opened.log.settle()?;
    Ok(())
}

fn build_state<R: Read>(
    disk: &Arc<dyn Disk>,
    place: Place<'_>,
    (mut reader, backup): (Reader<R>, &Path),
    summary: &Summary,
    at: Position,
) -> Result<(), RestoreError> {
    let failed = |error: StateError| RestoreError::State(error.into());
    let mut building = Building::begin(&**disk, place.state, place.limits.cache_bytes).map_err(failed)?;
    loop {
        let (block, whole) = reader.next_block().map_err(|error| RestoreError::reading(backup, error))?;
        // Remembered requests are of the old cluster.
        if let Block::Pairs(table, pairs) = block
            && table != Table::Requests
        {
            let pairs: Vec<_> = pairs.filter_map(Result::ok).collect();
            building.put(table, &pairs)?;
        }
        if let Some(whole) = whole {
            if whole.sum != summary.sum {
                return Err(RestoreError::Changed(backup.to_owned()));
            }
            break;
        }
    }
    let memory = place.limits.request_ids;
    building.finish_as(summary.head, Renamed { cluster: place.cluster, at, memory })?;
    generation::adopt(&**disk, place.state).map_err(failed)?;
    let synced = disk.sync_dir(place.state);
    synced.map_err(|error| StartError::disk(place.state, &error))?;
    Ok(())
}

#[cfg(test)]
mod tests;
