//! Segment files: their names, how one is begun, and reading them.
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

use std::{io, path::Path, sync::Arc};

use super::{
    LogError, Settings,
    error::{io, room},
    record::{Header, SECTOR},
    spare::SPARE,
};
use crate::{
    disk::{Create, Disk, DiskFile},
    instruments::{Mark, Mutant, mark, mutant},
};

/// A segment that is being made, when no spare was ready.
pub(super) const FRESH: &str = "fresh.tmp";
/// Least bytes read at once while scanning.
const WINDOW: u64 = 256 * 1024;

/// The file of a segment.
pub(super) fn name(sequence: u64) -> String {
    format!("{sequence:016x}.log")
}

/// The sequence in a segment's name.
pub(super) fn parse(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log").filter(|digits| digits.len() == 16)?;
    let sequence = u64::from_str_radix(digits, 16).ok()?;
    // One spelling: what `0000…A.log` or `+000…a.log` may be, it is no file of ours.
    (name == self::name(sequence)).then_some(sequence)
}

/// The segment that is being written.
pub(super) struct Active {
    pub(super) header: Header,
    pub(super) file: Box<dyn DiskFile>,
    /// Where the next batch goes.
    pub(super) at: u64,
    /// Length of the file, all of it filled.
    pub(super) filled: u64,
}

impl Active {
    /// Begins a segment, in the spare if there is one. Its name becomes durable only after its header.
    pub(super) fn begin(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        settings: &Settings,
        header: Header,
        spare: bool,
    ) -> Result<Self, LogError> {
        let temporary = if spare { SPARE } else { FRESH };
        let file = disk.open(&dir.join(temporary), Create::IfAbsent).map_err(room("open", temporary))?;
        let mut bytes = header.encode();
        if !spare {
            file.set_len(0).map_err(io("empty", temporary))?;
            let chunk = settings.chunk_bytes.min(settings.segment_bytes);
            bytes.resize(usize::try_from(chunk).unwrap_or(SECTOR), 0);
        }
        file.write_all_at(&bytes, 0).map_err(room("write", temporary))?;
        if !mutant(Mutant::LogNamesUnsynced) {
            file.sync_data().map_err(io("sync", temporary))?;
        }
        let filled = file.len().map_err(io("measure", temporary))?;
        let name = name(header.sequence);
        disk.rename(&dir.join(temporary), &dir.join(&name)).map_err(room("rename", temporary))?;
        if !mutant(Mutant::LogSkipsDirectory) {
            disk.sync_dir(dir).map_err(io("sync the directory of", name))?;
        }
        Ok(Self { header, file, at: SECTOR as u64, filled })
    }

    /// Writes `bytes` where the next batch goes.
    pub(super) fn write(&mut self, bytes: &[u8], settings: &Settings) -> Result<(), LogError> {
        self.grow(self.at.saturating_add(bytes.len() as u64), settings)?;
        self.file.write_all_at(bytes, self.at).map_err(room("write", name(self.header.sequence)))
    }

    /// Makes all that was written durable.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        if mutant(Mutant::LogSkipsSync) {
            return Ok(());
        }
        let synced = self.file.sync_data();
        if synced.is_err() {
            mark(Mark::LogSyncFailed);
        }
        let synced = match synced {
            Err(_) if mutant(Mutant::LogIgnoresFailedSync) => Ok(()),
            Err(_) if mutant(Mutant::LogRetriesSync) => self.file.sync_data(),
            synced => synced,
        };
        synced.map_err(io("sync", name(self.header.sequence)))
    }

    /// Fills the file with zeros at least up to `end`. The sync of the batch that needs the room covers it.
    fn grow(&mut self, end: u64, settings: &Settings) -> Result<(), LogError> {
        if end <= self.filled {
            return Ok(());
        }
        let target = end.next_multiple_of(settings.chunk_bytes).min(settings.segment_bytes).max(end);
        let zeros = vec![0; usize::try_from(target.saturating_sub(self.filled)).unwrap_or(SECTOR)];
        self.file.write_all_at(&zeros, self.filled).map_err(room("grow", name(self.header.sequence)))?;
        self.filled = target;
        Ok(())
    }
}

/// Reads a file forward through a window.
pub(super) struct Reader<'a> {
    file: &'a dyn DiskFile,
    len: u64,
    start: u64,
    window: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a dyn DiskFile) -> io::Result<Self> {
        Ok(Self { file, len: file.len()?, start: 0, window: Vec::new() })
    }

    /// Length of the file.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// `count` bytes at `at`; nothing when the file ends before.
    pub(super) fn get(&mut self, at: u64, count: u64) -> io::Result<Option<&[u8]>> {
        let Some(end) = at.checked_add(count).filter(|end| *end <= self.len) else { return Ok(None) };
        if at < self.start || end > self.start.saturating_add(self.window.len() as u64) {
            let bytes = count.max(WINDOW).min(self.len.saturating_sub(at));
            self.window.resize(usize::try_from(bytes).map_err(io::Error::other)?, 0);
            self.start = at;
            if let Err(error) = self.file.read_exact_at(&mut self.window, at) {
                self.window.clear();
                return Err(error);
            }
        }
        // Within the window, whose length is a usize.
        #[allow(clippy::cast_possible_truncation)]
        let (from, count) = (at.saturating_sub(self.start) as usize, count as usize);
        Ok(self.window.get(from..).and_then(|window| window.get(..count)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_has_one_name() {
        for sequence in [0, 1, 10, u64::MAX] {
            assert_eq!(parse(&name(sequence)), Some(sequence));
        }
        for wrong in ["000000000000000A.log", "+00000000000000a.log", "a.log", "000000000000000a.tmp"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
