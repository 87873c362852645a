//! The loop of a server, as `kvd`'s driver runs it, in simulated time: whatever came while it was busy is its next batch.

use std::sync::Arc;

use kvd::{
    event::{Action, Caller, Event, Time},
    log_thread::{LogTask, StoreTask},
    state::StateError,
};
use protocol::{PeerFrame, RequestFrame, ResponseFrame};
use raft::{Envelope, Message, NodeId, RoleName};

use super::{
    Plan, Target, World,
    leasing::{as_late, tells_time},
};
use crate::{
    network::Fate,
    server::{CLUSTER, Process, TICK},
    trace::digest,
};

impl World {
    /// The process that `plan` is for; none when it has ended, or when it is paused and takes the plan up later.
    pub(super) fn serving(&mut self, target: Target, plan: Plan) -> Option<&mut Process> {
        let server = &mut self.servers[target.server];
        if server.boot != target.boot {
            return None;
        }
        let process = server.process()?;
        if process.paused {
            process.held.push(plan);
            return None;
        }
        Some(process)
    }

    pub(super) fn target(&self, server: usize) -> Target {
        Target { server, boot: self.servers[server].boot }
    }

    /// Sees to it that the loop of `server` runs soon.
    pub(super) fn wake(&mut self, server: usize) {
        let target = self.target(server);
        let delay = 1 + self.rng.below(self.mood.loop_us);
        if let Some(process) = self.servers[server].process()
            && !std::mem::replace(&mut process.awake, true)
        {
            self.agenda.after(delay, Plan::Loop(target));
        }
    }

    pub(super) fn tick(&mut self, target: Target) {
        let now = self.agenda.now();
        let time = self.servers[target.server].time(now);
        let Some(process) = self.serving(target, Plan::Tick(target)) else { return };
        process.inbox.done.push(Event::Tick(time));
        let speed = self.servers[target.server].clock.0.max(1);
        self.agenda.after(TICK * 1_000_000 / speed, Plan::Tick(target));
        self.wake(target.server);
    }

    pub(super) fn unreachable(&mut self, target: Target, peer: NodeId) {
        if let Some(process) = self.serving(target, Plan::Unreachable(target, peer)) {
            process.inbox.done.push(Event::Unreachable(peer));
            self.wake(target.server);
        }
    }

    /// As `kvd` receives from a peer: whatever does not decode, or is not from whom it says, is not taken.
    pub(super) fn arrives(&mut self, from: usize, to: usize, frame: &[u8]) {
        self.network.arrived(from, to);
        let now = self.agenda.now();
        self.trace.note(now, (from * 16 + to) as u64, digest(frame));
        let most = usize::try_from(self.options.inbox).unwrap_or(usize::MAX);
        let Some(process) = self.servers[to].process() else { return };
        let decoded = PeerFrame::decode(frame).expect("VIOLATION a frame does not decode");
        assert_eq!(decoded.cluster, CLUSTER, "VIOLATION a frame of another cluster");
        if process.inbox.peers.len() >= most {
            self.counts.add("network: inbox full");
            return;
        }
        let envelope = decoded.envelope;
        self.trace.say(now, || format!("s{from} → s{to}  term {} {:?}", envelope.term, brief(&envelope)));
        process.inbox.peers.push_back(envelope);
        self.wake(to);
    }

    pub(super) fn request(&mut self, to: usize, caller: Caller, frame: RequestFrame) {
        let now = self.agenda.now();
        let boot = self.servers[to].boot;
        let Some(process) = self.servers[to].process() else { return };
        if let Some(attempt) = self.attempts.get_mut(&frame.id) {
            attempt.due = Some((boot, now + 2 * u64::from(frame.deadline_ms) * 1000 + 2_000_000));
        }
        process.inbox.clients.push_back((caller, frame, now));
        self.wake(to);
    }

    /// One turn of the driver's loop.
    pub(super) fn run_loop(&mut self, target: Target) {
        let now = self.agenda.now();
        let turn = usize::try_from(self.options.turn).unwrap_or(usize::MAX);
        let time = self.leases().then(|| self.servers[target.server].time(now));
        let Some(process) = self.serving(target, Plan::Loop(target)) else { return };
        process.awake = false;
        let asked: Vec<u64> = process.inbox.clients.iter().map(|(_, frame, _)| frame.id).collect();
        let message = (turn == 1).then(|| process.inbox.only_message()).flatten();
        let message = message.map(|message| (message, process.node.consensus()));
        let result = take_in(process, now, time, turn);
        if let Some((message, before)) = message {
            let after = process.node.consensus();
            self.watch.took(target.server, now, &message, &before, &after);
        }
        self.trace.note(now, 30, target.server as u64);
        if let Err(error) = result.and_then(|()| self.act(target)) {
            self.gives_up(target.server, &error.to_string());
        }
        self.notice_power(target);
        self.note_turn(target, &asked);
        self.turn_again(target);
        self.stop_if_left(target);
    }

    /// Notes how the server stands after a turn, for those of the requests that came which it has taken in.
    fn note_turn(&mut self, target: Target, asked: &[u64]) {
        if !self.is_on(target) {
            return;
        }
        let Some(process) = self.servers[target.server].process() else { return };
        let (standing, applied) = (process.node.standing(), process.node.consensus().applied.0);
        let taken = asked.len() - process.inbox.clients.len();
        let alone = process.node.consensus().membership.is_alone(NodeId(target.server as u64 + 1));
        let leads_full = process.node.is_full() && !alone && standing.role == RoleName::Leader;
        assert!(!leads_full, "VIOLATION s{} leads though its disk is full", target.server);
        self.watch.turned(target.server, standing, applied);
        for number in &asked[..taken] {
            if let Some(attempt) = self.attempts.get_mut(number) {
                attempt.under = Some(standing);
            }
        }
    }

    /// The next turn follows at once while anything waits.
    fn turn_again(&mut self, target: Target) {
        if self.is_on(target)
            && let Some(process) = self.servers[target.server].process()
            && process.inbox.waits()
            && !std::mem::replace(&mut process.awake, true)
        {
            self.agenda.after(1, Plan::Loop(target));
        }
    }

    /// Does what the node wants done, until it wants nothing more or the server ends in the middle of it.
    fn act(&mut self, target: Target) -> Result<(), StateError> {
        let Some(process) = self.servers[target.server].process() else { return Ok(()) };
        let mut actions = process.node.actions()?;
        for action in &actions {
            match action {
                Action::Persist(persist) => {
                    let last = persist.entries.last().map_or(0, |entry| entry.position.index.0);
                    self.trace.note(self.agenda.now(), 33, last);
                    self.watch.given(target.server, persist);
                    if self.leases() {
                        self.watch.stamped(target.server, persist);
                    }
                }
                Action::Changed(standing) => match standing.role {
                    RoleName::Leader => self.greet_leader(target),
                    RoleName::Candidate => self.greet_candidate(target),
                    RoleName::Follower | RoleName::PreCandidate => {}
                },
                Action::Send(envelope) => {
                    self.watch.meant(target.server, envelope);
                    match envelope.message {
                        Message::VoteReply { granted: true } => self.greet_voter(target),
                        Message::ReadIndex { id } => self.greet_asker(target, number(envelope.to), id),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        self.adopt(target, &actions);
        self.show(target);
        if self.leases() {
            self.keep_leases(target);
        }
        let flushes = actions.iter().any(|action| matches!(action, Action::Flush(_)));
        // The node does not know yet of a flush whose end still waits in its inbox.
        let untold = self.servers[target.server]
            .process()
            .is_some_and(|process| process.inbox.done.iter().any(|event| matches!(event, Event::Flushed(_))));
        if flushes || !untold {
            self.watch.flush(target.server, flushes);
        }
        if self.options.shuffle == 1 {
            self.shuffle(&mut actions);
        }
        for action in actions {
            if !self.is_on(target) || self.burns_down(target) {
                return Ok(());
            }
            self.do_one(target, action);
        }
        Ok(())
    }

    /// Anything may be done in any order, save for writes of the log among themselves.
    fn shuffle(&mut self, actions: &mut Vec<Action>) {
        let (mut writes, mut rest): (Vec<_>, Vec<_>) =
            std::mem::take(actions).into_iter().partition(|action| matches!(action, Action::Persist(_)));
        self.rng.shuffle(&mut rest);
        for write in writes.drain(..).rev() {
            let at = self.rng.index(
                rest.iter().position(|action| matches!(action, Action::Persist(_))).unwrap_or(rest.len()) + 1,
            );
            rest.insert(at, write);
        }
        *actions = rest;
    }

    fn is_on(&self, target: Target) -> bool {
        self.servers[target.server].boot == target.boot && self.servers[target.server].up().is_some()
    }

    /// Whether the server was to end after so many more actions, and now does.
    fn burns_down(&mut self, target: Target) -> bool {
        let Some(process) = self.servers[target.server].process() else { return false };
        let Some(left) = process.fuse.as_mut() else { return false };
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        self.counts.add("server: ended between two actions");
        self.crash(target.server);
        true
    }

    fn do_one(&mut self, target: Target, action: Action) {
        let (me, now) = (target.server, self.agenda.now());
        match action {
            Action::Persist(persist) => self.queue_log(target, LogTask::Persist(persist)),
            Action::Fetch(fetch) => self.queue_log(target, LogTask::Fetch(fetch)),
            Action::Send(envelope) => self.send(target, envelope),
            Action::Reply { connection, frame } => self.reply(me, connection, frame),
            Action::View { caller, view } => self.begin_scan(target, caller.request, *view),
            // No client of the simulator asks for a backup.
            Action::Save { caller: _, sending } => drop(sending),
            Action::RetryLog => self.queue_log(target, LogTask::Retry),
            Action::Notice(notice) => self.notices(me, notice),
            Action::Flush(flush) => self.queue_store(target, StoreTask::Flush(flush)),
            Action::Install(install) => self.queue_store(target, StoreTask::Install(install)),
            Action::Retire(state) => drop(state),
            Action::Discard(discard) => self.queue_log(target, LogTask::Discard(discard)),
            Action::SendSnapshot { peer, session, sending } => {
                self.begin_stream(target, peer, session, sending);
            }
            Action::ReceiveSnapshot { transfer, receiver } => self.take_stream(target, transfer, *receiver),
            Action::AnswerSnapshot { transfer, installed } => self.answer_stream(me, transfer, installed),
            // The network of the simulator goes by ids.
            Action::Members { .. } => {}
            Action::Changed(standing) => {
                self.trace.note(now, 31, standing.term.0);
                self.trace.say(now, || {
                    format!(
                        "s{me} is now {:?} in term {}, leader {:?}",
                        standing.role, standing.term, standing.leader
                    )
                });
            }
        }
    }

    fn send(&mut self, target: Target, envelope: Envelope) {
        let (me, to) = (target.server, envelope.to);
        self.watch.sent(me, &envelope);
        let message = envelope.message.clone();
        let frame = Arc::from(PeerFrame { cluster: CLUSTER, group: 0, envelope }.encode());
        if !self.withholds(me, number(to), &message, &frame) && !self.carry(me, number(to), &frame) {
            self.agenda.after(0, Plan::Unreachable(target, to));
        }
    }

    /// Puts a frame on its way, on which it may be lost; false where the way is full.
    pub(super) fn carry(&mut self, from: usize, to: usize, frame: &Arc<[u8]>) -> bool {
        let now = self.agenda.now();
        match self.network.send(from, to, now, &self.mood, &mut self.counts) {
            Fate::Arrives(delays) => {
                for delay in delays {
                    let frame = Arc::clone(frame);
                    self.agenda.after(delay, Plan::Arrives { from, to, frame });
                }
                true
            }
            Fate::Lost => true,
            Fate::Full => false,
        }
    }

    fn reply(&mut self, me: usize, connection: u64, frame: ResponseFrame) {
        let now = self.agenda.now();
        self.judge(me, &frame);
        self.trace.note(now, 32, digest(&frame.encode()));
        self.trace.say(now, || format!("s{me} answers #{}: {:?}", frame.id, frame.result));
        let client = usize::try_from(connection).unwrap_or(usize::MAX);
        let delay = self.options.latency_us + self.rng.below(self.options.latency_us);
        self.agenda.after(delay, Plan::Answer { from: me, client, frame: Box::new(frame) });
    }

    fn show(&mut self, target: Target) {
        let server = &self.servers[target.server];
        if let Some(process) = server.up().filter(|_| server.boot == target.boot) {
            let status = process.node.consensus();
            let state = process.node.state_hash() ^ process.node.state_stamp_ms().rotate_right(20);
            self.watch.seen(target.server, &status, state);
            self.watch.hands_over(target.server, &status, process.ticks);
            self.watch.goes(target.server, &status, process.ticks);
        }
    }
}

/// What waits for the loop goes into the node, in the driver's order: of messages at most `turn` of each kind, and one by
/// one if that is one.
fn take_in(process: &mut Process, now: u64, time: Option<Time>, turn: usize) -> Result<(), StateError> {
    let done = if turn == 1 { process.inbox.done.len().min(1) } else { process.inbox.done.len() };
    for event in process.inbox.done.drain(..done) {
        process.ticks += u64::from(matches!(event, Event::Tick(_)));
        process.node.handle(as_late(event, time))?;
    }
    if turn == 1 && done > 0 {
        return Ok(());
    }
    tells_time(process, time)?;
    let peers = process.inbox.peers.len().min(turn);
    for envelope in process.inbox.peers.drain(..peers) {
        process.node.handle(Event::Peer(envelope))?;
    }
    if turn == 1 && peers > 0 {
        return Ok(());
    }
    let clients = process.inbox.clients.len().min(turn);
    for (caller, mut frame, asked) in process.inbox.clients.drain(..clients) {
        let waited = u32::try_from((now - asked) / 1000).unwrap_or(u32::MAX);
        frame.deadline_ms = frame.deadline_ms.saturating_sub(waited);
        process.node.handle(Event::Client { caller, frame })?;
    }
    Ok(())
}

/// The server that has this id.
fn number(id: NodeId) -> usize {
    usize::try_from(id.0 - 1).unwrap_or(0)
}

/// A message without its payloads.
fn brief(envelope: &Envelope) -> String {
    match &envelope.message {
        Message::Append { session, previous, entries, commit, round } => {
            format!(
                "Append after {previous}: {} entries, commit {commit}, round {round}, session {session}",
                entries.len()
            )
        }
        other => format!("{other:?}"),
    }
}
