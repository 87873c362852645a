//! Power cuts at every disk call of the state's life: making the store, opening it, flushing, flushing with growth,
//! closing, and opening again after a cut.
//!
//! Whatever survives, the reopened state must be exactly the state at some applied index between the last finished
//! flush and the last begun one, and applying the rest of the log must lead to the state of a node that never
//! failed, request memory included.

#![allow(clippy::unwrap_used, reason = "the helpers of a test")]

use std::{collections::BTreeMap, path::Path, sync::Arc};

use kvd::{
    disk::Disk,
    state::{Outcome, State, StateError, StateLimits, WriteOutcome, view::PageLimits},
};
use protocol::{
    ClusterId, Command, Condition, KeyRange, Operation, Refused, RequestId, Restore, Scan, ScanFrame,
    Transaction, history::WindowChange, operation::Action, response::Found,
};
use raft::{Entry, Payload, Position};
use testkit::disk::SimDisk;

#[path = "support/sim.rs"]
mod sim;
use sim::Sim;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const MEMORY: usize = 12;
const KEYS: u64 = 9;

/// A disk with the node's directory, which the start has made durable before the state is opened.
fn made() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/state")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn open(disk: &SimDisk) -> Result<State, StateError> {
    let limits = StateLimits { cache_bytes: 1024 * 1024, request_ids: MEMORY, ..StateLimits::default() };
    let disk: Arc<dyn Disk> = Arc::new(Sim(disk.clone()));
    State::open(disk, Path::new("/state"), CLUSTER, limits)
}

fn key(n: u64) -> Vec<u8> {
    format!("key {}", n % KEYS).into_bytes()
}

fn operation(index: u64, value_bytes: usize) -> Operation {
    let key = key(index * 5);
    if index % 4 == 3 {
        return Operation::Delete { key };
    }
    let value = vec![u8::try_from(index % 251).unwrap(); value_bytes];
    if index == 10 {
        // From here on most of the past is trimmed.
        return Operation::SetWindow(WindowChange { changes: Some(7), ..WindowChange::default() });
    }
    match index % 12 {
        // Some hold and some do not, and a retry must hear the same of both.
        5 => {
            Operation::Conditional { key, value: Some(value), condition: Condition::Absent, previous: false }
        }
        1 => {
            let next = Action::Set { key: self::key(index * 5 + 1), value: value.clone() };
            let then = vec![Action::Set { key, value }, next];
            Operation::Transaction(Transaction { then, ..Transaction::default() })
        }
        9 => Operation::DeleteRange { range: KeyRange::prefix(b"key "), most: 5 },
        _ => Operation::Set { key, value },
    }
}

/// The rows that are staged, in two writes.
fn staged() -> Vec<(Vec<u8>, Vec<u8>)> {
    (0..4).map(|n| (key(n), format!("staged {n}").into_bytes())).collect()
}

/// The same with a backup that takes the place of all keys, staged before and after a flush, and another that is dropped.
fn restoring(index: u64, value_bytes: usize) -> Operation {
    let rows = |id, offset: usize, to: usize| {
        let rows = staged().get(offset..to).unwrap().to_vec();
        Restore::Rows { id, offset: offset as u64, rows }
    };
    Operation::Restore(match index {
        11 => Restore::Begin { id: 7 },
        12 => rows(7, 0, 2),
        19 => rows(7, 2, 4),
        24 => {
            let rows = staged();
            let hash = rows.iter().map(|(key, value)| protocol::restore::element(key, value));
            Restore::Switch { id: 7, count: 4, hash: hash.fold(0, u64::wrapping_add) }
        }
        29 => Restore::Begin { id: 8 },
        30 => rows(8, 0, 3),
        38 => Restore::Abort,
        _ => return operation(index, value_bytes),
    })
}

fn entry(index: u64, id: u64, operation: Operation) -> Entry {
    let request = RequestId { token: u128::from(id).to_le_bytes(), learned: id - 1, cluster: CLUSTER };
    let command = Command { request, stamp_ms: 10 * index, wall_ms: 0, operation };
    Entry {
        position: Position::new(index, 1 + index / 10),
        payload: Payload::Command(command.encode().into()),
    }
}

/// A log, and what the state is after each of its entries.
struct Story {
    log: Vec<Entry>,
    value_bytes: usize,
    operation: fn(u64, usize) -> Operation,
    /// A flush after so many entries.
    flush_every: usize,
    rows: Vec<BTreeMap<Vec<u8>, Found>>,
    hashes: Vec<u64>,
}

impl Story {
    fn new(entries: u64, value_bytes: usize, flush_every: usize) -> Self {
        Self::of(operation, entries, value_bytes, flush_every)
    }

    fn of(
        operation: fn(u64, usize) -> Operation,
        entries: u64,
        value_bytes: usize,
        flush_every: usize,
    ) -> Self {
        let mut log: Vec<_> =
            (1..=entries).map(|index| entry(index, index, operation(index, value_bytes))).collect();
        // One empty entry, as a new leader makes.
        log[4].payload = Payload::Noop;
        let mut witness = open(&made()).unwrap();
        let (mut rows, mut hashes) = (vec![BTreeMap::new()], vec![witness.hash()]);
        for entry in &log {
            witness.apply(entry).unwrap();
            hashes.push(witness.hash());
            rows.push(model(rows.last().unwrap(), entry));
        }
        Self { log, value_bytes, operation, flush_every, rows, hashes }
    }

    /// Lives the story until its end or a failed disk. The indexes between which a crash may leave the state.
    fn live(&self, disk: &SimDisk) -> (usize, usize) {
        self.go_on(disk, (0, 0))
    }

    /// As [`Story::live`], from where the disk's state is; `between` is what an end before that may have left.
    fn go_on(&self, disk: &SimDisk, between: (usize, usize)) -> (usize, usize) {
        let (mut finished, mut begun) = between;
        let Ok(mut state) = open(disk) else { return (finished, begun) };
        let applied = usize::try_from(state.applied().index.0).unwrap();
        (finished, begun) = (applied, applied);
        for (at, entry) in self.log.iter().enumerate().skip(applied) {
            if state.apply(entry).is_err() {
                break;
            }
            if (at + 1) % self.flush_every == 0 {
                begun = at + 1;
                let Ok(flushed) = state.begin_flush(0).unwrap().run() else { break };
                state.finish_flush(flushed);
                finished = begun;
            }
        }
        (finished, begun)
    }

    /// Opens what survived and holds it against the story.
    fn check(&self, disk: &SimDisk, between: (usize, usize)) {
        let mut state = open(disk).unwrap_or_else(|error| panic!("{error}"));
        let at = usize::try_from(state.applied().index.0).unwrap();
        assert!((between.0..=between.1).contains(&at), "applied {at}, possible is {between:?}");
        assert_eq!(state.applied(), if at == 0 { Position::ZERO } else { self.log[at - 1].position });
        assert!(
            state.stamp_ms() <= 10 * at as u64 && state.stamp_ms() + 10 >= 10 * at as u64,
            "the stamp at {at}"
        );
        self.compare(&state, at);
        for (index, entry) in self.log.iter().enumerate().skip(at) {
            state.apply(entry).unwrap();
            assert_eq!(state.hash(), self.hashes[index + 1], "hash after entry {}", index + 1);
        }
        self.compare(&state, self.log.len());
        self.retry_everything(&mut state);
        let flushed = state.begin_flush(0).unwrap().run().unwrap();
        state.finish_flush(flushed);
    }

    fn compare(&self, state: &State, at: usize) {
        assert_eq!(state.hash(), self.hashes[at], "hash at {at}");
        for n in 0..KEYS {
            let found = state.get(&key(n)).unwrap();
            assert_eq!(found.as_ref(), self.rows[at].get(&key(n)), "key {n} at {at}");
        }
        for revision in state.kept_history().oldest..=at as u64 {
            let rows = &self.rows[usize::try_from(revision).unwrap()];
            assert_eq!(&past(state, revision), rows, "at {at} the past of {revision}");
        }
    }

    /// Each write of the story is sent once more: the newest are answered from memory, the others have expired.
    fn retry_everything(&self, state: &mut State) {
        let end = self.log.len() as u64;
        for (again, id) in (end + 1..).zip((1..=end).filter(|id| *id != 5)) {
            let entry = entry(again, id, (self.operation)(id, self.value_bytes));
            let result = state.apply(&entry).unwrap().unwrap().result;
            if id + MEMORY as u64 > end {
                assert!(
                    match &result {
                        Ok(Outcome::Written(written)) => {
                            matches!(written, WriteOutcome { revision, deduplicated: true, .. } if *revision == id)
                        }
                        Ok(Outcome::Decided(decided)) => decided.deduplicated && decided.revision == id,
                        Err(_) => false,
                    },
                    "{id}: {result:?}"
                );
            } else {
                assert_eq!(result, Err(Refused::Expired), "{id}");
            }
        }
        assert_eq!(state.hash(), self.hashes[self.log.len()]);
    }
}

/// All rows as they were at a revision.
fn past(state: &State, at: u64) -> BTreeMap<Vec<u8>, Found> {
    let scan = Scan { at: Some(at), ..Scan::default() };
    let mut cursor = state.view().scan(scan, PageLimits::default()).unwrap();
    let mut rows = BTreeMap::new();
    while let ScanFrame::Page(page) = cursor.answer().unwrap() {
        rows.extend(page.rows.into_iter().map(|row| (row.key, row.found)));
    }
    rows
}

fn model(before: &BTreeMap<Vec<u8>, Found>, entry: &Entry) -> BTreeMap<Vec<u8>, Found> {
    let mut rows = before.clone();
    let Payload::Command(bytes) = &entry.payload else { return rows };
    let revision = entry.position.index.0;
    match Command::decode(bytes).unwrap().operation {
        Operation::Restore(Restore::Switch { .. }) => {
            rows.clear();
            for (key, value) in staged() {
                put(&mut rows, revision, key, value);
            }
        }
        Operation::Delete { key } => _ = rows.remove(&key),
        Operation::DeleteRange { most, .. } if rows.len() <= usize::try_from(most).unwrap() => rows.clear(),
        Operation::Conditional { key, .. } if rows.contains_key(&key) => {}
        Operation::Conditional { key, value: Some(value), .. } => {
            rows.insert(key, Found { value, revision, created: revision, version: 1, lease: None });
        }
        Operation::Conditional { .. }
        | Operation::DeleteRange { .. }
        | Operation::Increment { .. }
        | Operation::SetWindow(_)
        | Operation::SetMember(_)
        | Operation::Restore(_)
        | Operation::SetHeld { .. }
        | Operation::Grant { .. }
        | Operation::Renew { .. }
        | Operation::Revoke { .. }
        | Operation::Expire { .. } => {}
        Operation::Set { key, value } => put(&mut rows, revision, key, value),
        Operation::Transaction(transaction) => {
            for action in transaction.then {
                let Action::Set { key, value } = action else { unreachable!("the story has no other") };
                put(&mut rows, revision, key, value);
            }
        }
    }
    rows
}

fn put(rows: &mut BTreeMap<Vec<u8>, Found>, revision: u64, key: Vec<u8>, value: Vec<u8>) {
    let (created, version) = rows.get(&key).map_or((revision, 1), |row| (row.created, row.version + 1));
    rows.insert(key, Found { value, revision, created, version, lease: None });
}

/// Cuts at each call in turn until the story ends before the cut; how many cuts that were.
fn cut_everywhere(story: &Story, each: impl Fn(u64, &SimDisk, (usize, usize))) -> u64 {
    for cut in 1.. {
        let disk = made();
        disk.cut_power_at(disk.calls() + cut);
        let between = story.live(&disk);
        if !disk.is_off() {
            assert_eq!(between.0, story.log.len() / story.flush_every * story.flush_every);
            return cut - 1;
        }
        each(cut, &disk, between);
    }
    unreachable!("a story has an end")
}

/// What the disk may hold when the power is back.
fn survivor(disk: &SimDisk, seed: u64) -> SimDisk {
    let survivor = disk.fork();
    survivor.crash(seed);
    survivor
}

#[test]
fn a_power_cut_at_any_call_leaves_a_commit_and_the_log_replays_the_rest() {
    let story = Story::new(40, 40, 9);
    let cuts = cut_everywhere(&story, |cut, disk, between| {
        for seed in 0..8 {
            story.check(&survivor(disk, cut * 8 + seed), between);
        }
    });
    assert!(cuts > 60, "only {cuts} calls: the test no longer cuts where it should");
}

#[test]
fn a_power_cut_while_a_backup_is_staged_and_switched_to_leaves_all_of_one_or_of_the_other() {
    let story = Story::of(restoring, 40, 40, 9);
    assert_eq!(story.rows[24].len(), 4, "the story has a switch");
    let cuts = cut_everywhere(&story, |cut, disk, between| {
        for seed in 0..8 {
            story.check(&survivor(disk, cut * 8 + seed), between);
        }
    });
    assert!(cuts > 60, "only {cuts} calls: the test no longer cuts where it should");
}

#[test]
fn a_power_cut_while_the_file_grows_leaves_a_commit() {
    // So large that no flush fits into what the file has.
    let story = Story::new(8, 150_000, 4);
    let disk = made();
    let before = open(&disk).unwrap().disk_bytes();
    story.live(&disk);
    assert!(open(&disk).unwrap().disk_bytes() > before);
    cut_everywhere(&story, |cut, disk, between| story.check(&survivor(disk, cut), between));
}

#[test]
fn a_second_power_cut_while_the_first_is_repaired_changes_nothing() {
    let story = Story::new(20, 40, 9);
    cut_everywhere(&story, |cut, disk, between| {
        // Not after each first cut, for the time it takes: neighbours leave much the same.
        for second in (1..).take_while(|_| cut % 5 == 0) {
            let repaired = survivor(disk, cut);
            repaired.cut_power_at(second);
            drop(open(&repaired));
            if !repaired.is_off() {
                break;
            }
            story.check(&survivor(&repaired, second), between);
        }
    });
}

#[test]
fn a_failed_call_is_reported_and_after_a_restart_nothing_is_lost() {
    let story = Story::new(20, 40, 9);
    for call in 1.. {
        let disk = made();
        disk.fail_at(disk.calls() + call, std::io::ErrorKind::StorageFull);
        let last = disk.calls() + call;
        let between = story.live(&disk);
        if disk.calls() < last {
            assert!(call > 30, "only {call} calls");
            break;
        }
        disk.restart();
        story.check(&disk, between);
    }
}

#[test]
fn without_a_power_cut_the_story_ends_as_it_should() {
    let story = Story::new(40, 40, 9);
    let disk = made();
    let between = story.live(&disk);
    assert_eq!(between, (36, 36));
    story.check(&survivor(&disk, 0), between);
}

#[test]
fn after_a_failed_sync_the_next_process_and_a_power_cut_lose_nothing_durable() {
    let story = Story::new(24, 40, 5);
    let mut cuts = 0;
    for call in 1.. {
        let disk = made();
        disk.fail_at(disk.calls() + call, std::io::ErrorKind::Other);
        let last = disk.calls() + call;
        let first = story.live(&disk);
        if disk.calls() < last {
            break;
        }
        disk.restart();
        // Not at each call, for the time it takes; another one in each round.
        for cut in (1 + call % 7..).step_by(7) {
            let later = disk.fork();
            later.cut_power_at(cut);
            let between = story.go_on(&later, first);
            for seed in 0..2 {
                story.check(&survivor(&later, cut * 2 + seed), between);
            }
            cuts += 1;
            if !later.is_off() {
                break;
            }
        }
    }
    assert!(cuts > 200, "only {cuts} cuts");
}
