//! A small cluster under a seeded random world: messages are lost, doubled and reordered, links are cut, disks are
//! late, processes die and lose what was not synced. After every action the promises that only several servers
//! together can break are checked; at the end the faults stop and the cluster must come together again.
//!
//! A failing seed is printed; `check(seed)` repeats it exactly.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/weather.rs"]
mod weather;

use cluster::{Cluster, settings};
use raft::Index;
use weather::{Dice, Seen, carry, stream};

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
