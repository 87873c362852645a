//! A disk that is only looked at: it reads what is there, and keeps in memory whatever is written, renamed or removed.
//!
//! Log and state make what they find durable when they are opened, which changes files. Over this disk they can be opened
//! where nothing may be changed: in the directories of nodes that are lost, of which there is no second copy. What is kept in
//! memory is what an opening writes, a few megabytes.
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

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Create, Disk, DiskFile, RealDisk};

/// What is kept in memory is kept in pieces of so many bytes.
const PIECE: usize = 4096;

/// See the module.
#[derive(Default)]
pub struct AsideDisk {
    /// Names that were opened, made or taken: a file, or nothing where it was removed.
    names: Mutex<BTreeMap<PathBuf, Option<Arc<AsideFile>>>>,
}

/// A file as it would be.
struct AsideFile(Mutex<Content>);

#[derive(Default)]
struct Content {
    /// The file on the disk, and how much of it still counts.
    under: Option<(File, u64)>,
    len: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl AsideDisk {
    fn names(&self) -> MutexGuard<'_, BTreeMap<PathBuf, Option<Arc<AsideFile>>>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of this name as it is now.
    fn find(&self, path: &Path) -> io::Result<Option<Arc<AsideFile>>> {
        if let Some(known) = self.names().get(path) {
            return Ok(known.clone());
        }
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let len = file.metadata()?.len();
        let content = Content { under: Some((file, len)), len, pieces: BTreeMap::new() };
        let file = Arc::new(AsideFile(Mutex::new(content)));
        self.names().insert(path.to_owned(), Some(Arc::clone(&file)));
        Ok(Some(file))
    }
}

impl Disk for AsideDisk {
    fn create_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let mut names: BTreeSet<String> = RealDisk.list(dir)?.into_iter().collect();
        for (path, file) in self.names().iter().filter(|(path, _)| path.parent() == Some(dir)) {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            if file.is_some() {
                names.insert(name);
            } else {
                names.remove(&name);
            }
        }
        Ok(names.into_iter().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        match self.names().get(path) {
            Some(known) => Ok(known.is_some()),
            None => RealDisk.exists(path),
        }
    }

    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>> {
        let file = match (self.find(path)?, create) {
            (Some(_), Create::New) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => file,
            (None, Create::Never) => return Err(io::ErrorKind::NotFound.into()),
            (None, _) => {
                let file = Arc::new(AsideFile(Mutex::default()));
                self.names().insert(path.to_owned(), Some(Arc::clone(&file)));
                file
            }
        };
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.find(from)?.ok_or(io::ErrorKind::NotFound)?;
        let mut names = self.names();
        names.insert(to.to_owned(), Some(file));
        names.insert(from.to_owned(), None);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.find(path)?.ok_or(io::ErrorKind::NotFound)?;
        self.names().insert(path.to_owned(), None);
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}

impl AsideFile {
    fn content(&self) -> MutexGuard<'_, Content> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Content {
    /// A piece as it would be read.
    fn piece(&self, number: u64) -> io::Result<Vec<u8>> {
        if let Some(piece) = self.pieces.get(&number) {
            return Ok(piece.clone());
        }
        let mut piece = vec![0; PIECE];
        let Some((file, counts)) = &self.under else { return Ok(piece) };
        let begins = number.saturating_mul(PIECE as u64);
        let there = usize::try_from(counts.saturating_sub(begins)).unwrap_or(usize::MAX).min(PIECE);
        if let Some(there) = piece.get_mut(..there) {
            file.read_exact_at(there, begins)?;
        }
        Ok(piece)
    }

    /// Each piece of a range: its number, where in it the range lies, and where that is in the range.
    fn split(offset: u64, len: usize) -> impl Iterator<Item = (u64, usize, usize, usize)> {
        let piece = PIECE as u64;
        let mut done = 0_usize;
        std::iter::from_fn(move || {
            let left = len.checked_sub(done).filter(|left| *left > 0)?;
            let at = offset.checked_add(done as u64)?;
            let within = usize::try_from(at.checked_rem(piece)?).ok()?;
            let count = PIECE.saturating_sub(within).min(left);
            let part = (at.checked_div(piece)?, within, done, count);
            done = done.saturating_add(count);
            Some(part)
        })
    }
}

impl DiskFile for Arc<AsideFile> {
    fn len(&self) -> io::Result<u64> {
        Ok(self.content().len)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let content = self.content();
        if offset.checked_add(buffer.len() as u64).is_none_or(|end| end > content.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, done, count) in Content::split(offset, buffer.len()) {
            let piece = content.piece(number)?;
            let to = buffer.iter_mut().skip(done).take(count);
            to.zip(piece.iter().skip(within)).for_each(|(to, from)| *to = *from);
        }
        Ok(())
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut content = self.content();
        let end = offset.checked_add(bytes.len() as u64).ok_or(io::ErrorKind::InvalidInput)?;
        for (number, within, done, count) in Content::split(offset, bytes.len()) {
            let mut piece = content.piece(number)?;
            let from = bytes.iter().skip(done).take(count);
            piece.iter_mut().skip(within).zip(from).for_each(|(to, from)| *to = *from);
            content.pieces.insert(number, piece);
        }
        content.len = content.len.max(end);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut content = self.content();
        if len < content.len {
            if let Some((_, counts)) = &mut content.under {
                *counts = (*counts).min(len);
            }
            // The piece in which the file ends now, and how much of it is left.
            let (last, keeps) =
                Content::split(len, 1).next().map_or((0, 0), |(last, keeps, ..)| (last, keeps));
            content.pieces.retain(|number, _| *number <= last);
            if let Some(piece) = content.pieces.get_mut(&last) {
                piece.iter_mut().skip(keeps).for_each(|byte| *byte = 0);
            }
        }
        content.len = len;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Write(u64, Vec<u8>),
        Cut(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let offset = 0_u64..10_000;
        prop_oneof![
            (offset.clone(), prop::collection::vec(any::<u8>(), 1..6000))
                .prop_map(|(at, bytes)| Step::Write(at, bytes)),
            offset.prop_map(Step::Cut),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn a_file_reads_as_one_that_was_written_and_the_one_below_stays(
            below in prop::collection::vec(any::<u8>(), 0..9000),
            steps in prop::collection::vec(step(), 0..8),
        ) {
            let home = tempfile::tempdir().unwrap();
            let path = home.path().join("f");
            std::fs::write(&path, &below).unwrap();
            let disk = AsideDisk::default();
            let file = disk.open(&path, Create::Never).unwrap();
            let mut model = below.clone();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        let at = usize::try_from(at).unwrap();
                        model.resize(model.len().max(at + bytes.len()), 0);
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                        file.write_all_at(&bytes, at as u64).unwrap();
                    }
                    Step::Cut(len) => {
                        model.resize(usize::try_from(len).unwrap(), 0);
                        file.set_len(len).unwrap();
                    }
                }
                let mut read = vec![0; model.len()];
                file.read_exact_at(&mut read, 0).unwrap();
                prop_assert!(read == model);
                prop_assert!(file.read_exact_at(&mut [0], model.len() as u64).is_err());
            }
            prop_assert_eq!(std::fs::read(&path).unwrap(), below);
        }
    }

    #[test]
    fn names_are_changed_for_whoever_looks_through_it_only() {
        let home = tempfile::tempdir().unwrap();
        let at = |name: &str| home.path().join(name);
        std::fs::write(at("a"), b"one").unwrap();
        std::fs::write(at("b"), b"two").unwrap();
        let disk = AsideDisk::default();
        disk.rename(&at("a"), &at("c")).unwrap();
        disk.remove(&at("b")).unwrap();
        disk.open(&at("d"), Create::New).unwrap();
        assert_eq!(disk.list(home.path()).unwrap(), ["c", "d"]);
        assert!(!disk.exists(&at("a")).unwrap() && disk.exists(&at("c")).unwrap());
        assert!(disk.open(&at("b"), Create::Never).is_err() && disk.remove(&at("b")).is_err());
        assert!(disk.open(&at("c"), Create::New).is_err());
        assert_eq!(disk.open(&at("c"), Create::Never).unwrap().len().unwrap(), 3);
        assert_eq!(RealDisk.list(home.path()).unwrap(), ["a", "b"]);
    }
}
