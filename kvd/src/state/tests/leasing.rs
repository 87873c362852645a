//! Leases: what holds a key, when it is over, and that all of it survives a restart and a journey.

use protocol::{
    Condition, Hold, Verdict as Judgement, history::WindowChange, snapshot::Checker, watch::Watch,
};

use super::*;
use crate::{
    snapshot::Progress,
    state::{
        changes::{FrameLimits, Place, StretchLimits},
        leases::LeaseLimits,
    },
};

fn held(key: &str, hold: Hold) -> Operation {
    let (key, value) = (key.into(), b"v".to_vec());
    Operation::SetHeld { key, value, condition: Condition::Always, previous: false, hold }
}

impl Bench {
    /// Applies an operation whose entry has this stamp.
    fn at(&mut self, stamp_ms: u64, operation: Operation) -> Decided {
        let index = self.next();
        let request = request(1_000_000 + index, index - 1);
        let command = Command { request, stamp_ms, wall_ms: 0, operation };
        let payload = Payload::Command(command.encode().into());
        let entry = Entry { position: Position::new(index, 1), payload };
        let applied = self.state.apply(&entry).unwrap().unwrap();
        match applied.result {
            Ok(Outcome::Decided(decided)) => *decided,
            other => panic!("not judged: {other:?}"),
        }
    }

    fn expire(&mut self, stamp_ms: u64, leases: &[u64]) -> u64 {
        self.at(stamp_ms, Operation::Expire { leases: leases.to_vec() }).number
    }

    fn lease_of(&self, key: &str) -> Option<u64> {
        self.state.get(key.as_bytes()).unwrap()?.lease.map(|held| held.lease)
    }

    /// Id, deadline and number of keys of all leases.
    fn leases(&self) -> Vec<(u64, u64, usize)> {
        let all = self.state.leases.all().iter();
        all.map(|(id, lease)| (*id, lease.stored.deadline_ms, lease.keys)).collect()
    }

    /// What a flush and a restart leave must be what there was.
    fn restart(&mut self) {
        let (before, hash) = (self.leases(), self.state.hash());
        self.flush();
        self.reopen();
        assert_eq!((self.leases(), self.state.hash()), (before, hash));
    }
}

#[test]
fn the_keys_of_a_lease_go_at_one_revision_when_the_stamp_says_so_and_not_before() {
    let mut bench = Bench::new();
    let id = bench.at(10, Operation::Grant { ttl_ms: 100 }).revision;
    for key in ["b", "a"] {
        assert_eq!(bench.at(20, held(key, Hold::Lease(id))).verdict, Judgement::Done);
    }
    bench.write(set("c", "v"));
    bench.restart();
    assert_eq!(bench.leases(), [(id, 110, 2)]);
    assert_eq!(bench.expire(109, &[id]), 0, "a leader that is ahead of the log is not believed");
    assert!(bench.row("a").is_some());
    assert_eq!(bench.expire(110, &[id, 77]), 2);
    assert_eq!((bench.row("a"), bench.row("b"), bench.leases()), (None, None, vec![]));
    assert!(bench.row("c").is_some());
    assert_eq!(bench.expire(120, &[id]), 0, "it ends once");
    bench.restart();
    assert!(bench.row("a").is_none() && bench.state.leases.is_used());
}

#[test]
fn a_renewal_moves_the_end_and_brings_nothing_back() {
    let mut bench = Bench::new();
    let id = bench.at(10, Operation::Grant { ttl_ms: 100 }).revision;
    bench.at(10, held("k", Hold::Lease(id)));
    bench.flush();
    let renewed = bench.at(60, Operation::Renew { lease: id });
    assert_eq!((renewed.verdict, renewed.number), (Judgement::Done, 100));
    bench.restart();
    assert_eq!((bench.expire(110, &[id]), bench.leases()), (0, vec![(id, 160, 1)]));
    let late = bench.at(160, Operation::Renew { lease: id });
    assert_eq!(late.verdict, Judgement::NoLease, "over, though nobody has ended it yet");
    assert_eq!(bench.at(160, held("m", Hold::Lease(id))).verdict, Judgement::NoLease);
    assert_eq!(bench.row("m"), None);
    assert_eq!(bench.expire(160, &[id]), 1);
    assert_eq!(bench.at(161, Operation::Renew { lease: id }).verdict, Judgement::NoLease);
    assert_eq!(bench.row("k"), None);
}

#[test]
fn a_lease_that_is_revoked_takes_its_keys_with_it() {
    let mut bench = Bench::new();
    let id = bench.at(10, Operation::Grant { ttl_ms: 100 }).revision;
    bench.at(10, held("a", Hold::Lease(id)));
    bench.at(10, held("b", Hold::Lease(id)));
    let revoked = bench.at(20, Operation::Revoke { lease: id });
    assert_eq!((revoked.verdict, revoked.number), (Judgement::Done, 2));
    assert_eq!((bench.row("a"), bench.row("b"), bench.leases()), (None, None, vec![]));
    assert_eq!(bench.at(20, Operation::Revoke { lease: id }).verdict, Judgement::NoLease);
}

#[test]
fn a_time_of_its_own_is_a_lease_that_ends_with_its_key() {
    let mut bench = Bench::new();
    let first = bench.at(10, held("k", Hold::Ttl(100))).revision;
    assert_eq!((bench.lease_of("k"), bench.leases()), (Some(first), vec![(first, 110, 1)]));
    let second = bench.at(20, held("k", Hold::Ttl(100))).revision;
    assert_eq!(bench.leases(), [(second, 120, 1)], "the first held nothing any more");
    bench.restart();
    bench.write(delete("k"));
    assert_eq!(bench.leases(), []);
    bench.restart();
}

#[test]
fn a_write_lets_go_of_a_lease_keeps_it_or_counts_on_under_it() {
    let mut bench = Bench::new();
    let id = bench.at(10, Operation::Grant { ttl_ms: 1000 }).revision;
    bench.at(10, held("n", Hold::Lease(id)));
    bench.at(10, held("n", Hold::Keep));
    assert_eq!(bench.lease_of("n"), Some(id));
    bench.write(set("n", "1"));
    assert_eq!((bench.lease_of("n"), bench.leases()[0].2), (None, 0));
    bench.at(10, held("n", Hold::Keep));
    assert_eq!(bench.lease_of("n"), None, "there was nothing to keep");
    bench.write(set("n", "1"));
    bench.at(
        10,
        Operation::SetHeld {
            key: b"n".to_vec(),
            value: b"1".to_vec(),
            condition: Condition::Revision(4),
            previous: false,
            hold: Hold::Lease(id),
        },
    );
    assert_eq!(bench.lease_of("n"), None, "a condition that does not hold changes nothing");
    let mut number = held("n", Hold::Lease(id));
    if let Operation::SetHeld { value, .. } = &mut number {
        *value = b"1".to_vec();
    }
    bench.at(10, number);
    bench.decide(Operation::Increment { key: b"n".to_vec(), by: 1 });
    assert_eq!((bench.lease_of("n"), bench.row("n").unwrap().3), (Some(id), "2".into()));
    bench.restart();
}

#[test]
fn what_ends_by_time_is_told_apart_from_what_is_removed() {
    let mut bench = Bench::new();
    let id = bench.at(10, held("k", Hold::Ttl(100))).revision;
    bench.expire(110, &[id]);
    bench.at(120, held("k", Hold::Ttl(100)));
    bench.write(delete("k"));
    for _ in 0..2 {
        let view = bench.state.view();
        let limits = StretchLimits { looked: 100, taken: 100 };
        let stretch = view.changes_after(0, limits, |_| true).unwrap();
        let frame = stretch.frame(&Watch::key(b"k"), Place::after(0), &FrameLimits::default()).unwrap();
        let told: Vec<_> =
            frame.0.events.iter().map(|event| (event.found.is_some(), event.expired)).collect();
        assert_eq!(told, [(true, false), (false, true), (true, false), (false, false)]);
        bench.flush();
    }
}

#[test]
fn every_bound_holds_at_it_and_past_it_nothing_is_changed() {
    let cost = protocol::limits::ROW_BYTES + 1;
    let bounds = LeaseLimits { leases: 2, keys: 2, bytes: 3 * cost, expired: 2, expired_keys: 2 };
    let mut bench = Bench::new();
    bench.state.leases.set_limits(bounds);
    let [a, b] = [0, 0].map(|_| bench.at(10, Operation::Grant { ttl_ms: 100 }).revision);
    assert_eq!(bench.at(10, Operation::Grant { ttl_ms: 100 }).verdict, Judgement::TooManyLeases);
    assert_eq!(bench.at(10, held("o", Hold::Ttl(100))).verdict, Judgement::TooManyLeases);
    for key in ["1", "2"] {
        assert_eq!(bench.at(10, held(key, Hold::Lease(a))).verdict, Judgement::Done);
    }
    assert_eq!(bench.at(10, held("3", Hold::Lease(a))).verdict, Judgement::LeaseFull);
    assert_eq!(bench.at(10, held("1", Hold::Lease(a))).verdict, Judgement::Done, "it is one of them");
    assert_eq!(bench.at(10, held("3", Hold::Lease(b))).verdict, Judgement::Done);
    assert_eq!(bench.at(10, held("4", Hold::Lease(b))).verdict, Judgement::LeasedTooLarge);
    assert_eq!(bench.at(10, held("1", Hold::Lease(b))).verdict, Judgement::Done, "it has room already");
    assert_eq!((bench.row("o"), bench.row("4")), (None, None));
}

#[test]
fn one_entry_ends_so_much_and_the_next_the_rest() {
    let bounds = LeaseLimits { expired: 3, expired_keys: 2, ..LeaseLimits::ALL };
    let mut bench = Bench::new();
    bench.state.leases.set_limits(bounds);
    let ids: Vec<_> =
        (0..4).map(|n| bench.at(10, held(&n.to_string(), Hold::Ttl(100 + n))).revision).collect();
    assert!(bench.state.leases.over(109).is_empty(), "the first deadline is 110");
    assert_eq!(bench.state.leases.over(1000), ids[..2], "so many keys");
    assert_eq!(bench.expire(1000, &ids), 2);
    assert_eq!(bench.expire(1000, &ids), 2);
    let granted: Vec<_> = (0..4).map(|_| bench.at(2000, Operation::Grant { ttl_ms: 100 }).revision).collect();
    assert_eq!(bench.state.leases.over(3000), granted[..3], "so many leases");
}

#[test]
fn a_repeated_request_hears_what_the_first_was_told() {
    let mut bench = Bench::new();
    let (first, grant) = (request(1, 0), Operation::Grant { ttl_ms: 100 });
    let id = bench.judge(first, grant.clone()).unwrap();
    let Outcome::Decided(again) = bench.judge(first, grant).unwrap() else { panic!() };
    let Outcome::Decided(id) = id else { panic!() };
    assert_eq!((again.revision, again.deduplicated), (id.revision, true));
    assert_eq!(bench.leases().len(), 1);
}

#[test]
fn a_state_without_leases_keeps_its_format_and_one_with_leases_says_so() {
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    bench.decide(Operation::SetWindow(WindowChange { changes: Some(9), ..WindowChange::default() }));
    bench.flush();
    assert_eq!(bench.state.sending().unwrap().head().state_format, 2);
    let id = bench.at(10, Operation::Grant { ttl_ms: 100 }).revision;
    bench.flush();
    assert_eq!(bench.state.sending().unwrap().head().state_format, 3);
    bench.at(20, Operation::Revoke { lease: id });
    bench.restart();
    bench.write(set("k", "v"));
    bench.flush();
    assert_eq!(
        bench.state.sending().unwrap().head().state_format,
        3,
        "what is kept of the past has seen them"
    );
}

#[test]
fn leases_that_were_changed_on_disk_are_refused() {
    let mut bench = Bench::new();
    bench.at(10, held("k", Hold::Ttl(100)));
    bench.flush();
    bench.state.store.overwrite("leases_hash", 7);
    let Err(StateError::Damaged { why, .. }) = open(&bench.disk, bench.limits).map(drop) else { panic!() };
    assert_eq!(why, "its leases are not those it was written with");
}

#[test]
fn a_state_that_is_sent_takes_its_leases_along() {
    let (mut bench, other) = (Bench::new(), Bench::new());
    let id = bench.at(10, Operation::Grant { ttl_ms: 100 }).revision;
    bench.at(10, held("a", Hold::Lease(id)));
    bench.at(10, held("b", Hold::Ttl(200)));
    bench.flush();
    let mut sending = bench.state.sending().unwrap();
    let mut checker = Checker::new();
    let first = sending.next_block().unwrap().unwrap();
    checker.take(&first).unwrap();
    let mut receiving = Box::new(other.state.receiver().begin(&first).unwrap());
    let received = loop {
        let block = sending.next_block().unwrap().unwrap();
        let (_, summary) = checker.take(&block).unwrap();
        match receiving.take(&block).unwrap() {
            Progress::More(more) => receiving = more,
            Progress::Whole(received) => {
                assert_eq!(summary.unwrap().leases, 2);
                break received;
            }
        }
    };
    let (leases, hash) = (bench.leases(), bench.state.hash());
    bench.state = Install::new(received).run().unwrap().into_state();
    assert_eq!((bench.leases(), bench.state.hash()), (leases, hash));
    assert_eq!(bench.expire(110, &[id]), 1, "with the time that was left");
}

/// The rules once more, in the plainest way: which lease holds a key, and when each is over.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<String, u64>,
    /// Time, deadline, whether it is its one key's own.
    leases: BTreeMap<u64, (u64, u64, bool)>,
}

impl Plain {
    fn live(&self, id: u64, stamp: u64) -> bool {
        self.leases.get(&id).is_some_and(|(_, deadline, _)| *deadline > stamp)
    }

    fn put(&mut self, key: &str, lease: Option<u64>) {
        match lease {
            Some(lease) => self.rows.insert(key.to_owned(), lease),
            None => self.rows.remove(key),
        };
        let rows = &self.rows;
        self.leases.retain(|id, (_, _, own)| !*own || rows.values().any(|held| held == id));
    }

    fn end(&mut self, id: u64) {
        self.rows.retain(|_, held| *held != id);
        self.leases.remove(&id);
    }

    fn apply(&mut self, revision: u64, stamp: u64, operation: &Operation) {
        let name = |key: &[u8]| String::from_utf8(key.to_vec()).unwrap();
        match operation {
            Operation::Set { key, .. } => self.put(&name(key), Some(0)),
            Operation::Delete { key } => self.put(&name(key), None),
            Operation::Grant { ttl_ms } => {
                self.leases.insert(revision, (*ttl_ms, stamp + ttl_ms, false));
            }
            Operation::Renew { lease } if self.live(*lease, stamp) => {
                let (ttl, deadline, _) = self.leases.get_mut(lease).unwrap();
                *deadline = stamp + *ttl;
            }
            Operation::Revoke { lease } if self.live(*lease, stamp) => self.end(*lease),
            Operation::Expire { leases } => {
                for id in leases {
                    if self.leases.contains_key(id) && !self.live(*id, stamp) {
                        self.end(*id);
                    }
                }
            }
            Operation::SetHeld { key, hold, .. } => match hold {
                Hold::Ttl(ttl) => {
                    self.leases.insert(revision, (*ttl, stamp + ttl, true));
                    self.rows.insert(name(key), revision);
                    self.put(&name(key), Some(revision));
                }
                Hold::Lease(id) if self.live(*id, stamp) => self.put(&name(key), Some(*id)),
                Hold::Lease(_) => {}
                Hold::Keep => self.put(&name(key), Some(self.rows.get(&name(key)).copied().unwrap_or(0))),
            },
            _ => {}
        }
    }
}

/// An operation, how much later than the one before, and whether all is flushed or opened anew after it.
fn steps() -> impl Strategy<Value = Vec<(Operation, u64, u8)>> {
    let key = || prop::sample::select(vec!["a", "b", "c"]);
    let id = || 1..40_u64;
    let ttl = || prop::sample::select(vec![100_u64, 150, 400]);
    let operation = prop_oneof![
        2 => key().prop_map(|key| set(key, "v")),
        1 => key().prop_map(delete),
        2 => ttl().prop_map(|ttl_ms| Operation::Grant { ttl_ms }),
        2 => id().prop_map(|lease| Operation::Renew { lease }),
        1 => id().prop_map(|lease| Operation::Revoke { lease }),
        2 => (key(), ttl()).prop_map(|(key, ttl)| held(key, Hold::Ttl(ttl))),
        4 => (key(), id()).prop_map(|(key, id)| held(key, Hold::Lease(id))),
        1 => key().prop_map(|key| held(key, Hold::Keep)),
        3 => prop::collection::vec(id(), 0..20).prop_map(|leases| Operation::Expire { leases }),
    ];
    prop::collection::vec((operation, 0..60_u64, 0..8_u8), 1..60)
}

proptest! {
    #[test]
    fn random_writes_agree_with_the_plain_rules(steps in steps()) {
        let (mut bench, mut plain, mut stamp) = (Bench::new(), Plain::default(), 1000);
        let mut witness = Bench::new();
        for (operation, later, what) in steps {
            stamp += later;
            let index = bench.next();
            let command = Command { request: request(index, index - 1), stamp_ms: stamp, wall_ms: 0, operation };
            let payload = Payload::Command(command.encode().into());
            let entry = Entry { position: Position::new(index, 1), payload };
            plain.apply(index, stamp, &command.operation);
            bench.state.apply(&entry).unwrap();
            witness.state.apply(&entry).unwrap();
            match what {
                0 => bench.flush(),
                1 => bench.restart(),
                _ => {}
            }
            let rows = ["a", "b", "c"].into_iter().filter_map(|key| {
                let found = bench.state.get(key.as_bytes()).unwrap()?;
                Some((key.to_owned(), found.lease.map_or(0, |held| held.lease)))
            });
            prop_assert_eq!(rows.collect::<BTreeMap<_, _>>(), plain.rows.clone());
            let leases = plain.leases.iter().map(|(id, (_, deadline, _))| {
                (*id, *deadline, plain.rows.values().filter(|held| *held == id).count())
            });
            prop_assert_eq!(bench.leases(), leases.collect::<Vec<_>>());
            prop_assert_eq!(bench.state.hash(), witness.state.hash());
        }
    }
}
