//! Why a node does not start, and what the operator does about it.

use std::{
    io,
    path::{Path, PathBuf},
};

use protocol::ClusterId;

use crate::{cli::Exit, config::ConfigError};

/// A start that was refused or failed. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No certificates were issued and the cluster may not make its own.
    #[error(
        "{}: no such file, and only a cluster whose addresses are all loopback makes its own certificates\n  \
         try: kvd pki init --dir {dir} ; kvd pki issue node {node} --host {host} --dir {dir}\n  \
         then copy ca.pem, node-{node}.pem and node-{node}-key.pem to {dir} on that host",
        file.display(), dir = dir.display()
    )]
    NotIssued {
        /// The first file that is missing.
        file: PathBuf,
        /// Where the authority would be.
        dir: PathBuf,
        /// This node.
        node: u64,
        /// The host its certificate must name.
        host: String,
    },
    /// A certificate or key cannot be used.
    #[error("{}: {why}\n  try: issue it anew with `kvd pki issue node`, or correct [tls] in the configuration", file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// A path meant as a directory is something else.
    #[error("{}: not a directory\n  try: give the path of a directory, or of none so that it is made", .0.display())]
    NotADirectory(PathBuf),
    /// Log and state are the same place.
    #[error("{}: log and state need two separate directories, none inside the other\n  try: give each its own", .0.display())]
    OneDirectory(PathBuf),
    /// A directory for a first start holds something.
    #[error("{}: holds `{found}` but no identity of kvd, so it is not used\n  try: give an empty directory; if this was a node's, restore its file `identity`", dir.display())]
    NotEmpty {
        /// The directory.
        dir: PathBuf,
        /// A name in it.
        found: String,
    },
    /// A founder need not join.
    #[error(
        "{0} is one of the servers that founded the cluster, as far as the configuration says\n  try: kvd run; or, for a server that joins a cluster, `joins = true` in its [[server]]"
    )]
    Founder(String),
    /// A server that joins was not told to.
    #[error(
        "{0} has not joined the cluster yet\n  try: kvd join with the same arguments; then, on any machine, kvctl member add {0}"
    )]
    NotJoined(String),
    /// What this node wrote is gone.
    #[error(
        "{}: its identity is gone although this node has run: a wiped node must not vote, it would vote twice\n  \
         try: mount or restore the directory as it was", .0.display()
    )]
    Wiped(PathBuf),
    /// A restore did not end.
    #[error(
        "{}: a restore from a backup was begun and did not end, so what is here is not whole\n  \
         try: kvd restore again, with the same configuration", .0.display()
    )]
    Unrestored(PathBuf),
    /// A restore over a node that has run.
    #[error(
        "{mark}: this server has run already, and a restore makes a new one\n  \
         try: new directories and a key in another folder; or, if the old cluster is given up for good, move this file and its directories away",
        mark = .0.display()
    )]
    HasRun(PathBuf),
    /// Another server's.
    #[error("{}: belongs to server {found}, not to server {wanted}\n  try: correct --node, the ids or the directories", place.display())]
    AnotherNode {
        /// Where the record is.
        place: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who this is.
        wanted: u64,
    },
    /// The list of servers changed.
    #[error("{}: this cluster was started with the servers {found:?}, the configuration lists {wanted:?}\n  try: list the same ids again; addresses may change, ids may not", place.display())]
    OtherVoters {
        /// Where the record is.
        place: PathBuf,
        /// The first voters.
        found: Vec<u64>,
        /// What the configuration says now.
        wanted: Vec<u64>,
    },
    /// Another cluster's: the CA differs.
    #[error(
        "{}: belongs to another cluster ({}, this CA and these servers make {})\n  \
         try: use the CA this node was started with, or other directories", place.display(), found.short(), wanted.short()
    )]
    AnotherCluster {
        /// Where the record is.
        place: PathBuf,
        /// The record's cluster.
        found: ClusterId,
        /// The configuration's cluster.
        wanted: ClusterId,
    },
    /// Directories of two different first starts.
    #[error("{}: written by another first start than this node's\n  try: put the directories together that belong together", .0.display())]
    AnotherStart(PathBuf),
    /// Another process has it.
    #[error("{}: in use by another process\n  try: stop the other kvd, or correct --node", .0.display())]
    Locked(PathBuf),
    /// Others may read it.
    #[error("{path}: others than its owner may use it\n  try: chmod go-rwx {path}", path = .0.display())]
    OpenToOthers(PathBuf),
    /// Others may put something there.
    #[error("{path}: others than its owner may write there, and could put their own admin socket in the place of the node's\n  try: chmod go-w {path}", path = .0.display())]
    WritableByOthers(PathBuf),
    /// A record that cannot be understood.
    #[error("{}: {why}\n  try: restore it from the other directory of this node if that one is whole", file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// The operating system refused.
    #[error("{}: {why}\n  try: check that the path exists, is writable for this user and has space", path.display())]
    Disk {
        /// The path.
        path: PathBuf,
        /// What it said.
        why: String,
    },
}

impl StartError {
    pub(crate) fn disk(path: &Path, error: &io::Error) -> Self {
        Self::Disk { path: path.to_owned(), why: error.to_string() }
    }

    /// What the program ends with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Certificate { .. } => Exit::Identity,
            Self::Damaged { .. } => Exit::Integrity,
            Self::Disk { .. } => Exit::Disk,
            _ => Exit::Usage,
        }
    }
}
