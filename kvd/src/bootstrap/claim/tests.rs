//! Each row of the table, and a crash between every two steps.

use std::fs;

use super::*;

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

fn start(places: &Places) -> Result<Record, StartError> {
    claim(places, &wanted(), &mut Steps::all()).map(|(record, _locks)| record)
}

#[track_caller]
fn refused(outcome: Result<Record, StartError>, words: &str) {
    let error = outcome.expect_err("must be refused");
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(error.exit(), crate::cli::Exit::Usage, "{error}");
}

#[test]
fn the_second_start_finds_what_the_first_wrote() {
    let home = home();
    let first = start(&home.places).unwrap();
    assert_eq!(first.phase, Phase::Started);
    assert_eq!(start(&home.places).unwrap(), first);
}

#[test]
fn a_crash_before_any_step_is_finished_by_the_next_start() {
    let mut steps = 0;
    loop {
        let home = home();
        let crashed = claim(&home.places, &wanted(), &mut Steps::only(steps)).map(|(record, _)| record);
        let begun = read(&home.places.mark).unwrap();
        let record = start(&home.places).unwrap();
        if let Some(begun) = begun {
            assert!(record.same_start(&begun), "the incarnation is drawn once");
        }
        for place in [&home.places.mark, &home.places.log.join(IDENTITY), &home.places.state.join(IDENTITY)] {
            assert_eq!(read(place).unwrap().as_ref(), Some(&record), "{steps} steps, {place:?}");
        }
        if crashed.is_ok() {
            break;
        }
        steps += 1;
    }
    assert_eq!(steps, 6, "two directories, three places, one of them twice");
}

#[test]
fn a_wiped_node_begins_again_as_another_that_waits() {
    for wipe in [&["log"][..], &["state"], &["log", "state"]] {
        for empty in [false, true] {
            let home = home();
            let first = start(&home.places).unwrap();
            for name in wipe {
                let dir = home.places.log.with_file_name(name);
                fs::remove_dir_all(&dir).unwrap();
                if empty {
                    fs::create_dir_all(&dir).unwrap();
                }
            }
            let next = start(&home.places).unwrap();
            assert!(next.anew && next.phase == Phase::Started && next.incarnation != first.incarnation);
            assert_eq!((next.cluster, next.node, &next.voters), (first.cluster, first.node, &first.voters));
            assert_eq!(start(&home.places).unwrap(), next, "it stays that one");
            let incarnation = u128::from_be_bytes(first.incarnation);
            for name in ["log", "state"] {
                let aside = home.places.log.with_file_name(format!("{name}.lost-{incarnation:032x}"));
                assert_eq!(aside.is_dir(), !wipe.contains(&name), "what is left is set aside");
            }
        }
    }
}

#[test]
fn a_crash_while_a_wiped_node_begins_again_is_finished_by_the_next_start() {
    for (wiped, expected) in [("log", 7), ("state", 7)] {
        let mut steps = 0;
        loop {
            let home = home();
            let first = start(&home.places).unwrap();
            fs::remove_dir_all(home.places.log.with_file_name(wiped)).unwrap();
            let crashed = claim(&home.places, &wanted(), &mut Steps::only(steps)).map(|(record, _)| record);
            let record = start(&home.places).unwrap();
            assert!(record.anew && record.incarnation != first.incarnation);
            assert_eq!(start(&home.places).unwrap(), record);
            if crashed.is_ok() {
                break;
            }
            steps += 1;
        }
        assert_eq!(steps, expected, "one directory aside, and a first start");
    }
}

#[test]
fn directories_that_were_only_not_mounted_are_taken_when_they_are_back() {
    let home = home();
    let first = start(&home.places).unwrap();
    let (data, away) = (home.places.log.parent().unwrap(), home.places.mark.with_file_name("away"));
    fs::rename(data, &away).unwrap();
    let waits = start(&home.places).unwrap();
    assert!(waits.anew);
    fs::remove_dir_all(data).unwrap();
    fs::rename(&away, data).unwrap();
    assert_eq!(start(&home.places).unwrap(), first);
    assert_eq!(read(&home.places.mark).unwrap(), Some(first));
}

#[test]
fn the_only_voter_never_starts_again_when_it_was_wiped() {
    let wanted = || Wanted { voters: vec![1], ..wanted() };
    let start = |places: &Places| claim(places, &wanted(), &mut Steps::all()).map(|(record, _)| record);
    for wipe in [&["log"][..], &["state"], &["log", "state"]] {
        let home = home();
        start(&home.places).unwrap();
        for name in wipe {
            fs::remove_dir_all(home.places.log.with_file_name(name)).unwrap();
        }
        refused(start(&home.places), "a wiped node must not vote");
        // Empty directories in place of the lost ones change nothing.
        for name in wipe {
            assert!(!home.places.log.with_file_name(name).exists(), "nothing was made");
            fs::create_dir_all(home.places.log.with_file_name(name)).unwrap();
        }
        refused(start(&home.places), "a wiped node must not vote");
    }
}

#[test]
fn one_lost_directory_is_noticed_without_the_mark_too() {
    for name in ["log", "state"] {
        let home = home();
        start(&home.places).unwrap();
        fs::remove_file(&home.places.mark).unwrap();
        fs::remove_dir_all(home.places.log.with_file_name(name)).unwrap();
        refused(start(&home.places), "a wiped node must not vote");
    }
}

#[test]
fn a_lost_mark_is_written_again() {
    let home = home();
    let first = start(&home.places).unwrap();
    fs::remove_file(&home.places.mark).unwrap();
    assert_eq!(start(&home.places).unwrap(), first);
    assert_eq!(read(&home.places.mark).unwrap(), Some(first));
}

#[test]
fn the_configuration_is_compared() {
    let home = home();
    start(&home.places).unwrap();
    let claim = |wanted| claim(&home.places, &wanted, &mut Steps::all()).map(|(record, _)| record);
    refused(claim(Wanted { node: 2, ..wanted() }), "belongs to server 1, not to server 2");
    refused(claim(Wanted { voters: vec![1, 2], ..wanted() }), "[1, 2, 3]");
    refused(claim(Wanted { cluster: ClusterId([2; 16]), ..wanted() }), "another cluster");
    assert!(claim(wanted()).is_ok());
}

#[test]
fn a_directory_of_another_start_is_refused() {
    let (one, other) = (home(), home());
    start(&one.places).unwrap();
    start(&other.places).unwrap();
    let mixed = Places { state: other.places.state.clone(), ..one.places.clone() };
    refused(start(&mixed), "another first start");
    let unmarked = Places { mark: one.places.mark.with_file_name("new"), ..mixed };
    refused(start(&unmarked), "another first start");
}

#[test]
fn foreign_files_are_never_built_upon() {
    let home = home();
    fs::create_dir_all(&home.places.state).unwrap();
    fs::write(home.places.state.join("thesis.tex"), "x").unwrap();
    refused(start(&home.places), "thesis.tex");
    assert!(!home.places.mark.exists());
    fs::remove_dir_all(&home.places.state).unwrap();
    fs::write(&home.places.state, "x").unwrap();
    refused(start(&home.places), "not a directory");
}

#[test]
fn two_processes_cannot_share_a_directory() {
    let home = home();
    let (_, locks) = claim(&home.places, &wanted(), &mut Steps::all()).unwrap();
    refused(start(&home.places), "in use by another process");
    drop(locks);
    assert!(start(&home.places).is_ok());
    let nested = Places { state: home.places.log.join("state"), ..home.places.clone() };
    refused(start(&nested), "two separate directories");
}

#[test]
fn damage_and_lax_modes_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let home = home();
    start(&home.places).unwrap();
    fs::set_permissions(&home.places.log, fs::Permissions::from_mode(0o750)).unwrap();
    refused(start(&home.places), "chmod go-rwx");
    fs::set_permissions(&home.places.log, fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(home.places.log.join(IDENTITY), "format = 1").unwrap();
    let error = start(&home.places).unwrap_err();
    assert_eq!(error.exit(), crate::cli::Exit::Integrity);
    assert!(error.to_string().contains("restore it"), "{error}");
}

#[test]
fn nobody_else_can_put_a_socket_in_the_data_directory() {
    use std::os::unix::fs::PermissionsExt;

    let home = tempfile::tempdir().unwrap();
    let data = home.path().join("data");
    assert!(unshared(&data).is_ok(), "it is made for this user alone");
    fs::create_dir(&data).unwrap();
    for (mode, fits) in [(0o700, true), (0o755, true), (0o770, false), (0o702, false), (0o1777, false)] {
        fs::set_permissions(&data, fs::Permissions::from_mode(mode)).unwrap();
        let outcome = unshared(&data);
        assert_eq!(outcome.is_ok(), fits, "{mode:o}: {outcome:?}");
        let Err(error) = outcome else { continue };
        assert_eq!(error.exit(), crate::cli::Exit::Usage);
        assert!(error.to_string().ends_with(&format!("chmod go-w {}", data.display())), "{error}");
    }
}
