//! The next segment, filled with zeros before it is needed.
//!
//! Writing over zeros that are on disk already needs no change of the file's metadata, so `fdatasync` has one write to
//! wait for instead of two or more. Filling a whole segment takes a quarter of a second, which is why a thread of its
//! own does it, once the segment before is half full. It never touches the directory: the log renames the file.
//! Should it fail (a full disk), nothing is lost but speed: it gives back what it took, and the log then grows its next
//! segment in steps and meets the error itself.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use super::Settings;
use crate::disk::{Create, Disk, DiskFile, is_no_room};

/// The file that becomes the next segment.
pub(super) const SPARE: &str = "spare.tmp";

/// Where the preparation stands.
#[derive(Debug, Default)]
pub(super) enum Spare {
    /// Not asked for.
    #[default]
    Idle,
    /// A thread is at it.
    Preparing(Preparation),
    /// It is there, filled and synced.
    Ready,
}

impl Spare {
    /// Sees to it that a spare is there in a while; at once when there are to be no threads.
    pub(super) fn request(&mut self, disk: &Arc<dyn Disk>, dir: &Path, settings: &Settings) {
        if !matches!(self, Self::Idle) {
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let work =
            Work { disk: disk.clone(), path: dir.join(SPARE), settings: *settings, stop: stop.clone() };
        if settings.background {
            let thread = std::thread::Builder::new().name("log-spare".to_owned());
            if let Ok(handle) = thread.spawn(move || work.run()) {
                *self = Self::Preparing(Preparation { handle: Some(handle), stop });
            }
        } else if work.run().is_ok() {
            *self = Self::Ready;
        }
    }

    /// Takes the spare if it is ready.
    pub(super) fn take(&mut self) -> bool {
        match std::mem::take(self) {
            Self::Idle => false,
            Self::Ready => true,
            Self::Preparing(mut thread) if thread.is_finished() => thread.join(),
            preparing @ Self::Preparing(_) => {
                *self = preparing;
                false
            }
        }
    }
}

/// The thread at it.
#[derive(Debug)]
pub(super) struct Preparation {
    handle: Option<JoinHandle<io::Result<()>>>,
    stop: Arc<AtomicBool>,
}

impl Preparation {
    fn is_finished(&self) -> bool {
        self.handle.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it; whether the spare is there.
    fn join(&mut self) -> bool {
        self.handle.take().is_some_and(|handle| matches!(handle.join(), Ok(Ok(()))))
    }
}

impl Drop for Preparation {
    /// Waits for the thread, so that nobody writes into the directory once the log is closed.
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.join();
    }
}

struct Work {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    settings: Settings,
    stop: Arc<AtomicBool>,
}

impl Work {
    /// Fills the file in steps, each synced, so that the log's own syncs never wait behind all of it.
    fn run(&self) -> io::Result<()> {
        let file = self.disk.open(&self.path, Create::IfAbsent)?;
        file.set_len(0)?;
        let filled = self.fill(file.as_ref());
        if filled.as_ref().is_err_and(is_no_room) {
            // The log itself needs the room more.
            file.set_len(0)?;
        }
        filled
    }

    fn fill(&self, file: &dyn DiskFile) -> io::Result<()> {
        let zeros = vec![0; usize::try_from(self.settings.chunk_bytes).map_err(io::Error::other)?];
        let mut filled = 0;
        while filled < self.settings.segment_bytes {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let step = self.settings.chunk_bytes.min(self.settings.segment_bytes - filled);
            file.write_all_at(&zeros[..usize::try_from(step).map_err(io::Error::other)?], filled)?;
            file.sync_data()?;
            filled += step;
        }
        Ok(())
    }
}
