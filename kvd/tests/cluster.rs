//! Five real processes under faults, by the names of the seed project's tests. Each is bounded in time, takes its
//! ports from the kernel and polls for what it waits for.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "cluster/bounds.rs"]
mod bounds;
#[path = "cluster/leading.rs"]
mod leading;
#[path = "cluster/members.rs"]
mod members;
#[path = "support/real.rs"]
mod real;
#[path = "cluster/scans.rs"]
mod scans;
#[path = "cluster/watches.rs"]
mod watches;
#[path = "cluster/writer.rs"]
mod writer;

use std::time::{Duration, Instant};

use protocol::Consistency;
use real::{KVD, Leaders, client_of, converged, eventually, leader, length, runtime, seed, statuses};
use testkit::{cluster::Cluster, rng::Rng};
use writer::Writer;

const SIZE: usize = 5;

fn start(size: usize) -> Cluster {
    Cluster::start(KVD, size)
}

#[test]
fn no_fault() {
    let cluster = start(SIZE);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "calm");
        let mut leaders = Leaders::default();
        let mut polls = tokio::time::interval(Duration::from_millis(100));
        for _ in 0..100 {
            polls.tick().await;
            leaders.see(&statuses(&client).await);
            writer.write(1).await;
        }
        assert_eq!(writer.unknown(), 0, "nothing failed, so every outcome is known");
        converged(&client, SIZE).await;
        writer.check(&client).await;
    });
}

#[test]
fn random_fault() {
    let mut cluster = start(SIZE);
    let mut rng = Rng::new(seed("random_fault"));
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "random");
        let mut leaders = Leaders::default();
        for _ in 0..20 {
            let down = cluster.down();
            if down.len() == 2 || (!down.is_empty() && rng.chance(500_000)) {
                cluster.restart(*rng.pick(&down).unwrap());
            } else {
                cluster.kill(*rng.pick(&cluster.running()).unwrap());
            }
            writer.write(10).await;
            leaders.see(&statuses(&client).await);
        }
        cluster.revive();
        converged(&client, SIZE).await;
        writer.check(&client).await;
        leaders.see_logs(&cluster);
    });
}

#[test]
fn known_fault() {
    let mut cluster = start(SIZE);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "known");
        let mut leaders = Leaders::default();
        let (mut down, mut gaps) = (Vec::new(), Vec::new());
        for _ in 0..length("KVD_TEST_KILLS", 10) {
            let id = eventually(Duration::from_secs(5), "leader", async || {
                leaders.see(&statuses(&client).await);
                leader(&client).await
            })
            .await;
            writer.write(1).await;
            cluster.kill(id);
            let killed = Instant::now();
            down.push(id);
            writer.write(1).await;
            gaps.push(killed.elapsed());
            writer.write(4).await;
            if down.len() == 2 {
                cluster.restart(down.remove(0));
            }
        }
        cluster.revive();
        converged(&client, SIZE).await;
        writer.check(&client).await;
        leaders.see_logs(&cluster);
        gaps.sort_unstable();
        let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        println!(
            "known_fault: {} leaders killed, {} terms had one, next write after {median:?} (longest {longest:?})",
            gaps.len(),
            leaders.terms()
        );
    });
}

#[test]
fn stale() {
    let mut cluster = start(SIZE);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "stale");
        writer.write(1).await;
        let leading = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let absent = leading % SIZE + 1;
        let (code, took) = cluster.stop(absent);
        assert_eq!(code, Some(0), "SIGTERM ends with 0");
        assert!(took < Duration::from_secs(1), "SIGTERM took {took:?}");
        writer.write(300).await;
        cluster.restart(absent);
        converged(&client, SIZE).await;
        let alone = client_of(&cluster, vec![cluster.address(absent).to_owned()]).await;
        writer.check(&alone).await;
    });
}

#[test]
fn redirect() {
    let cluster = start(SIZE);
    runtime().block_on(async {
        for id in 1..=SIZE {
            let client = client_of(&cluster, vec![cluster.address(id).to_owned()]).await;
            let key = format!("through-{id}").into_bytes();
            assert!(client.exists(&key, Consistency::Linearizable).await.unwrap().found.is_none());
            let written = client.set(&key, b"value", None).await.unwrap();
            let read = client.get(&key, Consistency::Linearizable).await.unwrap();
            let found = read.found.expect("a read after the write sees it");
            assert_eq!((found.value.as_slice(), found.revision), (b"value".as_slice(), written.revision));
            assert!(client.delete(&key, None).await.unwrap().existed);
            assert!(client.get(&key, Consistency::Linearizable).await.unwrap().found.is_none());
            assert_eq!(statuses(&client).await.len(), SIZE, "one endpoint is enough to learn of all nodes");
        }
    });
}

#[test]
fn restart_all() {
    let mut cluster = start(SIZE);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "restart");
        for _ in 0..3 {
            writer.write(100).await;
            for id in cluster.running() {
                cluster.kill(id);
            }
            cluster.revive();
        }
        writer.write(1).await;
        converged(&client, SIZE).await;
        writer.check(&client).await;
    });
}

#[test]
fn a_paused_leader_is_replaced_and_serves_no_stale_read() {
    let cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        client.set(b"k", b"old", None).await.unwrap();
        let old = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let alone = client_of(&cluster, vec![cluster.address(old).to_owned()]).await;
        alone.get(b"k", Consistency::Linearizable).await.unwrap();
        cluster.pause(old);
        let rest = (1..=3).filter(|id| *id != old).map(|id| cluster.address(id).to_owned()).collect();
        client_of(&cluster, rest).await.set(b"k", b"new", None).await.unwrap();
        cluster.resume(old);
        let read = alone.get(b"k", Consistency::Linearizable).await.unwrap();
        assert_eq!(read.found.unwrap().value, b"new");
    });
}
