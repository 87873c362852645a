//! The state against sentences of its module, and against a plain map with random flushes and restarts.

use std::collections::BTreeMap;

use proptest::prelude::*;
use protocol::RequestId;

use super::*;
use crate::store::memory::MemoryDisk;

mod flushing;
mod hashing;
mod leasing;
mod model;
mod opening;
mod past;
mod restoring;
mod scanning;
mod transactions;
mod watching;
mod writes;

const CLUSTER: ClusterId = ClusterId([7; 16]);

fn limits() -> StateLimits {
    StateLimits { cache_bytes: 1024 * 1024, request_ids: 8, ..StateLimits::default() }
}

/// A state and the disk under it, with the next entry always at hand.
struct Bench {
    disk: Arc<dyn Disk>,
    state: State,
    limits: StateLimits,
}

fn open(disk: &Arc<dyn Disk>, limits: StateLimits) -> Result<State, StateError> {
    State::open(Arc::clone(disk), Path::new("state"), CLUSTER, limits)
}

fn set(key: &str, value: &str) -> Operation {
    Operation::Set { key: key.into(), value: value.into() }
}

fn delete(key: &str) -> Operation {
    Operation::Delete { key: key.into() }
}

fn request(n: u64, learned: u64) -> RequestId {
    RequestId { token: u128::from(n).to_le_bytes(), learned, cluster: CLUSTER }
}

fn entry(index: u64, request: RequestId, operation: Operation) -> Entry {
    let command = Command { request, stamp_ms: index, wall_ms: 0, operation };
    Entry { position: Position::new(index, 1), payload: Payload::Command(command.encode().into()) }
}

impl Bench {
    fn new() -> Self {
        Self::with(limits())
    }

    fn with(limits: StateLimits) -> Self {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let state = open(&disk, limits).unwrap();
        Self { disk, state, limits }
    }

    fn next(&self) -> u64 {
        self.state.applied().index.0 + 1
    }

    fn send(&mut self, request: RequestId, operation: Operation) -> Result<WriteOutcome, Refused> {
        self.judge(request, operation).map(|outcome| {
            let Outcome::Written(written) = outcome else { panic!("{outcome:?}") };
            written
        })
    }

    fn judge(&mut self, request: RequestId, operation: Operation) -> Result<Outcome, Refused> {
        let entry = entry(self.next(), request, operation);
        let applied = self.state.apply(&entry).unwrap().unwrap();
        assert_eq!(applied.revision, entry.position.index.0);
        applied.result
    }

    /// With an id of its own.
    fn write(&mut self, operation: Operation) -> WriteOutcome {
        let index = self.next();
        self.send(request(1_000_000 + index, index - 1), operation).unwrap()
    }

    /// The same for a write that is judged.
    fn decide(&mut self, operation: Operation) -> Decided {
        let index = self.next();
        let Ok(Outcome::Decided(decided)) = self.judge(request(1_000_000 + index, index - 1), operation)
        else {
            panic!("not judged")
        };
        *decided
    }

    fn set_all(&mut self, keys: &[&str], value: &str) {
        for key in keys {
            self.write(set(key, value));
        }
    }

    fn flush(&mut self) {
        if let Some(flush) = self.state.begin_flush(0) {
            let flushed = flush.run().unwrap();
            self.state.finish_flush(flushed);
        }
    }

    fn reopen(&mut self) {
        self.state = open(&self.disk, self.limits).unwrap();
    }

    /// Revision, created, version and value.
    fn row(&self, key: &str) -> Option<(u64, u64, u64, String)> {
        let found = self.state.get(key.as_bytes()).unwrap()?;
        Some((found.revision, found.created, found.version, String::from_utf8(found.value).unwrap()))
    }
}

#[test]
fn a_set_keeps_created_and_counts_versions_until_a_delete() {
    let mut bench = Bench::new();
    assert!(!bench.write(set("k", "a")).existed);
    assert!(bench.write(set("k", "b")).existed);
    assert_eq!(bench.row("k"), Some((2, 1, 2, "b".into())));
    assert!(bench.write(delete("k")).existed);
    assert_eq!(bench.row("k"), None);
    assert!(!bench.write(delete("k")).existed);
    assert!(!bench.write(set("k", "c")).existed);
    assert_eq!(bench.row("k"), Some((5, 5, 1, "c".into())));
}

#[test]
fn what_lies_on_disk_counts_as_written_before() {
    let mut bench = Bench::new();
    bench.write(set("k", "a"));
    bench.flush();
    assert_eq!(bench.row("k"), Some((1, 1, 1, "a".into())));
    assert!(bench.write(set("k", "b")).existed);
    assert_eq!(bench.row("k"), Some((2, 1, 2, "b".into())));
}

#[test]
fn an_empty_entry_is_nobodys_write_and_moves_the_applied_position() {
    let mut bench = Bench::new();
    let entry = Entry { position: Position::new(1, 4), payload: Payload::Noop };
    assert_eq!(bench.state.apply(&entry).unwrap(), None);
    assert_eq!(bench.state.applied(), Position::new(1, 4));
}

#[test]
fn an_entry_that_does_not_decode_stops_the_node_and_is_not_skipped() {
    let mut bench = Bench::new();
    let entry = Entry { position: Position::new(1, 1), payload: Payload::Command(Arc::from(*b"\xff\xff")) };
    assert!(
        matches!(bench.state.apply(&entry), Err(StateError::CannotApply { position, .. }) if position.index.0 == 1)
    );
    assert_eq!(bench.state.applied(), Position::ZERO);
}

#[test]
#[should_panic(expected = "without a gap")]
fn a_gap_between_entries_is_our_own_mistake() {
    let mut bench = Bench::new();
    _ = bench.state.apply(&entry(2, request(1, 0), set("k", "v")));
}

#[test]
fn a_repeated_request_answers_with_the_first_outcome_and_changes_nothing() {
    let mut bench = Bench::new();
    bench.write(set("k", "old"));
    let first = bench.send(request(1, 1), delete("k")).unwrap();
    assert_eq!(first, WriteOutcome { revision: 2, existed: true, deduplicated: false });
    bench.write(set("k", "new"));
    let hash = bench.state.hash();
    let again = bench.send(request(1, 1), delete("k")).unwrap();
    assert_eq!(again, WriteOutcome { deduplicated: true, ..first });
    assert_eq!((bench.row("k").unwrap().3, bench.state.hash()), ("new".into(), hash));
}

#[test]
fn a_refused_write_changes_the_applied_index_and_nothing_else() {
    let mut bench = Bench::new();
    bench.set_all(&["k"; 9], "v");
    bench.send(request(1, 9), set("k", "mine")).unwrap();
    let (hash, row) = (bench.state.hash(), bench.row("k"));
    let different = bench.send(request(1, 9), set("k", "other"));
    assert!(matches!(different, Err(Refused::BadRequestId(_))));
    let from_the_future = bench.send(request(2, 12), set("k", "other"));
    assert!(matches!(from_the_future, Err(Refused::BadRequestId(_))));
    assert_eq!(bench.send(request(3, 1), set("k", "other")), Err(Refused::Expired));
    assert_eq!((bench.state.hash(), bench.row("k")), (hash, row));
    assert_eq!(bench.state.applied().index.0, 13);
}

#[test]
fn a_refused_id_is_not_remembered() {
    let mut bench = Bench::new();
    assert!(bench.send(request(1, 1), set("k", "early")).is_err());
    assert_eq!(bench.send(request(1, 1), set("k", "v")).map(|outcome| outcome.deduplicated), Ok(false));
}

#[test]
fn equal_states_hash_equal_and_a_difference_shows() {
    let hash = |operations: &[Operation]| {
        let mut bench = Bench::new();
        for operation in operations {
            bench.write(operation.clone());
        }
        bench.state.rows_hash
    };
    assert_eq!(hash(&[set("a", "1"), delete("a")]), hash(&[]), "of rows; the past counts apart");
    assert_ne!(hash(&[set("a", "1")]), hash(&[set("a", "2")]));
    assert_ne!(hash(&[set("a", "1")]), hash(&[set("b", "1")]));
    assert_ne!(hash(&[set("a", "1"), set("a", "1")]), hash(&[set("a", "1")]));
}
