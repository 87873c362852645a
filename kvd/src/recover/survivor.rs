//! One directory of a node that does not run: whose it is, how far it got, and whether it is sound. Nothing in it is changed.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{ClusterId, snapshot::Checker};
use raft::{NodeId, Payload, Position};

use super::RecoverError;
use crate::{
    bootstrap::{
        claim::{self, IDENTITY, LOCK},
        record::{Phase, Record},
    },
    disk::{AsideDisk, Disk},
    log::{self, LogError},
    opening::{self, OpenError, Opened},
    state::{State, StateError, StateLimits},
};

/// Where a node's data lies: `DIR`, with `log` and `state` in it, or `LOGDIR,STATEDIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    shown: PathBuf,
    pub(super) log: PathBuf,
    pub(super) state: PathBuf,
}

impl Place {
    /// As it is said on the command line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("the path is empty".to_owned());
        }
        let (log, state) = match text.split_once(',') {
            Some((log, state)) if !log.is_empty() && !state.is_empty() => (log.into(), state.into()),
            Some(_) => return Err("LOGDIR,STATEDIR wants both".to_owned()),
            None => (Path::new(text).join("log"), Path::new(text).join("state")),
        };
        Ok(Self { shown: text.into(), log, state })
    }

    /// As it could be said anywhere on this machine.
    pub(super) fn absolute(&self) -> Result<String, RecoverError> {
        let absolute = |part: &Path| {
            let path = std::path::absolute(part).map_err(|error| RecoverError::disk(part, &error))?;
            Ok(path.display().to_string())
        };
        let shown = self.shown.to_string_lossy();
        let parts = match shown.split_once(',') {
            Some((log, state)) => vec![absolute(Path::new(log))?, absolute(Path::new(state))?],
            None => vec![absolute(&self.shown)?],
        };
        Ok(parts.join(","))
    }

    /// As it was said.
    pub fn shown(&self) -> &Path {
        &self.shown
    }
}

/// What a directory holds that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Survivor {
    /// Its cluster.
    pub cluster: ClusterId,
    /// Its node.
    pub node: u64,
    /// The nodes that vote at the end of its log.
    pub voters: Vec<u64>,
    /// Each set of voters of which a majority may have acknowledged something that it does not know to be in its state: that
    /// of its state, and those of the changes in its log.
    pub(super) electorates: Vec<Vec<u64>>,
    pub(super) incarnation: String,
    /// Its term.
    pub term: u64,
    /// The last entry of its log.
    pub last: Position,
    /// The last entry in its state's file.
    pub applied: Position,
    /// Keys in its state's file.
    pub keys: u64,
}

/// Keeps the node from being started while somebody looks.
#[derive(Debug)]
pub(super) struct Held {
    _locks: [Option<File>; 2],
    pub(super) record: Record,
}

/// Looks at a directory: everything in its state is read and held against its hashes, every entry of its log against its
/// checksum.
pub fn inspect(place: &Place) -> Result<Survivor, RecoverError> {
    let held = hold(place)?;
    let opened = open(place, &held.record)?;
    survivor(place, &held.record, &opened)
}

pub(super) fn survivor(place: &Place, record: &Record, opened: &Opened) -> Result<Survivor, RecoverError> {
    let keys = checked(place, &opened.state)?;
    let electorates = electorates(record, opened);
    Ok(Survivor {
        cluster: record.cluster,
        node: record.node,
        voters: electorates.last().cloned().unwrap_or_default(),
        electorates,
        incarnation: format!("{:032x}", u128::from_be_bytes(record.incarnation)),
        term: opened.recovered.hard.term.0,
        last: opened.recovered.last,
        applied: opened.state.applied(),
        keys,
    })
}

/// The founders', where nothing is known of a change, then what the state and the log say; of a joint one the new voters come
/// last.
fn electorates(record: &Record, opened: &Opened) -> Vec<Vec<u64>> {
    let logged = opened.recovered.entries.iter().filter_map(|entry| match &entry.payload {
        Payload::Membership(membership) => Some(&**membership),
        Payload::Noop | Payload::Command(_) => None,
    });
    let changes = opened.state.membership().into_iter().chain(logged);
    let ids = |nodes: &[NodeId]| -> Vec<u64> { nodes.iter().map(|node| node.0).collect() };
    let mut electorates: Vec<Vec<u64>> = changes
        .flat_map(|change| [ids(change.outgoing()), ids(change.voters())])
        .filter(|voters| !voters.is_empty())
        .collect();
    if opened.state.membership().is_none() {
        electorates.insert(0, record.voters.clone());
    }
    electorates
}

/// Takes the directories of a node that is not running, and reads whose they are.
pub(super) fn hold(place: &Place) -> Result<Held, RecoverError> {
    let (log, state) = (identity(place, &place.log)?, identity(place, &place.state)?);
    if claim::same(&place.state, &state, &log).is_err() {
        return Err(unusable(place, "log and state were written by different first starts", true));
    }
    if log.phase != Phase::Started || state.phase != Phase::Started {
        return Err(unusable(place, "a first start or a restore did not end there", false));
    }
    let locks = [lock(place, &place.log)?, lock(place, &place.state)?];
    Ok(Held { _locks: locks, record: log })
}

fn identity(place: &Place, dir: &Path) -> Result<Record, RecoverError> {
    let found = claim::read(&dir.join(IDENTITY)).map_err(|error| {
        let damaged = error.exit() == crate::cli::Exit::Integrity;
        unusable(place, &error.to_string(), damaged)
    })?;
    found.ok_or_else(|| unusable(place, &format!("{} holds no data of a node", dir.display()), false))
}

/// Nobody else may use the directory meanwhile. Where there is no file to lock nobody ever did.
fn lock(place: &Place, dir: &Path) -> Result<Option<File>, RecoverError> {
    let path = dir.join(LOCK);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(RecoverError::disk(&path, &error)),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => {
            Err(unusable(place, "in use: the node runs, or is being looked at; stop it first", false))
        }
        Err(TryLockError::Error(error)) => Err(RecoverError::disk(&path, &error)),
    }
}

/// Opens both where they lie, over a disk that changes nothing.
pub(super) fn open(place: &Place, record: &Record) -> Result<Opened, RecoverError> {
    let disk: Arc<dyn Disk> = Arc::new(AsideDisk::default());
    let at = opening::Place {
        log: &place.log,
        state: &place.state,
        cluster: record.cluster,
        limits: StateLimits::default(),
        settings: log::Settings::production(),
    };
    opening::open(&disk, at).map_err(|error| {
        let damaged = !matches!(
            error,
            OpenError::State(_, StateError::Disk { .. }) | OpenError::Log(_, LogError::Io { .. })
        );
        unusable(place, &error.to_string(), damaged)
    })
}

/// Reads all of a state's file as whoever receives it would; returns how many keys it has.
fn checked(place: &Place, state: &State) -> Result<u64, RecoverError> {
    let failed = |why: String| unusable(place, &why, true);
    let mut sending = state.sending().map_err(|error| failed(error.to_string()))?;
    let mut checker = Checker::new();
    while let Some(block) = sending.next_block().map_err(|error| failed(error.to_string()))? {
        checker.take(&block).map_err(|error| failed(format!("its state is damaged: {error}")))?;
    }
    Ok(checker.so_far().0)
}

pub(super) fn unusable(place: &Place, why: &str, damaged: bool) -> RecoverError {
    RecoverError::Unusable { dir: place.shown().to_owned(), why: why.to_owned(), damaged }
}
