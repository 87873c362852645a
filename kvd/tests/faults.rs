//! Real processes under heavy faults: a network that is cut, loses, delays, repeats and reorders; `kill -9` faster than
//! an election; processes that stand still. Several clients work all the time, and everything they were told is
//! checked at the end. No acknowledged write may be lost, none may happen twice, and no term may have two leaders.
//!
//! | variable | what | otherwise |
//! | --- | --- | --- |
//! | `KVD_TEST_SEED` | the seed to replay | the clock's, printed |
//! | `KVD_TEST_SOAK_SECONDS` | how long `soak` breaks things | 20 |
//! | `KVD_TEST_STORM` | how many processes `storm` kills | 50 |
//! | `KVD_TEST_OPERATIONS` | how many operations `many_operations` checks | 100 000 |

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "faults/load.rs"]
mod load;
#[path = "faults/nemesis.rs"]
mod nemesis;
#[path = "support/real.rs"]
mod real;
#[path = "faults/trial.rs"]
mod trial;

use std::time::{Duration, Instant};

use load::Plan;
use nemesis::Nemesis;
use protocol::{NodeStatus, Role};
use real::{eventually, leader, length, statuses};
use testkit::proxy::Counts;
use trial::{PATIENCE, Trial};

const SIZE: usize = 5;
const PLAN: Plan = Plan { clients: 10, connections: 2, keys: 60, timeout: Duration::from_secs(2) };
/// A node that was killed is back within this time.
const SOON: Duration = Duration::from_millis(50);
/// Longer than a connection that is silent lives.
const A_WHILE: Duration = Duration::from_millis(2500);

/// As in the seed project: two of five are isolated, then a third, so that there is no majority; then they come back
/// one by one. Clients reach everybody all the time, so that a leader without followers is asked as well.
#[test]
fn partitioned() {
    partition("partitioned", true, true);
}

/// The isolated ones hear everything and can say nothing: the first of them leads and gets no answer to what it hears
/// of others.
#[test]
fn partitioned_outbound_only() {
    partition("partitioned_outbound_only", false, true);
}

/// The isolated ones are heard and hear nothing: the first of them leads on, as far as the others can tell.
#[test]
fn partitioned_inbound_only() {
    partition("partitioned_inbound_only", true, false);
}

fn partition(name: &'static str, inbound: bool, outbound: bool) {
    let trial = Trial::start(name, SIZE, true, PLAN);
    let old = trial.leader();
    let [second, third] = [old % SIZE + 1, (old + 1) % SIZE + 1];
    trial.proxy().isolate(old, inbound, outbound);
    trial.proxy().isolate(second, inbound, outbound);
    let began = Instant::now();
    let new = trial.runtime.block_on(eventually(PATIENCE, "leader of the majority", async || {
        leader(&trial.client).await.filter(|id| ![old, second].contains(id))
    }));
    trial.load.progress(100, PATIENCE);
    println!("{name}: n{new} leads and serves {:.1?} after n{old} was isolated", began.elapsed());
    trial.endure(A_WHILE);
    trial.load.progress(100, PATIENCE);

    trial.proxy().isolate(third, inbound, outbound);
    trial.runtime.block_on(eventually(PATIENCE, "end of leadership", async || {
        let leads = |status: &NodeStatus| status.role == Role::Leader;
        (!statuses(&trial.client).await.iter().any(leads)).then_some(())
    }));
    // What was acknowledged before arrives.
    trial.endure(Duration::from_millis(200));
    let before = trial.load.acknowledged();
    trial.endure(A_WHILE);
    assert_eq!(trial.load.acknowledged(), before, "without a majority nothing is acknowledged");

    let mut together: Vec<_> = (1..=SIZE).filter(|id| ![old, second, third].contains(id)).collect();
    for id in [third, old, second] {
        together.push(id);
        trial.proxy().join(id, &together);
        let took = trial.load.progress(100, PATIENCE);
        println!("{name}: served {took:.1?} after n{id} came back");
    }
    assert!(trial.finish().cut > 0, "something was cut");
}

/// Random faults of every kind, with a moment of rest now and then, in which everybody must be served.
#[test]
fn soak() {
    let mut trial = Trial::start("soak", SIZE, true, PLAN);
    let mut nemesis = Nemesis::new(trial.rng.fork("nemesis"));
    let time = Duration::from_secs(length("KVD_TEST_SOAK_SECONDS", 20) as u64);
    let (began, mut longest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < time {
        for _ in 0..15 {
            let what = nemesis.act(&mut trial);
            println!("soak: {:.1?}: {what}", began.elapsed());
            trial.endure_up_to(250);
        }
        nemesis.rest(&mut trial);
        println!("soak: {:.1?}: rests", began.elapsed());
        longest = longest.max(trial.load.progress(100, PATIENCE));
    }
    println!("soak: {:?}, served again after {longest:.1?} at most", nemesis.done);
    assert_eq!(nemesis.never(), [], "everything that can be done was done");
    let counts = trial.finish();
    let Counts { passed, lost, cut, duplicated, delayed, reordered, overflowed: _, rebound } = counts;
    let seen = [passed, lost, cut, duplicated, delayed, reordered, rebound];
    assert!(seen.iter().all(|count| *count > 0), "every kind of fault happened");
}

/// `kill -9` again and again, of one node, of several, of all; each is soon back.
#[test]
fn storm() {
    let mut trial = Trial::start("storm", SIZE, false, PLAN);
    let cycles = length("KVD_TEST_STORM", 50);
    let mut absences = Vec::new();
    while absences.len() < cycles {
        let mut victims: Vec<_> = (1..=SIZE).collect();
        trial.rng.shuffle(&mut victims);
        victims.truncate(*trial.rng.pick(&[1, 1, 1, 1, 1, 1, 1, 2, 3, SIZE]).unwrap());
        if trial.rng.chance(300_000) {
            victims = vec![trial.leader()];
        }
        let killed = Instant::now();
        trial.cluster.kill_all(&victims);
        trial.endure_up_to(20);
        for id in victims {
            trial.cluster.restart(id);
            absences.push(killed.elapsed());
        }
        trial.endure_up_to(300);
        if trial.rng.chance(50_000) {
            trial.load.progress(50, PATIENCE);
        }
    }
    absences.sort_unstable();
    let (median, longest) = (absences[absences.len() / 2], absences[absences.len() - 1]);
    let late = absences.iter().filter(|absence| **absence > SOON).count();
    println!(
        "storm: {} killed, back after {median:.1?} (longest {longest:.1?}, {late} after more than {SOON:?})",
        absences.len()
    );
    // On a machine that does other things as well, the last of five may come late.
    assert!(median < SOON, "restarts are quick");
    trial.finish();
}

/// As many operations as are asked for, by many clients at once, while one node after the other has trouble.
#[test]
fn many_operations() {
    let plan = Plan { clients: 64, connections: 8, keys: 2000, timeout: Duration::from_secs(2) };
    let mut trial = Trial::start("many_operations", 3, true, plan);
    let mut nemesis = Nemesis::new(trial.rng.fork("nemesis"));
    let wanted = length("KVD_TEST_OPERATIONS", 100_000) as u64;
    let began = Instant::now();
    while trial.load.answered() < wanted {
        trial.load.progress(wanted.min(5000), PATIENCE);
        let what = nemesis.act(&mut trial);
        println!("many_operations: {:.1?}: {what}", began.elapsed());
        trial.endure_up_to(500);
        nemesis.rest(&mut trial);
    }
    trial.finish();
}
