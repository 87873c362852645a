//! Breaks whatever there is to break, in an order that a seed decides: wires, processes, ports.
//!
//! What it does next depends on its seed and on what it did before, never on how the cluster takes it, so that a seed
//! repeats its faults in their order.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use testkit::{
    proxy::{CLIENTS, Faults},
    rng::Rng,
};

use crate::trial::Trial;

/// What it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Card {
    Kill,
    Restart,
    Pause,
    Resume,
    Isolate,
    CutWires,
    CutOffClients,
    MakeNoise,
    Rebind,
    Mend,
}

/// What is drawn before the deck is shuffled again, so that everything is done now and then.
const DECK: [Card; 22] = {
    use Card::{CutOffClients, CutWires, Isolate, Kill, MakeNoise, Mend, Pause, Rebind, Restart, Resume};
    [
        Kill,
        Kill,
        Kill,
        Kill,
        Restart,
        Restart,
        Restart,
        Pause,
        Pause,
        Resume,
        Isolate,
        Isolate,
        CutWires,
        CutWires,
        CutOffClients,
        MakeNoise,
        MakeNoise,
        MakeNoise,
        Rebind,
        Rebind,
        Mend,
        Mend,
    ]
};

pub(crate) struct Nemesis {
    rng: Rng,
    deck: Vec<Card>,
    paused: BTreeSet<usize>,
    /// What was done how often. What a test did not do it has not tested.
    pub(crate) done: BTreeMap<Card, u32>,
}

impl Nemesis {
    pub(crate) fn new(rng: Rng) -> Self {
        Self { rng, deck: Vec::new(), paused: BTreeSet::new(), done: BTreeMap::new() }
    }

    /// Breaks one thing more, or mends one; says what.
    pub(crate) fn act(&mut self, trial: &mut Trial) -> String {
        if self.deck.is_empty() {
            self.deck = DECK.to_vec();
            self.rng.shuffle(&mut self.deck);
        }
        let card = self.deck.pop().expect("it was just filled");
        let all: Vec<_> = (1..=trial.cluster.size()).collect();
        let id = *self.rng.pick(&all).unwrap();
        match card {
            Card::Kill => self.kill(trial, id),
            Card::Restart => self.restart(trial),
            Card::Pause => self.pause(trial, id),
            Card::Resume => self.resume(trial),
            Card::Isolate => self.isolate(trial, id),
            Card::CutWires => self.cut_wires(trial),
            Card::CutOffClients => self.cut_off_clients(trial, id),
            Card::MakeNoise => self.make_noise(trial),
            Card::Rebind => self.rebind(trial, id),
            Card::Mend => self.mend(trial),
        }
    }

    /// What it can break and never broke.
    pub(crate) fn never(&self) -> Vec<Card> {
        let mends = [Card::Restart, Card::Resume, Card::Mend];
        DECK.into_iter().filter(|card| !mends.contains(card) && !self.done.contains_key(card)).collect()
    }

    fn did(&mut self, card: Card) {
        *self.done.entry(card).or_default() += 1;
    }

    /// Mends everything.
    pub(crate) fn rest(&mut self, trial: &mut Trial) {
        trial.heal();
        self.paused.clear();
    }

    /// Kills it, unless fewer than half would be left to run or it is down.
    fn kill(&mut self, trial: &mut Trial, id: usize) -> String {
        let down = trial.cluster.down();
        if down.contains(&id) || 2 * (down.len() + 1) > trial.cluster.size() {
            return self.restart(trial);
        }
        trial.cluster.kill(id);
        self.paused.remove(&id);
        self.did(Card::Kill);
        format!("kills n{id}")
    }

    fn restart(&mut self, trial: &mut Trial) -> String {
        let down = trial.cluster.down();
        let Some(&id) = self.rng.pick(&down) else { return "finds nobody down".to_owned() };
        trial.cluster.restart(id);
        self.did(Card::Restart);
        format!("restarts n{id}")
    }

    fn pause(&mut self, trial: &mut Trial, id: usize) -> String {
        if !trial.cluster.running().contains(&id) || !self.paused.insert(id) {
            return self.resume(trial);
        }
        trial.cluster.pause(id);
        self.did(Card::Pause);
        format!("pauses n{id}")
    }

    fn resume(&mut self, trial: &mut Trial) -> String {
        let Some(id) = self.paused.pop_first() else { return "finds nobody paused".to_owned() };
        trial.cluster.resume(id);
        self.did(Card::Resume);
        format!("resumes n{id}")
    }

    fn isolate(&mut self, trial: &mut Trial, id: usize) -> String {
        let (inbound, outbound) = *self.rng.pick(&[(true, true), (true, false), (false, true)]).unwrap();
        trial.proxy().isolate(id, inbound, outbound);
        self.did(Card::Isolate);
        format!("isolates n{id}, inbound {inbound}, outbound {outbound}")
    }

    /// Each wire between nodes by its own chance: bridges, chains and whatever else comes of that.
    fn cut_wires(&mut self, trial: &mut Trial) -> String {
        let chance = *self.rng.pick(&[150_000, 300_000, 500_000]).unwrap();
        let mut cut = Vec::new();
        for (from, to) in pairs(trial.cluster.size()) {
            if self.rng.chance(chance) {
                trial.proxy().set(from, to, Faults::CUT);
                cut.push(format!("{from}→{to}"));
            }
        }
        self.did(Card::CutWires);
        format!("cuts {}", cut.join(" "))
    }

    fn cut_off_clients(&mut self, trial: &mut Trial, id: usize) -> String {
        let (from, to) = *self.rng.pick(&[(CLIENTS, id), (id, CLIENTS)]).unwrap();
        trial.proxy().set(from, to, Faults::CUT);
        self.did(Card::CutOffClients);
        format!("cuts {from}→{to}, 0 being the clients")
    }

    /// Everything that is not a cut, on every wire between nodes or on every wire of the clients.
    fn make_noise(&mut self, trial: &mut Trial) -> String {
        let faults = Faults {
            cut: false,
            loss: self.rng.between(0, 150_000),
            duplicate: self.rng.between(0, 150_000),
            reorder: self.rng.between(0, 150_000),
            delay: Duration::from_millis(self.rng.between(0, 10)),
            jitter: Duration::from_millis(self.rng.between(0, 20)),
        };
        let size = trial.cluster.size();
        let clients = self.rng.chance(300_000);
        let those = pairs(size).filter(|_| !clients);
        for (from, to) in
            those.chain((1..=size).filter(|_| clients).flat_map(|id| [(CLIENTS, id), (id, CLIENTS)]))
        {
            trial.proxy().set(from, to, faults);
        }
        self.did(Card::MakeNoise);
        format!("makes noise for {}: {faults:?}", if clients { "clients" } else { "nodes" })
    }

    fn rebind(&mut self, trial: &mut Trial, to: usize) -> String {
        let others: Vec<_> = (CLIENTS..=trial.cluster.size()).filter(|from| *from != to).collect();
        let from = *self.rng.pick(&others).unwrap();
        trial.proxy().rebind(from, to);
        self.did(Card::Rebind);
        format!("gives what comes from {from} to n{to} another port")
    }

    fn mend(&mut self, trial: &mut Trial) -> String {
        trial.proxy().heal();
        self.did(Card::Mend);
        "mends the network".to_owned()
    }
}

/// All directed pairs of different nodes.
fn pairs(size: usize) -> impl Iterator<Item = (usize, usize)> {
    (1..=size).flat_map(move |from| (1..=size).map(move |to| (from, to))).filter(|(from, to)| from != to)
}
