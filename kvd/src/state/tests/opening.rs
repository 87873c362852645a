//! What is refused when a store is opened, each by name and with what to do.

use super::*;
use crate::disk::Create;

fn refused(disk: &Arc<dyn Disk>, cluster: ClusterId, limits: StateLimits) -> StateError {
    let opened = State::open(Arc::clone(disk), Path::new("state"), cluster, limits);
    opened.map(|_| ()).expect_err("this must not open")
}

#[test]
fn a_store_of_another_cluster_is_refused() {
    let bench = Bench::new();
    let error = refused(&bench.disk, ClusterId([9; 16]), limits());
    assert!(matches!(&error, StateError::OtherCluster { found, .. } if *found == CLUSTER), "{error}");
    assert!(error.to_string().contains("own state directory"), "{error}");
}

#[test]
fn a_store_of_an_unknown_format_is_refused_before_anything_else_is_read() {
    let bench = Bench::new();
    bench.state.store.overwrite("format", 5);
    bench.state.store.overwrite("memory", u128::MAX);
    drop(bench.state);
    let error = refused(&bench.disk, CLUSTER, limits());
    assert!(matches!(&error, StateError::UnknownFormat { found: 5, known: 4, .. }), "{error}");
}

#[test]
fn a_store_that_remembers_another_number_of_ids_is_refused() {
    let bench = Bench::new();
    let error = refused(&bench.disk, CLUSTER, StateLimits { request_ids: 9, ..limits() });
    assert!(matches!(&error, StateError::OtherMemory { stored: 8, configured: 9, .. }), "{error}");
}

#[test]
fn a_file_that_is_no_store_is_refused() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let file = disk.open(Path::new("state/state.redb"), Create::New).unwrap();
    file.write_all_at(&[b'x'; 8192], 0).unwrap();
    let error = refused(&disk, CLUSTER, limits());
    assert!(matches!(&error, StateError::WillNotOpen { .. }), "{error}");
    assert!(error.to_string().contains("restore this node's state"), "{error}");
}

#[test]
fn a_request_memory_that_does_not_fit_its_hash_is_refused() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    bench.flush();
    bench.state.store.overwrite("requests_hash", 1);
    drop(bench.state);
    let error = refused(&bench.disk, CLUSTER, limits());
    assert!(matches!(&error, StateError::Damaged { .. }), "{error}");
}

#[test]
fn a_making_that_was_interrupted_is_begun_again() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
    let file = disk.open(Path::new("state/state.redb.new"), Create::New).unwrap();
    file.write_all_at(b"half", 0).unwrap();
    assert_eq!(open(&disk, limits()).unwrap().applied(), Position::ZERO);
    assert_eq!(disk.list(Path::new("state")).unwrap(), ["state.redb"]);
}

#[test]
fn opening_after_a_kill_does_not_walk_the_file() {
    let memory = Arc::new(MemoryDisk::default());
    let disk: Arc<dyn Disk> = Arc::clone(&memory) as Arc<dyn Disk>;
    let mut bench = Bench { state: open(&disk, limits()).unwrap(), disk, limits: limits() };
    let made: Arc<dyn Disk> = Arc::new(memory.copy());
    assert!(!open(&made, limits()).unwrap().store.walked(), "after the making");
    bench.write(set("k", "v"));
    bench.flush();
    let killed: Arc<dyn Disk> = Arc::new(memory.copy());
    let state = open(&killed, limits()).unwrap();
    assert_eq!(state.applied().index.0, 1);
    assert!(!state.store.walked());
}
