//! What is shown again and again, and the verdict of `status` for scripts.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
};

use crate::trial::Trial;

fn spawn(trial: &Trial, words: &[&str]) -> Child {
    let mut kvctl = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    kvctl.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
    kvctl.args(words).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_status_that_is_watched_outlives_the_trouble_it_shows() {
    let mut trial = Trial::start(1);
    let words = ["status", "--watch", "10ms", "-o", "ndjson", "-t", "300ms"];
    let mut watching = spawn(&trial, &words);
    let mut lines = BufReader::new(watching.stdout.take().unwrap()).lines();
    let mut next = || lines.next().unwrap().unwrap();
    assert!(next().contains("\"health\":\"ok\"") && next().contains("\"health\":\"ok\""));
    trial.cluster.kill(1);
    trial.cluster.restart(1);
    for _ in 0..20 {
        next();
    }
    drop(lines);
    assert_eq!(watching.wait().unwrap().code(), Some(141), "it ends with its reader");

    let wrong = trial.kvctl(&["status", "--watch", "soon"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("soon"), "{wrong:?}");
    assert_eq!(trial.kvctl(&["status", "--watch", "--exit-code"]).code, Some(2), "there is no end to judge");
}

#[test]
fn a_script_gets_one_of_three_verdicts() {
    let mut trial = Trial::start(3);
    let verdict = |trial: &Trial| trial.kvctl(&["status", "--exit-code", "-q", "-t", "500ms"]).code;
    trial.eventually("a healthy cluster", |trial| (verdict(trial) == Some(0)).then_some(()));
    trial.cluster.kill(1);
    trial.eventually("a warning", |trial| (verdict(trial) == Some(1)).then_some(()));
    trial.cluster.kill(2);
    trial.eventually("a cluster that is down", |trial| (verdict(trial) == Some(2)).then_some(()));
    trial.cluster.kill(3);
    assert_eq!(verdict(&trial), Some(2), "nobody answers");
    assert_eq!(trial.kvctl(&["status", "-t", "500ms"]).code, Some(3), "without it a failure is what it was");
}

#[test]
fn top_shows_what_is_written_a_second() {
    let mut trial = Trial::start(3);
    let once = trial.kvctl(&["top", "--every", "100ms"]);
    assert_eq!((once.code, once.text().lines().count()), (Some(0), 3), "off a terminal it ends: {once:?}");
    assert!(once.text().lines().all(|row| row.split('\t').count() == 9), "{once:?}");

    let mut top = spawn(&trial, &["top", "--every", "100ms", "--count", "200", "-o", "ndjson"]);
    let mut bench = spawn(&trial, &["bench", "--for", "1m", "--keys", "4", "--clients", "2"]);
    let lines = BufReader::new(top.stdout.take().unwrap()).lines().map(Result::unwrap);
    let views = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).unwrap());
    let is_busy = |view: &serde_json::Value| view["entries_per_s"].as_f64().is_some_and(|rate| rate > 1.0);
    let busy = views.into_iter().find(is_busy).expect("the writes show");
    for child in [&mut bench, &mut top] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let sum =
        |name: &str| busy["nodes"].as_array().unwrap().iter().filter(|node| node[name].is_number()).count();
    assert_eq!([sum("entries_per_s"), sum("rtt_ms"), sum("lag_entries"), sum("last")], [3; 4], "{busy}");

    let dead = trial.followers()[0];
    trial.cluster.kill(dead);
    let missing = trial.kvctl(&["top", "--every", "100ms", "-o", "table"]).text();
    assert!(missing.contains(&format!("\nn{dead}    -         refused")), "{missing}");
    assert_eq!(trial.kvctl(&["top", "--every", "100ms"]).code, Some(10));
    let wrong = trial.kvctl(&["top", "--every", "99ms"]);
    assert!(wrong.code == Some(2) && wrong.err.contains("less than 100ms"), "{wrong:?}");
}
