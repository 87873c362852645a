//! The shell without a terminal and without a cluster: what it runs and with what it ends.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::{fs, path::Path};

use assert_cmd::{Command, assert::Assert};

fn kvshell(home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvshell"));
    command.env_clear().env("HOME", home).env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn run(words: &[&str], input: &str) -> Assert {
    let home = tempfile::tempdir().unwrap();
    kvshell(home.path()).args(words).write_stdin(input).assert()
}

fn out(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stdout.clone()).unwrap()
}

fn err(assert: &Assert) -> String {
    String::from_utf8(assert.get_output().stderr.clone()).unwrap()
}

fn version() -> String {
    format!("kvctl {}\tkvd-client/1\n", env!("CARGO_PKG_VERSION"))
}

#[test]
fn commands_come_from_a_flag_a_file_or_a_pipe() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "# a comment\n\nversion\nversion\n").unwrap();
    for (ran, times) in [
        (run(&["-x", "version; version"], ""), 2),
        (run(&["-f", file.path().to_str().unwrap()], ""), 2),
        (run(&["-f", "-"], "version"), 1),
        (run(&[], "version\n"), 1),
        (run(&[], ""), 0),
    ] {
        let ran = ran.success();
        assert_eq!((out(&ran), err(&ran)), (version().repeat(times), String::new()));
    }
}

#[test]
fn it_goes_on_and_ends_with_the_first_failure() {
    let ran =
        run(&["-x", "get ''; nonsense; get k --file; set k --file /nonexistent/v; version"], "").code(2);
    assert_eq!(out(&ran), version());
    let ran = run(&[], "set k --file /nonexistent/v\nnonsense\nversion\n").code(12);
    assert_eq!(out(&ran), version());
    assert!(err(&ran).contains("KV-1201") && err(&ran).contains("nonsense"), "{}", err(&ran));
}

#[test]
fn exit_leaves_at_once() {
    let ran = run(&[], "version\nexit\nnonsense\n").success();
    assert_eq!(out(&ran), version());
    run(&["-x", "nonsense; quit; version"], "").code(2).stdout("");
}

#[test]
fn output_goes_to_local_commands() {
    let ran = run(&["-x", "version | tr a-z A-Z; version | exit 9"], "").code(9);
    assert_eq!(out(&ran), version().to_uppercase());
}

#[test]
fn help_is_of_the_same_grammar() {
    let ran = run(&["-x", "help"], "").success();
    for name in ["set", "get", "del", "exists", "status", "leader", "version", "bench"] {
        assert!(out(&ran).contains(&format!("\n  {name} ")), "{name}: {}", out(&ran));
    }
    let ran = run(&["-x", "help leader"], "").success();
    assert!(out(&ran).contains("--addr"), "{}", out(&ran));
}

#[test]
fn trouble_of_the_shell_itself_has_its_code() {
    run(&["-f", "/nonexistent/script"], "").code(12);
    run(&["--nonsense"], "").code(2);
    run(&["-x", "get 'a"], "").code(2);
    let none = run(&["-x", "get a"], "").code(2);
    assert!(err(&none).contains("KV-0204"), "{}", err(&none));
}

#[test]
fn the_manual_page_has_flags_and_words() {
    let ran = run(&["--man"], "").success();
    for part in [
        ".TH kvshell 1 ",
        "\\-\\-execute",
        "\n\\fB\\ewatch [TIME] COMMAND\\fR\n",
        "\nkvshell \\-f commands.kv\n",
    ] {
        assert!(out(&ran).contains(part), "{part}: {}", out(&ran));
    }
    assert!(!out(&ran).contains("\n.SH EXTRA"), "each thing once");
}
