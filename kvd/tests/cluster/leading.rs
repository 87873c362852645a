//! Leadership that is handed over, left to others, or given up by a process that is told to stop: no request fails.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use client::{Client, Error};
use protocol::{Consistency, Refused};

use testkit::cluster::Cluster;

use crate::real::{client_of, converged, eventually, leader, length, runtime, settings, statuses};
use crate::start;

/// Writes and reads one key as fast as it goes until `stop`; every request must succeed. Returns how many there were and
/// how long those took that took long.
async fn load(client: Client, name: usize, stop: &AtomicBool) -> (u64, Vec<Duration>) {
    let key = format!("load-{name}").into_bytes();
    let (mut count, mut slow) = (0_u64, Vec::new());
    while !stop.load(Relaxed) {
        let began = Instant::now();
        let written = client.set(&key, count.to_string().as_bytes(), None).await;
        written.unwrap_or_else(|error| panic!("a write fails while leadership is handed over: {error}"));
        if began.elapsed() > Duration::from_millis(20) {
            slow.push(began.elapsed());
        }
        let read = client.get(&key, Consistency::Linearizable).await;
        let read =
            read.unwrap_or_else(|error| panic!("a read fails while leadership is handed over: {error}"));
        assert_eq!(read.found.unwrap().value, count.to_string().into_bytes());
        count += 1;
    }
    (count, slow)
}

/// Four loads, each on a thread of its own.
struct Load {
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<(u64, Vec<Duration>)>>,
}

impl Load {
    async fn begin(cluster: &Cluster) -> Self {
        let (stop, mut threads) = (Arc::new(AtomicBool::new(false)), Vec::new());
        for name in 0..4 {
            let (settings, stop) = (settings(cluster, cluster.addresses()).await, Arc::clone(&stop));
            threads.push(std::thread::spawn(move || {
                runtime().block_on(async { load(Client::new(settings), name, &stop).await })
            }));
        }
        Self { stop, threads }
    }

    /// Ends it; returns how long requests took that took long.
    fn end(self) -> Vec<Duration> {
        self.stop.store(true, Relaxed);
        let (mut count, mut slow) = (0, Vec::new());
        for thread in self.threads {
            let (more, times) = thread.join().expect("no request fails");
            count += more;
            slow.extend(times);
        }
        assert!(count > 0, "there was load");
        slow.sort_unstable();
        slow
    }
}

#[test]
fn leadership_is_handed_over_without_a_failed_request() {
    let cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let mut leading =
            eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let load = Load::begin(&cluster).await;
        let (mut took, count) = (Vec::new(), length("KVD_TEST_TRANSFERS", 10));
        for _ in 0..count {
            let to = leading % 3 + 1;
            let began = Instant::now();
            let leads = client.transfer(cluster.address(leading), Some(to as u64)).await.unwrap();
            took.push(began.elapsed());
            assert_eq!(leads.leader, Some(to as u64));
            leading = to;
        }
        let slow = load.end();
        took.sort_unstable();
        println!(
            "leadership handed over {count} times: median {:?}, longest {:?}; slow requests beside it: {slow:?}",
            took[count / 2],
            took[count - 1]
        );
        converged(&client, 3).await;
    });
}

#[test]
fn a_leader_that_is_told_to_stop_hands_over_first() {
    let mut cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let load = Load::begin(&cluster).await;
        for _ in 0..3 {
            let leading = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
            let (code, took) = cluster.stop(leading);
            assert_eq!(code, Some(0), "SIGTERM ends with 0");
            assert!(took < Duration::from_secs(2), "SIGTERM took {took:?}");
            cluster.restart(leading);
            eventually(Duration::from_secs(10), "node that follows", async || {
                statuses(&client).await.into_iter().find(|status| {
                    status.id == leading as u64 && status.leader.is_some() && status.applied > 0
                })
            })
            .await;
        }
        let slow = load.end();
        println!("three leaders stopped; slow requests beside it: {slow:?}");
    });
}

#[test]
fn a_drained_node_does_not_lead() {
    let mut cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let leading = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        let leads = client.drain(cluster.address(leading), false).await.unwrap();
        let now = usize::try_from(leads.leader.unwrap()).unwrap();
        assert_ne!(now, leading, "it has handed over");
        let drained = statuses(&client).await.iter().filter(|status| status.drained).count();
        assert_eq!(drained, 1);

        // What is handed to it it does not take, and the old leader says so and leads on.
        let refused = client.transfer(cluster.address(now), Some(leading as u64)).await.unwrap_err();
        assert!(matches!(refused, Error::Refused(Refused::Unavailable(_))), "{refused}");
        client.set(b"k", b"v", None).await.unwrap();

        // Where it is among two, the other one leads; undone, it takes what it is handed.
        cluster.kill(now);
        let third = 6 - now - leading;
        let elected = eventually(Duration::from_secs(5), "leader", async || leader(&client).await).await;
        assert_eq!(elected, third);
        client.drain(cluster.address(leading), true).await.unwrap();
        let leads = client.transfer(cluster.address(third), None).await.unwrap();
        assert_eq!(leads.leader, Some(leading as u64));
    });
}
