//! Small histories by hand, one for each thing that can be told apart.

use super::*;

/// A write of key `k` that was acknowledged; each operation has a client of its own.
fn written(call: Call, (invoked, ended): (u64, u64), revision: u64, existed: bool) -> Operation {
    Operation { client: invoked, call, invoked, ended, outcome: Outcome::Written { revision, existed } }
}

fn lost(call: Call, invoked: u64) -> Operation {
    Operation { client: invoked, call, invoked, ended: invoked, outcome: Outcome::Unknown }
}

fn set(value: &str) -> Call {
    Call::Set { key: b"k".to_vec(), value: value.into() }
}

fn delete() -> Call {
    Call::Delete { key: b"k".to_vec() }
}

/// A read at `revision`; the row is (value, revision, created, version).
fn got((invoked, ended): (u64, u64), row: Option<(&str, u64, u64, u64)>, revision: u64) -> Operation {
    let seen = |(value, revision, created, version): (&str, _, _, _)| Seen {
        value: value.into(),
        revision,
        created,
        version,
    };
    let outcome = Outcome::Read { found: row.map(seen), revision };
    Operation { client: invoked, call: Call::Get { key: b"k".to_vec() }, invoked, ended, outcome }
}

fn stale(read: Operation) -> Operation {
    Operation { call: Call::StaleGet { key: b"k".to_vec() }, ..read }
}

#[track_caller]
fn accepts(operations: &[Operation]) -> Summary {
    check(operations).unwrap_or_else(|violation| panic!("{violation}"))
}

#[track_caller]
fn rejects(rule: Rule, operations: &[Operation]) -> String {
    let violation = check(operations).expect_err("a violation");
    assert_eq!(violation.rule, rule, "{violation}");
    violation.to_string()
}

#[test]
fn a_life_of_a_key_is_accepted_and_counted() {
    let summary = accepts(&[
        got((1, 2), None, 1),
        written(set("a"), (3, 4), 2, false),
        written(set("b"), (5, 6), 4, true),
        stale(got((5, 7), Some(("a", 2, 2, 1)), 3)),
        got((7, 8), Some(("b", 4, 2, 2)), 4),
        written(delete(), (9, 10), 7, true),
        written(delete(), (11, 12), 8, false),
        lost(set("c"), 13),
        got((14, 15), Some(("c", 9, 9, 1)), 11),
        Operation { outcome: Outcome::NotApplied, ..lost(set("d"), 16) },
    ]);
    let expected = Summary {
        keys: 1,
        unmet: 0,
        written: 4,
        reads: 3,
        stale_reads: 1,
        not_applied: 1,
        unknown: 1,
        unknown_seen: 1,
        unknown_inferred: 0,
        revision: 11,
    };
    assert_eq!(summary, expected);
}

#[test]
fn what_ended_before_has_the_lower_revision() {
    let (a, b) = (written(set("a"), (1, 2), 5, false), written(set("b"), (2, 4), 4, false));
    accepts(&[written(set("b"), (2, 4), 4, false), written(set("a"), (1, 2), 5, true)]);
    let later = Operation { invoked: 3, ..b };
    assert_eq!(
        rejects(Rule::Time, &[a, later]),
        "revisions against the order in time: client 2: set k=b -> written at 4, was not there [3..4], but before \
         came client 1: set k=a -> written at 5, was not there [1..2]"
    );
    let read = |moments, revision| got(moments, None, revision);
    rejects(Rule::Time, &[read((1, 2), 5), read((3, 4), 4)]);
    accepts(&[read((1, 3), 5), read((3, 4), 4), stale(read((5, 6), 1))]);
    rejects(Rule::Time, &[stale(read((1, 2), 5)), read((3, 4), 4)]);
    rejects(Rule::Time, &[read((1, 2), 5), written(set("a"), (3, 4), 5, false)]);
    rejects(Rule::Time, &[read((1, 2), 5), lost(set("a"), 3), got((4, 5), Some(("a", 4, 4, 1)), 6)]);
}

#[test]
fn a_read_shows_the_newest_write_at_its_revision() {
    let a = written(set("a"), (1, 9), 2, false);
    let b = written(set("b"), (1, 9), 4, true);
    let read = |row, revision| got((1, 9), row, revision);
    let with = |read| [a.clone(), b.clone(), read];
    accepts(&with(read(None, 1)));
    accepts(&with(read(Some(("a", 2, 2, 1)), 3)));
    accepts(&with(read(Some(("b", 4, 2, 2)), 4)));
    rejects(Rule::Newest, &with(read(None, 2)));
    rejects(Rule::Newest, &with(read(Some(("a", 2, 2, 1)), 4)));
    rejects(Rule::Newest, &with(read(Some(("b", 4, 2, 2)), 3)));
    rejects(Rule::Newest, &with(read(None, 4)));
    rejects(Rule::OneRevision, &with(read(Some(("b", 3, 2, 2)), 4)));
    rejects(Rule::Written, &with(read(Some(("x", 4, 2, 2)), 4)));
    let refused = Operation { outcome: Outcome::NotApplied, ..lost(set("c"), 1) };
    rejects(Rule::Refused, &[refused, read(Some(("c", 4, 4, 1)), 4)]);
    rejects(Rule::OwnRevision, &[a.clone(), Operation { outcome: a.outcome.clone(), ..b.clone() }]);
}

#[test]
fn rows_count_their_writes_and_name_their_creation() {
    let a = written(set("a"), (1, 9), 2, false);
    let b = written(set("b"), (1, 9), 4, true);
    let with = |row| [a.clone(), b.clone(), got((1, 9), Some(row), 6)];
    rejects(Rule::Version, &with(("b", 4, 2, 3)));
    rejects(Rule::Version, &with(("b", 4, 2, 1)));
    rejects(Rule::Created, &with(("b", 4, 3, 2)));
    rejects(Rule::Created, &with(("b", 4, 4, 1)));
    rejects(Rule::Created, &with(("b", 4, 0, 2)));
    rejects(Rule::Existed, &[written(set("a"), (1, 9), 2, true)]);
    rejects(Rule::Existed, &[a.clone(), written(delete(), (1, 9), 3, false)]);
    rejects(Rule::Existed, &[a.clone(), written(delete(), (1, 9), 3, true), b.clone()]);
    let between = written(delete(), (1, 9), 3, true);
    rejects(Rule::Created, &[a.clone(), between, b.clone(), got((1, 9), Some(("b", 4, 2, 2)), 6)]);
    let absence = got((1, 9), None, 3);
    rejects(Rule::Newest, &[a, b, absence, got((1, 9), Some(("b", 4, 2, 2)), 6)]);
}

#[test]
fn a_write_of_unknown_outcome_explains_one_thing() {
    let a = written(set("a"), (1, 9), 2, false);
    let b = written(set("b"), (1, 9), 6, true);
    let row = |version| got((1, 9), Some(("b", 6, 2, version)), 6);
    let summary = accepts(&[a.clone(), b.clone(), row(3), lost(set("c"), 1)]);
    assert_eq!(summary.unknown_inferred, 1);
    rejects(Rule::Version, &[a.clone(), b.clone(), row(4), lost(set("c"), 1)]);
    accepts(&[a.clone(), b.clone(), row(4), lost(set("c"), 1), lost(set("d"), 1)]);
    rejects(Rule::Version, &[a.clone(), b.clone(), row(3), lost(delete(), 1)]);

    let gone = got((1, 9), None, 4);
    accepts(&[a.clone(), gone.clone(), lost(delete(), 1)]);
    rejects(Rule::Newest, &[a.clone(), gone.clone(), lost(set("c"), 1)]);
    rejects(Rule::Existed, &[a.clone(), gone.clone(), b.clone(), lost(delete(), 1)]);
    accepts(&[a.clone(), gone.clone(), b.clone(), lost(delete(), 1), lost(set("c"), 1)]);
    rejects(Rule::Newest, &[a.clone(), gone, lost(delete(), 10), got((8, 9), None, 6)]);

    let created = got((1, 9), Some(("b", 6, 4, 2)), 6);
    accepts(&[a.clone(), b.clone(), created.clone(), lost(delete(), 1), lost(set("c"), 1)]);
    rejects(Rule::Created, &[a.clone(), b.clone(), created.clone(), lost(set("c"), 1)]);
    rejects(Rule::Created, &[a, b, created, lost(delete(), 1)]);
}

#[test]
fn a_write_of_unknown_outcome_needs_a_revision_of_its_own() {
    let other = |revision| {
        let call = Call::Set { key: vec![b'o'], value: vec![u8::try_from(revision).unwrap()] };
        written(call, (1, 9), revision, revision > 3)
    };
    let a = written(set("a"), (1, 9), 2, false);
    let again = written(set("b"), (1, 9), 5, false);
    accepts(&[a.clone(), again.clone(), lost(delete(), 1), other(3)]);
    rejects(Rule::Existed, &[a.clone(), again.clone(), lost(delete(), 1), other(3), other(4)]);

    // Both keys need a delete between 2 and 6; between them stands one free revision, then two.
    let there = |revision| written(Call::Set { key: vec![b'p'], value: vec![9] }, (1, 9), revision, false);
    let gone = got((1, 9), None, 5);
    let gone_too = Operation { call: Call::Get { key: vec![b'p'] }, ..gone.clone() };
    let lost_too = lost(Call::Delete { key: vec![b'p'] }, 1);
    let both = [a, there(1), gone, gone_too, lost(delete(), 1), lost_too];
    rejects(Rule::Newest, &[both.as_slice(), &[other(3), other(4)]].concat());
    accepts(&[both.as_slice(), &[other(3)]].concat());
}

/// Each key alone could have its set at 4; the one of `o` was asked after 3, so both need it.
#[test]
fn writes_and_revisions_must_fit_together() {
    let other = |value: u8| Call::Set { key: vec![b'o'], value: vec![value] };
    let history = |asked| {
        [
            written(set("a"), (1, 2), 1, false),
            written(delete(), (3, 4), 3, true),
            lost(set("b"), 1),
            written(delete(), (1, 9), 6, true),
            lost(other(1), asked),
            written(other(2), (1, 9), 5, true),
        ]
    };
    accepts(&history(1));
    rejects(Rule::Existed, &history(5));
}

#[test]
fn a_write_of_unknown_outcome_is_seen_at_one_revision() {
    let c = lost(set("c"), 1);
    let read = |moments, revision| got(moments, Some(("c", revision, revision, 1)), 9);
    accepts(&[c.clone(), read((1, 2), 5), read((1, 2), 5)]);
    rejects(Rule::OneRevision, &[c.clone(), read((1, 2), 5), read((1, 2), 6)]);
    let taken = written(Call::Delete { key: vec![b'o'] }, (1, 2), 5, false);
    rejects(Rule::OwnRevision, &[c.clone(), read((1, 2), 5), taken]);
    let row = |version| got((1, 2), Some(("c", 5, 3, version)), 9);
    rejects(Rule::Version, &[c.clone(), row(2), row(3)]);
    rejects(Rule::Created, &[c, row(2), got((1, 2), Some(("c", 5, 4, 2)), 9)]);
}

#[test]
fn keys_that_vanish_together_have_one_revision_and_nothing_else_has_it() {
    let vanish = |key: u8| Call::Vanish { key: vec![key] };
    let other = written(Call::Set { key: vec![b'o'], value: vec![1] }, (1, 2), 2, false);
    let gone = [
        written(set("a"), (1, 2), 1, false),
        other,
        written(vanish(b'k'), (3, 4), 3, true),
        written(vanish(b'o'), (3, 4), 3, true),
    ];
    accepts(&[gone.as_slice(), &[got((5, 6), None, 3)]].concat());
    rejects(Rule::Newest, &[gone.as_slice(), &[got((5, 6), Some(("a", 1, 1, 1)), 3)]].concat());
    rejects(Rule::OwnRevision, &[gone.as_slice(), &[written(vanish(b'k'), (3, 6), 3, true)]].concat());
    rejects(Rule::OwnRevision, &[gone.as_slice(), &[written(set("b"), (3, 6), 3, true)]].concat());
    rejects(Rule::Existed, &[gone.as_slice(), &[written(vanish(b'k'), (5, 6), 4, true)]].concat());
}

#[test]
fn what_is_no_history_is_called_malformed() {
    rejects(Rule::Malformed, &[written(set("a"), (2, 1), 1, false)]);
    rejects(Rule::Malformed, &[written(set("a"), (1, 2), 0, false)]);
    rejects(Rule::Malformed, &[written(Call::Get { key: vec![] }, (1, 2), 1, false)]);
    rejects(Rule::Malformed, &[lost(set("a"), 1), lost(set("a"), 2)]);
}
