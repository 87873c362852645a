//! What only a write of unknown outcome explains, and whether there was one.
//!
//! The replay leaves *wants*: at some revision in a range there must have been a set, or a delete, of this key that
//! nobody was told of. A want is met by one write of unknown outcome whose value was never read, at a revision above
//! its floor (`order.rs`) and not taken by another write.
//!
//! The wants of one key follow each other. So the writes that meet them can be taken in the order of their floors:
//! whoever meets an earlier want with a higher floor could as well change places ([`assign`]). That leaves for every
//! want one range of revisions, and whether all wants of all keys have revisions of their own is found by giving each
//! free revision to the want whose range ends first ([`schedule`]).
//!
//! One thing is not looked at: where a range has holes (revisions at which a read saw that nothing had changed), only
//! its two ends are minded. That can let pass what is wrong; it never calls wrong what is right.

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

impl Kind {
    /// What this call does, if it takes effect.
    pub(super) fn of(call: &Call) -> Option<Self> {
        call.leaves().map(|value| if value.is_some() { Self::Set } else { Self::Delete })
    }
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
    /// Of each: the last of the unbroken run it belongs to.
    runs: Vec<u64>,
}

impl Taken {
    /// Notes them all; no two may be the same, but of keys that vanish together.
    pub(super) fn new(history: &History<'_>) -> Result<Self, Violation> {
        // A write that was judged and not done has a revision too.
        let revision = |at: usize| match history.operations[at].outcome {
            Outcome::Judged { revision, .. } => Some(revision),
            _ => history.effects[at],
        };
        let mut known: Vec<_> =
            (0..history.operations.len()).filter_map(|at| Some((revision(at)?, at))).collect();
        // What vanishes twice at one revision then stands side by side.
        known.sort_unstable_by_key(|(revision, at)| (*revision, history.operations[*at].call.key(), *at));
        let key = |at: usize| match &history.operations[at].call {
            Call::Vanish { key } => Some(key),
            _ => None,
        };
        let together = |(one, other)| key(one).is_some() && key(other).is_some() && key(one) != key(other);
        let twice = known.windows(2).find(|pair| pair[0].0 == pair[1].0 && !together((pair[0].1, pair[1].1)));
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
            runs.resize(runs.len() + run.len(), run[run.len() - 1]);
        }
        Ok(Self { revisions, runs })
    }

    /// The lowest revision from this one that is free.
    fn free_up(&self, from: u64) -> u64 {
        self.revisions.binary_search(&from).map_or(from, |at| self.runs[at].saturating_add(1))
    }
}

/// Gives every want of one key, whose operations are `of`, a write of its own, or says which has none.
pub(super) fn assign(
    history: &History<'_>,
    bounds: &Bounds,
    wanted: Vec<Wanted>,
    of: &[usize],
) -> Result<Vec<Gap>, Violation> {
    let mut gaps = Vec::new();
    if wanted.is_empty() {
        return Ok(gaps);
    }
    let [sets, deletes] = [Kind::Set, Kind::Delete].map(|what| floors(history, bounds, what, of));
    let (mut sets, mut deletes) = (sets.as_slice(), deletes.as_slice());
    for want in wanted {
        let left = if want.what == Kind::Set { &mut sets } else { &mut deletes };
        let count = usize::try_from(want.count).unwrap_or(usize::MAX);
        let Some((mine, others)) = left.split_at_checked(count) else {
            return Err(unexplained(want.rule, &want.why));
        };
        for floor in mine {
            let is_above = |(low, high): &&(u64, u64)| low <= high && high > floor;
            let (first, last) = (want.ranges.iter().find(is_above), want.ranges.iter().rev().find(is_above));
            let (Some((low, _)), Some((_, high))) = (first, last) else {
                return Err(unexplained(want.rule, &want.why));
            };
            let low = *low.max(&(floor + 1));
            gaps.push(Gap { low, high: *high, rule: want.rule, why: want.why.clone() });
        }
        if !mutant::is(Mutant::ExplainsTwice) {
            *left = others;
        }
    }
    Ok(gaps)
}

/// The floors of the writes of unknown outcome that nobody saw, lowest first.
fn floors(history: &History<'_>, bounds: &Bounds, what: Kind, of: &[usize]) -> Vec<u64> {
    let is_meant = |at: &&usize| {
        let operation = &history.operations[**at];
        let Some(kind) = Kind::of(&operation.call) else { return false };
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
