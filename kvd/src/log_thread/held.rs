//! Writes of the log for which the disk had no room, in their order, until it has.
//!
//! To the core such a write only takes long: nothing is acknowledged before it is durable, and nothing is taken back. What comes
//! after it waits with it, for the log has one order. The thread decides nothing: it tells the node of the first write
//! that finds no room, and tries again when the node says so.
//!
//! There are few: a node that knows of it takes no entries. Terms and votes go on to come, and of those that follow one another only
//! the last is kept, whose ticket proves those before it.

use raft::Persist;

use crate::{
    event::Event,
    instruments::{Mark, Mutant, mark, mutant},
    log::{Discard, Log, LogError},
};

/// See the module.
#[derive(Default)]
pub struct Held {
    persists: Vec<Persist>,
    discards: Vec<Discard>,
    full: bool,
    /// How many writes wait, those counted that a later one stands for.
    waiting: usize,
}

impl Held {
    /// Whether there was no room when it was tried last.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// How many writes wait, of all that were taken.
    pub fn waiting(&self) -> usize {
        self.waiting
    }

    /// Takes a write, behind those that wait.
    pub(super) fn push(&mut self, mut persist: Persist) {
        self.waiting = self.waiting.saturating_add(1);
        let bare = |persist: &Persist| persist.entries.is_empty() && persist.restart.is_none();
        if self.full
            && bare(&persist)
            && let Some(before) = self.persists.pop_if(|before| bare(before))
        {
            persist.hard = persist.hard.or(before.hard);
        }
        self.persists.push(persist);
    }

    /// Keeps the discarding for later where the log is about to begin anew, and says which may be done now.
    pub(super) fn discards(&mut self, asked: Vec<Discard>) -> Vec<Discard> {
        self.discards.extend(asked);
        let restarts = self.persists.iter().any(|persist| persist.restart.is_some());
        if restarts { Vec::new() } else { std::mem::take(&mut self.discards) }
    }

    /// Writes all that waits, if it is the time for it. Returns what to tell the node.
    pub(super) fn write(&mut self, log: &mut Log, again: bool) -> Result<Vec<Event>, LogError> {
        if self.full && !again {
            return Ok(Vec::new());
        }
        let result = if self.persists.is_empty() && again { log.settle() } else { self.write_all(log) };
        match result {
            Ok(()) => {
                let waited = std::mem::take(&mut self.persists);
                self.waiting = 0;
                let mut events: Vec<Event> =
                    waited.into_iter().map(|persist| Event::Persisted(persist.ticket)).collect();
                if std::mem::take(&mut self.full) || again {
                    mark(Mark::LogRoomAgain);
                    events.push(Event::LogFull(false));
                }
                Ok(events)
            }
            Err(error) => self.note(error).map(|event| vec![event]),
        }
    }

    fn write_all(&mut self, log: &mut Log) -> Result<(), LogError> {
        let count = self.persists.len();
        let written = if mutant(Mutant::LogWritesOnlyFirst) { count.min(1) } else { count };
        log.write(&self.persists[..written])
    }

    /// Settles the log, unless it waits for room.
    ///
    /// # Errors
    /// As those of a write.
    pub fn settle(&mut self, log: &mut Log) -> Result<Option<Event>, LogError> {
        if self.full {
            return Ok(None);
        }
        log.settle().map_or_else(|error| self.note(error).map(Some), |()| Ok(None))
    }

    /// There was no room; any other error is returned.
    fn note(&mut self, error: LogError) -> Result<Event, LogError> {
        if !error.is_full() {
            return Err(error);
        }
        mark(Mark::LogWithoutRoom);
        tracing::debug!(%error, waiting = self.persists.len(), "the log waits for room");
        self.full = true;
        Ok(Event::LogFull(true))
    }
}
