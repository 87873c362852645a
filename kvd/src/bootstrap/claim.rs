//! Who may start. A node that lost its log would vote a second time in a term it has voted in, so it must never start
//! as if it were new.
//!
//! Three places hold the record of the first start: the log's directory, the state's directory, and the *mark* beside
//! the certificate, which outlives both. The first start writes them in this order, each atomically:
//!
//! ```text
//!   mark: starting  ->  log: identity  ->  state: identity  ->  mark: started  ->  the node may vote
//! ```
//!
//! | mark     | directories                  | then                                          |
//! |----------|------------------------------|-----------------------------------------------|
//! | none     | both empty                   | first start                                   |
//! | none     | both hold the same record    | the mark is written again (certificates moved)|
//! | starting | each empty or of this start  | the first start is finished                   |
//! | started  | both hold its record         | start                                         |
//! | started  | one or both are lost         | a new incarnation, which waits (below)        |
//! | of a new incarnation | both hold the lost record | they are back: start with them       |
//! | restoring| any                          | refused: the restore is to be done again      |
//! | any      | anything else                | refused: exit 2, and what to do               |
//!
//! **A wiped node** begins again under a new incarnation, which the others do not recognise (`recognition.rs`): it takes no
//! part until an operator admits it. What is left of its directories is set aside, not removed. Where it is the only voter
//! there is nobody to recognise it, and it is refused.
//!
//! A crash between two steps leaves one of the first four rows, so the next start finishes it (docs/bugs.md, 46). Both
//! directories are locked before anything is read, and stay locked as long as the process lives.

use std::{
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
};

use protocol::ClusterId;

use super::{
    StartError, files,
    record::{Phase, Record},
};

/// The record's name in a directory.
pub(crate) const IDENTITY: &str = "identity";
/// The file that is locked.
pub(crate) const LOCK: &str = "lock";

/// The three places.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) log: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) mark: PathBuf,
}

/// What the configuration says this node is.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Its id, unless it was restored from a backup: then a record says so, and its id is derived from this one.
    pub(crate) cluster: ClusterId,
    pub(crate) node: u64,
    /// Sorted.
    pub(crate) voters: Vec<u64>,
}

/// Keeps other processes out of both directories while it lives.
#[derive(Debug)]
pub struct Locks {
    pub(super) _log: File,
    pub(super) _state: File,
}

/// Changes to the disk are counted here, so that a test can end the process before any of them.
pub(crate) struct Steps {
    left: u32,
}

impl Steps {
    pub(crate) fn all() -> Self {
        Self { left: u32::MAX }
    }

    #[cfg(test)]
    pub(crate) fn only(left: u32) -> Self {
        Self { left }
    }

    pub(super) fn take(
        &mut self,
        path: &Path,
        change: impl FnOnce() -> io::Result<()>,
    ) -> Result<(), StartError> {
        let done = match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                change()
            }
            None => Err(io::Error::other("the test ends the process here")),
        };
        done.map_err(|error| StartError::disk(path, &error))
    }
}

/// Locks the directories and gives the record of this node, writing it when this is the first start.
pub(crate) fn claim(
    places: &Places,
    wanted: &Wanted,
    steps: &mut Steps,
) -> Result<(Record, Locks), StartError> {
    apart(places)?;
    // Before anything is made, so that a wiped node is refused without a trace.
    let mark = read(&places.mark)?;
    let lost = mark.as_ref().filter(|mark| mark.phase == Phase::Started).filter(|_| is_lost(places));
    if let Some(mark) = lost {
        compare(&places.mark, mark, wanted)?;
        if mark.voters == [mark.node] {
            needed(&places.log)?;
            needed(&places.state)?;
        }
    }
    let dirs = [&places.log, &places.state];
    if let Some(file) = dirs.iter().find(|dir| dir.exists() && !dir.is_dir()) {
        return Err(StartError::NotADirectory((*file).clone()));
    }
    if let Some(mark) = lost {
        dirs.into_iter().try_for_each(|dir| set_aside(dir, mark, steps))?;
    }
    for dir in dirs {
        steps.take(dir, || files::create_private_dir(dir))?;
    }
    let locks = Locks { _log: lock(&places.log)?, _state: lock(&places.state)? };
    // Read again: another process may have finished a first start before the locks were ours.
    let record = settle(places, wanted, steps)?;
    Ok((record, locks))
}

fn settle(places: &Places, wanted: &Wanted, steps: &mut Steps) -> Result<Record, StartError> {
    let mark = read(&places.mark)?;
    let log = read(&places.log.join(IDENTITY))?;
    let state = read(&places.state.join(IDENTITY))?;
    let written = [(&places.mark, &mark), (&places.log, &log), (&places.state, &state)];
    for (place, record) in written {
        if let Some(record) = record {
            if record.phase == Phase::Restoring {
                return Err(StartError::Unrestored(place.clone()));
            }
            compare(place, record, wanted)?;
        }
    }
    match (mark, log, state) {
        (None, None, None) => {
            unused(&places.log)?;
            unused(&places.state)?;
            let record = Record::fresh(wanted.cluster, wanted.node, wanted.voters.clone())
                .map_err(|error| random(places, error))?;
            finish(places, &record, steps)
        }
        // What was lost is found again: whom the others recognise, they decide.
        (Some(mark), Some(log), Some(state)) if mark.anew && !log.anew && log.same_start(&state) => {
            private(&places.log)?;
            private(&places.state)?;
            finish(places, &log, steps)
        }
        (Some(mark), Some(log), Some(state)) => {
            same(&places.log, &log, &mark)?;
            same(&places.state, &state, &mark)?;
            private(&places.log)?;
            private(&places.state)?;
            if mark.phase == Phase::Started { Ok(mark) } else { finish(places, &mark, steps) }
        }
        (None, Some(log), Some(state)) => {
            same(&places.state, &state, &log)?;
            private(&places.log)?;
            private(&places.state)?;
            finish(places, &log, steps)
        }
        (Some(mark), log, state) if mark.phase == Phase::Starting => {
            for (dir, record) in [(&places.log, log), (&places.state, state)] {
                match record {
                    Some(record) => same(dir, &record, &mark)?,
                    None => unused(dir)?,
                }
            }
            finish(places, &mark, steps)
        }
        (Some(mark), None, None) if mark.phase == Phase::Started && mark.voters != [mark.node] => {
            unused(&places.log)?;
            unused(&places.state)?;
            let record = mark.anew().map_err(|error| random(places, error))?;
            finish(places, &record, steps)
        }
        (_, None, _) => Err(StartError::Wiped(places.log.clone())),
        (_, _, None) => Err(StartError::Wiped(places.state.clone())),
    }
}

/// Writes whatever a first start writes; what is there already is written again, the same.
fn finish(places: &Places, record: &Record, steps: &mut Steps) -> Result<Record, StartError> {
    let started = record.with(Phase::Started);
    let mut write = |path: &Path, record: &Record| {
        steps.take(path, || files::write_private(path, record.encode().as_bytes()))
    };
    write(&places.mark, &record.with(Phase::Starting))?;
    write(&places.log.join(IDENTITY), &started)?;
    write(&places.state.join(IDENTITY), &started)?;
    write(&places.mark, &started)?;
    Ok(started)
}

pub(crate) fn read(path: &Path) -> Result<Option<Record>, StartError> {
    let text = files::read_small(path).map_err(|error| StartError::disk(path, &error))?;
    text.map(|text| Record::decode(&text))
        .transpose()
        .map_err(|why| StartError::Damaged { file: path.to_owned(), why })
}

fn compare(place: &Path, record: &Record, wanted: &Wanted) -> Result<(), StartError> {
    let place = place.to_owned();
    if record.node != wanted.node {
        return Err(StartError::AnotherNode { place, found: record.node, wanted: wanted.node });
    }
    if record.voters != wanted.voters {
        let (found, wanted) = (record.voters.clone(), wanted.voters.clone());
        return Err(StartError::OtherVoters { place, found, wanted });
    }
    let expected = record.origin.map_or(wanted.cluster, |origin| origin.cluster(wanted.cluster));
    if record.cluster != expected {
        return Err(StartError::AnotherCluster { place, found: record.cluster, wanted: expected });
    }
    Ok(())
}

pub(crate) fn same(dir: &Path, record: &Record, first: &Record) -> Result<(), StartError> {
    if record.same_start(first) { Ok(()) } else { Err(StartError::AnotherStart(dir.to_owned())) }
}

fn random(places: &Places, error: getrandom::Error) -> StartError {
    StartError::disk(&places.mark, &io::Error::other(error.to_string()))
}

/// Whether one of the directories is not what it was.
fn is_lost(places: &Places) -> bool {
    needed(&places.log).and_then(|()| needed(&places.state)).is_err()
}

/// What is left of a node that lost its other directory goes out of the way, under the name of its incarnation.
fn set_aside(dir: &Path, mark: &Record, steps: &mut Steps) -> Result<(), StartError> {
    let Some(record) = read(&dir.join(IDENTITY))? else { return Ok(()) };
    same(dir, &record, mark)?;
    let _lock = lock(dir)?;
    let incarnation = u128::from_be_bytes(record.incarnation);
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(format!(".lost-{incarnation:032x}"));
    let aside = dir.with_file_name(name);
    steps.take(dir, || std::fs::rename(dir, &aside).and_then(|()| files::sync_dir(files::parent(dir))))
}

/// A directory the node cannot do without.
fn needed(dir: &Path) -> Result<(), StartError> {
    if dir.join(IDENTITY).is_file() { Ok(()) } else { Err(StartError::Wiped(dir.to_owned())) }
}

/// A directory for a first start: nothing in it but what an interrupted first start left. A lax mode is mended,
/// because nothing has been entrusted to it.
pub(super) fn unused(dir: &Path) -> Result<(), StartError> {
    let failed = |error: io::Error| StartError::disk(dir, &error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let ours = name == LOCK || name.to_str().is_some_and(|name| name.starts_with(".identity."));
        if !ours {
            return Err(StartError::NotEmpty {
                dir: dir.to_owned(),
                found: name.to_string_lossy().into_owned(),
            });
        }
    }
    files::make_private_dir(dir).map_err(failed)
}

fn private(dir: &Path) -> Result<(), StartError> {
    for path in [dir.to_owned(), dir.join(IDENTITY)] {
        if files::is_open_to_others(&path).map_err(|error| StartError::disk(&path, &error))? {
            return Err(StartError::OpenToOthers(path));
        }
    }
    Ok(())
}

/// Where nobody else can put a file in the place of the node's: the admin socket lies there, and the superuser talks to
/// whoever listens at it. Others may look; what is theirs to know not is in log and state. Where there is none yet it is
/// made for this user alone.
pub(super) fn unshared(data: &Path) -> Result<(), StartError> {
    match files::is_writable_by_others(data) {
        Ok(false) => Ok(()),
        Ok(true) => Err(StartError::WritableByOthers(data.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(StartError::disk(data, &error)),
    }
}

/// One directory cannot be both, nor lie in the other.
pub(super) fn apart(places: &Places) -> Result<(), StartError> {
    if places.log.starts_with(&places.state) || places.state.starts_with(&places.log) {
        return Err(StartError::OneDirectory(places.log.clone()));
    }
    Ok(())
}

pub(super) fn lock(dir: &Path) -> Result<File, StartError> {
    let path = dir.join(LOCK);
    let file = files::open_lock(&path).map_err(|error| StartError::disk(&path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StartError::Locked(dir.to_owned())),
        Err(TryLockError::Error(error)) => Err(StartError::disk(&path, &error)),
    }
}

#[cfg(test)]
mod tests;
