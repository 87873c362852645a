//! Do the checkers of histories see what is wrong, and nothing else?
//!
//! - A right store makes histories that both must accept; named corruptions make some that they must reject.
//! - Small histories, about half of them illegal, are judged by others as well: a published checker, and two that try
//!   everything. All must agree.
//! - With the feature `mutants` the checkers are given one bug at a time, and each must be noticed by this.
//!
//! A failure names its seed; with `CHECKERS_SEED` set to it the test repeats that one alone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking and prints its reach"
)]

#[path = "checkers/corruptions.rs"]
mod corruptions;
#[path = "checkers/disturb.rs"]
mod disturb;
#[path = "checkers/judges.rs"]
mod judges;
#[cfg(feature = "mutants")]
#[path = "checkers/mutants.rs"]
mod mutants;
#[path = "checkers/rng.rs"]
mod rng;
#[path = "checkers/store.rs"]
mod store;
#[path = "checkers/suites.rs"]
mod suites;

use suites::{Counts, run};

/// Both kinds must be common, or the test could not fail.
fn assert_mixed(counts: Option<Counts>) {
    let Some(Counts { legal, illegal }) = counts else { return };
    println!("{legal} legal, {illegal} illegal");
    let least = (legal + illegal) * 3 / 10;
    assert!(legal >= least && illegal >= least, "{legal} legal, {illegal} illegal");
}

#[test]
fn the_search_agrees_with_others_on_tiny_histories() {
    assert_mixed(run("tiny", suites::search_agrees_on_tiny_histories, 0..100_000));
}

#[test]
fn the_search_agrees_with_another_on_longer_histories() {
    assert_mixed(run("longer", suites::search_agrees_on_longer_histories, 0..2_000));
}

#[test]
fn the_replay_agrees_with_trying_everything() {
    assert_mixed(run("replay", suites::replay_agrees_on_tiny_histories, 0..20_000));
}

#[test]
fn both_accept_what_a_right_store_did() {
    run("right", suites::both_accept_what_is_right, 0..400);
}

#[test]
fn every_corruption_is_seen_by_who_claims_to() {
    run("corruptions", suites::corruptions_are_named, 0..100);
}
