//! Transactions: compares, and a list of steps for either way they come out.
//!
//! Every node works out the reads too, for what they find decides whether there is too much of it; only who was asked
//! has a use for the rows. A step sees what the steps before it in the list wrote.

use std::ops::ControlFlow;

use protocol::{
    KeyRange, Transaction, Verdict, limits,
    operation::{Action, Compare, Operand, Relation},
    response::{Done, Found},
};

use super::{
    State, StateError,
    row::Meta,
    write::{Changes, Plan},
};
use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    store::overlay::Slot,
};

impl State {
    pub(super) fn plan_transaction(
        &self,
        revision: u64,
        transaction: Transaction,
    ) -> Result<Plan, StateError> {
        let mut plan = Plan::default();
        let mut is_met = true;
        for compare in &transaction.compares {
            is_met = is_met && self.compares(compare)?;
        }
        let Transaction { then, otherwise, .. } = transaction;
        let list = if is_met { then } else { otherwise };
        plan.decided.verdict = if is_met { Verdict::Done } else { Verdict::Unmet };
        mark(if is_met { Mark::TransactionThen } else { Mark::TransactionElse });
        let mut room = Room(limits::RESULT_BYTES);
        for action in list {
            let Some(done) = self.step(&mut plan, revision, action, &mut room)? else {
                mark(Mark::TransactionTooLarge);
                let changes =
                    if mutant(Mutant::TransactionLeavesPart) { plan.changes } else { Changes::new() };
                let mut nothing = Plan { changes, ..Plan::default() };
                nothing.decided.verdict = Verdict::TooLarge;
                return Ok(nothing);
            };
            plan.decided.results.push(done);
        }
        Ok(plan)
    }

    fn compares(&self, compare: &Compare) -> Result<bool, StateError> {
        let seen = self.see(&compare.key, |meta, value| holds(compare, Some((meta, value))))?;
        Ok(seen.unwrap_or_else(|| holds(compare, None)))
    }

    /// What a step comes to; `None` where there is no room for what it finds.
    fn step(
        &self,
        plan: &mut Plan,
        revision: u64,
        action: Action,
        room: &mut Room,
    ) -> Result<Option<Done>, StateError> {
        let existed = match action {
            Action::Set { key, value } => self.plan_step(plan, revision, key, Some(value))?,
            Action::Delete { key } => self.plan_step(plan, revision, key, None)?,
            Action::Get { key } => {
                let found = match plan.changes.get(&key).filter(|_| !mutant(Mutant::TransactionReadsBefore)) {
                    Some(change) => match &change.slot {
                        Slot::Row(row) => Some(row.meta.found(&row.value)),
                        Slot::Deleted(_) => None,
                    },
                    None => self.get(&key)?,
                };
                let fits = found.as_ref().is_none_or(|found| room.take(0, found.value.len()));
                return Ok(fits.then_some(Done::Read(found)));
            }
            Action::Range { range, limit } => return self.read_range(&plan.changes, &range, limit, room),
        };
        Ok(Some(Done::Written { existed }))
    }

    fn read_range(
        &self,
        changes: &Changes,
        range: &KeyRange,
        limit: u32,
        room: &mut Room,
    ) -> Result<Option<Done>, StateError> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let (mut rows, mut more, mut fits) = (Vec::<(Vec<u8>, Found)>::new(), false, true);
        self.scan(changes, range, |found| {
            let (key, Some((meta, value))) = found.split() else { return ControlFlow::Continue(()) };
            more = rows.len() == limit;
            fits = more || room.take(key.len(), value.len());
            if more || !fits {
                return ControlFlow::Break(());
            }
            rows.push((key.to_vec(), meta.found(value)));
            ControlFlow::Continue(())
        })?;
        Ok(fits.then_some(Done::Rows { rows, more }))
    }
}

/// How many bytes may still be found.
struct Room(usize);

impl Room {
    /// Takes room for a row, if there is so much.
    fn take(&mut self, key: usize, value: usize) -> bool {
        let left = self.0.checked_sub(limits::ROW_BYTES + key + value);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

fn holds(compare: &Compare, row: Option<(Meta, &[u8])>) -> bool {
    let Compare { relation, operand, .. } = compare;
    match operand {
        Operand::Present => relation.holds(&row.is_some(), &true),
        Operand::Revision(revision) => relation.holds(&row.map_or(0, |(meta, _)| meta.revision), revision),
        Operand::Version(version) => relation.holds(&row.map_or(0, |(meta, _)| meta.version), version),
        Operand::Value(value) => {
            row.map_or(*relation == Relation::NotEqual, |(_, found)| relation.holds(found, value.as_slice()))
        }
    }
}
