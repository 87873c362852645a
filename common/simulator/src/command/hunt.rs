//! `simulator mutants`: every switchable bug must be found, within so many seeds of the stock options.
//!
//! A seed that finds each is recorded (`command/records.rs`), so that a short run sees all of them die; the same seeds
//! must pass without a mutant.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use clap::Args;

use super::{Variant, child, fresh_seed, no_mutant, records, say, seeds::processors, show};
use crate::instruments::mutants;

#[derive(Args, Debug)]
pub(super) struct Hunt {
    /// Most seeds for each.
    #[arg(long, default_value_t = 300, value_name = "N")]
    seeds: u64,
    /// The first seed; a fresh one when left out.
    #[arg(long, value_name = "SEED")]
    first: Option<u64>,
    /// Only these mutants.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The recorded seed of each, and no other but with --record; a mutant without one fails.
    #[arg(long)]
    recorded: bool,
    /// Record the seed that found each; with --recorded those that need a new one are hunted.
    #[arg(long)]
    record: bool,
    /// Processes at a time; the processors of the machine when left out.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// What became of a mutant.
enum Fate {
    /// A promise was broken, or an assertion failed.
    Dies {
        seed: u64,
        /// How many seeds it took.
        after: u64,
        why: String,
    },
    Lives,
    /// A seed gave no verdict, which says nothing of the mutant.
    Unknown {
        seed: u64,
        why: String,
    },
}

impl Fate {
    fn seed(&self) -> Option<u64> {
        if let Self::Dies { seed, .. } = self { Some(*seed) } else { None }
    }

    fn after(&self) -> Option<u64> {
        if let Self::Dies { after, .. } = self { Some(*after) } else { None }
    }
}

impl Hunt {
    pub(super) fn run(self) -> Result<bool, String> {
        let mut names = self.names()?;
        let known = if self.recorded { records::read()? } else { BTreeMap::new() };
        let strict = self.recorded && !self.record;
        if strict {
            for name in names.extract_if(.., |name| records::why_blind(name).is_some()) {
                let why = records::why_blind(&name).unwrap_or_default();
                show(&format!("{name:<40} is not found yet: {why}"));
            }
        }
        let mut unknown = names.iter().filter(|name| strict && !known.contains_key(*name));
        if let Some(name) = unknown.next() {
            return Err(format!(
                "{name} has no recorded seed: `simulator mutants --only {name} --record` hunts it"
            ));
        }
        let first = self.first.unwrap_or_else(fresh_seed);
        let (taken, fates) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or_else(processors) {
                scope.spawn(|| {
                    while let Some(name) = names.get(taken.fetch_add(1, Relaxed)) {
                        let fate = self.fate(name, known.get(name).copied(), first);
                        show(&told(name, &fate, if strict { 1 } else { self.seeds }));
                        let mut fates = fates.lock().unwrap_or_else(PoisonError::into_inner);
                        if let Some(seed) = fate.seed().filter(|_| self.record)
                            && let Err(why) = records::keep_mutant(name, seed)
                        {
                            say(&why);
                        }
                        fates.insert(name.clone(), fate);
                    }
                });
            }
        });
        let fates = fates.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut after: Vec<u64> = fates.values().filter_map(Fate::after).collect();
        after.sort_unstable();
        let (median, most) = (after.get(after.len() / 2).unwrap_or(&0), after.last().unwrap_or(&0));
        show(&format!("{} of {} mutants died; median {median} seeds, most {most}", after.len(), names.len()));
        Ok(after.len() == names.len())
    }

    /// What becomes of a mutant, first by its recorded seed if there is one.
    fn fate(&self, name: &str, recorded: Option<u64>, first: u64) -> Fate {
        let fate = recorded.map(|seed| hunt(name, seed, 1));
        match fate {
            Some(Fate::Lives) if self.record => hunt(name, first, self.seeds),
            Some(fate) => fate,
            None => hunt(name, first, self.seeds),
        }
    }

    fn names(&self) -> Result<Vec<String>, String> {
        if !cfg!(feature = "mutants") {
            return Err(no_mutant(""));
        }
        let all: Vec<String> = mutants().iter().map(crate::instruments::Instrument::full_name).collect();
        if let Some(wrong) = self.only.iter().find(|name| !all.contains(name)) {
            return Err(no_mutant(wrong));
        }
        Ok(if self.only.is_empty() { all } else { self.only.clone() })
    }
}

fn hunt(name: &str, first: u64, count: u64) -> Fate {
    let variant = Variant { mutant: Some(name.to_owned()), ..Variant::default() };
    let mut fate = Fate::Lives;
    child::run(first, count, false, &variant, |said| match said {
        child::Said::Failed { seed, why } => fate = Fate::Dies { seed, after: seed - first + 1, why },
        child::Said::Broken { seed, why } => fate = Fate::Unknown { seed, why },
        _ => {}
    });
    fate
}

fn told(name: &str, fate: &Fate, count: u64) -> String {
    let short = |why: &str| why.chars().take(100).collect::<String>();
    match fate {
        Fate::Dies { seed, after, why } => {
            format!("{name:<40} dies at seed {seed} after {after}: {}", short(why))
        }
        Fate::Lives => format!("{name:<40} LIVES through {count} seeds"),
        Fate::Unknown { seed, why } => format!("{name:<40} UNKNOWN at seed {seed}: {}", short(why)),
    }
}
