//! `check` against real nodes, its output read as monitoring systems read it.

use std::fs;

use crate::{
    monitoring::{Plugin, prometheus},
    trial::Trial,
};

const CHECKS: [&str; 8] = ["live", "ready", "cluster", "replication", "disk", "cert", "latency", "all"];

/// Runs a check and holds its exit code to its line.
fn check(trial: &Trial, words: &[&str]) -> (i32, Plugin) {
    let ran = trial.kvctl(&[&["check"], words].concat());
    let plugin = Plugin::read(&ran.text(), &words[0].to_uppercase());
    let words_by_code = ["OK", "WARNING", "CRITICAL", "UNKNOWN"];
    let code = ran.code.unwrap();
    assert_eq!(words_by_code.get(usize::try_from(code).unwrap()), Some(&plugin.status.as_str()), "{ran:?}");
    (code, plugin)
}

#[test]
fn every_check_of_a_cluster_that_is_well() {
    let trial = Trial::start(3);
    assert_eq!(trial.kvctl(&["set", "app/beat", "1"]).code, Some(0));
    trial.eventually("replication", |trial| {
        let (code, json) = trial.json(&["check", "replication", "-w", "0"]);
        (code == 0).then_some(json)
    });
    for name in CHECKS {
        // A busy machine is slow, which is not what this is about.
        let (code, plugin) = if matches!(name, "latency" | "all") {
            check(&trial, &[name, "-w", "read=60000", "-c", "read=60000"])
        } else {
            check(&trial, &[name])
        };
        assert_eq!((code, plugin.code_of_data()), (0, 0), "{name}: {plugin:?}");
        let (code, json) = trial.json(&["check", name, "-w", if name == "disk" { "1T" } else { "read=9:" }]);
        let used = matches!(name, "ready" | "latency" | "cluster" | "all" | "disk");
        assert!(json["schema"] == "kvctl.check/v1" && (code != 3) == used, "{name}: {json}");
        let samples = prometheus(&trial.kvctl(&["check", name, "--format", "prometheus"]).text());
        assert!(samples.contains_key(&format!("kv_check_status{{check=\"{name}\"}}")), "{samples:?}");
        let table = trial.kvctl(&["check", name, "--format", "text"]).text();
        assert!(table.lines().nth(1).unwrap().starts_with("NAME "), "{table}");
    }
    let (_, cluster) = check(&trial, &["cluster"]);
    assert_eq!((cluster.data["voters_up"].value, cluster.data["lag"].value), (3.0, 0.0));
    assert_eq!(cluster.data["read"].unit, "ms");
    assert!(cluster.summary.starts_with("quorum 3/3, n"), "{}", cluster.summary);

    assert_eq!(check(&trial, &["key", "app/beat", "--value", "1"]).0, 0);
    assert_eq!(check(&trial, &["key", "app/beat", "--value", "2"]).0, 2);
    assert_eq!(check(&trial, &["key", "none"]).0, 2);
    assert_eq!(check(&trial, &["key", "none", "--absent"]).0, 0);
    assert_eq!(check(&trial, &["key", "app/beat", "-w", "@0:1000000"]).0, 1);
}

#[test]
fn ranges_decide_as_an_independent_reader_does() {
    let trial = Trial::start(1);
    for range in ["0", "1:", "~:1", "0:5000", "@0:5000", "@5000:6000", "3000:", "1K"] {
        for (flag, name) in [("-w", "cert"), ("-c", "cert"), ("-w", "disk"), ("-c", "disk")] {
            let own = if flag == "-w" { ["-c", "0:"] } else { ["-w", "0:"] };
            let (code, plugin) = check(&trial, &[&[name, flag, range], &own[..]].concat());
            assert_eq!(code, plugin.code_of_data(), "{name} {flag} {range}: {plugin:?}");
        }
    }
}

#[test]
fn a_dead_node_a_lost_quorum_and_nobody() {
    let mut trial = Trial::start(3);
    let [dead, second] = trial.followers()[..] else { panic!("two followers") };
    let file = trial.home().join("kv.prom").to_str().unwrap().to_owned();
    let textfile = |trial: &Trial| {
        let words = ["check", "cluster", "--format", "prometheus", "--textfile", &file, "-t", "1s"];
        let ran = trial.kvctl(&words);
        assert!(ran.out.is_empty() && ran.err.is_empty(), "{ran:?}");
        (ran.code.unwrap(), prometheus(&fs::read_to_string(&file).unwrap()))
    };
    let success = "kv_check_last_success_timestamp_seconds{check=\"cluster\"}";
    let last_run = "kv_check_last_run_timestamp_seconds{check=\"cluster\"}";
    let (code, well) = textfile(&trial);
    assert!(code == 0 && well[success] >= well[last_run] && well[success] > 1.7e9, "{well:?}");

    trial.cluster.kill(dead);
    let (code, plugin) = check(&trial, &["cluster"]);
    assert_eq!((code, plugin.data["voters_up"].value), (1, 2.0), "{plugin:?}");
    assert!(plugin.summary.contains(&format!("n{dead} refused the connection")), "{plugin:?}");
    assert_eq!(check(&trial, &["live"]).0, 2);
    let gone = trial.cluster.address(dead).to_owned();
    let there = trial.cluster.address(trial.leader()).to_owned();
    assert_eq!(check(&trial, &["live", "-e", &gone]).0, 2);
    assert_eq!(check(&trial, &["live", "-e", &there]).0, 0, "a node is asked for itself alone");
    assert_eq!(check(&trial, &["ready", "-e", &gone]).0, 2, "no other node answers in its place");
    assert_eq!(check(&trial, &["ready", "-e", &there]).0, 0);
    assert_eq!(check(&trial, &["disk"]).0, 3);
    let (code, later) = textfile(&trial);
    assert!(code == 1 && later[success] <= well[success] && later[last_run] > later[success], "{later:?}");

    trial.cluster.kill(second);
    let last = trial.cluster.running()[0];
    trial.eventually("end of the leader's term", |trial| {
        let (code, plugin) = check(trial, &["cluster", "-t", "500ms"]);
        assert_eq!(code, 2, "one of three is no quorum: {plugin:?}");
        plugin.summary.contains("no leader").then_some(())
    });
    let address = trial.cluster.address(last).to_owned();
    assert_eq!(check(&trial, &["live", "-e", &address]).0, 0, "it lives");
    let (code, plugin) = check(&trial, &["ready", "-e", &address, "-t", "500ms"]);
    assert_eq!(code, 2, "but it serves no read: {plugin:?}");
    assert_eq!(check(&trial, &["latency", "-t", "500ms"]).0, 2);
    trial.cluster.kill(last);
    assert_eq!(check(&trial, &["all", "-t", "300ms"]).0, 2);
}

#[test]
fn the_shell_checks_as_well() {
    let trial = Trial::start(1);
    let ran = trial.kvshell(&["-x", "check live; check disk -c 1"], "");
    assert_eq!(ran.code, Some(2), "{ran:?}");
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("KV LIVE OK - ") && lines[1].starts_with("KV DISK CRITICAL - "), "{text}");
}

#[test]
fn who_is_not_let_in_knows_nothing() {
    let trial = Trial::start(1);
    let other = transport::Authority::create("other", 1).unwrap();
    let ca = trial.file("other.pem", other.cert_pem().as_bytes());
    for name in CHECKS.into_iter().chain(["key"]) {
        let key: &[&str] = if name == "key" { &["k"] } else { &[] };
        let (code, plugin) = check(&trial, &[&[name], key, &["--ca", &ca]].concat());
        assert_eq!(code, 3, "{name}: {plugin:?}");
    }
}
