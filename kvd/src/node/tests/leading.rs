//! What a node tells of leadership that is to be handed over.

use protocol::{MemberChange, MemberEdit};

use super::*;

fn drain(undo: bool) -> Request {
    Request::Drain { undo }
}

/// Three nodes of which none takes what it is handed; returns who leads.
fn nobody_takes_over() -> (Nodes, usize) {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    for follower in (0..3).filter(|at| *at != leader) {
        nodes.ask(follower, drain(false));
        assert!(matches!(nodes.answer(), Ok(Response::Leads { .. })), "a follower is drained at once");
    }
    (nodes, leader)
}

#[test]
fn whoever_asks_for_a_hand_over_that_fails_hears_so_and_the_leader_is_as_willing_as_before() {
    let (mut nodes, leader) = nobody_takes_over();
    nodes.ask(leader, drain(false));
    nodes.ask(leader, drain(false));
    nodes.ask(leader, Request::Transfer { to: None });
    assert!(nodes.answers.is_empty(), "they wait");
    assert!(nodes.list[leader].status().drained);
    nodes.tick(25);
    assert_eq!(nodes.answers.len(), 3);
    for _ in 0..3 {
        assert!(matches!(nodes.answer(), Err(Refused::Unavailable(why)) if why.contains("leads on")));
    }
    assert!(!nodes.list[leader].status().drained, "it leads on, as willing as it was");
}

#[test]
fn a_drain_that_is_undone_stays_undone_whatever_comes_of_it() {
    let (mut nodes, leader) = nobody_takes_over();
    nodes.ask(leader, drain(false));
    nodes.ask(leader, drain(true));
    assert!(matches!(nodes.answer(), Ok(Response::Leads { .. })));
    nodes.tick(25);
    assert!(!nodes.list[leader].status().drained);
}

#[test]
fn a_write_that_comes_meanwhile_is_held_and_then_done() {
    let (mut nodes, leader) = nobody_takes_over();
    nodes.ask(leader, Request::Transfer { to: None });
    nodes.ask(leader, set(1, b"v"));
    assert!(nodes.answers.is_empty());
    nodes.tick(25);
    assert!(matches!(nodes.answer(), Ok(Response::Written { .. })));
}

#[test]
fn a_write_that_comes_meanwhile_is_sent_on_to_the_successor() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    let to = (leader + 1) % 3;
    nodes.slow_disk = Some(to);
    nodes.ask(leader, Request::Transfer { to: Some(to as u64 + 1) });
    nodes.ask(leader, set(1, b"v"));
    assert!(nodes.answers.is_empty(), "its vote for itself is not on its disk");
    nodes.slow_disk = None;
    for (at, persist) in std::mem::take(&mut nodes.held) {
        nodes.list[at].handle(Event::Persisted(persist.ticket)).unwrap();
    }
    nodes.settle();
    let results: Vec<_> =
        std::mem::take(&mut nodes.answers).into_iter().map(|(_, frame)| frame.result).collect();
    let successor = Some(to as u64 + 1);
    assert!(
        results
            .iter()
            .any(|result| matches!(result, Ok(Response::Leads { leader, .. }) if *leader == successor))
    );
    assert!(
        results
            .iter()
            .any(|result| matches!(result, Err(Refused::NotLeader { leader, .. }) if *leader == successor))
    );
}

/// Who gives a change less time than it takes to see whether it is safe is told so, and not that there is no majority.
#[test]
fn a_change_of_members_says_where_it_had_no_time() {
    let mut nodes = Nodes::new(3);
    let leader = nodes.leader();
    let change = MemberChange { edits: vec![MemberEdit::Remove((leader as u64 + 1) % 3 + 1)], force: false };
    nodes.ask_within(leader, Request::ChangeMembers(change), 50);
    nodes.tick(10);
    let Err(Refused::Unavailable(why)) = nodes.answer() else { panic!("it is refused") };
    assert!(why.contains("--timeout") && why.contains("--force"), "{why}");
}
