//! A disk in memory that loses nothing. What a power cut does is `kvd/tests/crash_log.rs`'s business; here bytes are
//! wrong, not missing.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use kvd::disk::{Create, Disk, DiskFile};

/// One directory of files. Clones are the same disk.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<BTreeMap<PathBuf, File>>>);

#[derive(Clone, Default)]
struct File(Arc<Mutex<Vec<u8>>>);

impl Memory {
    /// Puts a file there.
    pub(crate) fn put(&self, path: &Path, bytes: Vec<u8>) {
        self.files().insert(path.to_owned(), File(Arc::new(Mutex::new(bytes))));
    }

    /// What is there now.
    pub(crate) fn content(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        self.files().iter().map(|(path, file)| (path.clone(), file.bytes().clone())).collect()
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<PathBuf, File>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl File {
    fn bytes(&self) -> MutexGuard<'_, Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk for Memory {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, _: &Path) -> io::Result<Vec<String>> {
        let name = |path: &PathBuf| Some(path.file_name()?.to_str()?.to_owned());
        Ok(self.files().keys().filter_map(name).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files().contains_key(path))
    }

    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files();
        let file = match (files.get(path), create) {
            (Some(_), Create::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file.clone(),
            (None, Create::Never) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => files.entry(path.to_owned()).or_default().clone(),
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files().remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.bytes().len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.bytes();
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let found = bytes.get(from..).and_then(|bytes| bytes.get(..buffer.len()));
        buffer.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let end = from.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let mut content = self.bytes();
        if content.len() < end {
            content.resize(end, 0);
        }
        content[from..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes().resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }
}
