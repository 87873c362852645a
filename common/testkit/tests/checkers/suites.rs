//! What both checkers are put through. Each suite says what went wrong and with which seed, so that the mutants can be
//! run through the same.

use std::ops::Range;

use testkit::{
    history::{Call, Operation, Outcome},
    linearizability::{self, Limits},
    replay,
};

use crate::{
    corruptions::CORRUPTIONS,
    disturb, judges,
    rng::Rng,
    store::{Habits, Store},
};

/// How a suite went: what was legal and what was not.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) legal: usize,
    pub(crate) illegal: usize,
}

impl Counts {
    fn add(&mut self, is_legal: bool) {
        *if is_legal { &mut self.legal } else { &mut self.illegal } += 1;
    }
}

/// One suite, on the seeds given.
pub(crate) type Suite = fn(Range<u64>) -> Result<Counts, String>;

/// Runs a suite, or only the seed that the environment names.
pub(crate) fn run(name: &str, suite: Suite, seeds: Range<u64>) -> Option<Counts> {
    let one = std::env::var("CHECKERS_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(seeds, |seed: u64| seed..seed + 1);
    let counts = suite(seeds).unwrap_or_else(|failure| panic!("{name}: {failure}"));
    one.is_none().then_some(counts)
}

fn failure(seed: u64, what: &str, history: &[Operation]) -> String {
    let lines: Vec<_> = history.iter().map(|operation| format!("\n    {operation}")).collect();
    format!("replay with CHECKERS_SEED={seed}: {what}{}", lines.concat())
}

/// The search's verdict.
fn searched(history: &[Operation]) -> Result<bool, String> {
    match linearizability::check(history, Limits::default()) {
        Ok(()) => Ok(true),
        Err(
            linearizability::Violation::NotLinearizable { .. }
            | linearizability::Violation::NeverWritten { .. },
        ) => Ok(false),
        Err(other) => Err(other.to_string()),
    }
}

/// A legal history of so many calls.
fn tiny(seed: u64) -> (Rng, Vec<Operation>) {
    let mut rng = Rng::new(seed);
    let habits = Habits { clients: 2 + rng.below(3), keys: 1 + rng.below(2), unknown: rng.below(4) * 8 };
    let calls = 3 + rng.place(5);
    let mut store = Store::new(rng.next(), habits);
    while store.history.len() < calls {
        store.run(1);
    }
    (rng, store.finish())
}

/// The search against the published checker and against trying everything.
pub(crate) fn search_agrees_on_tiny_histories(seeds: Range<u64>) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for seed in seeds {
        let (mut rng, mut history) = tiny(seed);
        for _ in 0..rng.below(10) {
            disturb::data(&mut rng, &mut history);
        }
        let found = searched(&history).map_err(|error| failure(seed, &error, &history))?;
        let (published, any_order) = (judges::published(&history), judges::any_order(&history));
        if found != published || found != any_order {
            let verdicts = format!("search {found}, published {published}, any order {any_order}");
            return Err(failure(seed, &verdicts, &history));
        }
        counts.add(found);
        if !found && seed % 8 == 0 {
            smallest_is_true(&history).map_err(|error| failure(seed, &error, &history))?;
        }
    }
    Ok(counts)
}

/// What the search calls the smallest beginning without an order has none, and with one end less has one.
fn smallest_is_true(history: &[Operation]) -> Result<(), String> {
    let verdict = linearizability::check(history, Limits::default());
    let Err(linearizability::Violation::NotLinearizable { key, ended, .. }) = verdict else { return Ok(()) };
    let of_key = |operation: &&Operation| operation.call.key() == key;
    let history: Vec<Operation> = history.iter().filter(of_key).cloned().collect();
    for (ended, is_legal) in [(ended, false), (ended - 1, true)] {
        if beginning(&history, ended).is_some_and(|beginning| judges::any_order(&beginning) != is_legal) {
            return Err(format!("with {ended} ends of {} it is not {is_legal}", key.escape_ascii()));
        }
    }
    Ok(())
}

/// The history up to its n-th end; what has not ended by then is of unknown outcome. `None` where two end at once.
fn beginning(history: &[Operation], ended: usize) -> Option<Vec<Operation>> {
    let counts = |operation: &&Operation| {
        !matches!(
            operation.outcome,
            Outcome::NotApplied | Outcome::Judged { is_met: false, found: Some(_), .. }
        ) && !matches!(operation.call, Call::StaleGet { .. })
    };
    let mut begun: Vec<Operation> = history.iter().filter(counts).cloned().collect();
    let known = begun.iter().filter(|operation| operation.outcome != Outcome::Unknown);
    let mut ends: Vec<u64> = known.map(|operation| operation.ended).collect();
    ends.sort_unstable();
    let Some(last) = ended.checked_sub(1) else { return Some(Vec::new()) };
    if ends.get(ended) == Some(&ends[last]) {
        return None;
    }
    begun.retain(|operation| operation.invoked <= ends[last]);
    for operation in begun.iter_mut().filter(|operation| operation.ended > ends[last]) {
        let is_read = matches!(operation.outcome, Outcome::Judged { is_met: false, .. });
        operation.outcome = if is_read { Outcome::NotApplied } else { Outcome::Unknown };
    }
    Some(begun)
}

/// The search against the published checker on histories of some length.
pub(crate) fn search_agrees_on_longer_histories(seeds: Range<u64>) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let habits = Habits { clients: 2 + rng.below(5), keys: 1 + rng.below(2), unknown: rng.below(3) * 4 };
        let mut store = Store::new(rng.next(), habits);
        store.run(40 + rng.below(80));
        let mut history = store.finish();
        for _ in 0..rng.below(6) {
            disturb::data(&mut rng, &mut history);
        }
        let found = searched(&history).map_err(|error| failure(seed, &error, &history))?;
        if found != judges::published(&history) {
            return Err(failure(seed, &format!("search {found}, published {}", !found), &history));
        }
        counts.add(found);
    }
    Ok(counts)
}

/// The replay against trying every revision of every write of unknown outcome, and against the search.
pub(crate) fn replay_agrees_on_tiny_histories(seeds: Range<u64>) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for seed in seeds {
        let (mut rng, mut history) = tiny(seed);
        for _ in 0..rng.below(8) {
            disturb::anything(&mut rng, &mut history);
        }
        let replayed = replay::check(&history);
        if replayed.is_ok() != judges::any_revisions(&history) {
            let what = replayed.map_or_else(|violation| violation.to_string(), |_| "accepted".to_owned());
            return Err(failure(seed, &format!("{what}, but trying everything says otherwise"), &history));
        }
        if replayed.is_ok() && !searched(&history).map_err(|error| failure(seed, &error, &history))? {
            return Err(failure(seed, "the replay accepts what has no order", &history));
        }
        counts.add(replayed.is_ok());
    }
    Ok(counts)
}

/// Both accept what a right store did.
pub(crate) fn both_accept_what_is_right(seeds: Range<u64>) -> Result<Counts, String> {
    let mut counts = Counts::default();
    let (mut seen, mut inferred) = (0, 0);
    let all = seeds.clone().count();
    for seed in seeds {
        let mut rng = Rng::new(seed);
        let habits = Habits { clients: 2 + rng.below(8), keys: 1 + rng.below(4), unknown: rng.below(4) * 3 };
        let mut store = Store::new(rng.next(), habits);
        store.run(40 + rng.below(600));
        let history = store.finish();
        let summary =
            replay::check(&history).map_err(|violation| failure(seed, &violation.to_string(), &history))?;
        linearizability::check(&history, Limits::default())
            .map_err(|violation| failure(seed, &violation.to_string(), &history))?;
        seen += summary.unknown_seen;
        inferred += summary.unknown_inferred;
        counts.add(true);
    }
    if all > 1 && (seen < all / 2 || inferred < all / 4) {
        return Err(format!("unknown writes hardly show: {seen} seen, {inferred} inferred"));
    }
    Ok(counts)
}

/// Every corruption is called what it is by the replay, and seen by the search if it claims to and accepted if not.
pub(crate) fn corruptions_are_named(seeds: Range<u64>) -> Result<Counts, String> {
    corruptions(seeds, true)
}

/// Every corruption is seen by the checkers that claim to, whatever they call it.
#[cfg(feature = "mutants")]
pub(crate) fn corruptions_are_seen(seeds: Range<u64>) -> Result<Counts, String> {
    corruptions(seeds, false)
}

fn corruptions(seeds: Range<u64>, named: bool) -> Result<Counts, String> {
    let mut counts = Counts::default();
    for seed in seeds {
        for corruption in CORRUPTIONS {
            let mut rng = Rng::new(seed);
            let habits =
                Habits { clients: 2 + rng.below(5), keys: 1 + rng.below(2), unknown: rng.below(3) * 4 };
            let mut store = Store::new(rng.next(), habits);
            store.run(rng.below(40));
            (corruption.story)(&mut store);
            store.run(rng.below(40));
            let history = store.finish();
            let failed = |what: String| failure(seed, &format!("{}: {what}", corruption.name), &history);
            match replay::check(&history) {
                Ok(_) => return Err(failed("the replay accepts it".to_owned())),
                Err(violation) if named && violation.rule != corruption.replay => {
                    return Err(failed(format!("the replay says {violation}")));
                }
                Err(_) => {}
            }
            if searched(&history).map_err(&failed)? == corruption.search {
                return Err(failed(format!("the search says {}", corruption.search)));
            }
            counts.add(false);
        }
    }
    Ok(counts)
}
