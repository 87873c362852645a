//! The checkers with one bug at a time: each must make some suite fail, and without one none does.

use std::ops::Range;

use testkit::mutant::{self, Mutant};

use crate::suites::{self, Suite};

/// The suites, the quick ones first, and how much of each.
const SUITES: &[(&str, Suite, Range<u64>)] = &[
    ("corruptions", suites::corruptions_are_seen, 0..10),
    ("right", suites::both_accept_what_is_right, 0..100),
    ("tiny", suites::search_agrees_on_tiny_histories, 0..5_000),
    ("replay", suites::replay_agrees_on_tiny_histories, 0..5_000),
    ("longer", suites::search_agrees_on_longer_histories, 0..200),
];

/// The suite that fails first, and how.
fn failing() -> Option<String> {
    SUITES.iter().find_map(|(name, suite, seeds)| {
        let failure = suite(seeds.clone()).err()?;
        Some(format!("{name}: {}", failure.lines().next().unwrap_or_default()))
    })
}

#[test]
fn every_mutant_is_noticed_and_only_mutants_are() {
    assert_eq!(failing(), None, "without a mutant");
    let mut survivors = Vec::new();
    for mutant in Mutant::ALL {
        mutant::set(Some(mutant));
        match failing() {
            Some(failure) => println!("{mutant:?} dies of {failure}"),
            None => survivors.push(mutant),
        }
        mutant::set(None);
    }
    assert!(survivors.is_empty(), "nothing notices {survivors:?}");
}
