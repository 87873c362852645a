//! What an operator looks with: `doctor`, `events` and `debug bundle`, against real nodes and what can happen to them.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::trial::Trial;

/// What `doctor` found, apart from what is well.
fn findings(trial: &Trial, words: &[&str]) -> (i32, Vec<(String, String)>) {
    let (code, found) = trial.json(&[&["doctor"], words].concat());
    let looked = found["looked_at"].as_array().unwrap_or_else(|| panic!("{found}"));
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let bad = looked.iter().filter(|looked| looked["state"] != "ok");
    (code, bad.map(|looked| (text(&looked["what"]), text(&looked["name"]))).collect())
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(at, name)| ((*at).to_owned(), (*name).to_owned())).collect()
}

/// A disk of the machine that runs the tests may be nearly full; that is not what is looked at here.
fn without_disks((code, mut found): (i32, Vec<(String, String)>)) -> (i32, Vec<(String, String)>) {
    found.retain(|(_, name)| name != "disk_space");
    (if found.is_empty() { 0 } else { code }, found)
}

/// On a machine that is busy a node may be slow for a moment; in the end this is what is found, with this exit code.
fn comes_to(trial: &Trial, words: &[&str], code: i32, expected: &[(&str, &str)]) {
    let expected = (code, pairs(expected));
    trial.eventually(&format!("{expected:?} by {words:?}"), |trial| {
        (without_disks(findings(trial, words)) == expected).then_some(())
    });
}

#[test]
fn the_doctor_tells_apart_what_is_wrong() {
    let mut trial = Trial::start(3);
    assert_eq!(trial.kvctl(&["wait", "healthy"]).code, Some(0));
    comes_to(&trial, &[], 0, &[]);

    let follower = trial.followers()[0];
    let name = format!("n{follower}");
    trial.cluster.kill(follower);
    comes_to(&trial, &[], 1, &[(&name, "refused")]);
    comes_to(&trial, &[&name], 1, &[(&name, "refused")]);
    // Only what is asked about is looked at.
    comes_to(&trial, &[&format!("n{}", trial.leader())], 0, &[]);
    trial.cluster.restart(follower);
    assert_eq!(trial.kvctl(&["wait", "caught-up"]).code, Some(0));

    trial.pause(&[follower]);
    comes_to(&trial, &[], 1, &[(&name, "silent")]);
    trial.resume(&[follower]);
    assert_eq!(trial.kvctl(&["drain", &name]).code, Some(0));
    comes_to(&trial, &[], 1, &[(&name, "drained")]);

    let table = trial.kvctl(&["doctor", "-o", "table"]).text();
    assert!(table.contains(&format!("! {name}: `kvctl drain NODE --undo` ends it")), "{table}");
    assert_eq!(trial.kvctl(&["doctor", "n9"]).code, Some(2));
    let explained = trial.kvctl(&["explain", "KV-F20"]).text();
    assert!(explained.starts_with("KV-F20 drained   a finding of `doctor`\n"), "{explained}");
}

#[test]
fn what_keeps_every_command_from_asking_is_a_finding() {
    let trial = Trial::start(1);
    let context = fs::read(trial.cluster.context()).unwrap();
    let exposed = trial.file("exposed.kvctx", &context);
    fs::set_permissions(&exposed, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(findings(&trial, &["-C", &exposed]), (1, pairs(&[("here", "exposed_key")])));
    assert_eq!(findings(&trial, &["-C", "nowhere"]), (1, pairs(&[("here", "unknown_context")])));
    let (code, found) = findings(&trial, &["-e", "no-such-host.invalid:7400"]);
    assert_eq!((code, found[0].1.as_str()), (1, "unresolved"));
}

/// Types and terms of the events, oldest first.
fn events(trial: &Trial) -> Vec<(String, u64, String)> {
    let (_, told) = trial.json(&["events"]);
    let rows = told["rows"].as_array().unwrap_or_else(|| panic!("{told}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.iter().map(|row| (text(&row["type"]), row["term"].as_u64().unwrap(), text(&row["cause"]))).collect()
}

#[test]
fn an_election_is_told_with_its_reason_and_outlasts_the_nodes() {
    let mut trial = Trial::start(3);
    let leader = trial.leader();
    trial.eventually("start of each node and an election", |trial| {
        let first = events(trial);
        let count = |wanted: &str| first.iter().filter(|(kind, ..)| kind == wanted).count();
        (count("start") == 3 && count("election") >= 1).then_some(())
    });

    trial.cluster.kill(leader);
    let silent = format!("n{leader} was silent");
    let (_, term, _) = trial.eventually("election", |trial| {
        events(trial).into_iter().find(|(kind, _, cause)| kind == "election" && cause.contains(&silent))
    });
    let (code, told) = trial.json(&["events"]);
    let missing = told["missing"].as_array().unwrap();
    assert!(code == 10 && missing.contains(&format!("n{leader}").into()), "{told}");
    trial.cluster.restart(leader);
    let again = trial.eventually("events of all", |trial| {
        let told = events(trial);
        (told.iter().filter(|(kind, ..)| kind == "start").count() == 4).then_some(told)
    });
    let of_term: Vec<_> = again
        .iter()
        .filter(|(kind, of, _)| *of == term && ["election", "leader"].contains(&kind.as_str()))
        .collect();
    assert_eq!(of_term.len(), 1, "an election is told once: {again:?}");

    trial.cluster.stop(leader);
    trial.cluster.restart(leader);
    trial.eventually("the end of a process in its own words", |trial| {
        events(trial).into_iter().find(|(kind, _, cause)| kind == "stop" && cause == "it was told to")
    });
    assert_eq!(trial.kvctl(&["events", "--since", "0s"]).text(), "");
}

#[test]
fn a_bundle_has_everything_but_what_is_secret() {
    let trial = Trial::start(3);
    let (key, value) = ("secret/key-4711", "the-value-that-nobody-may-see");
    for words in [&["set", key, value], &["incr", "secret/counter", "77123456789"]] {
        trial.eventually("write", |trial| (trial.kvctl(words).code == Some(0)).then_some(()));
    }
    let file = trial.home().join("kv.tar");
    let words = ["debug", "bundle", "-f", file.to_str().unwrap()];
    let (code, made) = trial.json(&words);
    assert_eq!((code, made["missing"].as_array().unwrap().len()), (0, 0), "{made}");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let bytes = fs::read(&file).unwrap();
    assert_eq!(made["bytes"], bytes.len());
    let has = |text: &str| bytes.windows(text.len()).any(|window| window == text.as_bytes());
    for part in ["version", "nodes", "status", "doctor", "check", "events", "config"] {
        assert!(has(&format!("kv-bundle/{part}.json")), "{part}");
    }
    assert!(
        has("\"quorum\"")
            && has("certificate_days")
            && has("\"cause\"")
            && has("\"origin\": \"environment\"")
    );
    for secret in [key, value, "secret/", "counter", "77123456", "PRIVATE KEY", "BEGIN CERTIFICATE"] {
        assert!(!has(secret), "{secret}");
    }
    for what in ["ca", "cert", "key"] {
        for line in trial.of_context(what).lines().filter(|line| !line.starts_with("--")) {
            assert!(!has(line), "a line of the {what}");
        }
    }
    let listed = std::process::Command::new("tar").arg("-tf").arg(&file).output();
    if let Ok(listed) = listed {
        let names = String::from_utf8(listed.stdout).unwrap();
        assert_eq!(names.lines().count(), made["parts"].as_array().unwrap().len(), "{names}");
    }
    let again = trial.kvctl(&words);
    assert_eq!((again.code, again.err.contains("is there already")), (Some(12), true), "{again:?}");
}

#[test]
fn a_bundle_is_made_of_a_cluster_that_is_down_as_well() {
    let mut trial = Trial::start(1);
    trial.cluster.kill(1);
    let file = trial.home().join("kv.tar");
    let (code, made) = trial.json(&["debug", "bundle", "-t", "1s", "-f", file.to_str().unwrap()]);
    assert_eq!((code, &made["missing"]), (0, &serde_json::json!(["status.json"])), "{made}");
    let bytes = fs::read(&file).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.contains("KV-0301") && text.contains("\"refused\""), "what could not be had says why");
}
