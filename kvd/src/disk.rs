//! The disk under log and state, behind one seam, so that a simulated disk can take its place.
//!
//! The contract is the one of a POSIX file system and no more: what was written is durable only after
//! [`DiskFile::sync_data`], and a created, renamed or removed name only after [`Disk::sync_dir`] of its directory.

mod aside;
mod patient;
mod real;

use std::{io, path::Path};

pub use aside::AsideDisk;
pub use patient::{Patience, PatientDisk};
pub use real::RealDisk;

/// How [`Disk::open`] treats a file that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Create {
    /// It must exist.
    Never,
    /// It is made when it does not exist.
    IfAbsent,
    /// It must not exist.
    New,
}

/// Whether the disk, or this user's share of it, is full: what was to be written was not, and may be tried again.
pub(crate) fn is_no_room(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Directories and names.
pub trait Disk: Send + Sync {
    /// Makes a directory and its missing parents, for this user only.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Names in a directory, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Opens a file for reading and writing.
    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>>;
    /// Renames atomically, replacing `to`.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
}

/// One open file. Positions and lengths in bytes.
pub trait DiskFile: Send + Sync {
    /// Its length.
    fn len(&self) -> io::Result<u64>;
    /// Whether it has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
    /// Fills `buffer` from `offset`; an error of kind `UnexpectedEof` when the file ends before.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `bytes` at `offset`, growing the file where needed.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync_data(&self) -> io::Result<()>;
    /// Cuts or grows (with zeros) to `len`.
    fn set_len(&self, len: u64) -> io::Result<()>;
}
