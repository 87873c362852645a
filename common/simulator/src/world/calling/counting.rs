//! What clients did to the counters of the family `c`, to which they only add, and which `testkit::counters` judges when
//! a run is over.

use std::collections::BTreeMap;

use protocol::{Consistency, Operation as Change, Request};
use testkit::{
    counters::{Addition, Reading, Told, check},
    history::Outcome,
};

/// By key: what was added, and what was read.
#[derive(Default)]
pub(crate) struct Ledger(BTreeMap<Vec<u8>, (Vec<Addition>, Vec<Reading>)>);

impl Ledger {
    /// Notes a call that ended, if it is of such a counter; `sum` is what its answer said.
    pub(super) fn note(&mut self, request: &Request, outcome: &Outcome, sum: i64, moments: (u64, u64)) {
        let (invoked, ended) = moments;
        match (request, outcome) {
            (Request::Write { operation: Change::Increment { key, by }, .. }, outcome) if is_ours(key) => {
                let told = match outcome {
                    Outcome::Judged { revision, is_met: true, .. } => Told::Sum(*revision, sum),
                    Outcome::NotApplied => Told::NotApplied,
                    Outcome::Unknown => Told::Unknown,
                    other => panic!("VIOLATION a counter that is only added to says {other:?}"),
                };
                let addition = Addition { invoked, ended, by: *by, told };
                self.0.entry(key.clone()).or_default().0.push(addition);
            }
            (Request::Get { key, consistency, .. }, Outcome::Read { found, revision }) if is_ours(key) => {
                let value = |value: &[u8]| String::from_utf8_lossy(value).parse();
                let found = found.as_ref().map(|seen| {
                    let number = value(&seen.value).expect("VIOLATION a counter is no number");
                    (seen.revision, number, seen.version)
                });
                let is_linearizable = *consistency == Consistency::Linearizable;
                let reading = Reading { invoked, ended, is_linearizable, revision: *revision, found };
                self.0.entry(key.clone()).or_default().1.push(reading);
            }
            _ => {}
        }
    }

    /// Judges all of them.
    ///
    /// # Panics
    /// When one cannot be explained.
    pub(in crate::world) fn settle(&self) {
        for (key, (additions, readings)) in &self.0 {
            if let Err(violation) = check(additions, readings) {
                panic!("VIOLATION counter {}: {violation}", String::from_utf8_lossy(key));
            }
        }
    }
}

fn is_ours(key: &[u8]) -> bool {
    key.starts_with(b"c")
}
