//! The log on a disk that loses what was not synced: at every call of the disk, with many ways to lose it, what comes
//! back is compared with a model. Then rot, full disks and failed syncs.

#![allow(clippy::unwrap_used)] // helpers of tests are tests

use std::{io, path::Path, sync::Arc};

use kvd::log::{Log, LogError, Recovered, Settings};
use protocol::limits::ENTRY_BYTES;
use raft::{Entry, Index, NodeId, Persist, Position};
use testkit::disk::SimDisk;

#[path = "crash_log/rig.rs"]
mod rig;
#[path = "support/sim.rs"]
mod sim;

use rig::{DIR, Model, begin, disk, entries, entry, open, persist, reopen, settings, sim, workload};

/// Runs the workload until the disk fails: what was acknowledged, and what may have been reached beside it.
fn run(disk: &SimDisk, work: &[Vec<Persist>], seed: u64) -> (Model, Vec<Model>) {
    let mut acknowledged = Model::default();
    let Ok((mut log, recovered)) = open(disk, Position::ZERO, seed) else {
        return (acknowledged.clone(), vec![acknowledged]);
    };
    assert_eq!(Model::of(&recovered), acknowledged);
    for (number, batch) in work.iter().enumerate() {
        let mut attempted = acknowledged.clone();
        attempted.write(batch);
        if log.write(batch).is_err() {
            assert!(matches!(log.write(batch), Err(LogError::Poisoned)));
            return (acknowledged.clone(), vec![acknowledged, attempted]);
        }
        acknowledged = attempted;
        if number % 5 == 4 && log.settle().is_err() {
            break;
        }
    }
    (acknowledged.clone(), vec![acknowledged])
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged_and_invents_nothing() {
    let mut cuts = 0;
    for seed in 0..3 {
        let work = workload(seed, 30);
        let whole = disk();
        let (model, _) = run(&whole, &work, seed);
        assert_eq!(Model::of(&reopen(&whole)), model);
        assert!(whole.list(Path::new(DIR)).unwrap().len() > 2, "several segments");
        for call in 3..=whole.calls() {
            let before = disk();
            before.cut_power_at(call);
            let (_, possible) = run(&before, &work, seed);
            for crash in 0..6 {
                let disk = before.fork();
                disk.crash(call * 31 + crash);
                let recovered = reopen(&disk);
                let found = Model::of(&recovered);
                assert!(possible.contains(&found), "seed {seed} call {call} crash {crash}: {found:?}");
                goes_on(&disk, &recovered, crash);
                cuts += 1;
            }
        }
    }
    assert!(cuts > 1000, "{cuts}");
}

/// What was recovered is durable, and the log goes on from it through another crash.
fn goes_on(disk: &SimDisk, recovered: &Recovered, seed: u64) {
    disk.crash(seed);
    let (mut log, again) = open(disk, Position::ZERO, seed + 7).unwrap();
    assert_eq!(again, *recovered);
    let next = recovered.last.index.0 + 1;
    let more = [persist(Some((1000, 2)), entries(next, next + 2, 1000, 200))];
    log.write(&more).unwrap();
    disk.crash(seed + 1);
    let mut expected = Model::of(recovered);
    expected.write(&more);
    assert_eq!(Model::of(&reopen(disk)), expected);
}

#[test]
fn a_power_cut_at_any_call_of_recovery_loses_nothing() {
    let work = workload(5, 30);
    for cut in [60, 61, 75, 76, 90, 91] {
        let before = disk();
        before.cut_power_at(cut);
        let (_, possible) = run(&before, &work, 5);
        for crash in 0..12 {
            let once = before.fork();
            once.crash(crash);
            let found = once.fork();
            let expected = Model::of(&reopen(&found));
            assert!(possible.contains(&expected));
            for call in 1..=found.calls() {
                let twice = once.fork();
                twice.cut_power_at(call);
                assert!(open(&twice, Position::ZERO, 1).is_err());
                twice.crash(crash + call);
                assert_eq!(Model::of(&reopen(&twice)), expected);
            }
        }
    }
}

#[test]
fn a_killed_process_leaves_unsynced_bytes_that_recovery_makes_durable() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(Some((1, 1)), entries(1, 2, 1, 10))]).unwrap();
    // The file grows, the batch is written, and the process dies before the sync.
    disk.cut_power_at(disk.calls() + 3);
    log.write(&[persist(None, entries(3, 4, 1, 10))]).unwrap_err();
    disk.restart();
    let recovered = reopen(&disk);
    assert_eq!(recovered.last, Position::new(4, 1));
    for seed in 0..20 {
        let disk = disk.fork();
        disk.crash(seed);
        assert_eq!(reopen(&disk), recovered);
    }
}

#[test]
fn a_process_killed_at_any_call_leaves_nothing_that_a_later_power_cut_takes_back() {
    let work = workload(4, 30);
    let whole = disk();
    run(&whole, &work, 4);
    for call in 3..=whole.calls() {
        let disk = disk();
        disk.cut_power_at(call);
        let (_, possible) = run(&disk, &work, 4);
        disk.restart();
        let recovered = reopen(&disk);
        assert!(possible.contains(&Model::of(&recovered)), "call {call}");
        for seed in 0..4 {
            let disk = disk.fork();
            disk.crash(seed);
            assert_eq!(reopen(&disk), recovered, "call {call} crash {seed}");
        }
        let next = recovered.last.index.0 + 1;
        let more = [persist(Some((1000, 2)), entries(next, next, 1000, 100))];
        open(&disk, Position::ZERO, 6).unwrap().0.write(&more).unwrap();
        let mut expected = Model::of(&recovered);
        expected.write(&more);
        for seed in 0..4 {
            let disk = disk.fork();
            disk.crash(seed);
            assert_eq!(Model::of(&reopen(&disk)), expected, "call {call} crash {seed}");
        }
    }
}

/// A sync that fails loses bytes that stay readable, and later syncs do not save them: what the next process reads and
/// builds upon must be written again by it. Found by the simulator.
#[test]
fn a_process_that_ended_at_a_failed_call_leaves_nothing_that_a_later_power_cut_takes_back() {
    let work = workload(4, 30);
    let whole = disk();
    run(&whole, &work, 4);
    for call in 3..=whole.calls() {
        let disk = disk();
        disk.fail_at(call, io::ErrorKind::Other);
        let (_, possible) = run(&disk, &work, 4);
        disk.restart();
        let (mut log, recovered) = open(&disk, Position::ZERO, 6).unwrap();
        assert!(possible.contains(&Model::of(&recovered)), "call {call}");
        let next = recovered.last.index.0 + 1;
        let more = [persist(Some((1000, 2)), entries(next, next, 1000, 100))];
        log.write(&more).unwrap();
        let mut expected = Model::of(&recovered);
        expected.write(&more);
        for seed in 0..4 {
            let disk = disk.fork();
            disk.crash(seed);
            assert_eq!(Model::of(&reopen(&disk)), expected, "call {call} crash {seed}");
        }
    }
}

#[test]
fn a_failed_write_or_sync_stops_the_log_for_good() {
    let work = workload(2, 20);
    let whole = disk();
    run(&whole, &work, 2);
    for call in 3..=whole.calls() {
        let disk = disk();
        disk.fail_at(call, io::ErrorKind::Other);
        let (_, possible) = run(&disk, &work, 2);
        disk.crash(call);
        assert!(possible.contains(&Model::of(&reopen(&disk))), "call {call}");
    }
}

#[test]
fn every_byte_that_rots_is_named_or_was_never_promised() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(Some((1, 2)), Vec::new())]).unwrap();
    for first in [1, 11, 21, 31, 41] {
        log.write(&[persist(None, entries(first, first + 9, 1, 120))]).unwrap();
    }
    log.write(&[persist(Some((2, 3)), entries(48, 55, 2, 60))]).unwrap();
    log.settle().unwrap();
    let whole = reopen(&disk);
    let names = disk.list(Path::new(DIR)).unwrap();
    let segments: Vec<&String> = names.iter().filter(|name| *name != "spare.tmp").collect();
    assert!(segments.len() > 1);
    let mut refused = 0;
    for name in segments {
        let path = Path::new(DIR).join(name);
        let length = disk.content(&path).unwrap().len();
        for offset in 0..length {
            let fork = disk.fork();
            fork.rot(&path, offset, 1 << (offset % 8));
            match open(&fork, Position::ZERO, 9) {
                Ok((_, found)) => {
                    assert_eq!(found, whole, "{name} byte {offset}: acknowledged entries were lost");
                }
                Err(LogError::Damaged { file, offset: at, intact, durable, .. }) => {
                    assert_eq!(&file, name);
                    assert!(at <= offset as u64 && durable.index >= intact.index, "{name} {offset}");
                    assert_eq!(fork.content(&path).unwrap().len(), length, "nothing is cut");
                    refused += 1;
                }
                Err(other) => panic!("{name} byte {offset}: {other}"),
            }
        }
    }
    assert!(refused > 7000, "{refused}");
}

#[test]
fn damage_names_the_first_entry_that_is_gone_and_leaves_the_file_alone() {
    let disk = disk();
    let mut log = begin(&disk);
    for first in [1, 3, 5] {
        log.write(&[persist(None, entries(first, first + 1, 1, 100))]).unwrap();
    }
    let path = Path::new(DIR).join("0000000000000001.log");
    // Batches take one sector each: the second one is the third sector.
    disk.rot(&path, 1024 + 200, 0x10);
    let before = disk.content(&path).unwrap();
    let Err(LogError::Damaged { offset, intact, durable, .. }) = open(&disk, Position::ZERO, 4) else {
        panic!("the damage was not seen");
    };
    assert_eq!((offset, intact, durable), (1024, Position::new(2, 1), Position::new(4, 1)));
    assert_eq!(disk.content(&path).unwrap(), before);
}

#[test]
fn the_last_batch_is_a_torn_tail_until_it_is_settled() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(None, entries(1, 2, 1, 100))]).unwrap();
    log.write(&[persist(None, entries(3, 4, 1, 100))]).unwrap();
    let path = Path::new(DIR).join("0000000000000001.log");
    let torn = disk.fork();
    torn.rot(&path, 1024 + 200, 1);
    assert_eq!(reopen(&torn).last, Position::new(2, 1), "cut");
    log.settle().unwrap();
    let calls = disk.calls();
    log.settle().unwrap();
    assert_eq!(disk.calls(), calls, "once is enough");
    disk.rot(&path, 1024 + 200, 1);
    assert!(matches!(open(&disk, Position::ZERO, 4), Err(LogError::Damaged { .. })));
}

#[test]
fn bytes_of_a_torn_batch_are_never_taken_for_a_later_one() {
    let before = disk();
    let mut log = begin(&before);
    log.write(&[persist(Some((1, 1)), entries(1, 1, 1, 100))]).unwrap();
    before.cut_power_at(before.calls() + 3);
    log.write(&[persist(Some((2, 1)), entries(2, 7, 2, 400))]).unwrap_err();
    for (first, term) in (0..40).flat_map(|seed| [(seed, 2), (seed, 9)]) {
        let disk = before.fork();
        disk.crash(first);
        let (mut log, recovered) = open(&disk, Position::ZERO, 3).unwrap();
        // The same records with another vote, and ones of the same length in another term: what is left of the old
        // batch lies exactly where the new one goes.
        let next = recovered.last.index.0 + 1;
        let again = [persist(Some((term, 3)), entries(next, next + 5, term, 400))];
        disk.cut_power_at(disk.calls() + 2);
        let result = log.write(&again);
        let mut attempted = Model::of(&recovered);
        attempted.write(&again);
        for second in 0..20 {
            let disk = disk.fork();
            disk.crash(second);
            let found = Model::of(&reopen(&disk));
            assert!(found == attempted || (result.is_err() && found == Model::of(&recovered)));
        }
    }
}

#[test]
fn reads_return_what_was_written_within_their_bounds() {
    for seed in 0..6 {
        let disk = disk();
        let mut log = begin(&disk);
        let mut model = Model::default();
        for batch in workload(seed, 40) {
            log.write(&batch).unwrap();
            model.write(&batch);
        }
        check_reads(&log, &model);
        drop(log);
        check_reads(&begin(&disk), &model);
    }
}

fn check_reads(log: &Log, model: &Model) {
    let last = model.entries.len();
    let position =
        |index: usize| index.checked_sub(1).map_or(Position::ZERO, |at| model.entries[at].position);
    for from in 1..=last {
        for (to, max) in [(last, usize::MAX), ((from + 2).min(last), usize::MAX), (last, 700), (from, 0)] {
            let (previous, found) = log.read(Index(from as u64), Index(to as u64), max).unwrap();
            assert_eq!(previous, position(from - 1));
            assert_eq!(found, model.entries[from - 1..from - 1 + found.len()]);
            let size: usize = found.iter().map(Entry::size).sum();
            assert!(found.len() == 1 || size <= max);
            let more = model.entries.get(from - 1 + found.len()).map_or(0, Entry::size);
            assert!(from + found.len() > to || size.saturating_add(more) > max, "stopped early");
        }
    }
    let last = last as u64;
    for (from, to) in [(0, 1), (1, last + 1), (last + 1, last + 1), (2, 1)] {
        assert!(matches!(log.read(Index(from), Index(to), 1), Err(LogError::Absent { .. })));
    }
}

#[test]
fn segments_are_discarded_oldest_first() {
    let disk = disk();
    let bytes = with_sixty(&disk).disk_bytes();
    let applied = Position::new(45, 2);
    let (mut log, recovered) = open(&disk, applied, 4).unwrap();
    let discarded = log.discard_to(applied.index).unwrap();
    assert!(discarded.index.0 > 20 && discarded.index <= applied.index, "{discarded}");
    assert!(log.disk_bytes() < bytes && log.discarded() == discarded);
    assert!(matches!(log.read(discarded.index, discarded.index, 1), Err(LogError::Absent { .. })));
    let (previous, found) = log.read(discarded.index.next(), Index(50), usize::MAX).unwrap();
    assert_eq!((previous, found.len() as u64), (discarded, 50 - discarded.index.0));
    let again = open(&disk, applied, 5).unwrap().1;
    assert_eq!(again, Recovered { discarded, ..recovered });
    assert_eq!((again.base, again.hard.vote), (applied, Some(NodeId(3))));
    assert!(matches!(open(&disk, Position::ZERO, 5), Err(LogError::Elsewhere { .. })));
}

/// Entries 1 to 60, then 41 to 50 in a later term.
fn with_sixty(disk: &SimDisk) -> Log {
    let mut log = begin(disk);
    for index in 1..=60 {
        log.write(&[persist(Some((1, 1)), entries(index, index, 1, 600))]).unwrap();
    }
    log.write(&[persist(Some((2, 3)), entries(41, 50, 2, 600))]).unwrap();
    log
}

#[test]
fn a_crash_while_segments_are_discarded_loses_nothing() {
    let before = disk();
    with_sixty(&before);
    let applied = Position::new(45, 2);
    for call in 1.. {
        let disk = before.fork();
        disk.cut_power_at(call);
        if let Ok((mut log, _)) = open(&disk, applied, 4)
            && log.discard_to(applied.index).is_ok()
        {
            break;
        }
        for seed in 0..4 {
            let disk = disk.fork();
            disk.crash(seed);
            let recovered = open(&disk, applied, 4).unwrap().1;
            assert_eq!(recovered.entries, entries(46, 50, 2, 600));
        }
    }
}

/// A removal whose sync failed is seen as done until the power is lost, and then is not, though later ones have lasted.
#[test]
fn a_removal_that_comes_undone_leaves_no_gap() {
    let before = disk();
    with_sixty(&before);
    let (applied, mut gaps) = (Position::new(45, 2), 0);
    for call in 1.. {
        let disk = before.fork();
        disk.fail_at(call, io::ErrorKind::Other);
        if let Ok((mut log, _)) = open(&disk, applied, 4)
            && log.discard_to(applied.index).is_ok()
        {
            break;
        }
        disk.restart();
        open(&disk, applied, 4).unwrap().0.discard_to(applied.index).unwrap();
        let gap = || {
            let names = disk.list(Path::new(DIR)).unwrap();
            let number = |name: &String| u64::from_str_radix(name.strip_suffix(".log")?, 16).ok();
            let numbers: Vec<u64> = names.iter().filter_map(number).collect();
            numbers.windows(2).any(|pair| pair[0] + 1 != pair[1])
        };
        disk.crash(1);
        gaps += u64::from(gap());
        let (mut log, recovered) = open(&disk, applied, 4).unwrap();
        assert_eq!(recovered.entries, entries(46, 50, 2, 600));
        assert!(!gap(), "what came back is removed again");
        log.write(&[persist(None, entries(51, 51, 2, 600))]).unwrap();
    }
    assert!(gaps > 0, "a removal came undone");
}

#[test]
fn a_state_that_is_not_of_this_log_is_refused() {
    let disk = disk();
    assert!(matches!(open(&disk, Position::new(1, 1), 3), Err(LogError::Elsewhere { .. })));
    begin(&disk).write(&[persist(None, entries(1, 5, 1, 10))]).unwrap();
    let (_, recovered) = open(&disk, Position::new(3, 1), 3).unwrap();
    assert_eq!((recovered.base, recovered.entries), (Position::new(3, 1), entries(4, 5, 1, 10)));
    for applied in [Position::new(6, 1), Position::new(3, 2)] {
        assert!(matches!(open(&disk, applied, 3), Err(LogError::Elsewhere { .. })));
    }
}

#[test]
fn a_missing_segment_is_named() {
    let disk = disk();
    with_sixty(&disk);
    disk.remove(&Path::new(DIR).join("0000000000000002.log")).unwrap();
    match open(&disk, Position::ZERO, 1) {
        Err(LogError::Missing { file }) => assert_eq!(file, "0000000000000002.log"),
        other => panic!("{:?}", other.map(|(_, recovered)| recovered)),
    }
}

#[test]
fn what_does_not_continue_the_log_or_is_too_large_is_refused() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(None, entries(1, 2, 1, 10))]).unwrap();
    for from in [0, 4] {
        let batch = [persist(None, entries(from, from + 1, 1, 10))];
        assert!(matches!(log.write(&batch), Err(LogError::OutOfOrder { .. })));
    }
    let gap = [persist(None, vec![entry(3, 1, 1), entry(5, 1, 1)])];
    assert!(matches!(log.write(&gap), Err(LogError::OutOfOrder { .. })));
    // A segment of 8192 has room beside its header's sector, a mark of 96 and a record's 32 bytes.
    let largest = 8192 - 512 - 96 - 32;
    log.write(&[persist(None, vec![entry(3, 1, largest)])]).unwrap();
    assert_eq!(reopen(&disk).last, Position::new(3, 1));
    let larger = [persist(None, vec![entry(4, 1, largest + 1)])];
    assert!(matches!(begin(&disk).write(&larger), Err(LogError::TooLarge { .. })));
    // A large segment does not take an entry that no reader would accept.
    let large = Settings { segment_bytes: 4 << 20, ..settings(3) };
    let (mut log, _) = Log::open_with(sim(&rig::disk()), Path::new(DIR), Position::ZERO, large).unwrap();
    log.write(&[persist(None, vec![entry(1, 1, ENTRY_BYTES)])]).unwrap();
    assert_eq!(log.read(Index(1), Index(1), 1).unwrap().1.len(), 1);
    let larger = [persist(None, vec![entry(2, 1, ENTRY_BYTES + 1)])];
    assert!(matches!(log.write(&larger), Err(LogError::TooLarge { .. })));
}

#[test]
fn later_writes_of_one_call_replace_earlier_ones_and_large_ones_are_split() {
    let disk = disk();
    let mut log = begin(&disk);
    let batch = [
        persist(Some((1, 1)), entries(1, 8, 1, 900)),
        persist(Some((2, 0)), entries(4, 5, 2, 900)),
        persist(None, entries(6, 20, 2, 900)),
        persist(None, Vec::new()),
    ];
    log.write(&batch).unwrap();
    let mut model = Model::default();
    model.write(&batch);
    assert_eq!(Model::of(&reopen(&disk)), model);
    check_reads(&log, &model);
}

#[test]
fn a_batch_costs_one_write_and_one_sync_and_nothing_costs_nothing() {
    let disk = disk();
    let mut log = begin(&disk);
    // The first chunk of 1024 takes one batch; then the file grows by another, for two more.
    log.write(&[persist(None, entries(1, 1, 1, 10))]).unwrap();
    log.write(&[persist(None, entries(2, 2, 1, 10))]).unwrap();
    let calls = disk.calls();
    let together: Vec<Persist> = (3..6).map(|index| persist(None, entries(index, index, 1, 10))).collect();
    log.write(&together).unwrap();
    assert_eq!(disk.calls(), calls + 2);
    log.write(&[]).unwrap();
    log.write(&[persist(None, Vec::new())]).unwrap();
    assert_eq!(disk.calls(), calls + 2);
}

#[test]
fn the_bytes_of_a_segment_are_a_promise() {
    let disk = disk();
    let mut log = begin(&disk);
    log.write(&[persist(Some((5, 2)), vec![entry(1, 5, 0), entry(2, 5, 3)])]).unwrap();
    log.settle().unwrap();
    let bytes = disk.content(&Path::new(DIR).join("0000000000000001.log")).unwrap();
    let lines = bytes.chunks(16).enumerate().filter(|(_, line)| line.iter().any(|byte| *byte != 0));
    let shown = lines.fold(String::new(), |shown, (number, line)| {
        let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{shown}{:04x}  {}\n", number * 16, hex.join(" "))
    });
    assert_eq!(shown, include_str!("golden/segment.txt"), "\n{shown}");
}

#[test]
fn real_files_with_spares_made_by_a_thread() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { background: true, ..settings(5) };
    let disk = Arc::new(kvd::disk::RealDisk);
    let (mut log, _) = Log::open_with(disk.clone(), dir.path(), Position::ZERO, settings).unwrap();
    let mut model = Model::default();
    for batch in workload(8, 60) {
        log.write(&batch).unwrap();
        model.write(&batch);
    }
    check_reads(&log, &model);
    drop(log);
    let (log, recovered) = Log::open_with(disk, dir.path(), Position::ZERO, settings).unwrap();
    assert_eq!(Model::of(&recovered), model);
    assert!(log.disk_bytes() > settings.segment_bytes);
}
