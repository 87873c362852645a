//! Backups: the whole state at one revision, for a client that asked.
//!
//! A backup is what a follower would be sent: one commit of the store, read in a transaction of its own that nobody waits
//! for. So a save first waits, as any linearizable read, for the core to say that it is safe; then for a flush that holds
//! what was applied by then, which begins at once. What is written meanwhile may be in it or not, and writes go on.

use protocol::Refused;
use raft::Index;

use super::Node;
use crate::{
    event::{Action, Caller},
    state::StateError,
};

/// Most clients that wait for the state to be written. There are places for fewer saves
/// ([`crate::saves`]), so nobody should ever hear of it.
pub(super) const MOST_WAITING: usize = 16;

/// See the module.
#[derive(Default)]
pub(super) struct Saving {
    waiting: Vec<Waiting>,
}

/// A client that waits for everything up to `until` to be in the state's file.
struct Waiting {
    caller: Caller,
    until: Index,
    deadline_ms: u64,
}

impl Saving {
    /// Whether the state should be flushed though it is not due.
    pub(super) fn wants_flush(&self, flushed: Index) -> bool {
        self.waiting.iter().any(|waiting| waiting.until > flushed)
    }
}

impl Node {
    /// A client may have the state as it is now, or later.
    pub(super) fn save(&mut self, caller: Caller, deadline_ms: u64) {
        if self.saving.waiting.len() >= MOST_WAITING {
            let what = "the queue of backups".to_owned();
            return self.reply(caller, Err(Refused::Busy { what }));
        }
        let until = self.state.applied().index;
        self.saving.waiting.push(Waiting { caller, until, deadline_ms });
    }

    /// Hands out what is in the file now.
    pub(super) fn begin_saves(&mut self) -> Result<(), StateError> {
        let flushed = self.state.flushed().index;
        let ready = |waiting: &mut Waiting| waiting.until <= flushed;
        for Waiting { caller, .. } in self.saving.waiting.extract_if(.., ready).collect::<Vec<_>>() {
            let sending = Box::new(self.state.sending()?.saved_at(self.now.wall_ms));
            self.actions.push(Action::Save { caller, sending });
        }
        Ok(())
    }

    /// Time passes for those who wait.
    pub(super) fn expire_saves(&mut self) {
        let now = self.now.monotonic_ms;
        let late = |waiting: &mut Waiting| waiting.deadline_ms <= now;
        for waiting in self.saving.waiting.extract_if(.., late).collect::<Vec<_>>() {
            let why = "the state could not be written in time".to_owned();
            self.reply(waiting.caller, Err(Refused::Unavailable(why)));
        }
    }
}
