//! The order in time: revisions must rise along it.
//!
//! One sweep over the moments at which operations were asked, beside those at which others ended. The *floor* of an
//! operation is the highest revision that anyone was told before it was asked. A write lies above its floor: it was
//! not there when that was told. A linearizable read lies at or above it. A stale read may lie anywhere, but what it
//! told binds all that comes later.

use super::{History, Rule, Violation};
use crate::{
    history::{Call, Outcome},
    mutant::{self, Mutant},
};

/// Of each operation: what was the highest revision told before it was asked, and by which operation.
pub(super) type Bounds = Vec<Option<(u64, usize)>>;

/// Checks the order and returns the floors.
pub(super) fn check(history: &History<'_>) -> Result<Bounds, Violation> {
    let operations = history.operations;
    let mut asked: Vec<usize> = (0..operations.len()).collect();
    asked.sort_by_key(|at| operations[*at].invoked);
    let told = |at: usize| match operations[at].outcome {
        Outcome::Read { .. } if mutant::is(Mutant::ReadsBindNothing) => None,
        Outcome::Written { revision, .. }
        | Outcome::Judged { revision, .. }
        | Outcome::Read { revision, .. } => Some((revision, at)),
        Outcome::NotApplied | Outcome::Unknown => None,
    };
    let mut ended: Vec<(u64, usize)> = (0..operations.len()).filter_map(told).collect();
    ended.sort_by_key(|(_, at)| operations[*at].ended);
    let mut ended = ended.into_iter().peekable();

    let mut floors = vec![None; operations.len()];
    let mut floor = None;
    for at in asked {
        let is_before = |(_, other): &(u64, usize)| operations[*other].ended < operations[at].invoked;
        while let Some(other) = ended.next_if(is_before) {
            floor = floor.max(Some(other));
        }
        floors[at] = floor;
        let Some((highest, by)) = floor else { continue };
        let broken = match (&operations[at].call, &operations[at].outcome) {
            (Call::Get { .. }, Outcome::Read { revision, .. }) => {
                *revision < highest && !mutant::is(Mutant::ReadsIgnoreTime)
            }
            (_, Outcome::Judged { revision, .. }) => {
                *revision <= highest && !mutant::is(Mutant::WritesIgnoreTime)
            }
            _ => history.effects[at]
                .is_some_and(|revision| revision <= highest && !mutant::is(Mutant::WritesIgnoreTime)),
        };
        if broken {
            let message = format!("{}, but before came {}", history.witness(at), history.text(by));
            return Err(Violation::new(Rule::Time, message));
        }
    }
    Ok(floors)
}
