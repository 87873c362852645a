//! The admin socket of each node: everything without a certificate, also what another node has to do.

use std::{os::unix::process::CommandExt as _, process::Command};

use crate::trial::{Ran, Trial};

/// The address of node `id`'s socket.
fn socket(trial: &Trial, id: usize) -> String {
    let path = trial.cluster.folder().join(format!("kv-data/n{id}/kvd.sock"));
    format!("unix:{}", path.display())
}

/// Asks through the socket of node `id`, with nothing of a context.
fn at(trial: &Trial, id: usize, words: &[&str]) -> Ran {
    trial.kvctl_bare(&[&["-e", &socket(trial, id)], words].concat())
}

fn json(ran: &Ran) -> serde_json::Value {
    serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

#[test]
fn a_node_is_administered_without_certificates() {
    let trial = Trial::start(3);
    let follower = trial.followers()[0];
    let here = |words: &[&str]| at(&trial, follower, words);
    assert_eq!(here(&["set", "app/mode", "blue"]).code, Some(0), "the leader is reached through a follower");
    assert_eq!(here(&["get", "app/mode"]).told(), (0, "blue".into(), ""));
    assert_eq!(here(&["get", "app/mode", "--consistency", "stale"]).told(), (0, "blue".into(), ""));
    assert_eq!(here(&["leader"]).text(), trial.kvctl(&["leader"]).text());
    assert_eq!(here(&["ls", "app/"]).told().0, 0);
    assert_eq!(here(&["get", "--prefix", "", "--count"]).text(), "1\n");

    let status = here(&["status", "-o", "json"]);
    let found = json(&status);
    assert_eq!((status.code, &found["health"], &found["quorum"]["up"]), (Some(0), &"ok".into(), &3.into()));
    let mut addresses: Vec<&str> =
        found["nodes"].as_array().unwrap().iter().map(|node| node["addr"].as_str().unwrap()).collect();
    addresses.sort_unstable();
    let mut known = trial.cluster.addresses();
    known.sort();
    assert_eq!(addresses, known, "each by the address that the others know");

    let backup = trial.home().join("backup");
    assert_eq!(here(&["snapshot", "save", backup.to_str().unwrap()]).code, Some(0));
    assert_eq!(here(&["snapshot", "verify", backup.to_str().unwrap()]).code, Some(0));
    let watch = here(&["watch", "app/mode", "--from", "1", "--until", "1", "-o", "ndjson"]);
    assert!(watch.text().contains("\"value\":\"blue\""), "{watch:?}");
}

#[test]
fn a_node_that_is_down_is_told_apart_through_the_socket_of_another() {
    let mut trial = Trial::start(3);
    let (leader, follower) = (trial.leader(), trial.followers()[0]);
    trial.cluster.kill(follower);
    let status = at(&trial, leader, &["status", "-o", "json"]);
    assert_eq!(status.code, Some(10), "{status:?}");
    let found = json(&status);
    let down = found["nodes"].as_array().unwrap().iter().find(|node| node["reachable"] == false).unwrap();
    assert_eq!(down["addr"], trial.cluster.address(follower));
    assert!(down["error"].as_str().unwrap().contains("refused"), "{down}");

    let dead = at(&trial, follower, &["get", "k"]);
    assert_eq!(
        (dead.code, dead.err.contains("kvd.sock refused the connection")),
        (Some(3), true),
        "{dead:?}"
    );
    trial.cluster.restart(follower);
    trial.eventually("new socket in the place of the old one", |trial| {
        (at(trial, follower, &["ping", "-o", "json"]).code == Some(0)).then_some(())
    });
    assert_eq!(trial.cluster.stop(follower).0, Some(0));
    assert!(!trial.cluster.folder().join(format!("kv-data/n{follower}/kvd.sock")).exists());
}

#[test]
fn a_socket_is_of_one_user_and_the_context_is_left_alone() {
    let trial = Trial::start(1);
    let endpoint = socket(&trial, 1);
    let view = trial.kvctl_bare(&["-e", &endpoint, "config", "view", "--origin"]);
    assert!(view.text().contains(&format!("endpoints\t{endpoint}\tflag --endpoints\n")), "{view:?}");
    assert!(!view.err.contains("no command"), "nothing is missing: {view:?}");
    let both = trial.kvctl(&["-e", &endpoint, "get", "none"]);
    assert_eq!(both.code, Some(1), "a context may be named beside it: {both:?}");

    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(trial.home()).unwrap());
    if owner != 0 {
        // Only the superuser can become somebody else to see that nobody else is let in.
        return;
    }
    // The programs may lie where nobody else may look; a copy does not.
    let place = tempfile::tempdir().unwrap();
    let program = place.path().join("kvctl");
    std::fs::copy(env!("CARGO_BIN_EXE_kvctl"), &program).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(place.path(), open).unwrap();
    let mut stranger = Command::new(&program);
    stranger.env_clear().uid(65_534).gid(65_534).current_dir("/").args(["-e", &endpoint, "get", "none"]);
    let ran = stranger.output().unwrap();
    let said = String::from_utf8(ran.stderr).unwrap();
    assert_eq!(ran.status.code(), Some(7), "{said}");
    assert!(said.contains("is not open to this user") && said.contains("run it with sudo"), "{said}");
}
