//! Small histories by hand. Moments are (asked, ended); `existed` and values are all that matters.

use super::*;
use crate::history::Seen;

fn operation(call: Call, (invoked, ended): (u64, u64), outcome: Outcome) -> Operation {
    Operation { client: invoked, call, invoked, ended, outcome }
}

fn set(value: &str, moments: (u64, u64), existed: bool) -> Operation {
    let call = Call::Set { key: b"k".to_vec(), value: value.into() };
    operation(call, moments, Outcome::Written { revision: 0, existed })
}

fn delete(moments: (u64, u64), existed: bool) -> Operation {
    operation(Call::Delete { key: b"k".to_vec() }, moments, Outcome::Written { revision: 0, existed })
}

fn get(value: Option<&str>, moments: (u64, u64)) -> Operation {
    let found = value.map(|value| Seen { value: value.into(), revision: 0, created: 0, version: 0 });
    operation(Call::Get { key: b"k".to_vec() }, moments, Outcome::Read { found, revision: 0 })
}

fn lost(operation: Operation) -> Operation {
    Operation { ended: operation.invoked, outcome: Outcome::Unknown, ..operation }
}

#[track_caller]
fn accepts(operations: &[Operation]) {
    check(operations, Limits::default()).unwrap_or_else(|violation| panic!("{violation}"));
}

/// The history has no order from the `at`-th end on.
#[track_caller]
fn rejects(at: usize, operations: &[Operation]) -> String {
    let violation = check(operations, Limits::default()).expect_err("a violation");
    assert!(matches!(violation, Violation::NotLinearizable { ended, .. } if ended == at), "{violation}");
    violation.to_string()
}

#[test]
fn one_client_alone() {
    accepts(&[get(None, (1, 2)), set("a", (3, 4), false), get(Some("a"), (5, 6)), delete((7, 8), true)]);
    rejects(1, &[set("a", (1, 2), true)]);
    rejects(1, &[delete((1, 2), true)]);
    rejects(2, &[set("a", (1, 2), false), get(None, (3, 4))]);
    rejects(2, &[set("a", (1, 2), false), set("b", (3, 4), false)]);
    rejects(3, &[set("a", (1, 2), false), set("b", (3, 4), true), get(Some("a"), (5, 6))]);
    rejects(2, &[set("a", (1, 2), false), delete((3, 4), false)]);
    rejects(1, &[get(Some("a"), (1, 2)), set("a", (3, 4), false)]);
}

#[test]
fn what_overlaps_has_any_order_and_what_does_not_has_one() {
    accepts(&[
        set("a", (1, 9), false),
        set("b", (1, 9), true),
        get(Some("a"), (1, 9)),
        get(Some("b"), (1, 9)),
    ]);
    let (a, b) = (set("a", (1, 3), false), set("b", (1, 3), true));
    accepts(&[a.clone(), b.clone(), get(Some("a"), (2, 4)), get(Some("b"), (5, 6))]);
    rejects(4, &[a, b, get(Some("b"), (2, 4)), get(Some("a"), (5, 6))]);
    // At the same moment they overlap.
    accepts(&[set("a", (1, 2), false), get(None, (2, 3))]);
    // A new value, then the old one again, while the write is still under way.
    let old = set("a", (1, 2), false);
    rejects(3, &[old, set("b", (3, 20), true), get(Some("b"), (4, 5)), get(Some("a"), (6, 7))]);
}

#[test]
fn an_unknown_outcome_stays_open_for_ever() {
    let a = lost(set("a", (1, 1), false));
    accepts(&[a.clone(), get(None, (5, 6)), get(Some("a"), (7, 8)), delete((9, 10), true)]);
    rejects(3, &[a.clone(), get(Some("a"), (5, 6)), delete((7, 8), true), get(Some("a"), (9, 10))]);
    rejects(1, &[get(Some("a"), (5, 6)), Operation { invoked: 7, ..a.clone() }]);
    // Nobody reads it, but a delete found something.
    accepts(&[a.clone(), get(None, (5, 6)), delete((7, 8), true)]);
    rejects(2, &[a.clone(), delete((5, 6), true), delete((7, 8), true)]);
    let b = lost(set("b", (2, 2), false));
    accepts(&[a.clone(), b.clone(), delete((5, 6), true), delete((7, 8), true), get(None, (9, 10))]);
    let gone = lost(delete((3, 3), false));
    accepts(&[set("c", (1, 2), false), gone.clone(), get(None, (4, 5))]);
    rejects(
        4,
        &[set("c", (1, 2), false), gone, get(None, (4, 5)), set("d", (6, 7), false), get(None, (8, 9))],
    );
    // It was read, so it cannot serve a delete as well.
    let twice = [a.clone(), delete((3, 4), true), get(Some("a"), (5, 6))];
    rejects(1, &twice[1..2]);
    rejects(2, &twice);
    accepts(&[twice.as_slice(), &[b]].concat());
}

#[test]
fn what_was_refused_never_happened_and_stale_reads_promise_nothing() {
    let refused = Operation { outcome: Outcome::NotApplied, ..set("a", (1, 2), false) };
    accepts(&[refused.clone(), get(None, (3, 4))]);
    let never = |history: &[Operation]| {
        matches!(check(history, Limits::default()), Err(Violation::NeverWritten { .. }))
    };
    assert!(never(&[refused, get(Some("a"), (3, 4))]));
    assert!(never(&[get(Some("x"), (3, 4))]));
    let stale = Operation { call: Call::StaleGet { key: b"k".to_vec() }, ..get(None, (3, 4)) };
    accepts(&[set("a", (1, 2), false), stale]);
}

#[test]
fn a_violation_shows_the_smallest_piece() {
    let mut history: Vec<_> =
        (0..100).map(|at| set(&format!("v{at}"), (10 * at + 1, 10 * at + 2), at > 0)).collect();
    history.push(lost(set("u", (500, 500), false)));
    history.push(set("x", (1001, 1009), true));
    history.push(get(Some("v99"), (1002, 1003)));
    history.push(get(Some("v98"), (1004, 1005)));
    history.push(get(Some("x"), (2001, 2005)));
    assert_eq!(
        rejects(102, &history),
        "key k is not linearizable: after 101 operations no order explains client 1004: get k -> v98 (revision 0, \
         created 0, version 0) at 0 [1004..1005]; its value is that of client 981: set k=v98 -> written at 0, existed \
         [981..982]; 1 earlier writes are of unknown outcome\
         \n    client 1001: set k=x -> written at 0, existed [1001..1009]\
         \n    client 1002: get k -> v99 (revision 0, created 0, version 0) at 0 [1002..1003]\
         \n    client 1004: get k -> v98 (revision 0, created 0, version 0) at 0 [1004..1005]"
    );
}

#[test]
fn a_search_that_takes_too_much_is_no_verdict() {
    let mut history: Vec<_> = (0..12).map(|at| set(&format!("v{at}"), (1, 100), false)).collect();
    history.extend((0..12).map(|_| delete((1, 100), true)));
    accepts(&history);
    history.push(get(Some("v0"), (200, 201)));
    let tight = Limits { configurations: 50 };
    let verdict = check(&history, tight).expect_err("no verdict");
    assert!(matches!(verdict, Violation::Undecided { configurations: 51, width: 24, .. }), "{verdict}");
    // A verdict about another key counts more.
    let other = Operation { call: Call::Get { key: b"z".to_vec() }, ..get(Some("no"), (1, 2)) };
    history.push(other);
    assert!(matches!(check(&history, tight), Err(Violation::NeverWritten { .. })));
    let wide: Vec<_> = (0..200).map(|_| get(None, (1, 2))).collect();
    assert!(matches!(check(&wide, Limits::default()), Err(Violation::Undecided { .. })));
}
