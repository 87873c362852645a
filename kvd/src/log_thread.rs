//! The threads under the loop: one writes the log, one writes the state.
//!
//! Whatever queued for the log while its last sync ran is one write and one sync next time. A failure of either is
//! reported once and ends the thread; the loop ends the process. Only a disk without room is none: see [`Held`], and for the
//! state [`PatientDisk`](crate::disk::PatientDisk). When nothing was asked for a while, and at the end,
//! the last write is marked as durable ([`Log::settle`]), so that damage to it is told from a torn write.

mod held;

use std::{
    sync::mpsc::{self as thread_channel, RecvTimeoutError},
    time::{Duration, Instant},
};

use raft::{Fetch, Fetched, Persist};
use tokio::sync::mpsc;

use crate::{
    disk::Patience,
    driver::{DriverError, Input},
    event::Event,
    instruments::{Mark, mark},
    log::{Discard, Log, LogError},
    metrics::Meters,
    state::{Flush, Install, State, StateError},
};

pub use self::held::Held;

/// Most writes of the log that share one sync.
pub const BATCH: usize = 256;

/// After so long without work the log is settled: about a heartbeat.
pub const IDLE: Duration = Duration::from_millis(50);

/// Work for the log's thread.
pub enum LogTask {
    /// Make durable.
    Persist(Persist),
    /// Read for a follower that lags.
    Fetch(Fetch),
    /// Remove segments that are not needed any more.
    Discard(Discard),
    /// Try what found no room once more.
    Retry,
}

/// Writes and reads the log until nobody asks any more or it fails.
pub(crate) fn run_log(
    mut log: Log,
    idle: Duration,
    tasks: &thread_channel::Receiver<LogTask>,
    done: &mpsc::UnboundedSender<Input>,
    meters: &Meters,
) {
    let mut held = Held::default();
    let tell = |event| _ = done.send(Input::Event(event));
    loop {
        meters.log_bytes.set(log.disk_bytes());
        let first = match next(&mut log, &mut held, idle, tasks, tell) {
            Ok(Some(first)) => first,
            Ok(None) => return,
            Err(error) => {
                let _ = done.send(Input::Failed(DriverError::Log(error.to_string())));
                return;
            }
        };
        let batch = std::iter::once(first).chain(tasks.try_iter().take(BATCH - 1));
        match perform_timed(&mut log, &mut held, batch, Some(meters)) {
            Ok(events) => events.into_iter().for_each(tell),
            Err(error) => {
                let _ = done.send(Input::Failed(DriverError::Log(error.to_string())));
                return;
            }
        }
    }
}

/// Does a batch of work: one write with one sync for all that is to be durable, then the reads. Returns what to tell
/// the node.
///
/// # Errors
/// Nothing of the write may be assumed to be durable, nor to be lost: end the process.
pub fn perform(
    log: &mut Log,
    held: &mut Held,
    tasks: impl IntoIterator<Item = LogTask>,
) -> Result<Vec<Event>, LogError> {
    perform_timed(log, held, tasks, None)
}

/// The same; where somebody wants to know how long the write with its sync took, the clock is looked at.
fn perform_timed(
    log: &mut Log,
    held: &mut Held,
    tasks: impl IntoIterator<Item = LogTask>,
    meters: Option<&Meters>,
) -> Result<Vec<Event>, LogError> {
    let (mut fetches, mut discards, mut again, mut writes) = (Vec::new(), Vec::new(), false, 0);
    for task in tasks {
        match task {
            LogTask::Persist(persist) => {
                writes += 1;
                held.push(persist);
            }
            LogTask::Fetch(fetch) => fetches.push(fetch),
            LogTask::Discard(discard) => discards.push(discard),
            LogTask::Retry => again = true,
        }
    }
    let mut events = Vec::new();
    if writes > 0 || again {
        if writes > 1 {
            mark(Mark::LogShared);
        }
        let began = meters.map(|meters| (meters, Instant::now()));
        events = held.write(log, again)?;
        if let Some((meters, began)) = began.filter(|_| !held.is_full()) {
            let took = began.elapsed();
            meters.log_sync.observe(took);
            meters.journal.synced(took);
        }
    }
    events.extend(fetches.into_iter().map(|fetch| Event::Fetched(read(log, fetch))));
    for discard in held.discards(discards) {
        events.push(Event::Discarded(log.discard(discard)?));
    }
    Ok(events)
}

/// The next task; none when nobody asks any more. Settles the log before a long wait and at the end.
fn next(
    log: &mut Log,
    held: &mut Held,
    idle: Duration,
    tasks: &thread_channel::Receiver<LogTask>,
    tell: impl FnMut(Event),
) -> Result<Option<LogTask>, LogError> {
    match tasks.recv_timeout(idle) {
        Ok(task) => return Ok(Some(task)),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
            held.settle(log)?.into_iter().for_each(tell);
        }
    }
    Ok(tasks.recv().ok())
}

/// What cannot be read is answered with nothing; the core asks again.
fn read(log: &Log, fetch: Fetch) -> Fetched {
    match log.read(fetch.from, fetch.to, fetch.max_bytes) {
        Ok((previous, entries)) => Fetched { fetch, previous, entries },
        Err(error) => {
            mark(Mark::LogReadFailed);
            tracing::warn!(from = fetch.from.0, to = fetch.to.0, %error, "the log could not be read for a follower");
            Fetched { fetch, previous: raft::Position::ZERO, entries: Vec::new() }
        }
    }
}

/// Work for the state's thread.
pub enum StoreTask {
    /// Write this down.
    Flush(Flush),
    /// Make this state the current one.
    Install(Box<Install>),
    /// Let this go: it takes tens of milliseconds, in which no heartbeat would leave.
    Retire(Box<State>),
}

impl StoreTask {
    /// Does it; returns what to tell the node.
    ///
    /// # Errors
    /// What is on disk is only known when it is opened again: end the process.
    pub fn perform(self) -> Result<Option<Event>, StateError> {
        match self {
            Self::Flush(flush) => flush.run().map(Event::Flushed).map(Some),
            Self::Install(install) => {
                install.run().map(|installed| Some(Event::Installed(Box::new(installed))))
            }
            Self::Retire(_) => Ok(None),
        }
    }
}

/// Does the work of the state's thread until nobody asks any more or something fails.
pub(crate) fn run_store(
    tasks: &thread_channel::Receiver<StoreTask>,
    done: &mpsc::UnboundedSender<Input>,
    meters: &Meters,
    patience: &Patience,
) {
    let full = done.clone();
    patience.wait_here(move |waits| _ = full.send(Input::Event(Event::StateFull(waits))));
    while let Ok(task) = tasks.recv() {
        let (flushes, began) = (matches!(task, StoreTask::Flush(_)), Instant::now());
        let performed = task.perform();
        if flushes {
            meters.flush.observe(began.elapsed());
        }
        match performed {
            Ok(event) => event.into_iter().for_each(|event| _ = done.send(Input::Event(event))),
            Err(error) => {
                let _ = done.send(Input::Failed(error.into()));
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{path::Path, sync::Arc};

    use raft::{Entry, HardState, Payload, Position, Term, Ticket};

    use super::*;
    use crate::{disk::RealDisk, log::Settings};

    fn open(dir: &Path) -> Log {
        let settings = Settings { segment_bytes: 1 << 16, background: false, ..Settings::production() };
        Log::open_with(Arc::new(RealDisk), dir, Position::ZERO, settings).unwrap().0
    }

    fn write() -> LogTask {
        let entries = vec![Entry { position: Position::new(1, 1), payload: Payload::Noop }];
        let hard = Some(HardState { term: Term(1), vote: None });
        LogTask::Persist(Persist { ticket: Ticket(1), hard, restart: None, entries })
    }

    /// Sectors of the segment that hold something: its header, and one for each small batch.
    fn sectors(dir: &Path) -> usize {
        let bytes = std::fs::read(dir.join("0000000000000001.log")).unwrap();
        bytes.chunks(512).filter(|sector| sector.iter().any(|byte| *byte != 0)).count()
    }

    #[test]
    fn an_idle_log_is_settled_once() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (tasks, queue) = thread_channel::channel();
        let (done, _reports) = mpsc::unbounded_channel();
        let before = sectors(dir.path());
        let meters = Meters::new();
        let thread =
            std::thread::spawn(move || run_log(log, Duration::from_millis(1), &queue, &done, &meters));
        tasks.send(write()).unwrap();
        let patience = Instant::now() + Duration::from_secs(20);
        while sectors(dir.path()) < before + 2 {
            assert!(Instant::now() < patience, "the last write was never marked as durable");
            std::thread::yield_now();
        }
        drop(tasks);
        thread.join().unwrap();
        assert_eq!(sectors(dir.path()), before + 2, "one write, one mark");
    }

    #[test]
    fn a_log_that_ends_is_settled() {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (tasks, queue) = thread_channel::channel();
        let (done, _reports) = mpsc::unbounded_channel();
        let before = sectors(dir.path());
        tasks.send(write()).unwrap();
        drop(tasks);
        run_log(log, Duration::from_mins(1), &queue, &done, &Meters::new());
        assert_eq!(sectors(dir.path()), before + 2, "one write, one mark");
    }
}
