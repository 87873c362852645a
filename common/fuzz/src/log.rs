//! The log: a directory of segments that may hold anything, opened as a node does at its start.
//!
//! ```text
//! input    what to mend u8 │ applied index u8 │ applied term u8 │ piece │ piece │ …
//! piece    length u16 │ so many bytes, put at the next sector      0xffff: the next segment begins
//! ```
//!
//! The first piece of a segment is where its header stands, each other one where a batch does. See [`Mend`] for what
//! may be mended before the log sees it.
//!
//! Whatever is there, the log opens or says why not. Where it finds damage it changes nothing. What it opened it can
//! read, and it opens again as the same; so it does after more was written to it.

use std::{path::Path, sync::Arc};

use kvd::log::{Log, LogError, Recovered, Settings};
use raft::{Entry, HardState, Index, NodeId, Payload, Persist, Position, Term, Ticket};

use crate::{
    disk::Memory,
    input::Input,
    mend::{APPLIED, HIGHEST, Mend, word},
};

const DIR: &str = "/log";
const SECTOR: usize = 512;
/// Longest piece: a batch of four sectors.
const PIECE: u16 = 2048;
/// Numbers above this are near the bound that the log refuses, so nothing is appended to them.
const FAR: u64 = 1 << 60;

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let (Some(what), Some(index), Some(term)) = (input.byte(), input.byte(), input.byte()) else { return };
    let mut mend = Mend::new(what);
    let segments = segments(&mut input, &mut mend);
    let applied = if mend.asks(APPLIED) { mend.last } else { Position::new(index.into(), term.into()) };
    let disk = Memory::default();
    let mut far = mend.asks(HIGHEST);
    for (at, segment) in segments.iter().enumerate() {
        disk.put(&Path::new(DIR).join(mend.name(at)), segment.clone());
        far |= segment.get(32..40).is_some_and(|first| word(first) >= FAR);
    }
    check(&disk, applied, far);
}

fn segments(input: &mut Input<'_>, mend: &mut Mend) -> Vec<Vec<u8>> {
    let mut segments = vec![Vec::new()];
    while let Some(length) = input.short() {
        if length == u16::MAX {
            segments.push(Vec::new());
            continue;
        }
        let mut piece = input.bytes(usize::from(length % (PIECE + 1))).to_vec();
        let sequence = segments.len();
        if let Some(segment) = segments.last_mut() {
            if segment.is_empty() {
                mend.header(&mut piece, sequence - 1);
            } else {
                mend.batch(&mut piece);
            }
            piece.resize(piece.len().next_multiple_of(SECTOR).max(SECTOR), 0);
            segment.append(&mut piece);
        }
    }
    segments
}

fn settings() -> Settings {
    Settings { segment_bytes: 4096, chunk_bytes: 512, batch_bytes: 1024, background: false, seed: 7 }
}

fn open(disk: &Memory, applied: Position) -> Result<(Log, Recovered), LogError> {
    Log::open_with(Arc::new(disk.clone()), Path::new(DIR), applied, settings())
}

fn check(disk: &Memory, applied: Position, far: bool) {
    let before = disk.content();
    match open(disk, applied) {
        Ok((log, found)) => {
            consistent(&log, &found);
            drop(log);
            assert_eq!(reopened(disk, applied), found, "opening it changed what it says");
            if !far && found.last.index.0 < FAR && found.hard.term.0 < FAR && found.last.term.0 < FAR {
                continued(disk, &found);
            }
        }
        Err(error) => {
            assert_ne!(error.to_string(), "");
            if matches!(error, LogError::Damaged { .. } | LogError::Missing { .. } | LogError::Format { .. })
            {
                assert!(disk.content() == before, "where there is damage nothing is changed");
            }
        }
    }
}

fn reopened(disk: &Memory, applied: Position) -> Recovered {
    let (log, found) = open(disk, applied).expect("what was opened opens again");
    consistent(&log, &found);
    found
}

/// What was found follows `base` without a hole, and can be read back.
fn consistent(log: &Log, found: &Recovered) {
    let mut last = found.base;
    for entry in &found.entries {
        assert_eq!(entry.position.index.0, last.index.0 + 1);
        last = entry.position;
    }
    assert_eq!((last, log.last(), log.discarded()), (found.last, found.last, found.discarded));
    if found.discarded.index < found.last.index {
        let (first, to) = (found.discarded.index.next(), found.last.index);
        let (previous, entries) = log.read(first, to, usize::MAX).expect("what is in the log can be read");
        assert_eq!((previous, entries.len() as u64), (found.discarded, to.0 - found.discarded.index.0));
        assert!(entries.ends_with(&found.entries), "what is read is what was found");
        for (at, entry) in entries.iter().enumerate() {
            let from = entry.position.index;
            let (_, one) = log.read(from, to, 1).expect("each entry can be read");
            assert_eq!(one, std::slice::from_ref(entry), "one entry always fits, and is the one asked for");
            let (_, rest) = log.read(from, to, usize::MAX).expect("the rest can be read");
            assert_eq!(rest, entries[at..], "reading begins anywhere");
        }
    }
}

/// Writes on, as a node would, and opens again.
fn continued(disk: &Memory, found: &Recovered) {
    let term = found.hard.term.max(found.last.term).max(Term(1));
    let hard = HardState { term, vote: Some(NodeId(1)) };
    let entry = |index: u64, size: usize| Entry {
        position: Position { index: Index(index), term },
        payload: Payload::Command(vec![7; size].into()),
    };
    let next = found.last.index.0 + 1;
    let written: Vec<Entry> = (0..4).map(|step| entry(next + step, 700)).collect();
    let (mut log, _) = open(disk, found.base).expect("it opened before");
    let persist = Persist { ticket: Ticket(1), hard: Some(hard), restart: None, entries: written.clone() };
    log.write(&[persist]).expect("a disk in memory takes everything");
    log.settle().expect("a disk in memory takes everything");
    drop(log);
    let mut expected = found.clone();
    expected.hard = hard;
    expected.entries.extend(written.iter().cloned());
    expected.last = written.last().map_or(found.last, |entry| entry.position);
    assert_eq!(reopened(disk, found.base), expected, "what was written is there");

    // The last two are replaced by one.
    let (mut log, _) = open(disk, found.base).expect("it opened before");
    let replaced = entry(next + 2, 1);
    let persist = Persist { ticket: Ticket(1), hard: None, restart: None, entries: vec![replaced.clone()] };
    log.write(&[persist]).expect("a disk in memory takes everything");
    log.discard_to(found.base.index).expect("a disk in memory removes everything");
    expected.discarded = log.discarded();
    drop(log);
    expected.last = replaced.position;
    expected.entries.truncate(expected.entries.len() - 2);
    expected.entries.push(replaced);
    assert_eq!(reopened(disk, found.base), expected, "what was replaced stays replaced");
}
