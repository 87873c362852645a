//! Checks a history by its revisions: sorted by them, it must read like one client alone with one map.
//!
//! Every reply names the revision of the state it speaks of. That leaves nothing to search for: the acknowledged
//! writes are put in the order of their revisions, and every read is compared with the newest write at or below its
//! own. Four things are checked.
//!
//! - **Order in time** (`replay/order.rs`): what ended before something else was asked has the lower revision, and a
//!   linearizable read includes whatever anyone was told before.
//! - **The replay** (`replay/timeline.rs`): values, `existed`, `created` and `version` are those of a map to which
//!   each write was applied once. The history begins with no key there.
//! - **Conditions** (`replay/conditions.rs`): a conditional write was judged by the newest write before it, which its
//!   answer names. Whether one of unknown outcome held is not asked: it counts as a write that may have taken effect.
//! - **Writes of unknown outcome** (`replay/explain.rs`). One that was read took effect at exactly the revision that
//!   the row shows, because values are unique. One that nobody saw may still be needed to explain what was seen: a
//!   row that vanished, a version that counts one more. Each explains one thing at most, at a revision after all that
//!   ended before it was asked, and that no other write has. What they leave unexplained is a violation; that they
//!   *may* have happened is never one.
//!
//! An operation comes before another when it ended at an earlier moment than the other was asked; at the same moment
//! they overlap. The check takes O(n log n) and knows nothing of `linearizability.rs`, which ignores revisions.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error,
    fmt,
};

use crate::{
    history::{Call, Operation, Outcome, Seen, Text},
    mutant::{self, Mutant},
};

mod conditions;
mod explain;
mod order;
#[cfg(test)]
mod tests;
mod timeline;

/// What a history held that passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Keys that were written or read.
    pub keys: usize,
    /// Acknowledged writes.
    pub written: usize,
    /// Conditional writes whose condition did not hold.
    pub unmet: usize,
    /// Linearizable reads that were served.
    pub reads: usize,
    /// Stale reads that were served.
    pub stale_reads: usize,
    /// Operations that were refused.
    pub not_applied: usize,
    /// Operations of unknown outcome.
    pub unknown: usize,
    /// Writes of unknown outcome whose value was read.
    pub unknown_seen: usize,
    /// Writes of unknown outcome that must have taken effect, though nobody saw it, for the rest to make sense.
    pub unknown_inferred: usize,
    /// The highest revision anyone was told.
    pub revision: u64,
}

/// What a history broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// The history is not one: a defect of the test that recorded it.
    Malformed,
    /// Every write has a revision of its own, but for keys that vanish together.
    OwnRevision,
    /// A write is shown under its one revision only.
    OneRevision,
    /// What ended before something else was asked has the lower revision.
    Time,
    /// Every value was written.
    Written,
    /// What was refused does not show.
    Refused,
    /// A read shows the newest write at its revision.
    Newest,
    /// A write says truly whether its key was there.
    Existed,
    /// A row says truly which revision created it.
    Created,
    /// A row says truly how often it was written.
    Version,
    /// A conditional write is done exactly if its condition holds of what it found.
    Condition,
}

/// The first contradiction that was found, in one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What was broken.
    pub rule: Rule,
    /// What contradicts what.
    pub message: String,
}

impl Violation {
    fn new(rule: Rule, message: String) -> Self {
        Self { rule, message }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rule = match self.rule {
            Rule::Malformed => "the history is malformed",
            Rule::OwnRevision => "one revision for two writes",
            Rule::OneRevision => "one write under two revisions",
            Rule::Time => "revisions against the order in time",
            Rule::Written => "a value that nobody wrote",
            Rule::Refused => "a refused write shows",
            Rule::Newest => "not the newest write",
            Rule::Existed => "wrong about whether the key was there",
            Rule::Created => "wrong creation",
            Rule::Version => "wrong version",
            Rule::Condition => "a condition was judged wrongly",
        };
        write!(out, "{rule}: {}", self.message)
    }
}

impl Error for Violation {}

/// Which operation wrote a value to a key.
type Writers<'a> = HashMap<(&'a [u8], &'a [u8]), usize>;

/// The operations with what is known of their effects.
struct History<'a> {
    operations: &'a [Operation],
    /// Of each operation: for a write the revision at which it took effect, if that is known.
    effects: Vec<Option<u64>>,
    /// Of each operation: for a write that was read, what the reads say of its row.
    shown: HashMap<usize, Shown>,
}

/// What reads say of the row that one write left.
#[derive(Clone, Copy, Debug)]
struct Shown {
    created: u64,
    version: u64,
    /// The first read that said so.
    by: usize,
    /// The highest revision at which the row was still there as it was, and the read that saw it.
    until: (u64, usize),
}

/// Checks a history.
pub fn check(operations: &[Operation]) -> Result<Summary, Violation> {
    let mut history = History { operations, effects: vec![None; operations.len()], shown: HashMap::new() };
    let mut summary = history.take_outcomes()?;
    let writers = history.writers()?;
    history.take_reads(&writers)?;
    history.take_conditions(&writers)?;
    let bounds = order::check(&history)?;

    let mut keys: BTreeMap<&[u8], Vec<usize>> = BTreeMap::new();
    for (at, operation) in operations.iter().enumerate() {
        keys.entry(operation.call.key()).or_default().push(at);
    }
    let taken = explain::Taken::new(&history)?;
    let mut gaps = Vec::new();
    for (key, of) in &keys {
        let wanted = timeline::Timeline::new(&history, key, of)?.replay(&history)?;
        gaps.extend(explain::assign(&history, &bounds, wanted, of)?);
    }
    summary.keys = keys.len();
    summary.unknown_inferred = gaps.len();
    explain::schedule(&taken, gaps)?;
    let is_seen = |at: &usize| operations[*at].outcome == Outcome::Unknown;
    summary.unknown_seen = history.shown.keys().filter(|at| is_seen(at)).count();
    Ok(summary)
}

impl<'a> History<'a> {
    /// Counts what there is and notes the revisions of acknowledged writes.
    fn take_outcomes(&mut self) -> Result<Summary, Violation> {
        let mut summary = Summary::default();
        for (at, operation) in self.operations.iter().enumerate() {
            if operation.ended < operation.invoked && operation.outcome != Outcome::Unknown {
                return Err(Violation::new(
                    Rule::Malformed,
                    format!("ended before it was asked: {operation}"),
                ));
            }
            match (&operation.call, &operation.outcome) {
                (_, Outcome::NotApplied) => summary.not_applied += 1,
                (_, Outcome::Unknown) => summary.unknown += 1,
                (
                    Call::Set { .. } | Call::Delete { .. } | Call::Vanish { .. },
                    Outcome::Written { revision, .. },
                ) => {
                    if *revision == 0 {
                        let message = format!("revisions of writes begin at 1: {operation}");
                        return Err(Violation::new(Rule::Malformed, message));
                    }
                    summary.written += 1;
                    summary.revision = summary.revision.max(*revision);
                    self.effects[at] = Some(*revision);
                }
                (Call::Conditional { .. }, Outcome::Judged { revision, is_met, .. }) => {
                    self.check_condition(at)?;
                    *if *is_met { &mut summary.written } else { &mut summary.unmet } += 1;
                    summary.revision = summary.revision.max(*revision);
                    self.effects[at] = is_met.then_some(*revision);
                }
                (call @ (Call::Get { .. } | Call::StaleGet { .. }), Outcome::Read { revision, .. }) => {
                    let is_stale = matches!(call, Call::StaleGet { .. });
                    *if is_stale { &mut summary.stale_reads } else { &mut summary.reads } += 1;
                    summary.revision = summary.revision.max(*revision);
                }
                _ => {
                    let message = format!("an outcome of something else: {operation}");
                    return Err(Violation::new(Rule::Malformed, message));
                }
            }
        }
        Ok(summary)
    }

    /// The write of every value.
    fn writers(&self) -> Result<Writers<'a>, Violation> {
        let mut writers = HashMap::with_capacity(self.operations.len());
        for (at, operation) in self.operations.iter().enumerate() {
            if let Some(Some(value)) = operation.call.leaves()
                && writers.insert((operation.call.key(), value), at).is_some()
            {
                return Err(Violation::new(Rule::Malformed, format!("the value is not unique: {operation}")));
            }
        }
        Ok(writers)
    }

    /// Finds the write behind every row that was read.
    fn take_reads(&mut self, writers: &Writers<'_>) -> Result<(), Violation> {
        for at in 0..self.operations.len() {
            let Some((Some(seen), revision)) = self.read(at) else { continue };
            let operation = &self.operations[at];
            let Some(writer) = writers.get(&(operation.call.key(), seen.value.as_slice())) else {
                return Err(Violation::new(Rule::Written, operation.to_string()));
            };
            if seen.revision > revision && !mutant::is(Mutant::ReadsOfTheFuture) {
                let message = format!("the row is newer than the state it was read from: {operation}");
                return Err(Violation::new(Rule::Newest, message));
            }
            self.show(*writer, at, seen, revision)?;
        }
        Ok(())
    }

    /// The read `by` saw the row that `writer` left, at `revision`.
    fn show(&mut self, writer: usize, by: usize, seen: &Seen, revision: u64) -> Result<(), Violation> {
        let violation = |rule, other: &Operation| {
            Err(Violation::new(rule, format!("{}, but {other}", self.operations[by])))
        };
        let written = &self.operations[writer];
        match written.outcome {
            Outcome::NotApplied | Outcome::Judged { is_met: false, .. }
                if !mutant::is(Mutant::RefusedShows) =>
            {
                return violation(Rule::Refused, written);
            }
            Outcome::Written { revision: told, .. }
            | Outcome::Judged { is_met: true, revision: told, .. }
                if told != seen.revision && !mutant::is(Mutant::AnyRevision) =>
            {
                return violation(Rule::OneRevision, written);
            }
            Outcome::Unknown if mutant::is(Mutant::UnknownFailed) => {
                return violation(Rule::Refused, written);
            }
            _ => {}
        }
        let new = Shown { created: seen.created, version: seen.version, by, until: (revision, by) };
        let shown = self.shown.entry(writer).or_insert(new);
        shown.until = shown.until.max((revision, by));
        let first = &self.operations[shown.by];
        let effect = *self.effects[writer].get_or_insert(seen.revision);
        let is_known = matches!(written.outcome, Outcome::Written { .. } | Outcome::Judged { .. });
        if !is_known && effect != seen.revision && !mutant::is(Mutant::SeenTwice) {
            return violation(Rule::OneRevision, first);
        }
        if shown.created != seen.created && !mutant::is(Mutant::CreatedUnread) {
            return violation(Rule::Created, first);
        }
        if shown.version != seen.version && !mutant::is(Mutant::VersionUncounted) {
            return violation(Rule::Version, first);
        }
        Ok(())
    }

    /// What a read that was served found, and at which revision.
    fn read(&self, at: usize) -> Option<(Option<&'a Seen>, u64)> {
        let operation = &self.operations[at];
        if mutant::is(Mutant::StaleUnread) && matches!(operation.call, Call::StaleGet { .. }) {
            return None;
        }
        if mutant::is(Mutant::FirstReadUnread) && self.is_first_read(at) {
            return None;
        }
        match &operation.outcome {
            Outcome::Read { found, revision } => Some((found.as_ref(), *revision)),
            _ => None,
        }
    }

    /// Only for a mutant: whether no read of the same key stands before this one.
    fn is_first_read(&self, at: usize) -> bool {
        let call = &self.operations[at].call;
        let same = |other: &Operation| !other.call.is_write() && other.call.key() == call.key();
        !call.is_write() && !self.operations[..at].iter().any(same)
    }

    fn text(&self, at: usize) -> String {
        self.operations[at].to_string()
    }

    /// The operation, and for a write of unknown outcome the read that shows it.
    fn witness(&self, at: usize) -> String {
        match self.shown.get(&at).filter(|_| self.operations[at].outcome == Outcome::Unknown) {
            Some(shown) => format!("{} (seen by {})", self.text(at), self.text(shown.by)),
            None => self.text(at),
        }
    }
}

/// The key as a message shows it.
fn name(key: &[u8]) -> String {
    format!("key {}", Text(key))
}
