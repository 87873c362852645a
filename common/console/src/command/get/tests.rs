//! What the reports of `get` look like in each format, and which scan a line stands for.

use clap::Parser as _;
use protocol::response::Found;

use super::*;
use crate::{
    command::{Command, Line},
    exit::Exit,
    render::{Format, Screen},
};

fn shown(report: Report, format: Format) -> (String, String, u8) {
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&Ok(report), &mut out, &mut err);
    (String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap(), exit.code())
}

fn read(value: Option<&[u8]>) -> client::Read {
    let found = value.map(|value| Found {
        value: value.to_vec(),
        revision: 45,
        created: 12,
        version: 3,
        lease: None,
    });
    client::Read { found, revision: 50, served_by: 2, staleness_ms: Some(0) }
}

fn parse(words: &[&str]) -> Result<Get, clap::Error> {
    match Line::try_parse_from([&["kvctl", "get"], words].concat())?.command {
        Command::Get(get) => Ok(*get),
        other => panic!("{other:?}"),
    }
}

fn get(default: Option<&str>, absent_exit: u8) -> Get {
    let get = parse(&["k"]).unwrap();
    Get { default: default.map(Into::into), absent_exit, ..get }
}

fn report(get: &Get, read: &client::Read) -> Report {
    get.report(get.key.as_ref().unwrap(), read)
}

#[test]
fn get_gives_the_bytes_or_says_that_there_are_none() {
    assert_eq!(
        shown(report(&get(None, 1), &read(Some(b"a\nb"))), Format::Plain),
        ("a\nb".into(), String::new(), 0)
    );
    let absent = shown(report(&get(None, 1), &read(None)), Format::Plain);
    assert_eq!(absent, (String::new(), "no such key: k\n".into(), 1));
    assert_eq!(shown(report(&get(None, 44), &read(None)), Format::Plain).2, 44);
    assert_eq!(shown(report(&get(Some("d"), 1), &read(None)), Format::Plain), ("d".into(), String::new(), 0));
}

#[test]
fn get_as_json() {
    let json = shown(report(&get(None, 1), &read(Some(b"\xff"))), Format::Json).0;
    let want = concat!(
        r#"{"schema":"kvctl.get/v1","key":"k","found":true,"value_b64":"/w==","mod_rev":45,"create_rev":12,"#,
        r#""version":3,"ttl_ms":null,"lease":null,"rev":50,"served_by":"2","consistency":"linearizable","staleness_ms":0}"#,
        "\n"
    );
    assert_eq!(json, want);
    let json = shown(report(&get(None, 1), &read(None)), Format::Json).0;
    assert!(json.contains(r#""found":false,"value":null"#), "{json}");
}

#[test]
fn one_key_with_its_metadata() {
    let get = parse(&["k", "--meta"]).unwrap();
    let (plain, ..) = shown(report(&get, &read(Some(b"v"))), Format::Plain);
    assert_eq!(plain, "k\tv\t45\t12\t3\t-\t-\n");
    let (table, ..) = shown(report(&get, &read(Some(b"v"))), Format::Table);
    assert_eq!(
        table,
        "KEY  VALUE  REV  CREATED  VERSION  TTL  LEASE\nk    v      45   12       3        -    -\n"
    );
}

#[test]
fn a_line_names_one_key_or_many() {
    for words in [
        &[][..],
        &["k", "--prefix", "a"],
        &["--prefix", "a", "--range", "a", "b"],
        &["--prefix", "a", "--glob", "b"],
        &["--range", "a"],
        &["k", "--keys"],
        &["k", "--limit", "2"],
        &["--prefix", "a", "--keys", "--count"],
        &["--prefix", "a", "--limit", "0"],
        &["--prefix", "a", "--default", "x"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    let scan = |words: &[&str]| parse(words).unwrap().scan();
    assert_eq!(scan(&["--prefix", ""]), Scan::default());
    assert_eq!(scan(&["--prefix", "a/", "--after", "a/b"]).from, b"a/b\0");
    assert_eq!(scan(&["--range", "a", "b"]), Scan::range(b"a", b"b"));
    assert_eq!(scan(&["--glob", "a/*/c"]), Scan::prefix(b"a/"));
    assert_eq!(scan(&["--prefix", "", "--rev", "0"]), Scan { at: Some(0), ..Scan::default() });
    assert_eq!(scan(&["--prefix", "", "--at", "10m"]), Scan { age_ms: Some(600_000), ..Scan::default() });
}

#[test]
fn what_cannot_be_is_refused_before_anything_is_sent() {
    for words in [&["--range", "b", "a"][..], &["--range", "a", "a"], &["--glob", "["]] {
        assert_eq!(parse(words).unwrap().prepare().unwrap_err().exit, Exit::Usage, "{words:?}");
    }
    assert!(parse(&["--range", "a", "b"]).unwrap().prepare().is_ok());
}
