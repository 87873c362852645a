//! One test a sentence of chapter 5 of Ongaro's thesis (log compaction), as far as it is the core's to keep. Each drives
//! one server by hand; what several servers make of it stands in `scripts/snapshot`.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{entry, hard, settings};
use raft::{
    AppendOutcome, Effects, Entry, Envelope, HardState, Index, Message, NodeId, Position, Raft, Restored,
    RoleName, Term,
};

/// One server of three (it is 1), which holds these entries and has applied nothing.
fn server(hard: HardState, entries: Vec<Entry>) -> Raft {
    let config = raft::Config { cache_bytes: 0, ..settings(3) };
    let restored = Restored { hard, entries, ..Restored::default() };
    Raft::new(config, restored).expect("a sound start")
}

fn hear(raft: &mut Raft, term: u64, message: Message) {
    raft.step(Envelope { from: NodeId(2), to: NodeId(1), term: Term(term), message });
}

fn append(raft: &mut Raft, previous: Position, entries: Vec<Entry>, commit: u64) {
    let message = Message::Append { session: 1, previous, entries, commit: Index(commit), round: 1 };
    hear(raft, 3, message);
}

/// What it wants done, with a disk that answers at once.
fn run(raft: &mut Raft) -> Effects {
    let mut all = Effects::default();
    loop {
        let effects = raft.effects();
        if effects.is_empty() {
            return all;
        }
        if let Some(write) = effects.persist {
            raft.persisted(write.ticket);
            all.persist = Some(write);
        }
        if let Some(last) = effects.apply.last() {
            raft.applied(last.position.index);
        }
        all.send.extend(effects.send);
        all.apply.extend(effects.apply);
    }
}

fn outcome(effects: &Effects) -> AppendOutcome {
    match effects.send.last().map(|envelope| &envelope.message) {
        Some(Message::AppendReply { outcome, .. }) => *outcome,
        other => panic!("{other:?} is no answer to an append"),
    }
}

fn log(terms: &[u64]) -> Vec<Entry> {
    (1..).zip(terms).map(|(index, &term)| entry(index, term, "old")).collect()
}

fn install(raft: &mut Raft, at: Position) {
    assert!(raft.accepts_snapshot(at), "{at} is accepted");
    raft.snapshot_installed(at, None);
}

#[test]
fn figure_5_3_entries_that_follow_an_entry_with_the_snapshots_index_and_term_are_retained() {
    let mut raft = server(hard(3, None), log(&[1, 1, 2, 3]));
    install(&mut raft, Position::new(3, 2));
    let status = raft.status();
    assert_eq!((status.last, status.persisted), (Position::new(4, 3), Index(4)));
    assert_eq!((status.commit, status.applied), (Index(3), Index(3)));
    assert_eq!(run(&mut raft).persist, None, "the disk's log stays as well");
}

#[test]
fn figure_5_3_otherwise_the_entire_log_is_discarded() {
    for old in [log(&[1, 1, 1, 1, 1, 1]), log(&[1, 1]), vec![]] {
        let mut raft = server(hard(3, None), old);
        install(&mut raft, Position::new(3, 2));
        let status = raft.status();
        assert_eq!((status.last, status.persisted), (Position::new(3, 2), Index(3)));
        assert_eq!((status.commit, status.applied, status.discarded), (Index(3), Index(3), Index(3)));
        let write = run(&mut raft).persist.expect("the disk is told");
        assert_eq!((write.restart, write.entries), (Some(Position::new(3, 2)), vec![]));
    }
}

#[test]
fn section_5_1_the_entry_after_the_snapshot_is_checked_against_the_snapshots_last_index_and_term() {
    let mut raft = server(hard(3, None), vec![]);
    install(&mut raft, Position::new(3, 2));
    run(&mut raft);
    append(&mut raft, Position::new(3, 1), vec![entry(4, 3, "x")], 4);
    assert!(run(&mut raft).send.is_empty(), "what contradicts the state is not believed");
    append(&mut raft, Position::new(4, 3), vec![entry(5, 3, "z")], 4);
    let hint = Position::new(3, 2);
    assert_eq!(outcome(&run(&mut raft)), AppendOutcome::Rejected { previous: Index(4), hint });
    append(&mut raft, Position::new(3, 2), vec![entry(4, 3, "y")], 4);
    let effects = run(&mut raft);
    assert_eq!(outcome(&effects), AppendOutcome::Accepted { matched: Index(4) });
    assert_eq!(effects.apply, vec![entry(4, 3, "y")]);
}

#[test]
fn section_5_1_a_snapshot_of_a_prefix_of_the_log_changes_nothing() {
    let mut raft = server(hard(3, None), vec![]);
    append(&mut raft, Position::ZERO, log(&[1, 1, 2, 3]), 4);
    run(&mut raft);
    for index in [1, 3, 4] {
        assert!(!raft.accepts_snapshot(Position::new(index, 2)), "{index} is committed here");
    }
    assert_eq!(raft.status().last, Position::new(4, 3));
}

#[test]
fn section_5_1_a_vote_compares_with_the_snapshots_last_entry_when_the_log_is_empty() {
    let mut raft = server(hard(3, None), vec![]);
    install(&mut raft, Position::new(3, 2));
    run(&mut raft);
    hear(&mut raft, 4, Message::Vote { last: Position::new(9, 1), handed: false });
    let refused = run(&mut raft).send;
    assert_eq!(
        refused.last().map(|envelope| &envelope.message),
        Some(&Message::VoteReply { granted: false })
    );
    hear(&mut raft, 5, Message::Vote { last: Position::new(3, 2), handed: false });
    let granted = run(&mut raft).send;
    assert_eq!(granted.last().map(|envelope| &envelope.message), Some(&Message::VoteReply { granted: true }));
}

#[test]
fn nothing_happens_to_log_and_commit_while_a_state_is_made_current() {
    let mut raft = server(hard(3, None), log(&[1, 1]));
    append(&mut raft, Position::new(2, 1), vec![], 1);
    assert_eq!(run(&mut raft).apply.len(), 1);
    assert!(raft.accepts_snapshot(Position::new(4, 2)));
    assert!(!raft.accepts_snapshot(Position::new(5, 2)), "one at a time");
    append(&mut raft, Position::new(2, 1), vec![entry(3, 3, "x")], 3);
    hear(&mut raft, 3, Message::Heartbeat { session: 1, commit: Index(2), round: 2 });
    for _ in 0..100 {
        raft.tick();
    }
    let effects = run(&mut raft);
    assert_eq!((effects.persist, effects.apply.len()), (None, 0));
    let answers = effects.send.iter().map(|envelope| &envelope.message);
    assert!(answers.eq([&Message::HeartbeatReply { session: 1, round: 2 }]), "it still hears its leader");
    let status = raft.status();
    assert_eq!((status.role, status.commit, status.last.index), (RoleName::Follower, Index(1), Index(2)));
    raft.snapshot_installed(Position::new(4, 2), None);
    assert_eq!(raft.status().applied, Index(4));
}

#[test]
fn a_write_under_way_proves_nothing_of_a_log_that_begins_anew() {
    let mut raft = server(hard(3, None), vec![]);
    append(&mut raft, Position::ZERO, log(&[1, 1, 1, 1, 1]), 0);
    let old = raft.effects().persist.expect("a write");
    install(&mut raft, Position::new(3, 2));
    raft.persisted(old.ticket);
    assert_eq!(raft.status().persisted, Index(3));
    let effects = raft.effects();
    assert!(effects.send.is_empty(), "the acknowledgement of a log that is gone stays unsaid");
    assert_eq!(effects.persist.and_then(|write| write.restart), Some(Position::new(3, 2)));
}

#[test]
fn a_state_of_a_later_term_than_ours_is_refused() {
    let mut raft = server(hard(3, None), vec![]);
    assert!(!raft.accepts_snapshot(Position::new(4, 4)));
    assert!(!raft.accepts_snapshot(Position::new(1 << 62, 2)));
    assert!(raft.accepts_snapshot(Position::new(4, 3)));
}

#[test]
fn a_state_waits_until_the_term_is_on_disk() {
    let mut raft = server(hard(3, None), vec![]);
    let previous = Position::ZERO;
    let append = Message::Append { session: 1, previous, entries: vec![], commit: Index(0), round: 1 };
    hear(&mut raft, 4, append);
    assert!(!raft.accepts_snapshot(Position::new(4, 4)), "term 4 is only in memory");
    run(&mut raft);
    assert!(raft.accepts_snapshot(Position::new(4, 4)));
}
