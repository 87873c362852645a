//! A small cluster under a seeded random world whose members come and go meanwhile: servers are added, promoted,
//! demoted, removed and replaced, several at once, by whoever leads, while messages are lost, links cut, disks late,
//! and processes die with what was not synced. Every server uses its own idea of who is in the cluster.
//!
//! After every action: one leader a term, one vote a server and term, a leader holds what was committed, and that never
//! changes (`support/weather.rs`); and every committed membership follows from the one before by a step whose majorities
//! overlap. Now and then: every server uses the latest membership in its log. At the end the faults stop, and the
//! members that are left must elect a leader, end the change under way, and agree.
//!
//! A failing seed is printed; `check(seed)` repeats it exactly. `CHURN_SEEDS=10000` in the environment asks for more of
//! them.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/weather.rs"]
mod weather;

use std::ops::Range;

use cluster::{Cluster, membership, settings};
use raft::{Edit, Entry, Index, Membership, NodeId, Payload, RoleName};
use weather::{Dice, Seen, carry, in_memory, stream};

/// So many servers there are; the founders are the first of them.
const SERVERS: u64 = 7;

/// What a run reached, so that the test knows its own reach.
#[derive(Debug, Default)]
struct Reach {
    seen: Seen,
    /// Changes that were begun, and what was refused.
    begun: usize,
    refused: usize,
    /// Memberships that were committed.
    memberships: usize,
    /// Leaders that were in no committed membership any more when they were seen to lead.
    leaving: usize,
    /// Restarts of a server whose membership was joint.
    torn: usize,
}

/// Whether two memberships that follow each other in a log may: either the voters are the same ones, or both sets decide
/// in one of them.
fn follows(before: &Membership, after: &Membership) -> bool {
    match (before.is_joint(), after.is_joint()) {
        (false, true) => after.outgoing() == before.voters(),
        (true, false) => after.voters() == before.voters() && after.learners() == before.learners(),
        (false, false) => after.voters() == before.voters(),
        (true, true) => false,
    }
}

fn founders(cluster: &Cluster) -> Membership {
    Membership::new(&cluster.settings.voters, &[]).expect("founders")
}

/// Committed memberships form a chain.
fn check_chain(cluster: &Cluster, committed: &[Entry]) -> usize {
    let (mut latest, mut count) = (founders(cluster), 0);
    for entry in committed {
        if let Payload::Membership(next) = &entry.payload {
            assert!(follows(&latest, next), "{latest} is followed by {next} at {}", entry.position);
            latest = Membership::clone(next);
            count += 1;
        }
    }
    count
}

/// Every server uses the latest membership that its log, or else its state, has.
fn check_effect(cluster: &Cluster) {
    for (id, server) in &cluster.servers {
        let Some(raft) = &server.raft else { continue };
        let (base, log) = in_memory(&server.disk);
        let state = &server.applied[..base.min(server.applied.len())];
        let told = membership(&log).or_else(|| membership(state));
        let own = cluster.settings.voters.contains(id).then(|| founders(cluster));
        let shown = told.or(own).map_or("[]".to_owned(), |members| members.to_string());
        assert_eq!(raft.status().membership.to_string(), shown, "server {id} uses what its log has last");
    }
}

fn any(ids: &[NodeId], dice: &mut Dice) -> NodeId {
    ids[usize::try_from(dice.roll(ids.len() as u64)).unwrap_or(0)]
}

/// So many voters and all others out, or learners: sets that need not overlap with those before.
fn another_set(ids: &[NodeId], dice: &mut Dice) -> Vec<Edit> {
    let mut edits = Vec::new();
    for &id in ids {
        match dice.roll(7) {
            0..3 => edits.extend([Edit::Add(id), Edit::Promote(id)]),
            3 => edits.extend([Edit::Add(id), Edit::Demote(id)]),
            _ => edits.extend([Edit::Add(id), Edit::Remove(id)]),
        }
    }
    edits
}

/// One or two members change.
fn a_few(ids: &[NodeId], dice: &mut Dice) -> Vec<Edit> {
    let mut edits = Vec::new();
    for _ in 0..=dice.roll(2) {
        let (node, other) = (any(ids, dice), any(ids, dice));
        match dice.roll(6) {
            0 => edits.push(Edit::Add(node)),
            1 => edits.extend([Edit::Add(node), Edit::Promote(node)]),
            2 => edits.push(Edit::Promote(node)),
            3 => edits.push(Edit::Demote(node)),
            4 => edits.push(Edit::Remove(node)),
            _ => edits.extend([Edit::Add(other), Edit::Promote(other), Edit::Remove(node)]),
        }
    }
    edits
}

/// Asks a server, mostly one that leads, for a change.
fn change(cluster: &mut Cluster, dice: &mut Dice, reach: &mut Reach, id: NodeId) {
    let leads = cluster.leader().filter(|_| !dice.one_in(8)).unwrap_or(id.0);
    if cluster.servers[&NodeId(leads)].raft.is_none() {
        return;
    }
    let ids = cluster.ids();
    let edits = if dice.one_in(2) { another_set(&ids, dice) } else { a_few(&ids, dice) };
    match cluster.raft(leads).change(&edits) {
        Ok(_) => reach.begun += 1,
        Err(_) => reach.refused += 1,
    }
    cluster.pump(NodeId(leads));
}

fn act(cluster: &mut Cluster, dice: &mut Dice, reach: &mut Reach, step: u64) {
    let ids = cluster.ids();
    let id = any(&ids, dice);
    let up = cluster.servers[&id].raft.is_some();
    match dice.roll(100) {
        0..4 if !cluster.snapshots.is_empty() => stream(cluster, dice),
        4..6 if up => {
            let applied = cluster.status(id.0).applied.0;
            cluster.discard(id, Index(dice.roll(applied + 1)));
        }
        0..52 => carry(cluster, dice),
        52..68 => cluster.tick_one(id),
        68..84 => {
            cluster.sync_one(id);
            cluster.pump(id);
        }
        84..88 if up => {
            let _ = cluster.propose(id.0, &format!("{step}"));
            cluster.pump(id);
        }
        88..92 if up => {
            if cluster.read(id.0, step).is_ok() {
                reach.seen.asked.insert(step, reach.seen.committed.len());
            }
            cluster.pump(id);
        }
        92..95 if up => change(cluster, dice, reach, id),
        95 if up && dice.one_in(4) => {
            let _ = cluster.raft(id.0).transfer(None);
            cluster.pump(id);
        }
        96 if up && dice.one_in(2) => {
            reach.torn += usize::from(cluster.status(id.0).membership.is_joint());
            cluster.crash(id);
        }
        97 if !up => {
            let most = cluster.servers[&id].applied.len() as u64;
            cluster.start(id, Index(dice.roll(most + 1)));
            reach.seen.counted.insert(id, 0);
            cluster.pump(id);
        }
        98 if dice.one_in(6) => cluster.isolate(id.0),
        98 if dice.one_in(3) => split(cluster, dice),
        99 if dice.one_in(2) => cluster.heal(),
        98 => {
            cluster.cut.insert((id, any(&ids, dice)));
        }
        _ => {}
    }
}

/// Two parts of the servers hear each other no more.
fn split(cluster: &mut Cluster, dice: &mut Dice) {
    let ids = cluster.ids();
    let (left, right): (Vec<NodeId>, Vec<NodeId>) = ids.iter().partition(|_| dice.one_in(2));
    for &a in &left {
        for &b in &right {
            cluster.cut.extend([(a, b), (b, a)]);
        }
    }
}

/// Runs one seed: chaos, then calm.
fn check(seed: u64) -> Reach {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1);
    let mut settings = settings([1, 2, 3, 3, 3, 4, 5][usize::try_from(seed % 7).unwrap_or(0)]);
    settings.seed = seed;
    settings.max_append_entries = 3;
    settings.max_inflight_appends = 2;
    settings.cache_bytes = if dice.one_in(2) { 0 } else { 1 << 20 };
    let mut cluster = Cluster::with(settings);
    let founded = cluster.ids().len() as u64;
    (founded + 1..=SERVERS).for_each(|id| cluster.join(NodeId(id)));
    let mut reach = Reach::default();
    cluster.servers.values_mut().for_each(|server| server.slow_disk = true);
    for step in 0..5000 {
        act(&mut cluster, &mut dice, &mut reach, step);
        reach.seen.check(&cluster);
        cluster.log.clear();
        cluster.votes.clear();
        if step % 50 == 0 {
            check_effect(&cluster);
            Seen::check_logs(&cluster);
            cluster.network.truncate(200);
        }
        let leaves = |status: &raft::Status| status.role == RoleName::Leader && !votes(status);
        let running = cluster.servers.values().filter_map(|server| server.raft.as_ref());
        reach.leaving += running.filter(|raft| leaves(&raft.status())).count();
    }
    calm(&mut cluster, &mut reach);
    reach.memberships = check_chain(&cluster, &reach.seen.committed);
    reach.seen.installs = cluster.installs;
    reach
}

fn votes(status: &raft::Status) -> bool {
    [status.membership.voters(), status.membership.outgoing()].concat().contains(&status.id)
}

fn ticks(cluster: &mut Cluster, count: usize) {
    for _ in 0..count {
        cluster.tick();
        while let Some(snapshot) = cluster.snapshots.pop_front() {
            cluster.arrive(snapshot);
        }
    }
}

/// The faults stop: within twenty election timeouts a leader appears that takes a proposal and has ended the change under
/// way, and all members agree.
fn calm(cluster: &mut Cluster, reach: &mut Reach) {
    cluster.heal();
    for id in cluster.ids() {
        cluster.server(id.0).slow_disk = false;
        cluster.sync(id);
        if cluster.servers[&id].raft.is_none() {
            cluster.start(id, Index(0));
            reach.seen.counted.insert(id, 0);
        }
    }
    ticks(cluster, 200);
    reach.seen.check(cluster);
    let leader = cluster.leader().expect("a leader within twenty election timeouts");
    let last = cluster.propose(leader, "calm").expect("it takes a proposal");
    ticks(cluster, 10);
    reach.seen.check(cluster);
    let status = cluster.status(leader);
    let members = &status.membership;
    assert!(!members.is_joint() && status.membership_committed, "the change under way has ended: {members}");
    assert!(members.voters().contains(&NodeId(leader)), "a voter leads");
    for id in members.all() {
        let applied = cluster.servers[&id].applied.last().map(|entry| entry.position);
        assert_eq!(applied, Some(last), "server {id} of {members} has caught up");
        assert_eq!(&cluster.status(id.0).membership, members);
    }
    check_effect(cluster);
    Seen::check_logs(cluster);
}

fn check_all(seeds: Range<u64>) -> Reach {
    let mut all = Reach::default();
    for seed in seeds {
        let run = std::panic::catch_unwind(|| check(seed));
        let reach = run.unwrap_or_else(|_| panic!("seed {seed} failed"));
        all.seen.elections += reach.seen.elections;
        all.seen.checked_reads += reach.seen.checked_reads;
        all.seen.installs += reach.seen.installs;
        all.begun += reach.begun;
        all.refused += reach.refused;
        all.memberships += reach.memberships;
        all.leaving += reach.leaving;
        all.torn += reach.torn;
    }
    all
}

#[test]
fn promises_hold_while_members_come_and_go() {
    let asked = std::env::var("CHURN_SEEDS").ok().and_then(|count| count.parse().ok());
    let reach = check_all(0..asked.unwrap_or(150));
    let reached = reach.seen.elections > 300
        && reach.seen.checked_reads > 1500
        && reach.seen.installs > 100
        && reach.memberships > 500
        && reach.leaving > 1000
        && reach.torn > 100;
    assert!(reached, "reached {reach:?}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let (a, b) = (check(17), check(17));
    assert_eq!(a.seen.leaders, b.seen.leaders);
    assert_eq!(a.seen.committed, b.seen.committed);
}
