//! Others that judge a history: a published checker, and two that try everything, which only tiny histories allow.

use std::collections::BTreeMap;

use testkit::history::{Call, Expects, Operation, Outcome, Seen};
use todc_utils::{
    linearizability::{
        WGLChecker,
        history::{Action, History},
    },
    specifications::Specification,
};

/// What a map can be asked, with what was answered; keys and values are numbers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Asked {
    Set(usize, u32, Option<bool>),
    Delete(usize, Option<bool>),
    Get(usize, Option<u32>),
}

/// A map of two keys.
type State = [Option<u32>; 2];

impl Asked {
    /// The state after it, if what was answered is true of the state before.
    fn apply(self, state: State) -> Option<State> {
        let fits =
            |key: usize, existed: Option<bool>| existed.is_none_or(|existed| existed == state[key].is_some());
        let mut after = state;
        match self {
            Self::Set(key, value, existed) if fits(key, existed) => after[key] = Some(value),
            Self::Delete(key, existed) if fits(key, existed) => after[key] = None,
            Self::Get(key, value) if state[key] == value => {}
            _ => return None,
        }
        Some(after)
    }
}

/// The operations that count, each with when it was asked and when it ended, if ever.
pub(crate) fn asked(history: &[Operation]) -> Vec<(Asked, u64, Option<u64>)> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for operation in history {
        let existed = match operation.outcome {
            Outcome::NotApplied => continue,
            Outcome::Written { existed, .. } => Some(existed),
            Outcome::Judged { is_met: true, found, .. } => Some(found.is_some()),
            Outcome::Judged { is_met: false, .. } | Outcome::Read { .. } | Outcome::Unknown => None,
        };
        let key = number_of(&mut keys, operation.call.key());
        let asked = match (&operation.call, &operation.outcome) {
            (_, Outcome::Judged { is_met: false, found: None, .. }) => Asked::Get(key, None),
            (_, Outcome::Judged { is_met: false, .. }) => continue,
            (call, _) if call.is_write() => match call.leaves().unwrap() {
                Some(value) => {
                    Asked::Set(key, u32::try_from(number_of(&mut values, value)).unwrap(), existed)
                }
                None => Asked::Delete(key, existed),
            },
            (Call::Get { .. }, Outcome::Read { found, .. }) => {
                let value = found.as_ref().map(|seen| number_of(&mut values, &seen.value));
                Asked::Get(key, value.map(|value| u32::try_from(value).unwrap()))
            }
            _ => continue,
        };
        let ended = (operation.outcome != Outcome::Unknown).then_some(operation.ended);
        all.push((asked, operation.invoked, ended));
    }
    all
}

fn number_of<'a>(known: &mut Vec<&'a [u8]>, name: &'a [u8]) -> usize {
    known.iter().position(|other| *other == name).unwrap_or_else(|| {
        known.push(name);
        known.len() - 1
    })
}

struct Map;

impl Specification for Map {
    type State = State;
    type Operation = Asked;

    fn init() -> State {
        [None; 2]
    }

    fn apply(asked: &Asked, state: &State) -> (bool, State) {
        asked.apply(*state).map_or((false, *state), |after| (true, after))
    }
}

/// The published checker's word on a history of at most two keys. It wants every call answered: one of unknown outcome is
/// answered after all else, so that it can come last, which is as good as never.
pub(crate) fn published(history: &[Operation]) -> bool {
    let mut actions = Vec::new();
    for (process, (asked, invoked, ended)) in asked(history).into_iter().enumerate() {
        actions.push(((invoked, 0), process, Action::Call(asked)));
        actions.push(((ended.unwrap_or(u64::MAX), 1), process, Action::Response(asked)));
    }
    actions.sort_by_key(|(moment, ..)| *moment);
    let actions: Vec<_> = actions.into_iter().map(|(_, process, action)| (process, action)).collect();
    actions.is_empty() || WGLChecker::<Map>::is_linearizable(History::from_actions(actions))
}

/// Tries every order in time.
pub(crate) fn any_order(history: &[Operation]) -> bool {
    fn go_on(left: &mut Vec<(Asked, u64, Option<u64>)>, state: State) -> bool {
        if left.iter().all(|(_, _, ended)| ended.is_none()) {
            return true;
        }
        let first_end = left.iter().filter_map(|(_, _, ended)| *ended).min();
        (0..left.len()).any(|at| {
            let (asked, invoked, _) = left[at];
            if first_end.is_some_and(|ended| ended < invoked) {
                return false;
            }
            let Some(after) = asked.apply(state) else { return false };
            let taken = left.remove(at);
            let found = go_on(left, after);
            left.insert(at, taken);
            found
        })
    }
    go_on(&mut asked(history), [None; 2])
}

/// Tries every revision at which the writes of unknown outcome can have taken effect, and replays each choice on a map.
pub(crate) fn any_revisions(history: &[Operation]) -> bool {
    let unknown = |operation: &Operation| operation.outcome == Outcome::Unknown && operation.call.is_write();
    let unknown: Vec<usize> = (0..history.len()).filter(|at| unknown(&history[*at])).collect();
    let highest = history.iter().map(highest_revision).max().unwrap_or(0);
    let mut chosen: Vec<Option<u64>> = history.iter().map(told_revision).collect();
    choose(history, &unknown, highest, &mut chosen)
}

fn choose(history: &[Operation], unknown: &[usize], highest: u64, chosen: &mut [Option<u64>]) -> bool {
    let Some((at, rest)) = unknown.split_first() else { return replays(history, chosen) };
    let choices = std::iter::once(None).chain((1..=highest).map(Some));
    choices.into_iter().any(|choice| {
        let is_taken = history
            .iter()
            .zip(chosen.iter())
            .any(|(other, revision)| other.call.is_write() && revision.is_some() && *revision == choice);
        if is_taken {
            return false;
        }
        chosen[*at] = choice;
        let found = choose(history, rest, highest, chosen);
        chosen[*at] = None;
        found
    })
}

fn told_revision(operation: &Operation) -> Option<u64> {
    match operation.outcome {
        Outcome::Written { revision, .. }
        | Outcome::Judged { revision, .. }
        | Outcome::Read { revision, .. } => Some(revision),
        Outcome::NotApplied | Outcome::Unknown => None,
    }
}

fn highest_revision(operation: &Operation) -> u64 {
    let row = match &operation.outcome {
        Outcome::Read { found: Some(seen), .. } => seen.revision.max(seen.created),
        Outcome::Judged { found: Some(found), .. } => *found,
        _ => 0,
    };
    row.max(told_revision(operation).unwrap_or(0))
}

fn replays(history: &[Operation], revisions: &[Option<u64>]) -> bool {
    let with: Vec<(&Operation, u64)> = history
        .iter()
        .zip(revisions)
        .filter_map(|(operation, revision)| Some((operation, (*revision)?)))
        .collect();
    let in_time = with.iter().all(|(one, low)| {
        with.iter().filter(|_| one.outcome != Outcome::Unknown).all(|(other, high)| {
            one.ended >= other.invoked
                || match other.call {
                    Call::Get { .. } => low <= high,
                    Call::StaleGet { .. } => true,
                    _ => low < high,
                }
        })
    });
    let mut writes: Vec<_> = with.iter().filter(|(operation, _)| operation.call.is_write()).collect();
    writes.sort_by_key(|(_, revision)| *revision);
    if !in_time
        || writes.windows(2).any(|pair| pair[0].1 == pair[1].1)
        || writes.first().is_some_and(|(_, at)| *at == 0)
    {
        return false;
    }
    let mut rows: BTreeMap<&[u8], Seen> = BTreeMap::new();
    let mut reads: Vec<_> = with.iter().filter(|(operation, _)| !operation.call.is_write()).collect();
    reads.sort_by_key(|(_, revision)| *revision);
    let mut reads = reads.into_iter().peekable();
    for (write, revision) in
        writes.into_iter().map(|(write, at)| (Some(*write), *at)).chain([(None, u64::MAX)])
    {
        while let Some((read, _)) = reads.next_if(|(_, at)| *at < revision) {
            let Outcome::Read { found, .. } = &read.outcome else { return false };
            if rows.get(read.call.key()) != found.as_ref() {
                return false;
            }
        }
        let Some(write) = write else { break };
        if let Outcome::Judged { is_met, found, .. } = write.outcome {
            if !is_judged_rightly(history, write, rows.get(write.call.key()), found) {
                return false;
            }
            if !is_met {
                continue;
            }
        }
        let before = rows.remove(write.call.key());
        if matches!(write.outcome, Outcome::Written { existed, .. } if existed != before.is_some()) {
            return false;
        }
        if let Some(Some(value)) = write.call.leaves() {
            let (created, version) = before.map_or((revision, 1), |row| (row.created, row.version + 1));
            rows.insert(write.call.key(), Seen { value: value.to_vec(), revision, created, version });
        }
    }
    true
}

/// Whether a conditional write that found `row` was told so, and was done exactly if it should be. That a value is *not*
/// the expected one is only known of a write that somebody was told of or saw.
fn is_judged_rightly(
    history: &[Operation],
    write: &Operation,
    row: Option<&Seen>,
    found: Option<u64>,
) -> bool {
    let (Call::Conditional { key, expects, .. }, Outcome::Judged { is_met, .. }) =
        (&write.call, &write.outcome)
    else {
        return false;
    };
    let is_writer = |other: &&Operation| {
        other.call.key() == key && other.call.leaves() == row.map(|row| Some(row.value.as_slice()))
    };
    let holds = match (expects, row) {
        (Expects::Anything, _) => true,
        (Expects::Absent, row) => row.is_none(),
        (Expects::Revision(revision), row) => row.is_some_and(|row| row.revision == *revision),
        (Expects::Value(_), None) => false,
        (Expects::Value(value), Some(row)) => row.value == *value,
    };
    let was_seen = |other: &Operation| match (&other.call, &other.outcome, row) {
        (_, Outcome::Read { found: Some(seen), .. }, Some(row)) => seen.value == row.value,
        (
            Call::Conditional { expects: Expects::Value(value), .. },
            Outcome::Judged { is_met: true, .. },
            Some(row),
        ) => *value == row.value,
        _ => false,
    };
    let is_vague = matches!(expects, Expects::Value(_))
        && !is_met
        && history.iter().find(is_writer).is_some_and(|writer| writer.outcome == Outcome::Unknown)
        && !history.iter().filter(|other| other.call.key() == key).any(was_seen);
    row.map(|row| row.revision) == found && (holds == *is_met || is_vague)
}
