//! One server among peers that say anything, members of its cluster or not, about the members too: nothing fells it, and
//! it keeps its own promises, which the core asserts around every step.
//!
//! A failing seed is printed; `talk(seed)` repeats it exactly. (`common/fuzz` does the same with inputs that coverage
//! guides, through the bytes of frames and without memberships.)

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/weather.rs"]
mod weather;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use cluster::{command, settings};
use raft::{
    AppendOutcome, Edit, Entry, Envelope, Fetched, HardState, Index, Membership, Message, NodeId, Payload,
    Persist, Position, Raft, Restored, RoleName, Term,
};
use weather::Dice;

/// The server, with the disk and the state that it believes in.
struct Listener {
    raft: Raft,
    dice: Dice,
    hard: HardState,
    entries: Vec<Entry>,
    pending: VecDeque<Persist>,
    /// What the state has for good.
    applied: usize,
    given: usize,
    /// Session and round that it told each.
    told: BTreeMap<NodeId, (u64, u64)>,
    starts: u64,
    led: usize,
    changes: usize,
}

fn start(starts: u64, restored: Restored) -> Raft {
    let config = raft::Config { seed: starts, cache_bytes: 0, max_append_entries: 3, ..settings(3) };
    Raft::new(config, restored).expect("it starts from what its disk holds")
}

impl Listener {
    fn new(seed: u64) -> Self {
        Self {
            raft: start(1, Restored::default()),
            dice: Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1),
            hard: HardState::default(),
            entries: Vec::new(),
            pending: VecDeque::new(),
            applied: 0,
            given: 0,
            told: BTreeMap::new(),
            starts: 1,
            led: 0,
            changes: 0,
        }
    }

    fn near(&mut self, middle: u64) -> u64 {
        (middle + self.dice.roll(4)).saturating_sub(self.dice.roll(4))
    }

    fn position(&mut self) -> Position {
        let last = self.raft.status().last;
        match self.dice.roll(4) {
            0 => Position::ZERO,
            1 => Position::new(self.near(last.index.0), self.near(last.term.0)),
            _ => self.held().unwrap_or(last),
        }
    }

    /// The position of some entry on its disk.
    fn held(&mut self) -> Option<Position> {
        let count = self.entries.len() as u64;
        let at = usize::try_from(self.dice.roll(count.max(1))).ok()?;
        self.entries.get(at).map(|entry| entry.position)
    }

    fn members(&mut self) -> Membership {
        let (mut voters, mut learners) = (Vec::new(), Vec::new());
        for id in 1..=6 {
            match self.dice.roll(3) {
                0 => voters.push(NodeId(id)),
                1 => learners.push(NodeId(id)),
                _ => {}
            }
        }
        if voters.is_empty() {
            voters.push(NodeId(7));
        }
        Membership::new(&voters, &learners).expect("a membership")
    }

    fn log_after(&mut self, previous: Position) -> Vec<Entry> {
        let mut at = previous;
        let mut entries = Vec::new();
        for _ in 0..self.dice.roll(4) {
            at = Position::new(at.index.0 + 1, (at.term.0 + self.dice.roll(2)).max(1));
            let payload = match self.dice.roll(4) {
                0 => Payload::Noop,
                1 => Payload::Command(command("a")),
                _ => {
                    let mut members = self.members();
                    if self.dice.one_in(3) {
                        // Joint, which only bytes can say.
                        let mut bytes = members.encode();
                        let [_, _, outgoing, ..] = &mut bytes[..] else { unreachable!() };
                        *outgoing = 1;
                        bytes.splice(4 + 8 * members.voters().len()..4 + 8 * members.voters().len(), {
                            (self.dice.roll(5) + 1).to_le_bytes()
                        });
                        members = Membership::decode(&bytes).expect("a joint one");
                    }
                    Payload::Membership(Arc::new(members))
                }
            };
            entries.push(Entry { position: at, payload });
        }
        entries
    }

    /// Often what it waits for, as if an honest peer spoke.
    fn word(&mut self, from: NodeId) -> Message {
        let (session, round) = self.told.get(&from).copied().unwrap_or_default();
        let awaited = match self.raft.status().role {
            RoleName::Leader => 6,
            RoleName::Candidate => 3,
            RoleName::PreCandidate => 1,
            RoleName::Follower => 5,
        };
        match if self.dice.one_in(2) { awaited } else { self.dice.roll(12) } {
            0 => Message::PreVote { last: self.position() },
            1 => Message::PreVoteReply { granted: !self.dice.one_in(4) },
            2 => Message::Vote { last: self.position(), handed: self.dice.one_in(2) },
            3 | 4 => Message::VoteReply { granted: !self.dice.one_in(4) },
            5 => {
                let previous = self.position();
                let entries = self.log_after(previous);
                let last = self.raft.status().last.index.0;
                Message::Append { session, previous, entries, commit: Index(self.near(last)), round }
            }
            6 | 7 => {
                let last = self.raft.status().last.index.0;
                let outcome = if self.dice.one_in(4) {
                    AppendOutcome::Rejected { previous: Index(self.near(last)), hint: self.position() }
                } else {
                    AppendOutcome::Accepted { matched: Index(self.near(last)) }
                };
                Message::AppendReply { session, round, outcome }
            }
            8 => Message::Heartbeat { session, commit: Index(self.dice.roll(9)), round },
            9 => Message::HeartbeatReply { session, round },
            10 => Message::TimeoutNow,
            _ => Message::ReadIndex { id: self.dice.roll(9) },
        }
    }

    fn act(&mut self) {
        match self.dice.roll(20) {
            0..9 => {
                let from = NodeId(self.dice.roll(8));
                let message = self.word(from);
                let ahead = u64::from(matches!(message, Message::PreVoteReply { granted: true }));
                let some = if self.dice.one_in(40) { self.dice.roll(3) } else { ahead };
                let term = Term(self.raft.status().term.0 + some);
                self.raft.step(Envelope { from, to: NodeId(1), term, message });
            }
            9..12 => (0..=self.dice.roll(5)).for_each(|_| self.raft.tick()),
            12..15 => self.sync(),
            15 => {
                let _ = self.raft.propose(command("own"));
            }
            16 | 17 => {
                let node = NodeId(self.dice.roll(8));
                let edits =
                    [[Edit::Add(node), Edit::Promote(node)], [Edit::Demote(node), Edit::Remove(node)]];
                let edits = edits[usize::from(self.dice.one_in(2))];
                self.changes += usize::from(self.raft.change(&edits[self.dice.one_in(2).into()..]).is_ok());
            }
            18 => {
                self.applied = self.given;
                self.raft.applied(Index(self.applied as u64));
            }
            _ if self.dice.one_in(6) => self.restart(),
            _ => {
                let _ = self.raft.transfer(None);
            }
        }
        self.effects();
        self.led += usize::from(self.raft.status().role == RoleName::Leader);
    }

    fn effects(&mut self) {
        let effects = self.raft.effects();
        self.pending.extend(effects.persist);
        for envelope in &effects.send {
            if let Message::Append { session, round, .. } | Message::Heartbeat { session, round, .. } =
                envelope.message
            {
                self.told.insert(envelope.to, (session, round));
            }
        }
        self.given += effects.apply.len();
        for fetch in effects.fetch {
            let place = |index: Index| usize::try_from(index.0).unwrap_or(usize::MAX);
            let entries =
                self.entries.get(place(fetch.from) - 1..place(fetch.to)).unwrap_or_default().to_vec();
            let before = self.entries.get(place(fetch.from).wrapping_sub(2)).map(|entry| entry.position);
            let previous = before.unwrap_or(Position::ZERO);
            self.raft.fetched(Fetched { fetch, previous, entries });
        }
    }

    fn sync(&mut self) {
        let Some(write) = self.pending.pop_front() else { return };
        self.hard = write.hard.unwrap_or(self.hard);
        if let Some(first) = write.entries.first() {
            self.entries.truncate(usize::try_from(first.position.index.0 - 1).expect("small"));
            self.entries.extend(write.entries);
        }
        self.raft.persisted(write.ticket);
    }

    /// What its disk had not confirmed is lost, and its state goes back to what it had for good.
    fn restart(&mut self) {
        self.pending.clear();
        self.starts += 1;
        self.given = self.applied;
        let done = &self.entries[..self.applied];
        let restored = Restored {
            hard: self.hard,
            applied: done.last().map_or(Position::ZERO, |entry| entry.position),
            membership: cluster::membership(done),
            base: done.last().map_or(Position::ZERO, |entry| entry.position),
            entries: self.entries[self.applied..].to_vec(),
            discarded: Position::ZERO,
        };
        self.raft = start(self.starts, restored);
    }
}

fn talk(seed: u64) -> (usize, usize) {
    let mut listener = Listener::new(seed);
    for _ in 0..400 {
        listener.act();
    }
    (listener.led, listener.changes)
}

#[test]
fn nothing_that_is_said_about_members_fells_a_server() {
    let mut reach = (0, 0);
    for seed in 0..800 {
        let run = std::panic::catch_unwind(|| talk(seed));
        let (led, changes) = run.unwrap_or_else(|_| panic!("seed {seed} failed"));
        reach = (reach.0 + led, reach.1 + changes);
    }
    assert!(reach.0 > 20_000 && reach.1 > 100, "reached {reach:?}");
}
