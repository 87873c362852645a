//! Backups of real clusters: saved while others write, looked at, and restored into a new cluster that goes on.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
};

use serde_json::Value;

use crate::trial::Trial;

/// How far a restored cluster goes on above its backup.
const AHEAD: u64 = 1_000_000_000;

/// All rows at a revision, or now: keys, values, revisions and versions.
fn rows(trial: &Trial, at: &[&str]) -> Vec<String> {
    let ran = trial.kvctl(&[&["get", "--prefix", "", "-o", "ndjson"], at].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    ran.text().lines().filter(|line| line.contains("\"type\":\"row\"")).map(ToOwned::to_owned).collect()
}

/// Writes many keys at once, some of them again and some away.
fn fill(trial: &Trial) {
    let line = |n: u32| format!("{{\"key\":\"key/{:04}\",\"value\":\"{n}{}\"}}\n", n % 700, "x".repeat(500));
    let lines: String =
        (0..1000).map(line).chain(["{\"type\":\"end\",\"count\":1000}\n".to_owned()]).collect();
    assert_eq!(trial.kvctl_with(&["import", "-"], lines.as_bytes()).code, Some(0));
    assert_eq!(trial.kvctl(&["del", "--prefix", "key/069"]).code, Some(0));
    for value in ["one", "two"] {
        assert_eq!(trial.kvctl(&["set", "twice", value]).code, Some(0));
    }
}

/// Saves while another one writes; what is said of it, and how many of these writes were acknowledged before it began.
fn saved_beside_writes(trial: &Trial, file: &Path) -> (Value, u64) {
    let (done, written) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            while !done.load(Relaxed) {
                let n = written.load(Relaxed);
                assert_eq!(trial.kvctl(&["set", &format!("beside/{n:04}"), "v"]).code, Some(0));
                written.store(n + 1, Relaxed);
            }
        });
        trial.eventually("writes", |_| (written.load(Relaxed) > 3).then_some(()));
        let before = written.load(Relaxed);
        let saved = trial.json(&["snapshot", "save", file.to_str().unwrap()]);
        let after = written.load(Relaxed);
        trial.eventually("further writes", |_| (written.load(Relaxed) > after + 3).then_some(()));
        done.store(true, Relaxed);
        writer.join().unwrap();
        assert_eq!(saved.0, 0, "{}", saved.1);
        (saved.1, before)
    })
}

#[test]
fn a_backup_that_is_saved_beside_writes_makes_a_new_cluster_with_every_key() {
    let old = Trial::start(3);
    fill(&old);
    let (_, write) = old.json(&["set", "repeated", "v"]);
    let file = old.home().join("monday.kvsnap");
    let (saved, before) = saved_beside_writes(&old, &file);
    let revision = saved["rev"].as_u64().unwrap();
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(old.home()).unwrap().count(), 1, "nothing is left beside it");
    let kept = rows(&old, &["--rev", &revision.to_string()]);
    assert_eq!(saved["keys"], kept.len());
    let beside = kept.iter().filter(|row| row.contains("beside/")).count() as u64;
    assert!(beside >= before, "what was acknowledged before is in it: {beside} of {before}");

    let mut new = Trial::restored(3, &file);
    assert_eq!(rows(&new, &[]), kept);
    let (_, status) = new.json(&["status"]);
    assert_ne!(status["cluster_id"], saved["cluster_id"]);
    let set: u64 = new.json(&["set", "twice", "three"]).1["rev"].as_u64().unwrap();
    assert!(set > revision + AHEAD, "{set}");
    let history = new.kvctl(&["history", "twice"]).text();
    let values: Vec<&str> =
        ["three", "two", "one"].into_iter().filter(|value| history.contains(value)).collect();
    assert_eq!((values.len(), history.lines().count()), (3, 3), "{history}");

    // A request of the old cluster is known for what it is.
    let id = write["request_id"].as_str().unwrap();
    let (code, refused) = new.json(&["set", "repeated", "v", "--request-id", id]);
    assert_eq!((code, &refused["code"]), (8, &"KV-0804".into()), "{refused}");

    // It is a cluster like any other: it is killed, starts, elects, and has forgotten nothing.
    new.cluster.kill_all(&[1, 2, 3]);
    new.cluster.revive();
    new.eventually("leader", |trial| (trial.kvctl(&["leader"]).code == Some(0)).then_some(()));
    assert_eq!(new.kvctl(&["get", "twice"]).text(), "three");
    assert_eq!(rows(&new, &["--rev", &revision.to_string()]), kept);
    let again = new.json(&["set", "twice", "four"]).1["rev"].as_u64().unwrap();
    assert!(again > set);
    assert_eq!(new.json(&["check", "replication"]).0, 0);
}

#[test]
fn a_backup_goes_through_a_pipe_and_a_damaged_one_is_seen() {
    let trial = Trial::start(3);
    fill(&trial);
    let piped = trial.kvctl(&["snapshot", "save", "-"]);
    assert_eq!(piped.code, Some(0));
    assert!(piped.err.starts_with("saved  rev "), "{}", piped.err);
    let verify = |bytes: &[u8]| trial.kvctl_with(&["snapshot", "verify", "-", "-o", "json"], bytes);
    let sound = verify(&piped.out);
    assert_eq!(sound.code, Some(0), "{sound:?}");
    let mut damaged = piped.out.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (bytes, word) in [(&damaged[..], "does not check"), (&piped.out[..middle], "cut off")] {
        let ran = verify(bytes);
        assert!(ran.code == Some(9) && ran.err.contains(word), "{ran:?}");
    }

    let file = trial.file("there.kvsnap", b"another file");
    let refused = trial.json(&["snapshot", "save", &file]);
    assert_eq!((refused.0, &refused.1["code"]), (12, &"KV-1203".into()));
    assert_eq!(fs::read(&file).unwrap(), b"another file");
    assert_eq!(trial.kvctl(&["snapshot", "save", "--force", &file]).code, Some(0));
    let verified = trial.kvctl(&["snapshot", "verify", &file]);
    assert!(verified.text().starts_with("sound\trev "), "{verified:?}");
    let nowhere = trial.home().join("none/b.kvsnap");
    assert_eq!(trial.kvctl(&["snapshot", "save", nowhere.to_str().unwrap()]).code, Some(12));
}

#[test]
fn who_cannot_know_what_is_newest_saves_nothing() {
    let mut trial = Trial::start(3);
    trial.cluster.kill_all(&[1, 2]);
    let file = trial.home().join("b.kvsnap");
    let ran = trial.kvctl(&["snapshot", "save", file.to_str().unwrap(), "-t", "1s"]);
    assert!([Some(3), Some(4), Some(5)].contains(&ran.code), "{ran:?}");
    assert_eq!(fs::read_dir(trial.home()).unwrap().count(), 0, "no part of it is left");
}
