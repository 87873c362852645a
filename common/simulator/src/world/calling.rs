//! Clients: each does one call after another. What a call does next is decided by the production client's own rules
//! ([`client::retry`]); here is only what that code leaves to its driver: time, connections, and chance. Scans are in
//! `scanning`.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use client::{
    EndpointError, EndpointFailure, Error,
    retry::{Event, Next, Retry, Target as Whom},
};
use kvd::event::{Caller, Standing};
use protocol::{Refused, Request, RequestFrame, RequestId, Response, ResponseFrame};
use testkit::{
    history::{Call as Asked, Operation, Outcome},
    rng::Rng,
};

mod asking;
mod counting;
mod judging;

use self::asking::{Known, decision, is_write, outcome_of, told};
pub(super) use self::counting::Ledger;
use super::{Plan, World, leasing::Leasing, lying::Lie, remembering::Remembering, scanning::Scanning};
use crate::server::{CLUSTER, address, at_address};

/// Who sends the probes of a healed cluster.
pub(super) const PROBER: usize = usize::MAX;

/// A client.
pub struct Client {
    rng: Rng,
    /// Draws whatever is more than sets, deletes and reads, so that it can be turned off by itself.
    other: Rng,
    /// What it was told of keys, to ask for what is so.
    known: Known,
    /// Counts the waits of calls: a timer of an earlier one is void.
    step: u64,
    /// Counts the calls.
    pub(super) calls: u64,
    pub(super) call: Option<Call>,
    leader: Option<usize>,
    learned: u64,
    connected: BTreeSet<usize>,
    /// What is wrong with the id of its call, and the id of its latest honest one.
    lie: Option<Lie>,
    used: Option<RequestId>,
    pub(super) scanning: Scanning,
    pub(super) past: Remembering,
    pub(super) leasing: Leasing,
}

/// A call under way.
pub(super) struct Call {
    retry: Retry,
    /// As the history has it; `None` for what only the model judges.
    asked: Option<Asked>,
    request: Request,
    invoked: u64,
    until: u64,
    pub(super) open: Vec<u64>,
    settles: bool,
    /// What the answer to an addition said.
    sum: i64,
}

/// What a client waits for.
#[derive(Clone, Debug)]
pub enum Timer {
    /// The next call.
    Rest,
    /// An answer that does not come.
    Silent(usize),
    /// The end of a pause.
    Ask(Whom),
    /// The end of all attempts to connect.
    Unreachable,
    /// The end of its patience.
    Deadline,
    /// The end of its interest.
    Abandon,
}

/// A request on its way.
pub(super) struct Attempt {
    pub(super) client: usize,
    pub(super) server: usize,
    pub(super) request: Request,
    /// The highest revision that any client knew of when it was sent.
    pub(super) known: u64,
    /// The process that it came to, and when that must have answered.
    pub(super) due: Option<(u64, u64)>,
    /// How that process stood when it had taken it in and not answered.
    pub(super) under: Option<Standing>,
}

impl Client {
    pub(super) fn new(rng: Rng) -> Self {
        let scanning = Scanning::new(rng.fork("scans"));
        let past = Remembering::new(rng.fork("past"));
        let leasing = Leasing::new(rng.fork("leases"));
        Self {
            other: rng.fork("judged"),
            rng,
            known: Known::default(),
            step: 0,
            calls: 0,
            call: None,
            leader: None,
            learned: 0,
            connected: BTreeSet::new(),
            lie: None,
            used: None,
            scanning,
            past,
            leasing,
        }
    }

    /// Whether this attempt is one of its call.
    pub(super) fn is_at(&self, attempt: u64) -> bool {
        self.call.as_ref().is_some_and(|call| call.open.contains(&attempt))
    }

    /// The highest revision that it knows of.
    pub(super) fn learned(&self) -> u64 {
        self.learned
    }

    /// Its next call has an id of its own.
    pub(super) fn tells_the_truth(&mut self) {
        self.lie = None;
    }
}

impl World {
    /// Plans the next call of a client.
    pub(super) fn rest(&mut self, me: usize) {
        let client = &mut self.clients[me];
        let (pause, calls) = (1 + client.rng.below(self.options.think_us), client.calls);
        self.agenda.after(pause, Plan::Client(me, calls, Timer::Rest));
    }

    pub(super) fn timer(&mut self, me: usize, stamp: u64, timer: Timer) {
        let client = &mut self.clients[me];
        let current = match timer {
            Timer::Rest | Timer::Deadline | Timer::Abandon => client.calls,
            Timer::Silent(_) | Timer::Ask(_) | Timer::Unreachable => client.step,
        };
        if current != stamp {
            return;
        }
        match timer {
            Timer::Rest => self.begin(me),
            Timer::Silent(server) => {
                self.counts.add("client: asked another while the first may answer");
                self.clients[me].leader.take_if(|leader| *leader == server);
                self.happens(me, Event::Silent { address: Arc::from(address(server)) });
            }
            Timer::Ask(whom) => self.ask(me, &whom),
            Timer::Unreachable => {
                let error =
                    if client.rng.below(2) == 0 { EndpointError::Refused } else { EndpointError::Silent };
                let failures = (0..self.servers.len())
                    .map(|at| EndpointFailure { address: address(at), error: error.clone() })
                    .collect();
                self.happens(me, Event::Unreachable(failures));
            }
            Timer::Deadline => self.happens(me, Event::DeadlinePassed),
            Timer::Abandon => {
                self.counts.add("client: abandoned");
                self.finish(me, Outcome::Unknown);
            }
        }
    }

    fn begin(&mut self, me: usize) {
        if self.calm {
            return;
        }
        if self.begins_past(me) || self.begins_scan(me) || self.begins_lease(me) {
            return;
        }
        let client = &mut self.clients[me];
        client.calls += 1;
        let (asked, request) = client.draw(me, &self.options, &mut self.counts);
        let seed = client.rng.bits();
        let retry = if is_write(&request) { Retry::write(seed, None) } else { Retry::read(seed) };
        self.call(me, retry, asked, request, None);
    }

    /// A moment for the history: later than every one before, for what falls on one moment of the clock is in order too.
    pub(super) fn moment(&mut self) -> u64 {
        self.moment = (self.moment + 1).max(self.agenda.now() * 1000);
        self.moment
    }

    /// Begins a call, or goes on with one whose outcome is unknown.
    pub(super) fn call(
        &mut self,
        me: usize,
        retry: Retry,
        asked: Option<Asked>,
        request: Request,
        invoked: Option<u64>,
    ) {
        let now = self.agenda.now();
        let client = &mut self.clients[me];
        let patience = self.options.patience_ms * 1000;
        let until = now + patience;
        self.agenda.after(patience, Plan::Client(me, client.calls, Timer::Deadline));
        if client.rng.chance(self.options.abandons) {
            let soon = client.rng.below(patience);
            self.agenda.after(soon, Plan::Client(me, client.calls, Timer::Abandon));
        }
        let settles = invoked.is_some();
        let invoked = invoked.unwrap_or_else(|| self.moment());
        let client = &mut self.clients[me];
        client.call = Some(Call { retry, asked, request, invoked, until, open: Vec::new(), settles, sum: 0 });
        self.ask(me, &Whom::Preferred);
    }

    /// Something happened to the call of a client.
    fn happens(&mut self, me: usize, event: Event) {
        let now = self.agenda.now();
        let Some(call) = self.clients[me].call.as_mut() else { return };
        let left = Duration::from_micros(call.until.saturating_sub(now));
        match call.retry.step(event, left) {
            Next::Done(response) => {
                let request = call.request.clone();
                if let Response::Decided(decided) = &response {
                    call.sum = decided.sum();
                }
                self.clients[me].known.learn(&request, &response);
                self.finish(me, outcome_of(response));
            }
            Next::Fail(error) => {
                if matches!(error, Error::Refused(Refused::Expired)) {
                    self.counts.add("client: refused as expired");
                }
                let unknown = error.outcome() == client::Outcome::Unknown;
                self.finish(me, if unknown { Outcome::Unknown } else { Outcome::NotApplied });
            }
            Next::Ask(whom) => self.ask(me, &whom),
            Next::Wait { pause, then } => {
                let client = &mut self.clients[me];
                client.step += 1;
                let pause = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
                self.agenda.after(pause, Plan::Client(me, client.step, Timer::Ask(then)));
            }
        }
    }

    fn ask(&mut self, me: usize, whom: &Whom) {
        let Some(server) = self.choose(me, whom) else {
            let client = &mut self.clients[me];
            client.step += 1;
            let (delay, step) = (1 + client.rng.below(5000), client.step);
            return self.agenda.after(delay, Plan::Client(me, step, Timer::Unreachable));
        };
        self.attempted += 1;
        let (number, now) = (self.attempted, self.agenda.now());
        let applied = self.servers[server].up().map_or(0, |process| process.node.applied());
        let client = &mut self.clients[me];
        if client.connected.insert(server) {
            client.learned = client.learned.max(applied);
        }
        client.step += 1;
        let Some(call) = client.call.as_mut() else { return };
        let (learned, lie, rng) = (client.learned, client.lie, &mut client.rng);
        if let Request::Write { request, .. } = &mut call.request {
            *request = call.retry.request(|| {
                let mut token = [0; 16];
                token[..8].copy_from_slice(&rng.bits().to_le_bytes());
                token[8..].copy_from_slice(&rng.bits().to_le_bytes());
                let honest = RequestId { token, learned, cluster: CLUSTER };
                lie.map_or(honest, |lie| lie.told(honest))
            });
            if lie.is_none() {
                client.used = Some(*request);
            }
        }
        call.retry.sent();
        call.open.push(number);
        let left = call.until.saturating_sub(now);
        let deadline_ms = u32::try_from((left - left / 10) / 1000).unwrap_or(u32::MAX).max(1);
        let patience = u64::try_from(call.retry.patience().as_micros()).unwrap_or(u64::MAX);
        self.agenda.after(patience, Plan::Client(me, client.step, Timer::Silent(server)));
        let request = client.scanning.rest(&call.request);
        self.trace.say(now, || format!("c{me} asks s{server} #{number}: {}", told(&request)));
        self.post(me, server, number, deadline_ms, request);
    }

    /// Puts a request on its way; it may not arrive.
    pub(super) fn post(
        &mut self,
        client: usize,
        server: usize,
        number: u64,
        deadline_ms: u32,
        request: Request,
    ) {
        let known = self.clients.iter().map(|client| client.learned).max().unwrap_or(0);
        if let Request::Write { request, .. } = &request {
            self.watch.asks(request.token);
        }
        let attempt = Attempt { client, server, request: request.clone(), known, due: None, under: None };
        self.attempts.insert(number, attempt);
        if !self.hears(client, server) {
            return;
        }
        let frame = Box::new(RequestFrame { id: number, deadline_ms, request });
        let caller = Caller { connection: client as u64, request: number };
        let delay = self.options.latency_us + self.rng.below(self.options.latency_us);
        self.agenda.after(delay, Plan::Request { to: server, caller, frame });
    }

    /// The number of a new attempt.
    pub(super) fn number(&mut self) -> u64 {
        self.attempted += 1;
        self.attempted
    }

    /// Whether client and server are on one side of a partition.
    fn hears(&self, client: usize, server: usize) -> bool {
        let Some(sides) = self.sides.filter(|_| client != PROBER) else { return true };
        sides >> (client % 32) & 1 == sides >> (32 + server) & 1
    }

    /// Which server a call goes to: one that can be connected to, or to which there is a connection that looks well.
    fn choose(&mut self, me: usize, whom: &Whom) -> Option<usize> {
        let there: Vec<usize> = (0..self.servers.len())
            .filter(|at| self.servers[*at].up().is_some())
            .filter(|at| self.clients[me].connected.contains(at) || self.hears(me, *at))
            .collect();
        let client = &mut self.clients[me];
        let anyone = |client: &mut Client, but: Option<usize>| {
            let others: Vec<usize> = there.iter().copied().filter(|at| Some(*at) != but).collect();
            client.rng.pick(if others.is_empty() { &there } else { &others }).copied()
        };
        let writes = client.call.as_ref().is_some_and(|call| is_write(&call.request));
        match whom {
            Whom::Preferred => match client.leader.filter(|leader| writes && there.contains(leader)) {
                Some(leader) => Some(leader),
                None => anyone(client, None),
            },
            Whom::Leader { address, .. } => {
                let leader = at_address(address);
                if there.contains(&leader) {
                    return Some(leader);
                }
                if let Some(call) = client.call.as_mut() {
                    call.retry.missed(address);
                }
                anyone(client, Some(leader))
            }
            Whom::NotAt(address) => anyone(client, Some(at_address(address))),
        }
    }

    pub(super) fn answer(&mut self, from: usize, me: usize, frame: ResponseFrame) {
        let Some(attempt) = self.attempts.remove(&frame.id) else { return };
        if attempt.client == PROBER {
            return self.probed(from, &attempt.request, frame.result);
        }
        if !self.hears(me, from) {
            return;
        }
        let client = &mut self.clients[me];
        match &frame.result {
            Ok(Response::Written { revision, deduplicated, .. }) => {
                if *deduplicated {
                    self.counts.add("client: answered from memory");
                }
                client.leader = Some(from);
                client.learned = client.learned.max(*revision);
            }
            Ok(Response::Decided(decided)) => {
                self.counts.add(decision(decided));
                self.granted.learn(&attempt.request, decided);
                client.leader = Some(from);
                client.learned = client.learned.max(decided.revision);
            }
            Ok(Response::Value { revision, .. }) => client.learned = client.learned.max(*revision),
            Err(Refused::NotLeader { address: Some(address), .. }) => {
                self.counts.add("client: redirected");
                client.leader = Some(at_address(address));
            }
            Err(Refused::NotLeader { .. }) => _ = client.leader.take_if(|leader| *leader == from),
            Err(Refused::Busy { .. }) => self.counts.add("client: refused as busy"),
            Ok(
                Response::Status(_)
                | Response::MembersChanged { .. }
                | Response::Leases(_)
                | Response::Lease(_)
                | Response::Compacted { .. }
                | Response::Leads { .. }
                | Response::Events(_),
            )
            | Err(_) => {}
        }
        let client = &mut self.clients[me];
        let Some(call) = client.call.as_mut() else { return };
        let Some(at) = call.open.iter().position(|open| *open == frame.id) else { return };
        call.open.swap_remove(at);
        self.happens(me, Event::Answered { address: Arc::from(address(from)), result: frame.result });
    }

    /// The connections of clients to `server` are gone; each finds out after a while.
    pub(super) fn drop_clients(&mut self, server: usize) {
        for me in 0..self.clients.len() {
            let client = &mut self.clients[me];
            client.connected.remove(&server);
            let attempts = &self.attempts;
            let open = client.call.iter().flat_map(|call| &call.open);
            let gone: Vec<u64> = open
                .copied()
                .filter(|number| attempts.get(number).is_some_and(|attempt| attempt.server == server))
                .collect();
            let delay = client.rng.below(1_000_000);
            if !gone.is_empty() {
                self.agenda.after(delay, Plan::Dropped(me, gone));
            }
        }
    }

    pub(super) fn dropped(&mut self, me: usize, attempts: &[u64]) {
        for number in attempts {
            let Some(call) = self.clients[me].call.as_mut() else { return };
            let Some(at) = call.open.iter().position(|open| open == number) else { continue };
            call.open.swap_remove(at);
            let server = self.attempts.remove(number).map_or(0, |attempt| attempt.server);
            self.counts.add("client: lost its connection");
            self.clients[me].leader.take_if(|leader| *leader == server);
            let error = EndpointError::Dropped { reason: "reset".to_owned() };
            self.happens(me, Event::Dropped { address: Arc::from(address(server)), error });
        }
    }

    /// Ends the call of a client, or goes on with it when its outcome is to be settled.
    fn finish(&mut self, me: usize, outcome: Outcome) {
        let now = self.agenda.now();
        let client = &mut self.clients[me];
        let Some(call) = client.call.take() else { return };
        client.step += 1;
        client.calls += 1;
        let write = is_write(&call.request);
        if outcome == Outcome::Unknown && write {
            self.counts.add("client: unknown outcome");
            if let Request::Write { request, .. } = call.request
                && request.token != [0; 16]
                && !self.calm
                && client.rng.chance(self.options.settles)
            {
                let retry = Retry::write(client.rng.bits(), Some(request));
                return self.call(me, retry, call.asked, call.request, Some(call.invoked));
            }
        }
        self.trace.say(now, || format!("c{me} learns of {}: {outcome:?}", told(&call.request)));
        if call.settles && !matches!(outcome, Outcome::Unknown | Outcome::NotApplied) {
            self.counts.add("client: settled an unknown outcome");
        }
        if outcome == Outcome::NotApplied {
            self.counts.add("client: not applied");
        }
        // A call that settles an earlier one cannot say that that one did nothing.
        let outcome = if call.settles && outcome == Outcome::NotApplied { Outcome::Unknown } else { outcome };
        let (invoked, ended) = (call.invoked, self.moment());
        self.ledger.note(&call.request, &outcome, call.sum, (invoked, ended));
        if let Some(asked) = call.asked
            && (write || matches!(outcome, Outcome::Read { .. }))
        {
            self.history.push(Operation { client: me as u64, call: asked, invoked, ended, outcome });
        }
        self.rest(me);
    }

    /// Ends all calls: what is open stays unknown.
    pub(super) fn hang_up(&mut self) {
        for me in 0..self.clients.len() {
            self.finish(me, Outcome::Unknown);
        }
    }
}
