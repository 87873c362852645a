//! What the reports of writes look like in each format.

use protocol::{ClusterId, Decided, Verdict, response::Found};

use super::*;
use crate::{
    command::{
        increment::Incr,
        remove::{self, Del},
    },
    render::{Format, Screen},
};

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn shown(report: Result<Report, Failure>, format: Format) -> (String, String, u8) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&report, &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit.code())
}

fn plain(report: Report) -> (String, String, u8) {
    shown(Ok(report), Format::Plain)
}

fn request() -> RequestId {
    RequestId { token: [0; 16], learned: 0, cluster: ClusterId([0; 16]) }
}

fn written(existed: bool, deduplicated: bool) -> Written {
    Written { revision: 45, existed, deduplicated, request: request() }
}

fn set() -> Set {
    Set {
        key: "k".into(),
        value: Some("v".into()),
        file: None,
        term: Term::default(),
        if_absent: false,
        expect: Expectation::default(),
        request_id: None,
        loaded: Vec::new(),
    }
}

fn del() -> Del {
    let (key, expect) = (Some("k".into()), Expectation::default());
    Del { key, expect, prefix: None, range: None, max: 1000, request_id: None }
}

/// A write that found the key at revision 44, or absent where it is zero.
fn judged(verdict: Verdict, found: u64) -> Judged {
    let decided = Decided { revision: 45, verdict, number: found, existed: found > 0, ..Decided::default() };
    Judged { decided, request: request() }
}

fn with_previous(mut judged: Judged, value: &[u8]) -> Judged {
    judged.decided.previous =
        Some(Found { value: value.to_vec(), revision: 44, created: 40, version: 2, lease: None });
    judged
}

#[test]
fn set_says_the_revision() {
    assert_eq!(plain(set().report(&written(false, false))).0, "ok\trev 45\n");
    let repeated = shown(Ok(set().report(&written(true, true))), Format::Table).0;
    assert_eq!(repeated, "ok  rev 45  had been applied before\n");
    let json = shown(Ok(set().report(&written(false, false))), Format::Json).0;
    let id = "0".repeat(80);
    let want = format!(
        "{{\"schema\":\"kvctl.set/v1\",\"key\":\"k\",\"rev\":45,\"applied\":true,\"request_id\":\"{id}\",\
         \"deduplicated\":false}}\n"
    );
    assert_eq!(json, want);
}

#[test]
fn a_condition_that_does_not_hold_says_what_was_found() {
    let said = |condition, found| plain(set().report_judged(&judged(Verdict::Unmet, found), &condition));
    let revision = Condition::Revision(41);
    assert_eq!(said(revision.clone(), 44), (String::new(), "not written: k is at revision 44\n".into(), 1));
    assert_eq!(said(revision, 0).1, "not written: k is absent\n");
    assert_eq!(said(Condition::Absent, 44).1, "not written: k is there, at revision 44\n");
    let value = Condition::Value(b"v".to_vec());
    assert_eq!(said(value.clone(), 44).1, "not written: k has another value, at revision 44\n");
    assert_eq!(said(value.clone(), 0).1, "not written: k is absent\n");
    let deleted = del().report_judged(&"k".into(), &judged(Verdict::Unmet, 44), &value);
    assert_eq!(plain(deleted).1, "not deleted: k has another value, at revision 44\n");
}

#[test]
fn a_judged_write_as_json() {
    let id = "0".repeat(80);
    let json = |judged| shown(Ok(set().report_judged(&judged, &Condition::Absent)), Format::Json).0;
    let head = |applied| {
        format!(
            "{{\"schema\":\"kvctl.set/v1\",\"key\":\"k\",\"rev\":45,\"applied\":{applied},\
             \"request_id\":\"{id}\",\"deduplicated\":false,\"prev_rev\":"
        )
    };
    assert_eq!(json(judged(Verdict::Done, 0)), head(true) + "null}\n");
    assert_eq!(json(judged(Verdict::Unmet, 44)), head(false) + "44}\n");
    let previous = with_previous(judged(Verdict::Unmet, 44), b"old");
    assert_eq!(json(previous), head(false) + "44,\"prev_value\":\"old\"}\n");
    let binary = with_previous(judged(Verdict::Unmet, 44), b"\xff");
    assert!(json(binary).ends_with("\"prev_value_b64\":\"/w==\"}\n"));
}

#[test]
fn the_value_before_is_data_and_a_repetition_has_none() {
    let expect = Expectation { prev: true, ..Expectation::default() };
    let set = Set { expect: expect.clone(), ..set() };
    let said = |judged| plain(set.report_judged(&judged, &Condition::Always));
    let found = with_previous(judged(Verdict::Done, 44), b"old");
    assert_eq!(said(found.clone()), ("old".into(), "ok  rev 45\n".into(), 0));
    assert_eq!(
        said(judged(Verdict::Done, 0)),
        (String::new(), "ok  rev 45  there was no value before\n".into(), 0)
    );
    let mut again = judged(Verdict::Done, 44);
    again.decided.deduplicated = true;
    assert_eq!(
        said(again),
        (String::new(), "ok  rev 45  had been applied before: the value before it is not kept\n".into(), 0)
    );
    let del = Del { expect, ..del() };
    let said = |judged| plain(del.report_judged(&"k".into(), &judged, &Condition::Always));
    assert_eq!(said(found), ("old".into(), "deleted  rev 45\n".into(), 0));
    assert_eq!(said(judged(Verdict::Done, 0)), (String::new(), "no such key: k\n".into(), 1));
}

#[test]
fn del_says_no_by_its_code() {
    let said = |existed| plain(remove::report(&"k".into(), &written(existed, false)));
    assert_eq!(said(true), ("deleted\trev 45\n".into(), String::new(), 0));
    assert_eq!(said(false), (String::new(), "no such key: k\n".into(), 1));
}

#[test]
fn del_of_many_counts_them_or_refuses_them_all() {
    let del = Del { key: None, prefix: Some("app/".into()), max: 3, ..del() };
    let said = |verdict, count| shown(del.report_many(&judged(verdict, count)), Format::Plain);
    assert_eq!(said(Verdict::Done, 3), ("deleted\t3 keys\trev 45\n".into(), String::new(), 0));
    assert_eq!(said(Verdict::Done, 1).0, "deleted\t1 key\trev 45\n");
    assert_eq!(said(Verdict::Done, 0), (String::new(), "no keys begin with app/\n".into(), 1));
    let (_, error, code) = said(Verdict::TooMany, 0);
    assert!(
        error.starts_with("error: more than 3 keys begin with app/; nothing was deleted   KV-0808\n"),
        "{error}"
    );
    assert!(error.contains("at most 10000"), "{error}");
    assert_eq!(code, 8);
}

#[test]
fn incr_prints_the_sum_or_says_why_there_is_none() {
    let incr = Incr { key: "n".into(), by: -2, request_id: None };
    let said =
        |verdict, number: i64| shown(incr.report(&judged(verdict, number.cast_unsigned())), Format::Plain);
    assert_eq!(said(Verdict::Done, -7), ("-7\n".into(), String::new(), 0));
    let (_, error, code) = said(Verdict::NotANumber, 44);
    assert!(
        code == 8 && error.starts_with("error: n holds no number, at revision 44   KV-0806\n"),
        "{error}"
    );
    let (_, error, code) = said(Verdict::Overflow, i64::MIN);
    assert!(code == 8 && error.contains("n is -9223372036854775808, and -2 more is too much"), "{error}");
}

#[test]
fn values_are_held_to_their_limit_before_anything_is_sent() {
    let sized = |size| Set { value: Some("v".repeat(size).into()), ..set() }.prepare();
    assert!(sized(limits::VALUE_BYTES).is_ok());
    assert_eq!(sized(limits::VALUE_BYTES + 1).unwrap_err().exit, Exit::Refused);
    let expecting = |size: usize| {
        let expect = Expectation { if_value: Some("v".repeat(size).into()), ..Expectation::default() };
        Set { expect, ..set() }.prepare()
    };
    assert!(expecting(limits::VALUE_BYTES).is_ok());
    assert_eq!(expecting(limits::VALUE_BYTES + 1).unwrap_err().exit, Exit::Refused);
}

#[test]
fn ranges_are_held_to_their_limits_before_anything_is_sent() {
    let range = |from: &str, to: &str| {
        Del { key: None, range: Some(vec![from.into(), to.into()]), ..del() }.prepare()
    };
    assert!(range("a", "b").is_ok() && range("a", "").is_ok() && range("", "").is_ok());
    assert_eq!(range("b", "a").unwrap_err().exit, Exit::Usage);
    assert!(range(&"a".repeat(limits::KEY_BYTES), "b").is_ok());
    assert_eq!(range(&"a".repeat(limits::KEY_BYTES + 1), "b").unwrap_err().exit, Exit::Refused);
    assert_eq!(clap_limit(), limits::DELETED_KEYS);
}

/// The bound that the command line names is the bound of the protocol.
fn clap_limit() -> usize {
    use clap::Parser as _;
    let parses = |max: usize| {
        crate::command::Line::try_parse_from(["kvctl", "del", "--prefix", "a", "--max", &max.to_string()])
            .is_ok()
    };
    assert!(parses(1) && parses(10_000) && !parses(10_001) && !parses(0));
    10_000
}

#[test]
fn a_value_comes_from_a_file_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("value");
    let from = |path: &Path| Set { value: None, file: Some(path.to_owned()), ..set() };
    std::fs::write(&path, b"\0\xff\n").unwrap();
    let mut read = from(&path);
    read.prepare().unwrap();
    assert_eq!(read.bytes(), b"\0\xff\n");
    std::fs::write(&path, vec![0; limits::VALUE_BYTES + 1]).unwrap();
    assert_eq!(from(&path).prepare().unwrap_err().exit, Exit::Refused);
    assert_eq!(from(&dir.path().join("none")).prepare().unwrap_err().exit, Exit::File);
}
