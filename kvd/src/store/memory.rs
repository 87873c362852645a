//! A disk in memory that never fails, for unit tests.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use crate::disk::{Create, Disk, DiskFile};

/// Files by name; what is open stays open through a rename.
#[derive(Default)]
pub(crate) struct MemoryDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>,
}

#[derive(Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl MemoryDisk {
    /// What a process that was killed now leaves.
    pub(crate) fn copy(&self) -> Self {
        let copy = |file: &Arc<MemoryFile>| Arc::new(MemoryFile(Mutex::new(file.0.lock().unwrap().clone())));
        let files = self.files.lock().unwrap();
        Self { files: Mutex::new(files.iter().map(|(path, file)| (path.clone(), copy(file))).collect()) }
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let files = self.files.lock().unwrap();
        let names = files.keys().filter_map(|path| path.strip_prefix(dir).ok());
        Ok(names.map(|name| name.display().to_string()).collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.lock().unwrap().contains_key(path))
    }

    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap();
        match (files.get(path), create) {
            (Some(_), Create::New) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(Box::new(Arc::clone(file))),
            (None, Create::Never) => Err(io::ErrorKind::NotFound.into()),
            (None, _) => Ok(Box::new(Arc::clone(files.entry(path.to_path_buf()).or_default()))),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_path_buf(), file);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.files.lock().unwrap().remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl DiskFile for Arc<MemoryFile> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let range = bytes.get(from..from + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(range);
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut file = self.0.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let end = from + bytes.len();
        if file.len() < end {
            file.resize(end, 0);
        }
        file[from..end].copy_from_slice(bytes);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
}
