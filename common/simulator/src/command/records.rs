//! What is known of seeds, in two files that are kept with the source.
//!
//! `mutants.txt` has for each mutant a seed that finds it, and for each mark that few seeds pass one that does, so that a
//! short run sees all of them. Both are written by the simulator and have to be found anew when what a seed does has
//! changed. `blind.txt` is written by people: what no seed finds or passes yet, and why.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
};

use crate::instruments::{Instrument, mutants};

/// Before the name of a mark.
const MARK: &str = "mark:";

fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("mutants.txt")
}

fn blind(name: &str) -> Option<&'static str> {
    let lines = include_str!("../../blind.txt").lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(' ')).find_map(|(blind, why)| (blind == name).then_some(why))
}

/// Why no seed finds this mutant yet, where that is known.
pub(super) fn why_blind(mutant: &str) -> Option<&'static str> {
    blind(mutant)
}

/// What the simulator lacks to pass this mark, where that is known.
pub(super) fn why_silent(mark: &str) -> Option<&'static str> {
    blind(&format!("{MARK}{mark}"))
}

/// The recorded seed of each mutant, and of marks.
pub(super) fn read() -> Result<BTreeMap<String, u64>, String> {
    let text = std::fs::read_to_string(file()).map_err(|error| format!("{}: {error}", file().display()))?;
    let line = |line: &str| {
        let (name, seed) = line.split_once(' ')?;
        Some((name.to_owned(), seed.trim().parse().ok()?))
    };
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|text| line(text).ok_or_else(|| format!("{}: `{text}`", file().display()))).collect()
}

/// Records what finds a mutant. What was recorded of others stays, unless there are no such mutants any more.
pub(super) fn keep_mutant(name: &str, seed: u64) -> Result<(), String> {
    let known: Vec<String> = mutants().iter().map(Instrument::full_name).collect();
    let mut seeds = read().unwrap_or_default();
    seeds.retain(|name, _| known.contains(name) || name.starts_with(MARK));
    seeds.insert(name.to_owned(), seed);
    write(&seeds)
}

/// Records what passes these marks, which few seeds pass, and no others. Where the seed that was recorded is still among
/// those that do, it stays.
pub(super) fn keep_marks(rare: &BTreeMap<String, Vec<u64>>) -> Result<(), String> {
    let mut seeds = read().unwrap_or_default();
    let before = seeds.clone();
    seeds.retain(|name, _| !name.starts_with(MARK));
    for (mark, passing) in rare {
        let name = format!("{MARK}{mark}");
        let stays = before.get(&name).filter(|seed| passing.contains(seed));
        if let Some(seed) = stays.or(passing.first()) {
            seeds.insert(name, *seed);
        }
    }
    write(&seeds)
}

fn write(seeds: &BTreeMap<String, u64>) -> Result<(), String> {
    let mut text = String::from(
        "# A seed that finds each mutant, or passes a rare mark; written by `simulator mutants --record` and\n\
         # `simulator run --record`.\n",
    );
    for (name, seed) in seeds {
        let _ = writeln!(text, "{name} {seed}");
    }
    std::fs::write(file(), text).map_err(|error| format!("{}: {error}", file().display()))
}
