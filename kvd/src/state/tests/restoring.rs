//! A backup that takes the place of all keys: staged, dropped, switched to, beside a plain map and a state that is never
//! flushed, whatever flushes, restarts and journeys come between.

use protocol::{Hold, Verdict as Judgement, restore::Restore, snapshot::Checker};

use super::*;
use crate::snapshot::Progress;

const ID: u128 = 0xabc;

type Pairs = Vec<(Vec<u8>, Vec<u8>)>;

fn pairs(keys: &[&str], value: &str) -> Pairs {
    keys.iter().map(|key| (key.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn sum(pairs: &Pairs) -> u64 {
    pairs.iter().map(|(key, value)| protocol::restore::element(key, value)).fold(0, u64::wrapping_add)
}

fn step(step: Restore) -> Operation {
    Operation::Restore(step)
}

fn rows(offset: u64, rows: Pairs) -> Operation {
    step(Restore::Rows { id: ID, offset, rows })
}

fn switch(of: &Pairs) -> Operation {
    step(Restore::Switch { id: ID, count: of.len() as u64, hash: sum(of) })
}

impl Bench {
    fn told(&mut self, operation: Operation) -> (Judgement, u64) {
        let decided = self.decide(operation);
        (decided.verdict, decided.number)
    }

    /// Everything of it sent to another server and opened there.
    fn travelled(&mut self) -> State {
        self.flush();
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::default());
        let there = open(&disk, self.limits).unwrap();
        let (mut sending, mut checker) = (self.state.sending().unwrap(), Checker::new());
        let first = sending.next_block().unwrap().unwrap();
        checker.take(&first).unwrap();
        let mut receiving = Box::new(there.receiver().begin(&first).unwrap());
        while let Some(block) = sending.next_block().unwrap() {
            checker.take(&block).unwrap();
            receiving = match receiving.take(&block).unwrap() {
                Progress::More(receiving) => receiving,
                Progress::Whole(received) => {
                    checker.close().unwrap();
                    return Install::new(received).run().unwrap().into_state();
                }
            };
        }
        panic!("no end")
    }
}

#[test]
fn all_keys_are_replaced_at_one_revision_and_what_was_there_is_gone() {
    let mut bench = Bench::new();
    bench.set_all(&["a", "b", "x"], "old");
    bench.flush();
    bench.write(set("y", "old"));
    let backup = pairs(&["b", "c"], "new");
    assert_eq!(bench.told(step(Restore::Begin { id: ID })), (Judgement::Done, 0));
    assert_eq!(bench.told(rows(0, backup.clone())), (Judgement::Done, 2));
    assert_eq!(bench.row("b").unwrap().3, "old", "what is staged nobody sees");
    let hash = bench.state.hash();
    let at = bench.next();
    assert_eq!(bench.told(switch(&backup)), (Judgement::Done, at));
    assert_ne!(bench.state.hash(), hash);
    let check = |bench: &Bench| {
        assert_eq!(["a", "x", "y"].map(|key| bench.row(key)), [None, None, None]);
        assert_eq!(["b", "c"].map(|key| bench.row(key)), [0; 2].map(|_| Some((at, at, 1, "new".into()))));
        assert_eq!((bench.state.kept_history().oldest, bench.state.kept_history().changes), (at, 0));
    };
    check(&bench);
    bench.flush();
    check(&bench);
    bench.reopen();
    check(&bench);
    bench.write(set("b", "newer"));
    bench.flush();
    bench.write(delete("c"));
    assert_eq!(bench.row("b"), Some((at + 1, at, 2, "newer".into())));
    let hash = bench.state.hash();
    bench.flush();
    bench.reopen();
    assert_eq!((bench.row("c"), bench.state.hash()), (None, hash));
    let scan = bench.state.view().scan(
        protocol::Scan { at: Some(at), from: Vec::new(), ..protocol::Scan::default() },
        view::PageLimits::default(),
    );
    let protocol::ScanFrame::Page(page) = scan.unwrap().answer().unwrap() else { panic!("no page") };
    let shown: Vec<_> =
        page.rows.iter().map(|row| (&*row.key, row.found.revision, &*row.found.value)).collect();
    assert_eq!(shown, [(&b"b"[..], at, &b"new"[..]), (b"c", at, b"new")], "the past begins with it");
    let refused = bench
        .state
        .view()
        .scan(protocol::Scan { at: Some(at - 1), ..protocol::Scan::default() }, view::PageLimits::default());
    assert!(matches!(refused.err(), Some(Refused::NotKept { oldest, .. }) if oldest == at));
}

#[test]
fn what_is_sent_twice_or_out_of_its_place_adds_nothing() {
    let mut bench = Bench::new();
    let backup = pairs(&["a", "b", "c", "d"], "v");
    assert_eq!(bench.told(rows(0, backup.clone())), (Judgement::Unmet, 0), "nothing was begun");
    bench.decide(step(Restore::Begin { id: ID }));
    assert_eq!(bench.told(rows(0, backup[..2].to_vec())), (Judgement::Done, 2));
    let hash = bench.state.hash();
    assert_eq!(bench.told(rows(0, backup[..2].to_vec())), (Judgement::Done, 2), "a repetition");
    assert_eq!(bench.told(rows(3, backup[3..].to_vec())), (Judgement::Unmet, 2), "a gap");
    assert_eq!(bench.told(rows(2, backup[1..].to_vec())), (Judgement::Unmet, 2), "a key that is there");
    let other = Operation::Restore(Restore::Rows { id: 9, offset: 2, rows: backup[2..].to_vec() });
    assert_eq!(bench.told(other), (Judgement::Unmet, 0), "another's");
    assert_eq!(bench.told(switch(&backup)), (Judgement::Unmet, 2), "not all of it");
    bench.flush();
    bench.reopen();
    assert_eq!(bench.told(rows(2, backup[1..].to_vec())), (Judgement::Unmet, 2), "after a restart too");
    assert_eq!(
        bench.told(step(Restore::Begin { id: ID })),
        (Judgement::Done, 2),
        "it goes on where it ended"
    );
    assert_ne!(hash, 0);
    assert_eq!(bench.told(rows(1, backup[1..].to_vec())), (Judgement::Done, 4), "those that are new");
    let at = bench.next();
    assert_eq!(bench.told(switch(&backup)), (Judgement::Done, at));
    bench.write(set("e", "later"));
    assert_eq!(bench.told(switch(&backup)), (Judgement::Done, at), "once, though another id asks");
    assert_eq!(bench.told(step(Restore::Begin { id: ID })), (Judgement::Unmet, at), "it is over");
    assert!(bench.row("e").is_some() && bench.row("d").is_some());
}

#[test]
fn another_that_begins_and_an_abort_drop_what_is_staged() {
    for flushed in [false, true] {
        let mut bench = Bench::new();
        bench.set_all(&["k"], "mine");
        for (drop, number) in [(Restore::Abort, 2), (Restore::Begin { id: 9 }, 0)] {
            bench.decide(step(Restore::Begin { id: ID }));
            bench.told(rows(0, pairs(&["a", "b"], "v")));
            if flushed {
                bench.flush();
            }
            assert_eq!(bench.told(step(drop)), (Judgement::Done, number));
            assert_eq!(bench.told(switch(&pairs(&["a", "b"], "v"))), (Judgement::Unmet, 0));
            bench.flush();
            bench.reopen();
        }
        assert_eq!(bench.told(step(Restore::Abort)), (Judgement::Done, 0));
        assert_eq!(bench.row("k").unwrap().3, "mine");
        let (hash, there) = (bench.state.hash(), bench.travelled());
        assert_eq!(there.hash(), hash);
    }
}

#[test]
fn leases_let_go_of_their_keys_and_stay() {
    let mut bench = Bench::new();
    let lease = bench.decide(Operation::Grant { ttl_ms: 1000 }).revision;
    let hold = |key: &str, hold| {
        let (key, value) = (key.into(), b"v".to_vec());
        Operation::SetHeld { key, value, condition: protocol::Condition::Always, previous: false, hold }
    };
    bench.decide(hold("a", Hold::Lease(lease)));
    bench.decide(hold("own", Hold::Ttl(1000)));
    bench.flush();
    let backup = pairs(&["a"], "new");
    bench.decide(step(Restore::Begin { id: ID }));
    bench.told(rows(0, backup.clone()));
    bench.told(switch(&backup));
    let left: Vec<_> = bench.state.leases.all().iter().map(|(id, lease)| (*id, lease.keys)).collect();
    assert_eq!(left, [(lease, 0)]);
    assert_eq!(bench.state.get(b"a").unwrap().unwrap().lease, None);
    let hash = bench.state.hash();
    bench.flush();
    bench.reopen();
    assert_eq!(bench.state.hash(), hash);
    let written = bench.next();
    bench.decide(hold("a", Hold::Lease(lease)));
    assert_eq!(bench.row("a").unwrap().0, written);
}

#[test]
fn a_state_into_which_nothing_was_staged_is_of_the_format_before() {
    let format = |bench: &mut Bench| {
        bench.flush();
        bench.state.sending().unwrap().head().state_format
    };
    let mut bench = Bench::new();
    bench.write(set("k", "v"));
    assert_eq!(format(&mut bench), protocol::version::STATE_FORMAT_PLAIN);
    bench.decide(step(Restore::Abort));
    assert_eq!(format(&mut bench), protocol::version::STATE_FORMAT_PLAIN, "nothing was there to be dropped");
    bench.decide(Operation::Grant { ttl_ms: 1000 });
    assert_eq!(format(&mut bench), protocol::version::STATE_FORMAT_LEASES);
    bench.decide(step(Restore::Begin { id: ID }));
    assert_eq!(format(&mut bench), protocol::version::STATE_FORMAT);
}

#[test]
fn a_switch_that_is_repeated_was_done_also_where_another_restore_has_begun() {
    let mut bench = Bench::new();
    let of = pairs(&["a", "b"], "v");
    bench.told(step(Restore::Begin { id: ID }));
    bench.told(rows(0, of.clone()));
    let done = bench.told(switch(&of));
    assert_eq!(done.0, Judgement::Done);
    assert_eq!(bench.told(step(Restore::Begin { id: ID + 1 })), (Judgement::Done, 0));
    assert_eq!(bench.told(switch(&of)), done);
}

/// What happens in a random story.
#[derive(Clone, Copy, Debug)]
enum Act {
    Set(u8, u8),
    Delete(u8),
    Begin(u8),
    Stage(u8),
    Switch,
    Abort,
    FlushBegun,
    FlushDone,
    Crash,
    Travel,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..6_u8, 0..4_u8).prop_map(|(key, value)| Act::Set(key, value)),
        2 => (0..6_u8).prop_map(Act::Delete),
        2 => (1..3_u8).prop_map(Act::Begin),
        5 => (0..4_u8).prop_map(Act::Stage),
        3 => Just(Act::Switch),
        1 => Just(Act::Abort),
        3 => Just(Act::FlushBegun),
        3 => Just(Act::FlushDone),
        1 => Just(Act::Crash),
        1 => Just(Act::Travel),
    ]
}

/// A state with all that can come between, one that only applies, and a map.
struct Story {
    bench: Bench,
    plain: Bench,
    flush: Option<Flush>,
    log: Vec<Entry>,
    map: BTreeMap<String, (u64, String)>,
    staged: Option<(u128, Pairs)>,
    begun: u128,
    /// Under which id it was switched last.
    restored: Option<u128>,
}

impl Story {
    fn new() -> Self {
        let (map, restored) = (BTreeMap::new(), None);
        let (bench, plain) = (Bench::new(), Bench::new());
        Self { bench, plain, flush: None, log: Vec::new(), map, staged: None, begun: 0, restored }
    }

    fn apply(&mut self, operation: Operation) -> Result<Outcome, Refused> {
        let index = self.plain.next();
        let entry = entry(index, request(1_000_000 + index, index - 1), operation);
        self.log.push(entry.clone());
        let plain = self.plain.state.apply(&entry).unwrap().unwrap();
        let applied = self.bench.state.apply(&entry).unwrap().unwrap();
        assert_eq!(applied, plain);
        applied.result
    }

    fn restore(&mut self, operation: Restore) -> (Judgement, u64) {
        let Ok(Outcome::Decided(decided)) = self.apply(step(operation)) else { panic!("not judged") };
        (decided.verdict, decided.number)
    }

    fn finish_flush(&mut self) {
        if let Some(flush) = self.flush.take() {
            self.bench.state.finish_flush(flush.run().unwrap());
        }
    }

    fn replay(&mut self) {
        let from = usize::try_from(self.bench.state.applied().index.0).unwrap();
        for entry in &self.log[from..] {
            self.bench.state.apply(entry).unwrap();
        }
    }

    /// As a client that begins, or one that goes on with what the last one began.
    fn begin(&mut self, anew: bool) {
        self.begun += u128::from(anew);
        let id = self.begun.max(1);
        let told = self.restore(Restore::Begin { id });
        match &self.staged {
            _ if self.restored == Some(id) => assert_eq!(told.0, Judgement::Unmet),
            Some((staged, pairs)) if *staged == id => {
                assert_eq!(told, (Judgement::Done, pairs.len() as u64));
            }
            _ => self.staged = Some((id, Vec::new())),
        }
    }

    fn stage(&mut self, at: u64, count: u8) {
        let Some((id, mut pairs)) = self.staged.clone() else { return };
        let offset = pairs.len();
        let new = (0..=count).map(|more| {
            let key = format!("k{}", offset + usize::from(more));
            (key.into_bytes(), format!("r{at}").into_bytes())
        });
        // Below ten keys their names are in order.
        pairs.extend(new.take(9_usize.saturating_sub(offset)));
        if pairs.len() > offset {
            let rows = pairs[offset..].to_vec();
            let told = self.restore(Restore::Rows { id, offset: offset as u64, rows });
            assert_eq!(told, (Judgement::Done, pairs.len() as u64));
            self.staged = Some((id, pairs));
        }
    }

    fn act(&mut self, act: Act) {
        let at = self.plain.next();
        match act {
            Act::Set(key, value) => {
                let (key, value) = (format!("k{key}"), format!("v{value}"));
                self.apply(set(&key, &value)).unwrap();
                self.map.insert(key, (at, value));
            }
            Act::Delete(key) => {
                let key = format!("k{key}");
                self.apply(delete(&key)).unwrap();
                self.map.remove(&key);
            }
            Act::Begin(kind) => self.begin(kind == 1),
            Act::Stage(count) => self.stage(at, count),
            Act::Switch => {
                let Some((id, pairs)) = self.staged.take() else { return };
                let count = pairs.len() as u64;
                assert_eq!(
                    self.restore(Restore::Switch { id, count, hash: sum(&pairs) }),
                    (Judgement::Done, at)
                );
                let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
                self.map = pairs.into_iter().map(|(key, value)| (text(key), (at, text(value)))).collect();
                self.restored = Some(id);
            }
            Act::Abort => {
                self.restore(Restore::Abort);
                self.staged = None;
            }
            Act::FlushBegun => self.flush = self.flush.take().or_else(|| self.bench.state.begin_flush(0)),
            Act::FlushDone => self.finish_flush(),
            Act::Crash => {
                self.flush = None;
                self.bench.reopen();
                self.replay();
            }
            // There is nothing to be sent before the first entry.
            Act::Travel if at == 1 => {}
            Act::Travel => {
                self.finish_flush();
                let there = self.bench.travelled();
                assert_eq!(there.hash(), self.bench.state.hash());
            }
        }
    }

    fn check(&self) {
        assert_eq!(self.bench.state.hash(), self.plain.state.hash());
        for key in 0..10 {
            let key = format!("k{key}");
            let found = self.bench.row(&key).map(|(revision, _, _, value)| (revision, value));
            assert_eq!(found, self.map.get(&key).cloned(), "{key}");
        }
        let cursor = self.bench.state.view().scan(protocol::Scan::default(), view::PageLimits::default());
        let keys = match cursor.unwrap().answer().unwrap() {
            protocol::ScanFrame::Page(page) => page.rows.into_iter().map(|row| row.key).collect(),
            _ => Vec::new(),
        };
        assert_eq!(keys, self.map.keys().map(|key| key.clone().into_bytes()).collect::<Vec<_>>());
    }
}

proptest! {
    #[test]
    fn a_random_story_is_that_of_a_map(acts in prop::collection::vec(act(), 1..60)) {
        let mut story = Story::new();
        for act in acts {
            story.act(act);
            story.check();
        }
    }
}
