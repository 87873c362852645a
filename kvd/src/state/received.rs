//! A state that goes to another server or came from one.

use std::sync::Arc;

use raft::Position;

use super::{State, StateError};
use crate::{
    instruments::{Mark, mark},
    snapshot::{Received, Receiver, Sending},
    store::generation,
};

/// Makes a state that was received the current one. Belongs on another thread.
#[must_use = "until it has run, the old state is the current one"]
pub struct Install(Received);

/// The state that is current now, durably.
pub struct Installed(Box<State>);

impl State {
    /// What is durable of it, to be sent to another server: one commit, which stays readable as long as somebody
    /// holds it.
    pub fn sending(&self) -> Result<Sending, StateError> {
        Ok(Sending::new(self.store.view()?))
    }

    /// Where a state that may replace this one is written.
    pub fn receiver(&self) -> Receiver {
        Receiver {
            disk: Arc::clone(&self.disk),
            dir: self.dir.clone(),
            cluster: self.cluster,
            limits: self.limits,
        }
    }

    /// The last entry in it when it was received from another server; zero when it never was.
    pub fn received(&self) -> Position {
        self.received
    }

    /// Whether a flush is under way.
    pub fn flushing(&self) -> bool {
        self.frozen.is_some()
    }
}

impl Install {
    /// Of a whole state.
    pub fn new(received: Received) -> Self {
        Self(received)
    }

    /// The last entry in it.
    pub fn position(&self) -> Position {
        self.0.position()
    }

    /// Makes it current and opens it. No flush of the old state may be under way, nor begin any more.
    ///
    /// # Errors
    /// Which of the two is current is only known when the directory is opened again: the caller ends the process.
    pub fn run(self) -> Result<Installed, StateError> {
        let Received { at, receiver } = self.0;
        let Receiver { disk, dir, cluster, limits } = receiver;
        generation::adopt(&*disk, &dir)?;
        let state = State::open(disk, &dir, cluster, limits)?;
        assert_eq!(state.applied(), at, "what was received is what is opened");
        mark(Mark::SnapshotInstalled);
        Ok(Installed(Box::new(state)))
    }
}

impl Installed {
    /// The last entry in it.
    pub fn position(&self) -> Position {
        self.0.applied()
    }

    /// The state.
    pub fn into_state(self) -> State {
        *self.0
    }
}
