//! What can go wrong with the state, and what to do about it.

use std::{io, path::PathBuf};

use protocol::{ClusterId, DecodeError};

/// Why the state cannot be opened, applied to, read or committed. Each ends the process: a node that goes on with a
/// state it cannot trust answers wrongly.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory or the file of the store cannot be reached.
    #[error(
        "cannot {what} {path}: {source}; check that the disk is mounted, writable and not full, then start again"
    )]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is there and is no usable store.
    #[error(
        "the state store {path} will not open: {why}; keep a copy of the file, then restore this node's state \
         directory from a backup. The other nodes are not affected"
    )]
    WillNotOpen {
        /// The file.
        path: PathBuf,
        /// What the store said.
        why: String,
    },
    /// The file is the state of another cluster.
    #[error(
        "the state store {path} belongs to cluster {found}, this node to {expected}; point the node at its own state \
         directory"
    )]
    OtherCluster {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: ClusterId,
        /// Whose it should be.
        expected: ClusterId,
    },
    /// The file was written by a version whose format this one does not know.
    #[error(
        "the state store {path} has format {found}, this version reads format {known}; run the version that wrote it"
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u128,
        /// Ours.
        known: u16,
    },
    /// The file remembers another number of request ids than this node is told to. Which requests are expired is
    /// part of the state, so all nodes must agree on the number, always.
    #[error(
        "the state store {path} remembers {stored} request ids and this node is set to {configured}; set it to {stored}"
    )]
    OtherMemory {
        /// The file.
        path: PathBuf,
        /// What the store was made with.
        stored: usize,
        /// What this node is set to.
        configured: usize,
    },
    /// The store opened, and what it holds contradicts itself.
    #[error(
        "the state store {path} is damaged: {why}; keep a copy of the file, then restore this node's state directory \
         from a backup. The other nodes are not affected"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: &'static str,
    },
    /// A committed entry is not a command this version knows. Skipping it would make this node differ from the
    /// others.
    #[error(
        "cannot apply the entry at {position}: {source}; run the version of kvd that the rest of the cluster runs"
    )]
    CannotApply {
        /// Where the entry stands.
        position: raft::Position,
        /// What is wrong with its bytes.
        source: DecodeError,
    },
    /// The store failed while it was read or written.
    #[error(
        "the state store failed to {what}: {source}; nothing acknowledged is lost, start the node again once its disk works"
    )]
    Store {
        /// What was tried.
        what: &'static str,
        /// What the store said.
        source: Box<redb::Error>,
    },
}

impl StateError {
    pub(crate) fn store<E: Into<redb::Error>>(what: &'static str) -> impl Fn(E) -> Self {
        move |source| Self::Store { what, source: Box::new(source.into()) }
    }
}
