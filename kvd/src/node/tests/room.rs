//! What a node does whose disk has no room.

use super::*;
use crate::event::Notice;

impl Nodes {
    /// The log of a node finds no room, or some.
    fn log_full(&mut self, at: usize, full: bool) {
        self.list[at].handle(Event::LogFull(full)).unwrap();
        self.settle();
    }
}

#[test]
fn a_leader_without_room_leaves_leading_at_once_and_comes_back() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.slow_disk = Some(leader);
    nodes.ask(leader, set(1, b"v"));
    nodes.log_full(leader, true);
    assert!(!nodes.list[leader].raft.is_leader(), "it leads no more");
    assert!(matches!(nodes.answers.first(), Some((_, ResponseFrame { result: Err(Refused::Lost), .. }))));
    assert!(nodes.list[leader].status().trouble.starts_with("disk full"));
    assert_eq!(nodes.notices.first(), Some(&Notice::Full { led: true, log: true }));
    let next = nodes.leader();
    assert_ne!(next, leader, "another is elected");
    nodes.answers.clear();
    nodes.ask(next, set(2, b"w"));
    assert!(nodes.answer().is_ok(), "the others go on");
    // Reads: stale ones here, linearizable ones at the leader.
    nodes.tick(10);
    nodes.ask(leader, get());
    let id = nodes.list[next].members.me().0;
    assert!(matches!(nodes.answer(), Err(Refused::NotLeader { leader: Some(to), .. }) if to == id));
    let stale = Request::Get { key: b"k".to_vec(), consistency: Consistency::Stale, without_value: false };
    nodes.ask(leader, stale);
    assert!(nodes.answer().is_ok());
    // It tries again, at a bounded rate, and never stands meanwhile.
    nodes.cut = vec![next];
    nodes.tick(200);
    assert!(nodes.list.iter().all(|node| !node.raft.is_leader() || node.members.me().0 == id));
    assert_eq!(nodes.retries, [leader], "the next try comes after the answer to the last");
    nodes.log_full(leader, true);
    nodes.tick(19);
    assert_eq!(nodes.retries.len(), 1);
    nodes.tick(1);
    assert_eq!(nodes.retries.len(), 2);
    // There is room again.
    nodes.slow_disk = None;
    for (at, persist) in std::mem::take(&mut nodes.held) {
        nodes.list[at].handle(Event::Persisted(persist.ticket)).unwrap();
    }
    nodes.log_full(leader, false);
    assert_eq!(nodes.list[leader].status().trouble, "");
    assert!(matches!(nodes.notices.last(), Some(Notice::Room { after_ms }) if *after_ms >= 2000));
    nodes.cut = Vec::new();
    let leads = nodes.leader();
    nodes.ask(leads, set(3, b"x"));
    assert!(nodes.answer().is_ok());
    nodes.tick(20);
    assert_eq!(nodes.list[leader].applied(), nodes.list[leads].applied(), "and it has caught up");
}

#[test]
fn a_node_that_is_alone_leads_on_and_refuses_writes_by_name() {
    let mut nodes = Nodes::new(1);
    let leader = nodes.leader();
    nodes.log_full(leader, true);
    nodes.ask(leader, set(1, b"v"));
    assert!(matches!(nodes.answer(), Err(Refused::Unavailable(why)) if why.contains("full")));
    nodes.ask(leader, get());
    assert!(nodes.answer().is_ok(), "reads go on");
    nodes.log_full(leader, false);
    nodes.ask(leader, set(1, b"v"));
    assert!(nodes.answer().is_ok());
}

#[test]
fn a_state_without_room_is_as_bad_as_a_log_and_both_must_have_some() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.list[leader].handle(Event::StateFull(true)).unwrap();
    nodes.settle();
    assert!(!nodes.list[leader].raft.is_leader());
    nodes.log_full(leader, true);
    nodes.log_full(leader, false);
    assert!(nodes.list[leader].status().trouble.contains("for the state"));
    nodes.list[leader].handle(Event::StateFull(false)).unwrap();
    nodes.settle();
    assert_eq!(nodes.list[leader].status().trouble, "");
    assert_eq!(nodes.notices.len(), 2, "one that there is none, one that there is some");
}

#[test]
fn a_leader_whose_disk_does_not_answer_says_so_when_it_gives_up() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.slow_disk = Some(leader);
    nodes.ask(leader, set(1, b"v"));
    nodes.tick(39);
    assert!(nodes.notices.is_empty() && nodes.list[leader].raft.is_leader());
    nodes.tick(2);
    assert!(!nodes.list[leader].raft.is_leader());
    assert_eq!(nodes.notices, [Notice::Hangs]);
}
