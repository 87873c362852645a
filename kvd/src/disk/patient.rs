//! A disk on which one thread waits for room.
//!
//! The store cannot be told that there is none: a commit that fails leaves it unusable until it is opened again, and with it every
//! view that somebody reads from. But whoever writes it has a thread of its own and time: until the commit is done its rows
//! are read from memory, and they are in the log. So a write of that thread which finds no room is tried again until it finds
//! some, and the node is told. Nothing is synced meanwhile, and a sync that fails, for want of room or anything else, is never
//! tried again.
//!
//! Other threads hear at once that there is no room: the log has its own way to wait, and a state that comes in is sent again.

use std::{
    io,
    path::Path,
    sync::{Arc, OnceLock},
    thread::ThreadId,
    time::Duration,
};

use super::{Create, Disk, DiskFile, is_no_room};

/// How long it waits between two tries.
const PAUSE: Duration = Duration::from_millis(100);

/// What is told of waiting: whether it has begun or is over.
type Teller = Box<dyn Fn(bool) + Send + Sync>;

/// Who waits, and who hears of it.
#[derive(Default)]
pub struct Patience(OnceLock<(ThreadId, Teller)>);

impl Patience {
    /// The calling thread waits from now on; the first one that says so.
    pub(crate) fn wait_here(&self, tell: impl Fn(bool) + Send + Sync + 'static) {
        let _ = self.0.set((std::thread::current().id(), Box::new(tell)));
    }

    /// Tries until there is room, or once where nobody waits.
    fn until_room(&self, mut work: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let mut result = work();
        if !result.as_ref().is_err_and(is_no_room) {
            return result;
        }
        let mine = |(thread, _): &&(ThreadId, Teller)| *thread == std::thread::current().id();
        let Some((_, tell)) = self.0.get().filter(mine) else { return result };
        tell(true);
        while result.as_ref().is_err_and(is_no_room) {
            std::thread::sleep(PAUSE);
            result = work();
        }
        tell(false);
        result
    }
}

/// See the module.
pub struct PatientDisk {
    under: Arc<dyn Disk>,
    patience: Arc<Patience>,
}

impl PatientDisk {
    /// Over another disk; nobody waits yet.
    pub fn new(under: Arc<dyn Disk>) -> (Self, Arc<Patience>) {
        let patience = Arc::<Patience>::default();
        (Self { under, patience: Arc::clone(&patience) }, patience)
    }
}

impl Disk for PatientDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.under.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.under.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.under.exists(path)
    }

    fn open(&self, path: &Path, create: Create) -> io::Result<Box<dyn DiskFile>> {
        let under = self.under.open(path, create)?;
        Ok(Box::new(PatientFile { under, patience: Arc::clone(&self.patience) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.under.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.under.sync_dir(dir)
    }
}

struct PatientFile {
    under: Box<dyn DiskFile>,
    patience: Arc<Patience>,
}

impl DiskFile for PatientFile {
    fn len(&self) -> io::Result<u64> {
        self.under.len()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.under.read_exact_at(buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.patience.until_room(|| self.under.write_all_at(bytes, offset))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.under.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.patience.until_room(|| self.under.set_len(len))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    /// Fails so many times for want of room, then works.
    fn fails(times: u32) -> impl FnMut() -> io::Result<()> {
        let left = AtomicU32::new(times);
        move || {
            let fails = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
            if fails.is_ok() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    #[test]
    fn one_thread_waits_and_says_so_and_others_hear_at_once() {
        let patience = Patience::default();
        assert!(patience.until_room(fails(1)).is_err(), "nobody waits yet");
        let told = Arc::new(Mutex::new(Vec::new()));
        let teller = Arc::clone(&told);
        patience.wait_here(move |full| teller.lock().unwrap().push(full));
        patience.until_room(fails(2)).unwrap();
        assert_eq!(*told.lock().unwrap(), [true, false]);
        let elsewhere = std::thread::scope(|scope| scope.spawn(|| patience.until_room(fails(1))).join());
        assert!(elsewhere.unwrap().is_err());
        let other = patience.until_room(|| Err(io::ErrorKind::PermissionDenied.into()));
        assert_eq!(other.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(told.lock().unwrap().len(), 2, "nothing else was told");
    }
}
