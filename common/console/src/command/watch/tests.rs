use clap::Parser as _;
use protocol::response::Found;

use super::*;
use crate::{
    Line,
    command::Command,
    render::{Format, Screen},
};

fn parse(words: &[&str]) -> Result<Watch, clap::Error> {
    let line = Line::try_parse_from([&["kvctl", "watch"], words].concat())?;
    let Command::Watch(watch) = line.command else { panic!("{words:?}") };
    Ok(*watch)
}

fn event(key: &[u8], value: Option<&[u8]>) -> Event {
    let found = value.map(|value| Found {
        value: value.to_vec(),
        revision: 45,
        created: 12,
        version: 3,
        lease: None,
    });
    Event {
        key: key.to_vec(),
        revision: 45,
        found,
        previous: Some(Found { value: b"red".to_vec(), revision: 44, created: 12, version: 2, lease: None }),
        previous_left_out: false,
        wall_ms: 1_700_000_000_123,
        expired: false,
    }
}

#[test]
fn one_range_one_beginning_one_end_and_a_command_only_where_it_is_wanted() {
    for words in [
        &["k"][..],
        &["--prefix", ""],
        &["--range", "a", "b", "--from", "0", "--prev"],
        &["k", "--initial", "--cursor", "f", "--until", "10"],
        &["k", "--from", "7", "--cursor", "f", "--until", "90s"],
        &["k", "--exec", "--", "sh", "-c", "exit 1"],
    ] {
        assert!(parse(words).is_ok(), "{words:?}");
    }
    for words in [
        &[][..],
        &["k", "--prefix", "a"],
        &["--prefix", "a", "--range", "a", "b"],
        &["k", "--from", "7", "--initial"],
        &["k", "--from", "-7"],
        &["k", "--until", "0"],
        &["k", "--until", "soon"],
        &["k", "--exec"],
        &["k", "--", "sh"],
        &["k", "sh"],
    ] {
        assert!(parse(words).is_err(), "{words:?}");
    }
    assert_eq!(parse(&["k", "--until", "10"]).unwrap().until, Some(Until::Events(10)));
    assert_eq!(parse(&["k", "--until", "10s"]).unwrap().until, Some(Until::Time(Duration::from_secs(10))));
    assert!(parse(&["--range", "b", "a"]).unwrap().prepare().is_err());
    assert_eq!(parse(&["--exec", "k", "--", "sh", "-c"]).unwrap().command, ["sh", "-c"]);
}

#[test]
fn an_event_for_people_and_for_programs() {
    let cursor = Cursor { cluster: ClusterId([0xab; 16]), revision: 45 };
    let put = event(b"app/mode", Some(b"blue"));
    let happened = Happened::new(&put, Some(cursor.clone()));
    assert_eq!(happened.cells(false), ["45", "put", "app/mode", "blue"]);
    assert_eq!(happened.cells(true)[4], "red");
    assert_eq!(
        happened.document().to_json(),
        r#"{"key":"app/mode","rev":45,"value":"blue","create_rev":12,"version":3,"lease":null,"prev_value":"red","prev_rev":44,"#
            .to_owned()
            + r#""time":"2023-11-14T22:13:20.123Z","cursor":"abababababababababababababababab-45"}"#
    );
    let gone = Event { previous_left_out: true, ..event(b"\xff", None) };
    let happened = Happened::new(&gone, None);
    assert_eq!(happened.cells(true), ["45", "delete", "\u{fffd}", "-", "-"]);
    assert_eq!(
        happened.document().to_json(),
        r#"{"key_b64":"/w==","rev":45,"prev_rev":44,"prev_left_out":true,"#.to_owned()
            + r#""time":"2023-11-14T22:13:20.123Z","cursor":null}"#
    );
    let there = Event { previous: None, ..event(b"k", Some(b"v")) };
    let json = Happened::initial(&there).document().to_json();
    assert_eq!(
        json,
        r#"{"key":"k","rev":45,"value":"v","create_rev":12,"version":3,"lease":null,"initial":true}"#
    );
}

#[test]
fn lines_have_the_type_of_what_they_tell() {
    let mut bytes = Vec::new();
    let screen = Screen { format: Format::Ndjson, terminal: false, color: false, quiet: false };
    let mut out = Out { screen, stream: &mut bytes };
    let mut sink = Sink::new(&mut out, false, &[]);
    let gone = Event { previous: None, ..event(b"k", None) };
    sink.show(&Happened::initial(&gone)).unwrap();
    sink.mark(46, None);
    sink.resync(50).unwrap();
    sink.end(Document::bare().with("count", 1)).unwrap();
    let want = [
        r#"{"schema":"kvctl.watch/v1","type":"delete","key":"k","rev":45,"initial":true}"#,
        r#"{"schema":"kvctl.watch/v1","type":"progress","rev":46,"cursor":null}"#,
        r#"{"schema":"kvctl.watch/v1","type":"resync","rev":50}"#,
        r#"{"schema":"kvctl.end/v1","type":"end","count":1}"#,
    ];
    assert_eq!(String::from_utf8(bytes).unwrap().lines().collect::<Vec<_>>(), want);
}

#[test]
fn a_failure_beside_a_command_has_a_code_of_its_own() {
    let watch = |words: &[&str]| parse(words).unwrap();
    let exit = |watch: &Watch, exit| {
        let failure = Failure::new(exit, "KV-0401", "no_leader", "x");
        watch.conclude(Err(failure)).unwrap_err().exit
    };
    let plain = watch(&["k"]);
    assert_eq!(exit(&plain, Exit::NoLeader), Exit::NoLeader);
    let command = watch(&["k", "--exec", "--", "true"]);
    assert_eq!(exit(&command, Exit::NoLeader), Exit::Chosen(125));
    assert_eq!(exit(&command, Exit::Chosen(127)), Exit::Chosen(127));
    assert_eq!(exit(&command, Exit::Interrupted), Exit::Interrupted);
}
