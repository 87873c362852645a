//! Runs every kept input through its target, in the ordinary build: what once broke something stays mended.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use fuzz::TARGETS;

fn kept(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn kept_inputs_break_nothing() {
    for target in TARGETS {
        let files = kept(target.name);
        assert!(!files.is_empty(), "{} has inputs", target.name);
        for file in files {
            let input = fs::read(&file).unwrap();
            let run = std::panic::catch_unwind(|| (target.run)(&input));
            assert!(run.is_ok(), "replay it by: common/fuzz/run replay {} {}", target.name, file.display());
        }
    }
}

#[test]
fn the_corpus_is_small_and_every_folder_has_its_target() {
    let mut bytes = 0;
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(TARGETS.iter().any(|target| target.name == name), "{name} is no target");
        bytes += kept(&name).iter().map(|file| fs::metadata(file).unwrap().len()).sum::<u64>();
    }
    assert!(bytes < 300 * 1024, "{bytes} bytes are kept; `common/fuzz/run keep` drops what adds nothing");
}
