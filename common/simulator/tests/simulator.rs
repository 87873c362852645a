//! The instrument itself: a seed is a whole run, faults are injected, and a failure says how to see it again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::{Command, Output};

use simulator::{options::Options, run::run};

/// A seed's options, made short.
fn short(seed: u64) -> Options {
    let mut options = Options::of(seed);
    options.adjust("seconds=5 idle=0 crashes=1000 loss=5000").unwrap();
    options
}

#[test]
fn one_seed_gives_one_run() {
    let first = run(7, &short(7), false);
    assert_eq!(first, run(7, &short(7), false));
    assert_ne!(first.hash, run(8, &short(8), false).hash);
    assert!(first.committed > 0 && first.calls > 0, "{first:?}");
}

#[test]
fn turning_a_fault_off_leaves_the_others_as_they_were() {
    let (with, mut without) = (Options::of(7), Options::of(7));
    without.adjust("loss=0").unwrap();
    for name in Options::NAMES.iter().filter(|name| **name != "loss") {
        assert_eq!(with.get(name), without.get(name), "{name}");
    }
}

fn simulator(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulator")).args(arguments).output().unwrap()
}

/// The rule that a write is acknowledged in time, broken by a network that loses everything for ever.
#[test]
fn a_failure_prints_seed_options_commit_and_the_line_that_replays_it() {
    let run = simulator(&[
        "run",
        "--first",
        "3",
        "--seeds",
        "1",
        "--jobs",
        "1",
        "--set",
        "seconds=1 servers=3 hopeless=1",
    ]);
    assert_eq!(run.status.code(), Some(1), "{run:?}");
    let told = String::from_utf8(run.stdout).unwrap();
    for expected in [
        "FAILED seed 3: VIOLATION no write within 10 timeouts",
        "options servers=3 seconds=1 ",
        "commit  ",
        "replay  cargo run --release -p simulator -- replay 3 --set 'seconds=1 servers=3 hopeless=1'",
    ] {
        assert!(told.contains(expected), "{expected} is in {told}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in
        [&["run", "--set", "colour=1"][..], &["replay", "1", "--mutant", "raft:Nothing"], &["dance"]]
    {
        assert_eq!(simulator(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn lists_name_what_there_is() {
    let listed = String::from_utf8(simulator(&["list", "marks"]).stdout).unwrap();
    assert!(listed.lines().all(|line| line.contains(':') && line.contains('\t')), "{listed}");
    assert!(String::from_utf8(simulator(&["list", "options"]).stdout).unwrap().contains("sync_errors"));
}

/// Every number before a mutant is a row of the list that says what such bugs are and what else catches them.
#[test]
fn every_numbered_mutant_is_of_a_bug_on_the_list() {
    let list = include_str!("../../../docs/bugs.md");
    let mutants = String::from_utf8(simulator(&["list", "mutants"]).stdout).unwrap();
    let mut numbered = 0;
    for line in mutants.lines() {
        let (name, about) = line.split_once('\t').unwrap();
        if let Some((number, _)) = about.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok())
        {
            let row = list.lines().find(|row| row.starts_with(&format!("| {number} |")));
            assert!(row.is_some_and(|row| row.contains("mutants")), "{name} is of bug {number}: {row:?}");
            numbered += 1;
        }
    }
    assert!(numbered > 50, "{numbered} mutants have a number");
}
