//! What parses to what, and what the report of a transaction looks like.

use protocol::{
    ClusterId, Decided, KeyRange, limits,
    operation::{Compare, Operand, Relation},
};

use super::*;
use crate::render::{Format, Screen};

fn compare(key: &str, relation: Relation, operand: Operand) -> Compare {
    Compare { key: key.into(), relation, operand }
}

fn set(key: &str, value: &str) -> Action {
    Action::Set { key: key.into(), value: value.into() }
}

fn get(key: &str) -> Action {
    Action::Get { key: key.into() }
}

fn txn() -> Txn {
    Txn {
        compares: Vec::new(),
        then: Vec::new(),
        otherwise: Vec::new(),
        file: None,
        request_id: None,
        transaction: Transaction::default(),
    }
}

#[test]
fn compares_as_they_are_typed() {
    let value = |value: &str| Operand::Value(value.into());
    for (text, expected) in [
        ("rev(k)=7", compare("k", Relation::Equal, Operand::Revision(7))),
        (" rev(a/b) != 7 ", compare("a/b", Relation::NotEqual, Operand::Revision(7))),
        ("version(k)<2", compare("k", Relation::Less, Operand::Version(2))),
        ("value(k)>x", compare("k", Relation::Greater, value("x"))),
        ("value(k)= x ", compare("k", Relation::Equal, value(" x "))),
        ("value(k)=", compare("k", Relation::Equal, value(""))),
        ("value(k)==", compare("k", Relation::Equal, value("="))),
        ("value(f(x))=y", compare("f(x)", Relation::Equal, value("y"))),
        ("value(k)=a)=b", compare("k", Relation::Equal, value("a)=b"))),
        ("exists(k)", compare("k", Relation::Equal, Operand::Present)),
        ("absent(k) ", compare("k", Relation::NotEqual, Operand::Present)),
        ("exists(a)b)", compare("a)b", Relation::Equal, Operand::Present)),
    ] {
        assert_eq!(parse::compare(text), Ok(expected), "{text}");
    }
    for text in [
        "",
        "k=7",
        "rev(k)",
        "rev(k)7",
        "rev(k)=x",
        "rev(k)=-1",
        "rev k=7",
        "exists(k)=1",
        "size(k)=1",
        "rev(k",
    ] {
        assert!(parse::compare(text).is_err(), "{text}");
    }
}

#[test]
fn steps_as_they_are_typed() {
    let range = |range, limit| Action::Range { range, limit };
    let between = KeyRange { from: b"a".to_vec(), to: Some(b"b".to_vec()) };
    let most = u32::try_from(limits::TRANSACTION_ROWS).unwrap();
    for (text, expected) in [
        ("set k v", set("k", "v")),
        ("put 'a key' ''", set("a key", "")),
        ("set k -5", set("k", "-5")),
        ("del k", Action::Delete { key: b"k".to_vec() }),
        ("get k", get("k")),
        ("prefix app/ 3", range(KeyRange::prefix(b"app/"), 3)),
        ("prefix app/", range(KeyRange::prefix(b"app/"), most)),
        ("range a b", range(between, most)),
        ("range a '' 9", range(KeyRange { from: b"a".to_vec(), to: None }, 9)),
    ] {
        assert_eq!(parse::step(text), Ok(expected), "{text}");
    }
    for text in
        ["", "set k", "set k v w", "del", "get a b", "prefix", "range a", "range a b c", "incr k", "set 'k v"]
    {
        assert!(parse::step(text).is_err(), "{text}");
    }
}

#[test]
fn a_file_says_the_same_as_arguments() {
    let text = r#"{
        "if": [{"key": "m", "rev": 45}, {"key": "s", "op": ">", "value": "0"}, {"key_b64": "/w==", "version": 2, "op": "!="},
               {"key": "l", "exists": false}, {"key": "l", "exists": true}, {"key": "v", "value_b64": "AA=="}],
        "then": [{"set": {"key": "m", "value": "green"}}, {"del": {"key": "l"}}, {"set": {"key_b64": "/w==", "value_b64": "/w=="}}],
        "else": [{"get": {"key": "m"}}, {"prefix": {"prefix": "a/", "limit": 10}}, {"range": {"from": "a", "to": "b"}}]
    }"#;
    let read = file::read(text.as_bytes()).unwrap();
    assert_eq!(
        read.compares,
        [
            compare("m", Relation::Equal, Operand::Revision(45)),
            compare("s", Relation::Greater, Operand::Value(b"0".to_vec())),
            Compare { key: vec![0xff], relation: Relation::NotEqual, operand: Operand::Version(2) },
            compare("l", Relation::NotEqual, Operand::Present),
            compare("l", Relation::Equal, Operand::Present),
            compare("v", Relation::Equal, Operand::Value(vec![0])),
        ]
    );
    let then = ["set m green", "del l"].map(|step| parse::step(step).unwrap());
    assert_eq!(read.then[..2], then);
    assert_eq!(read.then[2], Action::Set { key: vec![0xff], value: vec![0xff] });
    assert_eq!(read.otherwise, ["get m", "prefix a/ 10", "range a b"].map(|step| parse::step(step).unwrap()));
}

#[test]
fn a_file_with_what_is_not_known_is_refused() {
    for text in [
        "",
        r#"{"than": []}"#,
        r#"{"then": [{"incr": {"key": "k"}}]}"#,
        r#"{"then": [{"set": {"key": "k"}}]}"#,
        r#"{"then": [{"set": {"key": "k", "key_b64": "aw==", "value": ""}}]}"#,
        r#"{"then": [{"del": {"key": "k", "value": "v"}}]}"#,
        r#"{"if": [{"key": "k"}]}"#,
        r#"{"if": [{"key": "k", "rev": 1, "version": 1}]}"#,
        r#"{"if": [{"key": "k", "rev": 1, "exists": true}]}"#,
        r#"{"if": [{"key": "k", "op": "==", "rev": 1}]}"#,
        r#"{"if": [{"key": "k", "op": "=", "exists": true}]}"#,
        r#"{"if": [{"key": "k", "value_b64": "?"}]}"#,
        r#"{"if": [{"rev": 1}]}"#,
    ] {
        assert_eq!(file::read(text.as_bytes()).unwrap_err().exit, Exit::Usage, "{text}");
    }
}

#[test]
fn a_transaction_is_held_to_its_limits_before_anything_is_sent() {
    let prepared = |then: Vec<Action>| Txn { then, ..txn() }.prepare();
    assert_eq!(prepared(Vec::new()).unwrap_err().exit, Exit::Usage);
    assert_eq!(prepared(vec![set("a", ""), set("a", "")]).unwrap_err().exit, Exit::Usage);
    assert!(prepared(vec![get("a"); 128]).is_ok());
    let failure = prepared(vec![get("a"); 129]).unwrap_err();
    assert!(failure.exit == Exit::Usage && failure.message.contains("128"), "{failure}");
    let large = "v".repeat(limits::VALUE_BYTES);
    assert!(prepared(vec![set("a", &large)]).is_ok());
    assert_eq!(prepared(vec![set("a", &large), set("b", &large)]).unwrap_err().exit, Exit::Refused);
}

fn judged(verdict: Verdict, results: Vec<Done>) -> Judged {
    let decided = Decided { revision: 47, verdict, results, ..Decided::default() };
    Judged { decided, request: RequestId { token: [0; 16], learned: 0, cluster: ClusterId([0; 16]) } }
}

#[allow(clippy::needless_pass_by_value, reason = "reads better where it is called")]
fn shown(report: Result<Report, Failure>, format: Format) -> (String, String, u8) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&report, &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit.code())
}

#[test]
fn a_report_has_a_line_for_each_step_and_each_row() {
    let found = Found { value: b"v".to_vec(), revision: 45, created: 12, version: 3, lease: None };
    let then = ["set a 1", "del b", "get c", "get d", "prefix e"].map(|step| parse::step(step).unwrap());
    let mut txn = Txn { then: then.to_vec(), otherwise: vec![get("a")], ..txn() };
    txn.prepare().unwrap();
    let results = vec![
        Done::Written { existed: true },
        Done::Written { existed: false },
        Done::Read(Some(found.clone())),
        Done::Read(None),
        Done::Rows { rows: vec![(b"e1".to_vec(), found.clone()), (b"e2".to_vec(), found)], more: true },
    ];
    let done = judged(Verdict::Done, results);
    let (out, err, code) = shown(txn.report(&done), Format::Plain);
    assert_eq!(
        out,
        "set\ta\t-\t-\t-\ndel\tb\t-\t-\t-\nget\tc\t45\t3\tv\nget\td\t-\t-\t-\nrange\te1\t45\t3\tv\nrange\te2\t45\t3\tv\n"
    );
    assert!(code == 0 && err.starts_with("then   rev 47"), "{err}");
    let json: Value = serde_json::from_str(&shown(txn.report(&done), Format::Json).0).unwrap();
    let row = |mut object: Value| {
        for (name, value) in
            [("value", json!("v")), ("mod_rev", json!(45)), ("create_rev", json!(12)), ("version", json!(3))]
        {
            object[name] = value;
        }
        object
    };
    assert_eq!(
        json["results"],
        json!([
            {"op": "set", "key": "a", "existed": true},
            {"op": "del", "key": "b", "existed": false},
            row(json!({"op": "get", "key": "c", "found": true})),
            {"op": "get", "key": "d", "found": false},
            {"op": "range", "rows": [row(json!({"key": "e1"})), row(json!({"key": "e2"}))], "more": true},
        ])
    );
    assert_eq!(
        (&json["branch"], &json["rev"], &json["deduplicated"]),
        (&json!("then"), &json!(47), &json!(false))
    );
}

#[test]
fn the_other_branch_ends_with_1_and_a_repetition_has_no_rows() {
    let mut txn =
        Txn { otherwise: vec![get("a")], compares: vec![parse::compare("exists(a)").unwrap()], ..txn() };
    txn.prepare().unwrap();
    let (out, _, code) = shown(txn.report(&judged(Verdict::Unmet, vec![Done::Read(None)])), Format::Plain);
    assert_eq!((out.as_str(), code), ("get\ta\t-\t-\t-\n", 1));
    let mut again = judged(Verdict::Unmet, Vec::new());
    again.decided.deduplicated = true;
    let (out, err, code) = shown(txn.report(&again), Format::Plain);
    assert_eq!((out.as_str(), code), ("", 1));
    assert!(err.contains("had been applied before") && err.contains("read the keys again"), "{err}");
    assert!(shown(txn.report(&again), Format::Json).0.ends_with("\"results\":null}\n"));
}

#[test]
fn a_transaction_that_finds_too_much_is_refused() {
    let (_, error, code) = shown(txn().report(&judged(Verdict::TooLarge, Vec::new())), Format::Plain);
    assert!(code == 8 && error.contains("KV-0809"), "{error}");
}
