//! `member` against real nodes: who is in the cluster, what may be changed and what may not.

use serde_json::Value;

use crate::trial::{Ran, Trial};

/// Name, part and state of each member.
fn members(trial: &Trial) -> Vec<(String, String, bool)> {
    let (code, json) = trial.json(&["member", "ls"]);
    assert_eq!(code, 0, "{json}");
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    let member =
        |seen: &Value| (word(&seen["name"]), word(&seen["part"]), seen["reachable"].as_bool().unwrap());
    json["members"].as_array().unwrap().iter().map(member).collect()
}

fn part(trial: &Trial, name: &str) -> Option<String> {
    members(trial).into_iter().find(|(member, ..)| member == name).map(|(_, part, _)| part)
}

/// It ended with this and said this on stderr.
fn said(ran: &Ran, code: i32, words: &str) {
    assert!(ran.code == Some(code) && ran.err.contains(words), "{code} {words}: {ran:?}");
}

#[test]
fn a_removal_that_would_stop_the_writes_is_refused_and_a_dead_member_goes() {
    let mut trial = Trial::start(3);
    let (leader, followers) = (format!("n{}", trial.leader()), trial.followers());
    let rows = trial.kvctl(&["member", "ls"]).text();
    assert_eq!(rows.lines().map(|row| row.split('\t').count()).collect::<Vec<_>>(), [7; 3], "{rows}");
    assert!(rows.contains(&format!("{leader} *\t")), "{rows}");

    let alive = format!("n{}", followers[0]);
    let planned = trial.kvctl(&["member", "remove", &alive, "-n"]);
    assert!(planned.text().contains(": voters 3→2, quorum 2→2, tolerates 1→0.\n"), "{planned:?}");
    said(&planned, 0, "nothing was done");
    assert_eq!(members(&trial).len(), 3);

    trial.cluster.kill(followers[1]);
    let dead = format!("n{}", followers[1]);
    let refused = trial.kvctl(&["member", "remove", &alive]);
    said(&refused, 8, "voters 3→2, quorum 2→2, tolerates 0→0.");
    said(&refused, 8, "KV-0850");
    let (code, planned) = trial.json(&["member", "remove", &alive, "--dry-run"]);
    assert_eq!(
        (code, &planned["state"], &planned["plan"]["late"][0]),
        (8, &"planned".into(), &dead.as_str().into())
    );
    said(&trial.kvctl(&["member", "demote", &alive]), 8, "KV-0850");
    said(&trial.kvctl(&["member", "remove", &alive, "--force"]), 11, "KV-1122");
    said(&trial.kvctl(&["member", "remove", &alive, "--force", "--confirm", "other"]), 11, "KV-1121");
    said(&trial.kvctl(&["member", "remove", "n9"]), 1, "no member is named `n9`; there are: n1, n2, n3");
    said(&trial.kvctl(&["member", "demote", "n9"]), 2, "KV-0206");
    assert_eq!(members(&trial).len(), 3, "nothing was done");

    let (code, gone) = trial.json(&["member", "remove", &dead]);
    assert_eq!((code, &gone["state"], &gone["part"]), (0, &"done".into(), &Value::Null), "{gone}");
    assert_eq!(members(&trial).len(), 2);
    let (code, again) = trial.json(&["member", "remove", &dead]);
    assert_eq!((code, &again["state"], &again["name"]), (1, &"absent".into(), &dead.as_str().into()));
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));
    let (_, status) = trial.json(&["status"]);
    assert_eq!((&status["quorum"]["voters"], &status["quorum"]["up"]), (&2.into(), &2.into()), "{status}");
}

#[test]
fn a_demoted_voter_learns_until_it_is_promoted() {
    let trial = Trial::start(3);
    let id = trial.followers()[0];
    let name = format!("n{id}");
    let demoted = trial.kvctl(&["member", "demote", &id.to_string()]);
    assert_eq!((demoted.code, part(&trial, &name).as_deref()), (Some(0), Some("learner")), "{demoted:?}");
    assert_eq!(trial.kvctl(&["member", "demote", &name]).code, Some(0), "it is so already");
    let (code, status) = trial.json(&["status"]);
    assert_eq!(
        (code, &status["quorum"]["voters"], &status["health"]),
        (0, &2.into(), &"ok".into()),
        "{status}"
    );
    let table = trial.kvctl(&["status", "-o", "table"]).text();
    assert!(table.contains("quorum 2/2, tolerates 0 failures, 1 learner"), "{table}");
    assert!(table.contains(&format!("\n{name}    learner   ok ")), "{table}");

    trial.pause(&[id]);
    let (code, status) = trial.json(&["status"]);
    assert_eq!((code, &status["health"]), (10, &"ok".into()), "a learner is no part of the quorum: {status}");
    let check = trial.kvctl(&["check", "cluster"]);
    assert!(check.code == Some(1) && check.text().contains(&format!("{name} is silent")), "{check:?}");
    said(&trial.kvctl(&["member", "promote", &name]), 8, "has not caught up");
    assert_eq!(part(&trial, &name).as_deref(), Some("learner"));
    trial.resume(&[id]);

    // The leader may not have heard of it yet.
    trial.eventually("promotion", |trial| {
        (trial.kvctl(&["member", "promote", &name]).code == Some(0)).then_some(())
    });
    assert_eq!(part(&trial, &name).as_deref(), Some("voter"));
    assert_eq!(trial.kvctl(&["status"]).code, Some(0));
}

#[test]
fn a_leader_can_be_removed() {
    let trial = Trial::start(3);
    let old = format!("n{}", trial.leader());
    let ran = trial.kvctl(&["member", "remove", &old]);
    said(&ran, 0, "is no member any more: stop its process");
    trial.eventually("another leader", |trial| {
        let ran = trial.kvctl(&["leader"]);
        (ran.code == Some(0) && !ran.text().starts_with(&format!("{old}\t"))).then_some(())
    });
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));
    assert_eq!(part(&trial, &old), None);
}

#[test]
fn who_is_not_meant_is_not_added_and_who_does_not_run_yet_is_by_its_id() {
    let trial = Trial::start(3);
    let first = trial.cluster.address(1).to_owned();
    let add = |words: &[&str]| trial.kvctl(&[&["member", "add"], words].concat());
    said(&add(&["n9", "--addr", &first]), 8, "calls itself n1 and not n9");
    said(&add(&["n1", "--addr", "127.0.0.1:1", "--id", "9"]), 8, "KV-0852");
    let away = add(&["n9", "--addr", "127.0.0.1:1"]);
    said(&away, 3, "--id");
    let (code, known) = trial.json(&["member", "add", "n1", "--addr", &first]);
    assert_eq!(
        (code, &known["state"], &known["rev"]),
        (0, &"done".into(), &Value::Null),
        "it votes: {known}"
    );

    let planned = add(&["n9", "--addr", "127.0.0.1:1", "--id", "9", "-n"]);
    assert!(planned.text().contains("voters 3→4, quorum 2→3, tolerates 1→1. An even count"), "{planned:?}");
    let added = add(&["n9", "--addr", "127.0.0.1:1", "--id", "9", "-t", "3s"]);
    said(&added, 10, "n9 does not answer at 127.0.0.1:1");
    said(&added, 10, "n9 is a learner");
    assert!(members(&trial).contains(&("n9".into(), "learner".into(), false)));
    said(&add(&["n9", "--addr", "127.0.0.1:1", "--id", "9", "--no-wait"]), 0, "n9 is a learner");
    let (code, status) = trial.json(&["status"]);
    assert_eq!((code, &status["quorum"]["voters"]), (10, &3.into()), "{status}");
    assert_eq!(trial.kvctl(&["member", "remove", "n9"]).code, Some(0));
    assert_eq!(trial.kvctl(&["status"]).code, Some(0));

    let replace = |words: &[&str]| trial.kvctl(&[&["member", "replace"], words].concat());
    said(&replace(&["n1", "n1", "--addr", &first]), 8, "take the place of itself");
    said(&replace(&["n7", "n8", "--addr", "127.0.0.1:1", "--id", "8"]), 2, "KV-0206");
    said(&replace(&["n1", "n8", "--addr", "127.0.0.1:1", "--id", "8", "--no-wait"]), 0, "voters 3→3");
    assert!(members(&trial).contains(&("n8".into(), "learner".into(), false)) && members(&trial).len() == 4);
    assert_eq!(trial.kvctl(&["member", "remove", "n8"]).code, Some(0));
}

#[test]
fn a_member_moves_where_it_answers() {
    let trial = Trial::start(3);
    let id = trial.followers()[0];
    let name = format!("n{id}");
    said(&trial.kvctl(&["member", "move", &name, "--addr", "127.0.0.1:1"]), 8, "KV-0850");
    let other = trial.cluster.address(trial.leader());
    said(&trial.kvctl(&["member", "move", &name, "--addr", other]), 8, "KV-0851");
    let silent = trial.followers()[1];
    trial.pause(&[silent]);
    let taken = trial.kvctl(&["member", "move", &name, "--addr", trial.cluster.address(silent)]);
    said(&taken, 8, "is the address of");
    trial.resume(&[silent]);
    let moved = trial.cluster.address(id).replace("127.0.0.1", "localhost");
    let ran = trial.kvctl(&["member", "move", &name, "--addr", &moved]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let (_, json) = trial.json(&["member", "ls"]);
    assert_eq!(json["members"][id - 1]["addr"], moved.as_str(), "{json}");
    trial.eventually("health", |trial| (trial.kvctl(&["wait", "healthy"]).code == Some(0)).then_some(()));
    assert_eq!(part(&trial, &name).as_deref(), Some("voter"));
}

#[test]
fn the_shell_changes_members_too() {
    let trial = Trial::start(3);
    let name = format!("n{}", trial.followers()[0]);
    let shell = trial.kvshell(&[], &format!("member demote {name}\nmember ls\n"));
    assert_eq!(shell.code, Some(0), "{shell:?}");
    assert!(shell.text().contains("\tlearner\t"), "{shell:?}");
}

#[test]
fn a_server_joins_and_another_takes_the_place_of_a_dead_one() {
    let mut trial = Trial::start(3);
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));
    let four = trial.cluster.join();
    let address = trial.cluster.address(four).to_owned();
    trial.eventually("new server", |trial| (trial.kvctl(&["ping", &address]).code == Some(0)).then_some(()));
    let shown = trial.kvctl(&["member", "add", "n4", "--addr", &address, "-n"]);
    assert_eq!((shown.code, members(&trial).len()), (Some(0), 3), "{shown:?}");
    let (code, added) = trial.json(&["member", "add", "n4", "--addr", &address, "-t", "15s"]);
    assert_eq!((code, &added["state"], &added["part"]), (0, &"done".into(), &"voter".into()), "{added}");
    assert_eq!(part(&trial, "n4").as_deref(), Some("voter"));

    let leader = trial.leader();
    let dead = (1..=3).find(|id| *id != leader).unwrap();
    let old = format!("n{dead}");
    trial.cluster.kill(dead);
    let five = trial.cluster.join();
    let address = trial.cluster.address(five).to_owned();
    trial.eventually("new server", |trial| (trial.kvctl(&["ping", &address]).code == Some(0)).then_some(()));
    let replaced = trial.kvctl(&["member", "replace", &old, "n5", "--addr", &address, "-t", "15s"]);
    said(&replaced, 0, "voters 4→4, quorum 3→3, tolerates 0→1");
    assert!(replaced.text().starts_with("n5\tvotes\t"), "{replaced:?}");
    let names: Vec<String> = members(&trial).into_iter().map(|(name, ..)| name).collect();
    assert!(names.len() == 4 && names.contains(&"n5".to_owned()) && !names.contains(&old), "{names:?}");
    assert_eq!(
        trial.kvctl(&["member", "replace", &old, "n5", "--addr", &address]).code,
        Some(0),
        "once more"
    );
    assert_eq!(trial.kvctl(&["get", "k"]).told(), (0, "v".into(), ""));
}

#[test]
fn a_learner_that_is_held_votes_when_it_is_promoted() {
    let mut trial = Trial::start(1);
    let two = trial.cluster.join();
    let address = trial.cluster.address(two).to_owned();
    trial.eventually("new server", |trial| (trial.kvctl(&["ping", &address]).code == Some(0)).then_some(()));
    let add = ["member", "add", "n2", "--addr", &address];
    let held = trial.kvctl(&[&add[..], &["--learner", "-t", "15s"]].concat());
    assert!(held.code == Some(0) && held.text().starts_with("n2\tlearner, "), "{held:?}");
    said(&trial.kvctl(&["member", "remove", "n1"]), 8, "KV-0854");
    let promoted = trial.kvctl(&["member", "promote", "n2"]);
    assert_eq!((promoted.code, part(&trial, "n2").as_deref()), (Some(0), Some("voter")), "{promoted:?}");
}
