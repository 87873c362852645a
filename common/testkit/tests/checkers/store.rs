//! A tiny store that is right: clients, one state, an order of writes. What its clients saw is a legal history.
//!
//! A call is three moments apart: asked, done, told. Between them other clients go on. Writes may be given up before or
//! after they were done; one that was not is *adrift* and may be done much later, or never. Some calls are refused.
//! Stale reads see any earlier state. Moments repeat, so that what touches in time is seen to overlap.

use std::collections::BTreeMap;

use testkit::history::{Call, Expects, Operation, Outcome, Seen};

use crate::rng::Rng;

/// How the clients behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) clients: u64,
    pub(crate) keys: u64,
    /// How often in a hundred a call ends with an unknown outcome.
    pub(crate) unknown: u64,
}

/// The store, its clients and the history so far.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) rng: Rng,
    pub(crate) clock: u64,
    pub(crate) revision: u64,
    pub(crate) rows: BTreeMap<Vec<u8>, Seen>,
    pub(crate) history: Vec<Operation>,
    past: Vec<(u64, Vec<u8>, Option<Seen>)>,
    values: u64,
    habits: Habits,
    /// Of each client: its call and, once that is done, what it will be told.
    calls: Vec<Option<(usize, Option<Outcome>)>>,
    adrift: Vec<usize>,
}

impl Store {
    pub(crate) fn new(seed: u64, habits: Habits) -> Self {
        let calls = (0..habits.clients).map(|_| None).collect();
        Self {
            rng: Rng::new(seed),
            clock: 1,
            revision: 0,
            rows: BTreeMap::new(),
            history: Vec::new(),
            past: Vec::new(),
            values: 0,
            habits,
            calls,
            adrift: Vec::new(),
        }
    }

    /// Lets the clients do so many steps.
    pub(crate) fn run(&mut self, steps: u64) {
        for _ in 0..steps {
            self.step();
        }
    }

    /// Lets every client come to an end, and gives the history in any order.
    pub(crate) fn finish(mut self) -> Vec<Operation> {
        for client in 0..self.calls.len() {
            while self.calls[client].is_some() {
                self.advance(client);
            }
        }
        for at in (1..self.history.len()).rev() {
            let other = self.rng.place(at + 1);
            self.history.swap(at, other);
        }
        self.history
    }

    fn step(&mut self) {
        self.clock += self.rng.below(3);
        if !self.adrift.is_empty() && self.rng.percent(10) {
            let at = self.rng.place(self.adrift.len());
            let at = self.adrift.swap_remove(at);
            self.apply(&self.history[at].call.clone());
        }
        let client = self.rng.place(self.calls.len());
        self.advance(client);
    }

    fn advance(&mut self, client: usize) {
        match self.calls[client].take() {
            None => {
                let call = self.any_call();
                let at = self.ask(client as u64, call);
                self.calls[client] = Some((at, None));
            }
            Some((at, None)) => {
                let call = self.history[at].call.clone();
                if self.rng.percent(self.habits.unknown) {
                    if call.is_write() {
                        self.adrift.push(at);
                    }
                } else if self.rng.percent(8) {
                    self.tell(at, Outcome::NotApplied);
                } else {
                    self.calls[client] = Some((at, Some(self.perform(&call))));
                }
            }
            Some((at, Some(outcome))) => {
                if !self.rng.percent(self.habits.unknown) {
                    self.tell(at, outcome);
                }
            }
        }
    }

    fn any_call(&mut self) -> Call {
        let key = format!("key{}", self.rng.below(self.habits.keys)).into_bytes();
        match self.rng.below(20) {
            0..5 => Call::Set { key, value: self.value() },
            5..7 => Call::Delete { key },
            7..10 => self.any_conditional(key),
            10..17 => Call::Get { key },
            _ => Call::StaleGet { key },
        }
    }

    fn any_conditional(&mut self, key: Vec<u8>) -> Call {
        let expects = match (self.rng.below(5), self.rows.get(&key)) {
            (0, _) => Expects::Anything,
            (1..=2, Some(row)) => Expects::Revision(row.revision),
            (3, Some(row)) => Expects::Value(row.value.clone()),
            (4, _) => Expects::Revision(1 + self.rng.below(self.revision + 1)),
            _ => Expects::Absent,
        };
        let value = (!self.rng.percent(30)).then(|| self.value());
        Call::Conditional { key, value, expects }
    }

    /// A value that was never used.
    pub(crate) fn value(&mut self) -> Vec<u8> {
        self.values += 1;
        format!("v{}", self.values).into_bytes()
    }

    /// A client asks. Until it is told, the outcome is unknown.
    pub(crate) fn ask(&mut self, client: u64, call: Call) -> usize {
        let moment = self.clock;
        self.history.push(Operation {
            client,
            call,
            invoked: moment,
            ended: moment,
            outcome: Outcome::Unknown,
        });
        self.history.len() - 1
    }

    pub(crate) fn tell(&mut self, at: usize, outcome: Outcome) {
        self.history[at].ended = self.clock;
        self.history[at].outcome = outcome;
    }

    /// Does it now, and gives the truth about it.
    pub(crate) fn perform(&mut self, call: &Call) -> Outcome {
        match call {
            Call::Set { .. } | Call::Delete { .. } | Call::Vanish { .. } => {
                let (revision, existed) = self.apply(call);
                Outcome::Written { revision, existed }
            }
            Call::Conditional { key, .. } => {
                let found = self.rows.get(key).map(|row| row.revision);
                let is_met = self.is_met(call);
                let (revision, _) = self.apply(call);
                Outcome::Judged { revision, is_met, found }
            }
            Call::Get { key } => {
                Outcome::Read { found: self.rows.get(key).cloned(), revision: self.revision }
            }
            Call::StaleGet { key } => {
                let revision = self.rng.below(self.revision + 1);
                Outcome::Read { found: self.row_at(key, revision), revision }
            }
        }
    }

    /// The row at an earlier revision.
    pub(crate) fn row_at(&self, key: &[u8], revision: u64) -> Option<Seen> {
        let was = |(at, of, _): &&(u64, Vec<u8>, _)| *at <= revision && of == key;
        self.past.iter().rev().find(was).and_then(|(_, _, row)| row.clone())
    }

    /// Whether the condition of a call holds now.
    fn is_met(&self, call: &Call) -> bool {
        let Call::Conditional { key, expects, .. } = call else { return true };
        let row = self.rows.get(key);
        match expects {
            Expects::Anything => true,
            Expects::Absent => row.is_none(),
            Expects::Revision(revision) => row.is_some_and(|row| row.revision == *revision),
            Expects::Value(value) => row.is_some_and(|row| row.value == *value),
        }
    }

    /// Does a write, if its condition holds: its revision and whether its key was there.
    pub(crate) fn apply(&mut self, call: &Call) -> (u64, bool) {
        self.revision += 1 + u64::from(self.rng.percent(25));
        let revision = self.revision;
        if !self.is_met(call) {
            return (revision, self.rows.contains_key(call.key()));
        }
        let before = self.rows.remove(call.key());
        let existed = before.is_some();
        if let Some(Some(value)) = call.leaves() {
            let (created, version) = before.map_or((revision, 1), |row| (row.created, row.version + 1));
            self.put(call.key(), Seen { value: value.to_vec(), revision, created, version });
        } else {
            self.past.push((revision, call.key().to_vec(), None));
        }
        (revision, existed)
    }

    /// Puts a row there, right or wrong.
    pub(crate) fn put(&mut self, key: &[u8], row: Seen) {
        self.past.push((self.revision, key.to_vec(), Some(row.clone())));
        self.rows.insert(key.to_vec(), row);
    }
}
