//! Leases and keys with a time of their own, by this test's own clock: never gone early, gone in time, and neither
//! shortened nor begun anew when the leader is killed.

use std::time::{Duration, Instant};

use crate::trial::Trial;

/// Reads a key until it is gone. Whatever read ended before its time must have found it; returns when it was gone.
fn lives(trial: &Trial, key: &str, written: Instant, ttl: Duration) -> Duration {
    loop {
        let read = trial.kvctl(&["get", key]);
        let since = written.elapsed();
        // Any other code: nobody leads for a moment.
        if read.code == Some(1) {
            assert!(since >= ttl, "{key} is gone after {since:?} of {ttl:?}");
            return since;
        }
        assert!(since < ttl + Duration::from_secs(15), "{key} is there after {since:?} of {ttl:?}: {read:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_key_is_there_for_its_time_and_not_longer_whatever_becomes_of_the_leader() {
    let mut trial = Trial::start(3);
    let ttl = Duration::from_secs(2);
    let written = Instant::now();
    let set = trial.kvctl(&["set", "session", "me", "--ttl", "2s"]);
    assert_eq!(set.code, Some(0), "{set:?}");
    let answered = written.elapsed();
    let gone = lives(&trial, "session", written, ttl);
    assert!(gone.checked_sub(answered).unwrap() < ttl + Duration::from_secs(2), "gone after {gone:?}");

    let ttl = Duration::from_secs(8);
    let written = Instant::now();
    assert_eq!(trial.kvctl(&["set", "session", "me", "--ttl", "8s"]).code, Some(0));
    let answered = written.elapsed();
    std::thread::sleep(Duration::from_secs(3));
    let leader = trial.leader();
    trial.cluster.kill(leader);
    trial.cluster.restart(leader);
    let gone = lives(&trial, "session", written, ttl);
    assert!(
        gone.checked_sub(answered).unwrap() < ttl + Duration::from_secs(3),
        "not begun anew: gone after {gone:?}"
    );
    let history = trial.kvctl(&["history", "session"]);
    assert!(history.text().split('\n').next().unwrap().contains("expire"), "{history:?}");
    let equal = trial.eventually("equal states", |trial| {
        let (_, json) = trial.json(&["status"]);
        let nodes = json["nodes"].as_array().unwrap();
        let hash = |node: &serde_json::Value| (node["applied"].clone(), node["state_hash"].clone());
        (nodes.len() == 3 && nodes.iter().all(|node| hash(node) == hash(&nodes[0]))).then_some(nodes.len())
    });
    assert_eq!(equal, 3, "expiry is the same on all nodes");
}

#[test]
fn a_lease_holds_keys_is_renewed_and_takes_them_with_it() {
    let trial = Trial::start(1);
    let granted = trial.kvctl(&["lease", "grant", "--ttl", "1h"]);
    let lease = granted.text().trim().to_owned();
    for key in ["workers/1", "workers/2"] {
        assert_eq!(trial.kvctl(&["set", key, "here", "--lease", &lease]).code, Some(0));
    }
    let (_, json) = trial.json(&["lease", "show", &lease]);
    assert_eq!(json["keys"], serde_json::json!(["workers/1", "workers/2"]), "{json}");
    let (_, json) = trial.json(&["get", "workers/1"]);
    assert_eq!(json["lease"], lease, "{json}");
    assert!((3_500_000..=3_600_000).contains(&json["ttl_ms"].as_u64().unwrap()), "{json}");
    let meta = trial.kvctl(&["get", "--prefix", "workers/", "--meta", "-o", "table"]);
    assert!(meta.text().starts_with("KEY") && meta.text().contains("TTL"), "{meta:?}");
    assert!(meta.text().lines().skip(1).all(|row| row.ends_with(&lease)), "{meta:?}");
    assert_eq!(trial.kvctl(&["set", "workers/2", "gone", "--keep-lease"]).code, Some(0));
    assert_eq!(trial.kvctl(&["set", "workers/3", "for ever"]).code, Some(0));
    assert_eq!(trial.kvctl(&["lease", "renew", &lease]).code, Some(0));
    let listed = trial.kvctl(&["lease", "ls"]);
    assert_eq!(listed.text().split('\t').next(), Some(&*lease), "{listed:?}");
    let revoked = trial.kvctl(&["lease", "revoke", &lease]);
    assert!(revoked.code == Some(0) && revoked.text().contains("removed 2 keys"), "{revoked:?}");
    let left = trial.kvctl(&["get", "--prefix", "workers/", "--keys"]);
    assert_eq!(left.told(), (0, "workers/3\n".into(), ""));
    for words in [&["lease", "renew", &lease][..], &["lease", "show", &lease], &["lease", "revoke", &lease]] {
        let no = trial.kvctl(words);
        assert!(no.code == Some(1) && no.err.contains("no such lease"), "{no:?}");
    }
    let no = trial.kvctl(&["set", "workers/1", "late", "--lease", &lease]);
    assert!(no.code == Some(1) && no.err.contains("no such lease"), "{no:?}");
    assert_eq!(trial.kvctl(&["exists", "workers/1"]).code, Some(1));
    assert_eq!(trial.kvctl(&["set", "k", "v", "--ttl", "99ms"]).code, Some(8));
    assert_eq!(trial.kvctl(&["set", "k", "v", "--ttl", "1s", "--keep-lease"]).code, Some(2));
}

#[test]
fn a_watch_tells_what_ended_from_what_was_removed() {
    let trial = Trial::start(1);
    trial.kvctl(&["set", "k", "v", "--ttl", "100ms"]);
    let told = trial.kvctl(&["watch", "k", "--from", "0", "--until", "2"]);
    let types: Vec<_> = told.text().lines().map(|row| row.split('\t').nth(1).unwrap().to_owned()).collect();
    assert_eq!(types, ["put", "expire"], "{told:?}");
}
