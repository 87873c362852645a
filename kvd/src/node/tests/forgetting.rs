//! What a node decides of its log and of states that come in.

use super::*;
use crate::{
    event::Transfer,
    log::{Discard, Discarded},
    node::Keeping,
    snapshot::Head,
};
use raft::{Index, Position};

fn written(nodes: &mut Nodes, at: usize, count: u8) {
    for token in 1..=count {
        nodes.ask(at, set(token, b"v"));
        assert!(nodes.answer().is_ok());
    }
}

fn alone() -> Nodes {
    let mut nodes = Nodes::new(1);
    assert_eq!(nodes.leader(), 0);
    nodes
}

#[test]
fn the_log_goes_once_the_state_holds_it_and_then_the_answer_comes() {
    let mut nodes = alone();
    written(&mut nodes, 0, 5);
    nodes.flushes = Some(Vec::new());
    nodes.ask(0, Request::CompactLog);
    assert!(nodes.answers.is_empty() && nodes.discards.is_empty(), "the state is being written");
    let flush = nodes.flushes.as_mut().unwrap().pop().expect("a flush that is not due");
    nodes.list[0].handle(Event::Flushed(flush.run().unwrap())).unwrap();
    nodes.settle();
    let end = nodes.list[0].applied();
    let Some(Discard { to, most, .. }) = nodes.discards.pop() else { panic!("the log is told") };
    assert_eq!((to, most), (Index(end), Index(end)), "nothing stays");
    assert!(nodes.answers.is_empty());
    let position = Position::new(end - 1, 1);
    nodes.list[0].handle(Event::Discarded(Discarded { position, bytes: (900, 300) })).unwrap();
    nodes.settle();
    let expected = Response::Compacted { discarded: end - 1, freed: 600, bytes: 300 };
    assert_eq!(nodes.answer(), Ok(expected));
}

#[test]
fn a_tail_stays_for_followers_that_lag() {
    let mut nodes = alone();
    nodes.list[0].forgetting.keeping = Keeping { entries: 2, bytes: 77 };
    written(&mut nodes, 0, 5);
    let end = nodes.list[0].applied();
    nodes.tick(1100);
    let told = nodes.discards.pop().expect("a flush of age is followed by a discarding");
    assert_eq!(told, Discard { to: Index(end - 2), most: Index(end), bytes: 77 });
}

#[test]
fn wishes_are_bounded_and_end_in_time() {
    let mut nodes = alone();
    written(&mut nodes, 0, 1);
    nodes.flushes = Some(Vec::new());
    for _ in 0..64 {
        nodes.ask(0, Request::CompactLog);
        assert!(nodes.answers.is_empty());
    }
    nodes.ask(0, Request::CompactLog);
    assert!(matches!(nodes.answer(), Err(Refused::Busy { what }) if what.contains("discard the log")));
    nodes.tick(101);
    assert_eq!(nodes.answers.len(), 64);
    assert!(matches!(nodes.answer(), Err(Refused::Unavailable(_))));
}

#[test]
fn one_state_is_received_at_a_time_and_only_one_that_helps() {
    let mut nodes = Nodes::new(2);
    let leader = nodes.leader();
    let follower = 1 - leader;
    let head = |cluster, index| Head { state_format: 1, cluster, at: Position::new(index, 1) };
    let offer = |nodes: &mut Nodes, number, cluster, index| {
        nodes.taken.clear();
        let event = Event::SnapshotOffered { transfer: Transfer(number), head: head(cluster, index) };
        nodes.list[follower].handle(event).unwrap();
        nodes.settle();
        std::mem::take(&mut nodes.taken)
    };
    let old = nodes.list[follower].consensus().commit.0;
    assert_eq!(offer(&mut nodes, 1, CLUSTER, old), [(1, false)], "it brings nothing new");
    assert_eq!(offer(&mut nodes, 2, ClusterId([1; 16]), old + 9), [(2, false)], "it is another cluster's");
    assert_eq!(offer(&mut nodes, 3, CLUSTER, old + 9), [(3, true)]);
    assert_eq!(offer(&mut nodes, 4, CLUSTER, old + 10), [(4, false)], "one is coming in");
    let ended = |number| Event::SnapshotEnded { transfer: Transfer(number), received: None };
    nodes.list[follower].handle(ended(4)).unwrap();
    assert_eq!(offer(&mut nodes, 5, CLUSTER, old + 10), [(5, false)], "another's end is not its own");
    nodes.list[follower].handle(ended(3)).unwrap();
    nodes.settle();
    assert_eq!(std::mem::take(&mut nodes.taken), [(3, false)], "the sender hears that it was cut");
    assert_eq!(offer(&mut nodes, 6, CLUSTER, old + 10), [(6, true)]);
}

#[test]
fn states_that_are_sent_are_bounded_and_hold_the_log() {
    let mut nodes = alone();
    written(&mut nodes, 0, 3);
    nodes.ask(0, Request::CompactLog);
    let sent = nodes.list[0].applied();
    nodes.discards.clear();
    for session in 0..9 {
        nodes.list[0].send_snapshot(NodeId(2), session).unwrap();
    }
    assert_eq!(nodes.list[0].forgetting.sending.len(), 8);
    written(&mut nodes, 0, 9);
    nodes.ask(0, Request::CompactLog);
    let told = nodes.discards.pop().unwrap();
    assert_eq!(told.to, Index(sent), "what follows the state that is sent stays");
    assert!(told.most > told.to, "unless there is no room");
    for session in 0..8 {
        nodes.list[0].snapshot_sent(NodeId(2), session, true);
    }
    written(&mut nodes, 0, 12);
    nodes.ask(0, Request::CompactLog);
    assert_eq!(nodes.discards.pop().unwrap().to.0, nodes.list[0].applied());
}
