//! One test a sentence of chapter 4 of Ongaro's thesis (cluster membership changes), where a script does not tell it
//! better: what a server makes of what it finds, of what strangers say, and of an end at any step of a change.

#[path = "support/cluster.rs"]
mod cluster;

use std::sync::Arc;

use cluster::{Cluster, entry, hard, settings};
use raft::{
    ChangeRefusal, ConfigError, Edit, Entry, Envelope, Index, Membership, Message, NodeId, Payload, Position,
    Raft, Restored, RoleName, Term,
};

fn members(voters: &[u64], learners: &[u64]) -> Membership {
    let nodes = |ids: &[u64]| ids.iter().copied().map(NodeId).collect::<Vec<_>>();
    Membership::new(&nodes(voters), &nodes(learners)).expect("a membership")
}

fn changed(index: u64, term: u64, membership: &Membership) -> Entry {
    let payload = Payload::Membership(Arc::new(membership.clone()));
    Entry { position: Position::new(index, term), payload }
}

fn shown(raft: &Raft) -> (String, Index, bool) {
    let status = raft.status();
    (status.membership.to_string(), status.membership_at, status.membership_committed)
}

/// What it says, with a disk that answers at once.
fn said(raft: &mut Raft) -> Vec<Envelope> {
    let mut all = Vec::new();
    loop {
        let effects = raft.effects();
        if effects.is_empty() {
            return all;
        }
        if let Some(write) = effects.persist {
            raft.persisted(write.ticket);
        }
        if let Some(last) = effects.apply.last() {
            raft.applied(last.position.index);
        }
        all.extend(effects.send);
    }
}

fn hear(raft: &mut Raft, from: u64, term: u64, message: Message) -> Vec<Message> {
    raft.step(Envelope { from: NodeId(from), to: raft.status().id, term: Term(term), message });
    said(raft).into_iter().map(|envelope| envelope.message).collect()
}

fn append(previous: Position, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Append { session: 1, previous, entries, commit: Index(commit), round: 1 }
}

/// A server that is to join a cluster: it knows of nobody.
fn newcomer() -> Raft {
    let config = raft::Config { id: NodeId(9), voters: Vec::new(), ..settings(3) };
    Raft::new(config, Restored::default()).expect("a sound start")
}

#[test]
fn section_4_1_each_server_uses_the_latest_configuration_in_its_log_committed_or_not() {
    let entries = vec![entry(1, 1, "a"), changed(2, 1, &members(&[1, 2, 3], &[4])), entry(3, 1, "b")];
    let found = Restored { hard: hard(1, None), entries, ..Restored::default() };
    let mut raft = Raft::new(settings(3), found).expect("a sound start");
    assert_eq!(shown(&raft), ("[1 2 3]+[4]".into(), Index(2), false));
    hear(&mut raft, 2, 2, append(Position::new(2, 1), vec![changed(3, 2, &members(&[1, 2, 3], &[]))], 2));
    assert_eq!(shown(&raft), ("[1 2 3]".into(), Index(3), false));
    hear(&mut raft, 3, 3, append(Position::new(2, 1), vec![entry(3, 3, "c")], 3));
    assert_eq!(shown(&raft), ("[1 2 3]+[4]".into(), Index(2), true), "the one before is in effect again");
}

#[test]
fn section_4_1_the_state_keeps_the_configuration_at_its_position() {
    let at = Position::new(5, 1);
    let found = |membership| Restored {
        hard: hard(1, None),
        applied: at,
        membership,
        base: at,
        discarded: at,
        entries: vec![entry(6, 1, "a")],
    };
    let raft = Raft::new(settings(3), found(Some(members(&[1, 2], &[3])))).expect("a sound start");
    assert_eq!(shown(&raft), ("[1 2]+[3]".into(), Index(5), true));
    let raft = Raft::new(settings(3), found(None)).expect("a sound start");
    assert_eq!(shown(&raft), ("[1 2 3]".into(), Index(5), true), "where nothing was changed, the founders");
}

#[test]
fn a_state_that_forgot_the_membership_which_it_applied_is_refused() {
    let entries = vec![changed(1, 1, &members(&[1, 2, 3], &[4])), changed(2, 1, &members(&[1, 2, 3], &[]))];
    let found = |applied: u64, membership| Restored {
        hard: hard(1, None),
        applied: Position::new(applied, applied.min(1)),
        membership,
        entries: entries.clone(),
        ..Restored::default()
    };
    let why = "the membership of the state is not the last one that was applied";
    let start =
        |applied, membership| Raft::new(settings(3), found(applied, membership)).map(|raft| shown(&raft).0);
    assert_eq!(start(1, None), Err(ConfigError::Restored(why)));
    assert_eq!(start(1, Some(members(&[1, 2, 3], &[]))), Err(ConfigError::Restored(why)));
    assert_eq!(start(1, Some(members(&[1, 2, 3], &[4]))), Ok("[1 2 3]".into()));
    assert_eq!(start(2, Some(members(&[1, 2, 3], &[]))), Ok("[1 2 3]".into()));
    assert_eq!(start(0, None), Ok("[1 2 3]".into()));
}

#[test]
fn section_4_1_a_server_accepts_entries_from_a_leader_that_is_not_in_its_configuration() {
    let mut raft = newcomer();
    assert_eq!(shown(&raft), ("[]".into(), Index(0), true));
    let entries = vec![entry(1, 3, "a"), changed(2, 3, &members(&[1, 2], &[9]))];
    let answer = hear(&mut raft, 1, 3, append(Position::ZERO, entries, 1));
    assert!(matches!(answer[..], [Message::AppendReply { .. }]), "{answer:?}");
    assert_eq!(shown(&raft), ("[1 2]+[9]".into(), Index(2), false));
}

#[test]
fn section_4_1_a_server_grants_its_vote_to_a_candidate_that_is_not_in_its_configuration() {
    for mut raft in [newcomer(), Raft::new(settings(3), Restored::default()).expect("a sound start")] {
        let (last, granted) = (Position::new(1, 1), true);
        assert_eq!(hear(&mut raft, 7, 2, Message::PreVote { last }), [Message::PreVoteReply { granted }]);
        assert_eq!(
            hear(&mut raft, 7, 2, Message::Vote { last, handed: false }),
            [Message::VoteReply { granted }]
        );
    }
}

#[test]
fn a_vote_of_who_does_not_vote_elects_nobody() {
    let mut raft = Raft::new(settings(3), Restored::default()).expect("a sound start");
    for from in [7, 8, 9] {
        while raft.status().role == RoleName::Follower {
            raft.tick();
        }
        said(&mut raft);
        hear(&mut raft, from, 1, Message::PreVoteReply { granted: true });
        assert_eq!(raft.status().role, RoleName::PreCandidate);
    }
}

#[test]
fn a_server_that_knows_of_nobody_does_nothing_by_itself() {
    let mut raft = newcomer();
    for _ in 0..1000 {
        raft.tick();
    }
    assert_eq!((said(&mut raft), raft.status().role), (vec![], RoleName::Follower));
    assert_eq!(raft.change(&[Edit::Add(NodeId(9))]), Err(ChangeRefusal::NotLeader { hint: None }));
    hear(&mut raft, 1, 1, Message::Heartbeat { session: 1, commit: Index(0), round: 1 });
    assert!(hear(&mut raft, 1, 1, Message::TimeoutNow).is_empty(), "it is told to stand and does not");
}

#[test]
fn founders_are_bounded_and_contain_the_server() {
    let many = |count: usize| Raft::new(settings(count as u64), Restored::default()).err();
    assert_eq!(many(Membership::MOST), None);
    assert_eq!(many(Membership::MOST + 1), Some(ConfigError::Setting("there are too many voters")));
}

/// Chapter 4.2.2, and what others had: the leader that is removed ends at some step, for good or to come back. Whatever
/// became of the change, the cluster works, and no joint membership is left behind.
#[test]
fn section_4_2_2_a_leader_that_removes_itself_may_end_at_any_step() {
    for (founders, back, edits) in [
        (3, false, vec![Edit::Remove(NodeId(1))]),
        (3, true, vec![Edit::Demote(NodeId(1))]),
        (2, true, vec![Edit::Remove(NodeId(1))]),
        (4, false, vec![Edit::Remove(NodeId(1)), Edit::Add(NodeId(5)), Edit::Promote(NodeId(5))]),
        (2, true, vec![Edit::Remove(NodeId(1)), Edit::Add(NodeId(5)), Edit::Promote(NodeId(5))]),
    ] {
        for step in 0..40 {
            ends_at(step, founders, back, &edits);
        }
    }
}

fn ends_at(step: usize, founders: u64, back: bool, edits: &[Edit]) {
    let mut cluster = Cluster::new(founders);
    cluster.join(NodeId(5));
    cluster.elect(1);
    cluster.settle();
    cluster.raft(1).change(edits).expect("a change is begun");
    cluster.pump(NodeId(1));
    for _ in 0..step {
        let Some(envelope) = cluster.network.pop_front() else { break };
        cluster.deliver(envelope);
    }
    let lost = step.is_multiple_of(2);
    if lost {
        cluster.network.clear();
    }
    cluster.crash(NodeId(1));
    if back {
        cluster.start(NodeId(1), Index(0));
    }
    cluster.ticks(100);
    let about = format!("{edits:?} of {founders} after {step}, back {back}, lost {lost}");
    let leader = cluster.leader().unwrap_or_else(|| panic!("{about}: somebody leads"));
    let position = cluster.propose(leader, "a").unwrap_or_else(|refusal| panic!("{about}: {refusal}"));
    cluster.ticks(10);
    let status = cluster.status(leader);
    assert!(status.commit >= position.index, "{about}: {status:?}");
    assert!(status.membership_committed && !status.membership.is_joint(), "{about}: {status:?}");
    assert!(status.membership.voters().contains(&NodeId(leader)), "{about}: {status:?}");
}

/// Nothing that says who is in the cluster fells a server, whoever says it.
#[test]
fn no_membership_that_a_peer_sends_fells_a_server() {
    let odd = [members(&[7], &[]), members(&[1], &[]), members(&[2], &[1]), members(&[1, 7], &[2, 3])];
    for first in &odd {
        for second in &odd {
            let mut raft = Raft::new(settings(3), Restored::default()).expect("a sound start");
            let entries = vec![changed(1, 1, first), changed(2, 1, second)];
            hear(&mut raft, 7, 1, append(Position::ZERO, entries, 2));
            hear(&mut raft, 3, 2, append(Position::new(1, 1), vec![changed(2, 2, first)], 1));
            for _ in 0..100 {
                raft.tick();
                said(&mut raft);
            }
            hear(&mut raft, 7, 9, Message::Vote { last: Position::new(9, 8), handed: true });
        }
    }
}

#[test]
fn a_reply_of_who_is_no_member_deposes_nobody() {
    let mut cluster = Cluster::new(3);
    cluster.elect(1);
    cluster.settle();
    let term = cluster.status(1).term;
    for from in [9, 2] {
        let message = Message::HeartbeatReply { session: 1, round: 1 };
        let envelope = Envelope { from: NodeId(from), to: NodeId(1), term: term.next(), message };
        cluster.raft(1).step(envelope);
        let leads = cluster.status(1).role == RoleName::Leader;
        assert_eq!(leads, from == 9, "a member's reply of a later term ends this one");
    }
}
