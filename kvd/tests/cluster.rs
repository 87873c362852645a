//! Five real processes under faults, by the names of the seed project's tests. Each is bounded in time, takes its
//! ports from the kernel and polls for what it waits for.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "cluster/writer.rs"]
mod writer;

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use client::{Client, Settings};
use protocol::{Consistency, NodeStatus, Role};
use testkit::cluster::Cluster;
use writer::Writer;

const SIZE: usize = 5;

fn start(size: usize) -> Cluster {
    Cluster::start(env!("CARGO_BIN_EXE_kvd"), size)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// A client of the given nodes; waits until the first of them has made the certificates.
async fn client_of(cluster: &Cluster, endpoints: Vec<String>) -> Client {
    let context = eventually(Duration::from_secs(10), "admin.kvctx", async || {
        std::fs::read_to_string(cluster.context()).ok()
    })
    .await;
    let context: toml::Table = context.parse().unwrap();
    let text = |key: &str| context[key].as_str().unwrap();
    let identity = transport::Identity::from_pem(text("ca"), text("cert"), text("key")).unwrap();
    Client::new(Settings {
        endpoints,
        identity,
        timeout: Duration::from_secs(10),
        connect_timeout: Duration::from_secs(1),
        connections: 1,
    })
}

/// Asks again and again until there is an answer.
async fn eventually<T>(within: Duration, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < within, "no {what} within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn statuses(client: &Client) -> Vec<NodeStatus> {
    client.status().await.into_iter().filter_map(|view| view.status.ok()).collect()
}

/// The id of the leader that the most recent term has.
async fn leader(client: &Client) -> Option<usize> {
    let statuses = statuses(client).await;
    let leader =
        statuses.iter().filter(|status| status.role == Role::Leader).max_by_key(|status| status.term)?;
    usize::try_from(leader.id).ok()
}

/// Waits until `count` nodes have applied the same and say the same of it.
async fn converged(client: &Client, count: usize) {
    eventually(Duration::from_secs(20), "convergence", async || {
        let statuses = statuses(client).await;
        let first = statuses.first()?;
        let same =
            |status: &NodeStatus| (status.applied, status.state_hash) == (first.applied, first.state_hash);
        (statuses.len() == count && statuses.iter().all(same)).then_some(())
    })
    .await;
}

/// Remembers who led in which term, and fails when a term has two leaders.
#[derive(Default)]
struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    fn see(&mut self, statuses: &[NodeStatus]) {
        for status in statuses.iter().filter(|status| status.role == Role::Leader) {
            let first = *self.0.entry(status.term).or_insert(status.id);
            assert_eq!(first, status.id, "two leaders in term {}", status.term);
        }
    }
}

/// A small generator, so that a failing run can be repeated from its printed seed.
struct Dice(u64);

impl Dice {
    fn new(test: &str) -> Self {
        let seed =
            std::env::var("KVD_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(|| {
                std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
            });
        println!("{test}: replay with KVD_TEST_SEED={seed}");
        Self(seed | 1)
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        from[usize::try_from(self.0 % from.len() as u64).unwrap()]
    }
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
    let mut dice = Dice::new("random_fault");
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut writer = Writer::new(client_of(&cluster, cluster.addresses()).await, "random");
        let mut leaders = Leaders::default();
        for _ in 0..20 {
            let down: Vec<_> = (1..=SIZE).filter(|id| !cluster.running().contains(id)).collect();
            if down.len() == 2 || (!down.is_empty() && dice.pick(&[true, false])) {
                cluster.restart(dice.pick(&down));
            } else {
                cluster.kill(dice.pick(&cluster.running()));
            }
            writer.write(10).await;
            leaders.see(&statuses(&client).await);
        }
        revive(&mut cluster);
        converged(&client, SIZE).await;
        writer.check(&client).await;
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
        for _ in 0..kills() {
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
        revive(&mut cluster);
        converged(&client, SIZE).await;
        writer.check(&client).await;
        gaps.sort_unstable();
        let (median, longest) = (gaps[gaps.len() / 2], gaps[gaps.len() - 1]);
        println!(
            "known_fault: {} leaders killed, next write after {median:?} (longest {longest:?})",
            gaps.len()
        );
    });
}

/// How often `known_fault` kills the leader; `KVD_TEST_KILLS` makes it longer.
fn kills() -> usize {
    std::env::var("KVD_TEST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(10)
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
            revive(&mut cluster);
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

fn revive(cluster: &mut Cluster) {
    for id in 1..=cluster.size() {
        if !cluster.running().contains(&id) {
            cluster.restart(id);
        }
    }
}
