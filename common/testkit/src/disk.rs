//! A disk that forgets: files in memory that lose power the way a real disk does.
//!
//! What was written is safe only after [`SimFile::sync_data`], and a name only after [`SimDisk::sync_dir`] of its
//! directory. [`SimDisk::crash`] settles everything else by a seed: each 512-byte sector of an unsynced write and each
//! unsynced change of a directory may have happened or not, in any order. A sync that failed has lost what it should have
//! saved for good, whatever later syncs say, as on Linux; each page of it may still be readable or not.
//!
//! Every call on the disk or one of its files is numbered. A test cuts the power or fails at the n-th, or lets calls
//! fail by chance ([`Weather`]).

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

mod image;

use image::{Change, File, Names};

use crate::rng::Rng;

/// The smallest piece of a write that is whole or not at all after a crash; a seed may say up to eight times as much.
const SECTOR: usize = 512;

/// How [`SimDisk::open`] treats a file that is or is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimCreate {
    /// It must exist.
    Never,
    /// It is made when it does not exist.
    IfAbsent,
    /// It must not exist.
    New,
}

/// How often calls fail by themselves, each in a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// Reads that end in an error; the bytes are fine.
    pub read_errors: u64,
    /// Syncs that fail and lose what they should have saved.
    pub sync_errors: u64,
}

/// What went wrong so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Reads that failed by chance.
    pub reads: u64,
    /// Syncs that failed by chance.
    pub syncs: u64,
    /// Writes that found no space.
    pub full: u64,
    /// Calls in which the power was cut.
    pub cuts: u64,
    /// Calls that failed because [`SimDisk::fail_at`] said so.
    pub ordered: u64,
    /// Crashes that lost something written and not synced.
    pub losses: u64,
    /// Crashes that left a part of such a write.
    pub torn: u64,
    /// Crashes that left a later write and not an earlier one, or turned two round.
    pub reordered: u64,
    /// Crashes that lost a name whose directory was not synced.
    pub names: u64,
}

/// The disk. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct SimDisk(Arc<Mutex<Inner>>);

/// An open file. Dead after a crash, as the process that had it open.
#[derive(Clone, Debug)]
pub struct SimFile {
    disk: SimDisk,
    id: u64,
    boot: u64,
}

#[derive(Debug, Default)]
struct Inner {
    files: BTreeMap<u64, File>,
    names: Names,
    next_id: u64,
    /// Counts crashes; files opened before one are dead.
    boot: u64,
    calls: u64,
    cut_at: Option<u64>,
    fail_at: Option<(u64, io::ErrorKind)>,
    /// Every call fails until the next restart or crash.
    off: bool,
    capacity: Option<u64>,
    weather: Option<(Weather, Rng)>,
    failures: Failures,
}

/// What a call is, as far as it fails by chance.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Sync,
    Other,
}

/// What is to happen in a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Works,
    /// Begun but not finished: what it changed may survive or not; it is answered with an error.
    Cut,
    Fails(io::ErrorKind),
}

impl SimDisk {
    /// An empty disk with a root directory.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many calls were made so far.
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Cuts the power during the n-th call from the disk's beginning (the first is 1).
    pub fn cut_power_at(&self, call: u64) {
        self.lock().cut_at = Some(call);
    }

    /// Fails the n-th call with this error; later ones work.
    pub fn fail_at(&self, call: u64, kind: io::ErrorKind) {
        self.lock().fail_at = Some((call, kind));
    }

    /// Bounds the bytes of all files together; beyond it writes fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity = bytes;
    }

    /// Lets calls fail by chance from now on, drawn from `seed`.
    pub fn set_weather(&self, weather: Weather, seed: u64) {
        self.lock().weather = (weather != Weather::default()).then(|| (weather, Rng::new(seed)));
    }

    /// What went wrong so far.
    pub fn failures(&self) -> Failures {
        self.lock().failures
    }

    /// Bytes of all files together.
    pub fn used(&self) -> u64 {
        self.lock().files.values().map(|file| file.content().len() as u64).sum()
    }

    /// The process dies here and now: no call of what is left of it does anything until [`SimDisk::crash`] or
    /// [`SimDisk::restart`].
    pub fn power_off(&self) {
        self.lock().off = true;
    }

    /// Whether the power was cut.
    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// The power is lost and comes back: what was not synced survives in whatever part the seed says.
    pub fn crash(&self, seed: u64) {
        let inner = &mut *self.lock();
        let mut rng = Rng::new(seed);
        let tear = SECTOR << rng.below(4);
        inner.failures.names += u64::from(inner.names.crash(&mut rng).any);
        let losses: Vec<_> = inner.files.values_mut().map(|file| file.crash(&mut rng, tear)).collect();
        let failures = &mut inner.failures;
        failures.losses += u64::from(losses.iter().any(|lost| lost.any));
        failures.torn += u64::from(losses.iter().any(|lost| lost.torn));
        failures.reordered += u64::from(losses.iter().any(|lost| lost.reordered));
        let linked = inner.names.ids();
        inner.files.retain(|id, _| linked.contains(id));
        inner.boot += 1;
        inner.power_on();
    }

    /// The process ended and is started again, without loss of power: everything written is readable, unsynced or
    /// not. Files that were open are dead.
    pub fn restart(&self) {
        let inner = &mut *self.lock();
        inner.boot += 1;
        inner.power_on();
    }

    /// A deep copy, to try several crashes from one moment. Its counters and faults start anew.
    #[must_use]
    pub fn fork(&self) -> Self {
        let inner = self.lock();
        Self(Arc::new(Mutex::new(Inner {
            files: inner.files.clone(),
            names: inner.names.clone(),
            next_id: inner.next_id,
            boot: inner.boot,
            calls: 0,
            cut_at: None,
            fail_at: None,
            off: inner.off,
            capacity: inner.capacity,
            weather: None,
            failures: Failures::default(),
        })))
    }

    /// What a file contains now, for golden tests; not a numbered call.
    pub fn content(&self, path: &Path) -> Option<Vec<u8>> {
        let inner = self.lock();
        Some(inner.files.get(&inner.names.find(path)?)?.content().to_vec())
    }

    /// Flips bits of a byte, on the medium; not a numbered call.
    ///
    /// # Panics
    /// When there is no such byte.
    pub fn rot(&self, path: &Path, offset: usize, mask: u8) {
        let inner = &mut *self.lock();
        let id = inner.names.find(path).expect("the file to damage exists");
        inner.files.get_mut(&id).expect("a name has a file").rot(offset, mask);
    }

    /// Makes a directory and its missing parents.
    pub fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(Kind::Other, |inner| {
            inner.names.create_dir(path);
            Ok(())
        })
    }

    /// Names in a directory, sorted.
    pub fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.call(Kind::Other, |inner| inner.names.list(dir))
    }

    /// Whether a file or directory is there.
    pub fn exists(&self, path: &Path) -> io::Result<bool> {
        self.call(Kind::Other, |inner| Ok(inner.names.exists(path)))
    }

    /// Opens a file for reading and writing.
    pub fn open(&self, path: &Path, create: SimCreate) -> io::Result<SimFile> {
        self.call(Kind::Other, |inner| {
            let id = match (inner.names.find(path), create) {
                (Some(_), SimCreate::New) => return Err(io::ErrorKind::AlreadyExists.into()),
                (Some(id), _) => id,
                (None, SimCreate::Never) => return Err(io::ErrorKind::NotFound.into()),
                (None, _) => inner.make(path)?,
            };
            Ok(SimFile { disk: self.clone(), id, boot: inner.boot })
        })
    }

    /// Renames a file atomically, replacing `to`.
    pub fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.call(Kind::Other, |inner| inner.names.rename(from, to))
    }

    /// Removes a file.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(Kind::Other, |inner| inner.names.remove(path))
    }

    /// Makes the names in a directory durable.
    pub fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sync_call(|inner, fate| inner.names.sync(dir, fate == Fate::Works))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A numbered call. One that fails does nothing; one in which the power is cut is begun and not answered.
    fn call<T>(&self, kind: Kind, act: impl FnOnce(&mut Inner) -> io::Result<T>) -> io::Result<T> {
        let inner = &mut *self.lock();
        match inner.fate(kind)? {
            Fate::Fails(kind) => Err(kind.into()),
            Fate::Works => act(inner),
            Fate::Cut => {
                // Its outcome is the crash's to decide; the caller learns nothing.
                let _ = act(inner);
                Err(power_cut())
            }
        }
    }

    /// A numbered sync. One that fails loses what it should have saved; one in which the power is cut saves nothing.
    fn sync_call(&self, act: impl FnOnce(&mut Inner, Fate) -> io::Result<()>) -> io::Result<()> {
        let inner = &mut *self.lock();
        match inner.fate(Kind::Sync)? {
            Fate::Works => act(inner, Fate::Works),
            Fate::Cut => Err(power_cut()),
            Fate::Fails(kind) => {
                act(inner, Fate::Fails(kind))?;
                Err(kind.into())
            }
        }
    }
}

impl SimFile {
    /// Its length.
    pub fn len(&self) -> io::Result<u64> {
        self.call(Kind::Other, |inner, id| Ok(inner.file(id)?.content().len() as u64))
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `buffer` from `offset`; an error of kind `UnexpectedEof` when the file ends before.
    pub fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.call(Kind::Read, |inner, id| {
            let content = inner.file(id)?.content();
            let bytes = usize::try_from(offset)
                .ok()
                .and_then(|from| content.get(from..from.checked_add(buffer.len())?))
                .ok_or(io::ErrorKind::UnexpectedEof)?;
            buffer.copy_from_slice(bytes);
            Ok(())
        })
    }

    /// Writes all of `bytes` at `offset`, growing the file where needed.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.call(Kind::Other, |inner, id| {
            let offset = usize::try_from(offset).map_err(io::Error::other)?;
            inner.room_for(id, offset.saturating_add(bytes.len()))?;
            inner.file(id)?.change(Change::Write(offset, bytes.to_vec()));
            Ok(())
        })
    }

    /// Makes content and length durable.
    pub fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_call(|inner, fate| {
            inner.alive(self.boot)?;
            let mut rng = Rng::new(inner.calls);
            let file = inner.file(self.id)?;
            if fate == Fate::Works {
                file.sync();
            } else {
                file.fail_sync(&mut rng);
            }
            Ok(())
        })
    }

    /// Cuts or grows (with zeros) to `len`.
    pub fn set_len(&self, len: u64) -> io::Result<()> {
        self.call(Kind::Other, |inner, id| {
            let len = usize::try_from(len).map_err(io::Error::other)?;
            inner.room_for(id, len)?;
            inner.file(id)?.change(Change::Resize(len));
            Ok(())
        })
    }

    fn call<T>(&self, kind: Kind, act: impl FnOnce(&mut Inner, u64) -> io::Result<T>) -> io::Result<T> {
        self.disk.call(kind, |inner| {
            inner.alive(self.boot)?;
            act(inner, self.id)
        })
    }
}

impl Inner {
    fn power_on(&mut self) {
        (self.off, self.cut_at, self.fail_at) = (false, None, None);
    }

    fn fate(&mut self, kind: Kind) -> io::Result<Fate> {
        if self.off {
            return Err(power_cut());
        }
        self.calls += 1;
        if self.cut_at == Some(self.calls) {
            self.off = true;
            self.failures.cuts += 1;
            return Ok(Fate::Cut);
        }
        if let Some((_, error)) = self.fail_at.filter(|(call, _)| *call == self.calls) {
            self.failures.ordered += 1;
            return Ok(Fate::Fails(error));
        }
        Ok(if self.fails_by_chance(kind) { Fate::Fails(io::ErrorKind::Other) } else { Fate::Works })
    }

    fn fails_by_chance(&mut self, kind: Kind) -> bool {
        let Some((weather, rng)) = &mut self.weather else { return false };
        let (often, count) = match kind {
            Kind::Read => (weather.read_errors, &mut self.failures.reads),
            Kind::Sync => (weather.sync_errors, &mut self.failures.syncs),
            Kind::Other => return false,
        };
        let fails = rng.chance(often);
        *count += u64::from(fails);
        fails
    }

    fn alive(&self, boot: u64) -> io::Result<()> {
        if boot == self.boot { Ok(()) } else { Err(io::Error::other("the file was opened before a crash")) }
    }

    fn file(&mut self, id: u64) -> io::Result<&mut File> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn make(&mut self, path: &Path) -> io::Result<u64> {
        self.next_id += 1;
        self.names.link(path, self.next_id)?;
        self.files.insert(self.next_id, File::default());
        Ok(self.next_id)
    }

    fn room_for(&mut self, id: u64, end: usize) -> io::Result<()> {
        let Some(capacity) = self.capacity else { return Ok(()) };
        let others: usize =
            self.files.iter().filter(|(other, _)| **other != id).map(|(_, file)| file.content().len()).sum();
        let own = self.files.get(&id).map_or(0, |file| file.content().len());
        let needed = others.saturating_add(own.max(end)) as u64;
        let full = end > own && needed > capacity;
        self.failures.full += u64::from(full);
        if full { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

fn power_cut() -> io::Error {
    io::Error::other("the power is cut")
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_owned).unwrap_or_default()
}

#[cfg(test)]
mod tests;
