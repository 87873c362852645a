//! Changes a legal history here and there. What comes out may be legal or not: judges are compared on it.

use testkit::history::{Call, Operation, Outcome, Seen};

use crate::rng::Rng;

/// Changes what clients were told of the data, of unknown outcomes, or when: nothing that only revisions show.
pub(crate) fn data(rng: &mut Rng, history: &mut [Operation]) {
    let at = rng.place(history.len());
    let values: Vec<Vec<u8>> = history.iter().filter_map(|operation| value(&operation.call)).collect();
    let operation = &mut history[at];
    match (&mut operation.outcome, rng.below(4)) {
        (_, 0) => moments(rng, operation),
        (Outcome::Written { existed, .. }, 1 | 2) => *existed = !*existed,
        (Outcome::Read { found, .. }, 1..) => {
            *found = match rng.place(values.len() + 2) {
                0 => None,
                at => {
                    let value = values.get(at - 1).cloned().unwrap_or_else(|| b"never".to_vec());
                    Some(Seen { value, revision: 1, created: 1, version: 1 })
                }
            };
        }
        (outcome, _) => *outcome = Outcome::Unknown,
    }
}

/// Changes anything.
pub(crate) fn anything(rng: &mut Rng, history: &mut [Operation]) {
    let at = rng.place(history.len());
    let operation = &mut history[at];
    let by_one = |rng: &mut Rng, number: &mut u64| {
        *number = if rng.percent(50) { *number + 1 } else { number.saturating_sub(1) };
    };
    match (&mut operation.outcome, rng.below(8)) {
        (
            Outcome::Written { revision, .. }
            | Outcome::Judged { revision, .. }
            | Outcome::Read { revision, .. },
            0,
        ) => by_one(rng, revision),
        (Outcome::Read { found: Some(seen), .. }, 1) => by_one(rng, &mut seen.version),
        (Outcome::Read { found: Some(seen), .. }, 2) => by_one(rng, &mut seen.created),
        (Outcome::Read { found: Some(seen), .. }, 3) => by_one(rng, &mut seen.revision),
        (Outcome::Read { found, .. }, 4) => *found = None,
        (Outcome::Written { existed, .. }, 1 | 2) => *existed = !*existed,
        (Outcome::Judged { found: Some(found), .. }, 1 | 2) => by_one(rng, found),
        (Outcome::Judged { found, .. }, 3) => *found = None,
        (Outcome::Judged { is_met, .. }, 4) => *is_met = !*is_met,
        (outcome, 5) if operation.call.is_write() => *outcome = Outcome::Unknown,
        (outcome, 6) => *outcome = Outcome::NotApplied,
        _ => moments(rng, operation),
    }
}

fn moments(rng: &mut Rng, operation: &mut Operation) {
    operation.invoked = operation.invoked.saturating_sub(rng.below(4)) + rng.below(4);
    operation.ended = operation.invoked.max(operation.ended.saturating_sub(rng.below(4)) + rng.below(4));
}

fn value(call: &Call) -> Option<Vec<u8>> {
    call.leaves().flatten().map(<[u8]>::to_vec)
}
