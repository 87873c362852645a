//! The file of the journal: a line of JSON each. What is no event is skipped when it is read: a process that died may have
//! left half a line, and who looks at events is helped by the rest.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use protocol::{
    events::Event,
    limits::{EVENT_BYTES, EVENTS},
};
use serde::{Deserialize, Serialize};

/// Its name in the data directory.
const NAME: &str = "events.ndjson";
/// Most bytes of a line: each byte of a text may take six in JSON.
const LINE_BYTES: usize = 6 * EVENT_BYTES + 1024;
/// Most bytes that are read: more than are ever written.
const FILE_BYTES: u64 = (2 * EVENTS * LINE_BYTES) as u64;

/// An event as a line.
#[derive(Serialize, Deserialize)]
struct Line {
    number: u64,
    wall_ms: u64,
    kind: String,
    term: u64,
    took_ms: Option<u64>,
    what: String,
}

/// The file, and what should be in it.
pub(super) struct Lines {
    path: PathBuf,
    /// `None` while what is in it is not what should be.
    file: Option<File>,
    /// How many lines it has.
    count: usize,
    recent: VecDeque<Event>,
}

impl Lines {
    /// Reads what is there. The file is made by the first event.
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let path = data.join(NAME);
        let mut bytes = Vec::new();
        match File::open(&path) {
            Ok(file) => _ = file.take(FILE_BYTES).read_to_end(&mut bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let lines = bytes.split(|byte| *byte == b'\n');
        let mut recent: VecDeque<Event> = lines.filter_map(read).collect();
        recent.drain(..recent.len().saturating_sub(EVENTS));
        // Half a line, or too many: either way it is made anew before a line is added.
        Ok(Self { path, file: None, count: 0, recent })
    }

    /// The events that were there.
    pub(super) fn take_read(&self) -> VecDeque<Event> {
        self.recent.clone()
    }

    /// Adds one, and makes the file anew once half of it is of no use. A write that failed may have left part of a line, so
    /// the next event makes it anew as well; until that succeeds the file stays as it was, and nothing of the ring is lost.
    pub(super) fn append(&mut self, event: Event) -> io::Result<()> {
        if self.recent.len() >= EVENTS {
            self.recent.pop_front();
        }
        self.recent.push_back(event.clone());
        let Some(mut file) = self.file.take_if(|_| self.count < 2 * EVENTS) else { return self.anew() };
        file.write_all(&line(event))?;
        self.count = self.count.saturating_add(1);
        self.file = Some(file);
        Ok(())
    }

    fn anew(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("tmp");
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        let bytes: Vec<u8> = self.recent.iter().cloned().flat_map(line).collect();
        file.write_all(&bytes)?;
        std::fs::rename(&beside, &self.path)?;
        (self.file, self.count) = (Some(file), self.recent.len());
        Ok(())
    }
}

fn read(line: &[u8]) -> Option<Event> {
    let Line { number, wall_ms, kind, term, took_ms, what } = serde_json::from_slice(line).ok()?;
    let event = Event { number, wall_ms, kind, term, took_ms, what };
    (event.what.len() <= EVENT_BYTES && event.kind.len() <= EVENT_BYTES).then_some(event)
}

fn line(Event { number, wall_ms, kind, term, took_ms, what }: Event) -> Vec<u8> {
    let line = Line { number, wall_ms, kind, term, took_ms, what };
    // Numbers and texts are always JSON.
    let mut bytes = serde_json::to_vec(&line).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(number: u64) -> Event {
        Event { number, kind: "start".into(), what: "\"\n".into(), ..Event::default() }
    }

    fn read_back(home: &Path) -> Vec<u64> {
        Lines::open(home).unwrap().take_read().iter().map(|event| event.number).collect()
    }

    #[test]
    fn half_a_line_is_skipped_and_does_not_spoil_the_next() {
        let home = tempfile::tempdir().unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        lines.append(event(1)).unwrap();
        let mut half = line(event(2));
        half.truncate(9);
        lines.file.as_mut().unwrap().write_all(&half).unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        lines.append(event(3)).unwrap();
        assert_eq!(read_back(home.path()), [1, 3]);
        assert_eq!(lines.take_read()[1], event(3));
    }

    #[test]
    fn a_full_disk_costs_no_event_that_is_kept() {
        let home = tempfile::tempdir().unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        lines.append(event(1)).unwrap();
        lines.append(event(2)).unwrap();
        // It cannot be made anew, as where there is no room.
        let beside = home.path().join(NAME).with_extension("tmp");
        std::fs::create_dir(&beside).unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        assert_eq!(lines.take_read().len(), 2, "what was there is read all the same");
        assert!(lines.append(event(3)).is_err());
        assert_eq!(read_back(home.path()), [1, 2], "and stays there");
        std::fs::remove_dir(&beside).unwrap();
        lines.append(event(4)).unwrap();
        assert_eq!(read_back(home.path()), [1, 2, 3, 4]);
    }

    #[test]
    fn after_a_write_that_failed_half_way_the_file_is_made_anew() {
        let home = tempfile::tempdir().unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        lines.append(event(1)).unwrap();
        let mut half = line(event(2));
        half.truncate(9);
        lines.file.as_mut().unwrap().write_all(&half).unwrap();
        // What is open for reading only cannot be written.
        lines.file = Some(File::open(home.path().join(NAME)).unwrap());
        assert!(lines.append(event(2)).is_err());
        lines.append(event(3)).unwrap();
        assert_eq!(read_back(home.path()), [1, 2, 3]);
    }

    #[test]
    fn the_file_is_bounded() {
        let home = tempfile::tempdir().unwrap();
        let mut lines = Lines::open(home.path()).unwrap();
        let mut most = 0;
        for number in 1..=5 * EVENTS as u64 {
            lines.append(event(number)).unwrap();
            most = most.max(lines.count);
        }
        assert_eq!(most, 2 * EVENTS);
        let kept = read_back(home.path());
        assert_eq!((kept.len(), kept[EVENTS - 1]), (EVENTS, 5 * EVENTS as u64));
    }
}
