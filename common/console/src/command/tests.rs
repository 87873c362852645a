//! What parses to what. The examples in the help are held to parse as well.

use clap::CommandFactory as _;

use super::*;

fn parse(words: &[&str]) -> Line {
    Line::try_parse_from([&["kvctl"], words].concat()).unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

fn refuse(words: &[&str]) {
    assert!(Line::try_parse_from([&["kvctl"], words].concat()).is_err(), "{words:?}");
}

fn value(words: &[&str]) -> Option<String> {
    let Command::Set(set) = parse(words).command else { panic!("{words:?}") };
    set.value.map(|value| value.into_string().unwrap())
}

#[test]
fn the_grammar_is_sound() {
    Line::command().debug_assert();
}

#[test]
fn a_value_may_begin_with_a_dash() {
    for (words, want) in [
        (&["set", "k", "-5"][..], "-5"),
        (&["set", "k", "--5"], "--5"),
        (&["put", "k", "-"], "-"),
        (&["set", "k", "--", "--quiet"], "--quiet"),
        (&["set", "k", "v", "-o", "json"], "v"),
        (&["set", "-o", "json", "k", "-xyz"], "-xyz"),
    ] {
        assert_eq!(value(words).as_deref(), Some(want), "{words:?}");
    }
    assert_eq!(value(&["set", "k", "--file", "f"]), None);
}

#[test]
fn one_source_of_a_value() {
    refuse(&["set", "k"]);
    refuse(&["set", "k", "v", "--file", "f"]);
    refuse(&["set", "k", "v", "w"]);
    refuse(&["del", "a", "b"]);
}

#[test]
fn a_write_has_one_condition_at_most() {
    for words in [
        &["set", "k", "v", "--if-absent", "--prev"][..],
        &["set", "k", "v", "--if-rev", "7"],
        &["set", "k", "-5", "--if-value", "-4"],
        &["del", "k", "--if-value", "--", "--prev"],
        &["del", "--prefix", "a/", "--max", "10"],
        &["del", "--range", "a", "b"],
        &["incr", "n", "-9223372036854775808"],
    ] {
        parse(words);
    }
    refuse(&["set", "k", "v", "--if-absent", "--if-rev", "7"]);
    refuse(&["set", "k", "v", "--if-rev", "7", "--if-value", "w"]);
    refuse(&["set", "k", "v", "--if-rev", "-7"]);
    refuse(&["del"]);
    refuse(&["del", "k", "--prefix", "a"]);
    refuse(&["del", "--prefix", "a", "--range", "a", "b"]);
    refuse(&["del", "--prefix", "a", "--if-rev", "7"]);
    refuse(&["del", "--range", "a"]);
    refuse(&["incr", "n", "9223372036854775808"]);
    refuse(&["incr", "n", "1.5"]);
}

#[test]
fn a_moment_of_the_past_is_named_once() {
    for words in [
        &["get", "k", "--rev", "7"][..],
        &["get", "--prefix", "a", "--at", "10m", "--count"],
        &["get", "k", "--at", "2026-01-02T03:04:05+01:00"],
        &["revert", "k", "--at", "2026-01-02T03:04:05.6Z"],
        &["history", "k", "--limit", "1"],
        &["revert", "k", "--to", "0"],
        &["revert", "k", "--at", "3d"],
        &["retention", "--age", "366d", "--bytes", "1G", "--changes", "0"],
    ] {
        parse(words);
    }
    refuse(&["get", "k", "--rev", "7", "--at", "10m"]);
    refuse(&["get", "k", "--rev", "-7"]);
    refuse(&["get", "k", "--at", "2026-01-02"]);
    refuse(&["get", "k", "--at", "noon"]);
    refuse(&["revert", "k"]);
    refuse(&["revert", "k", "--to", "7", "--at", "10m"]);
    refuse(&["history", "k", "--limit", "0"]);
    refuse(&["retention", "--age", "soon"]);
}

#[test]
fn flags_go_before_and_after_the_command() {
    let before = parse(&["-e", "a:1,b:2", "-t", "2s", "get", "k"]);
    let after = parse(&["get", "k", "--timeout", "2s", "--endpoints", "a:1", "-e", "b:2"]);
    assert_eq!(before.connection, after.connection);
    assert_eq!(before.connection.endpoints, ["a:1", "b:2"]);
    refuse(&["-t", "0s", "get", "k"]);
    refuse(&["-o", "yaml", "get", "k"]);
    refuse(&["set", "k", "v", "--request-id", "zz"]);
}

#[test]
fn help_shows_exactly_what_there_is_with_an_example_each() {
    let command = Line::command();
    let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
    assert_eq!(
        names,
        [
            "set",
            "get",
            "del",
            "incr",
            "txn",
            "lease",
            "exists",
            "history",
            "revert",
            "watch",
            "lock",
            "elect",
            "ls",
            "tree",
            "export",
            "import",
            "batch",
            "snapshot",
            "status",
            "top",
            "leader",
            "drain",
            "member",
            "ping",
            "events",
            "doctor",
            "debug",
            "wait",
            "check",
            "verify",
            "compact",
            "context",
            "config",
            "retention",
            "version",
            "bench",
            "explain",
            "schema",
            "completion",
            "man",
            "generate"
        ]
    );
    for sub in command.get_subcommands() {
        let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
        let examples: Vec<&str> = help.lines().filter(|line| line.starts_with("  kvctl ")).collect();
        assert!(!examples.is_empty() || sub.get_name() == "exists", "{}", sub.get_name());
        for example in examples {
            let words = shlex::split(example.split(['>', '|']).next().unwrap()).unwrap();
            assert!(Line::try_parse_from(words).is_ok(), "{example}");
        }
    }
}

#[test]
fn a_line_of_a_shell_goes_where_the_shell_goes_unless_it_says_otherwise() {
    let shell = words(&["-C", "prod", "-t", "9s", "--connect-timeout", "3s", "version"]);
    let spoken = |said: &[&str]| {
        let mut line = words(said);
        line.inherit(&shell.connection, shell.sources);
        let Connection { context, endpoints, timeout, connect_timeout, .. } = line.connection;
        (context, endpoints, timeout.unwrap().as_secs(), connect_timeout.as_secs())
    };
    let prod = || Some("prod".to_owned());
    assert_eq!(spoken(&["get", "k"]), (prod(), vec![], 9, 3));
    assert_eq!(spoken(&["get", "k", "-t", "2s"]), (prod(), vec![], 2, 3), "only the time is another");
    assert_eq!(spoken(&["get", "k", "-C", "dev"]), (Some("dev".to_owned()), vec![], 9, 3));
    assert_eq!(spoken(&["get", "k", "-e", "a:1"]), (None, vec!["a:1".to_owned()], 9, 3), "another cluster");
    assert_eq!(spoken(&["get", "k", "--connect-timeout", "1s"]), (prod(), vec![], 9, 1));
}

fn words(words: &[&str]) -> Line {
    let words: Vec<OsString> = [&["kvctl"], words].concat().iter().map(OsString::from).collect();
    Line::parse_words(&words).unwrap()
}

#[test]
fn what_changes_something_is_told_from_what_does_not() {
    let changes = |line: &[&str]| {
        let mut line = words(line);
        line.prepare().unwrap();
        line.command.changes()
    };
    for line in [
        &["set", "k", "v"][..],
        &["del", "k"],
        &["incr", "n"],
        &["import", "f"],
        &["batch", "-f", "f"],
        &["lock", "job", "--", "true"],
        &["elect", "boss", "--", "true"],
        &["bench"],
        &["compact", "log"],
        &["lease", "grant", "--ttl", "30s"],
        &["lease", "renew", "2d"],
        &["lease", "revoke", "2d"],
        &["member", "add", "n4", "--addr", "h:1"],
        &["member", "demote", "n1"],
        &["member", "readmit", "n1"],
        &["snapshot", "restore", "f", "--confirm", "prod"],
        &["snapshot", "restore", "--abort"],
        &["txn", "--then", "set k v"],
        &["txn", "--if", "exists(k)", "--then", "get k", "--else", "del k"],
    ] {
        assert!(changes(line), "{line:?}");
    }
    for line in [
        &["get", "k"][..],
        &["watch", "k"],
        &["elect", "boss", "--observe"],
        &["member", "ls"],
        &["member", "demote", "n1", "-n"],
        &["txn", "--then", "get k"],
        &["lease", "show", "2d"],
        &["lease", "ls"],
        &["export", "f"],
        &["snapshot", "save", "/none/f"],
        &["snapshot", "restore", "f", "-n"],
        &["status"],
        &["context", "ls"],
    ] {
        assert!(!changes(line), "{line:?}");
    }
}

#[test]
fn what_goes_on_until_it_is_ended_is_told_from_the_rest() {
    let endless =
        |words: &[&str]| Line::try_parse_from([&["kvctl"], words].concat()).unwrap().command.is_endless();
    for words in [&["watch", "k"][..], &["elect", "boss", "--observe"], &["top"], &["status", "--watch"]] {
        assert!(endless(words), "{words:?}");
    }
    for words in [&["status"][..], &["get", "k"], &["set", "k", "v"]] {
        assert!(!endless(words), "{words:?}");
    }
}
