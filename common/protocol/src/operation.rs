//! What a command does to the state.
//!
//! | operation | answer | remembered with the request id |
//! | --- | --- | --- |
//! | [`Operation::Set`], [`Operation::Delete`] | [`Response::Written`](crate::Response::Written) | whether the key was there |
//! | every other | [`Response::Decided`](crate::Response::Decided) | verdict and number |
//!
//! Whether a condition holds is judged when the entry is applied, on every node alike, and never before. A verdict
//! against the write is an outcome as good as any: it is remembered, so that a repetition hears the same, whatever the
//! state has become. Values and rows that an answer carries are not remembered.

use crate::{
    DecodeError, Hold,
    command::{check_key, within},
    history::WindowChange,
    lease::{check_id, check_ttl},
    limits,
    member::MemberRecord,
    restore::Restore,
};

mod transaction;
mod wire;

pub use transaction::{Action, Compare, Operand, Relation, Transaction};
pub(crate) use wire::OperationWire;

/// What a command does to the state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Writes one key.
    Set {
        /// Not empty, at most [`limits::KEY_BYTES`].
        key: Vec<u8>,
        /// At most [`limits::VALUE_BYTES`].
        value: Vec<u8>,
    },
    /// Removes one key; removing an absent one is not an error.
    Delete {
        /// As in [`Operation::Set`].
        key: Vec<u8>,
    },
    /// Writes or removes one key if a condition holds, or to learn what was there.
    Conditional {
        /// As in [`Operation::Set`].
        key: Vec<u8>,
        /// What to write; `None` removes the key.
        value: Option<Vec<u8>>,
        /// What must be so.
        condition: Condition,
        /// Whether the answer shows the row before.
        previous: bool,
    },
    /// Adds to a key whose value is a number: the decimal text of an `i64`. An absent key counts as zero. A value that
    /// is no number, or a sum that no `i64` holds, changes nothing.
    Increment {
        /// As in [`Operation::Set`].
        key: Vec<u8>,
        /// What to add.
        by: i64,
    },
    /// Removes every key of a range, or none when there are more than `most`.
    DeleteRange {
        /// Which keys.
        range: KeyRange,
        /// At most [`limits::DELETED_KEYS`], and not zero.
        most: u32,
    },
    /// Compares keys, and reads and writes others as that comes out.
    Transaction(Transaction),
    /// Changes how much of the past is kept.
    SetWindow(WindowChange),
    /// Records where a server is reached that is to be added, or that has moved, and what becomes of it.
    SetMember(MemberRecord),
    /// A step of the way on which a backup takes the place of all keys.
    Restore(Restore),
    /// As [`Operation::Conditional`] with a value, of a key that is not to be there for ever.
    SetHeld {
        /// As in [`Operation::Set`].
        key: Vec<u8>,
        /// As in [`Operation::Set`].
        value: Vec<u8>,
        /// What must be so.
        condition: Condition,
        /// Whether the answer shows the row before.
        previous: bool,
        /// How long it is to be there.
        hold: Hold,
    },
    /// Makes a lease that holds no key yet.
    Grant {
        /// For how long: from [`limits::TTL_MIN_MS`] to [`limits::TTL_MAX_MS`].
        ttl_ms: u64,
    },
    /// Gives a lease its whole time again, from now on.
    Renew {
        /// Which.
        lease: u64,
    },
    /// Ends a lease and removes its keys.
    Revoke {
        /// Which.
        lease: u64,
    },
    /// Ends those of these leases whose time is over by the stamp of the entry, and removes their keys. Only a leader makes
    /// it; without a lease it only carries the stamp.
    Expire {
        /// Which; at most [`limits::EXPIRED_LEASES`].
        leases: Vec<u64>,
    },
}

/// What must be so of a key for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key is not there.
    Absent,
    /// The key is there and was written last at this revision.
    Revision(u64),
    /// The key is there and has this value.
    Value(Vec<u8>),
}

/// Keys in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyRange {
    /// The first; empty for the first there is.
    pub from: Vec<u8>,
    /// The first that is not meant any more; `None` for no end.
    pub to: Option<Vec<u8>>,
}

impl KeyRange {
    /// All keys that begin with these bytes.
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut to = prefix.to_vec();
        while to.last() == Some(&u8::MAX) {
            to.pop();
        }
        let to = to.split_last().map(|(last, front)| [front, &[last.saturating_add(1)]].concat());
        Self { from: prefix.to_vec(), to }
    }

    /// Whether no key can be in it.
    pub fn is_empty(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to <= self.from)
    }

    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        within("key", self.from.len(), limits::KEY_BYTES)?;
        within("key", self.to.as_ref().map_or(0, Vec::len), limits::KEY_BYTES)?;
        if self.is_empty() {
            return Err(DecodeError::Malformed("a range that ends where it begins, or before"));
        }
        Ok(())
    }
}

/// What became of a write that is more than a set or a delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Verdict {
    /// It was done.
    #[default]
    Done,
    /// Its condition did not hold and nothing was changed; or the compares of a transaction did not all hold, and the other
    /// list was done.
    Unmet,
    /// The value to be added to is no number; nothing was changed.
    NotANumber,
    /// The sum is no `i64`; nothing was changed.
    Overflow,
    /// More keys are in the range than were to be removed; nothing was changed.
    TooMany,
    /// What the reads of a transaction found is more than [`limits::RESULT_BYTES`]; nothing was changed.
    TooLarge,
    /// The lease is not there, or not any more; nothing was changed.
    NoLease,
    /// There are [`limits::LEASES`] leases; nothing was changed.
    TooManyLeases,
    /// The lease holds [`limits::LEASE_KEYS`] keys; nothing was changed.
    LeaseFull,
    /// The keys that leases hold would be more than [`limits::LEASED_BYTES`]; nothing was changed.
    LeasedTooLarge,
}

impl Verdict {
    /// All of them, each in the place of its [`Verdict::code`].
    pub const ALL: [Self; 10] = [
        Self::Done,
        Self::Unmet,
        Self::NotANumber,
        Self::Overflow,
        Self::TooMany,
        Self::TooLarge,
        Self::NoLease,
        Self::TooManyLeases,
        Self::LeaseFull,
        Self::LeasedTooLarge,
    ];

    /// Its number on wire and disk.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Unmet => 1,
            Self::NotANumber => 2,
            Self::Overflow => 3,
            Self::TooMany => 4,
            Self::TooLarge => 5,
            Self::NoLease => 6,
            Self::TooManyLeases => 7,
            Self::LeaseFull => 8,
            Self::LeasedTooLarge => 9,
        }
    }

    /// The verdict of this number, if there is one.
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.code() == code)
    }
}

impl Operation {
    /// The bytes that identify the operation, for telling a repeated request from a reused id.
    pub fn to_bytes(&self) -> Vec<u8> {
        prost::Message::encode_to_vec(&OperationWire::from(self.clone()))
    }

    /// Whether it is a set or a delete, which is answered with [`Response::Written`](crate::Response::Written).
    pub fn is_plain(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::Delete { .. })
    }

    /// Checks the operation against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Set { key, value } => check_row(key, value),
            Self::Delete { key } | Self::Increment { key, .. } => check_key(key),
            Self::Conditional { key, value, condition, .. } => {
                check_conditional(key, value.as_deref().unwrap_or_default(), condition)
            }
            Self::SetHeld { key, value, condition, hold, .. } => {
                hold.check()?;
                check_conditional(key, value, condition)
            }
            Self::Grant { ttl_ms } => check_ttl(*ttl_ms),
            Self::Renew { lease } | Self::Revoke { lease } => check_id(*lease),
            Self::Expire { .. } => Err(DecodeError::Malformed("what only a leader decides")),
            Self::Transaction(transaction) => transaction.check(),
            Self::SetWindow(change) => change.check(),
            Self::SetMember(record) => record.check(),
            Self::Restore(step) => step.check(),
            Self::DeleteRange { range, most } => {
                range.check()?;
                if *most == 0 {
                    return Err(DecodeError::Malformed("a removal of no key"));
                }
                if usize::try_from(*most).is_ok_and(|most| most <= limits::DELETED_KEYS) {
                    Ok(())
                } else {
                    Err(DecodeError::Malformed("a removal of more than 10000 keys"))
                }
            }
        }
    }
}

fn check_conditional(key: &[u8], value: &[u8], condition: &Condition) -> Result<(), DecodeError> {
    check_row(key, value)?;
    let expected = if let Condition::Value(expected) = condition { expected.len() } else { 0 };
    within("value", expected, limits::VALUE_BYTES)?;
    within("write", total([key.len(), value.len(), expected]), limits::WRITE_BYTES)
}

fn check_row(key: &[u8], value: &[u8]) -> Result<(), DecodeError> {
    check_key(key)?;
    within("value", value.len(), limits::VALUE_BYTES)
}

fn total(sizes: impl IntoIterator<Item = usize>) -> usize {
    sizes.into_iter().fold(0, usize::saturating_add)
}

#[cfg(test)]
mod tests;
