//! A state that goes from one server to another: what is sent is what is received, nothing that is damaged or cut is
//! taken for it, and a power cut at any disk call of receiving it, making it current and letting the log begin anew
//! leaves either the old state with its log or the new one.

#![allow(clippy::unwrap_used, reason = "the helpers of a test")]

use std::{fmt::Write as _, path::Path, sync::Arc};

use kvd::{
    disk::Disk,
    log::{Log, Over, Recovered, Settings},
    snapshot::{Progress, Received, Sending, SnapshotError},
    state::{Install, Outcome, State, StateLimits, WriteOutcome, view::PageLimits},
};
use protocol::{
    ClusterId, Command, Operation, RequestId, Scan, ScanFrame, history::WindowChange, snapshot::Reader,
};
use raft::{Entry, HardState, NodeId, Payload, Persist, Position, Term, Ticket};
use testkit::disk::SimDisk;

#[path = "support/sim.rs"]
mod sim;
use sim::Sim;

const CLUSTER: ClusterId = ClusterId([7; 16]);
/// The last entry of the state that is sent.
const SENT: u64 = 40;
/// The last entry of the state that is there.
const OLD: u64 = 9;

fn made() -> SimDisk {
    let disk = SimDisk::new();
    for dir in ["/state", "/log"] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn limits() -> StateLimits {
    StateLimits { cache_bytes: 1024 * 1024, request_ids: 12, ..StateLimits::default() }
}

fn disk_of(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(Sim(disk.clone()))
}

fn state(disk: &SimDisk) -> State {
    State::open(disk_of(disk), Path::new("/state"), CLUSTER, limits()).unwrap()
}

fn command(index: u64, value_bytes: usize) -> Payload {
    let request = RequestId { token: u128::from(index).to_le_bytes(), learned: index - 1, cluster: CLUSTER };
    let key = format!("key {}", index * 5 % 9).into_bytes();
    let operation = if index == 2 {
        // The past of what is sent is not all that there was.
        Operation::SetWindow(WindowChange { changes: Some(23), ..WindowChange::default() })
    } else if index % 4 == 3 {
        Operation::Delete { key }
    } else {
        Operation::Set { key, value: vec![u8::try_from(index % 251).unwrap(); value_bytes] }
    };
    let command = Command { request, stamp_ms: 10 * index, wall_ms: 0, operation };
    Payload::Command(command.encode().into())
}

fn entry(index: u64, term: u64, value_bytes: usize) -> Entry {
    Entry { position: Position::new(index, term), payload: command(index, value_bytes) }
}

/// A state that has applied entries up to `last` and flushed them.
fn filled(disk: &SimDisk, last: u64, value_bytes: usize) -> State {
    let mut state = state(disk);
    for index in state.applied().index.0 + 1..=last {
        state.apply(&entry(index, 1 + index / 10, value_bytes)).unwrap();
    }
    let flushed = state.begin_flush(0).unwrap().run().unwrap();
    state.finish_flush(flushed);
    state
}

fn blocks(mut sending: Sending) -> Vec<Vec<u8>> {
    std::iter::from_fn(|| sending.next_block().unwrap()).collect()
}

/// Gives the blocks to a receiver of `into`.
fn receive(into: &State, blocks: &[Vec<u8>]) -> Result<Option<Received>, SnapshotError> {
    let Some((first, rest)) = blocks.split_first() else { return Ok(None) };
    let mut receiving = Box::new(into.receiver().begin(first)?);
    for block in rest {
        match receiving.take(block)? {
            Progress::More(more) => receiving = more,
            Progress::Whole(received) => return Ok(Some(received)),
        }
    }
    Ok(receiving.cut())
}

/// All rows as they were at a revision, and what is kept of one key.
fn past(state: &State, at: u64) -> Vec<ScanFrame> {
    let rows = Scan { at: Some(at), ..Scan::default() };
    let versions = Scan { at: Some(at), ..Scan::versions(b"key 3") };
    let shown = [rows, versions].into_iter().flat_map(|scan| {
        let mut cursor = state.view().scan(scan, PageLimits::default()).ok();
        std::iter::from_fn(move || {
            let frame = cursor.as_mut()?.answer().unwrap();
            cursor = cursor.take().filter(|_| matches!(frame, ScanFrame::Page(_)));
            Some(frame)
        })
    });
    shown.collect()
}

fn sample(value_bytes: usize) -> (State, Vec<Vec<u8>>) {
    let state = filled(&made(), SENT, value_bytes);
    let blocks = blocks(state.sending().unwrap());
    (state, blocks)
}

#[test]
fn what_is_received_is_what_was_sent() {
    for value_bytes in [0, 40, 5000, protocol::limits::VALUE_BYTES] {
        let (mut sender, sent) = sample(value_bytes);
        assert!(sent.iter().all(|block| block.len() <= protocol::limits::SNAPSHOT_BLOCK_BYTES));
        let disk = made();
        let old = filled(&disk, OLD, 40);
        let received = receive(&old, &sent).unwrap().expect("a whole state");
        assert_eq!(received.position(), sender.applied());
        // Whoever reads it as a backup finds the same.
        let summary = Reader::new(sent.concat().as_slice()).read_all().unwrap();
        assert_eq!(summary.head.at, sender.applied());
        assert_eq!(summary.facts.oldest, sender.kept_history().oldest);
        assert_eq!(summary.changes, sender.kept_history().changes);
        let mut new = Install::new(received).run().unwrap().into_state();
        assert_eq!((new.applied(), new.received()), (sender.applied(), sender.applied()));
        assert_eq!((new.hash(), new.stamp_ms()), (sender.hash(), sender.stamp_ms()));
        for n in 0..9 {
            let key = format!("key {n}").into_bytes();
            assert_eq!(new.get(&key).unwrap(), sender.get(&key).unwrap(), "key {n}");
        }
        assert!(old.get(b"key 0").is_ok(), "the old state is read until it is let go");
        for revision in sender.kept_history().oldest..=SENT {
            assert_eq!(past(&new, revision), past(&sender, revision), "the past of {revision}");
        }
        // What comes next does the same to both; the last of these was applied before.
        for index in SENT + 1..SENT + 8 {
            let next = entry(index, 9, 40);
            assert_eq!(new.apply(&next).unwrap(), sender.apply(&next).unwrap());
        }
        let again = Entry { position: Position::new(SENT + 8, 9), payload: command(SENT + 1, 40) };
        let outcome = new.apply(&again).unwrap().unwrap().result.unwrap();
        let again_of = |written: &WriteOutcome| written.deduplicated && written.revision == SENT + 1;
        assert!(matches!(&outcome, Outcome::Written(written) if again_of(written)), "{outcome:?}");
        assert_eq!(sender.apply(&again).unwrap().unwrap().result.unwrap(), outcome);
        assert_eq!(new.hash(), sender.hash());
        drop((old, new));
        let opened = state(&disk);
        assert_eq!(opened.applied(), Position::new(SENT, 1 + SENT / 10), "it is found again");
    }
}

#[test]
fn a_view_is_one_commit_whatever_is_written_meanwhile() {
    let disk = made();
    let mut sender = filled(&disk, SENT, 40);
    let hash = sender.hash();
    let sending = sender.sending().unwrap();
    for index in SENT + 1..=SENT + 30 {
        sender.apply(&entry(index, 9, 40)).unwrap();
    }
    let flushed = sender.begin_flush(0).unwrap().run().unwrap();
    sender.finish_flush(flushed);
    let other = filled(&made(), OLD, 40);
    let received = receive(&other, &blocks(sending)).unwrap().unwrap();
    let new = Install::new(received).run().unwrap().into_state();
    assert_eq!((new.applied().index.0, new.hash()), (SENT, hash));
}

#[test]
fn a_state_that_ends_early_or_was_changed_is_never_whole() {
    let (_, sent) = sample(9000);
    assert!(sent.len() >= 5, "{} blocks are too few to leave any out", sent.len());
    let disk = made();
    let old = filled(&disk, OLD, 40);
    let refused = |blocks: &[Vec<u8>], what: String| {
        assert!(!matches!(receive(&old, blocks), Ok(Some(_))), "{what}");
    };
    for count in 0..sent.len() {
        refused(&sent[..count], format!("only {count} blocks"));
        let mut without = sent.clone();
        without.remove(count);
        refused(&without, format!("block {count} left out"));
        let mut twice = sent.clone();
        twice.insert(count, sent[count].clone());
        let after_the_end = count + 1 == sent.len();
        assert!(after_the_end || !matches!(receive(&old, &twice), Ok(Some(_))), "block {count} twice");
        for bit in [0, 40, 64, 72, 8 * sent[count].len() - 1] {
            let mut wrong = sent.clone();
            wrong[count][bit / 8] ^= 1 << (bit % 8);
            refused(&wrong, format!("bit {bit} of block {count}"));
        }
        let mut short = sent.clone();
        short[count].pop();
        refused(&short, format!("block {count} a byte short"));
    }
    let mut swapped = sent.clone();
    swapped.swap(1, 2);
    refused(&swapped, "two blocks swapped".to_owned());
    drop(old);
    assert_eq!(state(&disk).applied().index.0, OLD, "the old state is the current one");
}

#[test]
fn a_state_of_another_cluster_is_refused() {
    let (_, sent) = sample(40);
    let other = State::open(disk_of(&made()), Path::new("/state"), ClusterId([8; 16]), limits()).unwrap();
    assert!(matches!(receive(&other, &sent), Err(SnapshotError::OtherCluster { found: CLUSTER })));
}

fn shown(blocks: &[Vec<u8>]) -> String {
    let mut shown = String::new();
    for block in blocks {
        for line in block.chunks(16) {
            let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
            writeln!(shown, "{}", hex.join(" ")).unwrap();
        }
        shown.push('\n');
    }
    shown
}

#[test]
fn the_bytes_of_a_state_are_a_promise() {
    let mut sender = state(&made());
    let write = |index: u8, operation| {
        let request = RequestId { token: [index; 16], learned: 0, cluster: CLUSTER };
        let index = u64::from(index);
        let command = Command { request, stamp_ms: 77, wall_ms: 0, operation };
        Entry { position: Position::new(index, 2), payload: Payload::Command(command.encode().into()) }
    };
    let set = |key: &str, value: &str| Operation::Set { key: key.into(), value: value.into() };
    sender.apply(&write(1, set("hello", "world"))).unwrap();
    sender.apply(&write(2, set("bye", "now"))).unwrap();
    sender.apply(&write(3, Operation::Delete { key: "bye".into() })).unwrap();
    let flushed = sender.begin_flush(0).unwrap().run().unwrap();
    sender.finish_flush(flushed);
    let stream = shown(&blocks(sender.sending().unwrap()));
    assert_eq!(stream, include_str!("golden/snapshot.txt"), "\n{stream}");
    let backup = blocks(sender.sending().unwrap().saved_at(1_700_000_000_123));
    let summary = Reader::new(backup.concat().as_slice()).read_all().unwrap();
    assert_eq!((summary.keys, summary.changes, summary.facts.saved_ms), (1, 3, Some(1_700_000_000_123)));
    assert_eq!(shown(&backup), include_str!("golden/backup.txt"), "\n{}", shown(&backup));
}

fn settings(seed: u64) -> Settings {
    Settings { segment_bytes: 8 << 10, chunk_bytes: 1 << 10, batch_bytes: 2 << 10, background: false, seed }
}

fn log(disk: &SimDisk, state: &State) -> Result<(Log, Recovered), kvd::log::LogError> {
    let over = Over { applied: state.applied(), received: state.received() };
    Log::open_over(disk_of(disk), Path::new("/log"), over, settings(3))
}

fn persist(hard: Option<u64>, restart: Option<Position>, entries: Vec<Entry>) -> Persist {
    let hard = hard.map(|term| HardState { term: Term(term), vote: Some(NodeId(2)) });
    Persist { ticket: Ticket(0), hard, restart, entries }
}

/// A follower that fell behind: its state holds [`OLD`] entries, its log some more, which conflict with what others
/// committed. Its term is 3.
fn follower(old: u64) -> SimDisk {
    let disk = made();
    let state = filled(&disk, OLD, 40);
    drop(state);
    let zero = made();
    let empty = self::state(&zero);
    let (mut log, _) =
        Log::open_over(disk_of(&disk), Path::new("/log"), Over::default(), settings(2)).unwrap();
    drop(empty);
    log.write(&[persist(Some(3), None, Vec::new())]).unwrap();
    for index in 1..=OLD + old {
        let term = if index <= OLD { 1 } else { 3 };
        log.write(&[persist(None, None, vec![entry(index, term, 300)])]).unwrap();
    }
    disk
}

/// How far a follower got before its disk failed.
#[derive(Clone, Copy, Debug, Default)]
struct Reached {
    installed: bool,
    anew: bool,
    appended: bool,
}

/// Receives a state, makes it current, lets the log begin anew in a later term, and appends.
fn live(disk: &SimDisk, sent: &[Vec<u8>]) -> Reached {
    let mut reached = Reached::default();
    let over_dir = Path::new("/state");
    let Ok(old) = State::open(disk_of(disk), over_dir, CLUSTER, limits()) else { return reached };
    let Ok((mut log, recovered)) = log(disk, &old) else { return reached };
    let Ok(Some(received)) = receive(&old, sent) else { return reached };
    let at = received.position();
    let Ok(installed) = Install::new(received).run() else { return reached };
    reached.installed = true;
    let new = installed.into_state();
    assert_eq!(new.applied(), at);
    let matches = recovered.entries.iter().any(|entry| entry.position == at);
    let restart = (!matches).then_some(at);
    if log.write(&[persist(Some(4), None, Vec::new()), persist(None, restart, Vec::new())]).is_err() {
        return reached;
    }
    reached.anew = true;
    if log.write(&[persist(Some(5), None, vec![entry(SENT + 1, 5, 40)])]).is_ok() {
        reached.appended = true;
    }
    reached
}

/// Opens what survived and holds it against how far the follower got.
fn check(disk: &SimDisk, reached: Reached, hash: u64) {
    let state = state(disk);
    let at = state.applied().index.0;
    assert!(at == SENT || (at == OLD && !reached.installed), "the state is at {at}, {reached:?}");
    assert!(at == OLD || state.hash() == hash, "the new state is the one that was sent");
    let (mut log, recovered) = log(disk, &state).unwrap_or_else(|error| panic!("{error} after {reached:?}"));
    let term = recovered.hard.term.0;
    let least = if reached.appended {
        5
    } else if reached.anew {
        4
    } else {
        3
    };
    assert!(term >= least && recovered.hard.vote == Some(NodeId(2)), "term {term} after {reached:?}");
    if at == OLD {
        assert_eq!(recovered.base, state.applied());
        return;
    }
    let here = recovered.entries.first().is_none_or(|entry| entry.position.index.0 == SENT + 1);
    assert!(here && recovered.base == state.applied(), "the log goes on where the state ends");
    let kept = recovered.entries.last().map_or(SENT, |entry| entry.position.index.0);
    assert!(kept > SENT || !reached.appended, "what was appended is there after {reached:?}");
    // It goes on, and is found again.
    log.write(&[persist(Some(6), None, vec![entry(SENT + 1, 6, 40)])]).unwrap();
    drop(log);
    let (log, recovered) = self::log(disk, &state).unwrap();
    assert_eq!((recovered.last, log.last()), (Position::new(SENT + 1, 6), Position::new(SENT + 1, 6)));
    drop((log, state));
    let names = disk.list(Path::new("/state")).unwrap();
    assert_eq!(names.len(), 1, "{names:?}");
}

#[test]
fn a_power_cut_at_any_call_leaves_the_old_state_or_the_new_one() {
    let (sender, sent) = sample(300);
    let hash = sender.hash();
    let (mut reached, mut cuts) = ([0; 4], 0);
    // The log ends before the state, beyond it, or holds its last entry.
    for longer in [3, 60] {
        let before = follower(longer);
        for cut in 1.. {
            let disk = before.fork();
            disk.cut_power_at(cut);
            let got = live(&disk, &sent);
            reached[usize::from(got.installed) + usize::from(got.anew) + usize::from(got.appended)] += 1;
            if !disk.is_off() {
                assert!(got.appended);
                break;
            }
            cuts += 1;
            for seed in 0..6 {
                let survivor = disk.fork();
                survivor.crash(cut * 8 + seed);
                check(&survivor, got, hash);
            }
        }
    }
    assert!(cuts > 100 && reached.iter().all(|count| *count > 0), "{cuts} cuts, {reached:?}");
}

#[test]
fn after_a_failed_call_the_next_process_and_a_power_cut_find_the_old_state_or_the_new_one() {
    let (sender, sent) = sample(300);
    let hash = sender.hash();
    let before = follower(3);
    for call in 1.. {
        let disk = before.fork();
        disk.fail_at(call, std::io::ErrorKind::Other);
        let first = live(&disk, &sent);
        if disk.failures().ordered == 0 {
            assert!(call > 40, "only {call} calls");
            break;
        }
        disk.restart();
        check(&disk.fork(), first, hash);
        // The next process opens, and loses power somewhere in that or later.
        for cut in (1 + call % 5..).step_by(5) {
            let later = disk.fork();
            later.cut_power_at(cut);
            let opened = State::open(disk_of(&later), Path::new("/state"), CLUSTER, limits());
            let found =
                opened.ok().and_then(|state| Some((state.applied().index.0, log(&later, &state).ok()?)));
            let second =
                Reached { installed: first.installed || found.is_some_and(|found| found.0 == SENT), ..first };
            let off = later.is_off();
            let survivor = later.fork();
            survivor.crash(cut);
            check(&survivor, second, hash);
            if !off {
                break;
            }
        }
    }
}

#[test]
fn a_log_that_holds_the_last_entry_of_the_state_stays() {
    let disk = made();
    let sender = filled(&disk, OLD, 40);
    let (mut log, _) =
        Log::open_over(disk_of(&disk), Path::new("/log"), Over::default(), settings(2)).unwrap();
    let entries: Vec<Entry> = (1..=OLD + 5).map(|index| entry(index, 1, 40)).collect();
    log.write(&[persist(Some(1), None, entries)]).unwrap();
    drop(log);
    let at = sender.applied();
    let over = Over { applied: at, received: at };
    let (_, recovered) = Log::open_over(disk_of(&disk), Path::new("/log"), over, settings(3)).unwrap();
    assert_eq!((recovered.base, recovered.last), (at, Position::new(OLD + 5, 1)));
    // One that was not received does not let the log go.
    let elsewhere = Over { applied: Position::new(OLD + 9, 1), received: Position::ZERO };
    assert!(matches!(
        Log::open_over(disk_of(&disk), Path::new("/log"), elsewhere, settings(3)),
        Err(kvd::log::LogError::Elsewhere { .. })
    ));
}
