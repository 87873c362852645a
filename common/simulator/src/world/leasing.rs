//! Leases as clients use them: granted, renewed, revoked, holding keys of every family but `c`, and looked at. Their draws are
//! of their own, so that they can be turned off by themselves.
//!
//! That a lease comes to its end is nobody's call. What goes with it is taken into the histories of `k` as keys that
//! vanish, at the moment at which the first server has it committed.

use std::collections::VecDeque;

use client::retry::Retry;
use kvd::event::{Event, Time};
use protocol::{
    Condition, Consistency, Decided, Hold, Operation as Change, Request, RequestId, Verdict,
    limits::TTL_MIN_MS,
};
use testkit::{
    history::{Call, Expects, Operation, Outcome},
    rng::Rng,
};

use super::{Target, World, healing::TIMEOUT};
use crate::{
    options::Options,
    server::{CLUSTER, Process},
};

/// Keys of the family `t`.
const MANY: u64 = 8;
/// How many leases clients know of.
const KNOWN: usize = 5;
/// Whose call it is in the histories that a key vanishes.
const NOBODY: u64 = u64::MAX;
/// A healed cluster ends what is over within so many election timeouts more than a leader that works.
const ELECTED_WITHIN: u64 = 10;

/// What clients know of leases: one knows what another has granted.
#[derive(Default)]
pub(super) struct Granted(VecDeque<u64>);

/// What a client draws from.
pub(super) struct Leasing {
    rng: Rng,
}

impl Granted {
    /// Takes from an answer that there is a lease.
    pub(super) fn learn(&mut self, request: &Request, decided: &Decided) {
        let Request::Write { operation, .. } = request else { return };
        let grants = matches!(operation, Change::Grant { .. } | Change::SetHeld { hold: Hold::Ttl(_), .. });
        if grants && decided.verdict == Verdict::Done && !self.0.contains(&decided.revision) {
            self.0.push_back(decided.revision);
            if self.0.len() > KNOWN {
                self.0.pop_front();
            }
        }
    }
}

impl Leasing {
    pub(super) fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// A key that may be held by a lease, and a value for it.
    fn key(&mut self, options: &Options, value: String) -> (Vec<u8>, Vec<u8>) {
        let rng = &mut self.rng;
        match rng.below(4) {
            0 => (format!("t{}", rng.below(MANY)).into_bytes(), value.into_bytes()),
            1 => (format!("n{}", rng.below(3)).into_bytes(), rng.below(100).to_string().into_bytes()),
            _ => (format!("k{}", rng.below(options.keys)).into_bytes(), value.into_bytes()),
        }
    }

    /// A call about leases; for the history where it is of a key of the family `k`.
    fn draw(
        &mut self,
        options: &Options,
        granted: &Granted,
        (value, learned): (String, u64),
    ) -> (Option<Call>, Request) {
        let ttl_ms = self.rng.between(TTL_MIN_MS, options.lease_ms.max(TTL_MIN_MS));
        let known = self.rng.pick(&granted.0.iter().copied().collect::<Vec<_>>()).copied();
        let kind = self.rng.below(20);
        let hold = match (kind, known) {
            (0..3, _) => return (None, write(Change::Grant { ttl_ms })),
            (3..7, Some(lease)) => return (None, write(Change::Renew { lease })),
            (7, Some(lease)) => return (None, write(Change::Revoke { lease })),
            (8, Some(id)) => return (None, Request::Lease { id, after: Vec::new() }),
            (9, _) => return (None, Request::Leases { after: 0 }),
            (10..12, _) => return self.read(options),
            (12..17, Some(lease)) => Hold::Lease(lease),
            (17, _) => Hold::Keep,
            _ => Hold::Ttl(ttl_ms),
        };
        let (key, value) = self.key(options, value);
        let (condition, expects) = match self.rng.below(8) {
            0 => (Condition::Absent, Expects::Absent),
            1 => {
                let revision = self.rng.below(learned + 1);
                (Condition::Revision(revision), Expects::Revision(revision))
            }
            _ => (Condition::Always, Expects::Anything),
        };
        let asked = Call::Conditional { key: key.clone(), value: Some(value.clone()), expects };
        let previous = self.rng.chance(200_000);
        let asked = key.starts_with(b"k").then_some(asked);
        (asked, write(Change::SetHeld { key, value, condition, previous, hold }))
    }

    fn read(&mut self, options: &Options) -> (Option<Call>, Request) {
        let (key, _) = self.key(options, String::new());
        let stale = self.rng.chance(options.stale);
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        let asked = if stale { Call::StaleGet { key: key.clone() } } else { Call::Get { key: key.clone() } };
        (key.starts_with(b"k").then_some(asked), Request::Get { key, consistency, without_value: false })
    }
}

impl World {
    /// Begins a call about leases instead of another, now and then.
    pub(super) fn begins_lease(&mut self, me: usize) -> bool {
        let client = &mut self.clients[me];
        if !client.leasing.rng.chance(self.options.leases) {
            return false;
        }
        client.calls += 1;
        client.tells_the_truth();
        let unique = (format!("{me}.{}!", client.calls), client.learned());
        let (asked, request) = client.leasing.draw(&self.options, &self.granted, unique);
        let seed = client.leasing.rng.bits();
        let write = matches!(request, Request::Write { .. });
        let retry = if write { Retry::write(seed, None) } else { Retry::read(seed) };
        self.counts.add("client: asked about leases");
        self.call(me, retry, asked, request, None);
        true
    }

    /// Whether clients use leases. A server's clock is then as exact as the driver has it.
    pub(super) fn leases(&self) -> bool {
        self.options.leases > 0
    }

    /// What a server has shown of itself is held against the leases that there are, and what vanished goes into the histories.
    pub(super) fn keep_leases(&mut self, target: Target) {
        let server = &self.servers[target.server];
        let process = server.up().filter(|_| server.boot == target.boot);
        let Some(status) = process.map(|process| process.node.consensus()) else { return };
        let all = self.watch.keeps_leases(target.server, &status);
        if all.is_empty() {
            return;
        }
        // One entry may end several: what goes with them goes at one moment.
        let (invoked, ended) = (self.moment(), self.moment());
        for vanished in all {
            let name = if vanished.expired { "lease: came to its end" } else { "lease: was revoked" };
            self.counts.add(name);
            let now = self.agenda.now();
            self.trace.say(now, || format!("lease {} ends: {vanished:?}", vanished.lease));
            for key in vanished.keys.into_iter().filter(|key| key.starts_with(b"k")) {
                let outcome = Outcome::Written { revision: vanished.revision, existed: true };
                let call = Call::Vanish { key };
                self.history.push(Operation { client: NOBODY, call, invoked, ended, outcome });
            }
        }
    }

    /// A healed cluster ends what is over, as late as it was to be over.
    ///
    /// # Panics
    /// When it does not.
    pub(super) fn leases_must_end(&mut self) {
        if !self.leases() {
            return;
        }
        let last = self.watch.leases_last();
        let until = self.agenda.now() + last + ELECTED_WITHIN * TIMEOUT + 1_000_000;
        self.run_until(until, |world| world.watch.model().ends().next().is_none());
        let left: Vec<_> = self.watch.model().ends().collect();
        assert!(left.is_empty(), "VIOLATION leases {left:?} were to be over within {last} µs and are not");
        self.counts.add("liveness: leases have ended");
    }
}

/// A tick as the driver makes it: it is as late as it is when the loop comes to it.
pub(super) fn as_late(event: Event, time: Option<Time>) -> Event {
    match (event, time) {
        (Event::Tick(_), Some(time)) => Event::Tick(time),
        (event, _) => event,
    }
}

/// What the driver says before it takes in what came.
pub(super) fn tells_time(process: &mut Process, time: Option<Time>) -> Result<(), kvd::state::StateError> {
    match time {
        Some(time) if !process.inbox.peers.is_empty() || !process.inbox.clients.is_empty() => {
            process.node.handle(Event::Time(time))
        }
        _ => Ok(()),
    }
}

/// A write whose id is filled in at the first attempt.
fn write(operation: Change) -> Request {
    let request = RequestId { token: [0; 16], learned: 0, cluster: CLUSTER };
    Request::Write { request, operation }
}
