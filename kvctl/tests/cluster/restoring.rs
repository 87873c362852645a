//! `snapshot restore`: a backup in the place of all keys of a cluster that runs, whatever dies meanwhile.

use std::{
    fs,
    io::Write as _,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::channel,
    },
    time::Duration,
};

use serde_json::Value;

use crate::{trial::Trial, watches::Running};

/// Enough for some dozen writes that stage.
const KEYS: u32 = 4000;

/// A cluster with a backup of many keys, whose keys were changed since; its file and the name that confirms.
fn saved(size: usize) -> (Trial, PathBuf, String) {
    let trial = Trial::start(size);
    let line = |n: u32| format!("{{\"key\":\"key/{n:04}\",\"value\":\"{}\"}}\n", "x".repeat(600));
    let end = format!("{{\"type\":\"end\",\"count\":{KEYS}}}\n");
    let lines: String = (0..KEYS).map(line).chain([end]).collect();
    // Where the machine is busy, leaders change.
    trial.eventually("import", |trial| {
        (trial.kvctl_with(&["import", "-"], lines.as_bytes()).code == Some(0)).then_some(())
    });
    let file = trial.home().join("monday.kvsnap");
    assert_eq!(trial.kvctl(&["snapshot", "save", file.to_str().unwrap()]).code, Some(0));
    assert_eq!(trial.kvctl(&["del", "--prefix", "key/000"]).code, Some(0));
    assert_eq!(trial.kvctl(&["set", "key/1000", "later"]).code, Some(0));
    assert_eq!(trial.kvctl(&["set", "new", "later"]).code, Some(0));
    let named = trial.kvctl(&["set", "k", "v", "--confirm", "nobody"]).err;
    let name = named.split("the context is ").nth(1).unwrap().split(';').next().unwrap().to_owned();
    (trial, file, name)
}

/// Key and revision of all rows.
fn rows(trial: &Trial) -> Vec<(String, u64)> {
    let ran = trial.kvctl(&["get", "--prefix", "", "-o", "ndjson"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let rows = ran.text();
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let rows = rows.filter(|row| row["type"] == "row");
    rows.map(|row| (row["key"].as_str().unwrap().to_owned(), row["mod_rev"].as_u64().unwrap())).collect()
}

/// Ends whoever goes on until it is set, also where a test fails before it says so.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// What a process said, once it has ended, which it does in time.
fn ended(child: Child) -> Output {
    let (sender, output) = channel();
    std::thread::spawn(move || sender.send(child.wait_with_output().unwrap()));
    output.recv_timeout(Duration::from_mins(1)).expect("it ends")
}

/// A restore from a pipe, so that the test says when it gets on.
fn restoring(trial: &Trial, words: &[&str]) -> Child {
    // Whoever runs the tests in the background may have had SIGINT ignored, which programs inherit.
    let mut command = Command::new("/usr/bin/env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_kvctl")]);
    command.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
    command.args(["-o", "json", "-t", "15s", "snapshot", "restore", "-"]).args(words);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn applied(trial: &Trial) -> u64 {
    trial.eventually("status", |trial| trial.json(&["status"]).1["rev"].as_u64())
}

#[test]
fn all_keys_are_replaced_at_one_revision_though_the_leader_dies_twice() {
    let (mut trial, file, name) = saved(3);
    let backup = fs::read(file).unwrap();
    let mut watch = Running::start(&trial, &["--prefix", "key/"]);
    let before = applied(&trial);
    let mut child = restoring(&trial, &["--confirm", &name]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(&backup[..backup.len() / 2]).unwrap();
    trial.eventually("staged rows", |trial| (applied(trial) > before + 1).then_some(()));
    trial.cluster.kill(trial.leader());
    trial.cluster.revive();

    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut said = None;
    std::thread::scope(|scope| {
        let ends = Ends(&done);
        // Somebody writes all the time, whom none of this stops.
        let context = trial.cluster.context().clone();
        let home = trial.home().to_owned();
        let (done, written) = (&done, &written);
        let writer = scope.spawn(move || {
            while !done.load(Relaxed) {
                let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
                command.env_clear().env("HOME", &home).env("KVCTL_CONTEXT", &context);
                let ran = command.args(["-t", "15s", "set", "beside", "v"]).output().unwrap();
                assert!(ran.status.success(), "{ran:?}");
                written.fetch_add(1, Relaxed);
            }
        });
        trial.eventually("writes", |_| (written.load(Relaxed) > 2).then_some(()));
        input.write_all(&backup[backup.len() / 2..]).unwrap();
        drop(input);
        trial.cluster.kill(trial.leader());
        trial.cluster.revive();
        said = Some(ended(child));
        let until = written.load(Relaxed) + 2;
        trial.eventually("later writes", |_| (written.load(Relaxed) > until).then_some(()));
        drop(ends);
        writer.join().unwrap();
    });
    let said = said.unwrap();
    assert!(said.status.success(), "{said:?}");
    let told: Value = serde_json::from_slice(&said.stdout).unwrap();
    let at = told["rev"].as_u64().unwrap();
    assert_eq!((&told["action"], &told["keys"]), (&"restore".into(), &KEYS.into()));

    let rows = rows(&trial);
    let (beside, restored): (Vec<_>, Vec<_>) = rows.into_iter().partition(|(key, _)| key == "beside");
    assert!(beside.iter().all(|(_, rev)| *rev > at), "{beside:?}");
    let keys: Vec<_> = (0..KEYS).map(|n| (format!("key/{n:04}"), at)).collect();
    assert_eq!(restored, keys);
    let event = watch.event();
    assert_eq!((&event["type"], &event["rev"]), (&"resync".into(), &at.into()));
    assert_eq!(watch.ended().0.code(), Some(8));
    trial.eventually("equal nodes", |trial| (trial.kvctl(&["verify"]).code == Some(0)).then_some(()));
    let past = trial.kvctl(&["get", "key/1000", "--rev", &(at - 1).to_string()]);
    assert!(past.code != Some(0) && past.err.contains(&at.to_string()), "{past:?}");

    // It is in what each node has on its disk, too.
    trial.cluster.kill_all(&[1, 2, 3]);
    trial.cluster.revive();
    trial.eventually("equal nodes", |trial| (trial.kvctl(&["verify"]).code == Some(0)).then_some(()));
    assert_eq!(trial.json(&["get", "key/0001", "--meta"]).1["mod_rev"], at);
}

#[test]
fn whoever_stops_before_the_switch_harms_nothing_and_goes_on_later() {
    let (trial, file, name) = saved(1);
    let backup = fs::read(&file).unwrap();
    let path = file.to_str().unwrap();
    let there = rows(&trial);

    let (code, plan) = trial.json(&["snapshot", "restore", path, "-n"]);
    assert_eq!((code, &plan["action"], &plan["keys"]), (0, &"plan".into(), &KEYS.into()));
    assert_eq!(plan["replaced_keys"], there.len());
    let refused = |words: &[&str], code: i32, name: &str| {
        let (exit, error) = trial.json(&[&["snapshot", "restore"], words].concat());
        assert_eq!((exit, &error["code"]), (code, &name.into()), "{error}");
    };
    refused(&[path], 11, "KV-1122");
    refused(&[path, "--confirm", "other"], 11, "KV-1121");
    refused(&["/none", "--confirm", &name], 12, "KV-1201");
    let cut = trial.file("cut", &backup[..backup.len() - 9]);
    refused(&[&cut, "--confirm", &name], 9, "KV-0903");

    // Ctrl-C in the middle.
    let before = applied(&trial);
    let mut child = restoring(&trial, &["--confirm", &name]);
    let mut input = child.stdin.take().unwrap();
    input.write_all(&backup[..backup.len() / 2]).unwrap();
    trial.eventually("staged rows", |trial| (applied(trial) > before + 1).then_some(()));
    let sent = Command::new("kill").args(["-s", "INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let ended = ended(child);
    drop(input);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(130), "{said}");
    assert_eq!(rows(&trial), there, "nobody sees what is staged");
    let id = said.split("--resume ").nth(1).unwrap()[..32].to_owned();

    // The rest of it, by another run; and again, by one that did not hear of that.
    let (code, told) = trial.json(&["snapshot", "restore", path, "--confirm", &name, "--resume", &id]);
    assert_eq!((code, &told["keys"]), (0, &KEYS.into()), "{told}");
    let at = told["rev"].as_u64().unwrap();
    trial.kvctl(&["set", "since", "v"]);
    let (code, again) = trial.json(&["snapshot", "restore", path, "--confirm", &name, "--resume", &id]);
    assert_eq!((code, again["rev"].as_u64()), (0, Some(at)), "{again}");
    assert_eq!(rows(&trial).len(), KEYS as usize + 1, "what was written since is there");

    let (code, dropped) = trial.json(&["snapshot", "restore", "--abort"]);
    assert_eq!((code, &dropped["keys"]), (0, &0.into()), "nothing is left staged");
    assert_eq!(trial.kvctl(&["verify"]).code, Some(0));
}
