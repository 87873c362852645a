//! Writes that are judged by what is there: each rule, and that a repetition hears what the first was told.

use protocol::{Condition, KeyRange, Verdict as Judgement};

use super::*;

fn conditional(key: &str, value: Option<&str>, condition: Condition, previous: bool) -> Operation {
    Operation::Conditional { key: key.into(), value: value.map(Into::into), condition, previous }
}

fn set_if(condition: Condition) -> Operation {
    conditional("k", Some("new"), condition, false)
}

fn increment(key: &str, by: i64) -> Operation {
    Operation::Increment { key: key.into(), by }
}

fn delete_range(from: &str, to: &str, most: u32) -> Operation {
    Operation::DeleteRange { range: KeyRange { from: from.into(), to: Some(to.into()) }, most }
}

/// Verdict and number.
fn told(decided: &Decided) -> (Judgement, u64) {
    (decided.verdict, decided.number)
}

#[test]
fn a_condition_is_judged_by_what_is_there() {
    let value = |value: &str| Condition::Value(value.into());
    for (condition, on_absent, on_present) in [
        (Condition::Always, true, true),
        (Condition::Absent, true, false),
        (Condition::Revision(0), false, false),
        (Condition::Revision(1), false, true),
        (Condition::Revision(2), false, false),
        (value("old"), false, true),
        (value(""), false, false),
    ] {
        let mut absent = Bench::new();
        let decided = absent.decide(set_if(condition.clone()));
        let verdict = if on_absent { Judgement::Done } else { Judgement::Unmet };
        assert_eq!((told(&decided), decided.existed), ((verdict, 0), false), "{condition:?} of nothing");
        assert_eq!(absent.row("k").is_some(), on_absent);

        let mut present = Bench::new();
        present.write(set("k", "old"));
        let decided = present.decide(set_if(condition.clone()));
        let verdict = if on_present { Judgement::Done } else { Judgement::Unmet };
        assert_eq!((told(&decided), decided.existed), ((verdict, 1), true), "{condition:?} of a row");
        let row = if on_present { (2, 1, 2, "new".into()) } else { (1, 1, 1, "old".into()) };
        assert_eq!(present.row("k"), Some(row), "{condition:?}");
    }
}

#[test]
fn a_conditional_removal_removes_or_leaves_what_is_there() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    let remove = |condition| conditional("k", None, condition, false);
    assert_eq!(told(&bench.decide(remove(Condition::Revision(7)))), (Judgement::Unmet, 1));
    assert!(bench.row("k").is_some());
    assert_eq!(told(&bench.decide(remove(Condition::Value(b"v".to_vec())))), (Judgement::Done, 1));
    assert_eq!(bench.row("k"), None);
    assert_eq!(told(&bench.decide(remove(Condition::Always))), (Judgement::Done, 0));
}

#[test]
fn the_row_before_is_shown_where_it_is_wanted() {
    let mut bench = Bench::new();
    let write = |condition| conditional("k", Some("new"), condition, true);
    assert_eq!(bench.decide(write(Condition::Always)).previous, None);
    let before = bench.state.get(b"k").unwrap();
    assert_eq!(bench.decide(write(Condition::Absent)).previous, before, "also where nothing is done");
    assert_eq!(bench.decide(write(Condition::Revision(1))).previous, before);
    assert_eq!(bench.decide(set_if(Condition::Always)).previous, None, "it was not asked for");
}

#[test]
fn a_condition_that_does_not_hold_changes_no_row_and_is_remembered() {
    let mut bench = Bench::new();
    bench.write(set("k", "old"));
    let (rows, row) = (bench.state.rows_hash, bench.row("k"));
    let write = set_if(Condition::Absent);
    let Ok(Outcome::Decided(first)) = bench.judge(request(1, 1), write.clone()) else { panic!() };
    assert_eq!(told(&first), (Judgement::Unmet, 1));
    assert_eq!((bench.state.rows_hash, bench.row("k")), (rows, row));
    bench.write(delete("k"));
    let expected = Decided { deduplicated: true, ..*first };
    for reopened in [false, true] {
        if reopened {
            bench.flush();
            bench.reopen();
        }
        let again = bench.judge(request(1, 1), write.clone());
        assert_eq!(again, Ok(Outcome::Decided(Box::new(expected.clone()))), "reopened: {reopened}");
        assert_eq!(bench.row("k"), None, "it would hold now");
    }
}

#[test]
fn a_repetition_hears_the_number_but_sees_no_row() {
    let mut bench = Bench::new();
    bench.write(set("k", "old"));
    let write = conditional("k", Some("new"), Condition::Value(b"old".to_vec()), true);
    let Ok(Outcome::Decided(first)) = bench.judge(request(1, 1), write.clone()) else { panic!() };
    assert!(first.previous.is_some());
    let Ok(Outcome::Decided(again)) = bench.judge(request(1, 1), write) else { panic!() };
    assert_eq!(*again, Decided { deduplicated: true, previous: None, ..*first });

    let Ok(Outcome::Decided(first)) = bench.judge(request(2, 1), increment("n", 5)) else { panic!() };
    assert_eq!((first.sum(), first.existed), (5, false));
    bench.decide(increment("n", 1));
    let Ok(Outcome::Decided(again)) = bench.judge(request(2, 1), increment("n", 5)) else { panic!() };
    assert_eq!((again.sum(), again.revision, again.deduplicated), (5, first.revision, true));
    assert_eq!(bench.row("n").unwrap().3, "6");
}

#[test]
fn another_condition_under_a_known_id_is_another_operation() {
    let mut bench = Bench::new();
    bench.judge(request(1, 0), set_if(Condition::Absent)).unwrap();
    for other in [
        set_if(Condition::Always),
        set("k", "new"),
        conditional("k", Some("new"), Condition::Absent, true),
        conditional("k", None, Condition::Absent, false),
    ] {
        assert!(matches!(bench.judge(request(1, 0), other), Err(Refused::BadRequestId(_))));
    }
}

#[test]
fn an_increment_adds_and_an_absent_key_counts_as_zero() {
    let mut bench = Bench::new();
    assert_eq!(bench.decide(increment("n", 3)).sum(), 3);
    assert_eq!(bench.decide(increment("n", -5)).sum(), -2);
    assert_eq!(bench.row("n"), Some((2, 1, 2, "-2".into())));
    bench.flush();
    assert_eq!(bench.decide(increment("n", 0)).sum(), -2);
    assert_eq!(bench.row("n"), Some((3, 1, 3, "-2".into())));
}

#[test]
fn an_increment_reaches_its_bounds_and_not_one_past_them() {
    for (bound, by) in [(i64::MAX, 1), (i64::MIN, -1)] {
        let mut bench = Bench::new();
        bench.write(set("n", &(bound - by).to_string()));
        assert_eq!(bench.decide(increment("n", by)).sum(), bound);
        let row = bench.row("n");
        let decided = bench.decide(increment("n", by));
        assert_eq!((decided.verdict, decided.sum()), (Judgement::Overflow, bound));
        assert_eq!(bench.row("n"), row);
    }
}

#[test]
fn nothing_is_added_to_what_is_no_number() {
    for value in ["", "a", "1.5", " 1", "1\n", "0x1", "9223372036854775808", "--1", "1_000"] {
        let mut bench = Bench::new();
        bench.write(set("n", value));
        let (hash, row) = (bench.state.rows_hash, bench.row("n"));
        assert_eq!(told(&bench.decide(increment("n", 1))), (Judgement::NotANumber, 1), "{value:?}");
        assert_eq!((bench.state.rows_hash, bench.row("n")), (hash, row), "{value:?}");
    }
    let mut bench = Bench::new();
    let bytes = Operation::Set { key: b"n".to_vec(), value: vec![0xff] };
    bench.write(bytes);
    assert_eq!(bench.decide(increment("n", 1)).verdict, Judgement::NotANumber);
}

#[test]
fn a_range_is_removed_as_a_whole_or_not_at_all() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b1", "b2", "b3", "c"], "v");
    let row = bench.row("b1");
    let decided = bench.decide(delete_range("b", "c", 2));
    assert_eq!((told(&decided), decided.existed), ((Judgement::TooMany, 0), true));
    assert_eq!(bench.row("b1"), row);
    let decided = bench.decide(delete_range("b", "c", 3));
    assert_eq!(told(&decided), (Judgement::Done, 3));
    assert_eq!(
        ["a", "b1", "b2", "b3", "c"].map(|key| bench.row(key).is_some()),
        [true, false, false, false, true]
    );
    let decided = bench.decide(delete_range("b", "c", 3));
    assert_eq!((told(&decided), decided.existed), ((Judgement::Done, 0), false));
}

#[test]
fn a_range_is_looked_for_in_every_layer_and_the_newest_decides() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c", "d", "e"], "disk");
    bench.write(delete("e"));
    bench.flush();
    bench.set_all(&["b", "f"], "frozen");
    bench.write(delete("c"));
    let flush = bench.state.begin_flush(0).unwrap();
    bench.set_all(&["c", "g"], "active");
    bench.write(delete("d"));
    // Left are a on disk, b and f in the frozen overlay, c and g in the active one.
    assert_eq!(told(&bench.decide(delete_range("a", "z", 4))), (Judgement::TooMany, 0));
    assert_eq!(told(&bench.decide(delete_range("a", "z", 5))), (Judgement::Done, 5));
    let flushed = flush.run().unwrap();
    bench.state.finish_flush(flushed);
    assert!(["a", "b", "c", "d", "e", "f", "g"].iter().all(|key| bench.row(key).is_none()));
    assert_eq!(bench.state.rows_hash, Bench::new().state.rows_hash);
}

#[test]
fn a_range_that_no_check_has_seen_does_no_harm() {
    let mut bench = Bench::new();
    bench.write(set("b", "v"));
    assert_eq!(told(&bench.decide(delete_range("c", "a", 9))), (Judgement::Done, 0));
    assert_eq!(told(&bench.decide(delete_range("b", "b", 9))), (Judgement::Done, 0));
    assert_eq!(told(&bench.decide(delete_range("a", "c", 0))), (Judgement::TooMany, 0));
    assert!(bench.row("b").is_some());
}

#[test]
fn a_row_is_the_same_however_it_was_written() {
    let hash = |operation| {
        let mut bench = Bench::new();
        bench.judge(request(1, 0), operation).unwrap();
        bench.state.rows_hash
    };
    let plain = hash(set("k", "1"));
    assert_eq!(hash(conditional("k", Some("1"), Condition::Absent, true)), plain);
    assert_eq!(hash(increment("k", 1)), plain);
}
