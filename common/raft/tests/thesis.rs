//! One test a rule of Ongaro's thesis: Figure 2 (thesis Figure 3.1) and sections 3, 6.4, 9.6 and 10.2.1. Each drives
//! one server by hand, with no cluster to hide behind, and says the sentence it holds the server to.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{command, entry, hard, settings};
use raft::{
    AppendOutcome, Config, Effects, Entry, Envelope, Fetched, HardState, Index, Message, NodeId, Position,
    Raft, ReadId, Refusal, Restored, RoleName, Term, Ticket,
};

/// One server of three (it is 1), whose disk the test holds in hand.
struct One {
    raft: Raft,
}

impl One {
    fn new(hard: HardState, entries: Vec<Entry>) -> Self {
        Self::with(settings(3), hard, entries)
    }

    fn with(config: Config, hard: HardState, entries: Vec<Entry>) -> Self {
        let restored = Restored { hard, entries, ..Restored::default() };
        Self { raft: Raft::new(config, restored).expect("a sound start") }
    }

    fn hear(&mut self, from: u64, term: u64, message: Message) {
        self.raft.step(Envelope { from: NodeId(from), to: NodeId(1), term: Term(term), message });
    }

    /// What it asks for, with a disk that answers at once.
    fn run(&mut self) -> Effects {
        let mut all = Effects::default();
        loop {
            let effects = self.raft.effects();
            if effects.is_empty() {
                return all;
            }
            if let Some(write) = &effects.persist {
                self.raft.persisted(write.ticket);
            }
            if let Some(last) = effects.apply.last() {
                self.raft.applied(last.position.index);
            }
            all.send.extend(effects.send);
            all.apply.extend(effects.apply);
            all.reads.extend(effects.reads);
            all.failed_reads.extend(effects.failed_reads);
            all.fetch.extend(effects.fetch);
        }
    }

    fn said(&mut self) -> Vec<Message> {
        self.run().send.into_iter().map(|envelope| envelope.message).collect()
    }

    fn tick(&mut self, count: usize) {
        (0..count).for_each(|_| self.raft.tick());
    }

    /// Makes it the leader of the next term, with its first entry written.
    fn lead(&mut self) {
        while self.raft.status().role == RoleName::Follower {
            self.raft.tick();
        }
        let term = self.raft.status().term.0 + 1;
        self.hear(2, term, Message::PreVoteReply { granted: true });
        self.run();
        self.hear(2, term, Message::VoteReply { granted: true });
        self.run();
        assert_eq!(self.raft.status().role, RoleName::Leader);
    }

    fn role(&self) -> RoleName {
        self.raft.status().role
    }
}

fn append(previous: Position, entries: Vec<Entry>, commit: u64) -> Message {
    Message::Append { session: 1, previous, entries, commit: Index(commit), round: 1 }
}

fn accepted(matched: u64) -> Message {
    let outcome = AppendOutcome::Accepted { matched: Index(matched) };
    Message::AppendReply { session: 1, round: 1, outcome }
}

/// The session and round of the latest message to follower 2.
fn session(messages: &[Envelope]) -> (u64, u64) {
    let to_two = messages.iter().rev().filter(|envelope| envelope.to == NodeId(2));
    let found = to_two.filter_map(|envelope| match envelope.message {
        Message::Append { session, round, .. } | Message::Heartbeat { session, round, .. } => {
            Some((session, round))
        }
        _ => None,
    });
    found.into_iter().next().expect("a message to 2")
}

#[test]
fn figure_2_a_server_replies_false_to_a_vote_of_an_old_term() {
    let mut one = One::new(hard(5, None), vec![]);
    one.hear(2, 4, Message::Vote { last: Position::new(9, 4), handed: false });
    let sent = one.run().send;
    assert_eq!((sent[0].term, &sent[0].message), (Term(5), &Message::VoteReply { granted: false }));
}

#[test]
fn figure_2_a_server_votes_once_a_term_and_says_so_only_when_durable() {
    let mut one = One::new(hard(0, None), vec![]);
    one.hear(2, 1, Message::Vote { last: Position::ZERO, handed: false });
    let effects = one.raft.effects();
    assert_eq!(effects.send, [], "not before the disk");
    let write = effects.persist.expect("the vote is written");
    assert_eq!(write.hard, Some(hard(1, Some(2))));
    one.raft.persisted(write.ticket);
    assert_eq!(one.said(), [Message::VoteReply { granted: true }]);
    one.hear(3, 1, Message::Vote { last: Position::ZERO, handed: false });
    assert_eq!(one.said(), [Message::VoteReply { granted: false }]);
}

#[test]
fn section_3_6_1_a_vote_needs_a_log_at_least_as_up_to_date() {
    let log = || vec![entry(1, 1, ""), entry(2, 3, "")];
    for (last, granted) in
        [((9, 2), false), ((1, 3), false), ((2, 3), true), ((3, 3), true), ((1, 4), true), ((0, 0), false)]
    {
        let mut one = One::new(hard(4, None), log());
        one.hear(2, 5, Message::Vote { last: Position::new(last.0, last.1), handed: false });
        assert_eq!(one.said(), [Message::VoteReply { granted }], "{last:?}");
    }
}

#[test]
fn figure_2_an_append_is_refused_where_the_logs_do_not_match() {
    let mut one = One::new(hard(3, None), vec![entry(1, 1, ""), entry(2, 2, "")]);
    one.hear(2, 3, append(Position::new(2, 3), vec![entry(3, 3, "")], 0));
    let said = one.said();
    let Message::AppendReply { outcome: AppendOutcome::Rejected { previous, hint }, .. } = said[0] else {
        panic!("{said:?}")
    };
    assert_eq!((previous, hint), (Index(2), Position::new(1, 1)));
}

#[test]
fn figure_2_a_conflicting_entry_goes_with_all_that_follow_it() {
    let mut one = One::new(hard(3, None), vec![entry(1, 1, ""), entry(2, 2, ""), entry(3, 2, "")]);
    one.hear(2, 3, append(Position::new(1, 1), vec![entry(2, 3, "")], 0));
    one.run();
    assert_eq!(one.raft.status().last, Position::new(2, 3));
}

#[test]
fn figure_2_entries_that_match_are_kept_whatever_arrives_late() {
    let mut one = One::new(hard(1, None), vec![]);
    one.hear(2, 1, append(Position::ZERO, vec![entry(1, 1, ""), entry(2, 1, "")], 0));
    one.hear(2, 1, append(Position::ZERO, vec![entry(1, 1, "")], 0));
    assert_eq!(one.raft.status().last, Position::new(2, 1));
}

#[test]
fn figure_2_a_follower_commits_what_an_append_verified_and_no_more() {
    let mut one = One::new(hard(2, None), vec![entry(1, 1, ""), entry(2, 1, ""), entry(3, 1, "")]);
    one.hear(2, 2, append(Position::new(1, 1), vec![], 3));
    one.run();
    assert_eq!(one.raft.status().commit, Index(1));
}

#[test]
fn section_3_8_an_acceptance_waits_for_the_disk() {
    let mut one = One::new(hard(1, None), vec![]);
    one.hear(2, 1, append(Position::ZERO, vec![entry(1, 1, "")], 1));
    let effects = one.raft.effects();
    assert!(effects.send.is_empty() && effects.apply.is_empty(), "neither acknowledged nor applied");
    one.raft.persisted(effects.persist.expect("a write").ticket);
    let effects = one.raft.effects();
    assert_eq!((effects.send.len(), effects.apply.len()), (1, 1));
}

#[test]
fn a_ticket_whose_entry_was_replaced_proves_nothing_even_when_the_entry_comes_back() {
    let mut one = One::new(hard(2, None), vec![]);
    let write = |one: &mut One| one.raft.effects().persist.expect("a write").ticket;
    one.hear(2, 2, append(Position::ZERO, vec![entry(1, 2, "a")], 0));
    let first = write(&mut one);
    one.hear(3, 3, append(Position::ZERO, vec![entry(1, 3, "b")], 0));
    let second = write(&mut one);
    one.hear(2, 4, append(Position::ZERO, vec![entry(1, 2, "a")], 0));
    let third = write(&mut one);
    for (ticket, durable) in [(first, 0), (second, 0), (third, 1)] {
        one.raft.persisted(ticket);
        assert_eq!(one.raft.status().persisted, Index(durable), "{ticket}");
    }
}

#[test]
fn committed_entries_are_never_replaced_whoever_asks() {
    let mut one = One::new(hard(1, None), vec![]);
    one.hear(2, 1, append(Position::ZERO, vec![entry(1, 1, ""), entry(2, 1, "")], 2));
    one.run();
    one.hear(3, 9, append(Position::ZERO, vec![entry(1, 9, "")], 0));
    one.hear(3, 9, append(Position::new(2, 5), vec![], 0));
    assert_eq!((one.raft.status().last, one.run().send), (Position::new(2, 1), vec![]));
}

#[test]
fn figure_2_a_higher_term_makes_a_follower_of_anyone() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.hear(3, 7, Message::HeartbeatReply { session: 0, round: 0 });
    assert_eq!((one.role(), one.raft.status().term), (RoleName::Follower, Term(7)));
}

#[test]
fn a_higher_term_in_any_answer_is_not_a_grant() {
    let mut one = One::new(hard(0, None), vec![]);
    one.tick(20);
    one.hear(2, 1, Message::PreVoteReply { granted: true });
    one.run();
    one.hear(2, 9, Message::VoteReply { granted: true });
    assert_eq!(one.role(), RoleName::Follower);
}

#[test]
fn section_3_4_election_timeouts_are_spread() {
    let when = |seed: u64| {
        let mut config = settings(3);
        config.seed = seed;
        let mut one = One::with(config, hard(0, None), vec![]);
        (1..=100).find(|_| {
            one.raft.tick();
            one.role() != RoleName::Follower
        })
    };
    let times: std::collections::BTreeSet<Option<u32>> = (0..50).map(when).collect();
    assert!(times.len() > 5 && times.iter().flatten().all(|time| (10..20).contains(time)), "{times:?}");
}

#[test]
fn section_9_6_a_pre_vote_spends_nothing() {
    let mut one = One::new(hard(3, None), vec![]);
    one.tick(20);
    let effects = one.raft.effects();
    assert_eq!((effects.persist, one.raft.status().term), (None, Term(3)));
    assert!(effects.send.iter().all(|envelope| envelope.term == Term(4)));
    one.hear(2, 9, Message::PreVote { last: Position::ZERO });
    assert_eq!(
        (one.said(), one.raft.status().term),
        (vec![Message::PreVoteReply { granted: true }], Term(3))
    );
}

#[test]
fn section_4_2_3_who_hears_a_leader_ignores_candidates() {
    let mut one = One::new(hard(1, None), vec![]);
    one.hear(2, 1, append(Position::ZERO, vec![], 0));
    one.run();
    one.hear(3, 5, Message::Vote { last: Position::new(9, 4), handed: false });
    assert_eq!((one.run().send, one.raft.status().term), (vec![], Term(1)));
    one.tick(9);
    one.hear(3, 5, Message::Vote { last: Position::new(9, 4), handed: false });
    assert_eq!(one.said(), [], "the shortest timeout has not passed");
}

#[test]
fn section_6_2_a_leader_without_a_majority_gives_up() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.tick(20);
    assert_eq!(one.role(), RoleName::Follower);
}

#[test]
fn section_10_2_1_a_leader_sends_before_and_counts_itself_after_its_disk() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.raft.propose(command("a")).unwrap();
    one.tick(3);
    let effects = one.raft.effects();
    let (session, round) = session(&effects.send);
    let outcome = AppendOutcome::Accepted { matched: Index(2) };
    one.hear(2, 1, Message::AppendReply { session, round, outcome });
    assert_eq!(one.raft.status().commit, Index(1), "one disk is no majority");
    one.raft.persisted(effects.persist.expect("a write").ticket);
    assert_eq!(one.raft.status().commit, Index(2));
}

#[test]
fn answers_of_another_session_say_nothing() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.hear(2, 1, accepted(1));
    assert_eq!(one.raft.status().commit, Index(0));
}

#[test]
fn section_3_6_2_only_entries_of_the_own_term_are_committed_by_counting() {
    let mut one = One::new(hard(2, None), vec![entry(1, 1, ""), entry(2, 2, "")]);
    one.lead();
    one.tick(3);
    let (session, round) = session(&one.run().send);
    let answer = |matched| {
        let outcome = AppendOutcome::Accepted { matched: Index(matched) };
        Message::AppendReply { session, round, outcome }
    };
    one.hear(2, 3, answer(2));
    assert_eq!(one.raft.status().commit, Index(0), "Figure 8");
    one.hear(2, 3, answer(3));
    assert_eq!(one.raft.status().commit, Index(3));
}

#[test]
fn section_6_4_a_read_waits_for_a_round_that_began_after_it_came() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.tick(3);
    let (session, old) = session(&one.run().send);
    one.hear(
        2,
        1,
        Message::AppendReply { session, round: old, outcome: AppendOutcome::Accepted { matched: Index(1) } },
    );
    one.run();
    one.raft.read(ReadId(1)).unwrap();
    let (_, fresh) = self::session(&one.run().send);
    assert!(fresh > old);
    one.hear(2, 1, Message::HeartbeatReply { session, round: old });
    assert_eq!(one.run().reads, []);
    one.hear(2, 1, Message::HeartbeatReply { session, round: fresh + 1 });
    assert_eq!(one.run().reads, [], "a round that never was");
    one.hear(2, 1, Message::HeartbeatReply { session, round: fresh });
    assert_eq!(one.run().reads, [ReadId(1)]);
}

#[test]
fn section_6_4_no_read_before_the_first_commit_of_the_term() {
    let mut one = One::new(hard(0, None), vec![]);
    one.lead();
    one.raft.read(ReadId(1)).unwrap();
    one.tick(3);
    let (session, round) = session(&one.run().send);
    one.hear(2, 1, Message::HeartbeatReply { session, round });
    assert_eq!(one.run().reads, []);
}

#[test]
fn rounds_and_questions_are_numbered_anew_after_a_restart() {
    let round = |seed: u64| {
        let mut config = settings(3);
        config.seed = seed;
        let mut one = One::with(config, hard(0, None), vec![]);
        one.lead();
        one.tick(3);
        session(&one.run().send).1
    };
    assert_ne!(round(1), round(2));
}

#[test]
fn a_late_or_wrong_fetch_is_ignored() {
    let mut config = settings(3);
    config.cache_bytes = 0;
    let mut one = One::with(config, hard(0, None), vec![]);
    one.lead();
    let fetch = raft::Fetch { peer: NodeId(2), from: Index(1), to: Index(1), max_bytes: 1 };
    one.raft.fetched(Fetched { fetch, previous: Position::ZERO, entries: vec![entry(1, 1, "")] });
    assert_eq!(one.run().send, []);
}

#[test]
fn bounds_refuse_instead_of_growing() {
    let mut config = settings(3);
    config.max_uncommitted_entries = 2;
    config.max_reads = 1;
    let mut one = One::with(config, hard(0, None), vec![]);
    one.lead();
    one.raft.propose(command("a")).unwrap();
    assert_eq!(one.raft.propose(command("b")), Err(Refusal::Busy));
    one.raft.read(ReadId(1)).unwrap();
    assert_eq!(one.raft.read(ReadId(2)), Err(Refusal::Busy));
}

#[test]
fn nothing_a_peer_says_fells_a_server() {
    let far = u64::MAX;
    let at = Position::new(far, far);
    let hole = vec![entry(5, 1, ""), entry(9, 1, "")];
    let messages = [
        Message::Append { session: far, previous: at, entries: vec![], commit: Index(far), round: far },
        append(Position::new(4, 1), hole, far),
        append(Position::new(far - 1, 1), vec![entry(far, 1, "")], far),
        append(Position::ZERO, vec![entry(1, far, "")], far),
        accepted(far),
        Message::AppendReply {
            session: far,
            round: far,
            outcome: AppendOutcome::Rejected { previous: Index(far), hint: at },
        },
        Message::Heartbeat { session: far, commit: Index(far), round: far },
        Message::HeartbeatReply { session: far, round: far },
        Message::Vote { last: at, handed: false },
        Message::VoteReply { granted: true },
        Message::PreVote { last: at },
        Message::PreVoteReply { granted: true },
        Message::ReadIndex { id: far },
        Message::ReadIndexReply { id: far, index: Some(Index(far)) },
    ];
    for leads in [false, true] {
        for (from, term) in [(2, 0), (2, 1), (2, 2), (2, far), (9, 1), (1, 1), (0, 1)] {
            for message in &messages {
                let mut one = One::new(hard(0, None), vec![]);
                if leads {
                    one.lead();
                }
                one.hear(from, term, message.clone());
                one.run();
                one.hear(from, term, message.clone());
                one.run();
            }
        }
    }
}

#[test]
fn a_refusal_of_what_was_never_sent_does_not_fell_a_leader_even_in_its_session() {
    for previous in [2, 1 << 62, u64::MAX] {
        let mut one = One::new(hard(0, None), vec![]);
        one.lead();
        one.tick(3);
        let (session, round) = session(&one.run().send);
        let outcome =
            AppendOutcome::Rejected { previous: Index(previous), hint: Position::new(u64::MAX, u64::MAX) };
        one.hear(2, 1, Message::AppendReply { session, round, outcome });
        one.run();
        assert_eq!(one.role(), RoleName::Leader);
    }
}

#[test]
fn section_9_6_a_pre_vote_of_another_term_does_not_count() {
    for term in [2, 3, 5] {
        let mut one = One::new(hard(3, None), vec![]);
        one.tick(20);
        one.hear(2, term, Message::PreVoteReply { granted: true });
        assert_eq!((one.role(), one.raft.status().term), (RoleName::PreCandidate, Term(3)), "{term}");
    }
}

#[test]
fn a_start_from_nonsense_is_refused() {
    let mut stranger = settings(3);
    stranger.id = NodeId(8);
    assert!(Raft::new(stranger, Restored::default()).is_err());
    let holed = Restored { hard: hard(1, None), entries: vec![entry(2, 1, "")], ..Restored::default() };
    assert!(Raft::new(settings(3), holed).is_err());
    let ahead = Restored { applied: Position::new(1, 1), hard: hard(1, None), ..Restored::default() };
    assert!(Raft::new(settings(3), ahead).is_err());
    let future = Restored { hard: hard(1, None), entries: vec![entry(1, 2, "")], ..Restored::default() };
    assert!(Raft::new(settings(3), future).is_err());
    assert_eq!(Ticket::default(), Ticket(0));
}
