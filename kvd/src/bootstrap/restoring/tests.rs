//! Each row of the table, and a crash between every two steps.

use std::fs;

use protocol::ClusterId;

use super::*;
use crate::bootstrap::claim;

struct Home {
    _dir: tempfile::TempDir,
    places: Places,
}

fn home() -> Home {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let places = Places { log: at("d/log"), state: at("d/state"), mark: at("mark") };
    Home { _dir: dir, places }
}

fn wanted() -> Wanted {
    Wanted { cluster: ClusterId([1; 16]), node: 1, voters: vec![1, 2, 3] }
}

fn origin(sum: u8) -> Origin {
    Origin::new(&[sum; 32], "")
}

/// A restore that leaves its data in both directories.
fn restored(places: &Places, sum: u8, steps: &mut Steps) -> Result<Record, StartError> {
    let build = |record: &Record| {
        assert_eq!(record.phase, Phase::Restoring);
        for dir in [&places.log, &places.state] {
            assert_eq!(fs::read_dir(dir).unwrap().count(), 2, "nothing of a restore before is left");
            fs::write(dir.join("data"), [sum]).unwrap();
        }
        Ok(())
    };
    restore(places, &wanted(), origin(sum), steps, build).map(|(record, _locks)| record)
}

fn run(places: &Places) -> Result<Record, StartError> {
    claim::claim(places, &wanted(), &mut Steps::all()).map(|(record, _locks)| record)
}

#[track_caller]
fn refused(outcome: Result<Record, StartError>, words: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.exit(), crate::cli::Exit::Usage, "{error}");
}

#[test]
fn what_was_restored_starts_as_a_node_of_its_own_cluster() {
    let home = home();
    let record = restored(&home.places, 7, &mut Steps::all()).unwrap();
    assert_eq!((record.phase, record.cluster), (Phase::Started, origin(7).cluster(wanted().cluster)));
    assert_eq!(run(&home.places).unwrap(), record);
    fs::remove_file(&home.places.mark).unwrap();
    assert_eq!(run(&home.places).unwrap(), record, "a lost mark is written again, with the origin");
    fs::remove_dir_all(&home.places.log).unwrap();
    let again = run(&home.places).unwrap();
    assert!(again.anew && again.cluster == record.cluster && again.origin == record.origin);
}

#[test]
fn a_crash_before_any_step_leaves_what_is_refused_and_restored_again() {
    for again in [7, 8] {
        let mut steps = 0;
        loop {
            let home = home();
            let crashed = restored(&home.places, 7, &mut Steps::only(steps));
            if crashed.is_ok() {
                assert_eq!(steps, 8, "two directories, three places, all of them twice");
                break;
            }
            if home.places.mark.exists() {
                refused(run(&home.places), "a restore from a backup was begun");
                let mark = fs::read(&home.places.mark).unwrap();
                fs::remove_file(&home.places.mark).unwrap();
                if steps > 3 && steps < 6 {
                    refused(run(&home.places), "a restore from a backup was begun");
                }
                fs::write(&home.places.mark, mark).unwrap();
            }
            // The next one dies as well, a step later, and so on until one gets through.
            let mut more = 0;
            let record = loop {
                match restored(&home.places, again, &mut Steps::only(more)) {
                    Ok(record) => break record,
                    Err(_) => more += 1,
                }
            };
            assert_eq!(run(&home.places).unwrap(), record);
            assert_eq!(record.cluster, origin(again).cluster(wanted().cluster));
            assert_eq!(fs::read(home.places.state.join("data")).unwrap(), [again]);
            steps += 1;
        }
    }
}

#[test]
fn a_node_that_has_run_is_never_restored_over() {
    let home = home();
    run(&home.places).unwrap();
    refused(restored(&home.places, 7, &mut Steps::all()), "this server has run already");
    // Nor where only the mark is left, or only the directories.
    let mark = fs::read(&home.places.mark).unwrap();
    fs::remove_file(&home.places.mark).unwrap();
    refused(restored(&home.places, 7, &mut Steps::all()), "holds `identity`");
    fs::remove_dir_all(&home.places.log).unwrap();
    fs::remove_dir_all(&home.places.state).unwrap();
    fs::write(&home.places.mark, mark).unwrap();
    refused(restored(&home.places, 7, &mut Steps::all()), "this server has run already");
    assert!(!home.places.log.exists(), "nothing was made");
}

#[test]
fn only_what_names_this_restore_is_emptied() {
    let (one, other) = (home(), home());
    run(&other.places).unwrap();
    assert!(restored(&one.places, 7, &mut Steps::only(6)).is_err());
    let mixed = Places { state: other.places.state.clone(), ..one.places.clone() };
    refused(restored(&mixed, 7, &mut Steps::all()), "written by another first start");
    let foreign = one.places.log.with_file_name("foreign");
    fs::create_dir_all(&foreign).unwrap();
    fs::write(foreign.join("thesis.tex"), "x").unwrap();
    let mixed = Places { state: foreign.clone(), ..one.places.clone() };
    refused(restored(&mixed, 7, &mut Steps::all()), "thesis.tex");
    assert!(foreign.join("thesis.tex").exists() && other.places.state.join(IDENTITY).exists());
}
