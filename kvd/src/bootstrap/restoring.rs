//! Directories for a node of a new cluster that begins with the state of a backup.
//!
//! They are made as a first start makes them (`claim.rs`), with the data between the records, and nothing of it counts
//! before the last step:
//!
//! ```text
//!   mark: restoring  ->  log: restoring  ->  state: restoring  ->  state and log are built
//!                    ->  log: started    ->  state: started    ->  mark: started
//! ```
//!
//! | mark      | directories                                   | then                                     |
//! |-----------|-----------------------------------------------|------------------------------------------|
//! | none      | both empty                                    | a restore begins                         |
//! | restoring | each empty, or with a record of this restore  | it is begun anew, from whichever backup  |
//! | any       | anything else                                 | refused: exit 2, and what to do          |
//!
//! A restore that died is recognised by its mark and begun anew; `kvd run` refuses what it left. Only a directory that names
//! this very restore is emptied. A node that has run is never restored over.

use std::{io, path::Path};

use super::{
    StartError,
    claim::{IDENTITY, LOCK, Locks, Places, Steps, Wanted, apart, lock, read, unused},
    files,
    record::{Origin, Phase, Record},
};

/// Takes the directories, has them filled, and makes them those of a node that has started. `build` makes everything in
/// both directories durable before it returns.
pub(crate) fn restore<E: From<StartError>>(
    places: &Places,
    wanted: &Wanted,
    origin: Origin,
    steps: &mut Steps,
    build: impl FnOnce(&Record) -> Result<(), E>,
) -> Result<(Record, Locks), E> {
    let (record, locks) = begin(places, wanted, origin, steps)?;
    build(&record)?;
    let started = record.with(Phase::Started);
    for path in [places.log.join(IDENTITY), places.state.join(IDENTITY), places.mark.clone()] {
        write(&path, &started, steps)?;
    }
    Ok((started, locks))
}

fn begin(
    places: &Places,
    wanted: &Wanted,
    origin: Origin,
    steps: &mut Steps,
) -> Result<(Record, Locks), StartError> {
    apart(places)?;
    // Before anything is made, so that a node that has run is refused without a trace.
    begun(places)?;
    let dirs = [&places.log, &places.state];
    if let Some(file) = dirs.iter().find(|dir| dir.exists() && !dir.is_dir()) {
        return Err(StartError::NotADirectory((*file).clone()));
    }
    for dir in dirs {
        steps.take(dir, || files::create_private_dir(dir))?;
    }
    let locks = Locks { _log: lock(&places.log)?, _state: lock(&places.state)? };
    // Read again: another process may have finished before the locks were ours.
    let mut record = Record::fresh(origin.cluster(wanted.cluster), wanted.node, wanted.voters.clone())
        .map_err(|error| StartError::disk(&places.mark, &io::Error::other(error.to_string())))?;
    record.origin = Some(origin);
    match begun(places)? {
        None => dirs.into_iter().try_for_each(|dir| unused(dir))?,
        Some(before) => {
            // It has never run, so it may stay the same node, by which the directories are recognised.
            (record.incarnation, record.reset_key) = (before.incarnation, before.reset_key);
            dirs.into_iter().try_for_each(|dir| empty(dir, &before, steps))?;
        }
    }
    let record = record.with(Phase::Restoring);
    for path in [places.mark.clone(), places.log.join(IDENTITY), places.state.join(IDENTITY)] {
        write(&path, &record, steps)?;
    }
    Ok((record, locks))
}

/// The mark of a restore that died; refused where it is that of a node that has run, or was about to.
fn begun(places: &Places) -> Result<Option<Record>, StartError> {
    match read(&places.mark)? {
        Some(mark) if mark.phase != Phase::Restoring => Err(StartError::HasRun(places.mark.clone())),
        mark => Ok(mark),
    }
}

/// Removes what a restore that died left in a directory: everything but its record, which goes last of all by being
/// written again.
fn empty(dir: &Path, before: &Record, steps: &mut Steps) -> Result<(), StartError> {
    match read(&dir.join(IDENTITY))? {
        None => return unused(dir),
        Some(record) if record.incarnation == before.incarnation => {}
        Some(_) => return Err(StartError::AnotherStart(dir.to_owned())),
    }
    let failed = |error: io::Error| StartError::disk(dir, &error);
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if name != IDENTITY && name != LOCK {
            let path = dir.join(name);
            steps.take(&path, || std::fs::remove_file(&path))?;
        }
    }
    steps.take(dir, || files::sync_dir(dir))
}

fn write(path: &Path, record: &Record, steps: &mut Steps) -> Result<(), StartError> {
    steps.take(path, || files::write_private(path, record.encode().as_bytes()))
}

#[cfg(test)]
mod tests;
