//! The line of a check, and what becomes of failures.

use clap::Parser as _;

use super::*;
use crate::command::{Command, Line};

fn check(words: &[&str]) -> Check {
    let line = Line::try_parse_from([&["kvctl", "check"], words].concat());
    let Command::Check(check) = line.unwrap_or_else(|error| panic!("{words:?}: {error}")).command else {
        panic!("{words:?}")
    };
    check
}

#[test]
fn what_goes_together() {
    for good in
        [&["key", "k", "--value", "-1"][..], &["key", "k", "--absent"], &["disk", "-w", "1G", "-c", "@5:6"]]
    {
        assert!(check(good).prepare().is_ok(), "{good:?}");
    }
    for bad in [&["live", "k"][..], &["live", "--absent"], &["cluster", "-w", "5"], &["cert", "-c", "lag=5"]]
    {
        assert_eq!(check(bad).prepare().unwrap_err().exit, Exit::Usage, "{bad:?}");
    }
    let many = check(&["cluster", "-w", "lag=5,cert=9:", "-w", "~:7"]);
    assert_eq!(many.warning.len(), 3);
}

#[test]
fn a_failure_is_a_verdict() {
    let asked = check(&["disk"]);
    let report = asked.conclude(Err(Failure::usage("no"))).unwrap();
    assert_eq!(report.exit.code(), 3);
    assert_eq!(report.body, Body::Text("KV DISK UNKNOWN - no KV-0201\n".into()));
    let cancelled = Failure::interrupted(false);
    assert_eq!(asked.conclude(Err(cancelled.clone())), Err(cancelled), "Ctrl-C is no verdict");
}

#[test]
fn what_is_well_can_be_silent_and_nothing_else() {
    let well = || Verdict { status: Status::Ok, ..Verdict::unknown("live", "3 nodes alive") };
    let quiet = check(&["live", "--quiet-ok"]);
    assert_eq!(quiet.finish(well()).body, Body::Hidden);
    assert_ne!(quiet.finish(Verdict::unknown("live", "x")).body, Body::Hidden);
    assert_ne!(check(&["live"]).finish(well()).body, Body::Hidden);
}

#[test]
fn a_textfile_that_cannot_be_written_is_not_passed_over() {
    let home = tempfile::tempdir().unwrap();
    let path = home.path().join("none").join("kv.prom");
    let asked = check(&["live", "--textfile", path.to_str().unwrap()]);
    let well = Verdict { status: Status::Ok, ..Verdict::unknown("live", "3 nodes alive") };
    let report = asked.finish(well);
    let Body::Text(line) = &report.body else { panic!("{report:?}") };
    assert!(line.starts_with("KV LIVE UNKNOWN - cannot write ") && line.contains("KV-1201"), "{line}");
    assert_eq!(report.exit.code(), 3);
}

#[test]
fn the_same_check_of_the_same_cluster_is_counted_together() {
    let identity = |words: &[&str]| {
        let mut line = Line::try_parse_from([&["kvctl", "check"], words].concat()).unwrap();
        line.prepare().unwrap();
        let Command::Check(check) = line.command else { panic!("{words:?}") };
        check.identity
    };
    assert_eq!(identity(&["live", "--for", "3"]), identity(&["live", "--quiet-ok", "--for", "3"]));
    assert_ne!(identity(&["live"]), identity(&["live", "-e", "h:1"]));
    assert_ne!(identity(&["live"]), identity(&["ready"]));
}
