//! A state and a log that are built from a backup: once that is done no loss of power undoes it, and wherever it was
//! interrupted, it can be begun anew.

#![allow(clippy::unwrap_used, reason = "the helpers of a test")]

use std::{path::Path, sync::Arc};

use kvd::{
    disk::Disk,
    log::Settings,
    opening::{self, Place},
    restore::{AHEAD, build},
    state::{State, StateLimits},
};
use protocol::{
    ClusterId, Command, Operation, RequestId,
    snapshot::{Reader, Summary},
};
use raft::{Entry, Payload, Position};
use testkit::disk::SimDisk;

#[path = "support/sim.rs"]
mod sim;
use sim::Sim;

const OLD: ClusterId = ClusterId([7; 16]);
const NEW: ClusterId = ClusterId([8; 16]);
const LAST: u64 = 40;
const AT: Position = Position::new(LAST + AHEAD, 3);

fn made() -> SimDisk {
    let disk = SimDisk::new();
    for dir in ["/state", "/log"] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

fn disk_of(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(Sim(disk.clone()))
}

fn limits() -> StateLimits {
    StateLimits { cache_bytes: 1024 * 1024, request_ids: 12, ..StateLimits::default() }
}

fn place() -> Place<'static> {
    let settings = Settings {
        segment_bytes: 8 << 10,
        chunk_bytes: 1 << 10,
        batch_bytes: 2 << 10,
        background: false,
        seed: 3,
    };
    Place { log: Path::new("/log"), state: Path::new("/state"), cluster: NEW, limits: limits(), settings }
}

/// A backup of a state with rows, a past and request ids, and the hash of these rows in a new cluster.
fn backup() -> (Vec<u8>, Summary) {
    let mut state = State::open(disk_of(&made()), Path::new("/state"), OLD, limits()).unwrap();
    for index in 1..=LAST {
        let request = RequestId { token: u128::from(index).to_le_bytes(), learned: index - 1, cluster: OLD };
        let key = format!("key {}", index % 9).into_bytes();
        let operation = Operation::Set { key, value: vec![1; 300] };
        let command = Command { request, stamp_ms: 10 * index, wall_ms: 0, operation };
        let payload = Payload::Command(command.encode().into());
        state.apply(&Entry { position: Position::new(index, 3), payload }).unwrap();
    }
    let flushed = state.begin_flush(0).unwrap().run().unwrap();
    state.finish_flush(flushed);
    let mut sending = state.sending().unwrap().saved_at(5);
    let bytes: Vec<u8> = std::iter::from_fn(|| sending.next_block().unwrap()).flatten().collect();
    let summary = Reader::new(bytes.as_slice()).read_all().unwrap();
    (bytes, summary)
}

fn built(disk: &SimDisk, (bytes, summary): &(Vec<u8>, Summary)) -> bool {
    let reader = Reader::new(bytes.as_slice());
    build(&disk_of(disk), place(), (reader, Path::new("backup")), summary, AT).is_ok()
}

/// What is there is the whole state, and a log that begins behind it; the hash tells whether it is the same everywhere.
fn check(disk: &SimDisk) -> u64 {
    let opened = opening::open(&disk_of(disk), place()).unwrap();
    assert_eq!((opened.state.applied(), opened.log.last(), opened.recovered.base), (AT, AT, AT));
    assert_eq!((opened.recovered.hard.term, opened.recovered.hard.vote), (AT.term, None));
    assert_eq!(opened.state.get(b"key 3").unwrap().unwrap().value, vec![1; 300]);
    opened.state.hash()
}

/// As the next restore does.
fn emptied(disk: &SimDisk) {
    for dir in ["/state", "/log"].map(Path::new) {
        for name in disk.list(dir).unwrap() {
            disk.remove(&dir.join(name)).unwrap();
        }
        disk.sync_dir(dir).unwrap();
    }
}

#[test]
fn what_was_built_survives_any_loss_of_power_and_what_was_not_is_built_again() {
    let backup = backup();
    let whole = made();
    assert!(built(&whole, &backup));
    let hash = check(&whole.fork());
    for seed in 0..20 {
        let survivor = whole.fork();
        survivor.crash(seed);
        assert_eq!(check(&survivor), hash);
    }
    for cut in 1.. {
        let disk = made();
        disk.cut_power_at(disk.calls() + cut);
        let done = built(&disk, &backup);
        if !disk.is_off() {
            assert!(done && cut > 40, "only {cut} calls");
            break;
        }
        for seed in 0..3 {
            let survivor = disk.fork();
            survivor.crash(cut * 4 + seed);
            if done {
                // Only what closes the file was cut.
                assert_eq!(check(&survivor), hash, "call {cut}");
                continue;
            }
            emptied(&survivor);
            assert!(built(&survivor, &backup));
            survivor.crash(cut * 4 + seed);
            assert_eq!(check(&survivor), hash);
        }
    }
}
