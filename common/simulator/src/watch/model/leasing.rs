//! Leases as their specification has them: every lease that ever was, with each end that it was given and by which
//! revision, so that it can be judged what a server shows of it at any. What a lease holds is what rows say.
//!
//! A key that a lease holds is removed by three things: a write of somebody, a revocation, and a committed expiry which
//! names the lease and whose stamp is not before its end. What an expiry names too early stays.

use std::collections::BTreeMap;

use protocol::{Condition, Decided, Hold, Operation, Verdict as Judgement};

use super::{Model, Told, Verdict, is_met};

/// All that there ever were, by their ids, and those that there are.
#[derive(Default)]
pub(super) struct Leases {
    all: BTreeMap<u64, Lease>,
    current: BTreeMap<u64, u64>,
    vanished: Vec<Vanished>,
}

/// A lease.
#[derive(Clone, Debug)]
pub struct Lease {
    /// For how long it is granted.
    pub ttl_ms: u64,
    /// Whether it ends with its key.
    pub own: bool,
    /// From which revision on when it was to end, by the stamps of the log.
    pub ends: Vec<(u64, u64)>,
    /// At which revision it ended.
    pub ended: Option<u64>,
}

/// A lease that ended by itself or was revoked.
#[derive(Clone, Debug)]
pub struct Vanished {
    /// Which.
    pub lease: u64,
    /// When.
    pub revision: u64,
    /// Whether nobody asked for it.
    pub expired: bool,
    /// What went with it.
    pub keys: Vec<Vec<u8>>,
}

impl Lease {
    /// The revision that gave it the end which it had at this one, and that end.
    pub fn end_at(&self, revision: u64) -> Option<(u64, u64)> {
        self.ends.iter().rev().find(|(since, _)| *since <= revision).copied()
    }

    /// Whether it is there at this revision.
    pub fn is_there(&self, revision: u64) -> bool {
        self.end_at(revision).is_some() && self.ended.is_none_or(|ended| ended > revision)
    }
}

impl Model {
    /// What leases ended since this was asked last.
    pub fn take_vanished(&mut self) -> Vec<Vanished> {
        std::mem::take(&mut self.leases.vanished)
    }

    /// A lease, ended or not.
    pub fn lease_of(&self, id: u64) -> Option<&Lease> {
        self.leases.all.get(&id)
    }

    /// All leases that there ever were.
    pub fn leases(&self) -> impl Iterator<Item = (u64, &Lease)> {
        self.leases.all.iter().map(|(id, lease)| (*id, lease))
    }

    /// Of the leases that there are, and when they are over by the stamps of the log.
    pub fn ends(&self) -> impl Iterator<Item = (u64, u64)> {
        self.leases.current.iter().map(|(id, end)| (*end, *id))
    }

    /// The keys that a lease holds at a revision.
    pub fn held_at(&self, id: u64, revision: u64) -> Vec<Vec<u8>> {
        let holds = |key: &&[u8]| {
            let held = self.at(key, revision).and_then(|row| row.lease);
            held.is_some_and(|held| held.lease == id)
        };
        self.keys().filter(holds).map(<[u8]>::to_vec).collect()
    }

    /// Does what a client wants of leases; the keys that this changed.
    pub(super) fn lease(&mut self, decided: &mut Decided, operation: &Operation) -> Vec<Vec<u8>> {
        let revision = decided.revision;
        match operation {
            Operation::Grant { ttl_ms } => self.begin(revision, *ttl_ms, false),
            Operation::Renew { lease } | Operation::Revoke { lease } if !self.is_live(*lease) => {
                decided.verdict = Judgement::NoLease;
            }
            Operation::Renew { lease } => {
                let stamp = self.stamp;
                let Some(known) = self.leases.all.get_mut(lease) else { return Vec::new() };
                let end = stamp + known.ttl_ms;
                known.ends.push((revision, end));
                self.leases.current.insert(*lease, end);
                (decided.number, decided.existed) = (known.ttl_ms, true);
            }
            Operation::Revoke { lease } => {
                let keys = self.end(revision, *lease, false);
                (decided.number, decided.existed) = (keys.len() as u64, true);
                return keys;
            }
            Operation::SetHeld { key, value, condition, previous, hold } => {
                let held = (key.as_slice(), value.as_slice(), condition, *hold);
                let row = self.row(key).cloned();
                decided.existed = row.is_some();
                decided.number = row.as_ref().map_or(0, |row| row.revision);
                decided.previous = row.filter(|_| *previous);
                return self.set_held(decided, held);
            }
            other => unreachable!("this is not about leases: {other:?}"),
        }
        Vec::new()
    }

    fn set_held(
        &mut self,
        decided: &mut Decided,
        (key, value, condition, hold): (&[u8], &[u8], &Condition, Hold),
    ) -> Vec<Vec<u8>> {
        let row = self.row(key);
        if !is_met(condition, row) {
            decided.verdict = Judgement::Unmet;
            return Vec::new();
        }
        let before = row.and_then(|row| row.lease).map_or(0, |held| held.lease);
        let lease = match hold {
            Hold::Keep => before,
            Hold::Ttl(ttl_ms) => {
                self.begin(decided.revision, ttl_ms, true);
                decided.revision
            }
            Hold::Lease(id) if self.is_live(id) => id,
            Hold::Lease(_) => {
                decided.verdict = Judgement::NoLease;
                return Vec::new();
            }
        };
        self.write(decided.revision, key, Some(value.to_vec()), lease)
    }

    /// Applies an entry of a leader that ends leases. (No run has so many that one entry could not end all it names.)
    pub(super) fn expire(&mut self, revision: u64, stamp: u64, leases: &[u64]) -> Verdict {
        self.stamp = stamp;
        let over: Vec<u64> =
            leases.iter().copied().filter(|id| self.end_of(*id).is_some_and(|end| end <= stamp)).collect();
        let keys: Vec<_> = over.into_iter().flat_map(|id| self.end(revision, id, true)).collect();
        if !keys.is_empty() {
            self.kept.trim(revision, stamp);
        }
        let number = keys.len() as u64;
        Verdict::Done(Told::Judged(Box::new(Decided { revision, number, ..Decided::default() })), keys)
    }

    fn begin(&mut self, revision: u64, ttl_ms: u64, own: bool) {
        let end = self.stamp + ttl_ms;
        self.leases.all.insert(revision, Lease { ttl_ms, own, ends: vec![(revision, end)], ended: None });
        self.leases.current.insert(revision, end);
    }

    /// When a lease that is there is over.
    fn end_of(&self, id: u64) -> Option<u64> {
        self.leases.current.get(&id).copied()
    }

    fn is_live(&self, id: u64) -> bool {
        self.end_of(id).is_some_and(|end| end > self.stamp)
    }

    /// Ends a lease; the keys that go with it.
    fn end(&mut self, revision: u64, lease: u64, expired: bool) -> Vec<Vec<u8>> {
        let keys = self.held_at(lease, revision);
        for key in &keys {
            self.put(revision, key, None);
        }
        self.ended(revision, lease);
        self.leases.vanished.push(Vanished { lease, revision, expired, keys: keys.clone() });
        keys
    }

    fn ended(&mut self, revision: u64, lease: u64) {
        if self.leases.current.remove(&lease).is_some()
            && let Some(known) = self.leases.all.get_mut(&lease)
        {
            known.ended = Some(revision);
        }
    }

    /// A key that a lease held was written or removed: a lease of its own ends with its last key.
    pub(super) fn released(&mut self, revision: u64, lease: u64) {
        let own = self.leases.all.get(&lease).is_some_and(|lease| lease.own);
        if own && self.held_at(lease, revision).is_empty() {
            self.ended(revision, lease);
        }
    }
}
