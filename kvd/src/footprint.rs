//! How much disk a node takes, and how much is left.
//!
//! The numbers come from the file system, which may be slow and may hang, so who asks for the node's status never looks there:
//! a thread does, once in [`EVERY`], and what it found last is what is told. A file system that hangs keeps that thread, and
//! the numbers stay what they were.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    time::Duration,
};

use crate::driver;

/// How old the numbers become.
const EVERY: Duration = Duration::from_secs(1);

/// What was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Bytes of the node's files.
    pub(crate) used: u64,
    /// What is free for the node on the fuller of its file systems.
    pub(crate) free: u64,
    /// The size of that one.
    pub(crate) size: u64,
}

impl Taken {
    fn of(directories: &[PathBuf]) -> Self {
        let used = directories.iter().map(|directory| used(directory)).sum();
        let (free, size) = room(directories);
        Self { used, free, size }
    }
}

/// The numbers of a node; the thread ends with it.
pub(crate) struct Footprint {
    last: Arc<Mutex<Taken>>,
    _end: mpsc::Sender<()>,
}

impl Footprint {
    /// Of the files in these directories.
    pub(crate) fn of(directories: Vec<PathBuf>) -> io::Result<Self> {
        Self::follow(EVERY, move || Taken::of(&directories))
    }

    /// Takes the numbers once before anybody can ask, and then again and again.
    fn follow(every: Duration, take: impl Fn() -> Taken + Send + 'static) -> io::Result<Self> {
        let last = Arc::new(Mutex::new(take()));
        let (end, ended) = mpsc::channel::<()>();
        let published = Arc::clone(&last);
        driver::spawn("footprint", move || {
            while matches!(ended.recv_timeout(every), Err(mpsc::RecvTimeoutError::Timeout)) {
                // Not under the lock: whoever asks does not wait for the disk.
                let taken = take();
                *published.lock().unwrap_or_else(PoisonError::into_inner) = taken;
            }
        })?;
        Ok(Self { last, _end: end })
    }

    /// What was found last.
    pub(crate) fn last(&self) -> Taken {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is free on the fuller of the file systems of these directories, and the size of that one; zeros where the operating
/// system does not say.
fn room(directories: &[PathBuf]) -> (u64, u64) {
    let rooms = directories.iter().filter_map(|directory| {
        let found = rustix::fs::statvfs(directory).ok()?;
        let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
        Some((bytes(found.f_bavail), bytes(found.f_blocks)))
    });
    rooms.min_by_key(|(free, _)| *free).unwrap_or_default()
}

/// Bytes of the files directly in a directory.
pub(crate) fn used(directory: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(directory) else { return 0 };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn who_asks_waits_for_no_disk() {
        let (look, looks) = mpsc::channel();
        let (answer, hangs) = mpsc::channel();
        answer.send(7).unwrap();
        let footprint = Footprint::follow(Duration::from_millis(1), move || {
            let _ = look.send(std::thread::current().id());
            // A disk that hangs does not do so for ever here, so that what waits for it fails and does not hang as well.
            let used = hangs.recv_timeout(LONG).unwrap_or_default();
            Taken { used, ..Taken::default() }
        });
        let footprint = footprint.unwrap();
        let first = looks.recv_timeout(LONG).unwrap();
        let second = looks.recv_timeout(LONG).unwrap();
        assert!(first == std::thread::current().id() && second != first, "only the first is waited for");
        for _ in 0..1_000 {
            assert_eq!(footprint.last().used, 7, "it hangs, and what was found last is told");
        }
        assert!(looks.try_recv().is_err(), "nobody looked a third time");
        answer.send(8).unwrap();
        // It looks again only after it has told what it found.
        looks.recv_timeout(LONG).unwrap();
        assert_eq!(footprint.last().used, 8);
        drop(footprint);
        answer.send(9).unwrap();
        assert!(looks.recv_timeout(LONG).is_err(), "the thread ends with it");
    }

    #[test]
    fn files_count_and_their_file_system_has_room() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join("a"), [0; 100]).unwrap();
        std::fs::write(home.path().join("b"), [0; 23]).unwrap();
        let taken = Taken::of(&[home.path().to_owned()]);
        assert_eq!(taken.used, 123);
        assert!(taken.size > 0 && taken.free <= taken.size);
        assert_eq!(Taken::of(&[home.path().join("none")]), Taken::default());
    }
}
