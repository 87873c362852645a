//! A seeded random world for a small cluster, and what is promised in it: seen from outside, and kept outside of the
//! servers.

#![allow(dead_code, clippy::unwrap_used)] // each test binary uses a part; a test may fail here

use std::collections::BTreeMap;

use raft::{Entry, NodeId, RoleName, Term};

use crate::cluster::{Cluster, Disk};

/// A small generator of the test's own.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    pub(crate) fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What was seen so far, kept outside of the servers.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) leaders: BTreeMap<Term, NodeId>,
    pub(crate) votes: BTreeMap<(NodeId, Term), NodeId>,
    pub(crate) committed: Vec<Entry>,
    pub(crate) asked: BTreeMap<u64, usize>,
    pub(crate) counted: BTreeMap<NodeId, usize>,
    pub(crate) checked_reads: usize,
    pub(crate) elections: usize,
    /// States made current.
    pub(crate) installs: usize,
}

impl Seen {
    pub(crate) fn check(&mut self, cluster: &Cluster) {
        for &(id, term, vote) in &cluster.votes {
            assert_eq!(*self.votes.entry((id, term)).or_insert(vote), vote, "one vote a term");
        }
        for (&id, server) in &cluster.servers {
            let Some(raft) = &server.raft else { continue };
            let status = raft.status();
            if status.role == RoleName::Leader && self.leaders.get(&status.term) != Some(&id) {
                assert_eq!(self.leaders.insert(status.term, id), None, "one leader in term {}", status.term);
                self.elections += 1;
                let (base, log) = in_memory(&server.disk);
                let expected = self.committed.get(base..).unwrap_or_default();
                assert!(log.starts_with(expected), "the leader of {} has all committed", status.term);
            }
            let from = self.counted.get(&id).copied().unwrap_or(0).min(server.applied.len());
            for (i, entry) in server.applied.iter().enumerate().skip(from) {
                assert_eq!(entry.position.index.0, i as u64 + 1, "applied in order, once");
                match self.committed.get(i) {
                    Some(known) => assert_eq!(known, entry, "what is committed never changes"),
                    None => self.committed.push(entry.clone()),
                }
            }
            self.counted.insert(id, server.applied.len());
        }
        for (_, read, at) in &cluster.served[self.checked_reads..] {
            let known = self.asked.remove(&read.0).expect("a read is served once");
            assert!(at.0 >= known as u64, "read {read} saw {at}, {known} were committed before it came");
        }
        self.checked_reads = cluster.served.len();
    }

    pub(crate) fn check_logs(cluster: &Cluster) {
        let disks: Vec<&Disk> = cluster.servers.values().map(|server| &server.disk).collect();
        for a in &disks {
            for b in &disks {
                let skip = |disk: &Disk, other: &Disk| {
                    let skip = other.base.index.0.saturating_sub(disk.base.index.0);
                    usize::try_from(skip).unwrap_or(usize::MAX)
                };
                let (a, b) = (a.entries.iter().skip(skip(a, b)), b.entries.iter().skip(skip(b, a)));
                let pairs: Vec<_> = a.zip(b).collect();
                if let Some(last) = pairs.iter().rposition(|(x, y)| x.position == y.position) {
                    assert!(pairs[..=last].iter().all(|(x, y)| x == y), "logs that share a position match");
                }
            }
        }
    }
}

/// The log a server holds in memory: its disk after all its writes, and how many entries precede it.
pub(crate) fn in_memory(disk: &Disk) -> (usize, Vec<Entry>) {
    let mut disk = disk.clone();
    while disk.sync_one().is_some() {}
    (usize::try_from(disk.base.index.0).unwrap_or(usize::MAX), disk.entries)
}

/// A state arrives, or is lost.
pub(crate) fn stream(cluster: &mut Cluster, dice: &mut Dice) {
    let waiting = cluster.snapshots.len() as u64;
    let at = usize::try_from(dice.roll(waiting)).unwrap_or(0);
    let Some(snapshot) = cluster.snapshots.remove(at) else { return };
    if dice.one_in(4) || cluster.cut.contains(&(snapshot.from, snapshot.to)) {
        cluster.told(snapshot.from, snapshot.to, snapshot.session, None);
    } else {
        cluster.arrive(snapshot);
    }
}

/// A message arrives, mostly an old one; or is lost, or arrives twice.
pub(crate) fn carry(cluster: &mut Cluster, dice: &mut Dice) {
    let waiting = cluster.network.len() as u64;
    if waiting == 0 {
        return;
    }
    let at = if dice.one_in(4) { dice.roll(waiting) } else { dice.roll(waiting.min(3)) };
    let Some(envelope) = cluster.network.remove(usize::try_from(at).unwrap_or(0)) else { return };
    if dice.one_in(30) {
        return;
    }
    if dice.one_in(20) {
        cluster.network.push_back(envelope.clone());
    }
    cluster.deliver(envelope);
}
