//! Clusters, changes of them, and what is said of each.

use std::time::Duration;

use client::EndpointError;
use protocol::Member;

use super::*;

/// A voter that keeps up.
pub(crate) fn seat(id: u64) -> Seat {
    Seat {
        id,
        name: format!("n{id}"),
        address: format!("h:{id}"),
        part: Part::Voter,
        reachable: true,
        matched: Some(100),
        lag: Some(0),
        leads: id == 1,
    }
}

fn late(id: u64) -> Seat {
    Seat { reachable: false, ..seat(id) }
}

/// So many voters, of which the last ones are late.
fn roll(voters: u64, dead: u64) -> Roll {
    let seats = (1..=voters).map(|id| if id > voters - dead { late(id) } else { seat(id) });
    Roll { seats: seats.collect(), changing: false, cluster: ClusterId([0x7f; 16]), committed: 100 }
}

fn removing(voters: u64, dead: u64, id: u64) -> Plan {
    let roll = roll(voters, dead);
    Plan::of("prod", &roll.seats, &roll.without(id))
}

#[test]
fn what_would_stop_writes_is_refused() {
    let plan = removing(3, 1, 1);
    assert_eq!(plan.line(), "Plan on prod: voters 3→2, quorum 2→2, tolerates 0→0. n3 does not keep up.");
    assert_eq!(
        plan.danger().unwrap(),
        "of 2 voters only 1 would keep up and 2 are needed: n3 does not keep up; writes would stop"
    );
    let failure = plan.refused(&plan.danger().unwrap());
    assert_eq!((failure.exit, failure.code), (Exit::Refused, "KV-0850"));
    assert!(failure.hint.unwrap().ends_with("--force --confirm prod"));
}

#[test]
fn what_costs_a_failure_is_refused_only_where_somebody_is_late() {
    assert_eq!(removing(3, 0, 1).danger(), None, "whoever wants two voters gets them");
    assert_eq!(removing(3, 0, 1).cells(), ["voters 3→2", "quorum 2→2", "tolerates 1→0"]);
    assert_eq!(
        removing(5, 1, 4).danger().unwrap(),
        "n5 does not keep up: the cluster would bear 0 failures more and not 1 as it does now"
    );
    assert_eq!(removing(5, 1, 5).danger(), None, "who is late may go");
    assert_eq!(removing(3, 1, 3).danger(), None);
    assert_eq!(removing(4, 1, 3).danger(), None, "four bear no more with one late than three");
}

#[test]
fn a_learner_counts_when_it_is_promoted_and_not_before() {
    let learner = |seat: Seat| Seat { part: Part::Learner, ..seat };
    let with = |seat: Seat| Roll { seats: roll(3, 0).with(seat), ..roll(3, 0) };
    for (promoted, refused) in
        [(seat(4), false), (late(4), true), (Seat { lag: Some(1025), ..seat(4) }, true)]
    {
        let roll = with(learner(promoted.clone()));
        let plan = Plan::of("prod", &roll.seats, &roll.with(promoted));
        assert_eq!(plan.danger().is_some(), refused, "{plan:?}");
    }
    let two = Roll { seats: roll(3, 1).with(learner(late(4))), ..roll(3, 1) };
    assert_eq!(
        Plan::of("prod", &two.seats, &Roll { seats: two.without(3), ..two.clone() }.with(late(4))).danger(),
        Some("n4 has not caught up: writes would wait for it".to_owned()),
        "though it costs no failure"
    );
    let roll = with(learner(seat(4)));
    let plan = Plan::of("prod", &roll.seats, &roll.with(seat(4)));
    assert!(plan.line().ends_with("tolerates 1→1. An even count tolerates no more failures: add one more."));
    assert_eq!(Plan::of("prod", &roll.seats, &roll.without(4)).cells()[0], "voters 3→3");
    assert!(Seat { lag: Some(1024), ..seat(4) }.keeps_up());
    let empty = Seat { matched: Some(0), ..seat(4) };
    assert!(!empty.keeps_up(), "the leader has heard nothing of it, however little there is");
}

#[test]
fn the_plan_for_programs() {
    let want = json!({"voters": [5, 4], "quorum": [3, 3], "tolerates": [1, 0], "late": ["n5"],
                      "refused": removing(5, 1, 4).danger()});
    assert_eq!(removing(5, 1, 4).value(), want);
}

fn view(id: u64, change: impl FnOnce(&mut NodeStatus)) -> NodeView {
    let part = |id| if id == 4 { Part::Learner } else { Part::Voter };
    let member = |id| Member { id, name: format!("n{id}"), address: format!("h:{id}"), part: part(id) };
    let members = (1..=4).map(member).collect();
    let mut status = NodeStatus {
        id,
        term: 4,
        leader: Some(2),
        committed: 100,
        last: 90,
        members,
        ..NodeStatus::default()
    };
    change(&mut status);
    NodeView {
        address: format!("h:{id}"),
        name: None,
        id: Some(id),
        rtt: Duration::ZERO,
        skew_ms: None,
        status: Ok(status),
    }
}

#[test]
fn the_leader_says_who_has_what() {
    let leader = view(2, |status| {
        (status.role, status.last, status.matched) = (Role::Leader, 110, vec![(1, 100), (3, 40), (4, 25)]);
    });
    let dead = NodeView { status: Err(EndpointError::Silent), ..view(3, |_| {}) };
    let roll = Roll::of(&[view(1, |status| status.applied = 200), leader, dead, view(4, |_| {})]).unwrap();
    let told: Vec<_> =
        roll.seats.iter().map(|seat| (seat.id, seat.reachable, seat.matched, seat.lag)).collect();
    assert_eq!(
        told,
        [
            (1, true, Some(100), Some(0)),
            (2, true, Some(110), Some(0)),
            (3, false, Some(40), Some(60)),
            (4, true, Some(25), Some(75))
        ]
    );
    assert_eq!(roll.get(4).unwrap().progress(), Some(0.25));
    assert!(roll.get(2).unwrap().leads);
    for node in ["n4", "4", "h:4"] {
        assert_eq!(roll.find(node).unwrap().id, 4);
    }
    let unknown = roll.find("n9").unwrap_err();
    assert_eq!((unknown.code, unknown.hint.as_deref()), ("KV-0206", Some("there are: n1, n2, n3, n4")));
}

#[test]
fn an_address_is_one_members_alone() {
    let roll = roll(3, 1);
    let code = |id, address| roll.check_address(id, address).map_err(|failure| failure.code);
    assert_eq!((code(3, "h:9"), code(3, "h:3")), (Ok(()), Ok(())));
    assert_eq!(code(1, "h:3"), Err("KV-0851"), "though nobody answers there now");
}

#[test]
fn who_is_no_member_is_not_believed() {
    let joins = view(9, |status| {
        status.members.clear();
        status.term = 90;
    });
    let removed = view(8, |status| status.term = 90);
    let roll = Roll::of(&[joins, view(1, |_| {}), removed]).unwrap();
    assert_eq!((roll.seats.len(), roll.get(1).unwrap().matched), (4, Some(90)));
    assert!(Roll::of(&[]).is_err());
}
