//! What can go wrong with the log, each told apart by what the caller can do.

use std::io;

use raft::{Index, Position};

use crate::disk::is_no_room;

/// Errors of [`Log`](super::Log). None of them but [`LogError::Full`] is cured by trying again in this
/// process.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused. After a failed write or sync nobody can say what is durable: end the process and start
    /// again, which reads what is there.
    #[error("cannot {what} {file} in the log directory: {source}")]
    Io {
        /// What was tried, a verb.
        what: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// The disk has no room. Nothing of the write counts, and nothing that was durable is touched: no sync was tried since. The
    /// same write may be tried again when there is room; what of it stands on the disk is written over then, or cut at the
    /// next start as any torn write. (A sync that fails for want of room is [`LogError::Io`] as any sync that fails.)
    #[error("no room to {what} {file} in the log directory: {source}")]
    Full {
        /// What was tried, a verb.
        what: &'static str,
        /// On which file.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// A write or sync failed before, so nothing more is accepted. End the process.
    #[error("the log stopped after a failed write or sync")]
    Poisoned,
    /// Bytes that were once durable are not what was written. Nothing was cut or changed. Restore the disk, or
    /// replace this server by a new one.
    #[error(
        "the log is damaged in {file} at byte {offset} ({why}): it is intact up to {intact}, and entries up to \
         {durable} were durable; nothing was changed"
    )]
    Damaged {
        /// The segment.
        file: String,
        /// Where the damaged batch starts.
        offset: u64,
        /// What is wrong with it.
        why: &'static str,
        /// The last entry before the damage; the first damaged index follows it.
        intact: Position,
        /// What is known to have been durable, where a later mark says so; otherwise `intact`.
        durable: Position,
    },
    /// A segment between others is not there. Restore it, or replace this server by a new one.
    #[error("the log's segment {file} is missing")]
    Missing {
        /// Its name.
        file: String,
    },
    /// Written by a version of this program that is not known here. Run that version or a later one.
    #[error("{file} has log format {found}, this program knows {known}")]
    Format {
        /// The segment.
        file: String,
        /// What it has.
        found: u16,
        /// What is known.
        known: u16,
    },
    /// The state contains entries that the log does not have: the two directories do not belong together, or log was
    /// lost. Restore the log, or replace this server by a new one.
    #[error("the state has applied {applied} but the log holds {discarded} (exclusive) to {last}")]
    Elsewhere {
        /// What the state has applied.
        applied: Position,
        /// The position before the first entry of the log.
        discarded: Position,
        /// The last entry of the log.
        last: Position,
    },
    /// The caller's entries do not continue the log. Nothing was written; a defect of the caller.
    #[error("entries from {first} on do not continue a log of {discarded} (exclusive) to {last}")]
    OutOfOrder {
        /// The offending index.
        first: Index,
        /// The position before the first entry of the log.
        discarded: Index,
        /// The last entry of the log.
        last: Index,
    },
    /// One entry is larger than a segment takes. Nothing was written.
    #[error("an entry of {size} bytes is over the log's limit of {limit}")]
    TooLarge {
        /// Its size as a record.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Entries outside of what the log holds were asked for.
    #[error("entries {from} to {to} are not all in a log of {discarded} (exclusive) to {last}")]
    Absent {
        /// First one asked for.
        from: Index,
        /// Last one asked for.
        to: Index,
        /// The index before the first entry of the log.
        discarded: Index,
        /// The last index of the log.
        last: Index,
    },
}

impl LogError {
    /// Whether the same may be tried again when there is room.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. })
    }
}

/// As [`io`], for what comes before any sync and can be done once more.
pub(super) fn room(what: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
    let file = file.into();
    move |source| {
        if is_no_room(&source) {
            LogError::Full { what, file, source }
        } else {
            LogError::Io { what, file, source }
        }
    }
}

/// Names the act and the file in an error of the disk.
pub(super) fn io(what: &'static str, file: impl Into<String>) -> impl FnOnce(io::Error) -> LogError {
    let file = file.into();
    move |source| LogError::Io { what, file, source }
}
