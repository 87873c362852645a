//! The threads under the loop: one writes the log, one writes the state.
//!
//! Whatever queued for the log while its last sync ran is one write and one sync next time. A failure of either is
//! reported once and ends the thread; the loop ends the process.

use std::sync::mpsc as thread_channel;

use raft::{Fetch, Fetched, Persist};
use tokio::sync::mpsc;

use crate::{
    driver::{DriverError, Input},
    event::Event,
    log::Log,
    state::Flush,
};

/// Most writes of the log that share one sync.
const BATCH: usize = 256;

/// Work for the log's thread.
pub(crate) enum LogTask {
    /// Make durable.
    Persist(Persist),
    /// Read for a follower that lags.
    Fetch(Fetch),
}

/// Writes and reads the log until nobody asks any more or it fails.
pub(crate) fn run_log(
    mut log: Log,
    tasks: &thread_channel::Receiver<LogTask>,
    done: &mpsc::UnboundedSender<Input>,
) {
    while let Ok(first) = tasks.recv() {
        let (mut persists, mut fetches) = (Vec::new(), Vec::new());
        for task in std::iter::once(first).chain(tasks.try_iter().take(BATCH)) {
            match task {
                LogTask::Persist(persist) => persists.push(persist),
                LogTask::Fetch(fetch) => fetches.push(fetch),
            }
        }
        if !persists.is_empty() {
            if let Err(error) = log.write(&persists) {
                let _ = done.send(Input::Failed(DriverError::Log(error.to_string())));
                return;
            }
            for persist in persists {
                let _ = done.send(Input::Event(Event::Persisted(persist.ticket)));
            }
        }
        for fetch in fetches {
            let _ = done.send(Input::Event(Event::Fetched(read(&log, fetch))));
        }
    }
}

/// What cannot be read is answered with nothing; the core asks again.
fn read(log: &Log, fetch: Fetch) -> Fetched {
    match log.read(fetch.from, fetch.to, fetch.max_bytes) {
        Ok((previous, entries)) => Fetched { fetch, previous, entries },
        Err(error) => {
            tracing::warn!(from = fetch.from.0, to = fetch.to.0, %error, "the log could not be read for a follower");
            Fetched { fetch, previous: raft::Position::ZERO, entries: Vec::new() }
        }
    }
}

/// Writes flushes of the state until nobody asks any more or one fails.
pub(crate) fn run_store(tasks: &thread_channel::Receiver<Flush>, done: &mpsc::UnboundedSender<Input>) {
    while let Ok(flush) = tasks.recv() {
        match flush.run() {
            Ok(flushed) => {
                let _ = done.send(Input::Event(Event::Flushed(flushed)));
            }
            Err(error) => {
                let _ = done.send(Input::Failed(error.into()));
                return;
            }
        }
    }
}
