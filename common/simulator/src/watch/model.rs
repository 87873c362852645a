//! The key-value store as its specification has it, in the plainest form: every committed command is applied to a map,
//! and every row that ever was is kept, so that any read at any revision can be judged.
//!
//! Exactly once is judged twice: by the rule of the request memory, written here a second time, and by the promise
//! behind it, that no request id ever takes effect at two revisions.

use std::collections::{BTreeMap, HashMap, VecDeque};

use protocol::{
    Command, Condition, Decided, KeyRange, Operation, Transaction, Verdict as Judgement,
    lease::Held,
    operation::{Action, Compare, Operand, Relation},
    response::{Done, Found},
};

use crate::server::CLUSTER;

mod leasing;
mod window;

use leasing::Leases;
pub use leasing::{Lease, Vanished};
use window::Kept;

/// What a command should have been answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was executed here: what is to be told, and the keys that it changed.
    Done(Told, Vec<Vec<u8>>),
    /// It had been executed before.
    Known,
    /// It must not take effect.
    Refused,
}

/// The outcome of a command that was executed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Of a set or a delete.
    Plain {
        /// Whether the key was there before.
        existed: bool,
    },
    /// Of every other.
    Judged(Box<Decided>),
}

/// See the module.
pub struct Model {
    kept: Kept,
    stamp: u64,
    rows: BTreeMap<Vec<u8>, Vec<(u64, Option<Found>)>>,
    memory: VecDeque<(u64, [u8; 16])>,
    limit: usize,
    floor: u64,
    known: HashMap<[u8; 16], Once>,
    executed: HashMap<[u8; 16], u64>,
    leases: Leases,
}

struct Once {
    operation: Operation,
}

impl Model {
    /// An empty store that remembers so many request ids.
    pub fn new(limit: usize) -> Self {
        Self {
            kept: Kept::new(),
            stamp: 0,
            rows: BTreeMap::new(),
            memory: VecDeque::new(),
            limit,
            floor: 0,
            known: HashMap::new(),
            executed: HashMap::new(),
            leases: Leases::default(),
        }
    }

    /// Applies the command committed at `index`.
    ///
    /// # Panics
    /// When a request id would take effect a second time.
    pub fn apply(&mut self, index: u64, command: &Command) -> Verdict {
        if let Operation::Expire { leases } = &command.operation {
            return self.expire(index, command.stamp_ms, leases);
        }
        let token = command.request.token;
        if command.request.cluster != CLUSTER {
            return Verdict::Refused;
        }
        if let Some(once) = self.known.get(&token) {
            let same = once.operation == command.operation && command.request.learned < index;
            return if same { Verdict::Known } else { Verdict::Refused };
        }
        if command.request.learned >= index || command.request.learned < self.floor {
            return Verdict::Refused;
        }
        let before = self.executed.insert(token, index);
        assert_eq!(before, None, "VIOLATION a request took effect at {before:?} and again at {index}");
        self.stamp = command.stamp_ms;
        let (mut told, changed) = self.change(index, &command.operation);
        self.kept.trim(index, command.stamp_ms);
        if let (Operation::SetWindow(_), Told::Judged(decided)) = (&command.operation, &mut told) {
            decided.number = self.kept.floor(index);
        }
        self.known.insert(token, Once { operation: command.operation.clone() });
        self.memory.push_back((index, token));
        if self.memory.len() > self.limit
            && let Some((revision, oldest)) = self.memory.pop_front()
        {
            self.known.remove(&oldest);
            self.floor = revision;
        }
        Verdict::Done(told, changed)
    }

    fn change(&mut self, revision: u64, operation: &Operation) -> (Told, Vec<Vec<u8>>) {
        let mut decided = Decided { revision, ..Decided::default() };
        let (key, value) = match operation {
            Operation::Set { key, value } => (key, Some(value)),
            Operation::Delete { key } => (key, None),
            Operation::Conditional { key, value, condition, previous } => {
                let row = self.row(key).cloned();
                decided.existed = row.is_some();
                decided.number = row.as_ref().map_or(0, |row| row.revision);
                let changed = if is_met(condition, row.as_ref()) {
                    self.put(revision, key, value.clone())
                } else {
                    decided.verdict = Judgement::Unmet;
                    Vec::new()
                };
                decided.previous = row.filter(|_| *previous);
                return (Told::Judged(Box::new(decided)), changed);
            }
            Operation::Transaction(transaction) => {
                let changed = self.transact(&mut decided, transaction);
                return (Told::Judged(Box::new(decided)), changed);
            }
            Operation::SetMember(_) => return (Told::Judged(Box::new(decided)), Vec::new()),
            Operation::SetWindow(change) => {
                self.kept.set(change);
                return (Told::Judged(Box::new(decided)), Vec::new());
            }
            Operation::SetHeld { .. }
            | Operation::Grant { .. }
            | Operation::Renew { .. }
            | Operation::Revoke { .. }
            | Operation::Expire { .. } => {
                let changed = self.lease(&mut decided, operation);
                return (Told::Judged(Box::new(decided)), changed);
            }
            Operation::Restore(_) => unreachable!("no client of a run restores"),
            Operation::Increment { key, by } => {
                let changed = self.add(&mut decided, key, *by);
                return (Told::Judged(Box::new(decided)), changed);
            }
            Operation::DeleteRange { range, most } => {
                let keys = self.keys_in(range);
                decided.existed = !keys.is_empty();
                if keys.len() as u64 > u64::from(*most) {
                    decided.verdict = Judgement::TooMany;
                    return (Told::Judged(Box::new(decided)), Vec::new());
                }
                decided.number = keys.len() as u64;
                for key in &keys {
                    self.put(revision, key, None);
                }
                return (Told::Judged(Box::new(decided)), keys);
            }
        };
        let existed = self.row(key).is_some();
        (Told::Plain { existed }, self.put(revision, key, value.cloned()))
    }

    /// Adds to a number; the keys that it changed.
    fn add(&mut self, decided: &mut Decided, key: &[u8], by: i64) -> Vec<Vec<u8>> {
        let row = self.row(key);
        decided.existed = row.is_some();
        let text = row.map_or(Ok("0"), |row| std::str::from_utf8(&row.value));
        let number = text.ok().and_then(|text| text.parse::<i64>().ok());
        let Some(number) = number else {
            decided.verdict = Judgement::NotANumber;
            decided.number = row.map_or(0, |row| row.revision);
            return Vec::new();
        };
        let sum = i128::from(number) + i128::from(by);
        let Ok(sum) = i64::try_from(sum) else {
            decided.verdict = Judgement::Overflow;
            decided.number = number.cast_unsigned();
            return Vec::new();
        };
        decided.number = sum.cast_unsigned();
        let lease = row.and_then(|row| row.lease).map_or(0, |held| held.lease);
        self.write(decided.revision, key, Some(sum.to_string().into_bytes()), lease)
    }

    /// Does a transaction on a copy of the rows that are there, and takes the copy over where its reads found no more than
    /// they may; the keys that it changed.
    fn transact(&mut self, decided: &mut Decided, transaction: &Transaction) -> Vec<Vec<u8>> {
        let is_met = transaction.compares.iter().all(|compare| compares(compare, self.row(&compare.key)));
        decided.verdict = if is_met { Judgement::Done } else { Judgement::Unmet };
        let list = if is_met { &transaction.then } else { &transaction.otherwise };
        let mut now: BTreeMap<Vec<u8>, Found> = BTreeMap::new();
        for key in self.rows.keys() {
            if let Some(row) = self.row(key) {
                now.insert(key.clone(), row.clone());
            }
        }
        let (mut writes, mut bytes) = (Vec::new(), 0);
        for action in list {
            let before = action.written().and_then(|key| now.get(key).cloned());
            let done = match action {
                Action::Set { key, value } => {
                    let revision = decided.revision;
                    let (created, version) =
                        before.as_ref().map_or((revision, 1), |row| (row.created, row.version + 1));
                    let row = Found { value: value.clone(), revision, created, version, lease: None };
                    now.insert(key.clone(), row);
                    writes.push((key, Some(value)));
                    Done::Written { existed: before.is_some() }
                }
                Action::Delete { key } => {
                    now.remove(key);
                    writes.push((key, None));
                    Done::Written { existed: before.is_some() }
                }
                Action::Get { key } => {
                    let found = now.get(key).cloned();
                    bytes += found.as_ref().map_or(0, |row| 64 + row.value.len());
                    Done::Read(found)
                }
                Action::Range { range, limit } => {
                    let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
                    let all = now.iter().filter(|(key, _)| is_in(range, key));
                    let rows: Vec<_> =
                        all.clone().take(limit).map(|(k, row)| (k.clone(), row.clone())).collect();
                    bytes += rows.iter().map(|(key, row)| 64 + key.len() + row.value.len()).sum::<usize>();
                    Done::Rows { more: all.count() > rows.len(), rows }
                }
            };
            decided.results.push(done);
        }
        if bytes > 768 * 1024 {
            *decided =
                Decided { revision: decided.revision, verdict: Judgement::TooLarge, ..Decided::default() };
            return Vec::new();
        }
        let put =
            |(key, value): (&Vec<u8>, Option<&Vec<u8>>)| self.put(decided.revision, key, value.cloned());
        writes.into_iter().flat_map(put).collect()
    }

    /// Writes a key that no lease holds from now on, or removes it; the keys that this changed.
    fn put(&mut self, revision: u64, key: &[u8], value: Option<Vec<u8>>) -> Vec<Vec<u8>> {
        self.write(revision, key, value, 0)
    }

    /// The same of a key that this lease holds, if it is not zero.
    fn write(&mut self, revision: u64, key: &[u8], value: Option<Vec<u8>>, lease: u64) -> Vec<Vec<u8>> {
        let rows = self.rows.entry(key.to_vec()).or_default();
        let before = rows.last().and_then(|(_, row)| row.as_ref());
        if before.is_none() && value.is_none() {
            return Vec::new();
        }
        let (created, version) = before.map_or((revision, 1), |row| (row.created, row.version + 1));
        self.kept.changed(revision, self.stamp, key, before.map_or(0, |row| row.value.len()));
        let held = before.and_then(|row| row.lease).map(|held| held.lease);
        let lease = (lease != 0).then_some(Held { lease, remaining_ms: None });
        rows.push((revision, value.map(|value| Found { value, revision, created, version, lease })));
        if let Some(held) = held {
            self.released(revision, held);
        }
        vec![key.to_vec()]
    }

    fn row(&self, key: &[u8]) -> Option<&Found> {
        self.rows.get(key)?.last()?.1.as_ref()
    }

    /// The keys of a range that are there.
    fn keys_in(&self, range: &KeyRange) -> Vec<Vec<u8>> {
        self.rows
            .keys()
            .filter(|key| is_in(range, key))
            .filter(|key| self.row(key).is_some())
            .cloned()
            .collect()
    }

    /// The row of `key` as it was at `revision`.
    pub fn at(&self, key: &[u8], revision: u64) -> Option<&Found> {
        let rows = self.rows.get(key)?;
        let count = rows.partition_point(|(changed, _)| *changed <= revision);
        rows.get(count.checked_sub(1)?)?.1.as_ref()
    }

    /// All that a key ever held, and from when on.
    pub fn versions(&self, key: &[u8]) -> impl DoubleEndedIterator<Item = (u64, Option<&Found>)> {
        let versions = self.rows.get(key).into_iter().flatten();
        versions.map(|(revision, found)| (*revision, found.as_ref()))
    }

    /// The oldest revision that can be read at this one.
    pub fn floor(&self, at: u64) -> u64 {
        self.kept.floor(at)
    }

    /// Every key that ever was.
    pub fn keys(&self) -> impl Iterator<Item = &[u8]> {
        self.rows.keys().map(Vec::as_slice)
    }
}

fn is_met(condition: &Condition, row: Option<&Found>) -> bool {
    match (condition, row) {
        (Condition::Always, _) | (Condition::Absent, None) => true,
        (Condition::Revision(revision), Some(row)) => row.revision == *revision,
        (Condition::Value(value), Some(row)) => row.value == *value,
        _ => false,
    }
}

fn is_in(range: &KeyRange, key: &[u8]) -> bool {
    key >= range.from.as_slice() && range.to.as_ref().is_none_or(|to| key < to.as_slice())
}

/// A compare, spelt out: what is there, or the zero that stands for nothing.
fn compares(Compare { relation, operand, .. }: &Compare, row: Option<&Found>) -> bool {
    let order = match operand {
        Operand::Present => return row.is_some() == (*relation == Relation::Equal),
        Operand::Revision(revision) => row.map_or(0, |row| row.revision).cmp(revision),
        Operand::Version(version) => row.map_or(0, |row| row.version).cmp(version),
        Operand::Value(value) => match row {
            Some(row) => row.value.cmp(value),
            None => return *relation == Relation::NotEqual,
        },
    };
    match relation {
        Relation::Equal => order.is_eq(),
        Relation::NotEqual => order.is_ne(),
        Relation::Less => order.is_lt(),
        Relation::Greater => order.is_gt(),
    }
}
