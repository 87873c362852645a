//! The simulated disk as kvd's, with a note of where each file was last written: bits that rot there could not be told
//! from a torn write, which is the one exclusion that `docs/storage.md` documents.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use kvd::disk::{Create, Disk, DiskFile};
use testkit::disk::{SimCreate, SimDisk, SimFile};

/// Where the last write to each file began.
type Tails = Arc<Mutex<BTreeMap<PathBuf, u64>>>;

/// Clones are the same disk.
#[derive(Clone, Default)]
pub struct Medium {
    /// The disk itself.
    pub sim: SimDisk,
    tails: Tails,
}

struct File {
    sim: SimFile,
    path: PathBuf,
    tails: Tails,
}

impl Medium {
    /// Segments of the log with the length of what may rot in them: all but the last write, and nothing of a file
    /// that was not written since it got its name.
    pub fn written(&self, dir: &Path) -> Vec<(PathBuf, u64)> {
        let tails = self.tails.lock().unwrap_or_else(PoisonError::into_inner);
        let of_log =
            |path: &&PathBuf| path.parent() == Some(dir) && path.extension().is_some_and(|end| end == "log");
        tails
            .keys()
            .filter(of_log)
            .filter(|path| self.sim.content(path).is_some())
            .map(|path| (path.clone(), tails[path]))
            .collect()
    }

    fn note(tails: &Tails, path: &Path, at: u64) {
        tails.lock().unwrap_or_else(PoisonError::into_inner).insert(path.to_owned(), at);
    }
}

impl Disk for Medium {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.sim.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.sim.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.sim.exists(path)
    }

    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>> {
        let create = match create {
            Create::Never => SimCreate::Never,
            Create::IfAbsent => SimCreate::IfAbsent,
            Create::New => SimCreate::New,
        };
        let file = self.sim.open(path, create)?;
        Ok(Box::new(File { sim: file, path: path.to_owned(), tails: Arc::clone(&self.tails) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sim.sync_dir(dir)
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        self.sim.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.sim.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        Medium::note(&self.tails, &self.path, offset);
        self.sim.write_all_at(bytes, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sim.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.sim.set_len(len)
    }
}
