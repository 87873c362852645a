//! A state as a sequence of bytes: what a follower is sent when its entries were discarded, and what a backup holds. One
//! format, which says itself what it is.
//!
//! ```text
//! block   length u32 │ crc32c u32 │ kind u8 │ content …     `length` and the checksum are of kind and content
//! head    kind 1     "kvd snap" │ format u16 │ state format u16 │ cluster 16 │ index u64 │ term u64
//! pairs   kind 2     table u8 │ { key length u32 │ value length u32 │ key │ value } …
//! end     kind 3     blocks before this one u64 │ pairs u64 │ SHA-256 of the bytes of all blocks before
//! ```
//!
//! All numbers are little-endian. The head comes first and the end last; between them stand the tables of the state as
//! they lie in its file, each in the order of its keys: 1 its own facts, 2 the rows, 3 the request memory, 4 the changes
//! that are kept, 5 the tombstones, 6 the spans of the changes, 7 the leases, 8 the keys that they hold, 9 who is in the
//! cluster, 10 what is staged of a backup. A state without its end is no state.
//!
//! [`block`](mod@block) reads and writes single blocks, [`Checker`] judges all of them one after the other, and [`Reader`] takes them
//! from a file or a pipe. A node's side of it is in `kvd/src/snapshot.rs`; a client's stream is made of [`SaveFrame`]s.

pub mod block;
mod check;
mod reader;
mod save;

use crate::DecodeError;

pub use self::{
    block::{Block, End, Filling, Head, Pairs},
    check::{Checker, Facts, Summary},
    reader::{ReadError, Reader},
    save::SaveFrame,
};

/// The name of the fact that only a backup has: when it was begun, in milliseconds since 1970.
pub const SAVED: &str = "saved";

/// The name of the fact that says at which revision the keys of a backup took the place of all others; a row of revision
/// zero is of that one.
pub const RESTORED: &str = "restored";

/// Which table a pair belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
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
    /// The leases.
    Leases = 7,
    /// The keys that leases hold.
    Leased = 8,
    /// The membership, and what is recorded of members.
    Members = 9,
    /// What is staged of a backup.
    Staged = 10,
}

/// Why blocks are no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Bytes that are no block, or that were changed on their way.
    #[error("a block of the state does not check: {0}")]
    Bytes(#[from] DecodeError),
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
}
