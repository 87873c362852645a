//! A state as a sequence of bytes: what a follower is sent when its entries were discarded, and what a backup holds.
//!
//! The bytes are those of [`protocol::snapshot`]: a head, the tables of the state as they lie in its file (`store.rs`), an
//! end with the sum of all. A state without its end is no state, and neither is one whose sum does not match: nothing of it
//! is ever made current.
//!
//! [`Sending`] reads a view of the store, which is one commit of it: consistent at one position, and in nobody's way.
//! [`Receiving`] writes a file under a provisional name. Neither knows who carries the blocks.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

mod receive;
mod send;

use protocol::{ClusterId, DecodeError, snapshot::BlockError};
use raft::Position;

pub use protocol::snapshot::Head;
pub(crate) use protocol::snapshot::Table;

pub use self::{
    receive::{Progress, Received, Receiver, Receiving},
    send::Sending,
};
use crate::state::StateError;

/// Why a state that comes in is not taken. The old one stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// What came is no state.
    #[error(transparent)]
    Blocks(#[from] BlockError),
    /// Another cluster's.
    #[error("the state belongs to cluster {found}")]
    OtherCluster {
        /// Whose.
        found: ClusterId,
    },
    /// The disk could not take it.
    #[error(transparent)]
    Disk(#[from] StateError),
}

impl SnapshotError {
    /// The blocks do not make a state.
    pub(crate) fn content(why: &'static str) -> Self {
        BlockError::Content(why).into()
    }
}

impl From<DecodeError> for SnapshotError {
    fn from(error: DecodeError) -> Self {
        BlockError::from(error).into()
    }
}

/// What is said of a state that was made current, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The last entry of the state.
    pub at: Position,
    /// Whether it is current now.
    pub installed: bool,
}
