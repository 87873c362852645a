//! A state as a sequence of bytes: what a follower is sent when its entries were discarded. One format, which says
//! itself what it is, so that a file of it can be kept.
//!
//! ```text
//! block   length u32 │ crc32c u32 │ kind u8 │ content …     `length` and the checksum are of kind and content
//! head    kind 1     "kvd snap" │ format u16 │ state format u16 │ cluster 16 │ index u64 │ term u64
//! pairs   kind 2     table u8 │ { key length u32 │ value length u32 │ key │ value } …
//! end     kind 3     blocks before this one u64 │ pairs u64 │ SHA-256 of the bytes of all blocks before
//! ```
//!
//! All numbers are little-endian. The head comes first and the end last; between them stand the tables of the state as
//! they lie in its file (`store.rs`), each in the order of its keys: 1 its own facts,
//! 2 the rows, 3 the request memory, 4 the changes that are kept, 5 the tombstones, 6 the spans of the changes. A state without its end is no state, and neither is one whose sum does not match:
//! nothing of it is ever made current.
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

mod block;
mod receive;
mod send;

use protocol::{ClusterId, DecodeError};
use raft::Position;

pub use self::{
    block::Head,
    receive::{Progress, Received, Receiver, Receiving},
    send::Sending,
};
use crate::state::StateError;

/// Which table a pair belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Table {
    /// The store's own facts.
    Meta = 1,
    /// The rows.
    Rows = 2,
    /// The request memory.
    Requests = 3,
    /// The changes that are kept.
    Changes = 4,
    /// The tombstones of keys whose removal is kept.
    Deleted = 5,
    /// The spans of the changes.
    Spans = 6,
}

/// Why a state that comes in is not taken. The old one stays as it was.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// Bytes that are no block, or that were changed on their way.
    #[error("a block of the state does not check: {0}")]
    Block(#[from] DecodeError),
    /// The blocks do not make a state.
    #[error("the blocks do not make a state: {0}")]
    Content(&'static str),
    /// Written by a version whose format is not known here.
    #[error("the state has format {found}, this version reads format {known}")]
    Format {
        /// What it has.
        found: u16,
        /// What is known.
        known: u16,
    },
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

/// What is said of a state that was made current, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The last entry of the state.
    pub at: Position,
    /// Whether it is current now.
    pub installed: bool,
}
