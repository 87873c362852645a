//! The consensus core among peers that say anything: no message, in no order, while disk and state lag behind as the
//! input wants, makes a server panic or break a promise of its own.
//!
//! The input is a list of [acts](Server::act). Messages go through the bytes of a peer frame, so that the core sees
//! what a decoder lets through and nothing else. Numbers in them are mostly near those that the server has, because
//! others are refused at once. Debug assertions are on in the fuzzed build, and with them the core's own invariants,
//! checked around every step; what is checked here is what others see of it: nothing leaves before the disk holds it,
//! and what was applied is never taken back.

use std::{collections::VecDeque, sync::Arc};

use protocol::{ClusterId, PeerFrame, limits::NUMBER};
use raft::{
    AppendOutcome, Config, Effects, Entry, Envelope, Fetch, Fetched, HardState, Index, Message, NodeId,
    Payload, Persist, Position, Raft, ReadId, Restored, Term,
};

use crate::input::Input;

const ME: NodeId = NodeId(1);

pub(crate) fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let Some(voters) = input.byte() else { return };
    let mut server = Server::new(u64::from(voters % 5) + 1);
    while server.act(&mut input).is_some() {}
    server.effects();
}

/// A server with what a node has around it.
struct Server {
    raft: Raft,
    voters: u64,
    starts: u64,
    hard: HardState,
    /// The log on disk, from index 1.
    entries: Vec<Entry>,
    /// Given to the disk and not durable.
    pending: VecDeque<Persist>,
    /// What the state was given in this run, after what it has kept of earlier ones.
    given: Vec<Entry>,
    /// How many of these the state has confirmed, durably.
    applied: usize,
    fetches: VecDeque<Fetch>,
    reads: u64,
    /// Sessions and rounds it told voters, for answers that it believes.
    told: [(u64, u64); 4],
}

impl Server {
    fn new(voters: u64) -> Self {
        Self {
            raft: start(voters, 1, Restored::default()),
            voters,
            starts: 1,
            hard: HardState::default(),
            entries: Vec::new(),
            pending: VecDeque::new(),
            given: Vec::new(),
            applied: 0,
            fetches: VecDeque::new(),
            reads: 0,
            told: [(0, 0); 4],
        }
    }

    /// One act; nothing when the input is used up.
    fn act(&mut self, input: &mut Input<'_>) -> Option<()> {
        let (act, argument) = (input.byte()?, input.byte()?);
        match act % 16 {
            0..=5 => {
                let who = input.byte()?;
                // What a voter was told itself it knows best; now and then it knows what another was told.
                let told = if who < 224 { self.sender(who).0 } else { u64::from(who) };
                let told = self.told[usize::try_from(told % 4).unwrap_or(0)];
                let message = self.message(input, argument, told)?;
                self.hears(who, input.byte()?, message);
            }
            6 => (0..=argument % 32).for_each(|_| self.raft.tick()),
            7 | 8 => self.effects(),
            9 => self.sync(usize::from(argument % 4) + 1),
            10 => self.confirm(usize::from(argument)),
            11 => self.fetched(argument),
            12 => {
                let _ = self.raft.propose(vec![argument; usize::from(argument)].into());
            }
            13 => {
                self.reads += 1;
                let _ = self.raft.read(ReadId(self.reads));
            }
            14 if argument % 4 == 0 => self.restart(),
            14 => self.raft.unreachable(NodeId(u64::from(argument % 8))),
            _ => self.raft.hold_apply(argument % 2 == 0),
        }
        Some(())
    }

    /// A message from another voter, or of a stranger, in a term near the present one.
    fn hears(&mut self, who: u8, term: u8, message: Message) {
        let present = self.raft.status().term.0;
        let term = match term {
            0..=3 => present.saturating_sub(term.into()),
            4..=250 => present.saturating_add(u64::from(term % 4)),
            _ => NUMBER - u64::from(255 - term),
        };
        let from = self.sender(who);
        let envelope = Envelope { from, to: ME, term: Term(term), message };
        let frame = PeerFrame { cluster: ClusterId([0; 16]), group: 0, envelope };
        if let Ok(frame) = PeerFrame::decode(&frame.encode()) {
            self.raft.step(frame.envelope);
        }
    }

    fn sender(&self, who: u8) -> NodeId {
        NodeId(u64::from(who) % (self.voters + 1) + 2)
    }

    fn message(&self, input: &mut Input<'_>, kind: u8, (session, round): (u64, u64)) -> Option<Message> {
        Some(match kind % 12 {
            0 => Message::PreVote { last: self.position(input)? },
            1 => Message::PreVoteReply { granted: input.byte()? % 2 == 0 },
            2 => Message::Vote { last: self.position(input)?, handed: false },
            3 => Message::VoteReply { granted: input.byte()? % 2 == 0 },
            4 => {
                let previous = self.position(input)?;
                let entries = entries(input, previous)?;
                Message::Append { session, previous, entries, commit: self.index(input)?, round }
            }
            5 => Message::AppendReply { session, round: near(input, round)?, outcome: self.outcome(input)? },
            6 => Message::Heartbeat { session, commit: self.index(input)?, round },
            7 => Message::HeartbeatReply { session, round: near(input, round)? },
            10 => Message::Vote { last: self.position(input)?, handed: true },
            11 => Message::TimeoutNow,
            8 => Message::ReadIndex { id: near(input, round)? },
            _ => {
                let index = if input.byte()? % 4 == 0 { None } else { Some(self.index(input)?) };
                Message::ReadIndexReply { id: near(input, round)?, index }
            }
        })
    }

    fn outcome(&self, input: &mut Input<'_>) -> Option<AppendOutcome> {
        if input.byte()? % 2 == 0 {
            return Some(AppendOutcome::Accepted { matched: self.index(input)? });
        }
        Some(AppendOutcome::Rejected { previous: self.index(input)?, hint: self.position(input)? })
    }

    fn index(&self, input: &mut Input<'_>) -> Option<Index> {
        near(input, self.raft.status().last.index.0).map(Index)
    }

    /// The position of an entry that is here, the last one, or any.
    fn position(&self, input: &mut Input<'_>) -> Option<Position> {
        let choice = input.byte()?;
        Some(match choice % 4 {
            0 => self.raft.status().last,
            1 => self.entries.get(usize::from(choice / 4)).map_or(Position::ZERO, |entry| entry.position),
            2 => Position::ZERO,
            _ => {
                let last = self.raft.status().last;
                Position::new(near(input, last.index.0)?, near(input, last.term.0)?)
            }
        })
    }

    /// Does what the core asks for, but for what is left to other acts; checks what leaves.
    fn effects(&mut self) {
        let Effects { persist, send, fetch, apply, .. } = self.raft.effects();
        for envelope in send {
            self.leaves(&envelope);
        }
        for entry in apply {
            let at = entry.position.index.0;
            assert_eq!(self.on_disk(at), Some(&entry), "only what is durable here is applied");
            assert_eq!(at, self.given.len() as u64 + 1, "entries are applied once and in order");
            self.given.push(entry);
        }
        if let Some(persist) = &persist
            && let Some(first) = persist.entries.first()
        {
            assert!(place(first.position.index.0) >= self.given.len(), "what was applied is never replaced");
        }
        self.pending.extend(persist);
        self.fetches.extend(fetch);
    }

    /// The disk holds what a message promises before it leaves.
    fn leaves(&mut self, envelope: &Envelope) {
        assert_eq!(envelope.from, ME);
        match &envelope.message {
            Message::PreVote { .. } | Message::PreVoteReply { granted: true } => return,
            Message::VoteReply { granted: true } => {
                let vote = HardState { term: envelope.term, vote: Some(envelope.to) };
                assert!(self.hard == vote || self.hard.term > vote.term, "a vote that is not on disk");
            }
            Message::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
                assert!(matched.0 <= self.entries.len() as u64, "entries that are not on disk");
            }
            Message::Append { session, round, .. } | Message::Heartbeat { session, round, .. } => {
                let at = usize::try_from(envelope.to.0 % 4).unwrap_or(0);
                self.told[at] = (*session, *round);
            }
            Message::ReadIndex { id } => {
                let at = usize::try_from(envelope.to.0 % 4).unwrap_or(0);
                self.told[at].1 = *id;
            }
            _ => {}
        }
        assert!(envelope.term <= self.hard.term, "a term that is not on disk");
    }

    /// Makes the oldest writes durable.
    fn sync(&mut self, writes: usize) {
        for persist in self.pending.drain(..writes.min(self.pending.len())) {
            self.hard = persist.hard.unwrap_or(self.hard);
            if let Some(first) = persist.entries.first() {
                let keep = place(first.position.index.0);
                assert!(keep <= self.entries.len(), "a write leaves no hole");
                self.entries.truncate(keep);
                self.entries.extend(persist.entries);
            }
            self.raft.persisted(persist.ticket);
        }
    }

    /// The state confirms some more of what it was given in this run.
    fn confirm(&mut self, count: usize) {
        self.applied = self.applied.saturating_add(count).min(self.given.len());
        self.raft.applied(Index(self.applied as u64));
    }

    /// Answers a question of the core from disk: rightly, with a part, or not at all.
    fn fetched(&mut self, argument: u8) {
        let Some(fetch) = self.fetches.pop_front() else { return };
        let (from, to) = (fetch.from.0, fetch.to.0);
        let found: Vec<Entry> = (from..=to).map_while(|index| self.on_disk(index).cloned()).collect();
        let previous = self.on_disk(from - 1).map_or(Position::ZERO, |entry| entry.position);
        let keep = if argument.is_multiple_of(4) { usize::from(argument / 4) % 4 } else { usize::MAX };
        self.raft.fetched(Fetched { fetch, previous, entries: found.into_iter().take(keep).collect() });
    }

    /// The process ends; what the disk had not confirmed is lost, and the state goes back to what it had confirmed.
    fn restart(&mut self) {
        self.pending.clear();
        self.fetches.clear();
        self.starts += 1;
        // What is committed is not on disk: after a restart only what the state holds is safe from a peer that lies.
        self.given.truncate(self.applied);
        let applied = self.on_disk(self.applied as u64).map_or(Position::ZERO, |entry| entry.position);
        let entries = self.entries[self.applied..].to_vec();
        let restored = Restored { hard: self.hard, applied, base: applied, entries, ..Restored::default() };
        self.raft = start(self.voters, self.starts, restored);
    }

    fn on_disk(&self, index: u64) -> Option<&Entry> {
        if index == 0 { None } else { self.entries.get(place(index)) }
    }
}

/// Where an index stands in a list that begins with index 1.
fn place(index: u64) -> usize {
    usize::try_from(index.saturating_sub(1)).unwrap_or(usize::MAX)
}

/// Bounds so small that short inputs meet them.
fn start(voters: u64, starts: u64, restored: Restored) -> Raft {
    let config = Config {
        id: ME,
        voters: (1..=voters).map(NodeId).collect(),
        election_ticks: 10,
        heartbeat_ticks: 3,
        max_append_entries: 4,
        max_append_bytes: 512,
        max_inflight_appends: 2,
        max_inflight_bytes: 1024,
        max_uncommitted_entries: 8,
        max_uncommitted_bytes: 1024,
        max_reads: 4,
        max_snapshots: 2,
        cache_bytes: 128,
        seed: starts,
    };
    Raft::new(config, restored).expect("a server starts from what its disk holds")
}

/// A number near `middle`, a small one, one at the bound, or any.
fn near(input: &mut Input<'_>, middle: u64) -> Option<u64> {
    Some(match input.byte()? {
        step @ 0..=31 => middle.saturating_add(step.into()),
        step @ 32..=63 => middle.saturating_sub(u64::from(step - 31)),
        small @ 64..=251 => u64::from(small - 64),
        252 => NUMBER,
        253 => NUMBER - 1,
        254 => u64::MAX,
        255 => input.long()?,
    })
}

/// Up to three entries after `previous`, of terms that do not fall.
fn entries(input: &mut Input<'_>, previous: Position) -> Option<Vec<Entry>> {
    let shape = input.byte()?;
    let mut position = previous;
    let mut entries = Vec::new();
    for at in 0..shape % 4 {
        let term = position.term.0.saturating_add(u64::from(shape >> (2 + 2 * at) & 3)).max(1);
        position = Position::new(position.index.0.saturating_add(1), term);
        let size = input.byte()?;
        let payload =
            if size == 0 { Payload::Noop } else { Payload::Command(Arc::from(vec![size; size.into()])) };
        entries.push(Entry { position, payload });
    }
    Some(entries)
}
