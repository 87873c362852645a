//! Leases, judged by the committed record and by simulated time.
//!
//! | promise | how |
//! | --- | --- |
//! | a key with a lease goes by somebody's write or by a committed end of its lease | [`model`](super::model) |
//! | never early | what expires has had its time since the write that gave it was first sent, by the fastest clock |
//! | neither reset nor shortened by an election | the clock of whoever leads goes on from the newest stamp in its log |
//! | within a second | a leader whose entries go through lets nothing stay for longer that is over by its clock |
//! | what is shown of a lease is so | its id, its time, its keys; of its time not less is left than is, nor more than was at the newest stamp that is shown |
//!
//! How late a server's clock must be at least is computed from when the newest stamp of its log came there, and how fast
//! the slowest clock goes: that is what the leader's second begins from. **The slack:** a second begins anew with a term,
//! and while entries take longer than [`LAG`] to be applied, while the server was paused, and while it hands over; nothing
//! is ended then, or nothing is proposed. Who takes over another's state goes on from its stamp, which may be of a while ago.

use std::collections::HashMap;

use protocol::{
    Command,
    lease::{Held, Lease, LeaseKeys, Leases},
    response::Found,
};
use raft::{Entry, Payload, Persist, RoleName, Status};

use super::{
    Place, Watch,
    model::{Model, Vanished},
};

/// How late a lease may be ended that is over, in microseconds.
const LATE: u64 = 1_000_000;
/// How long an entry of a leader that works may take, in microseconds.
const LAG: u64 = 300_000;
/// How long a server that works is not heard of, in microseconds.
const SILENCE: u64 = 100_000;
/// What is lost by whole milliseconds.
const ROUNDING: u64 = 3;

/// See the module.
pub(super) struct Leasing {
    /// Largest deviation of a clock, in a million.
    drift: u64,
    now: u64,
    /// When a write was first sent.
    sent: HashMap<[u8; 16], u64>,
    /// The newest stamp of each server's log, and when it came there.
    stamps: Vec<(u64, u64)>,
    leading: Vec<Option<Leading>>,
}

/// How a leader does.
struct Leading {
    term: u64,
    /// Since when nothing holds it up.
    since: u64,
    seen: u64,
    /// The end of its log, and when.
    mark: (u64, u64),
    /// The first lease, with its end, that is over by its clock, and since when.
    over: Option<((u64, u64), u64)>,
}

impl Leasing {
    pub(super) fn new(servers: usize, drift: u64) -> Self {
        let leading = (0..servers).map(|_| None).collect();
        Self { drift, now: 0, sent: HashMap::new(), stamps: vec![(0, 0); servers], leading }
    }

    /// What the clock of `me` says at least when it is so late.
    fn clock(&self, me: usize, now: u64) -> u64 {
        let (stamp, since) = self.stamps[me];
        (stamp + now.saturating_sub(since) * (1_000_000 - self.drift) / 1_000_000_000)
            .saturating_sub(ROUNDING)
    }

    /// Server `me` begins with this log.
    pub(super) fn restarted(&mut self, me: usize, log: &[Place]) {
        let newest = log.iter().rev().find_map(|place| stamp(place.payload.as_deref()?));
        self.stamps[me] = (newest.unwrap_or(0), self.now);
        self.leading[me] = None;
    }

    /// Server `me` goes on from a state with this stamp: its clock is set to that, also where it was later by its own log.
    pub(super) fn adopted(&mut self, me: usize, stamp: u64) {
        self.stamps[me] = (stamp, self.now);
    }
}

fn stamp(payload: &[u8]) -> Option<u64> {
    Some(Command::decode(payload).ok()?.stamp_ms)
}

impl Watch {
    /// It is so late.
    pub fn it_is(&mut self, now: u64) {
        self.leasing.now = now;
    }

    /// A client sends a write, perhaps again.
    pub fn asks(&mut self, token: [u8; 16]) {
        let now = self.leasing.now;
        self.leasing.sent.entry(token).or_insert(now);
    }

    /// Server `me` has new entries in its log.
    pub fn stamped(&mut self, me: usize, persist: &Persist) {
        let payload = |entry: &Entry| match &entry.payload {
            Payload::Command(bytes) => stamp(bytes),
            _ => None,
        };
        if let Some(newest) = persist.entries.iter().rev().find_map(payload) {
            self.leasing.stamps[me] = (newest, self.leasing.now);
        }
    }

    /// Server `me` shows itself: what has ended since anybody did, ended rightly, and nothing stays that is over.
    ///
    /// # Panics
    /// When a lease ended too early, or did not in time.
    pub fn keeps_leases(&mut self, me: usize, status: &Status) -> Vec<Vanished> {
        let vanished = self.model.take_vanished();
        for Vanished { lease, revision, .. } in vanished.iter().filter(|vanished| vanished.expired) {
            self.was_not_early(*lease, *revision);
        }
        self.ends_in_time(me, status);
        vanished
    }

    fn was_not_early(&self, id: u64, revision: u64) {
        let Leasing { drift, now, sent, .. } = &self.leasing;
        let Some((lease, (since, _))) =
            self.model.lease_of(id).and_then(|lease| Some((lease, lease.end_at(revision)?)))
        else {
            panic!("VIOLATION {revision} ends lease {id}, which never was")
        };
        let Some(sent) = self.committed_at(since).and_then(|command| sent.get(&command.request.token)) else {
            panic!("VIOLATION nobody asked for {since}, which gave lease {id} its time")
        };
        let passed = (now - sent) * (1_000_000 + drift) / 1_000_000_000;
        assert!(
            passed + ROUNDING >= lease.ttl_ms,
            "VIOLATION {revision} ends lease {id} of {} ms by {since}, which was asked for {passed} ms ago",
            lease.ttl_ms
        );
    }

    fn ends_in_time(&mut self, me: usize, status: &Status) {
        let (now, clock, term) = (self.leasing.now, self.leasing.clock(me, self.leasing.now), status.term.0);
        let leading = &mut self.leasing.leading[me];
        if status.role != RoleName::Leader {
            *leading = None;
            return;
        }
        let last = status.last.index.0;
        let anew = || Leading { term, since: now, seen: now, mark: (last, now), over: None };
        let leading = leading.get_or_insert_with(anew);
        if leading.term != term {
            *leading = anew();
        }
        let silent = now - std::mem::replace(&mut leading.seen, now) > SILENCE;
        let lags = now - leading.mark.1 > LAG;
        if silent || lags || status.transferring.is_some() {
            leading.since = now;
        }
        if status.applied.0 >= leading.mark.0 {
            leading.mark = (last, now);
        }
        let first = self.model.ends().min().filter(|(end, _)| *end <= clock);
        leading.over = first.map(|first| match leading.over {
            Some((same, since)) if same == first => (same, since),
            _ => (first, now),
        });
        if let Some(((end, id), since)) = leading.over {
            let late = now - since.max(leading.since);
            assert!(
                late <= LATE,
                "VIOLATION s{me} leads and lets lease {id} stay, which was over at {end}: it is {clock}"
            );
        }
    }

    /// How long it takes at most until all leases that there are are over, in microseconds.
    pub fn leases_last(&self) -> u64 {
        let left = self.model.ends().map(|(end, _)| end.saturating_sub(self.stamp_ms)).max();
        left.unwrap_or(0) * 1_000_000_000 / (1_000_000 - self.leasing.drift)
    }

    /// A row as the model has it, of which server `me` shows how long it is still to be there.
    pub(super) fn without_time(&self, me: usize, found: &Found, revision: u64) -> Found {
        let lease = found.lease.map(|Held { lease, remaining_ms }| {
            let left =
                remaining_ms.unwrap_or_else(|| panic!("VIOLATION s{me} does not show a time: {found:?}"));
            self.time_left(me, lease, revision, left);
            Held { lease, remaining_ms: None }
        });
        Found { lease, ..found.clone() }
    }

    /// The same where the clock is known by which it was computed, and where nothing is shown of rows of the past.
    pub(super) fn without_time_at(&self, me: usize, found: &Found, moment: super::Moment) -> Found {
        let lease = found.lease.map(|Held { lease, remaining_ms }| {
            let end = end_of(&self.model, lease, moment.revision);
            let right = end.map(|end| end.saturating_sub(moment.clock_ms));
            let fits = remaining_ms.is_none() || remaining_ms == right;
            assert!(fits, "VIOLATION s{me} shows {remaining_ms:?} of {right:?} ms at {moment:?}: {found:?}");
            Held { lease, remaining_ms: None }
        });
        Found { lease, ..found.clone() }
    }

    /// Server `me` says that so much is left of a lease.
    fn time_left(&self, me: usize, id: u64, revision: u64, left: u64) {
        let Leasing { drift, now, sent, .. } = &self.leasing;
        let known = self.model.lease_of(id).filter(|lease| lease.is_there(revision));
        let Some((lease, (since, end))) = known.and_then(|lease| Some((lease, lease.end_at(revision)?)))
        else {
            panic!("VIOLATION s{me} shows lease {id} at {revision}, where it is not")
        };
        // Its clock may be slow and what it knows of the time old, but not older than what it shows.
        let most = end.saturating_sub(self.stamp_up_to(revision));
        assert!(
            left <= most,
            "VIOLATION s{me} shows {left} ms of lease {id} at {revision}, of at most {most}"
        );
        let sent = self.committed_at(since).and_then(|command| sent.get(&command.request.token));
        let passed = sent.map_or(0, |sent| (now - sent) * (1_000_000 + drift) / 1_000_000_000);
        let bound = lease.ttl_ms.saturating_sub(passed + ROUNDING);
        assert!(
            left >= bound,
            "VIOLATION s{me} shows {left} ms of lease {id} at {revision}, of at least {bound}"
        );
    }

    /// Server `me` shows leases.
    ///
    /// # Panics
    /// When they are others.
    pub fn shows_leases(&self, me: usize, after: u64, shown: &Leases) {
        let revision = shown.revision;
        assert!(revision <= self.committed(), "VIOLATION s{me} shows leases at {revision}, not committed");
        let there = self.model.leases().filter(|(id, lease)| *id > after && lease.is_there(revision));
        let want: Vec<u64> = there.map(|(id, _)| id).collect();
        let got: Vec<u64> = shown.leases.iter().map(|lease| lease.id).collect();
        assert!(
            want.starts_with(&got) && shown.more == (want.len() > got.len()),
            "VIOLATION s{me} shows leases {got:?} of {want:?} at {revision}"
        );
        shown.leases.iter().for_each(|lease| self.shows_one(me, lease, revision));
    }

    /// Server `me` shows a lease and its keys.
    ///
    /// # Panics
    /// When they are others.
    pub fn shows_lease(&self, me: usize, (id, after): (u64, &[u8]), shown: &LeaseKeys) {
        let revision = shown.revision;
        assert!(revision <= self.committed(), "VIOLATION s{me} shows a lease at {revision}, not committed");
        let there = self.model.lease_of(id).is_some_and(|lease| lease.is_there(revision));
        assert_eq!(
            shown.lease.map(|lease| lease.id),
            there.then_some(id),
            "VIOLATION s{me} shows lease {id} at {revision}"
        );
        let mut keys = self.model.held_at(id, revision);
        keys.retain(|key| key.as_slice() > after);
        assert_eq!(
            (&shown.keys, shown.more),
            (&keys, false),
            "VIOLATION s{me} shows lease {id} at {revision}"
        );
        if let Some(lease) = &shown.lease {
            self.shows_one(me, lease, revision);
        }
    }

    fn shows_one(&self, me: usize, shown: &Lease, revision: u64) {
        self.time_left(me, shown.id, revision, shown.remaining_ms);
        let keys = self.model.held_at(shown.id, revision).len() as u64;
        let known = self.model.lease_of(shown.id).map(|lease| (lease.ttl_ms, lease.own, keys));
        assert_eq!(
            known,
            Some((shown.ttl_ms, shown.own, shown.keys)),
            "VIOLATION s{me} shows {shown:?} at {revision}"
        );
    }
}

fn end_of(model: &Model, lease: u64, revision: u64) -> Option<u64> {
    model
        .lease_of(lease)
        .filter(|lease| lease.is_there(revision))
        .and_then(|lease| Some(lease.end_at(revision)?.1))
}
