//! What happened to this node, for people: elections and their reasons, a disk that was slow, starts and stops. The last
//! [`EVENTS`] are in memory, and in a file of the data directory, so that they outlast the process.
//!
//! ```text
//!  who notices ── note ──► ring in memory ──► who asks (no quorum, no turn of the loop)
//!                              └── line ──► thread ──► events.ndjson, made anew when it is twice as long as the ring
//! ```
//!
//! Each node keeps its own, and whoever looks lays them side by side. They are not in the replicated state: what is worth
//! knowing happens when there is no leader, and then nothing can be replicated. Nothing depends on the journal. It is never
//! waited for: what cannot be written is only in memory, and the file is not synced.
//!
//! A node that flaps does not flood it: beyond [`BURST`] in a minute events are counted and not kept, which the next one says.

use std::{
    collections::VecDeque,
    fmt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use protocol::{
    events::Event,
    limits::{EVENT_BYTES, EVENT_KIND_BYTES, EVENTS},
};

use crate::{bootstrap::files::create_private_dir, driver};

pub(crate) mod elections;
mod file;
pub(crate) mod membership;

/// Most events of a minute.
const BURST: u32 = 60;
const MINUTE: Duration = Duration::from_mins(1);
/// Most lines that wait for the thread.
const QUEUE: usize = 256;
/// A write of the log that took so long is worth a word.
const SLOW: Duration = Duration::from_millis(500);
/// So often is one said to have been slow.
const SLOW_AGAIN: Duration = Duration::from_secs(10);
/// How long the last lines may take when the node stops.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The journal of a node.
#[derive(Default)]
pub(crate) struct Journal(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    ring: VecDeque<Event>,
    last: u64,
    term: u64,
    /// When the minute began, and how many were noted in it.
    minute: Option<(Instant, u32)>,
    left_out: u64,
    /// When it was last said that the disk was slow, and how often it was since.
    slow: Option<(Instant, u32)>,
    lines: Option<(mpsc::SyncSender<Event>, std::thread::JoinHandle<()>)>,
}

impl Journal {
    /// Goes on with what an earlier process wrote in this directory, and writes there from now on. Where that cannot be, the
    /// journal is in memory alone.
    pub(crate) fn keep_in(&self, data: &Path) {
        let file = create_private_dir(data).and_then(|()| file::Lines::open(data));
        let mut file = match file {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(%error, "events are kept in memory only");
                return;
            }
        };
        let mut inner = self.inner();
        inner.ring = file.take_read();
        inner.last = inner.ring.back().map_or(0, |event| event.number);
        let (sender, queue) = mpsc::sync_channel::<Event>(QUEUE);
        let thread = driver::spawn("events", move || {
            for event in queue {
                if let Err(error) = file.append(event) {
                    tracing::warn!(%error, "an event is in memory only, until the file can be written again");
                }
            }
        });
        match thread {
            Ok(thread) => inner.lines = Some((sender, thread)),
            Err(error) => tracing::warn!(%error, "events are kept in memory only"),
        }
    }

    /// Something happened in this term, or in the last one that was named.
    pub(crate) fn note(
        &self,
        kind: &str,
        term: Option<u64>,
        took: Option<Duration>,
        what: impl fmt::Display,
    ) {
        let mut inner = self.inner();
        inner.term = term.unwrap_or(inner.term);
        if !inner.is_in_time(Instant::now()) {
            return;
        }
        let mut what = what.to_string();
        if inner.left_out > 0 {
            what = format!("{what} ({} events before it were left out)", std::mem::take(&mut inner.left_out));
        }
        cut(&mut what, EVENT_BYTES);
        let mut kind = kind.to_owned();
        cut(&mut kind, EVENT_KIND_BYTES);
        inner.last = inner.last.saturating_add(1);
        let took_ms = took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
        let event = Event { number: inner.last, wall_ms: wall_ms(), kind, term: inner.term, took_ms, what };
        if let Some((lines, _)) = &inner.lines {
            // A disk that hangs keeps the thread, and nobody else.
            let _ = lines.try_send(event.clone());
        }
        if inner.ring.len() >= EVENTS {
            inner.ring.pop_front();
        }
        inner.ring.push_back(event);
    }

    /// The log's write with its sync took so long.
    pub(crate) fn synced(&self, took: Duration) {
        if took < SLOW {
            return;
        }
        let also = {
            let mut inner = self.inner();
            match &mut inner.slow {
                Some((said, also)) if said.elapsed() < SLOW_AGAIN => {
                    *also = also.saturating_add(1);
                    return;
                }
                slow => slow.replace((Instant::now(), 0)).map_or(0, |(_, also)| also),
            }
        };
        let seconds = took.as_secs_f64();
        let also =
            if also > 0 { format!(", and {also} times since the last was told") } else { String::new() };
        self.note(
            "slow-disk",
            None,
            Some(took),
            format_args!("a write of the log took {seconds:.1} s{also}"),
        );
    }

    /// All that happened from this moment on, in the order of their numbers.
    pub(crate) fn since(&self, wall_ms: u64) -> Vec<Event> {
        self.inner().ring.iter().filter(|event| event.wall_ms >= wall_ms).cloned().collect()
    }

    /// The process is about to end: what was noted is written, if the disk lets it.
    pub(crate) fn end(&self) {
        let Some((lines, thread)) = self.inner().lines.take() else { return };
        drop(lines);
        let until = Instant::now() + LAST_LINES;
        while !thread.is_finished() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether there is room for one more in this minute; if not, it is counted.
    fn is_in_time(&mut self, now: Instant) -> bool {
        let (began, count) =
            self.minute.filter(|(began, _)| now.duration_since(*began) < MINUTE).unwrap_or((now, 0));
        self.minute = Some((began, count.saturating_add(1)));
        if count >= BURST {
            self.left_out = self.left_out.saturating_add(1);
        }
        count < BURST
    }
}

fn wall_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

/// Makes a text fit, at a character's end.
fn cut(text: &mut String, most: usize) {
    let end = text.floor_char_boundary(most);
    text.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(journal: &Journal) -> Vec<u64> {
        journal.since(0).iter().map(|event| event.number).collect()
    }

    /// As if this minute had just begun.
    fn note(journal: &Journal, what: &str) {
        journal.inner().minute = None;
        journal.note("start", Some(3), None, what);
    }

    #[test]
    fn the_last_ones_are_kept() {
        let journal = Journal::default();
        for _ in 0..=EVENTS {
            note(&journal, "x");
        }
        let kept = numbers(&journal);
        assert_eq!((kept.len(), kept[0], kept[EVENTS - 1]), (EVENTS, 2, EVENTS as u64 + 1));
        assert!(journal.since(u64::MAX).is_empty());
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let journal = Journal::default();
        for _ in 0..BURST + 5 {
            journal.note("election", Some(1), None, "again");
        }
        assert_eq!(journal.since(0).len(), BURST as usize);
        journal.inner().minute = None;
        journal.note("election", Some(2), None, "at last");
        assert_eq!(journal.since(0).last().unwrap().what, "at last (5 events before it were left out)");
    }

    #[test]
    fn a_text_is_bounded_at_a_character() {
        let journal = Journal::default();
        note(&journal, &"ä".repeat(EVENT_BYTES));
        let what = &journal.since(0)[0].what;
        assert!(what.len() <= EVENT_BYTES && what.len() + 2 > EVENT_BYTES && what.ends_with('ä'));
    }

    #[test]
    fn a_slow_disk_is_told_now_and_then() {
        let journal = Journal::default();
        journal.synced(SLOW.checked_sub(Duration::from_millis(1)).unwrap());
        assert!(journal.since(0).is_empty());
        for _ in 0..3 {
            journal.synced(Duration::from_millis(1400));
        }
        let told = journal.since(0);
        assert_eq!((told.len(), told[0].what.as_str()), (1, "a write of the log took 1.4 s"));
        assert_eq!(told[0].took_ms, Some(1400));
        let long_ago = Instant::now().checked_sub(SLOW_AGAIN).unwrap();
        journal.inner().slow = Some((long_ago, 2));
        journal.synced(Duration::from_millis(1400));
        assert!(journal.since(0)[1].what.ends_with("and 2 times since the last was told"));
    }

    #[test]
    fn it_outlasts_the_process() {
        let home = tempfile::tempdir().unwrap();
        let first = Journal::default();
        first.keep_in(home.path());
        note(&first, "one");
        note(&first, "two");
        first.end();
        let second = Journal::default();
        second.keep_in(home.path());
        note(&second, "three");
        let whats: Vec<String> = second.since(0).into_iter().map(|event| event.what).collect();
        assert_eq!(
            (whats, numbers(&second)),
            (vec!["one".into(), "two".into(), "three".into()], vec![1, 2, 3])
        );
        let nowhere = Journal::default();
        std::fs::write(home.path().join("file"), "").unwrap();
        nowhere.keep_in(&home.path().join("file/there"));
        note(&nowhere, "all the same");
        assert_eq!(nowhere.since(0).len(), 1);
    }
}
