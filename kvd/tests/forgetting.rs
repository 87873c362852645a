//! Real processes whose logs forget: the log stays small under writes, and who slept through all of it is sent the
//! state, while the others go on.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and prints its seed")]

#[path = "support/real.rs"]
#[allow(dead_code, reason = "each test binary uses a part")]
mod real;

use std::{path::PathBuf, time::Duration};

use client::Client;
use protocol::Consistency;
use real::{KVD, client_of, converged, eventually, leader, runtime};
use testkit::cluster::Cluster;

/// A log of 8 MiB at most, in segments of 2 MiB, of which nothing stays that the state holds.
const SMALL: &str = "\n[log]\nkeep_entries = 0\nmax_mib = 8\nsegment_mib = 2\n";
const VALUE: usize = 32 * 1024;
/// What the log may take beside its bound: the segment that is written, and a spare.
const BOUND: u64 = (8 + 2 + 2) << 20;

/// Writes `count` values of some size to each of a few keys, many at a time.
async fn fill(client: &Client, name: &str, count: usize) {
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..16 {
        let (client, key) = (client.clone(), format!("{name}-{writer}").into_bytes());
        writers.spawn(async move {
            for round in 0..count {
                let value = vec![u8::try_from(round % 251).unwrap(); VALUE];
                client.set(&key, &value, None).await.unwrap();
            }
        });
    }
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
}

fn log_bytes(cluster: &Cluster, id: usize) -> u64 {
    let folder: PathBuf = cluster.folder().join("kv-data").join(format!("n{id}")).join("log");
    let files = std::fs::read_dir(folder).unwrap();
    files.map(|file| file.unwrap().metadata().map_or(0, |metadata| metadata.len())).sum()
}

async fn compact(cluster: &Cluster, client: &Client, id: usize) -> client::Compacted {
    client.compact_log(cluster.address(id)).await.unwrap()
}

/// Has servers forget also what they hold in memory for followers that lag.
fn forget(cluster: &mut Cluster, ids: &[usize]) {
    cluster.kill_all(ids);
    for id in ids {
        cluster.restart(*id);
    }
}

#[test]
fn who_slept_through_it_all_is_sent_the_state() {
    let mut cluster = Cluster::start_with(KVD, 3, SMALL);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        fill(&client, "early", 4).await;
        let leading = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let (absent, other) = (leading % 3 + 1, (leading + 1) % 3 + 1);
        cluster.kill(absent);
        fill(&client, "late", 40).await;
        for id in [leading, other] {
            let compacted = compact(&cluster, &client, id).await;
            assert!(compacted.discarded > 500 && compacted.freed > 0, "{compacted:?}");
            assert!(log_bytes(&cluster, id) <= BOUND, "n{id} keeps {} bytes of log", log_bytes(&cluster, id));
        }
        forget(&mut cluster, &[leading, other]);
        cluster.restart(absent);
        // Writes go on while it is sent the state.
        fill(&client, "meanwhile", 10).await;
        converged(&client, 3).await;
        let said = cluster.log(leading) + &cluster.log(other);
        assert!(said.contains("the state was taken"), "it was sent the state: {said}");
        let alone = client_of(&cluster, vec![cluster.address(absent).to_owned()]).await;
        for name in ["early", "late", "meanwhile"] {
            let read = alone.get(format!("{name}-3").as_bytes(), Consistency::Linearizable).await.unwrap();
            assert_eq!(read.found.unwrap().value.len(), VALUE);
        }
        // What it was sent is what it starts from.
        cluster.kill(absent);
        cluster.restart(absent);
        converged(&client, 3).await;
        let compacted = compact(&cluster, &client, absent).await;
        assert!(compacted.discarded > 500, "{compacted:?}");
    });
}

#[test]
fn two_that_slept_are_sent_the_state_at_once() {
    let mut cluster = Cluster::start_with(KVD, 5, SMALL);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        fill(&client, "early", 1).await;
        let leading = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let absent = [leading % 5 + 1, (leading + 1) % 5 + 1];
        cluster.kill_all(&absent);
        fill(&client, "late", 20).await;
        for id in cluster.running() {
            compact(&cluster, &client, id).await;
        }
        let awake = cluster.running();
        forget(&mut cluster, &awake);
        cluster.revive();
        converged(&client, 5).await;
        let all: String = (1..=5).map(|id| cluster.log(id)).collect();
        assert!(all.matches("the state was taken").count() >= 2, "{all}");
    });
}
