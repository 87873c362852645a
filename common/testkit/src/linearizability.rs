//! Checks a history without its revisions: is there *some* order, within what clients saw of time, in which one map
//! would have answered the same?
//!
//! The search is that of Wing and Gong with Lowe's memory of what was tried, key by key: a history is linearizable
//! exactly if that of each key is. Nothing here looks at a revision, a version or a creation, so that a defect in how
//! those are made, which could fool `replay.rs`, cannot fool this one. Stale reads promise nothing and are left out, as
//! are operations that were refused, reads of unknown outcome and everything a client asked beyond one key.
//!
//! A conditional write counts as a write that found its key there or not, and where its condition did not hold as a read
//! of nothing or of no interest: which value or revision it expected is for `replay.rs` to judge.
//!
//! A write of unknown outcome may take effect at any time after it was asked, or never. The history of a key begins
//! with nothing there. An operation comes before another when it ended at an earlier moment than the other was asked;
//! at the same moment they overlap.
//!
//! The search (`linearizability/search.rs`) is bounded. When it would take too much it says [`Violation::Undecided`],
//! which is no verdict. It never guesses.

use std::{collections::BTreeMap, error::Error, fmt};

use crate::{
    history::{Call, Operation, Outcome, Text},
    mutant::{self, Mutant},
};

mod model;
mod search;
#[cfg(test)]
mod tests;

use model::{Act, Entry};
use search::Verdict;

/// How much a check may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many configurations may be looked at for each key. A million takes about a second.
    pub configurations: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { configurations: 5_000_000 }
    }
}

/// Why a history did not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The history is not one: a defect of the test that recorded it.
    Malformed {
        /// What is wrong with it.
        operation: String,
    },
    /// A value was read that nobody wrote to this key, or whose write was refused.
    NeverWritten {
        /// The read.
        operation: String,
    },
    /// No order explains what the clients of this key saw.
    NotLinearizable {
        /// The key.
        key: Vec<u8>,
        /// How many operations of the key had ended, this one included, when there was no order any more. With one
        /// less there still was.
        ended: usize,
        /// The operation that cannot have ended like this.
        operation: String,
        /// For a read of a value: the set that wrote it.
        writer: Option<String>,
        /// What of the key was under way or came since the last moment at which nothing was, the operation last.
        segment: Vec<String>,
        /// Writes of unknown outcome from before the segment.
        unknown: usize,
    },
    /// The search was given up: no verdict.
    Undecided {
        /// The key.
        key: Vec<u8>,
        /// How many configurations were looked at.
        configurations: u64,
        /// The most operations of the key, of a known outcome or not, that were under way at once.
        width: usize,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed { operation } => write!(out, "the history is malformed: {operation}"),
            Self::NeverWritten { operation } => write!(out, "a value that was never written: {operation}"),
            Self::NotLinearizable { key, ended, operation, writer, segment, unknown } => {
                let key = Text(key);
                write!(
                    out,
                    "key {key} is not linearizable: after {} operations no order explains ",
                    ended - 1
                )?;
                write!(out, "{operation}")?;
                if let Some(writer) = writer {
                    write!(out, "; its value is that of {writer}")?;
                }
                if *unknown > 0 {
                    write!(out, "; {unknown} earlier writes are of unknown outcome")?;
                }
                let hidden = segment.len().saturating_sub(Self::SHOWN);
                if hidden > 0 {
                    write!(out, "\n    ({hidden} more operations since nothing was under way)")?;
                }
                segment[hidden..].iter().try_for_each(|line| write!(out, "\n    {line}"))
            }
            Self::Undecided { key, configurations, width } => write!(
                out,
                "undecided: key {} with up to {width} operations at once was given up after {configurations} \
                 configurations",
                Text(key)
            ),
        }
    }
}

impl Error for Violation {}

impl Violation {
    /// How many operations of a segment a message shows, the last ones.
    const SHOWN: usize = 30;
}

/// Checks a history.
pub fn check(operations: &[Operation], limits: Limits) -> Result<(), Violation> {
    let mut keys: BTreeMap<&[u8], Vec<&Operation>> = BTreeMap::new();
    for operation in operations {
        check_shape(operation)?;
        keys.entry(operation.call.key()).or_default().push(operation);
    }
    let mut undecided = None;
    for (key, operations) in keys {
        match check_key(key, &operations, limits) {
            Err(violation @ Violation::Undecided { .. }) => undecided = undecided.or(Some(violation)),
            other => other?,
        }
    }
    undecided.map_or(Ok(()), Err)
}

fn check_shape(operation: &Operation) -> Result<(), Violation> {
    let fits = match operation.outcome {
        Outcome::Written { .. } | Outcome::Judged { .. } => {
            operation.call.is_write() && operation.invoked <= operation.ended
        }
        Outcome::Read { .. } => !operation.call.is_write() && operation.invoked <= operation.ended,
        Outcome::NotApplied | Outcome::Unknown => true,
    };
    if fits { Ok(()) } else { Err(Violation::Malformed { operation: operation.to_string() }) }
}

fn check_key(key: &[u8], operations: &[&Operation], limits: Limits) -> Result<(), Violation> {
    let entries = entries(operations)?;
    match search::run(&entries, limits) {
        Verdict::Linearizable => Ok(()),
        Verdict::Undecided { configurations, width } => {
            Err(Violation::Undecided { key: key.to_vec(), configurations, width })
        }
        Verdict::Stuck => Err(smallest(key, operations, &entries, limits)),
    }
}

/// The operations of one key as the search wants them, with values as numbers.
fn entries(operations: &[&Operation]) -> Result<Vec<Entry>, Violation> {
    let mut values = BTreeMap::new();
    for operation in operations {
        let is_refused =
            matches!(operation.outcome, Outcome::NotApplied | Outcome::Judged { is_met: false, .. });
        if let Some(Some(value)) = operation.call.leaves()
            && (!is_refused || mutant::is(Mutant::RefusedApplies))
        {
            let number = values.len();
            if values.insert(value, number).is_some() {
                return Err(Violation::Malformed { operation: operation.to_string() });
            }
        }
    }
    let mut entries = Vec::with_capacity(operations.len());
    for (from, operation) in operations.iter().enumerate() {
        let existed = match operation.outcome {
            Outcome::Written { existed, .. } if !mutant::is(Mutant::ExistedIgnored) => Some(existed),
            Outcome::Judged { is_met: true, found, .. } => Some(found.is_some()),
            Outcome::NotApplied if !mutant::is(Mutant::RefusedApplies) => continue,
            _ => None,
        };
        let act = match (&operation.call, &operation.outcome) {
            (Call::Conditional { .. }, Outcome::Judged { is_met: false, found: None, .. }) => {
                Act::Get { value: None }
            }
            (Call::Conditional { .. }, Outcome::Judged { is_met: false, .. }) => continue,
            (call, _) if let Some(left) = call.leaves() => match left {
                Some(value) => Act::Set { value: values[value], existed },
                None => Act::Delete { existed },
            },
            (Call::Get { .. }, Outcome::Read { found: None, .. }) => Act::Get { value: None },
            (Call::Get { .. }, Outcome::Read { found: Some(seen), .. }) => {
                let never = || Violation::NeverWritten { operation: operation.to_string() };
                Act::Get { value: Some(*values.get(seen.value.as_slice()).ok_or_else(never)?) }
            }
            _ => continue,
        };
        let ended = match operation.outcome {
            Outcome::Written { .. } | Outcome::Judged { .. } | Outcome::Read { .. } => Some(operation.ended),
            Outcome::Unknown if mutant::is(Mutant::UnknownFailed) => continue,
            Outcome::Unknown if mutant::is(Mutant::UnknownEnds) => {
                Some(operation.ended.max(operation.invoked))
            }
            Outcome::NotApplied | Outcome::Unknown => None,
        };
        entries.push(Entry { from, act, invoked: operation.invoked, ended });
    }
    Ok(entries)
}

/// The shortest beginning of a history without an order that has none either, told as a violation.
///
/// What is linearizable stays so when its end is cut off. So the number of operations that had ended is searched by
/// halves; a search that gives up counts as if it had found an order, so that what is told is always true.
fn smallest(key: &[u8], operations: &[&Operation], entries: &[Entry], limits: Limits) -> Violation {
    let mut ends: Vec<(u64, usize)> =
        entries.iter().enumerate().filter_map(|(at, entry)| Some((entry.ended?, at))).collect();
    ends.sort_unstable();
    let (mut good, mut bad) = (0, ends.len());
    while good + 1 < bad {
        let middle = good.midpoint(bad);
        let cut = search::cut(entries, &ends[..middle]);
        if search::run(&cut, limits) == Verdict::Stuck { bad = middle } else { good = middle }
    }
    let ends = &ends[..bad];
    let last = ends[bad - 1].1;
    let text = |at: usize| operations[entries[at].from].to_string();

    let begin = segment_begin(entries, ends[bad - 1].0);
    let is_shown = |at: &usize| *at != last && (begin..=ends[bad - 1].0).contains(&entries[*at].invoked);
    let mut segment: Vec<usize> = (0..entries.len()).filter(is_shown).collect();
    segment.sort_by_key(|at| entries[*at].invoked);
    segment.push(last);
    let is_old = |entry: &&Entry| entry.ended.is_none() && entry.invoked < begin;
    let is_read = |entry: &&Entry| match (entry.act, entries[last].act) {
        (Act::Set { value, .. }, Act::Get { value: read }) => read == Some(value),
        _ => false,
    };
    Violation::NotLinearizable {
        key: key.to_vec(),
        ended: bad,
        operation: text(last),
        writer: entries.iter().find(is_read).map(|entry| operations[entry.from].to_string()),
        segment: segment.into_iter().map(text).collect(),
        unknown: entries.iter().filter(is_old).count(),
    }
}

/// When the first operation was asked after the last moment, before `until`, at which none was under way that ended
/// some time.
fn segment_begin(entries: &[Entry], until: u64) -> u64 {
    let mut known: Vec<(u64, u64)> =
        entries.iter().filter_map(|entry| Some((entry.invoked, entry.ended?))).collect();
    known.sort_unstable();
    let (mut begin, mut busy) = (0, 0);
    for (invoked, ended) in known.into_iter().take_while(|(invoked, _)| *invoked <= until) {
        if invoked > busy {
            begin = invoked;
        }
        busy = busy.max(ended);
    }
    begin
}
