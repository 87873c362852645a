//! What every test on real processes needs: clients of a cluster, waiting for what becomes true, the leaders of all
//! terms, and a seed.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use client::{Client, Settings};
use protocol::{NodeStatus, Role};
use testkit::cluster::Cluster;

/// The daemon, built as this test was.
pub(crate) const KVD: &str = env!("CARGO_BIN_EXE_kvd");

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// How to reach the given nodes; waits until the first node of the cluster has made the certificates.
pub(crate) async fn settings(cluster: &Cluster, endpoints: Vec<String>) -> Settings {
    let context = eventually(Duration::from_secs(10), "admin.kvctx", async || {
        std::fs::read_to_string(cluster.context()).ok()
    })
    .await;
    let context: toml::Table = context.parse().unwrap();
    let text = |key: &str| context[key].as_str().unwrap();
    let identity = transport::Identity::from_pem(text("ca"), text("cert"), text("key")).unwrap();
    Settings { timeout: Duration::from_secs(10), ..Settings::new(endpoints, identity) }
}

/// A client of the given nodes.
pub(crate) async fn client_of(cluster: &Cluster, endpoints: Vec<String>) -> Client {
    Client::new(settings(cluster, endpoints).await)
}

/// Asks again and again until there is an answer.
pub(crate) async fn eventually<T>(
    within: Duration,
    what: &str,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < within, "no {what} within {within:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn statuses(client: &Client) -> Vec<NodeStatus> {
    client.status().await.into_iter().filter_map(|view| view.status.ok()).collect()
}

/// The id of the leader that the most recent term has.
pub(crate) async fn leader(client: &Client) -> Option<usize> {
    let statuses = statuses(client).await;
    let leader =
        statuses.iter().filter(|status| status.role == Role::Leader).max_by_key(|status| status.term)?;
    usize::try_from(leader.id).ok()
}

/// Waits until `count` nodes have applied the same and say the same of it.
pub(crate) async fn converged(client: &Client, count: usize) {
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
pub(crate) struct Leaders(BTreeMap<u64, u64>);

impl Leaders {
    /// What nodes say of themselves now.
    pub(crate) fn see(&mut self, statuses: &[NodeStatus]) {
        for status in statuses.iter().filter(|status| status.role == Role::Leader) {
            self.led(status.id, status.term);
        }
    }

    /// What all nodes have ever said in their logs, one line for every time one of them became a leader.
    pub(crate) fn see_logs(&mut self, cluster: &Cluster) {
        for id in 1..=cluster.size() {
            self.see_log(id as u64, &cluster.log(id));
        }
        assert!(!self.0.is_empty(), "the logs name leaders");
    }

    fn see_log(&mut self, id: u64, log: &str) {
        for line in log.lines().filter(|line| line.contains("became leader")) {
            let term = line.split_once(" term=").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok());
            self.led(id, term.unwrap_or_else(|| panic!("n{id} says no term: {line}")));
        }
    }

    /// How many terms had a leader.
    pub(crate) fn terms(&self) -> usize {
        self.0.len()
    }

    fn led(&mut self, id: u64, term: u64) {
        let first = *self.0.entry(term).or_insert(id);
        assert_eq!(first, id, "two leaders in term {term}");
    }
}

/// The seed of a test: of the clock, or the one to replay.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("KVD_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let seed = given.unwrap_or_else(clock);
    println!("{test}: replay with KVD_TEST_SEED={seed}");
    seed
}

/// A length of a test that the environment may change.
pub(crate) fn length(variable: &str, otherwise: usize) -> usize {
    std::env::var(variable).ok().and_then(|length| length.parse().ok()).unwrap_or(otherwise)
}

#[test]
#[should_panic(expected = "two leaders in term 7")]
fn two_leaders_of_a_term_are_noticed() {
    let line = |term| {
        format!(
            "2026-01-01T00:00:00Z  INFO kvd::server: became leader node=\"n\" term={term} role=\"leader\"\n"
        )
    };
    let mut leaders = Leaders::default();
    leaders.see_log(1, &[line(6), line(7)].concat());
    assert_eq!(leaders.terms(), 2);
    leaders.see_log(2, &line(7));
}
