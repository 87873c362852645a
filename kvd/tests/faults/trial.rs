//! One test on a cluster under load, from its seed to the checks at its end.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use client::Client;
use testkit::{
    cluster::Cluster,
    history::Operation,
    linearizability::{self, Limits},
    proxy::{Counts, Proxy},
    replay,
    rng::Rng,
};

use crate::{
    load::{Load, Plan},
    real::{KVD, client_of, converged, eventually, leader, runtime, seed, settings},
};

/// Longer than any election takes here, however busy the machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// A cluster with clients at work.
pub(crate) struct Trial {
    name: &'static str,
    seed: u64,
    began: Instant,
    pub(crate) rng: Rng,
    pub(crate) cluster: Cluster,
    pub(crate) load: Load,
    pub(crate) client: Client,
    pub(crate) runtime: tokio::runtime::Runtime,
    _alone: MutexGuard<'static, ()>,
}

impl Trial {
    /// `size` nodes, behind a proxy or not, one of which leads, and the clients of the plan.
    pub(crate) fn start(name: &'static str, size: usize, proxy: bool, plan: Plan) -> Self {
        // Each of these tests keeps both cores of a small machine busy; two at once would only test its scheduler.
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let seed = seed(name);
        let runtime = runtime();
        let cluster = if proxy { Cluster::behind_proxy(KVD, size, seed) } else { Cluster::start(KVD, size) };
        let (settings, client) = runtime.block_on(async {
            let client = client_of(&cluster, cluster.addresses()).await;
            eventually(PATIENCE, "leader", async || leader(&client).await).await;
            (settings(&cluster, cluster.addresses()).await, client)
        });
        let load = Load::start(settings, plan, seed);
        let (rng, began) = (Rng::new(seed), Instant::now());
        let trial = Self { name, seed, began, rng, cluster, load, client, runtime, _alone: alone };
        trial.load.progress(100, PATIENCE);
        trial
    }

    /// Who leads now; waits until somebody does.
    pub(crate) fn leader(&self) -> usize {
        self.runtime.block_on(eventually(PATIENCE, "leader", async || leader(&self.client).await))
    }

    /// The network between the nodes.
    pub(crate) fn proxy(&self) -> &Proxy {
        self.cluster.proxy().expect("the nodes are behind a proxy")
    }

    /// Lets what is wrong last for a while, under load.
    pub(crate) fn endure(&self, time: Duration) {
        std::thread::sleep(time);
        assert!(!self.load.has_failed(), "the clients failed, see above");
    }

    /// As long as chance says, below so many milliseconds.
    pub(crate) fn endure_up_to(&mut self, milliseconds: u64) {
        let time = self.rng.below(milliseconds);
        self.endure(Duration::from_millis(time));
    }

    /// Ends all faults.
    pub(crate) fn heal(&mut self) {
        self.cluster.proxy().inspect(|proxy| proxy.heal());
        for id in self.cluster.running() {
            self.cluster.resume(id);
        }
        self.cluster.revive();
    }

    /// Ends all faults; then everybody must be served, all nodes must agree, and the history must hold. Returns what
    /// the network did.
    pub(crate) fn finish(mut self) -> Counts {
        self.heal();
        let healed = self.load.progress(200, PATIENCE);
        println!("{}: {:?}", self.name, self.load.tally());
        let took = self.began.elapsed();
        let (mut history, mut leaders) = self.load.finish();
        self.runtime.block_on(async {
            converged(&self.client, self.cluster.size()).await;
            history.read_all(&self.client).await;
        });
        leaders.see_logs(&self.cluster);
        check(self.name, self.seed, &history.operations);
        let counts = self.cluster.proxy().map(Proxy::total).unwrap_or_default();
        println!("{}: {counts:?}", self.name);
        println!(
            "{} (seed {}): {} operations in {took:.1?}, {} leaders, served {healed:.1?} after the last fault",
            self.name,
            self.seed,
            history.operations.len(),
            leaders.terms(),
        );
        counts
    }
}

/// Both checkers: by revisions, and without them.
fn check(name: &str, seed: u64, operations: &[Operation]) {
    let failed = |violation: &dyn std::fmt::Display| -> ! { panic!("{name} (seed {seed}): {violation}") };
    let began = Instant::now();
    let summary = replay::check(operations).unwrap_or_else(|violation| failed(&violation));
    let replayed = began.elapsed();
    linearizability::check(operations, Limits::default()).unwrap_or_else(|violation| failed(&violation));
    let searched = began.elapsed().saturating_sub(replayed);
    println!("{name}: {summary:?}, replayed in {replayed:.1?}, searched in {searched:.1?}");
}
