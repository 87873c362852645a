//! `watch`: what is shown in every format, the cursor, the command of each event, and how it ends.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::trial::{Ran, Trial};

fn revision(ran: &Ran) -> u64 {
    ran.text().trim_end().rsplit(' ').next().unwrap().parse().unwrap_or_else(|_| panic!("{ran:?}"))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A watch that runs, and the lines that it has printed.
pub(crate) struct Running {
    child: Child,
    out: BufReader<ChildStdout>,
}

impl Running {
    /// Begins a watch and waits until it is said where it begins.
    pub(crate) fn start(trial: &Trial, words: &[&str]) -> Self {
        let mut running = Self::spawn(trial, words);
        assert_eq!(running.line()["type"], "progress");
        running
    }

    fn spawn(trial: &Trial, words: &[&str]) -> Self {
        // Whoever runs the tests in the background may have had SIGINT ignored, which programs inherit.
        let mut command = Command::new("/usr/bin/env");
        command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_kvctl")]);
        command.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
        command.args(["-o", "ndjson", "watch"]).args(words).stdin(Stdio::null());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Self { child, out }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.out.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// The next line that is no sign of life.
    pub(crate) fn event(&mut self) -> Value {
        loop {
            let line = self.line();
            if line["type"] != "progress" {
                return line;
            }
        }
    }

    /// With what it ends, and what it said on stderr.
    pub(crate) fn ended(mut self) -> (std::process::ExitStatus, String) {
        let mut err = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
        (self.child.wait().unwrap(), err)
    }
}

#[test]
fn what_happens_is_shown_in_every_format() {
    let trial = Trial::start(1);
    let first = revision(&trial.kvctl(&["set", "app/mode", "blue"]));
    let second = revision(&trial.kvctl(&["set", "app/mode", "green"]));
    trial.kvctl(&["set", "other", "x"]);
    let gone = revision(&trial.kvctl(&["del", "app/mode"]));
    let from = first.to_string();
    let watch = |words: &[&str]| {
        trial.kvctl(&[&["watch", "--prefix", "app/", "--from", &from, "--until", "3"], words].concat())
    };
    let plain = format!(
        "{first}\tput\tapp/mode\tblue\n{second}\tput\tapp/mode\tgreen\n{gone}\tdelete\tapp/mode\t-\n"
    );
    assert_eq!(watch(&[]).told(), (0, plain, ""));
    let table = watch(&["-o", "table", "--prev"]).text();
    assert!(table.starts_with("REV  TYPE    KEY       VALUE  PREVIOUS\n"), "{table}");
    assert!(table.ends_with(&format!("{gone}    delete  app/mode  -      green\n")), "{table}");
    let all = lines(&watch(&["-o", "ndjson", "--prev"]).text());
    let kinds: Vec<_> = all.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["progress", "put", "put", "delete", "end"]);
    assert_eq!((&all[2]["prev_value"], &all[2]["version"]), (&"blue".into(), &2.into()));
    assert!(all[3]["cursor"].as_str().unwrap().ends_with(&format!("-{gone}")), "{}", all[3]);
    assert_eq!((&all[4]["count"], &all[4]["rev"]), (&3.into(), &gone.into()));
    let whole: Value = serde_json::from_str(&watch(&["-o", "json"]).text()).unwrap();
    assert_eq!((&whole["schema"], &whole["rows"][2]["type"]), (&"kvctl.watched/v1".into(), &"delete".into()));
    // Nothing happens, and the time is up.
    assert_eq!(trial.kvctl(&["watch", "none", "--until", "100ms"]).told(), (0, String::new(), ""));
    let shell = format!("watch app/mode --from {first} --until 1");
    let shell = trial.kvshell(&["-x", &shell], "").text();
    assert_eq!(shell, format!("{first}\tput\tapp/mode\tblue\n"));
}

#[test]
fn a_transaction_is_shown_as_a_whole_and_its_cursor_is_behind_it() {
    let trial = Trial::start(1);
    let mut running = Running::start(&trial, &["--prefix", ""]);
    trial.kvctl(&["txn", "--then", "set a 1", "--then", "set b 2"]);
    let (a, b) = (running.event(), running.event());
    let at = a["rev"].as_u64().unwrap();
    assert_eq!((&a["key"], &b["key"], &b["rev"]), (&"a".into(), &"b".into(), &at.into()));
    let seen = |event: &Value| event["cursor"].as_str().unwrap().rsplit('-').next().unwrap().parse().unwrap();
    let (after_a, after_b): (u64, u64) = (seen(&a), seen(&b));
    assert_eq!((after_a, after_b), (at - 1, at), "who has seen only one of them begins with both");
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}

#[test]
fn a_reader_who_has_gone_and_ctrl_c_end_it_without_a_word() {
    use std::os::unix::process::ExitStatusExt as _;
    let trial = Trial::start(1);
    let mut running = Running::start(&trial, &["k"]);
    // Nobody reads any more, which shows at the next event.
    let mut none = Command::new("true").stdout(Stdio::piped()).spawn().unwrap();
    drop(std::mem::replace(&mut running.out, BufReader::new(none.stdout.take().unwrap())));
    none.wait().unwrap();
    trial.kvctl(&["set", "k", "v"]);
    let (status, err) = running.ended();
    assert_eq!((status.code(), err.as_str()), (Some(141), ""));
    let running = Running::start(&trial, &["k"]);
    let sent = Command::new("kill").args(["-s", "INT", &running.child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let (status, err) = running.ended();
    assert_eq!((status.signal(), err.as_str()), (Some(2), ""));
}

#[test]
fn a_cursor_goes_on_where_it_was_and_only_in_its_cluster() {
    let trial = Trial::start(1);
    let file = trial.home().join("app.cursor");
    let file = file.to_str().unwrap();
    trial.kvctl(&["set", "k", "0"]);
    let watch = |until: &str| {
        let all = trial.kvctl(&["watch", "k", "--cursor", file, "--until", until]).text();
        all.lines().map(|line| line.rsplit('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert!(watch("100ms").is_empty(), "from now on");
    for value in ["1", "2", "3"] {
        trial.kvctl(&["set", "k", value]);
    }
    assert_eq!((watch("2"), watch("1")), (vec!["1".to_owned(), "2".to_owned()], vec!["3".to_owned()]));
    assert!(watch("100ms").is_empty(), "all was seen");
    let kept = std::fs::read_to_string(file).unwrap();
    let (_, at) = kept.trim_end().split_once('-').unwrap();
    std::fs::write(file, format!("{}-{at}\n", "ab".repeat(16))).unwrap();
    let (code, error) = trial.json(&["watch", "k", "--cursor", file, "--until", "100ms"]);
    assert_eq!((code, &error["code"]), (8, &"KV-0830".into()));
    std::fs::write(file, "something else").unwrap();
    let (code, error) = trial.json(&["watch", "k", "--cursor", file]);
    assert_eq!((code, &error["code"]), (12, &"KV-1230".into()));
}

#[test]
fn a_command_is_run_for_each_event_and_what_failed_comes_again() {
    let trial = Trial::start(1);
    let file = trial.home().join("exec.cursor");
    let file = file.to_str().unwrap();
    let from = revision(&trial.kvctl(&["set", "k", "1"])).to_string();
    trial.kvctl(&["set", "k", "2"]);
    trial.kvctl(&["del", "k"]);
    let script = r#"value=$(cat); echo "$KV_KEY $KV_EVENT $value"; test "$value" != "$1""#;
    let watch = |fails: &str| {
        let words = ["watch", "k", "--from", &from, "--cursor", file, "--until", "3", "--exec", "--"];
        trial.kvctl(&[&words[..], &["sh", "-c", script, "sh", fails]].concat())
    };
    assert_eq!(watch("2").told(), (1, "k put 1\nk put 2\n".into(), ""));
    let words =
        ["watch", "k", "--cursor", file, "--until", "2", "--exec", "--", "sh", "-c", script, "sh", "no"];
    assert_eq!(trial.kvctl(&words).told(), (0, "k put 2\nk delete \n".into(), ""));
    let run = |words: &[&str]| {
        trial.kvctl(&[&["watch", "k", "--from", &from, "--exec", "--"], words].concat()).code.unwrap()
    };
    assert_eq!((run(&["sh", "-c", "exit 77"]), run(&["sh", "-c", "kill -9 $$"])), (77, 137));
    assert_eq!((run(&["/no/such/program"]), run(&["/"])), (127, 126));
    let nowhere = ["-e", "127.0.0.1:1", "-t", "300ms", "watch", "k", "--exec", "--", "true"];
    assert_eq!(trial.kvctl(&nowhere).code, Some(125));
}

#[test]
fn what_is_no_longer_kept_is_said_and_the_range_is_shown_again() {
    let trial = Trial::start(1);
    let file = trial.home().join("old.cursor");
    let file = file.to_str().unwrap();
    trial.kvctl(&["watch", "--prefix", "k", "--cursor", file, "--until", "100ms"]);
    trial.kvctl(&["retention", "--changes", "5"]);
    for value in 0..20 {
        trial.kvctl(&["set", &format!("k{}", value % 3), &value.to_string()]);
    }
    let lost = trial.kvctl(&["watch", "--prefix", "k", "--from", "1", "-o", "ndjson"]);
    let all = lines(&lost.text());
    assert_eq!((lost.code, all.len(), &all[0]["type"]), (Some(8), 1, &"resync".into()));
    assert!(lost.err.contains("KV-0812") && lost.err.contains("--initial"), "{}", lost.err);
    let oldest = all[0]["rev"].as_u64().unwrap();
    let kept = ["watch", "--prefix", "k", "--from", &(oldest + 1).to_string(), "--until", "5"];
    assert_eq!(trial.kvctl(&kept).text().lines().count(), 5);
    let again = ["watch", "--prefix", "k", "--initial", "--cursor", file, "--until", "3"];
    let shown = trial.kvctl(&again);
    let kinds: Vec<_> =
        shown.text().lines().map(|line| line.split('\t').nth(1).unwrap().to_owned()).collect();
    assert_eq!((shown.code, kinds.join(" ")), (Some(0), "resync put put put".to_owned()));
}

#[test]
fn a_watch_goes_on_when_all_nodes_were_gone() {
    let mut trial = Trial::start(3);
    let mut running = Running::start(&trial, &["k"]);
    trial.kvctl(&["set", "k", "1"]);
    assert_eq!(running.event()["value"], "1");
    trial.cluster.kill_all(&[1, 2, 3]);
    trial.cluster.revive();
    trial.leader();
    assert_eq!(trial.kvctl(&["set", "k", "2"]).code, Some(0));
    let event = running.event();
    assert_eq!((&event["value"], &event["version"]), (&"2".into(), &2.into()));
    running.child.kill().unwrap();
    running.child.wait().unwrap();
}
