//! `simulator mutants`: every switchable bug must be found, within so many seeds of the stock options.
//!
//! `common/simulator/mutants.txt` records for each mutant a seed that finds it, so that a short run sees all of them
//! die; the same seeds must pass without a mutant.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use clap::Args;

use super::{Variant, child, fresh_seed, no_mutant, say, seeds::processors, show};
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
    /// Only the recorded seed of each; a mutant without one is named and left out.
    #[arg(long)]
    recorded: bool,
    /// Record the seed that found each.
    #[arg(long)]
    record: bool,
    /// Processes at a time; the processors of the machine when left out.
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

/// How a mutant died.
struct Death {
    seed: u64,
    /// How many seeds it took.
    after: u64,
    why: String,
}

impl Hunt {
    pub(super) fn run(self) -> Result<bool, String> {
        let mut names = self.names()?;
        let known = if self.recorded { recorded()? } else { BTreeMap::new() };
        if self.recorded {
            for name in names.extract_if(.., |name| !known.contains_key(name)) {
                show(&format!(
                    "{name:<40} has no recorded seed: hunt it with `simulator mutants --only {name} --record`"
                ));
            }
        }
        let first = self.first.unwrap_or_else(fresh_seed);
        let (taken, deaths) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.unwrap_or_else(processors) {
                scope.spawn(|| {
                    while let Some(name) = names.get(taken.fetch_add(1, Relaxed)) {
                        let (first, count) = known.get(name).map_or((first, self.seeds), |seed| (*seed, 1));
                        let death = hunt(name, first, count);
                        show(&told(name, death.as_ref(), count));
                        deaths.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), death);
                    }
                });
            }
        });
        let deaths = deaths.into_inner().unwrap_or_else(PoisonError::into_inner);
        let alive = deaths.values().filter(|death| death.is_none()).count();
        let mut after: Vec<u64> = deaths.values().flatten().map(|death| death.after).collect();
        after.sort_unstable();
        let (median, most) = (after.get(after.len() / 2).unwrap_or(&0), after.last().unwrap_or(&0));
        show(&format!("{} of {} mutants died; median {median} seeds, most {most}", after.len(), names.len()));
        if self.record {
            record(&deaths)?;
        }
        Ok(alive == 0)
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

fn hunt(name: &str, first: u64, count: u64) -> Option<Death> {
    let variant = Variant { mutant: Some(name.to_owned()), ..Variant::default() };
    let mut death = None;
    child::run(first, count, false, &variant, |said| {
        if let child::Said::Failed { seed, why } = said {
            death = Some(Death { seed, after: seed - first + 1, why });
        }
    });
    death
}

fn told(name: &str, death: Option<&Death>, count: u64) -> String {
    match death {
        Some(Death { seed, after, why }) => {
            let why: String = why.chars().take(100).collect();
            format!("{name:<40} dies at seed {seed} after {after}: {why}")
        }
        None => format!("{name:<40} LIVES through {count} seeds"),
    }
}

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants.txt")
}

/// The recorded seed of each mutant.
pub(super) fn recorded() -> Result<BTreeMap<String, u64>, String> {
    let text = std::fs::read_to_string(file()).map_err(|error| format!("{}: {error}", file().display()))?;
    let line = |line: &str| {
        let (name, seed) = line.split_once(' ')?;
        Some((name.to_owned(), seed.trim().parse().ok()?))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|text| line(text).ok_or_else(|| format!("{}: `{text}`", file().display()))).collect()
}

/// Keeps what was recorded of mutants that were not hunted now.
fn record(deaths: &BTreeMap<String, Option<Death>>) -> Result<(), String> {
    let mut seeds = recorded().unwrap_or_default();
    let known: Vec<String> = mutants().iter().map(crate::instruments::Instrument::full_name).collect();
    seeds.retain(|name, _| known.contains(name));
    for (name, death) in deaths {
        if let Some(death) = death {
            seeds.insert(name.clone(), death.seed);
        }
    }
    let mut text =
        String::from("# A seed that finds each mutant; written by `simulator mutants --record`.\n");
    for (name, seed) in &seeds {
        let _ = writeln!(text, "{name} {seed}");
    }
    say(&format!("{} seeds recorded in {}", seeds.len(), file().display()));
    std::fs::write(file(), text).map_err(|error| format!("{}: {error}", file().display()))
}
