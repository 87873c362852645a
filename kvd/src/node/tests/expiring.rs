//! When a leader ends leases: in time, also where nobody writes, and neither early nor anew after an election.

use protocol::{Condition, Hold};

use super::*;

fn held(token: u8, key: &[u8], ttl_ms: u64) -> Request {
    let request = RequestId { token: [token; 16], learned: 0, cluster: CLUSTER };
    let (key, value) = (key.to_vec(), b"v".to_vec());
    let (condition, hold) = (Condition::Always, Hold::Ttl(ttl_ms));
    Request::Write { request, operation: Operation::SetHeld { key, value, condition, previous: false, hold } }
}

impl Nodes {
    /// Whether the node at `at` has the key, by its own state.
    fn has(&self, at: usize) -> bool {
        self.list[at].state.get(b"k").unwrap().is_some()
    }

    /// Lets ticks pass until the key is gone from a node; returns the time.
    fn gone(&mut self, at: usize) -> u64 {
        for _ in 0..10_000 {
            if !self.has(at) {
                return self.now.monotonic_ms;
            }
            self.tick(1);
        }
        panic!("it is never gone");
    }
}

#[test]
fn a_key_goes_at_its_time_though_nobody_writes() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, held(1, b"k", 3000));
    assert!(nodes.answer().is_ok());
    let written = nodes.now.monotonic_ms;
    nodes.ask(leader, get());
    let Ok(Response::Value { found: Some(found), .. }) = nodes.answer() else { panic!("it is there") };
    assert_eq!(found.lease.and_then(|held| held.remaining_ms), Some(3000));
    let lived = nodes.gone(leader) - written;
    assert!((3000..3050).contains(&lived), "{lived}");
    nodes.tick(10);
    let hashes: Vec<_> = nodes.list.iter().map(|node| (node.applied(), node.state_hash())).collect();
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
    let applied = nodes.list[leader].applied();
    nodes.tick(200);
    assert_eq!(nodes.list[leader].applied(), applied, "where there are no leases nothing is written");
}

#[test]
fn an_election_neither_shortens_nor_resets_what_is_left() {
    let mut nodes = Nodes::new(3);
    let first = nodes.leader();
    nodes.ask(first, held(1, b"k", 20_000));
    let written = nodes.now.monotonic_ms;
    nodes.tick(1000);
    nodes.cut.push(first);
    let second = nodes.leader();
    assert_ne!(first, second);
    assert!(nodes.has(second));
    let lived = nodes.gone(second) - written;
    assert!((20_000..20_100).contains(&lived), "{lived}");
}

#[test]
fn a_server_that_has_just_started_learns_the_time_from_a_leader_that_has_nothing_to_write() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, held(1, b"k", 60_000));
    let stamp = |nodes: &Nodes, at: usize| nodes.list[at].state.stamp_ms();
    let before = stamp(&nodes, leader);
    nodes.tick(1000);
    let behind = before + 10_000 - stamp(&nodes, (leader + 1) % 3);
    assert!(behind <= 600, "the newest stamp is {behind} ms old");
}

#[test]
fn a_leader_that_is_cut_off_ends_nothing() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, held(1, b"k", 100));
    nodes.cut.push(leader);
    nodes.tick(100);
    assert!(nodes.has(leader), "what it decides alone is not committed");
}

#[test]
fn only_a_leader_decides_what_is_over() {
    let mut nodes = Nodes::new(1);
    nodes.leader();
    let request = RequestId { token: [9; 16], learned: 0, cluster: CLUSTER };
    let last = nodes.list[0].status().last;
    nodes.ask(0, Request::Write { request, operation: Operation::Expire { leases: vec![1] } });
    assert!(matches!(nodes.answer(), Err(Refused::Invalid(_))));
    assert_eq!(nodes.list[0].status().last, last);
}

#[test]
fn leases_are_shown_with_their_keys() {
    let mut nodes = Nodes::new(1);
    nodes.leader();
    nodes.ask(0, held(1, b"k", 60_000));
    let Ok(Response::Decided(decided)) = nodes.answer() else { panic!("written") };
    let id = decided.revision;
    nodes.ask(0, Request::Leases { after: 0 });
    nodes.tick(1);
    let Ok(Response::Leases(leases)) = nodes.answer() else { panic!("leases") };
    assert_eq!((leases.leases.len(), leases.more, leases.leases[0].id), (1, false, id));
    nodes.ask(0, Request::Lease { id, after: Vec::new() });
    nodes.tick(1);
    let Ok(Response::Lease(lease)) = nodes.answer() else { panic!("a lease") };
    assert_eq!((lease.keys, lease.more, lease.lease.unwrap().own), (vec![b"k".to_vec()], false, true));
    nodes.ask(0, Request::Lease { id: id + 1, after: Vec::new() });
    nodes.tick(1);
    assert!(matches!(nodes.answer(), Ok(Response::Lease(lease)) if lease.lease.is_none()));
}

#[test]
fn under_a_full_queue_of_writes_leases_end_all_the_same() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, held(1, b"k", 500));
    assert!(nodes.answer().is_ok());
    // Four proposals are all that the core takes here, and there are always more than that.
    let mut token = 10;
    for _ in 0..60 {
        for _ in 0..8 {
            token = token % 200 + 10;
            let caller = Caller { connection: 0, request: u64::from(token) };
            let frame = RequestFrame { id: 1, deadline_ms: 1000, request: set_other(token) };
            nodes.list[leader].handle(Event::Client { caller, frame }).unwrap();
        }
        nodes.tick(1);
    }
    assert!(!nodes.has(leader));
}

/// What clients have in the queue does not go before: they take each place as it becomes free.
#[test]
fn the_end_of_leases_is_proposed_beyond_the_bound_and_once() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.ask(leader, held(1, b"k", 100));
    assert!(nodes.answer().is_ok());
    nodes.cut.extend((0..3).filter(|at| *at != leader));
    for token in 10..20 {
        nodes.ask(leader, set_other(token));
    }
    assert!(matches!(nodes.answer(), Err(Refused::Busy { .. })), "the queue is full");
    let last = nodes.list[leader].status().last;
    nodes.tick(15);
    assert_eq!(nodes.list[leader].status().last, last + 1);
}

fn set_other(token: u8) -> Request {
    let request = RequestId { token: [token; 16], learned: 0, cluster: CLUSTER };
    Request::Write { request, operation: Operation::Set { key: b"o".to_vec(), value: vec![token] } }
}
