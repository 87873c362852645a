//! A cluster that loses its majority for good, and a new one out of what is left.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use testkit::programs;

use crate::trial::Trial;

fn kvd(words: &[&str]) -> Output {
    Command::new(programs::path("kvd")).args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn data(trial: &Trial, id: usize) -> PathBuf {
    trial.cluster.folder().join("kv-data").join(format!("n{id}"))
}

/// Every file below a directory with its bytes, save for those that are locked.
fn bytes(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for part in ["log", "state"] {
        for entry in std::fs::read_dir(dir.join(part)).unwrap() {
            let path = entry.unwrap().path();
            files.push((path.clone(), std::fs::read(path).unwrap()));
        }
    }
    files.sort();
    files
}

#[test]
fn what_one_of_three_nodes_has_becomes_a_new_cluster() {
    let mut trial = Trial::start(3);
    for n in 0..30 {
        assert_eq!(trial.kvctl(&["set", &format!("key/{n:02}"), &format!("value {n}")]).code, Some(0));
    }
    let survivor = trial.followers()[0];
    let name = format!("n{survivor}");
    // Half is in the state's file, half in the log alone.
    assert_eq!(trial.kvctl(&["compact", "log", &name]).code, Some(0));
    for n in 30..60 {
        assert_eq!(trial.kvctl(&["set", &format!("key/{n:02}"), &format!("value {n}")]).code, Some(0));
    }
    trial.eventually("agreement", |trial| {
        (trial.json(&["check", "replication", "-w", "0"]).0 == 0).then_some(())
    });
    let revision = trial.json(&["get", "key/59"]).1["rev"].as_u64().unwrap();
    let dir = data(&trial, survivor);
    let shown = dir.to_str().unwrap();

    let running = kvd(&["recover", "inspect", shown]);
    assert_eq!(running.status.code(), Some(1), "{}", said(&running));
    assert!(said(&running).contains("in use"), "{}", said(&running));
    trial.cluster.kill_all(&[1, 2, 3]);
    for id in (1..=3).filter(|id| *id != survivor) {
        std::fs::remove_dir_all(data(&trial, id)).unwrap();
    }

    let before = bytes(&dir);
    let inspected = kvd(&["recover", "inspect", shown]);
    assert_eq!(inspected.status.code(), Some(0), "{}", said(&inspected));
    assert!(said(&inspected).contains("best survivor"), "{}", said(&inspected));
    let home = trial.home().to_owned();
    let (plan, backup) = (home.join("plan.json"), home.join("rescued.kvsnap"));
    let (plan, file) = (plan.to_str().unwrap(), backup.to_str().unwrap());
    let planned = kvd(&["recover", "plan", shown, "--out", plan]);
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    assert!(said(&planned).contains("At risk: writes acknowledged only by lost nodes"), "{}", said(&planned));
    let apply = ["recover", "apply", "--data-dir", shown, "--plan", plan, "--backup", file];
    let asked = kvd(&apply);
    assert_eq!(asked.status.code(), Some(11), "{}", said(&asked));
    assert!(!backup.exists());
    let accepted = [&apply[..], &["--accept-loss"]].concat();
    let applied = kvd(&accepted);
    assert_eq!(applied.status.code(), Some(0), "{}", said(&applied));
    assert!(bytes(&dir) == before, "nothing in the old directory was changed");
    let left: Vec<_> = std::fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
    assert_eq!(kvd(&accepted).status.code(), Some(12), "a backup that is there is not replaced");

    // Another entry, and the plan is not of this directory any more.
    let stale = std::fs::read_to_string(plan).unwrap().replace("\"last_index\": ", "\"last_index\": 1");
    std::fs::write(plan, stale).unwrap();
    let other = home.join("other.kvsnap");
    let changed = kvd(&[&accepted[..7], &[other.to_str().unwrap(), "--accept-loss"]].concat());
    assert_eq!(changed.status.code(), Some(2), "{}", said(&changed));

    let new = Trial::restored(3, &backup);
    for n in 0..60 {
        assert_eq!(new.kvctl(&["get", &format!("key/{n:02}")]).text(), format!("value {n}"));
    }
    let set = new.json(&["set", "key/00", "on"]).1["rev"].as_u64().unwrap();
    assert!(set > revision + 1_000_000_000, "{set}");
    new.eventually("agreement", |trial| (trial.kvctl(&["verify"]).code == Some(0)).then_some(()));
}

#[test]
fn a_damaged_survivor_is_named_and_not_recovered_from() {
    let mut trial = Trial::start(3);
    assert_eq!(trial.kvctl(&["set", "key", "value that lies on the disk"]).code, Some(0));
    assert_eq!(trial.kvctl(&["compact", "log"]).code, Some(0));
    trial.cluster.kill_all(&[1, 2, 3]);
    let state = data(&trial, 2).join("state/state.redb");
    let mut bytes = std::fs::read(&state).unwrap();
    let needle = b"value that lies on the disk";
    let places: Vec<usize> =
        (0..bytes.len() - needle.len()).filter(|at| bytes[*at..].starts_with(needle)).collect();
    assert!(!places.is_empty());
    for place in places {
        bytes[place] ^= 1;
    }
    std::fs::write(&state, bytes).unwrap();
    let dirs: Vec<String> = (1..=3).map(|id| data(&trial, id).to_str().unwrap().to_owned()).collect();
    let inspected = kvd(&["recover", "inspect", &dirs[0], &dirs[1], &dirs[2]]);
    let text = said(&inspected);
    assert_eq!(inspected.status.code(), Some(9), "{text}");
    let damaged = text.lines().find(|line| line.starts_with(&dirs[1])).unwrap();
    assert!(damaged.contains("  no  "), "{text}");
    let plan = trial.home().join("plan.json");
    let planned = kvd(&["recover", "plan", &dirs[0], &dirs[1], &dirs[2], "--out", plan.to_str().unwrap()]);
    assert_eq!(planned.status.code(), Some(0), "{}", said(&planned));
    assert!(said(&planned).contains("At risk: nothing that was acknowledged"), "{}", said(&planned));
    let nothing = kvd(&["recover", "plan", &dirs[1], "--out", plan.to_str().unwrap()]);
    assert_eq!(nothing.status.code(), Some(1), "{}", said(&nothing));
}
