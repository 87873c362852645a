use std::{collections::BTreeSet, io::ErrorKind, path::Path};

use super::*;

const FILE: &str = "/d/f";

/// A disk with a synced file of four sectors of `a`.
fn with_file() -> (SimDisk, SimFile) {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    let file = disk.open(Path::new(FILE), SimCreate::New).unwrap();
    file.write_all_at(&[b'a'; 2048], 0).unwrap();
    file.sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    (disk, file)
}

fn content(disk: &SimDisk) -> Vec<u8> {
    disk.content(Path::new(FILE)).unwrap()
}

#[test]
fn synced_bytes_survive_every_crash_and_unsynced_ones_are_torn_at_sectors() {
    let (disk, file) = with_file();
    file.write_all_at(&[b'b'; 1024], 512).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let fork = disk.fork();
        fork.crash(seed);
        let found = content(&fork);
        assert!(found[..512].iter().chain(&found[1536..]).all(|byte| *byte == b'a'));
        for sector in found.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is atomic");
        }
        seen.insert((found[512], found[1024]));
    }
    assert_eq!(seen.len(), 4, "each sector may survive alone");
    file.sync_data().unwrap();
    disk.crash(1);
    assert_eq!(content(&disk)[512..1536], [b'b'; 1024]);
}

#[test]
fn unsynced_writes_are_reordered() {
    let (disk, file) = with_file();
    file.write_all_at(b"1", 0).unwrap();
    file.write_all_at(b"2", 0).unwrap();
    let seen: BTreeSet<u8> = (0..200)
        .map(|seed| {
            let fork = disk.fork();
            fork.crash(seed);
            content(&fork)[0]
        })
        .collect();
    assert_eq!(seen, BTreeSet::from([b'a', b'1', b'2']));
}

#[test]
fn names_are_lost_unless_their_directory_was_synced() {
    let (disk, _file) = with_file();
    disk.open(Path::new("/d/g"), SimCreate::New).unwrap();
    disk.rename(Path::new(FILE), Path::new("/d/h")).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 0..200 {
        let fork = disk.fork();
        fork.crash(seed);
        seen.insert(fork.list(Path::new("/d")).unwrap());
    }
    let names = |list: &[&str]| list.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(seen, BTreeSet::from([names(&["f"]), names(&["f", "g"]), names(&["g", "h"]), names(&["h"])]));
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.crash(3);
    assert_eq!(disk.list(Path::new("/d")).unwrap(), names(&["g", "h"]));
}

#[test]
fn a_failed_sync_loses_what_it_should_have_saved_though_the_next_succeeds() {
    let mut readable = 0;
    for calls in 0..40 {
        let (disk, file) = with_file();
        file.write_all_at(b"new", 0).unwrap();
        (0..calls).for_each(|_| _ = file.len().unwrap());
        disk.fail_at(disk.calls() + 1, ErrorKind::Other);
        assert!(file.sync_data().is_err());
        readable += u64::from(content(&disk).starts_with(b"new"));
        file.sync_data().unwrap();
        disk.crash(1);
        assert_eq!(&content(&disk)[..3], b"aaa");
    }
    assert!((1..40).contains(&readable), "what was lost was readable in {readable} of 40 cases");
}

#[test]
fn after_a_power_cut_everything_fails_until_the_restart_and_old_files_are_dead() {
    let (disk, file) = with_file();
    disk.cut_power_at(disk.calls() + 1);
    assert!(file.write_all_at(b"x", 0).is_err());
    assert!(disk.is_off() && disk.list(Path::new("/d")).is_err());
    disk.crash(7);
    assert!(file.len().is_err());
    assert_eq!(disk.open(Path::new(FILE), SimCreate::Never).unwrap().len().unwrap(), 2048);
}

#[test]
fn a_full_disk_refuses_growth_only() {
    let (disk, file) = with_file();
    disk.set_capacity(Some(2048));
    assert_eq!(file.write_all_at(b"x", 2048).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.set_len(4096).unwrap_err().kind(), ErrorKind::StorageFull);
    file.write_all_at(b"x", 2047).unwrap();
    let mut beyond = [0; 2];
    assert_eq!(file.read_exact_at(&mut beyond, 2047).unwrap_err().kind(), ErrorKind::UnexpectedEof);
}
