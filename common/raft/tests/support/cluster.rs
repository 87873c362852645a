//! A small cluster for tests: servers with a disk that loses what was not synced, and a network that holds every
//! message until the test says what becomes of it. No randomness and no time of its own.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a test may fail here

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
};

use raft::{
    Config, Effects, Entry, Envelope, Fetched, HardState, Index, Membership, NodeId, Payload, Persist,
    Position, Raft, ReadId, Refusal, Restored, RoleName, Status, Term,
};

/// What survives a crash, and what is still on its way there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk {
    pub(crate) hard: HardState,
    /// The log begins after this.
    pub(crate) base: Position,
    pub(crate) entries: Vec<Entry>,
    pub(crate) pending: VecDeque<Persist>,
}

impl Disk {
    /// Makes the oldest write durable.
    pub(crate) fn sync_one(&mut self) -> Option<Persist> {
        let write = self.pending.pop_front()?;
        if let Some(hard) = write.hard {
            self.hard = hard;
        }
        if let Some(base) = write.restart {
            self.base = base;
            self.entries.clear();
        }
        if let Some(first) = write.entries.first() {
            let keep = usize::try_from(first.position.index.0 - 1 - self.base.index.0).unwrap();
            assert!(keep <= self.entries.len(), "a write leaves no hole");
            self.entries.truncate(keep);
            self.entries.extend(write.entries.iter().cloned());
        }
        Some(write)
    }

    pub(crate) fn position(&self, index: Index) -> Position {
        if index == self.base.index {
            return self.base;
        }
        self.entries[usize::try_from(index.0 - 1 - self.base.index.0).unwrap()].position
    }

    /// The last index.
    pub(crate) fn last(&self) -> u64 {
        self.base.index.0 + self.entries.len() as u64
    }

    /// What of `from..=to` is still there, if all of it is.
    pub(crate) fn read(&self, from: u64, to: u64) -> Option<(Position, Vec<Entry>)> {
        let start = usize::try_from(from.checked_sub(self.base.index.0 + 1)?).unwrap();
        let end = usize::try_from(to - self.base.index.0).unwrap();
        Some((self.position(Index(from - 1)), self.entries.get(start..end)?.to_vec()))
    }

    /// Removes the entries up to `to`.
    pub(crate) fn discard(&mut self, to: Index) {
        let base = self.position(to);
        self.entries.retain(|entry| entry.position.index > to);
        self.base = base;
    }

    /// As a log is opened over a state at `at` that was received: what does not match goes.
    fn open_over(&mut self, at: Position) {
        let here = at.index >= self.base.index && at.index.0 <= self.last() && self.position(at.index) == at;
        if !here {
            self.base = at;
            self.entries.clear();
        }
    }
}

/// One server.
pub(crate) struct Server {
    pub(crate) raft: Option<Raft>,
    pub(crate) disk: Disk,
    /// Writes stay unsynced until the test syncs them.
    pub(crate) slow_disk: bool,
    /// What is read for followers never comes.
    pub(crate) mute_disk: bool,
    /// What is applied stays unconfirmed.
    pub(crate) slow_apply: bool,
    /// Everything that was applied in this run.
    pub(crate) applied: Vec<Entry>,
    pub(crate) starts: u64,
    /// Up to here the state survives a crash, whatever a test says.
    pub(crate) flushed: Position,
}

/// A state on its way to a follower.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) from: NodeId,
    pub(crate) to: NodeId,
    pub(crate) session: u64,
    pub(crate) state: Vec<Entry>,
}

pub(crate) struct Cluster {
    pub(crate) servers: BTreeMap<NodeId, Server>,
    pub(crate) network: VecDeque<Envelope>,
    pub(crate) snapshots: VecDeque<Snapshot>,
    /// How many of them were made current.
    pub(crate) installs: usize,
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    pub(crate) settings: Config,
    /// What each server did, for traces; drained by the reader.
    pub(crate) log: Vec<String>,
    pub(crate) served: Vec<(NodeId, ReadId, Index)>,
    pub(crate) failed: Vec<(NodeId, ReadId)>,
    /// Votes that left: by whom, in which term, for whom.
    pub(crate) votes: Vec<(NodeId, Term, NodeId)>,
}

pub(crate) fn settings(voters: u64) -> Config {
    Config {
        id: NodeId(1),
        voters: (1..=voters).map(NodeId).collect(),
        election_ticks: 10,
        heartbeat_ticks: 3,
        max_append_entries: 64,
        max_append_bytes: 1 << 20,
        max_inflight_appends: 4,
        max_inflight_bytes: 1 << 20,
        max_uncommitted_entries: 1000,
        max_uncommitted_bytes: 1 << 20,
        max_reads: 100,
        max_snapshots: 2,
        cache_bytes: 1 << 20,
        seed: 7,
    }
}

pub(crate) fn command(text: &str) -> Arc<[u8]> {
    text.as_bytes().into()
}

impl Cluster {
    pub(crate) fn new(voters: u64) -> Self {
        Self::with(settings(voters))
    }

    pub(crate) fn with(settings: Config) -> Self {
        let mut cluster = Self {
            servers: BTreeMap::new(),
            network: VecDeque::new(),
            snapshots: VecDeque::new(),
            installs: 0,
            cut: BTreeSet::new(),
            log: Vec::new(),
            served: Vec::new(),
            failed: Vec::new(),
            votes: Vec::new(),
            settings,
        };
        for id in cluster.settings.voters.clone() {
            cluster.join(id);
        }
        cluster
    }

    /// A server comes up with an empty disk. Unless it is a founder, it knows of nobody.
    pub(crate) fn join(&mut self, id: NodeId) {
        let disk = Disk::default();
        let (slow_disk, mute_disk, slow_apply, applied, starts) = (false, false, false, Vec::new(), 0);
        let (raft, flushed) = (None, Position::ZERO);
        let server = Server { raft, disk, slow_disk, mute_disk, slow_apply, applied, starts, flushed };
        self.servers.insert(id, server);
        self.start(id, Index(0));
    }

    /// Starts a server from its disk; its state machine kept what it had applied up to `applied`.
    pub(crate) fn start(&mut self, id: NodeId, applied: Index) {
        let mut config = self.settings.clone();
        let server = self.servers.get_mut(&id).unwrap();
        server.starts += 1;
        config.id = id;
        if !config.voters.contains(&id) {
            config.voters.clear();
        }
        config.seed = config.seed.wrapping_mul(1000) + server.starts;
        server.disk.open_over(server.flushed);
        let applied = server.disk.position(applied.max(server.flushed.index));
        let from = usize::try_from(applied.index.0).unwrap();
        let skipped = usize::try_from(applied.index.0 - server.disk.base.index.0).unwrap();
        server.applied.truncate(from);
        let restored = Restored {
            hard: server.disk.hard,
            applied,
            membership: membership(&server.applied),
            base: applied,
            entries: server.disk.entries[skipped..].to_vec(),
            discarded: server.disk.base,
        };
        server.raft = Some(Raft::new(config, restored).unwrap());
    }

    /// The process ends; what was not synced is lost.
    pub(crate) fn crash(&mut self, id: NodeId) {
        let server = self.servers.get_mut(&id).unwrap();
        server.raft = None;
        server.disk.pending.clear();
    }

    pub(crate) fn server(&mut self, id: u64) -> &mut Server {
        self.servers.get_mut(&NodeId(id)).unwrap()
    }

    pub(crate) fn raft(&mut self, id: u64) -> &mut Raft {
        self.server(id).raft.as_mut().expect("this server runs")
    }

    pub(crate) fn status(&self, id: u64) -> Status {
        self.servers[&NodeId(id)].raft.as_ref().expect("this server runs").status()
    }

    pub(crate) fn ids(&self) -> Vec<NodeId> {
        self.servers.keys().copied().collect()
    }

    /// Does what a server asks for, until it asks for nothing more.
    pub(crate) fn pump(&mut self, id: NodeId) {
        loop {
            let server = self.servers.get_mut(&id).unwrap();
            let Some(raft) = server.raft.as_mut() else { return };
            let effects = raft.effects();
            if effects.is_empty() {
                return;
            }
            self.perform(id, effects);
        }
    }

    fn perform(&mut self, id: NodeId, effects: Effects) {
        let Effects { persist, send, fetch, send_snapshot, apply, reads, failed_reads } = effects;
        if let Some(write) = persist {
            self.log.push(format!("{id} writes {}", show_write(&write)));
            self.servers.get_mut(&id).unwrap().disk.pending.push_back(write);
        }
        for envelope in send {
            self.inspect(&envelope);
            self.log.push(show(&envelope));
            self.network.push_back(envelope);
        }
        let server = self.servers.get_mut(&id).unwrap();
        for fetch in fetch {
            self.log.push(format!("{id} fetches {}..{} for {}", fetch.from, fetch.to, fetch.peer));
            if server.mute_disk {
                continue;
            }
            let found = server.disk.read(fetch.from.0, fetch.to.0);
            let (previous, entries) = found.unwrap_or_default();
            server.raft.as_mut().unwrap().fetched(Fetched { fetch, previous, entries });
        }
        if let Some(last) = apply.last().map(|entry| entry.position.index) {
            let shown: Vec<String> = apply.iter().map(show_entry).collect();
            self.log.push(format!("{id} applies {}", shown.join(" ")));
            server.applied.extend(apply);
            if !server.slow_apply {
                server.raft.as_mut().unwrap().applied(last);
            }
        }
        for raft::SendSnapshot { peer, session } in send_snapshot {
            self.log.push(format!("{id} sends its state to {peer}"));
            let state = server.applied.clone();
            self.snapshots.push_back(Snapshot { from: id, to: peer, session, state });
        }
        for read in reads {
            let at = server.applied.last().map_or(Index(0), |entry| entry.position.index);
            self.log.push(format!("{id} serves read {read} at {at}"));
            self.served.push((id, read, at));
        }
        for read in failed_reads {
            self.log.push(format!("{id} fails read {read}"));
            self.failed.push((id, read));
        }
        if !self.servers[&id].slow_disk {
            self.sync(id);
        }
    }

    /// A state arrives and is made current, or not; the sender hears of it either way.
    pub(crate) fn arrive(&mut self, snapshot: Snapshot) {
        let Snapshot { from, to, session, state } = snapshot;
        let installed = self.install(to, &state);
        self.log.push(match installed {
            Some(at) => format!("{to} makes the state at {at} current"),
            None => format!("{to} does not take the state"),
        });
        self.told(from, to, session, installed);
        self.pump(to);
    }

    /// The sender hears what came of a state.
    pub(crate) fn told(&mut self, from: NodeId, to: NodeId, session: u64, installed: Option<Index>) {
        if let Some(raft) = self.servers.get_mut(&from).and_then(|server| server.raft.as_mut()) {
            raft.snapshot_sent(to, session, installed);
            self.pump(from);
        }
    }

    fn install(&mut self, id: NodeId, state: &[Entry]) -> Option<Index> {
        let at = state.last()?.position;
        let server = self.servers.get_mut(&id).unwrap();
        let raft = server.raft.as_mut()?;
        if !raft.accepts_snapshot(at) {
            return None;
        }
        server.applied = state.to_vec();
        server.flushed = at;
        raft.snapshot_installed(at, membership(state));
        self.installs += 1;
        Some(at.index)
    }

    /// The server's state is durable, and its log up to `to` goes.
    pub(crate) fn discard(&mut self, id: NodeId, to: Index) {
        let server = self.servers.get_mut(&id).unwrap();
        server.flushed = server.applied.last().map_or(Position::ZERO, |entry| entry.position);
        assert!(to <= server.flushed.index, "what is discarded was applied");
        let anew = server.disk.pending.iter().any(|write| write.restart.is_some());
        if !anew && to > server.disk.base.index && to.0 <= server.disk.last() {
            server.disk.discard(to);
            server.raft.as_mut().unwrap().discarded(to);
        }
    }

    /// The contract of the gate: what leaves is backed by the sender's disk at that moment.
    fn inspect(&mut self, envelope: &Envelope) {
        use raft::{AppendOutcome, Message as M};
        let Envelope { from, to, term, ref message } = *envelope;
        let disk = &self.servers[&from].disk;
        let unbound = matches!(message, M::PreVote { .. } | M::PreVoteReply { granted: true });
        assert!(unbound || disk.hard.term >= term, "{} left before its term was durable", show(envelope));
        match *message {
            M::Vote { .. } => {
                assert_eq!(disk.hard, hard(term.0, Some(from.0)), "a candidate voted for itself");
                self.votes.push((from, term, from));
            }
            M::VoteReply { granted: true } => {
                assert_eq!(disk.hard, hard(term.0, Some(to.0)), "a grant leaves once it is durable");
                self.votes.push((from, term, to));
            }
            M::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => {
                let held = disk.last().max(self.servers[&from].flushed.index.0);
                assert!(held >= matched.0, "an acceptance leaves once it is durable");
            }
            _ => {}
        }
    }

    /// Makes all writes of a server durable.
    pub(crate) fn sync(&mut self, id: NodeId) {
        while self.sync_one(id) {}
    }

    /// Makes the oldest write of a server durable and tells it.
    pub(crate) fn sync_one(&mut self, id: NodeId) -> bool {
        let server = self.servers.get_mut(&id).unwrap();
        let Some(write) = server.disk.sync_one() else { return false };
        if let Some(raft) = server.raft.as_mut() {
            raft.persisted(write.ticket);
        }
        true
    }

    pub(crate) fn pump_all(&mut self) {
        for id in self.ids() {
            self.pump(id);
        }
    }

    /// Hands a message over, unless the link is cut or the receiver is down.
    pub(crate) fn deliver(&mut self, envelope: Envelope) {
        let to = envelope.to;
        if self.cut.contains(&(envelope.from, to)) {
            return;
        }
        if let Some(raft) = self.servers.get_mut(&to).and_then(|server| server.raft.as_mut()) {
            raft.step(envelope);
            self.pump(to);
        }
    }

    /// Delivers until nothing is on the way.
    pub(crate) fn settle(&mut self) {
        self.pump_all();
        for _ in 0..10_000 {
            let Some(envelope) = self.network.pop_front() else { return };
            self.deliver(envelope);
        }
        panic!("the cluster never comes to rest");
    }

    /// One tick everywhere, and everything that follows.
    pub(crate) fn tick(&mut self) {
        for id in self.ids() {
            self.tick_one(id);
        }
        self.settle();
    }

    pub(crate) fn tick_one(&mut self, id: NodeId) {
        if let Some(raft) = self.servers.get_mut(&id).unwrap().raft.as_mut() {
            raft.tick();
        }
        self.pump(id);
    }

    pub(crate) fn ticks(&mut self, count: usize) {
        (0..count).for_each(|_| self.tick());
    }

    /// Lets `id` alone feel time until it stands, with all its messages delivered.
    pub(crate) fn elect(&mut self, id: u64) {
        for _ in 0..100 {
            self.tick_one(NodeId(id));
            self.settle();
            if self.status(id).role == RoleName::Leader {
                return;
            }
        }
        panic!("{id} was not elected");
    }

    /// Lets time pass for `id` alone, without delivering anything, until it stands.
    pub(crate) fn campaign(&mut self, id: u64) {
        for _ in 0..100 {
            self.tick_one(NodeId(id));
            if self.status(id).role != RoleName::Follower {
                return;
            }
        }
        panic!("{id} did not stand");
    }

    pub(crate) fn propose(&mut self, id: u64, text: &str) -> Result<Position, Refusal> {
        self.raft(id).propose(command(text))
    }

    pub(crate) fn read(&mut self, id: u64, read: u64) -> Result<(), Refusal> {
        self.raft(id).read(ReadId(read))
    }

    /// Cuts the server off, both ways.
    pub(crate) fn isolate(&mut self, id: u64) {
        for other in self.ids() {
            self.cut.insert((NodeId(id), other));
            self.cut.insert((other, NodeId(id)));
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }

    pub(crate) fn leader(&self) -> Option<u64> {
        let leads = |id: &NodeId| {
            self.servers[id].raft.as_ref().map(Raft::status).filter(|status| status.role == RoleName::Leader)
        };
        self.ids().iter().filter_map(leads).max_by_key(|status| status.term).map(|status| status.id.0)
    }
}

pub(crate) fn entry(index: u64, term: u64, text: &str) -> Entry {
    Entry { position: Position::new(index, term), payload: Payload::Command(command(text)) }
}

pub(crate) fn hard(term: u64, vote: Option<u64>) -> HardState {
    HardState { term: Term(term), vote: vote.map(NodeId) }
}

/// The membership of a state in which all this was applied.
pub(crate) fn membership(applied: &[Entry]) -> Option<Membership> {
    let of = |entry: &Entry| match &entry.payload {
        Payload::Membership(membership) => Some(Membership::clone(membership)),
        Payload::Noop | Payload::Command(_) => None,
    };
    applied.iter().rev().find_map(of)
}

fn show_entry(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Noop => format!("{}", entry.position),
        Payload::Command(bytes) => format!("{}:{}", entry.position, String::from_utf8_lossy(bytes)),
        Payload::Membership(membership) => format!("{}:{membership}", entry.position),
    }
}

fn show_write(write: &Persist) -> String {
    let hard = write.hard.map(|hard| match hard.vote {
        Some(vote) => format!("term {} vote {vote}", hard.term),
        None => format!("term {} no vote", hard.term),
    });
    let restart = write.restart.map(|base| format!("anew after {base}"));
    let entries = write.entries.iter().map(show_entry);
    hard.into_iter().chain(restart).chain(entries).collect::<Vec<_>>().join(" ")
}

pub(crate) fn show(envelope: &Envelope) -> String {
    let Envelope { from, to, term, message } = envelope;
    format!("{from}→{to} term {term} {}", show_message(message))
}

fn show_message(message: &raft::Message) -> String {
    use raft::{AppendOutcome, Message as M};
    match message {
        M::PreVote { last } => format!("PreVote last {last}"),
        M::PreVoteReply { granted } => format!("PreVoteReply {}", verdict(*granted)),
        M::Vote { last, handed: false } => format!("Vote last {last}"),
        M::Vote { last, handed: true } => format!("Vote last {last}, handed"),
        M::TimeoutNow => "TimeoutNow".to_owned(),
        M::VoteReply { granted } => format!("VoteReply {}", verdict(*granted)),
        M::Append { previous, entries, commit, .. } => {
            let entries: Vec<String> = entries.iter().map(show_entry).collect();
            format!("Append after {previous} [{}] commit {commit}", entries.join(" "))
        }
        M::AppendReply { outcome: AppendOutcome::Accepted { matched }, .. } => format!("Accepted {matched}"),
        M::AppendReply { outcome: AppendOutcome::Rejected { previous, hint }, .. } => {
            format!("Rejected {previous} hint {hint}")
        }
        M::Heartbeat { commit, .. } => format!("Heartbeat commit {commit}"),
        M::HeartbeatReply { .. } => "HeartbeatReply".into(),
        M::ReadIndex { .. } => "ReadIndex".into(),
        M::ReadIndexReply { index: Some(index), .. } => format!("ReadIndexReply {index}"),
        M::ReadIndexReply { index: None, .. } => "ReadIndexReply none".into(),
    }
}

fn verdict(granted: bool) -> &'static str {
    if granted { "granted" } else { "refused" }
}
