//! Writes that are more than a set or a delete: judged and worked out first, and done then, all of it or nothing.
//!
//! What is worked out is a [`Plan`]. Whatever can fail (a row that cannot be read) fails before anything is changed.

use std::{collections::BTreeMap, ops::ControlFlow, sync::Arc};

use protocol::{Condition, Decided, KeyRange, Operation, Verdict};

use super::{
    Outcome, State, StateError, WriteOutcome, hash,
    history::{Before, Occasion},
    requests::Remembered,
    row::{Meta, Row},
};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::overlay::Slot,
};

/// What is to be answered, and what is to be done.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) decided: Decided,
    pub(super) changes: Changes,
}

/// Changes by key.
pub(super) type Changes = BTreeMap<Vec<u8>, Change>;

/// One key is to have this row, or none.
pub(super) struct Change {
    /// What there is of it in the state.
    before: Before,
    pub(super) slot: Slot,
}

impl Plan {
    /// Plans that a key, of which there is `before` in the state, will have another row at this revision, or none.
    pub(super) fn change(&mut self, key: Vec<u8>, revision: u64, before: Before, row: Option<Row>) {
        let slot = row.map_or(Slot::Deleted(revision), |row| Slot::Row(Arc::new(row)));
        self.changes.insert(key, Change { before, slot });
    }

    /// The row that is planned for a key is held by this lease.
    pub(super) fn hold(&mut self, key: &[u8], lease: u64) {
        if let Some(Change { slot: Slot::Row(row), .. }) = self.changes.get_mut(key) {
            Arc::make_mut(row).meta.lease = lease;
        }
    }
}

impl Outcome {
    /// What is remembered of it under the id of its request.
    pub(super) fn remembered(&self, token: [u8; 16], operation: u64) -> Remembered {
        match self {
            Self::Written(WriteOutcome { revision, existed, .. }) => Remembered {
                token,
                revision: *revision,
                operation,
                number: 0,
                existed: *existed,
                verdict: Verdict::Done,
            },
            Self::Decided(decided) => {
                let Decided { revision, number, existed, verdict, .. } = **decided;
                Remembered { token, revision, operation, number, existed, verdict }
            }
        }
    }
}

impl State {
    /// The answer to a request that was judged before: what is remembered of it.
    pub(super) fn repeated(
        &mut self,
        revision: u64,
        first: Remembered,
        operation: &Operation,
    ) -> Result<Outcome, StateError> {
        let Remembered { number, existed, verdict, .. } = first;
        let revision = if mutant(Mutant::RequestsRepeatAnew) { revision } else { first.revision };
        if operation.is_plain() {
            return Ok(Outcome::Written(WriteOutcome { revision, existed, deduplicated: true }));
        }
        if matches!(operation, Operation::Conditional { previous: true, .. }) {
            mark(Mark::PreviousForgotten);
        }
        let mut decided =
            Decided { revision, verdict, number, existed, deduplicated: true, ..Decided::default() };
        if mutant(Mutant::RequestsJudgeAgain) && verdict == Verdict::Unmet {
            decided.verdict = self.plan(revision, operation.clone())?.decided.verdict;
        }
        Ok(Outcome::Decided(Box::new(decided)))
    }

    /// Judges a write and does what it comes to.
    pub(super) fn decide(&mut self, occasion: Occasion, operation: Operation) -> Result<Decided, StateError> {
        let plan = self.plan(occasion.revision, operation)?;
        Ok(self.carry_out(occasion, plan))
    }

    /// Does what is planned.
    pub(super) fn carry_out(&mut self, occasion: Occasion, plan: Plan) -> Decided {
        let Plan { decided, changes } = plan;
        let half = changes.len() / 2;
        for (at, (key, Change { before, slot })) in changes.into_iter().enumerate() {
            if !mutant(Mutant::StateChangesHalf) || at >= half {
                self.replace(occasion, &key, before, slot);
            }
        }
        decided
    }

    fn plan(&self, revision: u64, operation: Operation) -> Result<Plan, StateError> {
        let mut plan = match operation {
            Operation::Conditional { key, value, condition, previous } => {
                self.plan_conditional(revision, key, value, &condition, previous)?
            }
            Operation::Increment { key, by } => self.plan_increment(revision, key, by)?,
            Operation::DeleteRange { range, most } => self.plan_delete_range(revision, &range, most)?,
            Operation::Transaction(transaction) => self.plan_transaction(revision, transaction)?,
            other => unreachable!("this needs no plan: {other:?}"),
        };
        plan.decided.revision = revision;
        Ok(plan)
    }

    pub(super) fn plan_conditional(
        &self,
        revision: u64,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
        condition: &Condition,
        previous: bool,
    ) -> Result<Plan, StateError> {
        let seen = self.see(&key, |meta, value| {
            let shown = previous.then(|| meta.found(value));
            (meta, holds(condition, meta, value), shown)
        })?;
        let (before, is_met, previous) = match seen {
            Some((meta, is_met, shown)) => (Some(meta), is_met, shown),
            None => (None, holds_absent(condition), None),
        };
        let is_met = is_met || mutant(Mutant::StateTrustsProposal);
        let mut plan = Plan::default();
        plan.decided.number = before.map_or(0, |before| before.revision);
        plan.decided.existed = before.is_some();
        plan.decided.previous = previous;
        if is_met {
            let row = value.map(|value| self.row(&key, before, revision, value));
            let before = self.before(&key)?;
            plan.change(key, revision, before, row);
            return Ok(plan);
        }
        mark(Mark::ConditionUnmet);
        plan.decided.verdict = Verdict::Unmet;
        if let Some(before) = before.filter(|_| mutant(Mutant::StateBumpsUnmet)) {
            let value = self.get(&key)?.map(|found| found.value).unwrap_or_default();
            let meta = Meta { version: before.version + 1, ..before };
            let before = self.before(&key)?;
            plan.change(key, revision, before, Some(Row { meta, value }));
        }
        Ok(plan)
    }

    fn plan_increment(&self, revision: u64, key: Vec<u8>, by: i64) -> Result<Plan, StateError> {
        let seen = self.see(&key, |meta, value| (meta, number(value)))?;
        let before = seen.map(|(meta, _)| meta);
        let mut plan = Plan::default();
        plan.decided.existed = before.is_some();
        let Some(addend) = seen.map_or(Some(0), |(_, number)| number) else {
            mark(Mark::SumOfNoNumber);
            plan.decided.verdict = Verdict::NotANumber;
            plan.decided.number = before.map_or(0, |before| before.revision);
            return Ok(plan);
        };
        let sum = addend.checked_add(by);
        let Some(sum) = sum.or(mutant(Mutant::StateWrapsSum).then(|| addend.wrapping_add(by))) else {
            mark(Mark::SumOverflows);
            plan.decided.verdict = Verdict::Overflow;
            plan.decided.number = addend.cast_unsigned();
            return Ok(plan);
        };
        plan.decided.number = sum.cast_unsigned();
        let mut row = self.row(&key, before, revision, sum.to_string().into_bytes());
        // A number that is counted up is the same key still, and as long-lived.
        row.meta.lease = before.map_or(0, |before| before.lease);
        let before = self.before(&key)?;
        plan.change(key, revision, before, Some(row));
        Ok(plan)
    }

    fn plan_delete_range(&self, revision: u64, range: &KeyRange, most: u32) -> Result<Plan, StateError> {
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        let mut plan = Plan::default();
        let mut too_many = false;
        self.scan(&Changes::new(), range, |found| {
            too_many = plan.changes.len() == most;
            if too_many {
                return ControlFlow::Break(());
            }
            plan.change(found.split().0.to_vec(), revision, found.before(), None);
            ControlFlow::Continue(())
        })?;
        plan.decided.existed = !plan.changes.is_empty();
        if too_many {
            mark(Mark::RangeTooLarge);
            plan.decided.verdict = Verdict::TooMany;
            if !mutant(Mutant::StateRemovesSome) {
                plan.changes.clear();
            }
            return Ok(plan);
        }
        plan.decided.number = plan.changes.len() as u64;
        Ok(plan)
    }

    /// Plans a step of several: the key may have been changed by an earlier one. Whether it was there before.
    pub(super) fn plan_step(
        &self,
        plan: &mut Plan,
        revision: u64,
        key: Vec<u8>,
        value: Option<Vec<u8>>,
    ) -> Result<bool, StateError> {
        let (before, latest) = match plan.changes.get(&key) {
            Some(Change { before, slot: Slot::Row(row) }) => (before.clone(), Some(row.meta)),
            Some(Change { before, slot: Slot::Deleted(_) }) => (before.clone(), None),
            None => {
                let before = self.before(&key)?;
                let latest = before.meta();
                (before, latest)
            }
        };
        let row = value.map(|value| self.row(&key, latest, revision, value));
        plan.change(key, revision, before, row);
        Ok(latest.is_some())
    }

    fn row(&self, key: &[u8], before: Option<Meta>, revision: u64, value: Vec<u8>) -> Row {
        Row { meta: self.written(before, revision, hash::content(key, &value)), value }
    }

    /// Whether a write would be done if it were applied now: only a bug asks before that.
    pub(crate) fn meets(&self, operation: &Operation) -> bool {
        let Operation::Conditional { key, condition, .. } = operation else { return true };
        let seen = self.see(key, |meta, value| holds(condition, meta, value));
        seen.is_ok_and(|seen| seen.unwrap_or_else(|| holds_absent(condition)))
    }
}

fn holds(condition: &Condition, meta: Meta, value: &[u8]) -> bool {
    match condition {
        Condition::Always => true,
        Condition::Absent => false,
        Condition::Revision(revision) => *revision == meta.revision,
        Condition::Value(expected) => expected == value,
    }
}

/// The same where the key is not there.
fn holds_absent(condition: &Condition) -> bool {
    match condition {
        Condition::Always | Condition::Absent => true,
        Condition::Revision(_) => mutant(Mutant::StateMeetsAbsent),
        Condition::Value(_) => false,
    }
}

/// The number that a value is the text of.
fn number(value: &[u8]) -> Option<i64> {
    std::str::from_utf8(value).ok()?.parse().ok()
}
