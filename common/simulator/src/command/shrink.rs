//! `simulator shrink`: which faults a failure needs. Each option is turned off, or made small, one after another, and
//! stays so where the seed still fails in the same way.

use clap::Args;

use super::{Variant, child, replay_line, say, show};
use crate::options::Options;

/// What a small run has instead of what the seed says: a fault is off, a size is usual.
const SMALL: &[(&str, &[u64])] = &[
    ("seconds", &[5, 10, 20, 40, 80]),
    ("servers", &[1, 3]),
    ("clients", &[1, 2]),
    ("keys", &[1]),
    ("idle", &[0]),
    ("value_bytes", &[8]),
    ("latency_us", &[200]),
    ("inbox", &[4096]),
    ("sync_us", &[150]),
    ("loop_us", &[10]),
    ("shuffle", &[0]),
    ("request_ids", &[5000]),
    ("overlay_entries", &[10_000]),
    ("overlay_age_ms", &[10_000]),
    ("segment_bytes", &[524_288]),
    ("cache_bytes", &[10_000_000]),
    ("append_entries", &[1024]),
    ("append_bytes", &[1_000_000]),
    ("window", &[64]),
    ("uncommitted", &[16_384]),
    ("uncommitted_bytes", &[1_048_576]),
    ("waiting_reads", &[16_384]),
];

/// Options that say how large or long a fault is, of no effect without it.
const SHAPES: &[&str] = &[
    "spike_ms",
    "partition_ms",
    "down_ms",
    "pause_ms",
    "stall_ms",
    "usurp_us",
    "think_us",
    "patience_ms",
    "reads",
];

#[derive(Args, Debug)]
pub(super) struct Shrink {
    /// The seed that fails.
    seed: u64,
    #[command(flatten)]
    variant: Variant,
}

impl Shrink {
    pub(super) fn run(self) -> Result<bool, String> {
        let kind = failure(self.seed, &self.variant).map(|why| kind_of(&why));
        let Some(kind) = kind else {
            show("the seed does not fail");
            return Ok(true);
        };
        say(&format!("fails with: {kind}"));
        let (mut variant, options) = (self.variant.clone(), self.variant.options(self.seed)?);
        for name in Options::NAMES.iter().filter(|name| !SHAPES.contains(name)) {
            let small =
                SMALL.iter().find(|(option, _)| option == name).map_or(&[0][..], |(_, values)| values);
            let now = options.get(name).unwrap_or(0);
            for value in small.iter().filter(|value| **value != now && (*name != "seconds" || **value < now))
            {
                let mut smaller = variant.clone();
                smaller.set.push(format!("{name}={value}"));
                if failure(self.seed, &smaller).is_some_and(|why| kind_of(&why) == kind) {
                    say(&format!("not needed: {name}={now} ({value} does)"));
                    variant = smaller;
                    break;
                }
            }
        }
        variant.set = vec![variant.set.join(" ")];
        show(&format!("replay  {}", replay_line(self.seed, &variant)));
        Ok(false)
    }
}

/// Why the seed fails, if it does.
fn failure(seed: u64, variant: &Variant) -> Option<String> {
    let mut failure = None;
    child::run(seed, 1, false, variant, |said| {
        if let child::Said::Failed { why, .. } | child::Said::Broken { why, .. } = said {
            failure = Some(why);
        }
    });
    failure
}

/// A message without its numbers and without what follows the first of them far behind.
fn kind_of(why: &str) -> String {
    why.chars().filter(|c| !c.is_ascii_digit()).take(48).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_option_shrinks_to_something_that_exists() {
        for name in SMALL.iter().map(|(name, _)| name).chain(SHAPES) {
            assert!(Options::NAMES.contains(name), "{name}");
        }
    }

    #[test]
    fn failures_of_one_kind_differ_in_numbers_only() {
        assert_eq!(kind_of("VIOLATION s1 lost 3 of 7"), kind_of("VIOLATION s4 lost 12 of 99"));
        assert_ne!(kind_of("VIOLATION s1 lost 3"), kind_of("VIOLATION s1 votes twice"));
    }
}
