//! Measures a cluster from one client process: a closed loop, and the longest gap under one.
//!
//! The workload is that of the comparisons with other stores, to the letter, so that figures can stand side by side:
//! `clients` tasks share min(clients, 16) connections to the leader, each sends its next request when the last is
//! answered; keys of 8 characters, uniform over `keys`, every key written before; values whose first 8 bytes change
//! each time; a warm-up that is not counted. Nothing is printed: see [`Report`].

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use hdrhistogram::Histogram;
use protocol::Consistency;
use tokio::{task::JoinSet, time::Instant};

use crate::{Client, Error, Outcome, Settings, retry::next_random};

/// Most connections that clients share.
const CONNECTIONS: usize = 16;
/// Clients that write all keys before.
const FILLERS: u64 = 64;
/// Latencies are kept up to this, in microseconds; longer ones count as this.
const LONGEST_US: u64 = 120_000_000;
/// Ticks of a second in `/proc`: what Linux shows to programs on every architecture.
const TICKS: f64 = 100.0;
/// What a client waits after a failed request.
const AFTER_ERROR: Duration = Duration::from_millis(5);

/// What to send, for how long.
#[derive(Clone, Debug)]
pub struct Workload {
    /// Closed loops.
    pub clients: usize,
    /// Different keys.
    pub keys: u64,
    /// Bytes of a value, at least 8.
    pub value_bytes: usize,
    /// Reads among a hundred requests.
    pub read_percent: u8,
    /// Of the reads.
    pub consistency: Consistency,
    /// Runs before counting starts.
    pub warmup: Duration,
    /// Counted.
    pub measure: Duration,
    /// Whether to write every key first; off only when an earlier run did.
    pub fill: bool,
}

impl Default for Workload {
    fn default() -> Self {
        Self {
            clients: 64,
            keys: 10_000,
            value_bytes: 256,
            read_percent: 0,
            consistency: Consistency::Linearizable,
            warmup: Duration::from_millis(800),
            measure: Duration::from_secs(5),
            fill: true,
        }
    }
}

impl Workload {
    /// Connections that the clients share.
    pub fn connections(&self) -> usize {
        self.clients.clamp(1, CONNECTIONS)
    }
}

/// What a run measured. Latencies are of successful requests, in microseconds.
#[derive(Clone, Debug)]
pub struct Report {
    /// As in the workload.
    pub clients: usize,
    /// Connections to the leader.
    pub connections: usize,
    /// Successful requests.
    pub operations: u64,
    /// Of them, reads.
    pub reads: u64,
    /// Reads that found no key; none, where the keys were written before.
    pub misses: u64,
    /// Requests that were certainly not done.
    pub failed: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// The first failure, in words.
    pub first_failure: Option<String>,
    /// Seconds counted.
    pub seconds: f64,
    /// Successful requests a second.
    pub per_second: f64,
    /// Half were at most this.
    pub p50_us: u64,
    /// 90 % were.
    pub p90_us: u64,
    /// 99 % were.
    pub p99_us: u64,
    /// 99.9 % were.
    pub p999_us: u64,
    /// All were.
    pub max_us: u64,
    /// CPU of this process, user and system, for each successful request; `None` where the system does not tell.
    pub client_cpu_us: Option<f64>,
}

/// Runs the workload with connections of its own.
///
/// # Errors
/// When the keys cannot be written beforehand. Failures while it is measured are counted instead.
pub async fn run(settings: Settings, workload: &Workload) -> Result<Report, Error> {
    let client = Client::new(Settings { connections: workload.connections(), ..settings });
    let measured = if workload.fill { fill(&client, workload).await } else { Ok(()) };
    let report = match measured {
        Ok(()) => Ok(measure(&client, workload).await),
        Err(error) => Err(error),
    };
    client.close().await;
    report
}

/// The longest time between two successes of one client that writes without pause.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Gap {
    /// Writes that were applied.
    pub operations: u64,
    /// Writes that were certainly not.
    pub failed: u64,
    /// Writes whose outcome is unknown.
    pub unknown: u64,
    /// From one success to the next, at most.
    pub longest: Duration,
}

/// Writes one key in a closed loop for `measure`, while somebody else breaks the cluster.
///
/// # Errors
/// When not even the first write is applied.
pub async fn gap(client: &Client, measure: Duration) -> Result<Gap, Error> {
    let mut value = [7; 256];
    let mut gap = Gap::default();
    client.set(key(1).as_bytes(), &value, None).await?;
    let began = Instant::now();
    let mut last = began;
    while began.elapsed() < measure {
        value[..8].copy_from_slice(&gap.operations.to_le_bytes());
        match client.set(key(1).as_bytes(), &value, None).await {
            Ok(_) => {
                gap.operations += 1;
                gap.longest = gap.longest.max(last.elapsed());
                last = Instant::now();
            }
            Err(error) if error.outcome() == Outcome::Unknown => gap.unknown += 1,
            Err(_) => {
                gap.failed += 1;
                tokio::time::sleep(AFTER_ERROR).await;
            }
        }
    }
    gap.longest = gap.longest.max(last.elapsed());
    Ok(gap)
}

/// What all loops of a run share.
struct Shared {
    client: Client,
    workload: Workload,
    counting: AtomicBool,
    stop: AtomicBool,
}

/// What one loop counted.
struct Counts {
    latency: Histogram<u64>,
    reads: u64,
    misses: u64,
    failed: u64,
    unknown: u64,
    first_failure: Option<String>,
}

async fn fill(client: &Client, workload: &Workload) -> Result<(), Error> {
    let next = Arc::new(AtomicU64::new(0));
    let (keys, value) = (workload.keys, vec![7; workload.value_bytes.max(8)]);
    let mut fillers: JoinSet<Result<(), Error>> = JoinSet::new();
    for _ in 0..FILLERS.min(keys) {
        let (client, next, value) = (client.clone(), Arc::clone(&next), value.clone());
        fillers.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= keys {
                    return Ok(());
                }
                client.set(key(number).as_bytes(), &value, None).await?;
            }
        });
    }
    while let Some(filled) = fillers.join_next().await {
        filled.unwrap_or(Ok(()))?;
    }
    Ok(())
}

async fn measure(client: &Client, workload: &Workload) -> Report {
    let shared = Arc::new(Shared {
        client: client.clone(),
        workload: workload.clone(),
        counting: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    });
    let mut loops = JoinSet::new();
    for number in 0..workload.clients.max(1) {
        loops.spawn(closed_loop(Arc::clone(&shared), number as u64));
    }
    tokio::time::sleep(workload.warmup).await;
    let (began, cpu) = (Instant::now(), cpu_seconds());
    shared.counting.store(true, Ordering::Relaxed);
    tokio::time::sleep(workload.measure).await;
    shared.counting.store(false, Ordering::Relaxed);
    let (took, cpu) = (began.elapsed(), cpu.zip(cpu_seconds()).map(|(before, after)| after - before));
    shared.stop.store(true, Ordering::Relaxed);
    let mut total = Counts::new();
    while let Some(counts) = loops.join_next().await {
        if let Ok(counts) = counts {
            total.add(counts);
        }
    }
    total.report(workload, took, cpu)
}

async fn closed_loop(shared: Arc<Shared>, number: u64) -> Counts {
    let workload = &shared.workload;
    let mut counts = Counts::new();
    let mut random = next_random(number);
    let mut value = vec![7; workload.value_bytes.max(8)];
    while !shared.stop.load(Ordering::Relaxed) {
        random = next_random(random);
        let key = key(random % workload.keys.max(1));
        let read = (random >> 32) % 100 < u64::from(workload.read_percent);
        let began = Instant::now();
        let done = if read {
            let read = shared.client.get(key.as_bytes(), workload.consistency).await;
            read.map(|read| (true, read.found.is_none()))
        } else {
            value[..8].copy_from_slice(&random.to_le_bytes());
            shared.client.set(key.as_bytes(), &value, None).await.map(|_| (false, false))
        };
        let failed = done.is_err();
        if shared.counting.load(Ordering::Relaxed) {
            counts.count(done, began.elapsed());
        }
        if failed {
            tokio::time::sleep(AFTER_ERROR).await;
        }
    }
    counts
}

impl Counts {
    fn new() -> Self {
        let latency =
            Histogram::new_with_max(LONGEST_US, 3).expect("the bounds are constants that it accepts");
        Self { latency, reads: 0, misses: 0, failed: 0, unknown: 0, first_failure: None }
    }

    /// One request: whether it read and missed, or its failure.
    fn count(&mut self, done: Result<(bool, bool), Error>, took: Duration) {
        match done {
            Ok((read, missed)) => {
                self.reads += u64::from(read);
                self.misses += u64::from(missed);
                self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
            Err(error) => {
                let unknown = error.outcome() == Outcome::Unknown;
                *if unknown { &mut self.unknown } else { &mut self.failed } += 1;
                self.first_failure.get_or_insert_with(|| error.to_string());
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.latency.add(other.latency).expect("all histograms have the same bounds");
        self.reads += other.reads;
        self.misses += other.misses;
        self.failed += other.failed;
        self.unknown += other.unknown;
        self.first_failure = self.first_failure.take().or(other.first_failure);
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few seconds are far below 2^52")]
    fn report(self, workload: &Workload, took: Duration, cpu: Option<f64>) -> Report {
        let operations = self.latency.len();
        let quantile = |q| self.latency.value_at_quantile(q);
        Report {
            clients: workload.clients,
            connections: workload.connections(),
            operations,
            reads: self.reads,
            misses: self.misses,
            failed: self.failed,
            unknown: self.unknown,
            first_failure: self.first_failure,
            seconds: took.as_secs_f64(),
            per_second: operations as f64 / took.as_secs_f64(),
            p50_us: quantile(0.5),
            p90_us: quantile(0.9),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: self.latency.max(),
            client_cpu_us: cpu.filter(|_| operations > 0).map(|cpu| cpu * 1e6 / operations as f64),
        }
    }
}

/// Eight characters.
fn key(number: u64) -> String {
    format!("k{number:07}")
}

/// User and system time of this process so far.
fn cpu_seconds() -> Option<f64> {
    parse_cpu(&std::fs::read_to_string("/proc/self/stat").ok()?)
}

/// Fields 14 and 15 of `/proc/PID/stat`, counted behind the name, which may hold anything.
fn parse_cpu(stat: &str) -> Option<f64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace().skip(11);
    let mut seconds = || Some(fields.next()?.parse::<f64>().ok()? / TICKS);
    Some(seconds()? + seconds()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_eight_characters() {
        assert_eq!((key(0).as_str(), key(9_999).as_str()), ("k0000000", "k0009999"));
    }

    #[test]
    fn cpu_is_found_behind_any_name() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20";
        assert_eq!(parse_cpu(stat), Some(3.0));
        assert_eq!(parse_cpu("nonsense"), None);
    }

    #[test]
    fn failures_are_told_apart_and_not_timed() {
        let request = protocol::RequestId::fresh(0, protocol::ClusterId::default());
        let mut counts = Counts::new();
        counts.count(Ok((true, true)), Duration::from_micros(40));
        counts.count(Err(Error::Unknown { request, why: "w".into() }), Duration::from_secs(1));
        counts.count(Err(Error::Deadline { why: "d".into() }), Duration::from_secs(1));
        let report = counts.report(&Workload::default(), Duration::from_secs(2), Some(1.0));
        assert_eq!((report.operations, report.reads, report.misses), (1, 1, 1));
        assert_eq!((report.failed, report.unknown, report.max_us), (1, 1, 40));
        assert_eq!((report.per_second, report.client_cpu_us), (0.5, Some(1_000_000.0)));
    }

    #[test]
    fn clients_share_at_most_sixteen_connections() {
        let connections = |clients| Workload { clients, ..Workload::default() }.connections();
        assert_eq!([0, 1, 16, 256].map(connections), [1, 1, 16, 16]);
    }
}
