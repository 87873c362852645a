//! Conditional writes: what each found, held against its condition and against the write that it found.

use super::{History, Rule, Violation, Writers};
use crate::{
    history::{Call, Expects, Outcome},
    mutant::{self, Mutant},
};

/// That a key had the row of one revision up to another.
pub(super) struct Sighting {
    /// The revision that had written the key.
    pub(super) written: u64,
    /// The highest revision at which that was so still.
    pub(super) until: u64,
}

impl History<'_> {
    /// Looks whether the operation was done exactly if its condition holds, as far as it says itself what it found.
    pub(super) fn check_condition(&self, at: usize) -> Result<(), Violation> {
        let operation = &self.operations[at];
        let (Call::Conditional { expects, .. }, Outcome::Judged { revision, is_met, found }) =
            (&operation.call, &operation.outcome)
        else {
            return Ok(());
        };
        if *revision == 0 {
            let message = format!("revisions of writes begin at 1: {operation}");
            return Err(Violation::new(Rule::Malformed, message));
        }
        let is_true = match expects {
            Expects::Anything => *is_met,
            Expects::Absent => *is_met == found.is_none(),
            Expects::Revision(expected) => *is_met == (*found == Some(*expected)),
            Expects::Value(_) => !is_met || found.is_some(),
        };
        if !is_true && !mutant::is(Mutant::ConditionUnread) {
            return Err(Violation::new(Rule::Condition, operation.to_string()));
        }
        if found.is_some_and(|found| found >= *revision || found == 0) {
            return Err(Violation::new(
                Rule::Newest,
                format!("it found what was not there yet: {operation}"),
            ));
        }
        Ok(())
    }

    /// What a conditional write saw of the row that it found.
    pub(super) fn sighting(&self, at: usize) -> Option<Sighting> {
        match self.operations[at].outcome {
            Outcome::Judged { revision, is_met, found: Some(written) }
                if !mutant::is(Mutant::FoundUnread) =>
            {
                Some(Sighting { written, until: revision - u64::from(is_met) })
            }
            _ => None,
        }
    }

    /// Holds values that were expected against the writes that were found, and learns from one that was met at which
    /// revision that value was written.
    pub(super) fn take_conditions(&mut self, writers: &Writers<'_>) -> Result<(), Violation> {
        for at in 0..self.operations.len() {
            let operation = &self.operations[at];
            let (
                Call::Conditional { key, expects: Expects::Value(value), .. },
                Outcome::Judged { is_met, found: Some(found), .. },
            ) = (&operation.call, &operation.outcome)
            else {
                continue;
            };
            let violation =
                |rule, other: &str| Err(Violation::new(rule, format!("{operation}, but {other}")));
            let writer = writers.get(&(key.as_slice(), value.as_slice())).copied();
            let Some(writer) = writer else {
                if *is_met {
                    return violation(Rule::Written, "nobody wrote that value");
                }
                continue;
            };
            let (effect, told) = (self.effects[writer], self.text(writer));
            if !is_met {
                if effect == Some(*found) && !mutant::is(Mutant::ConditionUnread) {
                    return violation(Rule::Condition, &told);
                }
                continue;
            }
            match self.operations[writer].outcome {
                Outcome::NotApplied | Outcome::Judged { is_met: false, .. } => {
                    return violation(Rule::Refused, &told);
                }
                _ if effect.is_some_and(|effect| effect != *found)
                    && !mutant::is(Mutant::ConditionUnread) =>
                {
                    return violation(Rule::Condition, &told);
                }
                _ => self.effects[writer] = effect.or(Some(*found)),
            }
        }
        Ok(())
    }
}
