//! A backup of what a survivor has: its state, and its log replayed to the end.
//!
//! The state's file is copied beside the backup, and the log is replayed into the copy, by the code and in the order in
//! which the node would have: what comes out is what it would serve. From there on it is a backup like any other.
//!
//! ```text
//!   .NAME.recovering/   the copy; removed at the end, and at the next try
//!   .NAME.tmp           the backup while it is written
//!   NAME                whole and durable
//! ```

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use protocol::snapshot::{Checker, Summary};

use super::{
    Again, Plan, RecoverError,
    survivor::{self, Place, unusable},
};
use crate::{
    bootstrap::files,
    disk::{AsideDisk, Disk, RealDisk},
    log::{self, Log, Over},
    state::{State, StateError, StateLimits},
};

/// What came of it.
#[derive(Clone, Debug)]
pub struct Rescued {
    /// What the backup is.
    pub backup: Summary,
    /// How many entries of the log were replayed.
    pub replayed: u64,
    /// What became of the plan's other directories.
    pub again: Again,
}

/// Writes the backup that the plan promises.
pub fn rescue(
    place: &Place,
    (plan, file): (&Plan, &Path),
    backup: &Path,
    accept_loss: bool,
) -> Result<Rescued, RecoverError> {
    if plan.may_lose_writes && !accept_loss {
        return Err(plan.loss());
    }
    if backup.exists() {
        let there = io::Error::new(io::ErrorKind::AlreadyExists, "there is a file of that name");
        return Err(RecoverError::disk(backup, &there));
    }
    let held = survivor::hold(place)?;
    let opened = survivor::open(place, &held.record)?;
    let found = survivor::survivor(place, &held.record, &opened)?;
    plan.fits(&found).map_err(|why| RecoverError::Plan { file: file.to_owned(), why })?;
    drop(opened);
    let again = plan.look_again(file)?;

    let work = beside(backup, "recovering");
    remove_all(&work)?;
    let rescued = replay(place, held.record.cluster, &work)
        .and_then(|(state, replayed)| Ok(Rescued { backup: save(place, &state, backup)?, replayed, again }));
    let removed = remove_all(&work);
    let rescued = rescued?;
    removed.map(|()| rescued)
}

/// A name for what is made on the way to a file.
fn beside(file: &Path, word: &str) -> PathBuf {
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    files::parent(file).join(format!(".{name}.{word}"))
}

fn remove_all(work: &Path) -> Result<(), RecoverError> {
    match fs::remove_dir_all(work) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(RecoverError::disk(work, &error)),
        _ => Ok(()),
    }
}

/// The survivor's state at the end of its log, all of it in a copy of its file.
fn replay(place: &Place, cluster: protocol::ClusterId, work: &Path) -> Result<(State, u64), RecoverError> {
    copy(&place.state, work)?;
    let broken = |error: StateError| unusable(place, &format!("its log cannot be replayed: {error}"), true);
    let mut state = State::open(Arc::new(RealDisk), work, cluster, StateLimits::default()).map_err(broken)?;
    let over = Over { applied: state.applied(), received: state.received() };
    let aside: Arc<dyn Disk> = Arc::new(AsideDisk::default());
    let (_log, recovered) = Log::open_over(aside, &place.log, over, log::Settings::production())
        .map_err(|error| unusable(place, &error.to_string(), true))?;
    for entry in &recovered.entries {
        state.apply(entry).map_err(broken)?;
        if state.is_full() {
            flush(&mut state).map_err(broken)?;
        }
    }
    flush(&mut state).map_err(broken)?;
    Ok((state, recovered.entries.len() as u64))
}

fn flush(state: &mut State) -> Result<(), StateError> {
    if let Some(flush) = state.begin_flush(0) {
        let flushed = flush.run()?;
        state.finish_flush(flushed);
    }
    Ok(())
}

/// Copies the files of a state that count.
fn copy(from: &Path, to: &Path) -> Result<(), RecoverError> {
    files::create_private_dir(to).map_err(|error| RecoverError::disk(to, &error))?;
    let names = RealDisk.list(from).map_err(|error| RecoverError::disk(from, &error))?;
    let counts = |name: &&String| {
        name.starts_with("state") && Path::new(name).extension().is_some_and(|ending| ending == "redb")
    };
    for name in names.iter().filter(counts) {
        let (source, target) = (from.join(name), to.join(name));
        let copied = File::open(&source).and_then(|mut source| {
            let mut target = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&target)?;
            io::copy(&mut source, &mut target)
        });
        copied.map_err(|error| RecoverError::disk(&target, &error))?;
    }
    Ok(())
}

/// Writes a state's file as a backup, which has its name once it is whole and durable.
fn save(place: &Place, state: &State, backup: &Path) -> Result<Summary, RecoverError> {
    let temporary = beside(backup, "tmp");
    let written = write(place, state, &temporary).and_then(|summary| {
        // Unlike a rename it does not take the place of a file that somebody put there meanwhile.
        fs::hard_link(&temporary, backup).map_err(|error| RecoverError::disk(backup, &error))?;
        Ok(summary)
    });
    let removed = fs::remove_file(&temporary);
    let summary = written?;
    removed.map_err(|error| RecoverError::disk(&temporary, &error))?;
    files::sync_dir(files::parent(backup)).map_err(|error| RecoverError::disk(backup, &error))?;
    Ok(summary)
}

fn write(place: &Place, state: &State, temporary: &Path) -> Result<Summary, RecoverError> {
    let failed = |error: io::Error| RecoverError::disk(temporary, &error);
    let broken = |why: String| unusable(place, &format!("what was replayed is not sound: {why}"), true);
    let mut options = OpenOptions::new();
    // What a process that was killed left under its name may be anybody's.
    let _ = fs::remove_file(temporary);
    let file = options.write(true).create_new(true).mode(0o600).open(temporary).map_err(failed)?;
    let mut file = BufWriter::new(file);
    let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
    let sending = state.sending().map_err(|error| broken(error.to_string()))?;
    let mut sending = sending.saved_at(u64::try_from(wall_ms).unwrap_or(0));
    let (mut checker, mut whole) = (Checker::new(), None);
    while let Some(block) = sending.next_block().map_err(|error| broken(error.to_string()))? {
        whole = checker.take(&block).map_err(|error| broken(error.to_string()))?.1;
        file.write_all(&block).map_err(failed)?;
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    whole.ok_or_else(|| broken("it has no end".to_owned()))
}
