//! When a flush is due, and what is seen while one is under way.

use super::*;

#[test]
fn nothing_is_due_while_everything_is_on_disk() {
    let mut bench = Bench::new();
    assert!(!bench.state.flush_due(u64::MAX));
    assert!(bench.state.begin_flush(0).is_none());
    bench.write(set("k", "v"));
    bench.flush();
    assert!(!bench.state.flush_due(u64::MAX));
}

#[test]
fn a_flush_is_due_at_its_age() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    assert!(!bench.state.flush_due(9_999));
    assert!(bench.state.flush_due(10_000));
    let flushed = bench.state.begin_flush(10_500).unwrap().run().unwrap();
    bench.state.finish_flush(flushed);
    bench.write(set("k", "v"));
    assert!(!bench.state.flush_due(20_499));
    assert!(bench.state.flush_due(20_500));
}

#[test]
fn an_empty_entry_is_flushed_too_so_that_the_log_can_be_discarded() {
    let mut bench = Bench::new();
    bench.state.apply(&Entry { position: Position::new(1, 4), payload: Payload::Noop }).unwrap();
    assert!(bench.state.flush_due(10_000));
    bench.flush();
    bench.reopen();
    assert_eq!(bench.state.applied(), Position::new(1, 4));
}

#[test]
fn a_flush_is_due_at_so_many_keys() {
    let mut bench = Bench::with(StateLimits { overlay_entries: 3, ..limits() });
    bench.set_all(&["a", "b", "b"], "v");
    assert!(!bench.state.flush_due(0));
    bench.write(set("c", "v"));
    assert!(bench.state.flush_due(0));
}

#[test]
fn a_flush_is_due_at_so_many_bytes_changes_and_request_ids_included() {
    let mut measured = Bench::new();
    measured.write(set("k", "v"));
    let State { active, recent, requests, .. } = &measured.state;
    let bytes = active.bytes() + recent.bytes() + requests.unflushed_bytes();
    for (overlay_bytes, due) in [(bytes, true), (bytes + 1, false)] {
        let mut bench = Bench::with(StateLimits { overlay_bytes, ..limits() });
        bench.write(set("k", "v"));
        assert_eq!(bench.state.flush_due(0), due);
    }
}

#[test]
fn deletes_of_absent_keys_fill_no_overlay_but_their_ids_are_counted() {
    let mut bench = Bench::with(StateLimits { overlay_bytes: 1_000, ..limits() });
    for _ in 0..100 {
        bench.write(delete("absent"));
    }
    assert_eq!(bench.state.active.len(), 0);
    assert!(bench.state.flush_due(0));
}

#[test]
fn reads_look_at_active_frozen_and_base_in_turn() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d"], "base");
    bench.flush();
    bench.write(set("b", "frozen"));
    bench.write(set("c", "frozen"));
    bench.write(delete("d"));
    let flush = bench.state.begin_flush(0).unwrap();
    bench.write(set("c", "active"));
    let read = |bench: &Bench| ["a", "b", "c", "d"].map(|key| bench.row(key).map(|row| row.3));
    let expected = [Some("base"), Some("frozen"), Some("active"), None].map(|value| value.map(str::to_owned));
    assert_eq!(read(&bench), expected);
    let flushed = flush.run().unwrap();
    assert_eq!(read(&bench), expected, "durable, and the state not yet told");
    bench.state.finish_flush(flushed);
    assert_eq!(read(&bench), expected);
    bench.flush();
    bench.reopen();
    assert_eq!(read(&bench), expected);
}

#[test]
fn a_delete_during_a_flush_hides_what_the_flush_writes() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    let flush = bench.state.begin_flush(0).unwrap();
    assert!(bench.write(delete("k")).existed);
    let flushed = flush.run().unwrap();
    bench.state.finish_flush(flushed);
    assert_eq!(bench.row("k"), None);
    assert!(!bench.write(delete("k")).existed);
}

#[test]
fn only_one_flush_is_under_way_and_a_full_overlay_behind_it_is_said() {
    let mut bench = Bench::with(StateLimits { overlay_entries: 1, ..limits() });
    bench.write(set("a", "v"));
    assert!(!bench.state.saturated());
    let flush = bench.state.begin_flush(0).unwrap();
    assert!(!bench.state.saturated());
    bench.write(set("b", "v"));
    assert!(bench.state.saturated());
    assert!(!bench.state.flush_due(u64::MAX));
    assert!(bench.state.begin_flush(0).is_none());
    let flushed = flush.run().unwrap();
    bench.state.finish_flush(flushed);
    assert!(!bench.state.saturated());
    assert!(bench.state.flush_due(0));
}

#[test]
fn what_is_flushed_is_what_was_applied_when_it_began() {
    let mut bench = Bench::new();
    bench.write(set("a", "v"));
    let flush = bench.state.begin_flush(0).unwrap();
    bench.write(set("b", "v"));
    let flushed = flush.run().unwrap();
    assert_eq!(flushed.position(), Position::new(1, 1));
    assert_eq!(bench.state.flushed(), Position::ZERO);
    bench.state.finish_flush(flushed);
    assert_eq!(bench.state.flushed(), Position::new(1, 1));
    bench.reopen();
    assert_eq!(bench.state.applied(), Position::new(1, 1));
    assert_eq!((bench.row("a").is_some(), bench.row("b")), (true, None));
}

#[test]
fn a_flush_runs_on_another_thread() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    let flush = bench.state.begin_flush(0).unwrap();
    let flushed = std::thread::spawn(|| flush.run()).join().unwrap().unwrap();
    bench.state.finish_flush(flushed);
    assert_eq!(bench.row("k"), Some((1, 1, 1, "v".into())));
    assert!(bench.state.disk_bytes() > 0);
}

#[test]
fn chunks_of_forgotten_ids_leave_the_disk() {
    let mut bench = Bench::new();
    for _ in 0..40 {
        bench.write(set("k", "v"));
        bench.flush();
    }
    assert_eq!(bench.state.store.stored_chunks(), limits().request_ids);
}

#[test]
fn a_flushed_overlay_is_taken_apart_by_the_next_flush_and_not_by_the_caller() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    let Some(Slot::Row(row)) = bench.state.active.get(b"k") else { panic!("just written") };
    let row = Arc::downgrade(row);
    bench.flush();
    assert_eq!(row.strong_count(), 1, "kept when the flush is finished");
    bench.write(set("other", "v"));
    let flush = bench.state.begin_flush(0).unwrap();
    assert_eq!(row.strong_count(), 1, "kept when the next begins");
    drop(flush.run().unwrap());
    assert_eq!(row.strong_count(), 0);
}
