//! The pages of real nodes over real sockets. Every page of metrics is held to the grammar that Prometheus publishes for
//! its text format (`exposition`), and to its conventions for names and units.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking")]
#![allow(clippy::float_cmp, clippy::cast_precision_loss, reason = "samples are small whole numbers")]

#[path = "metrics/exposition.rs"]
mod exposition;
#[path = "support/real.rs"]
#[expect(dead_code, reason = "it is shared by several tests")]
mod real;

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
    time::{Duration, Instant},
};

use client::Client;
use exposition::Page;
use real::{KVD, client_of, converged, eventually, leader, runtime, statuses};
use testkit::cluster::Cluster;

const BOUND: Duration = Duration::from_secs(20);

/// Nodes that serve metrics at `prefix` followed by their id.
struct Trial {
    cluster: Cluster,
    prefix: u16,
}

static NEXT: AtomicU16 = AtomicU16::new(0);

impl Trial {
    fn start(size: u16) -> Self {
        Self::start_with(size, "")
    }

    fn start_with(size: u16, tables: &str) -> Self {
        let start = u16::try_from(std::process::id() % 2000).unwrap();
        let free =
            |prefix: &u16| (1..=size).all(|id| TcpListener::bind(("127.0.0.1", prefix * 10 + id)).is_ok());
        // Each trial of this process has its own, whether or not its nodes listen yet.
        let mut prefixes =
            std::iter::repeat_with(|| 1000 + (start + NEXT.fetch_add(1, Relaxed)) % 2000).take(1000);
        let prefix = prefixes.find(free).expect("there are free ports");
        let tables = format!("{tables}[metrics]\nlisten = \"127.0.0.1:{prefix}{{id}}\"\n");
        Self { cluster: Cluster::start_with(KVD, size.into(), &tables), prefix }
    }

    /// Status, head and body; `None` while nobody listens.
    fn get(&self, id: usize, path: &str) -> Option<(u16, String, String)> {
        let port = self.prefix * 10 + u16::try_from(id).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.set_read_timeout(Some(BOUND)).unwrap();
        // One connection too many may be reset before its answer is read.
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some((status, head.to_owned(), body.to_owned()))
    }

    fn page(&self, id: usize) -> Page {
        let (status, head, body) = self.get(id, "/metrics").unwrap();
        assert!(status == 200 && head.contains("Content-Type: text/plain; version=0.0.4"), "{head}");
        exposition::check(&body).unwrap_or_else(|fault| panic!("{fault}:\n{body}"))
    }

    async fn becomes(&self, id: usize, path: &str, want: u16) -> String {
        eventually(BOUND, path, async || self.get(id, path).filter(|(status, ..)| *status == want)).await.2
    }
}

async fn leading(client: &Client) -> usize {
    eventually(BOUND, "leader", async || leader(client).await).await
}

#[test]
fn a_cluster_at_work_is_seen_in_numbers() {
    let trial = Trial::start(3);
    runtime().block_on(async {
        let client = client_of(&trial.cluster, trial.cluster.addresses()).await;
        let leads = leading(&client).await;
        for id in 1..=3 {
            assert_eq!(
                trial.becomes(id, "/readyz", 200).await,
                "ok\n",
                "every node serves linearizable reads"
            );
            assert_eq!(trial.get(id, "/livez").unwrap().2, "ok\n");
        }
        let before = trial.page(leads);
        for at in 0..50_u32 {
            client.set(format!("k{at}").as_bytes(), b"v", None).await.unwrap();
        }
        let view = statuses(&client).await.into_iter().find(|view| view.id == leads as u64).unwrap();
        // What is shown may be as old as a look stays fresh.
        let page = eventually(BOUND, "applied index", async || {
            let page = trial.page(leads);
            (page.value("kvd_raft_applied_index", &[]) >= view.applied as f64).then_some(page)
        })
        .await;
        let grown =
            |name: &str, labels: &[(&str, &str)]| page.value(name, labels) - before.value(name, labels);
        assert!(grown("kvd_raft_proposals_total", &[]) >= 50.0);
        assert!(grown("kvd_requests_total", &[("kind", "write")]) >= 50.0);
        assert!(grown("kvd_log_sync_duration_seconds_count", &[]) >= 1.0);
        assert!(grown("kvd_state_applied_entries_total", &[]) >= 50.0);
        assert!(page.value("kvd_client_connections", &[]) >= 1.0);
        assert_eq!(page.value("kvd_raft_term", &[]), view.term as f64);
        assert_eq!(page.value("kvd_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
        for name in ["process_resident_memory_bytes", "kvd_log_bytes", "kvd_log_entries", "process_open_fds"]
        {
            assert!(page.value(name, &[]) > 0.0, "{name}");
        }
        for id in 1..=3 {
            let page = trial.page(id);
            assert_eq!(page.value("kvd_raft_is_leader", &[]), f64::from(u8::from(id == leads)));
            let lags = page.samples("kvd_peer_match_lag_entries").count();
            assert_eq!(lags, if id == leads { 2 } else { 0 }, "a leader knows of its followers");
            assert_eq!(page.samples("kvd_peer_connected").count(), 2);
        }
    });
}

#[test]
fn a_node_without_a_quorum_lives_and_is_not_ready() {
    let mut trial = Trial::start(3);
    runtime().block_on(async {
        let client = client_of(&trial.cluster, trial.cluster.addresses()).await;
        let leads = leading(&client).await;
        trial.becomes(leads, "/readyz", 200).await;
        let followers: Vec<usize> = (1..=3).filter(|id| *id != leads).collect();
        trial.cluster.kill_all(&followers);
        let why = trial.becomes(leads, "/readyz", 503).await;
        assert!(why.starts_with("not ready: "), "{why}");
        assert_eq!(trial.get(leads, "/livez").unwrap().0, 200);
        let gone = format!("n{}", followers[0]);
        eventually(BOUND, "a peer that is gone", async || {
            let page = trial.page(leads);
            (page.value("kvd_peer_connected", &[("peer", &gone)]) == 0.0).then_some(())
        })
        .await;
        trial.cluster.revive();
        for id in 1..=3 {
            trial.becomes(id, "/readyz", 200).await;
        }
    });
}

#[test]
fn a_state_that_is_sent_is_counted_at_either_end() {
    let mut trial = Trial::start_with(3, "[log]\nkeep_entries = 0\nmax_mib = 8\nsegment_mib = 2\n");
    runtime().block_on(async {
        let client = client_of(&trial.cluster, trial.cluster.addresses()).await;
        client.set(b"early", b"v", None).await.unwrap();
        let leads = leading(&client).await;
        let (absent, other) = (leads % 3 + 1, (leads + 1) % 3 + 1);
        trial.cluster.kill(absent);
        for at in 0..200_u32 {
            client.set(format!("k{at}").as_bytes(), &vec![7; 32 * 1024], None).await.unwrap();
        }
        for id in [leads, other] {
            client.compact_log(trial.cluster.address(id)).await.unwrap();
        }
        // They forget also what they hold in memory for followers that lag.
        trial.cluster.kill_all(&[leads, other]);
        trial.cluster.revive();
        converged(&client, 3).await;
        let (direction, outcome) = (("direction", "received"), ("outcome", "done"));
        let page = eventually(BOUND, "a transfer", async || {
            let page = trial.page(absent);
            let done = page.value("kvd_snapshot_transfers_total", &[direction, outcome]) >= 1.0;
            let idle = page.value("kvd_snapshot_transfers_underway", &[direction]) == 0.0;
            (done && idle).then_some(page)
        })
        .await;
        assert!(page.value("kvd_snapshot_transferred_bytes_total", &[direction]) > 1e6);
        let sent = [("direction", "sent"), outcome];
        eventually(BOUND, "a sender", async || {
            let sent = [leads, other].map(|id| trial.page(id).value("kvd_snapshot_transfers_total", &sent));
            (sent.iter().sum::<f64>() >= 1.0).then_some(())
        })
        .await;
    });
}

#[test]
fn readers_that_never_finish_harm_neither_the_node_nor_other_readers_for_long() {
    let trial = Trial::start(1);
    runtime().block_on(async {
        let client = client_of(&trial.cluster, trial.cluster.addresses()).await;
        leading(&client).await;
        trial.becomes(1, "/readyz", 200).await;
        let port = trial.prefix * 10 + 1;
        let mut slow: Vec<TcpStream> = Vec::new();
        for at in 0..64 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            // Half of them ask for a page and never read it, half never finish asking.
            let words = if at % 2 == 0 { "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n" } else { "GET /met" };
            let _ = stream.write_all(words.as_bytes());
            slow.push(stream);
        }
        let began = Instant::now();
        for at in 0..20_u32 {
            client.set(format!("k{at}").as_bytes(), b"v", None).await.unwrap();
        }
        assert!(began.elapsed() < BOUND, "writes go on");
        trial.becomes(1, "/livez", 200).await;
        drop(slow);
    });
}

#[test]
fn nothing_listens_where_nothing_is_said_and_a_taken_port_is_refused() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let home = tempfile::tempdir().unwrap();
    let config = home.path().join("kvd.toml");
    let text =
        |metrics: &str| format!("{metrics}[[server]]\nid = 1\naddress = \"127.0.0.1:{}\"\n", address.port());
    let run = |metrics: &str| {
        std::fs::write(&config, text(metrics)).unwrap();
        let output = std::process::Command::new(KVD).args(["run", "--config"]).arg(&config).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, said) = run(&format!("[metrics]\nlisten = \"{address}\"\n"));
    assert!(code == Some(2) && said.contains(&format!("cannot listen on {address}")), "{said}");
    let (code, said) = run("[metrics]\nlisten = \"0.0.0.0:9400\"\n");
    assert!(code == Some(2) && said.contains("metrics.listen = `0.0.0.0:9400`"), "{said}");
    let quiet = Cluster::start(KVD, 1);
    runtime().block_on(async {
        leading(&client_of(&quiet, quiet.addresses()).await).await;
        assert!(!quiet.log(1).contains("metrics"));
    });
}
