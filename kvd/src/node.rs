//! The deterministic node: core and state composed, without a clock, a thread or a socket.
//!
//! [`Node::handle`] takes one [`Event`]; [`Node::actions`] then says all that is to be done. A driver may handle many
//! events before it asks for actions: whatever came in together leaves together, as one write of the log and one
//! append a follower. The same node runs under the simulator.
//!
//! Invariants:
//! - A client is answered `Written` only after its entry was applied here, which the core allows only once it is
//!   committed and durable here.
//! - A linearizable read is looked up, and the view of a linearizable scan taken, only after the core has released it.
//! - A write whose fate is open when leadership is lost is answered `Lost`, never "not applied".

mod changing;
mod clock;
mod expiring;
mod figures;
mod forgetting;
mod leading;
mod reading;
mod room;
mod saving;

use std::{sync::Arc, time::Duration};

use protocol::{
    Command, Consistency, NodeStatus, Operation, Refused, Request, RequestFrame, RequestId, Response,
    ResponseFrame, Role, command::check_key,
};
use raft::{Entry, NodeId, Payload, Raft, Refusal, RoleName, Term};

use crate::{
    event::{Action, Caller, Event, Standing, Time},
    instruments::{Mark, Mutant, mark, mutant},
    members::Members,
    state::{Applied, Outcome, State, StateError, WriteOutcome},
    waiting::{Waiting, Wanted},
};

use changing::Changing;
use clock::ReplicatedClock;
use expiring::Expiring;
use forgetting::Forgetting;
use leading::Leading;
use room::Room;
use saving::Saving;
pub use {figures::Figures, forgetting::Keeping};

/// Longest time a node holds a request, whatever deadline the client sent.
const LONGEST_WAIT: Duration = Duration::from_mins(1);

/// Core and state of one server.
pub struct Node {
    raft: Raft,
    state: State,
    waiting: Waiting,
    members: Members,
    forgetting: Forgetting,
    saving: Saving,
    leading: Leading,
    changing: Changing,
    expiring: Expiring,
    room: Room,
    clock: ReplicatedClock,
    standing: Standing,
    now: Time,
    /// When the newest of the reads was asked for that the core has released.
    confirmed_ms: Option<u64>,
    actions: Vec<Action>,
    /// Only shown.
    proposals: u64,
}

impl Node {
    /// A node over a core and a state that agree on what was applied; `stamp_ms` is the newest stamp in both. Its clock
    /// goes on from there.
    pub fn new(raft: Raft, state: State, members: Members, stamp_ms: u64) -> Self {
        let status = raft.status();
        debug_assert_eq!(status.applied, state.applied().index, "core and state start at the same place");
        let standing = Standing { role: status.role, term: status.term, leader: status.leader };
        let mut node = Self {
            raft,
            state,
            waiting: Waiting::default(),
            members,
            forgetting: Forgetting::default(),
            saving: Saving::default(),
            leading: Leading::default(),
            changing: Changing::default(),
            expiring: None,
            room: Room::default(),
            clock: ReplicatedClock {
                stamp_ms: if mutant(Mutant::NodeForgetsStamps) { 0 } else { stamp_ms },
                seen_at_ms: 0,
                given_in: None,
            },
            standing,
            now: Time::default(),
            confirmed_ms: None,
            actions: Vec::new(),
            proposals: 0,
        };
        node.follow_members(&status);
        node.actions.clear();
        node
    }

    /// Takes one event in. An error means that this node's own state can no longer be trusted: stop the process.
    pub fn handle(&mut self, event: Event) -> Result<(), StateError> {
        match event {
            Event::Tick(now) => self.tick(now),
            Event::Time(now) => self.now = now,
            Event::Peer(envelope) => self.raft.step(envelope),
            Event::Client { caller, frame } => self.client(caller, frame)?,
            Event::Persisted(ticket) => self.raft.persisted(ticket),
            Event::Fetched(fetched) => self.raft.fetched(fetched),
            Event::Flushed(flushed) => {
                self.state.finish_flush(flushed);
                self.discard();
            }
            Event::Discarded(discarded) => self.discarded(discarded),
            Event::SnapshotSent { peer, session, installed } => self.snapshot_sent(peer, session, installed),
            Event::SnapshotOffered { transfer, head } => self.snapshot_offered(transfer, head),
            Event::SnapshotEnded { transfer, received } => self.snapshot_ended(transfer, received),
            Event::Installed(installed) => self.installed(*installed),
            Event::Unreachable(peer) => self.raft.unreachable(peer),
            Event::LogFull(full) => self.log_full(full),
            Event::StateFull(full) => self.state_full(full),
            Event::Leave => self.leave(),
        }
        Ok(())
    }

    /// All that is to be done after the events so far; drains.
    pub fn actions(&mut self) -> Result<Vec<Action>, StateError> {
        self.release();
        self.expire_leases();
        loop {
            // The state takes no more while a flush runs and the next overlay is full: what is committed waits in
            // the core, which is bounded and then refuses more.
            let saturated = self.state.saturated() && !mutant(Mutant::NodeNeverHolds);
            if saturated {
                mark(Mark::ApplyHeld);
            }
            self.raft.hold_apply(saturated);
            let effects = self.raft.effects();
            if effects.is_empty() {
                break;
            }
            if let Some(persist) = effects.persist {
                self.follow_clock(&persist.entries);
                self.look_for_members(&persist.entries);
                self.actions.push(Action::Persist(persist));
            }
            self.actions.extend(effects.send.into_iter().map(Action::Send));
            self.actions.extend(effects.fetch.into_iter().map(Action::Fetch));
            for raft::SendSnapshot { peer, session } in effects.send_snapshot {
                self.send_snapshot(peer, session)?;
            }
            if mutant(Mutant::NodeReadsBeforeApply) {
                self.serve_reads(&effects.reads)?;
            }
            self.apply(&effects.apply)?;
            self.expire_leases();
            self.flush_if_due();
            self.serve_reads(&effects.reads)?;
            for id in effects.failed_reads {
                self.fail_read(id);
            }
        }
        self.notice_change();
        self.tell_of_hand_overs();
        self.tell_of_changes();
        self.flush_if_due();
        self.begin_saves()?;
        self.install_if_ready();
        Ok(std::mem::take(&mut self.actions))
    }

    fn flush_if_due(&mut self) {
        let wanted = self.state.flush_due(self.now.monotonic_ms)
            || self.forgetting.wants_flush(self.state.flushed().index)
            || self.saving.wants_flush(self.state.flushed().index);
        if wanted
            && !self.forgetting.forbids_flush()
            && let Some(flush) = self.state.begin_flush(self.now.monotonic_ms)
        {
            self.actions.push(Action::Flush(flush));
        }
    }

    /// Where the node stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The core's picture of itself.
    pub fn consensus(&self) -> raft::Status {
        self.raft.status()
    }

    /// The newest stamp that the state at [`Node::applied`] has seen, in milliseconds.
    pub fn state_stamp_ms(&self) -> u64 {
        self.state.stamp_ms()
    }

    /// The hash of the state at [`Node::applied`].
    pub fn state_hash(&self) -> u64 {
        self.state.hash()
    }

    /// Whether this node's disk has no room, as far as it knows.
    pub fn is_full(&self) -> bool {
        self.room.is_full()
    }

    /// The applied index, for the request ids of a client that has just connected.
    pub fn applied(&self) -> u64 {
        self.state.applied().index.0
    }

    /// The members of the cluster.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// What this node knows of itself. Disk, certificate and version are the driver's to fill in.
    pub fn status(&self) -> NodeStatus {
        let status = self.raft.status();
        NodeStatus {
            cluster: self.members.cluster(),
            id: status.id.0,
            name: self.members.name(status.id).to_owned(),
            role: match status.role {
                RoleName::Follower => Role::Follower,
                RoleName::PreCandidate | RoleName::Candidate => Role::Candidate,
                RoleName::Leader => Role::Leader,
            },
            term: status.term.0,
            leader: status.leader.map(|leader| leader.0),
            committed: status.commit.0,
            applied: self.state.applied().index.0,
            last: status.last.index.0,
            uptime_ms: self.now.monotonic_ms,
            state_hash: self.state.hash(),
            kept: self.state.kept_history(),
            members: self.members.list().to_vec(),
            changing: status.membership.is_joint() || !status.membership_committed,
            matched: status.progress.iter().map(|(peer, progress)| (peer.0, progress.matched.0)).collect(),
            drained: self.leading.is_reluctant(),
            trouble: self.room.trouble().to_owned(),
            ..NodeStatus::default()
        }
    }

    fn tick(&mut self, now: Time) {
        self.now = now;
        self.tick_leading();
        self.tick_changing();
        self.raft.tick();
        self.notice_hang();
        self.tick_room();
        self.expire_compactions();
        self.expire_saves();
        for write in self.waiting.expired_writes(now.monotonic_ms) {
            mark(Mark::WriteExpired);
            if mutant(Mutant::NodeForgetsExpired) {
                continue;
            }
            let open = if mutant(Mutant::NodeExpiresAsUnapplied) { Refused::NoQuorum } else { Refused::Lost };
            self.reply(write.caller, Err(open));
        }
        for read in self.waiting.expired_reads(now.monotonic_ms) {
            mark(Mark::ReadExpired);
            self.reply(read.caller, Err(Refused::NoQuorum));
        }
    }

    fn client(&mut self, caller: Caller, frame: RequestFrame) -> Result<(), StateError> {
        if frame.deadline_ms == 0 {
            // It queued for all of its time, and nobody listens any more.
            mark(Mark::RequestTooLate);
            self.refuse(caller, Refusal::Busy, "the queue of requests");
            return Ok(());
        }
        let wait = Duration::from_millis(u64::from(frame.deadline_ms)).min(LONGEST_WAIT);
        let deadline_ms = self.now.monotonic_ms + u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        match frame.request {
            Request::Write { request, operation } => self.write(caller, request, operation, deadline_ms),
            Request::Get { key, consistency, without_value } => match (check_key(&key), consistency) {
                (Err(error), _) => {
                    mark(Mark::RequestInvalid);
                    self.reply(caller, Err(refused(&error)));
                }
                (Ok(()), Consistency::Stale) => {
                    mark(Mark::ReadStale);
                    self.look_up(caller, &key, without_value)?;
                }
                (Ok(()), Consistency::Linearizable) if mutant(Mutant::NodeReadsAtOnce) => {
                    self.look_up(caller, &key, without_value)?;
                }
                (Ok(()), Consistency::Within(most_ms)) if self.is_fresh(most_ms) => {
                    self.look_up(caller, &key, without_value)?;
                }
                (Ok(()), Consistency::Linearizable | Consistency::Within(_)) => {
                    self.read(caller, Wanted::Key { key, without_value }, deadline_ms);
                }
            },
            Request::Leases { after } => {
                self.read(caller, Wanted::Leases { after }, deadline_ms);
            }
            Request::Lease { id, after } => {
                self.read(caller, Wanted::Lease { id, after }, deadline_ms);
            }
            Request::CompactLog => self.compact(caller, deadline_ms),
            Request::Transfer { to } => self.transfer(caller, to, deadline_ms),
            Request::Drain { undo } => self.drain(caller, undo, deadline_ms),
            Request::Scan(scan) => self.scan(caller, &scan, deadline_ms),
            Request::Save => self.read(caller, Wanted::State, deadline_ms),
            Request::Watch(watch) => self.watch(caller, &watch, deadline_ms),
            Request::ChangeMembers(change) => self.change_members(caller, &change, deadline_ms),
            Request::Status => {
                let status = self.status();
                self.reply(caller, Ok(Response::Status(Box::new(status))));
            }
            Request::Events { .. } => {
                let why = "what happened is told by the connection, and not by the node";
                self.reply(caller, Err(Refused::Invalid(why.into())));
            }
        }
        Ok(())
    }

    fn write(&mut self, caller: Caller, request: RequestId, operation: Operation, deadline_ms: u64) {
        if let Err(error) = operation.check() {
            mark(Mark::RequestInvalid);
            return self.reply(caller, Err(refused(&error)));
        }
        if mutant(Mutant::StateTrustsProposal) && !self.state.meets(&operation) {
            return self.refuse(caller, Refusal::Busy, "the queue of writes");
        }
        if let Some(refused) = self.refuses_for_room() {
            return self.reply(caller, Err(refused));
        }
        if self.holds() {
            return self.hold(caller, request, operation, deadline_ms);
        }
        let stamp_ms = self.clock.at(self.now);
        let command = Command { request, stamp_ms, wall_ms: self.now.wall_ms, operation };
        match self.raft.propose(Arc::from(command.encode())) {
            Ok(position) => {
                self.proposals += 1;
                self.clock.gave(stamp_ms, position.term, self.now);
                if mutant(Mutant::NodeBusyTooLate) && self.waiting.writes() >= 4 {
                    return self.refuse(caller, Refusal::Busy, "the queue of writes");
                }
                if mutant(Mutant::NodeAnswersEarly) {
                    let revision = position.index.0;
                    let early = Response::Written { revision, existed: false, deduplicated: false };
                    return self.reply(caller, Ok(early));
                }
                self.waiting.write(position, caller, deadline_ms);
            }
            Err(refusal) => {
                if matches!(refusal, Refusal::Busy) {
                    mark(Mark::WriteBusy);
                }
                self.refuse(caller, refusal, "the queue of writes");
            }
        }
    }

    fn apply(&mut self, entries: &[Entry]) -> Result<(), StateError> {
        for entry in entries {
            let applied = self.state.apply(entry)?;
            if let Some(write) = self.waiting.take_write(entry.position.index) {
                let own = write.term == entry.position.term || mutant(Mutant::NodeMatchesByIndex);
                let result = match applied {
                    Some(applied) if own => written(applied),
                    // Another leader's entry took the place, so this one can never be committed.
                    _ => Err(self.not_leader()),
                };
                self.reply(write.caller, result);
            }
        }
        if let Some(last) = entries.last() {
            self.raft.applied(last.position.index);
        }
        Ok(())
    }

    /// Follows the stamp of the newest command that is appended here.
    fn follow_clock(&mut self, entries: &[Entry]) {
        if let Some((stamp_ms, term)) = newest_stamp(entries).filter(|_| !mutant(Mutant::NodeStampsLocally)) {
            self.clock.follow(stamp_ms, term, self.now);
        }
    }

    fn notice_change(&mut self) {
        let status = self.raft.status();
        self.follow_members(&status);
        let standing = Standing { role: status.role, term: status.term, leader: status.leader };
        if standing == self.standing {
            return;
        }
        if self.standing.role == RoleName::Leader
            && (standing.role, standing.term) != (self.standing.role, self.standing.term)
            && !mutant(Mutant::NodeMatchesByIndex)
        {
            for write in self.waiting.take_all_writes().collect::<Vec<_>>() {
                mark(Mark::WriteLost);
                let unapplied = mutant(Mutant::NodeLosesAsUnapplied);
                let open = if unapplied { self.not_leader() } else { Refused::Lost };
                self.reply(write.caller, Err(open));
            }
        }
        self.standing = standing;
        self.actions.push(Action::Changed(standing));
    }

    fn refuse(&mut self, caller: Caller, refusal: Refusal, queue: &str) {
        let refused = match refusal {
            Refusal::NotLeader { hint } => self.redirect(hint),
            Refusal::Busy => Refused::Busy { what: queue.to_owned() },
            // Another server is about to lead: whoever asks again finds it.
            Refusal::Transferring => self.redirect(None),
            Refusal::NoSuccessor | Refusal::NotVoter => Refused::Unavailable(refusal.to_string()),
        };
        self.reply(caller, Err(refused));
    }

    fn not_leader(&mut self) -> Refused {
        self.redirect(self.raft.status().leader)
    }

    fn redirect(&mut self, leader: Option<NodeId>) -> Refused {
        if let Some(refused) = self.refer() {
            return refused;
        }
        let leader = leader.filter(|leader| *leader != self.members.me());
        mark(if leader.is_some() { Mark::Redirected } else { Mark::RedirectedNowhere });
        let address = leader.and_then(|leader| self.members.address(leader)).map(ToOwned::to_owned);
        Refused::NotLeader { leader: leader.map(|leader| leader.0), address }
    }

    fn reply(&mut self, caller: Caller, result: Result<Response, Refused>) {
        let frame = ResponseFrame { id: caller.request, result };
        self.actions.push(Action::Reply { connection: caller.connection, frame });
    }
}

/// The stamp of the last command among `entries`, which is the newest: stamps do not go back.
pub(crate) fn newest_stamp(entries: &[Entry]) -> Option<(u64, Term)> {
    entries.iter().rev().find_map(|entry| match &entry.payload {
        Payload::Command(bytes) => Some((Command::decode(bytes).ok()?.stamp_ms, entry.position.term)),
        Payload::Noop | Payload::Membership(_) => None,
    })
}

fn written(applied: Applied) -> Result<Response, Refused> {
    Ok(match applied.result? {
        Outcome::Written(WriteOutcome { revision, existed, deduplicated }) => {
            Response::Written { revision, existed, deduplicated }
        }
        Outcome::Decided(decided) => Response::Decided(decided),
    })
}

fn refused(error: &protocol::DecodeError) -> Refused {
    match error {
        protocol::DecodeError::TooLarge { what, size, limit } => {
            Refused::TooLarge { what: (*what).to_owned(), size: *size as u64, limit: *limit as u64 }
        }
        other => Refused::Invalid(other.to_string()),
    }
}

#[cfg(test)]
mod tests;
