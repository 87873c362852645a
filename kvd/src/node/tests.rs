//! The node as its driver sees it: events in, actions out, on a network and a log that the test holds in its hands.

mod expiring;
mod forgetting;
mod leading;
mod room;
mod saving;

use std::{collections::VecDeque, sync::Arc};

use protocol::{ClusterId, RequestId, Scan, response::Member};
use raft::{Config, Envelope, Persist, Position, Restored};

use super::*;
use crate::{disk::RealDisk, state::StateLimits};

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A few nodes, their messages under way and the answers they gave. Logs are durable at once unless held.
struct Nodes {
    list: Vec<Node>,
    network: VecDeque<Envelope>,
    answers: Vec<(u64, ResponseFrame)>,
    views: Vec<crate::state::view::View>,
    /// Writes of the log that are not durable yet, of nodes whose disk is held.
    held: Vec<(usize, Persist)>,
    /// Nodes that nobody reaches and that reach nobody.
    cut: Vec<usize>,
    slow_disk: Option<usize>,
    /// Flushes that have not run, where the store is held.
    flushes: Option<Vec<crate::state::Flush>>,
    /// What the log was told to discard, and which states that come in are taken or answered at once.
    discards: Vec<crate::log::Discard>,
    taken: Vec<(u64, bool)>,
    /// How far the backups go that were handed out.
    saved: Vec<u64>,
    /// What nodes said of their disks, and which of them wanted to try again.
    notices: Vec<crate::event::Notice>,
    retries: Vec<usize>,
    now: Time,
    _folder: tempfile::TempDir,
}

impl Nodes {
    fn new(count: u64) -> Self {
        Self::with(count, StateLimits::default())
    }

    fn with(count: u64, limits: StateLimits) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let members: Vec<_> = (1..=count)
            .map(|id| Member {
                id,
                name: format!("n{id}"),
                address: format!("host{id}:7400"),
                ..Member::default()
            })
            .collect();
        let nodes = (1..=count).map(|id| {
            let config = core_config(id, count);
            let path = folder.path().join(id.to_string());
            let state = State::open(Arc::new(RealDisk), &path, CLUSTER, limits).unwrap();
            let raft = Raft::new(config, Restored::default()).unwrap();
            Node::new(raft, state, Members::new(CLUSTER, NodeId(id), members.clone()), 0)
        });
        Self {
            list: nodes.collect(),
            network: VecDeque::new(),
            answers: Vec::new(),
            views: Vec::new(),
            held: Vec::new(),
            cut: Vec::new(),
            slow_disk: None,
            flushes: None,
            discards: Vec::new(),
            saved: Vec::new(),
            taken: Vec::new(),
            notices: Vec::new(),
            retries: Vec::new(),
            now: Time::default(),
            _folder: folder,
        }
    }

    /// Lets everything happen that does not need time.
    fn settle(&mut self) {
        loop {
            let mut idle = true;
            for at in 0..self.list.len() {
                for action in self.list[at].actions().unwrap() {
                    idle = false;
                    self.act(at, action);
                }
            }
            let Some(envelope) = self.network.pop_front() else {
                if idle {
                    return;
                }
                continue;
            };
            let to = usize::try_from(envelope.to.0).unwrap() - 1;
            self.list[to].handle(Event::Peer(envelope)).unwrap();
        }
    }

    fn act(&mut self, at: usize, action: Action) {
        match action {
            Action::Persist(persist) if self.slow_disk == Some(at) => self.held.push((at, persist)),
            Action::Persist(persist) => self.list[at].handle(Event::Persisted(persist.ticket)).unwrap(),
            Action::Send(envelope) => {
                let to = usize::try_from(envelope.to.0).unwrap() - 1;
                if !self.cut.contains(&at) && !self.cut.contains(&to) {
                    self.network.push_back(envelope);
                }
            }
            Action::Reply { connection, frame } => self.answers.push((connection, frame)),
            Action::Flush(flush) if self.flushes.is_some() => self.flushes.as_mut().unwrap().push(flush),
            Action::Flush(flush) => {
                let flushed = flush.run().unwrap();
                self.list[at].handle(Event::Flushed(flushed)).unwrap();
            }
            Action::View { view, .. } => self.views.push(*view),
            Action::Save { sending, .. } => self.saved.push(sending.head().at.index.0),
            Action::Discard(discard) => self.discards.push(discard),
            Action::ReceiveSnapshot { transfer, .. } => self.taken.push((transfer.0, true)),
            Action::AnswerSnapshot { transfer, .. } => self.taken.push((transfer.0, false)),
            Action::Notice(notice) => self.notices.push(notice),
            Action::RetryLog => self.retries.push(at),
            Action::Members { .. }
            | Action::Fetch(_)
            | Action::Changed(_)
            | Action::Retire(_)
            | Action::SendSnapshot { .. }
            | Action::Install(_) => {}
        }
    }

    fn tick(&mut self, ticks: u64) {
        for _ in 0..ticks {
            self.now.monotonic_ms += 10;
            for node in &mut self.list {
                node.handle(Event::Tick(self.now)).unwrap();
            }
            self.settle();
        }
    }

    fn leader(&mut self) -> usize {
        for _ in 0..1000 {
            self.tick(1);
            let leads =
                |at: &usize| self.list[*at].standing().role == RoleName::Leader && !self.cut.contains(at);
            if let Some(leader) = (0..self.list.len()).find(leads) {
                // One more heartbeat, so that all know.
                self.tick(10);
                return leader;
            }
        }
        panic!("no leader within a thousand ticks");
    }

    fn ask(&mut self, at: usize, request: Request) {
        self.ask_within(at, request, 1000);
    }

    fn ask_within(&mut self, at: usize, request: Request, deadline_ms: u32) {
        let caller = Caller { connection: at as u64, request: self.answers.len() as u64 };
        let frame = RequestFrame { id: caller.request, deadline_ms, request };
        self.list[at].handle(Event::Client { caller, frame }).unwrap();
        self.settle();
    }

    fn answer(&mut self) -> Result<Response, Refused> {
        self.answers.pop().expect("an answer was given").1.result
    }
}

fn core_config(id: u64, count: u64) -> Config {
    Config {
        id: NodeId(id),
        voters: (1..=count).map(NodeId).collect(),
        election_ticks: 20,
        heartbeat_ticks: 5,
        max_append_entries: 64,
        max_append_bytes: 1 << 20,
        max_inflight_appends: 8,
        max_inflight_bytes: 1 << 22,
        max_uncommitted_entries: 4,
        max_uncommitted_bytes: 1 << 22,
        max_reads: 4,
        max_snapshots: 2,
        cache_bytes: 1 << 20,
        seed: id,
    }
}

fn set(token: u8, value: &[u8]) -> Request {
    let request = RequestId { token: [token; 16], learned: 0, cluster: CLUSTER };
    Request::Write { request, operation: Operation::Set { key: b"k".to_vec(), value: value.to_vec() } }
}

fn get() -> Request {
    Request::Get { key: b"k".to_vec(), consistency: Consistency::Linearizable, without_value: false }
}

fn value(response: Result<Response, Refused>) -> Option<Vec<u8>> {
    match response {
        Ok(Response::Value { found, .. }) => found.map(|found| found.value),
        other => panic!("not a value: {other:?}"),
    }
}

#[test]
fn a_write_is_answered_after_it_is_applied_and_any_node_reads_it() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, set(1, b"v"));
    assert!(matches!(
        nodes.answer(),
        Ok(Response::Written { revision: 2, existed: false, deduplicated: false })
    ));
    for at in 0..3 {
        nodes.ask(at, get());
        assert_eq!(value(nodes.answer()), Some(b"v".to_vec()));
    }
}

#[test]
fn a_repeated_request_is_answered_with_the_first_outcome() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, set(1, b"v"));
    let first = nodes.answer();
    nodes.ask(leader, set(1, b"v"));
    let Ok(Response::Written { revision, deduplicated, .. }) = nodes.answer() else { panic!("not written") };
    assert!(matches!(first, Ok(Response::Written { revision: first, .. }) if first == revision));
    assert!(deduplicated);
}

#[test]
fn a_follower_redirects_a_write_with_the_leaders_address() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask((leader + 1) % 3, set(1, b"v"));
    let id = leader as u64 + 1;
    let expected = Refused::NotLeader { leader: Some(id), address: Some(format!("host{id}:7400")) };
    assert_eq!(nodes.answer(), Err(expected));
}

#[test]
fn a_write_is_not_answered_before_a_majority_has_it_on_disk() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.cut = vec![(leader + 1) % 3];
    nodes.slow_disk = Some((leader + 2) % 3);
    nodes.ask(leader, set(1, b"v"));
    assert!(nodes.answers.is_empty(), "only the leader's disk has it");
    let (at, persist) = nodes.held.remove(0);
    nodes.list[at].handle(Event::Persisted(persist.ticket)).unwrap();
    nodes.settle();
    assert!(matches!(nodes.answer(), Ok(Response::Written { .. })));
}

#[test]
fn a_write_whose_leader_is_cut_off_is_lost_not_refused() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.cut = vec![leader];
    nodes.ask(leader, set(1, b"v"));
    assert!(nodes.answers.is_empty());
    nodes.tick(60);
    assert_eq!(nodes.answer(), Err(Refused::Lost), "the fate of the entry is open");
}

#[test]
fn a_leader_that_is_cut_off_serves_no_read() {
    let mut nodes = Nodes::new(3);
    let old = nodes.leader();
    nodes.cut = vec![old];
    nodes.ask(old, get());
    assert!(nodes.answers.is_empty(), "no majority has confirmed that it still leads");
    nodes.tick(200);
    assert!(matches!(nodes.answer(), Err(Refused::NotLeader { .. } | Refused::NoQuorum)));
}

#[test]
fn a_fifth_write_without_a_quorum_is_busy() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.cut = (0..3).filter(|at| *at != leader).collect();
    for token in 1..=4 {
        nodes.ask(leader, set(token, b"v"));
        assert!(nodes.answers.is_empty(), "write {token} waits");
    }
    nodes.ask(leader, set(5, b"v"));
    assert!(matches!(nodes.answer(), Err(Refused::Busy { .. })));
}

#[test]
fn a_write_that_queued_for_all_of_its_time_does_not_enter_the_log() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    let last = nodes.list[leader].status().last;
    nodes.ask_within(leader, set(1, b"v"), 0);
    assert!(matches!(nodes.answer(), Err(Refused::Busy { .. })), "it was not applied, and is told so");
    assert_eq!(nodes.list[leader].status().last, last);
}

#[test]
fn nothing_is_applied_while_a_flush_runs_and_the_next_overlay_is_full() {
    let limits = StateLimits { overlay_entries: 1, ..StateLimits::default() };
    let mut nodes = Nodes::with(1, limits);
    let leader = nodes.leader();
    nodes.flushes = Some(Vec::new());
    for token in 1..=2 {
        nodes.ask(leader, set(token, &[token]));
        nodes.tick(1);
        assert!(nodes.answer().is_ok());
    }
    nodes.ask(leader, set(3, &[3]));
    nodes.ask(leader, get());
    nodes.tick(1);
    assert!(nodes.answers.is_empty(), "one overlay is being written and the next is full");
    let flush = nodes.flushes.take().unwrap().remove(0);
    nodes.list[leader].handle(Event::Flushed(flush.run().unwrap())).unwrap();
    nodes.tick(1);
    assert_eq!(value(nodes.answer()), Some(vec![3]), "the read waited with the write");
    assert!(matches!(nodes.answer(), Ok(Response::Written { .. })));
}

fn within(most_ms: u64) -> Request {
    Request::Get { key: b"k".to_vec(), consistency: Consistency::Within(most_ms), without_value: false }
}

#[test]
fn a_read_within_a_bound_waits_for_a_leader_only_where_what_is_known_is_too_old() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, set(1, &[1]));
    let follower = (leader + 1) % 3;
    let stale = Request::Get { key: b"k".to_vec(), consistency: Consistency::Stale, without_value: false };
    let staleness = |nodes: &mut Nodes| {
        let Ok(Response::Value { found, staleness_ms, .. }) = nodes.answer() else { panic!("no value") };
        assert_eq!(found.unwrap().value, [1]);
        staleness_ms
    };
    nodes.tick(10);
    nodes.ask(follower, stale.clone());
    assert_eq!(staleness(&mut nodes), None, "it was never told");
    nodes.ask(follower, within(100));
    assert_eq!(staleness(&mut nodes), Some(0), "so it has asked");
    nodes.cut = vec![follower];
    nodes.tick(9);
    nodes.ask(follower, within(100));
    assert_eq!(staleness(&mut nodes), Some(90), "it need not ask again");
    nodes.tick(1);
    let given = nodes.answers.len();
    nodes.ask_within(follower, within(100), 50);
    assert_eq!(nodes.answers.len(), given, "100 is not less than 100");
    nodes.tick(6);
    assert!(matches!(nodes.answer(), Err(Refused::NoQuorum | Refused::NotLeader { .. })));
    nodes.ask(follower, stale);
    assert_eq!(staleness(&mut nodes), Some(160));
    nodes.cut.clear();
    nodes.tick(100);
    nodes.ask(follower, within(0));
    nodes.tick(2);
    assert!(
        staleness(&mut nodes) <= Some(20),
        "nothing is fresh enough for that but what was just asked for"
    );
}

#[test]
fn what_makes_no_sense_is_refused_before_the_log() {
    let mut nodes = Nodes::new(1);
    let leader = nodes.leader();
    let last = nodes.list[leader].status().last;
    let request = RequestId { token: [1; 16], learned: 0, cluster: CLUSTER };
    for key in [Vec::new(), vec![b'k'; protocol::limits::KEY_BYTES + 1]] {
        nodes.ask(leader, Request::Write { request, operation: Operation::Delete { key: key.clone() } });
        assert!(matches!(nodes.answer(), Err(Refused::Invalid(_) | Refused::TooLarge { .. })));
        nodes.ask(leader, Request::Get { key, consistency: Consistency::Stale, without_value: false });
        assert!(matches!(nodes.answer(), Err(Refused::Invalid(_) | Refused::TooLarge { .. })));
    }
    assert_eq!(nodes.list[leader].status().last, last, "nothing entered the log");
}

#[test]
fn all_nodes_have_one_hash_at_one_index() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    for token in 1..=9 {
        nodes.ask(leader, set(token, &[token]));
    }
    nodes.tick(10);
    let seen: Vec<_> = nodes.list.iter().map(|node| (node.applied(), node.status().state_hash)).collect();
    assert!(seen.iter().all(|one| *one == seen[0] && one.0 == 10), "{seen:?}");
}

#[test]
fn a_node_goes_on_from_the_newest_stamp_that_it_finds() {
    let entry = |index, payload| Entry { position: Position::new(index, 1), payload };
    let command = |stamp_ms| {
        let request = RequestId { token: [1; 16], learned: 0, cluster: CLUSTER };
        let operation = Operation::Delete { key: b"k".to_vec() };
        Payload::Command(Command { request, stamp_ms, wall_ms: 0, operation }.encode().into())
    };
    let found = [entry(1, command(700)), entry(2, command(900)), entry(3, Payload::Noop)];
    assert_eq!((newest_stamp(&found), newest_stamp(&found[2..])), (Some((900, Term(1))), None));
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(Arc::new(RealDisk), folder.path(), CLUSTER, StateLimits::default()).unwrap();
    let raft = Raft::new(core_config(1, 1), Restored::default()).unwrap();
    let member = Member { id: 1, name: String::new(), address: String::new(), ..Member::default() };
    let node = Node::new(raft, state, Members::new(CLUSTER, NodeId(1), vec![member]), 900);
    assert_eq!(node.clock.at(Time { monotonic_ms: 7, wall_ms: 0 }), 907);
}

#[test]
fn the_clock_follows_the_newest_entry_of_others_and_not_its_own() {
    let at = |monotonic_ms| Time { monotonic_ms, wall_ms: 0 };
    let mut clock = ReplicatedClock::default();
    assert_eq!(clock.at(at(5)), 5);
    clock.follow(1000, Term(1), at(5));
    assert_eq!(clock.at(at(7)), 1002, "time passes from the newest stamp on");
    clock.gave(1010, Term(2), at(15));
    clock.follow(1010, Term(2), at(20));
    assert_eq!(clock.at(at(25)), 1020, "its own entries do not hold a leader's clock up");
    clock.follow(1015, Term(3), at(30));
    assert_eq!(clock.at(at(30)), 1015, "another's do");
    clock.follow(1020, Term(2), at(31));
    assert_eq!(clock.at(at(31)), 1020, "and what it gave itself, when it comes back from another");
}

/// Else a lease that was renewed by a slower clock is over before its time, and its lock has two holders.
#[test]
fn the_clock_forgets_the_stamps_of_what_was_lost() {
    let at = |monotonic_ms| Time { monotonic_ms, wall_ms: 0 };
    let lonely = || {
        let mut clock = ReplicatedClock::default();
        clock.follow(1000, Term(1), at(0));
        clock.gave(61_000, Term(1), at(60_000));
        clock
    };
    let mut clock = lonely();
    clock.follow(1250, Term(2), at(60_100));
    assert_eq!(clock.at(at(60_110)), 1260, "another leader's entry took the place of its own");
    let mut clock = lonely();
    clock.install(1250, false, at(60_100));
    assert_eq!(clock.at(at(60_110)), 61_110, "its own log goes on behind the state");
    clock.install(1250, true, at(60_110));
    assert_eq!(clock.at(at(60_120)), 1260, "nothing is left of its own");
}

fn scan(consistency: Consistency) -> Request {
    Request::Scan(Scan { consistency, ..Scan::default() })
}

#[test]
fn a_view_is_taken_at_once_when_it_may_be_stale_and_after_a_round_otherwise() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    let follower = (leader + 1) % 3;
    nodes.cut.push(leader);
    nodes.ask(leader, scan(Consistency::Stale));
    assert_eq!(nodes.views.len(), 1, "a node alone shows what it has");
    nodes.ask_within(leader, scan(Consistency::Linearizable), 50);
    assert_eq!(nodes.views.len(), 1, "and does not know whether it is the newest");
    nodes.tick(40);
    assert!(nodes.answer().is_err());
    nodes.cut.clear();
    nodes.leader();
    nodes.ask(follower, scan(Consistency::Linearizable));
    nodes.tick(5);
    let view = nodes.views.pop().unwrap();
    assert_eq!((nodes.views.len(), view.revision()), (1, nodes.list[follower].applied()));
}

#[test]
fn a_scan_without_sense_is_refused() {
    let mut nodes = Nodes::new(1);
    nodes.leader();
    let long = Scan { from: vec![0; protocol::limits::BOUND_BYTES + 1], ..Scan::default() };
    nodes.ask(0, Request::Scan(long));
    assert!(matches!(nodes.answer(), Err(Refused::TooLarge { limit: 4097, .. })));
    let nothing = Scan { limit: Some(0), ..Scan::default() };
    nodes.ask(0, Request::Scan(nothing));
    assert!(matches!(nodes.answer(), Err(Refused::Invalid(_))) && nodes.views.is_empty());
}
