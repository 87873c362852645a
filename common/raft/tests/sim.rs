//! A small cluster under a seeded random world: messages are lost, doubled and reordered, links are cut, disks are
//! late, processes die and lose what was not synced. After every action the promises that only several servers
//! together can break are checked; at the end the faults stop and the cluster must come together again.
//!
//! A failing seed is printed; `check(seed)` repeats it exactly.

#[path = "support/cluster.rs"]
mod cluster;

use std::collections::BTreeMap;

use cluster::{Cluster, Disk, settings};
use raft::{Entry, Index, NodeId, RoleName, Term};

/// A small generator of the test's own.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn one_in(&mut self, sides: u64) -> bool {
        self.roll(sides) == 0
    }
}

/// What was seen so far, kept outside of the servers.
#[derive(Default)]
struct Seen {
    leaders: BTreeMap<Term, NodeId>,
    votes: BTreeMap<(NodeId, Term), NodeId>,
    committed: Vec<Entry>,
    asked: BTreeMap<u64, usize>,
    counted: BTreeMap<NodeId, usize>,
    checked_reads: usize,
    elections: usize,
    /// States made current.
    installs: usize,
}

impl Seen {
    fn check(&mut self, cluster: &Cluster) {
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

    fn check_logs(cluster: &Cluster) {
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
fn in_memory(disk: &Disk) -> (usize, Vec<Entry>) {
    let mut disk = disk.clone();
    while disk.sync_one().is_some() {}
    (usize::try_from(disk.base.index.0).unwrap_or(usize::MAX), disk.entries)
}

fn act(cluster: &mut Cluster, dice: &mut Dice, seen: &mut Seen, step: u64) {
    let ids = cluster.ids();
    let id = ids[usize::try_from(dice.roll(ids.len() as u64)).unwrap_or(0)];
    let up = cluster.servers[&id].raft.is_some();
    match dice.roll(100) {
        0..3 if !cluster.snapshots.is_empty() => stream(cluster, dice),
        3..8 if up => {
            let applied = cluster.status(id.0).applied.0;
            cluster.discard(id, Index(dice.roll(applied + 1)));
        }
        0..55 => carry(cluster, dice),
        55..72 => cluster.tick_one(id),
        72..86 => {
            cluster.sync_one(id);
            cluster.pump(id);
        }
        86..91 if up => {
            let _ = cluster.propose(id.0, &format!("{step}"));
            cluster.pump(id);
        }
        91..95 if up => {
            if cluster.read(id.0, step).is_ok() {
                seen.asked.insert(step, seen.committed.len());
            }
            cluster.pump(id);
        }
        95 if up => {
            cluster.raft(id.0).unreachable(ids[0]);
        }
        96 if up && dice.one_in(3) => cluster.crash(id),
        97 if !up => {
            let most = cluster.servers[&id].applied.len() as u64;
            cluster.start(id, Index(dice.roll(most + 1)));
            seen.counted.insert(id, 0);
            cluster.pump(id);
        }
        98 if dice.one_in(4) => cluster.isolate(id.0),
        99 if dice.one_in(3) => cluster.heal(),
        98 => {
            cluster.cut.insert((id, ids[0]));
        }
        _ => {}
    }
}

/// A state arrives, or is lost.
fn stream(cluster: &mut Cluster, dice: &mut Dice) {
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
fn carry(cluster: &mut Cluster, dice: &mut Dice) {
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

/// Runs one seed: chaos, then calm. Returns what happened, so that the test knows its own reach.
fn check(seed: u64) -> Seen {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
    let mut settings = settings([1, 2, 3, 3, 3, 5, 5][usize::try_from(seed % 7).unwrap_or(0)]);
    settings.seed = seed;
    settings.max_append_entries = 3;
    settings.max_inflight_appends = 2;
    settings.cache_bytes = if dice.one_in(2) { 0 } else { 1 << 20 };
    let mut cluster = Cluster::with(settings);
    let mut view = Seen::default();
    cluster.servers.values_mut().for_each(|server| server.slow_disk = true);
    for step in 0..3000 {
        act(&mut cluster, &mut dice, &mut view, step);
        view.check(&cluster);
        cluster.log.clear();
        cluster.votes.clear();
        if step % 100 == 0 {
            Seen::check_logs(&cluster);
            cluster.network.truncate(200);
        }
    }
    calm(&mut cluster, &mut view);
    view.installs = cluster.installs;
    view
}

/// The faults stop: a leader appears within ten election timeouts, commits, and all servers agree.
fn calm(cluster: &mut Cluster, seen: &mut Seen) {
    cluster.heal();
    for id in cluster.ids() {
        cluster.server(id.0).slow_disk = false;
        cluster.sync(id);
        if cluster.servers[&id].raft.is_none() {
            cluster.start(id, Index(0));
            seen.counted.insert(id, 0);
        }
    }
    let ticks = |cluster: &mut Cluster, count| {
        for _ in 0..count {
            cluster.tick();
            while let Some(snapshot) = cluster.snapshots.pop_front() {
                cluster.arrive(snapshot);
            }
        }
    };
    ticks(cluster, 100);
    seen.check(cluster);
    let leader = cluster.leader().expect("a leader within ten election timeouts");
    let last = cluster.propose(leader, "calm").expect("room for a proposal");
    ticks(cluster, 10);
    seen.check(cluster);
    for id in cluster.ids() {
        let applied = cluster.servers[&id].applied.last().map(|entry| entry.position);
        assert_eq!(applied, Some(last), "server {id} has caught up");
    }
    Seen::check_logs(cluster);
}

fn check_all(seeds: std::ops::Range<u64>) -> (usize, usize, usize, usize) {
    let mut reach = (0, 0, 0, 0);
    for seed in seeds {
        let run = std::panic::catch_unwind(|| check(seed));
        let seen = run.unwrap_or_else(|_| panic!("seed {seed} failed"));
        reach.0 += seen.elections;
        reach.1 += seen.committed.len();
        reach.2 += seen.checked_reads;
        reach.3 += seen.installs;
    }
    reach
}

#[test]
fn promises_hold_under_any_weather() {
    let (elections, committed, reads, installs) = check_all(0..300);
    let reached = elections > 600 && committed > 6000 && reads > 3000 && installs > 200;
    assert!(reached, "reached {elections} {committed} {reads} {installs}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (a, b) = (check(17), check(17));
    assert_eq!(a.leaders, b.leaders);
    assert_eq!(a.committed, b.committed);
}

#[test]
fn a_cluster_elects_commits_reads_and_restarts() {
    for voters in [1, 2, 3, 5] {
        let mut cluster = Cluster::new(voters);
        cluster.ticks(40);
        let leader = cluster.leader().expect("someone leads");
        cluster.propose(leader, "a").unwrap();
        for id in cluster.ids() {
            cluster.read(id.0, id.0).unwrap();
        }
        cluster.settle();
        assert_eq!(cluster.served.len(), cluster.ids().len(), "{voters} voters");
        let commit = cluster.status(leader).commit;
        assert_eq!(commit, cluster.status(leader).last.index);
        for id in cluster.ids() {
            assert_eq!(cluster.status(id.0).applied, commit);
            cluster.crash(id);
            cluster.start(id, Index(0));
        }
        cluster.ticks(40);
        let leader = cluster.leader().expect("someone leads again");
        assert_eq!(cluster.server(leader).applied.len() as u64, commit.0 + 1);
    }
}

#[test]
fn an_idle_cluster_holds_no_election() {
    let mut cluster = Cluster::new(3);
    cluster.ticks(40);
    let (leader, term) = (cluster.leader(), cluster.status(1).term);
    cluster.ticks(2000);
    assert_eq!((cluster.leader(), cluster.status(1).term), (leader, term));
}

#[test]
fn many_proposals_become_one_write_and_one_append_a_follower() {
    let mut settings = settings(3);
    settings.max_append_entries = 1000;
    let mut cluster = Cluster::with(settings);
    cluster.elect(1);
    for i in 0..300 {
        cluster.propose(1, &format!("{i}")).unwrap();
    }
    let effects = cluster.raft(1).effects();
    assert_eq!(effects.persist.map(|write| write.entries.len()), Some(300));
    assert_eq!(effects.send.len(), 2);
}
