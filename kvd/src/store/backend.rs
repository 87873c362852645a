//! redb's storage interface over the [`Disk`](crate::disk::Disk) seam, so that the simulator's disk carries the
//! production store.

use std::{
    fmt, io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::disk::DiskFile;

/// redb's page: with any number of them a file can be opened.
const PAGE: u64 = 4096;

/// One file as redb wants it. It takes no lock: who may open a state directory is settled before, at start.
pub(crate) struct Backend {
    file: Box<dyn DiskFile>,
    length: Arc<AtomicU64>,
}

impl Backend {
    /// Wraps an open file; the second value follows the file's length for as long as the backend lives.
    ///
    /// The length is made durable first, by a change there and back: if the sync after a growth failed, the system shows
    /// a length that the disk does not have, and setting the same once more does nothing. What redb then wrote beyond
    /// the disk's end would leave a length after a loss of power with which no store opens. Content needs no such care:
    /// redb syncs its pages before a header refers to them, and writes the header anew at each opening.
    pub(crate) fn new(file: Box<dyn DiskFile>) -> io::Result<(Self, Arc<AtomicU64>)> {
        let len = file.len()?;
        if len > 0 {
            file.set_len(len.saturating_add(PAGE))?;
            file.set_len(len)?;
            file.sync_data()?;
        }
        let length = Arc::new(AtomicU64::new(len));
        Ok((Self { file, length: Arc::clone(&length) }, length))
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backend").field("length", &self.length).finish_non_exhaustive()
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        self.length.store(len, Ordering::Relaxed);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)?;
        self.length.fetch_max(offset + data.len() as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// A bug on purpose: what is received from another server is not synced.
#[cfg(feature = "mutants")]
pub(super) fn unsynced(file: Box<dyn DiskFile>, path: &std::path::Path) -> Box<dyn DiskFile> {
    use crate::instruments::{Mutant, mutant};
    let received = path.ends_with(super::generation::INCOMING);
    if received && mutant(Mutant::GenerationNamedUnsynced) { Box::new(Unsynced(file)) } else { file }
}

#[cfg(feature = "mutants")]
struct Unsynced(Box<dyn DiskFile>);

#[cfg(feature = "mutants")]
impl DiskFile for Unsynced {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
}
