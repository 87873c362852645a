//! What only a write of unknown outcome explains, and whether there was one.
//!
//! The replay leaves *wants*: at some revision in a range there must have been a set, or a delete, of this key that
//! nobody was told of. A want is met by one write of unknown outcome whose value was never read, at a revision above
//! its floor (`order.rs`) and not taken by another write.
//!
//! [`assign`] decides for one key whether every want can be met by a write of its own. A write with a lower floor can
//! do whatever one with a higher floor can, so giving the lowest want the lowest floor is best. [`schedule`] decides
//! whether all wants of all keys have revisions of their own, the most urgent first. Each alone is exact; that the
//! two choices also fit together is not checked, so that a violation is one whatever was chosen.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{History, Rule, Violation, order::Bounds};
use crate::{
    history::{Call, Outcome},
    mutant::{self, Mutant},
};

/// Writes that must have taken effect though nobody was told.
pub(super) struct Wanted {
    pub(super) what: Kind,
    /// Where, as ranges of revisions, both ends included; some may be empty. They rise.
    pub(super) ranges: Vec<(u64, u64)>,
    /// How many of them.
    pub(super) count: u64,
    /// What is broken if there were none, and why.
    pub(super) rule: Rule,
    pub(super) why: String,
}

/// What a write does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Set,
    Delete,
}

/// A revision that a write of unknown outcome must have had, both ends included.
pub(super) struct Gap {
    low: u64,
    high: u64,
    rule: Rule,
    why: String,
}

/// The revisions of all writes whose revision is known.
pub(super) struct Taken {
    revisions: Vec<u64>,
    /// Of each: the first and the last of the unbroken run it belongs to.
    runs: Vec<(u64, u64)>,
}

impl Taken {
    /// Notes them all; no two may be the same.
    pub(super) fn new(history: &History<'_>) -> Result<Self, Violation> {
        let mut known: Vec<_> =
            history.effects.iter().enumerate().filter_map(|(at, effect)| Some(((*effect)?, at))).collect();
        known.sort_unstable();
        let twice = known.windows(2).find(|pair| pair[0].0 == pair[1].0);
        if let Some([(revision, one), (_, other)]) = twice
            && !mutant::is(Mutant::SharedRevisions)
        {
            let (one, other) = (history.witness(*one), history.witness(*other));
            return Err(Violation::new(
                Rule::OwnRevision,
                format!("{revision} is that of {one}, and of {other}"),
            ));
        }
        let mut revisions: Vec<u64> = known.into_iter().map(|(revision, _)| revision).collect();
        revisions.dedup();
        if mutant::is(Mutant::ExplainsWithoutRoom) {
            revisions.clear();
        }
        let mut runs = Vec::with_capacity(revisions.len());
        for run in revisions.chunk_by(|before, after| before + 1 == *after) {
            runs.resize(runs.len() + run.len(), (run[0], run[run.len() - 1]));
        }
        Ok(Self { revisions, runs })
    }

    /// The highest revision up to this one that is free.
    fn free_down(&self, from: u64) -> u64 {
        self.revisions.binary_search(&from).map_or(from, |at| self.runs[at].0 - 1)
    }

    /// The lowest revision from this one that is free.
    fn free_up(&self, from: u64) -> u64 {
        self.revisions.binary_search(&from).map_or(from, |at| self.runs[at].1.saturating_add(1))
    }

    /// The free revisions in the ranges, from the highest down.
    fn free<'a>(&'a self, ranges: &'a [(u64, u64)]) -> impl Iterator<Item = u64> + 'a {
        ranges.iter().rev().flat_map(|(low, high)| {
            let next = |from: u64| (from >= *low).then(|| self.free_down(from)).filter(|free| free >= low);
            std::iter::successors(next(*high), move |free| next(free - 1))
        })
    }
}

/// Gives every want of one key, whose operations are `of`, a write of its own, or says which has none.
pub(super) fn assign(
    history: &History<'_>,
    bounds: &Bounds,
    taken: &Taken,
    wanted: &[Wanted],
    of: &[usize],
) -> Result<Vec<Gap>, Violation> {
    let (mut gaps, mut sets, mut deletes) = (Vec::new(), Vec::new(), Vec::new());
    if wanted.is_empty() {
        return Ok(gaps);
    }
    let floors = [Kind::Set, Kind::Delete].map(|what| floors(history, bounds, what, of));
    let [set_floors, delete_floors] = &floors;
    for want in wanted {
        let (latest, floors) = match want.what {
            Kind::Set => (&mut sets, set_floors),
            Kind::Delete => (&mut deletes, delete_floors),
        };
        let count = usize::try_from(want.count).unwrap_or(usize::MAX);
        let before = latest.len();
        if count <= floors.len() || mutant::is(Mutant::ExplainsTwice) {
            latest.extend(taken.free(&want.ranges).take(count).map(|revision| (revision, want)));
        }
        if latest.len() - before < count {
            return Err(unexplained(want.rule, &want.why));
        }
        let (low, high) = (want.ranges[0].0, want.ranges[want.ranges.len() - 1].1);
        gaps.extend((0..count).map(|_| Gap { low, high, rule: want.rule, why: want.why.clone() }));
    }
    for (mut latest, floors) in [(sets, set_floors), (deletes, delete_floors)] {
        latest.sort_by_key(|(revision, _)| *revision);
        for (at, (revision, want)) in latest.iter().enumerate() {
            let at = if mutant::is(Mutant::ExplainsTwice) { 0 } else { at };
            if floors.get(at).is_none_or(|floor| floor >= revision) {
                return Err(unexplained(want.rule, &want.why));
            }
        }
    }
    Ok(gaps)
}

/// The floors of the writes of unknown outcome that nobody saw, lowest first.
fn floors(history: &History<'_>, bounds: &Bounds, what: Kind, of: &[usize]) -> Vec<u64> {
    let is_meant = |at: &&usize| {
        let operation = &history.operations[**at];
        let kind = match operation.call {
            Call::Set { .. } => Kind::Set,
            Call::Delete { .. } => Kind::Delete,
            Call::Get { .. } | Call::StaleGet { .. } => return false,
        };
        operation.outcome == Outcome::Unknown && kind == what && history.effects[**at].is_none()
    };
    let floor = |at: &usize| bounds[*at].map_or(0, |(revision, _)| revision);
    let mut floors: Vec<u64> = of.iter().filter(is_meant).map(floor).collect();
    if mutant::is(Mutant::UnknownFailed) {
        floors.clear();
    }
    if mutant::is(Mutant::ExplainsEarlier) {
        floors.fill(0);
    }
    floors.sort_unstable();
    floors
}

/// Gives every gap a free revision of its own: at each free revision the one whose range ends first.
pub(super) fn schedule(taken: &Taken, mut gaps: Vec<Gap>) -> Result<(), Violation> {
    gaps.sort_by_key(|gap| (gap.low, gap.high));
    let mut open: BinaryHeap<Reverse<(u64, usize)>> = BinaryHeap::new();
    let mut next = 0;
    let mut revision = 0;
    while next < gaps.len() || !open.is_empty() {
        if open.is_empty() {
            revision = revision.max(gaps[next].low);
        }
        revision = taken.free_up(revision);
        while let Some(gap) = gaps.get(next).filter(|gap| gap.low <= revision) {
            open.push(Reverse((gap.high, next)));
            next += 1;
        }
        if let Some(Reverse((high, at))) = open.pop()
            && high < revision
            && !mutant::is(Mutant::ExplainsWithoutRoom)
        {
            return Err(unexplained(gaps[at].rule, &gaps[at].why));
        }
        revision += 1;
    }
    Ok(())
}

fn unexplained(rule: Rule, why: &str) -> Violation {
    Violation::new(rule, format!("{why}; no write of unknown outcome explains it"))
}
