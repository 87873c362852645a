//! What many seeds come to.

use std::collections::BTreeMap;

use super::{Variant, child::Said, commit, replay_line, show};
use crate::counts;

/// A mark that fewer than one in so many seeds passes is rare: a short run may miss it.
const RARE: u64 = 50;

/// How often a mark was passed, and by which seeds.
#[derive(Debug, Default)]
struct Passed {
    count: u64,
    seeds: Vec<u64>,
}

/// Sums over seeds, and the failures.
#[derive(Debug, Default)]
pub(super) struct Total {
    seeds: u64,
    events: u64,
    time: u64,
    committed: u64,
    calls: u64,
    counts: BTreeMap<String, u64>,
    marks: BTreeMap<String, Passed>,
    pub(super) failures: Vec<(u64, String)>,
}

impl Total {
    pub(super) fn take(&mut self, said: Said) {
        match said {
            Said::Passed { events, time, committed, calls, .. } => {
                self.seeds += 1;
                self.events += events;
                self.time += time;
                self.committed += committed;
                self.calls += calls;
            }
            Said::Failed { seed, why } | Said::Broken { seed, why } => self.failures.push((seed, why)),
            Said::Counted { name, count } => *self.counts.entry(name).or_default() += count,
            Said::Marked { seed, name, count } => {
                let passed = self.marks.entry(name).or_default();
                passed.count += count;
                passed.seeds.extend((count > 0).then_some(seed));
            }
            Said::Whole => {}
        }
    }

    /// Counters and marks that stayed at zero.
    pub(super) fn silent(&self) -> Vec<String> {
        let counters =
            counts::NAMES.iter().filter(|name| !self.counts.contains_key(**name)).map(ToString::to_string);
        let marks = self.marks.iter().filter(|(_, passed)| passed.count == 0).map(|(name, _)| name.clone());
        counters.chain(marks).collect()
    }

    /// Marks that few seeds passed, with those that did.
    pub(super) fn rare(&self) -> BTreeMap<String, Vec<u64>> {
        let few = |passed: &Passed| (passed.seeds.len() as u64).saturating_mul(RARE) < self.seeds;
        let rare = self.marks.iter().filter(|(_, passed)| few(passed));
        rare.map(|(name, passed)| (name.clone(), passed.seeds.clone())).collect()
    }

    /// Whole cluster-hours simulated.
    pub(super) fn hours(&self) -> u64 {
        self.time / 3_600_000_000
    }

    /// Faults injected.
    pub(super) fn faults(&self) -> u64 {
        self.counts.iter().filter(|(name, _)| counts::is_fault(name)).map(|(_, count)| count).sum()
    }

    pub(super) fn print(&self, seconds: f64) {
        let hours = self.seconds_simulated() / 3600.0;
        show(&format!(
            "{} seeds, {hours:.2} cluster-hours in {seconds:.0} s ({:.0} simulated hours an hour)",
            self.seeds,
            self.seconds_simulated() / seconds.max(0.001)
        ));
        show(&format!(
            "{} faults, {} events, {} entries committed, {} calls of clients checked, {} seeds undecided by search",
            self.faults(),
            self.events,
            self.committed,
            self.calls,
            self.counts.get(counts::UNDECIDED).unwrap_or(&0)
        ));
    }

    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    fn seconds_simulated(&self) -> f64 {
        self.time as f64 / 1e6
    }

    pub(super) fn print_counts(&self) {
        for (name, count) in &self.counts {
            show(&format!("{count:>12}  {name}"));
        }
        for (name, Passed { count, seeds }) in &self.marks {
            show(&format!("{count:>12}  {name} in {} seeds", seeds.len()));
        }
    }

    /// Each failure with everything that is needed to see it again.
    pub(super) fn print_failures(&self, variant: &Variant) {
        for (seed, why) in &self.failures {
            let options = variant.options(*seed).map_or_else(|why| why, |options| options.to_string());
            show(&format!("\nFAILED seed {seed}: {why}"));
            show(&format!("  options {options}"));
            show(&format!("  commit  {}", commit()));
            show(&format!("  replay  {}", replay_line(*seed, variant)));
        }
    }
}
