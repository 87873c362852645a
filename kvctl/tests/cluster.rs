//! The tools against clusters of real processes: every command in every format, bytes as they were given, and each
//! exit code by the fault that it stands for.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "cluster/batches.rs"]
mod batches;
#[path = "cluster/checks.rs"]
mod checks;
#[path = "cluster/completions.rs"]
mod completions;
#[path = "cluster/generated.rs"]
mod generated;
#[path = "cluster/keys.rs"]
mod keys;
#[path = "cluster/leases.rs"]
mod leases;
#[path = "cluster/locks.rs"]
mod locks;
#[path = "cluster/members.rs"]
mod members;
#[path = "cluster/monitoring.rs"]
mod monitoring;
#[path = "cluster/operating.rs"]
mod operating;
#[path = "cluster/past.rs"]
mod past;
#[path = "cluster/protected.rs"]
mod protected;
#[path = "cluster/ranges.rs"]
mod ranges;
#[path = "cluster/readmitting.rs"]
mod readmitting;
#[path = "cluster/recovering.rs"]
mod recovering;
#[path = "cluster/restoring.rs"]
mod restoring;
#[path = "cluster/schemas.rs"]
mod schemas;
#[path = "cluster/seeing.rs"]
mod seeing;
#[path = "cluster/shell.rs"]
mod shell;
#[path = "cluster/snapshots.rs"]
mod snapshots;
#[path = "cluster/socket.rs"]
mod socket;
#[path = "cluster/trial.rs"]
mod trial;
#[path = "cluster/verifying.rs"]
mod verifying;
#[path = "cluster/waits.rs"]
mod waits;
#[path = "cluster/watches.rs"]
mod watches;
#[path = "cluster/writes.rs"]
mod writes;

use std::{
    net::UdpSocket,
    process::{Command, Stdio},
    time::Duration,
};

use transport::{Authority, Endpoint, Identity, Settings};
use trial::Trial;

const VALUE_LIMIT: usize = 512 * 1024;

#[test]
fn every_command_in_every_format() {
    let trial = Trial::start(3);
    let plain = |words: &[&str]| trial.kvctl(words);
    let table = |words: &[&str]| trial.kvctl(&[&["-o", "table"], words].concat());

    let set = plain(&["set", "app/mode", "blue"]);
    let revision: u64 = set.text().trim_end().strip_prefix("ok\trev ").unwrap().parse().unwrap();
    assert_eq!(plain(&["get", "app/mode"]).told(), (0, "blue".into(), ""));
    assert_eq!(table(&["get", "app/mode"]).told(), (0, "blue".into(), ""));
    let (code, json) = trial.json(&["get", "app/mode"]);
    assert_eq!((code, &json["schema"], &json["value"]), (0, &"kvctl.get/v1".into(), &"blue".into()));
    assert_eq!((&json["mod_rev"], &json["version"]), (&revision.into(), &1.into()));

    let set = table(&["set", "app/mode", "green"]);
    assert!(set.text().starts_with("ok  rev "), "{set:?}");
    let (code, json) = trial.json(&["set", "app/mode", "red"]);
    assert_eq!((code, &json["applied"], &json["deduplicated"]), (0, &true.into(), &false.into()));
    assert_eq!(plain(&["set", "-q", "app/mode", "grey"]).told(), (0, String::new(), ""));

    assert_eq!(plain(&["exists", "app/mode"]).told(), (0, "yes\n".into(), ""));
    assert_eq!(table(&["exists", "none"]).told(), (1, "no\n".into(), ""));
    assert_eq!(trial.json(&["exists", "none"]).1["exists"], false);

    assert!(plain(&["del", "app/mode"]).text().starts_with("deleted\trev "));
    assert_eq!(table(&["del", "app/mode"]).told(), (1, String::new(), "no such key: app/mode\n"));
    assert_eq!(trial.json(&["del", "app/mode"]).1["existed"], false);

    let version = format!("kvctl {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(plain(&["version"]).text(), format!("{version}\tkvd-client/1\n"));
    assert_eq!(table(&["version"]).text(), format!("{version}  kvd-client/1\n"));
    assert_eq!(trial.json(&["version"]).1["protocol"], "kvd-client/1");
}

#[test]
fn status_and_leader_in_every_format() {
    let trial = Trial::start(3);
    let leader = trial.leader();
    let (name, address) = (format!("n{leader}"), trial.cluster.address(leader));
    let (code, json) = trial.json(&["leader"]);
    assert_eq!((code, &json["name"], &json["addr"]), (0, &name.as_str().into(), &address.into()));
    let term = &json["term"];
    assert_eq!(trial.kvctl(&["leader"]).text(), format!("{name}\t{address}\tterm {term}\n"));
    assert_eq!(trial.kvctl(&["leader", "-o", "table"]).text(), format!("{name}  {address}  term {term}\n"));
    assert_eq!(trial.kvctl(&["leader", "--addr"]).text(), format!("{address}\n"));

    let (code, json) = trial.json(&["status"]);
    assert_eq!((code, &json["health"], &json["quorum"]["up"]), (0, &"ok".into(), &3.into()), "{json}");
    assert_eq!((&json["leader"]["name"], &json["views_agree"]), (&name.as_str().into(), &true.into()));
    let table = trial.kvctl(&["status", "-o", "table"]).text();
    let head = table.lines().next().unwrap();
    assert!(head.contains("   OK   quorum 3/3, tolerates 1 failure   rev "), "{head}");
    assert!(table.contains(&format!("\n{name} *")) && table.lines().count() == 5, "{table}");
    let plain = trial.kvctl(&["status"]);
    let columns: Vec<usize> = plain.text().lines().map(|row| row.split('\t').count()).collect();
    assert_eq!((plain.code, columns), (Some(0), vec![10; 3]));
    assert!(plain.err.contains("   OK   quorum 3/3, "), "off a terminal health is told beside the rows");
    assert_eq!(trial.kvctl(&["status", "-q"]).err, "");
}

#[test]
fn values_are_bytes() {
    let trial = Trial::start(1);
    let bytes: Vec<u8> = (0..=255).collect();
    let every = trial.file("every", &bytes);
    assert_eq!(trial.kvctl(&["set", "k", "--file", &every]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", "k"]).out, bytes);
    assert!(trial.json(&["get", "k"]).1["value_b64"].as_str().unwrap().starts_with("AAECAwQF"));

    let mut large = bytes.repeat(VALUE_LIMIT / bytes.len());
    assert_eq!(trial.kvctl_with(&["set", "k", "--file", "-"], &large).code, Some(0));
    assert!(trial.kvctl(&["get", "k"]).out == large, "512 KiB come back as they went");
    large.push(0);
    let over = trial.kvctl(&["set", "k", "--file", &trial.file("over", &large)]);
    assert!(over.code == Some(8) && over.err.contains("KV-0801"), "{over:?}");
    large.pop();
    assert!(trial.kvctl(&["get", "k"]).out == large, "what is refused changes nothing");

    assert_eq!(trial.kvctl(&["set", "k", "--file", &trial.file("empty", b"")]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", "k"]).told(), (0, String::new(), ""));
    assert_eq!(trial.kvctl(&["set", "k", "-5"]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", "k"]).text(), "-5");
    assert_eq!(trial.kvctl(&["set", "k", "--", "--file"]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", "k"]).text(), "--file");
}

#[test]
fn bad_input_and_absent_keys() {
    let trial = Trial::start(1);
    for words in [&["set", "", "v"][..], &["get", ""], &["del", ""], &["exists", ""]] {
        assert_eq!(trial.kvctl(words).code, Some(2), "{words:?}");
    }
    let (longest, over) = ("k".repeat(4096), "k".repeat(4097));
    assert_eq!(trial.kvctl(&["set", &longest, "v"]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", &longest]).text(), "v");
    for words in [&["set", &over, "v"][..], &["get", &over], &["del", &over], &["exists", &over]] {
        assert_eq!(trial.kvctl(words).code, Some(8), "{}", words[0]);
    }
    let folder = trial.home().to_str().unwrap();
    assert_eq!(trial.kvctl(&["set", "k", "--file", folder]).code, Some(12), "a folder is no value");

    assert_eq!(trial.kvctl(&["get", "none"]).told(), (1, String::new(), "no such key: none\n"));
    assert_eq!(trial.kvctl(&["get", "none", "--absent-exit", "0"]).code, Some(0));
    assert_eq!(trial.kvctl(&["get", "none", "--absent-exit", "44"]).code, Some(44));
    assert_eq!(trial.kvctl(&["get", "none", "--default", "green"]).told(), (0, "green".into(), ""));
    let (code, json) = trial.json(&["get", "none"]);
    assert_eq!((code, &json["found"]), (1, &false.into()));
}

#[test]
fn a_dead_node_is_a_row_and_no_quorum_is_told_from_nobody() {
    let mut trial = Trial::start(3);
    let [dead, second] = trial.followers()[..] else { panic!("two followers") };
    trial.cluster.kill(dead);
    let refused = trial.cluster.address(dead).to_owned();
    assert_eq!(trial.kvctl(&["get", "k", "-e", &refused, "-t", "300ms"]).code, Some(3));
    let status = trial.kvctl(&["status", "-o", "table", "--connect-timeout", "500ms"]);
    assert_eq!(status.code, Some(10), "{status:?}");
    assert!(status.text().contains(&format!("! n{dead} ({refused}) ")), "{status:?}");
    assert!(status.text().contains("DEGRADED, 1 warning   quorum 2/3, tolerates 0 failures"), "{status:?}");
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0), "two of three are a quorum");

    // A node that is there and says nothing: it must not take more than it is given.
    trial.cluster.pause(second);
    let status = trial.kvctl(&["status", "--connect-timeout", "500ms"]);
    trial.cluster.resume(second);
    assert!(status.took >= Duration::from_millis(500) && status.took < Duration::from_secs(2), "{status:?}");
    assert!(status.text().contains("\tsilent\t"), "{status:?}");

    trial.cluster.kill(second);
    trial.eventually("end of the leader's term", |trial| {
        (trial.kvctl(&["leader"]).code == Some(4)).then_some(())
    });
    let (code, json) = trial.json(&["set", "k", "w", "-t", "500ms"]);
    assert_eq!((code, &json["applied"], &json["retryable"]), (4, &"no".into(), &true.into()), "{json}");
    assert_eq!(trial.kvctl(&["get", "k", "-t", "500ms"]).code, Some(4));
    assert_eq!(trial.kvctl(&["get", "k", "--consistency", "stale"]).text(), "v");
    assert_eq!(trial.kvctl(&["status"]).code, Some(4));

    let last = trial.cluster.running()[0];
    trial.cluster.kill(last);
    for words in [&["set", "k", "w"][..], &["get", "k"], &["status"], &["leader"]] {
        assert_eq!(trial.kvctl(&[&["-t", "300ms"], words].concat()).code, Some(3), "{words:?}");
    }
}

#[test]
fn an_unknown_outcome_is_settled_by_its_request_id() {
    let trial = Trial::start(3);
    // On a busy machine the leader may have stepped down before it took the write; then nothing was written.
    let failure = (0..10).find_map(|_| {
        let followers = trial.followers();
        trial.pause(&followers);
        let (code, failure) = trial.json(&["set", "k", "v", "-t", "800ms"]);
        trial.resume(&followers);
        assert!(matches!(code, 4..=6), "{failure}");
        (code == 6).then_some(failure)
    });
    let failure = failure.expect("a leader alone takes a write that it cannot commit");
    assert_eq!((&failure["code"], &failure["applied"]), (&"KV-0601".into(), &"unknown".into()));
    let id = failure["request_id"].as_str().unwrap();
    assert!(failure["hint"].as_str().unwrap().ends_with(&format!("--request-id {id}")), "{failure}");

    for _ in 0..2 {
        let (code, set) = trial.json(&["set", "k", "v", "--request-id", id]);
        assert_eq!((code, &set["applied"]), (0, &true.into()), "{set}");
    }
    let (_, last) = trial.json(&["set", "k", "v", "--request-id", id]);
    assert_eq!(last["deduplicated"], true);
    let (_, read) = trial.json(&["get", "k"]);
    assert_eq!(read["version"], 1, "three runs under one id are one write: {read}");
}

#[test]
fn strangers_and_garbage_leave_a_node_serving() {
    let trial = Trial::start(1);
    let address = trial.cluster.address(1);
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));

    let other = Authority::create("other", 1).unwrap();
    let stranger = other.issue_client("admin", 1).unwrap();
    let other_ca = trial.file("other.pem", other.cert_pem().as_bytes());
    let own_ca = trial.file("ca.pem", trial.of_context("ca").as_bytes());
    let cert = trial.file("cert.pem", stranger.cert_pem.as_bytes());
    let key = trial.file("key.pem", stranger.key_pem.as_bytes());
    for command in [&["get", "k"][..], &["set", "k", "w"], &["status"], &["leader"]] {
        let wrong_ca = trial.kvctl(&[&["--ca", &other_ca], command].concat());
        assert!(wrong_ca.code == Some(7) && wrong_ca.err.contains("KV-0701"), "{command:?}: {wrong_ca:?}");
        let unknown = ["--ca", &own_ca, "--cert", &cert, "--key", &key];
        let unknown = trial.kvctl(&[&unknown, command].concat());
        assert!(unknown.code == Some(7) && unknown.err.contains("KV-0701"), "{command:?}: {unknown:?}");
    }

    dial_as_a_peer(&trial);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for size in (1..1400).step_by(7) {
        let byte = u8::try_from(size % 256).unwrap();
        socket.send_to(&vec![byte ^ 0xc3; size], address).unwrap();
    }
    assert_eq!(trial.kvctl(&["get", "k"]).told(), (0, "v".into(), ""));
    assert_eq!(trial.json(&["status"]).1["health"], "ok");
}

/// With the administrator's own certificate, which is good for a client and for nothing else.
fn dial_as_a_peer(trial: &Trial) {
    let [ca, cert, key] = ["ca", "cert", "key"].map(|what| trial.of_context(what));
    let identity = Identity::from_pem(&ca, &cert, &key).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let impostor = Endpoint::server(([127, 0, 0, 1], 0).into(), &identity, &Settings::default()).unwrap();
        // The node sees who it is only after the dialler has finished its part of the handshake.
        if let Ok(connection) = impostor.dial_peer(trial.cluster.address(1).parse().unwrap(), 1).await {
            let end = tokio::time::timeout(Duration::from_secs(10), connection.closed()).await;
            end.expect("the node ends the connection");
        }
    });
}

#[test]
fn every_command_through_every_node() {
    let trial = Trial::start(3);
    for id in 1..=3 {
        let kvctl = |words: &[&str]| trial.kvctl(&[&["-e", trial.cluster.address(id)], words].concat());
        let key = format!("through-{id}");
        assert_eq!(kvctl(&["exists", &key]).code, Some(1));
        assert_eq!(kvctl(&["set", &key, "v"]).code, Some(0));
        assert_eq!(kvctl(&["get", &key]).told(), (0, "v".into(), ""));
        assert_eq!(kvctl(&["get", &key, "--consistency", "stale", "--default", "v"]).text(), "v");
        assert_eq!(kvctl(&["exists", &key]).code, Some(0));
        assert_eq!(kvctl(&["del", &key]).code, Some(0));
        assert_eq!(kvctl(&["get", &key]).code, Some(1));
        assert_eq!(kvctl(&["status"]).text().lines().count(), 3);
        assert_eq!(kvctl(&["leader"]).text().split('\t').next().unwrap(), format!("n{}", trial.leader()));
    }
}

#[test]
fn a_reader_who_left_hears_nothing() {
    let trial = Trial::start(1);
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));
    for command in [&["get", "k"][..], &["status"], &["leader"], &["get", "k", "-o", "json"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let kvctl = Command::new(env!("CARGO_BIN_EXE_kvctl"))
            .args(command)
            .env("KVCTL_CONTEXT", trial.cluster.context())
            .stdout(writer)
            .stderr(Stdio::piped())
            .spawn();
        let ended = kvctl.unwrap().wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr), (Some(141), Vec::new()), "{command:?}");
    }
}

#[test]
fn the_shell_runs_commands_from_a_flag_a_file_and_a_pipe() {
    let trial = Trial::start(3);
    assert_eq!(trial.kvshell(&["-q", "-x", "set a b; get a"], "").told(), (0, "b".into(), ""));
    let script =
        trial.file("script", b"# two writes, one read\nset a 'c d'\n\nset -q e -5\nget a | tr a-z A-Z\n");
    let ran = trial.kvshell(&["-q", "-f", &script], "");
    assert_eq!(ran.told(), (0, "C D".into(), ""));
    assert_eq!(trial.kvshell(&["-q"], "get e\n").told(), (0, "-5".into(), ""));

    let failed = trial.kvshell(&["-q"], "get none\nget '\nset k --file /nonexistent\nget a\n");
    assert_eq!((failed.code, failed.text()), (Some(1), "c d".into()), "{failed:?}");
    let failed = trial.kvshell(&["-q", "-x", "set k --file /nonexistent; get none; get a"], "");
    assert_eq!((failed.code, failed.text()), (Some(12), "c d".into()), "{failed:?}");
    assert_eq!(trial.kvshell(&["-x", "del a | cat; get a --absent-exit 9"], "").code, Some(9));
}
