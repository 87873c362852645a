//! Which state a node hands out as a backup, and when.

use super::*;
use crate::node::saving::MOST_WAITING;

fn written(nodes: &mut Nodes, at: usize, token: u8) {
    nodes.ask(at, set(token, b"v"));
    assert!(nodes.answer().is_ok());
}

#[test]
fn a_backup_holds_what_was_acknowledged_and_waits_for_the_disk() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    written(&mut nodes, leader, 1);
    let follower = (leader + 1) % 3;
    nodes.flushes = Some(Vec::new());
    nodes.ask(follower, Request::Save);
    nodes.tick(5);
    assert!(nodes.saved.is_empty(), "the state is being written");
    let (applied, flush) = (nodes.list[follower].applied(), nodes.flushes.as_mut().unwrap().pop());
    let flush = flush.expect("a flush that is not due");
    written(&mut nodes, leader, 2);
    nodes.list[follower].handle(Event::Flushed(flush.run().unwrap())).unwrap();
    nodes.settle();
    assert_eq!(nodes.saved, [applied], "one commit, and what came later is not half in it");
    nodes.flushes = None;
    nodes.ask(follower, Request::Save);
    nodes.tick(5);
    assert_eq!(nodes.saved.pop(), Some(nodes.list[follower].applied()), "a flush begins for it");
    let flushed = nodes.list[follower].applied();
    nodes.ask(follower, Request::Save);
    nodes.tick(5);
    assert_eq!(nodes.saved.pop(), Some(flushed), "and none where all is on disk");
}

#[test]
fn who_cannot_know_what_is_newest_hands_out_nothing() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    nodes.cut.push(leader);
    nodes.ask_within(leader, Request::Save, 50);
    nodes.tick(40);
    assert!(nodes.answer().is_err() && nodes.saved.is_empty());
}

#[test]
fn waiting_is_bounded_and_ends_in_time() {
    let mut nodes = Nodes::new(1);
    nodes.leader();
    nodes.flushes = Some(Vec::new());
    written(&mut nodes, 0, 1);
    for _ in 0..MOST_WAITING {
        nodes.ask_within(0, Request::Save, 100);
    }
    assert!(nodes.answers.is_empty());
    nodes.ask_within(0, Request::Save, 100);
    assert!(matches!(nodes.answer(), Err(Refused::Busy { .. })));
    nodes.tick(11);
    assert_eq!(nodes.answers.len(), MOST_WAITING);
    assert!(matches!(nodes.answer(), Err(Refused::Unavailable(_))) && nodes.saved.is_empty());
}
