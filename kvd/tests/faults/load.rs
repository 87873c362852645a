//! Clients under whose load things are broken, and the history of what they asked and were told.
//!
//! Every client does one thing after the other until it is told to stop, on a thread of its own beside the test. Calls
//! have short deadlines, so that under faults many writes end with an unknown outcome. Of those a client settles most,
//! by asking again with the same request id through another node, and abandons the others: these stay open in the
//! history, and the client goes on as another one, for a client of a history does one thing at a time.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use client::{Client, Error, Settings, Written};
use protocol::{Consistency, RequestId};
use testkit::{
    history::{Call, Operation, Outcome, Seen},
    rng::Rng,
};
use tokio::task::JoinSet;

use crate::real::{Leaders, runtime, statuses};

/// How often the nodes are asked whether they lead.
const POLL: Duration = Duration::from_millis(100);
/// How long it may take to reach one node.
const CONNECT: Duration = Duration::from_millis(300);
/// What a client waits after something was refused.
const AFTER_REFUSAL: Duration = Duration::from_millis(5);
/// By what the longest budget of a call is divided, node by node of those that are asked first: most calls do not
/// wait for an election to end.
const HURRIES: [u32; 5] = [1, 4, 8, 16, 20];
/// How many writes in a million are abandoned at each time that their outcome is unknown.
const ABANDONED: u64 = 100_000;
/// How often a write of unknown outcome is asked about again.
const SETTLINGS: usize = 4;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Closed loops.
    pub(crate) clients: usize,
    /// Connections to the leader that share them.
    pub(crate) connections: usize,
    /// Different keys.
    pub(crate) keys: usize,
    /// The longest budget of a call.
    pub(crate) timeout: Duration,
}

/// What the clients were told, in numbers.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Writes that took effect.
    pub(crate) written: AtomicU64,
    /// Linearizable reads that were served.
    pub(crate) read: AtomicU64,
    /// Stale reads that were served.
    pub(crate) stale: AtomicU64,
    /// Calls that certainly did nothing.
    pub(crate) failed: AtomicU64,
    /// Writes whose outcome was unknown at first.
    pub(crate) unknown: AtomicU64,
    /// Of these, how many were asked about again and told.
    pub(crate) settled: AtomicU64,
    /// Answers that said that an earlier attempt had done it.
    pub(crate) deduplicated: AtomicU64,
}

/// Running clients.
pub(crate) struct Load {
    shared: Arc<Shared>,
    thread: JoinHandle<Leaders>,
}

struct Shared {
    began: Instant,
    plan: Plan,
    seed: u64,
    stop: AtomicBool,
    tally: Tally,
    names: AtomicU64,
    operations: Mutex<Vec<Operation>>,
    settings: Settings,
    /// For each node, clients that ask it first: for writes, for linearizable reads, for stale reads.
    doors: Vec<[Client; 3]>,
}

impl Load {
    /// Starts the clients; every choice of theirs comes from the seed.
    pub(crate) fn start(settings: Settings, plan: Plan, seed: u64) -> Self {
        let settings = Settings { timeout: plan.timeout, connect_timeout: CONNECT, ..settings };
        let doors = (0..settings.endpoints.len()).map(|first| {
            let mut endpoints = settings.endpoints.clone();
            endpoints.rotate_left(first);
            let timeout = settings.timeout / HURRIES[first % HURRIES.len()];
            let of = |connections| {
                Client::new(Settings {
                    endpoints: endpoints.clone(),
                    connections,
                    timeout,
                    ..settings.clone()
                })
            };
            [of(plan.connections), of(1), of(1)]
        });
        let shared = Arc::new(Shared {
            began: Instant::now(),
            plan,
            seed,
            stop: AtomicBool::new(false),
            tally: Tally::default(),
            names: AtomicU64::new(0),
            operations: Mutex::default(),
            doors: doors.collect(),
            settings,
        });
        let running = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("load".to_owned());
        let thread = thread.spawn(move || runtime().block_on(run(running))).unwrap();
        Self { shared, thread }
    }

    /// What the clients were told so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.shared.tally
    }

    /// How many calls a quorum has answered so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        let tally = &self.shared.tally;
        tally.written.load(SeqCst) + tally.read.load(SeqCst)
    }

    /// How many calls were answered at all.
    pub(crate) fn answered(&self) -> u64 {
        self.acknowledged() + self.shared.tally.stale.load(SeqCst)
    }

    /// Whether a client saw what cannot be, or a term had two leaders.
    pub(crate) fn has_failed(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits until so many more calls were acknowledged; returns how long that took.
    pub(crate) fn progress(&self, count: u64, within: Duration) -> Duration {
        let (began, target) = (Instant::now(), self.acknowledged() + count);
        while self.acknowledged() < target {
            assert!(!self.has_failed(), "the clients failed, see above");
            let missing = target - self.acknowledged();
            assert!(
                began.elapsed() < within,
                "{missing} of {count} calls not acknowledged within {within:?}"
            );
            std::thread::sleep(Duration::from_millis(1));
        }
        began.elapsed()
    }

    /// Lets every client end what it does; returns the history and who led.
    pub(crate) fn finish(self) -> (History, Leaders) {
        self.shared.stop.store(true, Relaxed);
        let leaders = self.thread.join().expect("the clients did not fail");
        let operations = std::mem::take(&mut *lock(&self.shared.operations));
        (History { operations, began: self.shared.began, keys: self.shared.plan.keys }, leaders)
    }
}

/// What was asked and told, on one clock.
pub(crate) struct History {
    pub(crate) operations: Vec<Operation>,
    began: Instant,
    keys: usize,
}

impl History {
    /// Reads every key once more, as a client that comes after all others.
    pub(crate) async fn read_all(&mut self, client: &Client) {
        for number in 0..self.keys {
            let invoked = nanoseconds(self.began);
            let key = key(number);
            let read = client.get(&key, Consistency::Linearizable).await.unwrap();
            self.operations.push(Operation {
                client: u64::MAX,
                call: Call::Get { key },
                invoked,
                ended: nanoseconds(self.began),
                outcome: outcome_of(read),
            });
        }
    }
}

async fn run(shared: Arc<Shared>) -> Leaders {
    let mut tasks = JoinSet::new();
    for number in 0..shared.plan.clients {
        tasks.spawn(User::new(Arc::clone(&shared), number).run());
    }
    let watcher = Client::new(shared.settings.clone());
    let mut leaders = Leaders::default();
    let mut polls = tokio::time::interval(POLL);
    polls.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    while !shared.stop.load(Relaxed) {
        polls.tick().await;
        leaders.see(&statuses(&watcher).await);
        // No client ends before it is told to, but by a panic.
        assert!(shared.stop.load(Relaxed) || tasks.try_join_next().is_none(), "a client failed, see above");
    }
    while let Some(ended) = tasks.join_next().await {
        ended.expect("a client did not fail");
    }
    leaders
}

/// One closed loop.
struct User {
    shared: Arc<Shared>,
    name: u64,
    number: usize,
    rng: Rng,
    values: u64,
}

impl User {
    fn new(shared: Arc<Shared>, number: usize) -> Self {
        let rng = Rng::new(shared.seed).fork(&format!("client {number}"));
        let name = shared.names.fetch_add(1, Relaxed);
        Self { shared, name, number, rng, values: 0 }
    }

    async fn run(mut self) {
        while !self.shared.stop.load(Relaxed) {
            let call = self.choose();
            let invoked = nanoseconds(self.shared.began);
            let outcome =
                if call.is_write() { Some(self.write(&call).await) } else { self.read(&call).await };
            let ended = nanoseconds(self.shared.began);
            // A read that failed says nothing.
            let Some(outcome) = outcome else {
                tokio::time::sleep(AFTER_REFUSAL).await;
                continue;
            };
            let refused = outcome == Outcome::NotApplied;
            let abandoned = outcome == Outcome::Unknown;
            lock(&self.shared.operations).push(Operation {
                client: self.name,
                call,
                invoked,
                ended,
                outcome,
            });
            if abandoned {
                self.name = self.shared.names.fetch_add(1, Relaxed);
            }
            if refused {
                tokio::time::sleep(AFTER_REFUSAL).await;
            }
        }
    }

    fn choose(&mut self) -> Call {
        let key = key(self.rng.index(self.shared.plan.keys));
        match self.rng.below(100) {
            0..45 => {
                self.values += 1;
                Call::Set { key, value: format!("{}-{}", self.number, self.values).into_bytes() }
            }
            45..55 => Call::Delete { key },
            55..85 => Call::Get { key },
            _ => Call::StaleGet { key },
        }
    }

    async fn write(&mut self, call: &Call) -> Outcome {
        let (mut request, mut door) = (None, self.number);
        for settling in 0.. {
            let client = &self.shared.doors[door % self.shared.doors.len()][0];
            let tally = &self.shared.tally;
            let unknown = match ask(client, call, request).await {
                Ok(written) => {
                    tally.written.fetch_add(1, SeqCst);
                    tally.settled.fetch_add(u64::from(settling > 0), Relaxed);
                    tally.deduplicated.fetch_add(u64::from(written.deduplicated), Relaxed);
                    return Outcome::Written { revision: written.revision, existed: written.existed };
                }
                Err(Error::Unknown { request, .. }) => request,
                Err(error @ (Error::Refused(_) | Error::Denied { .. })) => {
                    panic!("{call:?} at attempt {settling}: {error}")
                }
                Err(error) => {
                    assert!(request.is_none(), "asked again, told that nothing was done: {error}");
                    tally.failed.fetch_add(1, Relaxed);
                    return Outcome::NotApplied;
                }
            };
            tally.unknown.fetch_add(u64::from(settling == 0), Relaxed);
            if settling == SETTLINGS || self.rng.chance(ABANDONED) {
                break;
            }
            request = Some(unknown);
            door += 1;
        }
        Outcome::Unknown
    }

    async fn read(&mut self, call: &Call) -> Option<Outcome> {
        let stale = matches!(call, Call::StaleGet { .. });
        let consistency = if stale { Consistency::Stale } else { Consistency::Linearizable };
        let door = self.rng.index(self.shared.doors.len());
        let client = &self.shared.doors[door][if stale { 2 } else { 1 }];
        let tally = &self.shared.tally;
        if let Ok(read) = client.get(call.key(), consistency).await {
            if stale { &tally.stale } else { &tally.read }.fetch_add(1, SeqCst);
            return Some(outcome_of(read));
        }
        tally.failed.fetch_add(1, Relaxed);
        None
    }
}

async fn ask(client: &Client, call: &Call, request: Option<RequestId>) -> Result<Written, Error> {
    match call {
        Call::Set { key, value } => client.set(key, value, request).await,
        Call::Delete { key } => client.delete(key, request).await,
        Call::Conditional { .. } | Call::Vanish { .. } => unreachable!("this load has none"),
        Call::Get { .. } | Call::StaleGet { .. } => unreachable!("reads are asked elsewhere"),
    }
}

fn outcome_of(read: client::Read) -> Outcome {
    let found = read.found.map(|found| Seen {
        value: found.value,
        revision: found.revision,
        created: found.created,
        version: found.version,
    });
    Outcome::Read { found, revision: read.revision }
}

fn key(number: usize) -> Vec<u8> {
    format!("key-{number}").into_bytes()
}

fn nanoseconds(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap()
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
