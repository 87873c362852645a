//! Servers that lost their data: they wait, and are taken back.

use crate::trial::Trial;

/// Whether people are told this of a node.
fn told(trial: &Trial, id: usize, words: &str) -> bool {
    let table = trial.kvctl(&["status", "-o", "table"]).text();
    table.lines().any(|line| line.contains(&format!("n{id}")) && line.contains(words))
}

fn waits(trial: &Trial, id: usize, words: &str) {
    trial.eventually("a node that waits", |trial| told(trial, id, words).then_some(()));
}

fn kept(trial: &Trial) -> bool {
    (0..20).all(|n| trial.kvctl(&["get", &format!("k{n}")]).told() == (0, format!("v{n}"), ""))
}

#[test]
fn a_wiped_server_never_votes_and_is_taken_back() {
    let mut trial = Trial::start(3);
    for n in 0..20 {
        assert_eq!(trial.kvctl(&["set", &format!("k{n}"), &format!("v{n}")]).code, Some(0));
    }
    let leader = trial.leader();
    let [wiped, other] = trial.followers()[..] else { panic!("three nodes") };
    let name = format!("n{wiped}");
    let refused = trial.kvctl(&["member", "readmit", &name]);
    assert!(refused.code == Some(8) && refused.err.contains("need not be readmitted"), "{refused:?}");

    trial.cluster.kill(wiped);
    trial.cluster.wipe(wiped);
    // Its mark as well: it does not know itself that it has run.
    std::fs::remove_file(trial.cluster.folder().join(format!("kv-pki/started-{wiped}"))).unwrap();
    trial.cluster.restart(wiped);
    waits(&trial, wiped, "kvctl member readmit");
    assert!(trial.cluster.log(wiped).contains("not recognised"), "{}", trial.cluster.log(wiped));

    let terms = |trial: &Trial| trial.cluster.log(other).matches("became leader").count();
    let before = terms(&trial);
    // Without the leader there is one voter, and one that has forgotten that it was: that is no majority.
    trial.cluster.kill(leader);
    let down = trial.kvctl(&["set", "k", "v", "-t", "4s"]);
    assert_ne!(down.code, Some(0), "{down:?}");
    assert_eq!(terms(&trial), before, "{}", trial.cluster.log(other));
    trial.cluster.restart(leader);
    trial.eventually("leader", |trial| (trial.kvctl(&["set", "k", "v"]).code == Some(0)).then_some(()));
    waits(&trial, wiped, "kvctl member readmit");

    let planned = trial.kvctl(&["member", "readmit", &name, "-n"]);
    assert!(planned.text().contains("voters 3→3, quorum 2→2, tolerates 0→1"), "{planned:?}");
    let (code, back) = trial.json(&["member", "readmit", &name, "-t", "20s"]);
    assert_eq!((code, &back["state"], &back["part"]), (0, &"done".into(), &"voter".into()), "{back}");
    assert!(!told(&trial, wiped, "takes no part"));
    // It counts again, and has everything.
    trial.cluster.kill(other);
    trial.eventually("leader", |trial| (trial.kvctl(&["set", "k", "v"]).code == Some(0)).then_some(()));
    assert!(kept(&trial));
    let again = trial.kvctl(&["member", "readmit", &name]);
    assert!(again.code == Some(8) && again.err.contains("need not be readmitted"), "{again:?}");
}

#[test]
fn a_disk_that_went_back_is_recognised() {
    let mut trial = Trial::start(3);
    let id = trial.followers()[0];
    let data = trial.cluster.data(id);
    let copy = data.with_file_name("copy");
    trial.cluster.kill(id);
    copied(&data, &copy);
    trial.cluster.restart(id);
    trial.eventually("a node", |trial| (trial.kvctl(&["wait", "healthy"]).code == Some(0)).then_some(()));
    trial.cluster.kill(id);
    std::fs::remove_dir_all(&data).unwrap();
    std::fs::rename(&copy, &data).unwrap();
    trial.cluster.restart(id);
    waits(&trial, id, "an older copy");
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0), "the others go on");

    // Emptied, it is as one that was wiped.
    trial.cluster.kill(id);
    trial.cluster.wipe(id);
    trial.cluster.restart(id);
    waits(&trial, id, "not those that the others know");
    let back = trial.kvctl(&["member", "readmit", &format!("n{id}"), "-t", "20s"]);
    assert_eq!(back.code, Some(0), "{back:?}");
}

fn copied(from: &std::path::Path, to: &std::path::Path) {
    let done = std::process::Command::new("cp").arg("-a").args([from, to]).status();
    assert!(done.is_ok_and(|status| status.success()), "the data can be copied");
}
