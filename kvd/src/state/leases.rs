//! The leases that there are, what they hold, and when they are over.
//!
//! All of it is in memory: there are at most [`LEASES`](limits::LEASES) leases, and the keys they hold are bounded together.
//! It is state like the rows, and in the state's hash. What changed since the last flush goes into the next commit
//! (`store/leases.rs`), and whole leases are read from there when a store is opened.
//!
//! A row says which lease holds it, and the lease knows its keys: either is changed with the other, where a row is replaced
//! ([`Leases::shift`]). A write of a key that no lease holds or held costs one comparison there.
//!
//! **Over** is decided by stamps in the log alone. A deadline is the stamp of the entry that granted or renewed the lease,
//! and its time to live; it is over for an entry whose stamp is not below that. What is over can no longer be renewed or
//! used, and lasts until an entry of a leader names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

use imbl::OrdMap;
use protocol::{Verdict, lease, limits, stored::StoredLease};

use crate::instruments::{Mutant, mutant};

/// Leases by their ids. A clone is constant-time and shares everything.
pub(crate) type Map = OrdMap<u64, Lease>;

/// A lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    /// Its time.
    pub(crate) stored: StoredLease,
    /// How many keys it holds.
    pub(crate) keys: usize,
}

/// Bounds on all of it. They are part of what every node must agree on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LeaseLimits {
    /// Most leases.
    pub(crate) leases: usize,
    /// Most keys of one.
    pub(crate) keys: usize,
    /// Most bytes of the keys of all.
    pub(crate) bytes: usize,
    /// Most leases that one entry ends.
    pub(crate) expired: usize,
    /// Most keys, roughly, that go with them.
    pub(crate) expired_keys: usize,
}

impl LeaseLimits {
    /// Of every cluster.
    pub(crate) const ALL: Self = Self {
        leases: limits::LEASES,
        keys: limits::LEASE_KEYS,
        bytes: limits::LEASED_BYTES,
        expired: limits::EXPIRED_LEASES,
        expired_keys: limits::EXPIRED_KEYS,
    };
}

/// What a commit takes with it.
#[derive(Clone, Debug, Default)]
pub(crate) struct LeaseChanges {
    /// Leases as they are now, or that are gone.
    pub(crate) leases: BTreeMap<u64, Option<StoredLease>>,
    /// Lease and key, and whether the one holds the other.
    pub(crate) held: BTreeMap<(u64, Arc<[u8]>), bool>,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Leases {
    all: Map,
    held: BTreeSet<(u64, Arc<[u8]>)>,
    deadlines: BTreeSet<(u64, u64)>,
    bytes: usize,
    hash: u64,
    /// Whether there ever was one: the format of the store depends on it.
    used: bool,
    unflushed: LeaseChanges,
    limits: LeaseLimits,
}

impl Leases {
    /// None, and there never was one.
    pub(crate) fn new() -> Self {
        Self {
            all: Map::new(),
            held: BTreeSet::new(),
            deadlines: BTreeSet::new(),
            bytes: 0,
            hash: 0,
            used: false,
            unflushed: LeaseChanges::default(),
            limits: LeaseLimits::ALL,
        }
    }

    /// Those of a commit. The error says what is wrong with them.
    pub(crate) fn load(
        hash: u64,
        leases: impl IntoIterator<Item = (u64, StoredLease)>,
        held: impl IntoIterator<Item = (u64, Arc<[u8]>)>,
    ) -> Result<Self, &'static str> {
        let mut loaded = Self { used: true, ..Self::new() };
        for (id, lease) in leases {
            loaded.insert(id, lease);
        }
        for (id, key) in held {
            if loaded.get(id).is_none() {
                return Err("a lease that holds a key is not there");
            }
            loaded.attach(id, &key);
        }
        loaded.unflushed = LeaseChanges::default();
        let within = loaded.all.len() <= loaded.limits.leases && loaded.bytes <= loaded.limits.bytes;
        if !within {
            return Err("it has more leases, or keys of leases, than any state");
        }
        if loaded.hash == hash { Ok(loaded) } else { Err("its leases are not those it was written with") }
    }

    /// Whether there ever was one.
    pub(crate) fn is_used(&self) -> bool {
        self.used
    }

    /// The store is of a format from now on that has leases.
    pub(super) fn mark_used(&mut self) {
        self.used = true;
    }

    /// No key is held any more. Leases that were for one key go with it, others stay and hold nothing.
    pub(super) fn release(&mut self) {
        while let Some((id, key)) = self.held.first().cloned() {
            self.detach(id, &key);
        }
    }

    /// All of them, for a view.
    pub(crate) fn all(&self) -> &Map {
        &self.all
    }

    /// Its share of the state's hash.
    pub(crate) fn hash(&self) -> u64 {
        self.hash
    }

    /// A lease, over or not.
    pub(crate) fn get(&self, id: u64) -> Option<&Lease> {
        self.all.get(&id)
    }

    /// A lease that is not over at this stamp.
    pub(crate) fn live(&self, id: u64, stamp_ms: u64) -> Option<&Lease> {
        self.get(id).filter(|lease| lease.stored.deadline_ms > stamp_ms)
    }

    /// The keys of a lease after one of them, in their order.
    pub(crate) fn keys_after<'a>(&'a self, id: u64, after: &[u8]) -> impl Iterator<Item = &'a Arc<[u8]>> {
        let from = if after.is_empty() {
            Bound::Included((id, Arc::from([])))
        } else {
            Bound::Excluded((id, Arc::from(after)))
        };
        let range = self.held.range((from, Bound::Unbounded));
        range.take_while(move |(lease, _)| *lease == id).map(|(_, key)| key)
    }

    /// The first deadline.
    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline_ms, _)| *deadline_ms)
    }

    /// Those that are over at this stamp, the first of them first: as many as one entry ends.
    pub(crate) fn over(&self, stamp_ms: u64) -> Vec<u64> {
        let (mut over, mut keys) = (Vec::new(), 0);
        for (deadline_ms, id) in &self.deadlines {
            if *deadline_ms > stamp_ms
                || over.len() >= self.limits.expired
                || keys >= self.limits.expired_keys
            {
                break;
            }
            keys += self.get(*id).map_or(0, |lease| lease.keys);
            over.push(*id);
        }
        over
    }

    /// The bounds.
    pub(crate) fn limits(&self) -> LeaseLimits {
        self.limits
    }

    /// Whether there is room for another lease; `gives_back` says that the write that makes it ends one.
    pub(crate) fn room_for_lease(&self, gives_back: bool) -> Result<(), Verdict> {
        let leases = self.all.len() - usize::from(gives_back);
        let room = leases < self.limits.leases;
        if room { Ok(()) } else { Err(Verdict::TooManyLeases) }
    }

    /// Whether a key that `from` holds, or nothing (0), may be held by a lease that holds so many keys.
    pub(crate) fn room_for_key(&self, from: u64, key: &[u8], keys: usize) -> Result<(), Verdict> {
        if keys >= self.limits.keys {
            return Err(Verdict::LeaseFull);
        }
        let more = if from == 0 { cost(key) } else { 0 };
        if self.bytes + more > self.limits.bytes {
            return Err(Verdict::LeasedTooLarge);
        }
        Ok(())
    }

    /// Whether this lease ends when it loses a key.
    pub(crate) fn ends_with_key(&self, id: u64) -> bool {
        self.get(id).is_some_and(|lease| lease.stored.own && lease.keys == 1)
    }

    /// Adds a lease that holds nothing.
    pub(crate) fn insert(&mut self, id: u64, stored: StoredLease) {
        self.used = true;
        self.hash = self.hash.wrapping_add(stored.element(id));
        self.deadlines.insert((stored.deadline_ms, id));
        self.unflushed.leases.insert(id, Some(stored));
        let before = self.all.insert(id, Lease { stored, keys: 0 });
        debug_assert!(before.is_none(), "an id is given once");
    }

    /// Gives a lease another deadline.
    pub(crate) fn renew(&mut self, id: u64, deadline_ms: u64) {
        let Some(lease) = self.all.get_mut(&id) else { return };
        let before = lease.stored;
        lease.stored.deadline_ms = deadline_ms;
        let after = lease.stored;
        self.hash = self.hash.wrapping_sub(before.element(id)).wrapping_add(after.element(id));
        self.deadlines.remove(&(before.deadline_ms, id));
        self.deadlines.insert((after.deadline_ms, id));
        if !mutant(Mutant::LeaseForgetsDeadline) {
            self.unflushed.leases.insert(id, Some(after));
        }
    }

    /// Removes a lease that holds nothing any more. One of its own may have gone with its key.
    pub(crate) fn remove(&mut self, id: u64) {
        let Some(Lease { stored, keys }) = self.all.remove(&id) else { return };
        debug_assert_eq!(keys, 0, "what it holds is released first");
        self.hash = self.hash.wrapping_sub(stored.element(id));
        self.deadlines.remove(&(stored.deadline_ms, id));
        self.unflushed.leases.insert(id, None);
    }

    /// A key is held by another lease from now on; zero is none.
    pub(super) fn shift(&mut self, key: &Arc<[u8]>, from: u64, to: u64) {
        if to != 0 {
            self.attach(to, key);
        }
        if from != 0 {
            self.detach(from, key);
        }
    }

    fn attach(&mut self, id: u64, key: &Arc<[u8]>) {
        let Some(lease) = self.all.get_mut(&id) else { return };
        if !self.held.insert((id, Arc::clone(key))) {
            return;
        }
        lease.keys += 1;
        self.bytes += cost(key);
        self.hash = self.hash.wrapping_add(StoredLease::key_element(id, key));
        self.unflushed.held.insert((id, Arc::clone(key)), true);
    }

    fn detach(&mut self, id: u64, key: &Arc<[u8]>) {
        let held = (id, Arc::clone(key));
        let Some(lease) = self.all.get_mut(&id) else { return };
        if !self.held.remove(&held) {
            return;
        }
        lease.keys -= 1;
        let ends = lease.stored.own && lease.keys == 0;
        self.bytes -= cost(key);
        self.hash = self.hash.wrapping_sub(StoredLease::key_element(id, key));
        self.unflushed.held.insert(held, false);
        if ends {
            self.remove(id);
        }
    }

    /// What the next commit takes.
    pub(crate) fn take_unflushed(&mut self) -> LeaseChanges {
        std::mem::take(&mut self.unflushed)
    }

    /// The leases after an id, and whether there are more than `most`.
    pub(crate) fn page(&self, after: u64, clock_ms: u64, most: usize) -> (Vec<lease::Lease>, bool) {
        let from = Bound::Excluded(after);
        let mut leases = self.all.range((from, Bound::Unbounded));
        let page = leases.by_ref().take(most).map(|(id, lease)| lease.shown(*id, clock_ms)).collect();
        (page, leases.next().is_some())
    }

    #[cfg(test)]
    pub(crate) fn set_limits(&mut self, limits: LeaseLimits) {
        self.limits = limits;
    }
}

impl Lease {
    /// As it is shown when it is so late.
    pub(crate) fn shown(&self, id: u64, clock_ms: u64) -> lease::Lease {
        let StoredLease { ttl_ms, deadline_ms, own } = self.stored;
        let remaining_ms = deadline_ms.saturating_sub(clock_ms);
        lease::Lease { id, ttl_ms, remaining_ms, keys: self.keys as u64, own }
    }
}

/// What a key counts for.
fn cost(key: &[u8]) -> usize {
    limits::ROW_BYTES + key.len()
}
