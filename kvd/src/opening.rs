//! From two directories to a node: state and log are read, compared, and given to a core.
//!
//! The server and the simulator open a node by the same steps and differ only in the disk they hand in. Nothing here
//! decides whether a node may start (`bootstrap` does); what cannot be opened is said by name.

use std::{path::Path, sync::Arc};

use protocol::ClusterId;
use raft::{ConfigError, Raft, Restored};

use crate::{
    disk::Disk,
    log::{self, Log, LogError, Over, Recovered},
    members::Members,
    node::{Node, newest_stamp},
    state::{State, StateError, StateLimits},
};

/// Why a node cannot be opened. It must not start; each variant says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log could not be opened.
    #[error("the log in {0} cannot be opened: {1}")]
    Log(String, LogError),
    /// The state could not be opened.
    #[error("the state in {0} cannot be opened: {1}")]
    State(String, StateError),
    /// The core refused its settings, or what the two directories hold together.
    #[error("configuration refused: {0}")]
    Core(#[from] ConfigError),
}

/// Where a node's data lies and how it is read.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The log's directory.
    pub log: &'a Path,
    /// The state's directory.
    pub state: &'a Path,
    /// Whose data it must be.
    pub cluster: ClusterId,
    /// Bounds of the state.
    pub limits: StateLimits,
    /// Sizes of the log.
    pub settings: log::Settings,
}

/// What the two directories hold, all of it durable.
pub struct Opened {
    /// The state as its last commit left it.
    pub state: State,
    /// The log, ready for writing.
    pub log: Log,
    /// What the log held after the state's last commit.
    pub recovered: Recovered,
}

/// Reads both directories, the state first: the log is read from where the state ends.
pub fn open(disk: &Arc<dyn Disk>, place: Place<'_>) -> Result<Opened, OpenError> {
    let shown = |path: &Path| path.display().to_string();
    let state = State::open(Arc::clone(disk), place.state, place.cluster, place.limits)
        .map_err(|error| OpenError::State(shown(place.state), error))?;
    let over = Over { applied: state.applied(), received: state.received() };
    let (log, recovered) = Log::open_over(Arc::clone(disk), place.log, over, place.settings)
        .map_err(|error| OpenError::Log(shown(place.log), error))?;
    Ok(Opened { state, log, recovered })
}

impl Opened {
    /// The node over it, and its log.
    pub fn into_node(self, config: raft::Config, mut members: Members) -> Result<(Node, Log), OpenError> {
        let Self { state, log, recovered } = self;
        let stamp_ms =
            newest_stamp(&recovered.entries).map_or(0, |(stamp_ms, _)| stamp_ms).max(state.stamp_ms());
        members.look_at(&recovered.entries);
        let restored = Restored {
            hard: recovered.hard,
            applied: state.applied(),
            membership: state.membership().cloned(),
            base: recovered.base,
            entries: recovered.entries,
            discarded: recovered.discarded,
        };
        Ok((Node::new(Raft::new(config, restored)?, state, members, stamp_ms), log))
    }
}
