//! Transactions: what each compare says, what each step sees, and that all of it happens or nothing.

use protocol::{
    KeyRange, Transaction, Verdict as Judgement,
    limits::{RESULT_BYTES, ROW_BYTES, VALUE_BYTES},
    operation::{Action, Compare, Operand, Relation},
    response::Done,
};

use super::*;

fn put(key: &str, value: &str) -> Action {
    Action::Set { key: key.into(), value: value.into() }
}

fn get(key: &str) -> Action {
    Action::Get { key: key.into() }
}

fn remove(key: &str) -> Action {
    Action::Delete { key: key.into() }
}

fn range(from: &str, to: &str, limit: u32) -> Action {
    Action::Range { range: KeyRange { from: from.into(), to: Some(to.into()) }, limit }
}

fn compare(key: &str, relation: Relation, operand: Operand) -> Compare {
    Compare { key: key.into(), relation, operand }
}

fn transaction(compares: Vec<Compare>, then: Vec<Action>, otherwise: Vec<Action>) -> Operation {
    Operation::Transaction(Transaction { compares, then, otherwise })
}

fn all(then: Vec<Action>) -> Operation {
    transaction(Vec::new(), then, Vec::new())
}

/// Key, revision, version and value of what a range found, and whether there is more.
fn rows(done: &Done) -> (Vec<(String, u64, u64, String)>, bool) {
    let Done::Rows { rows, more } = done else { panic!("{done:?}") };
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let row =
        |(key, found): &(Vec<u8>, Found)| (text(key), found.revision, found.version, text(&found.value));
    (rows.iter().map(row).collect(), *more)
}

#[test]
fn a_compare_is_judged_by_what_is_there() {
    use Relation::{Equal, Greater, Less, NotEqual};
    // The key was written at 1 and at 2, so its version is 2. Of each operand: =, !=, <, > of the row and of nothing.
    let value = |value: &str| Operand::Value(value.into());
    for (operand, on_row, on_nothing) in [
        (value("m"), [true, false, false, false], [false, true, false, false]),
        (value("n"), [false, true, true, false], [false, true, false, false]),
        (value("a"), [false, true, false, true], [false, true, false, false]),
        (Operand::Revision(2), [true, false, false, false], [false, true, true, false]),
        (Operand::Revision(3), [false, true, true, false], [false, true, true, false]),
        (Operand::Revision(0), [false, true, false, true], [true, false, false, false]),
        (Operand::Version(2), [true, false, false, false], [false, true, true, false]),
        (Operand::Version(1), [false, true, false, true], [false, true, true, false]),
        (Operand::Version(0), [false, true, false, true], [true, false, false, false]),
        (Operand::Present, [true, false, false, false], [false, true, true, false]),
    ] {
        for (at, relation) in [Equal, NotEqual, Less, Greater].into_iter().enumerate() {
            if operand == Operand::Present && at > 1 {
                continue;
            }
            for (key, expected) in [("there", on_row[at]), ("gone", on_nothing[at])] {
                let mut bench = Bench::new();
                bench.set_all(&["there"; 2], "m");
                let compares = vec![compare(key, relation, operand.clone())];
                let decided =
                    bench.decide(transaction(compares, vec![put("then", "")], vec![put("else", "")]));
                let shown = (decided.verdict == Judgement::Done, bench.row("then").is_some());
                assert_eq!(shown, (expected, expected), "{key} {relation:?} {operand:?}");
                assert_eq!(bench.row("else").is_some(), !expected);
            }
        }
    }
}

#[test]
fn one_compare_that_does_not_hold_is_enough_and_none_at_all_hold() {
    let mut bench = Bench::new();
    bench.write(set("a", "1"));
    let holds = || compare("a", Relation::Equal, Operand::Present);
    let fails = || compare("b", Relation::Equal, Operand::Present);
    let verdict =
        |bench: &mut Bench, compares| bench.decide(transaction(compares, vec![get("a")], vec![])).verdict;
    assert_eq!(verdict(&mut bench, vec![]), Judgement::Done);
    assert_eq!(verdict(&mut bench, vec![holds(), holds()]), Judgement::Done);
    assert_eq!(verdict(&mut bench, vec![holds(), fails()]), Judgement::Unmet);
    assert_eq!(verdict(&mut bench, vec![fails(), holds()]), Judgement::Unmet);
}

#[test]
fn everything_is_written_at_one_revision_and_steps_see_those_before_them() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "c"], "old");
    bench.flush();
    let decided = bench.decide(all(vec![
        range("a", "z", 10),
        put("a", "new"),
        remove("b"),
        put("d", "new"),
        get("a"),
        get("b"),
        range("a", "z", 10),
        remove("e"),
        range("a", "z", 2),
        range("a", "z", 3),
    ]));
    let results = decided.results;
    let row =
        |key: &str, revision, version, value: &str| (key.to_owned(), revision, version, value.to_owned());
    let old = |key, revision| row(key, revision, 1, "old");
    assert_eq!(rows(&results[0]), (vec![old("a", 1), old("b", 2), old("c", 3)], false));
    assert_eq!(results[1..4], [true, true, false].map(|existed| Done::Written { existed }));
    let a = Found { value: b"new".to_vec(), revision: 4, created: 1, version: 2, lease: None };
    assert_eq!(results[4..6], [Done::Read(Some(a)), Done::Read(None)]);
    let after = vec![row("a", 4, 2, "new"), old("c", 3), row("d", 4, 1, "new")];
    assert_eq!(rows(&results[6]), (after.clone(), false));
    assert_eq!(results[7], Done::Written { existed: false });
    assert_eq!(rows(&results[8]), (after[..2].to_vec(), true));
    assert_eq!(rows(&results[9]), (after, false));
    assert_eq!(bench.row("a"), Some((4, 1, 2, "new".into())));
    assert_eq!((bench.row("b"), bench.row("d")), (None, Some((4, 4, 1, "new".into()))));
}

#[test]
fn a_transaction_that_finds_too_much_changes_nothing() {
    let mut bench = Bench::new();
    let value = vec![b'v'; VALUE_BYTES];
    let key = b"k".to_vec();
    bench.write(Operation::Set { key, value });
    let rest = RESULT_BYTES - VALUE_BYTES - 2 * ROW_BYTES - 1;
    let fits = "v".repeat(rest);
    bench.write(set("l", &fits));
    let read = || vec![put("new", ""), get("k"), range("l", "m", 1)];
    let decided = bench.decide(all(read()));
    assert_eq!((decided.verdict, decided.results.len()), (Judgement::Done, 3));
    bench.write(delete("new"));
    bench.write(set("l", &(fits + "v")));
    let hash = bench.state.rows_hash;
    let request = request(1, 4);
    let Ok(Outcome::Decided(decided)) = bench.judge(request, all(read())) else { panic!() };
    assert_eq!((decided.verdict, decided.results.len()), (Judgement::TooLarge, 0));
    assert_eq!((bench.state.rows_hash, bench.row("new")), (hash, None));
    bench.write(delete("l"));
    let again = bench.judge(request, all(read()));
    assert_eq!(again, Ok(Outcome::Decided(Box::new(Decided { deduplicated: true, ..*decided }))));
}

#[test]
fn a_repetition_hears_the_verdict_and_sees_no_rows() {
    let mut bench = Bench::new();
    bench.write(set("a", "1"));
    let swap = || {
        let compares = vec![compare("a", Relation::Equal, Operand::Value(b"1".to_vec()))];
        transaction(compares, vec![put("a", "2"), get("a")], vec![get("a")])
    };
    let Ok(Outcome::Decided(first)) = bench.judge(request(1, 1), swap()) else { panic!() };
    assert_eq!((first.verdict, first.results.len()), (Judgement::Done, 2));
    bench.flush();
    bench.reopen();
    let Ok(Outcome::Decided(again)) = bench.judge(request(1, 1), swap()) else { panic!() };
    assert_eq!(*again, Decided { deduplicated: true, results: Vec::new(), ..*first });
    assert_eq!(bench.row("a"), Some((2, 1, 2, "2".into())));
}

#[test]
fn a_list_that_no_check_has_seen_does_no_harm() {
    let mut bench = Bench::new();
    bench.write(set("a", "1"));
    let decided = bench.decide(all(vec![
        put("a", "2"),
        remove("a"),
        put("a", "3"),
        put("b", "1"),
        remove("b"),
        range("z", "a", 3),
        range("a", "z", 0),
    ]));
    let existed: Vec<bool> =
        decided.results[..5].iter().map(|done| *done == Done::Written { existed: true }).collect();
    assert_eq!(existed, [true, true, false, false, true]);
    assert_eq!((rows(&decided.results[5]), rows(&decided.results[6])), ((vec![], false), (vec![], true)));
    assert_eq!(bench.row("a"), Some((2, 2, 1, "3".into())));
    bench.write(delete("a"));
    assert_eq!(bench.state.rows_hash, Bench::new().state.rows_hash);
}
