//! A log on a disk without room: nothing that was durable is touched, nothing that found no room counts before it is written
//! again, and what waits keeps its order; only a sync that fails is the end.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

#[path = "crash_log/rig.rs"]
#[allow(dead_code)]
mod rig;
#[path = "support/sim.rs"]
#[allow(dead_code)]
mod sim;

use std::io;

use kvd::{
    event::Event,
    log::{Discard, Log, LogError},
    log_thread::{Held, LogTask, perform},
};
use raft::{Index, Persist, Position, Ticket};
use rig::{Model, begin, disk, entries, open, persist, reopen};
use testkit::disk::SimDisk;

/// Writes until there is no room; returns what was refused.
fn fill(log: &mut Log, model: &mut Model) -> Persist {
    for index in 1..200 {
        let batch = [persist(None, entries(index, index, 1, 300))];
        match log.write(&batch) {
            Ok(()) => model.write(&batch),
            Err(error) => {
                assert!(error.is_full(), "{error}");
                let LogError::Full { source, .. } = error else { panic!("not full") };
                assert_eq!(source.kind(), io::ErrorKind::StorageFull);
                let [refused] = batch;
                return refused;
            }
        }
    }
    panic!("the disk never was full");
}

fn full() -> (SimDisk, Log, Model, Persist) {
    let disk = disk();
    let mut log = begin(&disk);
    disk.set_capacity(Some(20_000));
    let mut model = Model::default();
    let refused = fill(&mut log, &mut model);
    (disk, log, model, refused)
}

#[test]
fn what_found_no_room_is_written_when_there_is_some() {
    let (disk, mut log, mut model, refused) = full();
    for _ in 0..3 {
        assert!(log.write(std::slice::from_ref(&refused)).unwrap_err().is_full(), "still none");
    }
    disk.set_capacity(None);
    let next = refused.entries[0].position.index.0 + 1;
    for batch in [refused, persist(None, entries(next, next, 1, 300))] {
        log.write(std::slice::from_ref(&batch)).unwrap();
        model.write(&[batch]);
    }
    log.settle().unwrap();
    drop(log);
    assert_eq!(Model::of(&reopen(&disk)), model);
}

#[test]
fn an_end_without_room_leaves_what_was_durable() {
    let (disk, log, model, refused) = full();
    for second in 0..20 {
        let crashed = disk.fork();
        crashed.set_capacity(None);
        crashed.crash(second);
        let found = Model::of(&reopen(&crashed));
        let mut with = model.clone();
        with.write(std::slice::from_ref(&refused));
        assert!(found == model || found == with, "crash {second}");
    }
    drop(log);
    disk.restart();
    disk.set_capacity(None);
    let (mut log, recovered) = open(&disk, Position::ZERO, 4).unwrap();
    assert_eq!(Model::of(&recovered), model);
    log.write(&[refused]).unwrap();
}

#[test]
fn a_longer_write_that_found_no_room_leaves_nothing_behind_a_shorter_one() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(Some((1, 1)), entries(1, 1, 1, 100))]).unwrap();
    disk.set_capacity(Some(disk.used()));
    let many = persist(None, entries(2, 6, 1, 600));
    assert!(log.write(std::slice::from_ref(&many)).unwrap_err().is_full());
    disk.set_capacity(None);
    // Another leader has replaced what was to come, in one write with it.
    let fewer = persist(Some((2, 0)), entries(2, 2, 2, 10));
    log.write(&[many.clone(), fewer.clone()]).unwrap();
    drop(log);
    let mut model = Model::default();
    model.write(&[persist(Some((1, 1)), entries(1, 1, 1, 100)), many, fewer]);
    assert_eq!(Model::of(&reopen(&disk)), model);
}

#[test]
fn a_sync_that_fails_for_want_of_room_is_the_end() {
    for call in 1.. {
        let disk = disk();
        let mut log = begin(&disk);
        disk.fail_at(disk.calls() + call, io::ErrorKind::StorageFull);
        let last = disk.calls() + call;
        let written = log.write(&[persist(Some((1, 1)), entries(1, 3, 1, 300))]);
        if disk.calls() < last {
            break;
        }
        let Err(error) = written else { continue };
        let synced = error.to_string().contains("sync");
        assert_eq!(error.is_full(), !synced, "{error}");
        let again = log.write(&[persist(Some((1, 1)), entries(1, 3, 1, 300))]);
        assert_eq!(again.is_err(), synced, "only before the sync may it be tried again");
    }
}

fn task(ticket: u64, mut persist: Persist) -> LogTask {
    persist.ticket = Ticket(ticket);
    LogTask::Persist(persist)
}

/// What the node is told, in short: a ticket, or whether there is no room.
fn told(events: &[Event]) -> Vec<Result<u64, bool>> {
    let of = |event: &Event| match event {
        Event::Persisted(ticket) => Some(Ok(ticket.0)),
        Event::LogFull(full) => Some(Err(*full)),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

#[test]
fn what_comes_after_a_write_without_room_waits_behind_it_and_votes_are_few() {
    let (disk, mut log, mut model, refused) = full();
    let mut held = Held::default();
    let events = perform(&mut log, &mut held, [task(1, refused.clone())]).unwrap();
    assert_eq!(told(&events), [Err(true)]);
    for term in 2..60 {
        let events =
            perform(&mut log, &mut held, [task(term, persist(Some((term, 0)), Vec::new()))]).unwrap();
        assert_eq!(told(&events), [], "nobody tries before the node says so");
    }
    assert_eq!(held.waiting(), 59);
    let events = perform(&mut log, &mut held, [LogTask::Retry]).unwrap();
    assert_eq!(told(&events), [Err(true)]);
    disk.set_capacity(None);
    let events = perform(&mut log, &mut held, [LogTask::Retry]).unwrap();
    assert_eq!(told(&events), [Ok(1), Ok(59), Err(false)], "the last vote stands for those before it");
    assert_eq!(held.waiting(), 0);
    drop(log);
    model.write(&[refused, persist(Some((59, 0)), Vec::new())]);
    assert_eq!(Model::of(&reopen(&disk)), model);
}

#[test]
fn segments_go_while_a_write_waits() {
    let (disk, mut log, model, refused) = full();
    let mut held = Held::default();
    perform(&mut log, &mut held, [task(1, refused.clone())]).unwrap();
    let most = Index(model.entries.len() as u64);
    let events =
        perform(&mut log, &mut held, [LogTask::Discard(Discard { to: most, most, bytes: 0 })]).unwrap();
    assert!(matches!(events[..], [Event::Discarded(discarded)] if discarded.position.index > Index(0)));
    // The simulated disk has their bytes until a crash.
    disk.set_capacity(None);
    let events = perform(&mut log, &mut held, [LogTask::Retry]).unwrap();
    assert_eq!(told(&events), [Ok(1), Err(false)]);
}
