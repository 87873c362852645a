//! Many keys at once: compares, and a list of actions for either way they come out.

use std::collections::BTreeSet;

use super::{KeyRange, check_row, total};
use crate::{
    DecodeError,
    command::{check_key, within},
    limits,
};

/// Compares, what to do where all of them hold, and what to do where one does not. All of it happens at one revision:
/// nobody sees a part of it, and the reads see exactly what the compares saw and the list has written so far.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Transaction {
    /// At most [`limits::TRANSACTION_COMPARES`]; none at all hold.
    pub compares: Vec<Compare>,
    /// At most [`limits::TRANSACTION_ACTIONS`], done in order. A key is written once at most.
    pub then: Vec<Action>,
    /// The same for the other way.
    pub otherwise: Vec<Action>,
}

/// What must be so of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compare {
    /// Not empty.
    pub key: Vec<u8>,
    /// How what is there must relate to the operand.
    pub relation: Relation,
    /// What it is held against.
    pub operand: Operand,
}

/// How two things relate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They are equal.
    Equal,
    /// They are not.
    NotEqual,
    /// What is there is less.
    Less,
    /// What is there is greater.
    Greater,
}

/// What a key is held against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operand {
    /// Its value, by its bytes. An absent key has none: it is not equal to any, and neither less nor greater.
    Value(Vec<u8>),
    /// The revision that wrote it last, zero for an absent key.
    Revision(u64),
    /// How often it was written since it was created, zero for an absent key.
    Version(u64),
    /// Being there at all; only [`Relation::Equal`] and [`Relation::NotEqual`] make sense.
    Present,
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Writes a key.
    Set {
        /// As in [`Operation::Set`](super::Operation::Set).
        key: Vec<u8>,
        /// The same.
        value: Vec<u8>,
    },
    /// Removes a key, there or not.
    Delete {
        /// Not empty.
        key: Vec<u8>,
    },
    /// Reads a key.
    Get {
        /// Not empty.
        key: Vec<u8>,
    },
    /// Reads the first keys of a range.
    Range {
        /// Which.
        range: KeyRange,
        /// At most so many, and no more than [`limits::TRANSACTION_ROWS`].
        limit: u32,
    },
}

impl Relation {
    /// All of them, each in the place of its number on the wire.
    pub const ALL: [Self; 4] = [Self::Equal, Self::NotEqual, Self::Less, Self::Greater];

    /// Whether two things relate so.
    pub fn holds<T: Ord + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::Greater => left > right,
        }
    }
}

impl Transaction {
    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        self.check_counts()?;
        if self.compares.is_empty() && self.then.is_empty() {
            return Err(DecodeError::Malformed("a transaction that does nothing"));
        }
        self.compares.iter().try_for_each(Compare::check)?;
        for list in [&self.then, &self.otherwise] {
            list.iter().try_for_each(Action::check)?;
            let mut written = BTreeSet::new();
            if !list.iter().filter_map(Action::written).all(|key| written.insert(key)) {
                return Err(DecodeError::Malformed("a transaction that writes a key twice"));
            }
        }
        let actions = self.then.iter().chain(&self.otherwise).map(Action::bytes);
        let bytes = total(self.compares.iter().map(Compare::bytes).chain(actions));
        within("transaction", bytes, limits::WRITE_BYTES)
    }

    /// Checks what decides how much memory it takes once it is decoded.
    pub(super) fn check_counts(&self) -> Result<(), DecodeError> {
        if self.compares.len() > limits::TRANSACTION_COMPARES {
            return Err(DecodeError::Malformed("a transaction of more than 128 compares"));
        }
        if self.then.len().max(self.otherwise.len()) > limits::TRANSACTION_ACTIONS {
            return Err(DecodeError::Malformed("a transaction of more than 128 actions either way"));
        }
        Ok(())
    }
}

impl Compare {
    fn check(&self) -> Result<(), DecodeError> {
        check_key(&self.key)?;
        match (&self.operand, self.relation) {
            (Operand::Value(value), _) => within("value", value.len(), limits::VALUE_BYTES),
            (Operand::Present, Relation::Less | Relation::Greater) => {
                Err(DecodeError::Malformed("a key that is there by less or more"))
            }
            _ => Ok(()),
        }
    }

    fn bytes(&self) -> usize {
        let operand = if let Operand::Value(value) = &self.operand { value.len() } else { 0 };
        self.key.len().saturating_add(operand)
    }
}

impl Action {
    fn check(&self) -> Result<(), DecodeError> {
        match self {
            Self::Set { key, value } => check_row(key, value),
            Self::Delete { key } | Self::Get { key } => check_key(key),
            Self::Range { range, limit } => {
                range.check()?;
                match usize::try_from(*limit) {
                    Ok(1..=limits::TRANSACTION_ROWS) => Ok(()),
                    _ => Err(DecodeError::Malformed("a range of a transaction reads 1 to 1000 keys")),
                }
            }
        }
    }

    /// The key that it writes or removes.
    pub fn written(&self) -> Option<&[u8]> {
        match self {
            Self::Set { key, .. } | Self::Delete { key } => Some(key),
            Self::Get { .. } | Self::Range { .. } => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Set { key, value } => key.len().saturating_add(value.len()),
            Self::Delete { key } | Self::Get { key } => key.len(),
            Self::Range { range, .. } => {
                range.from.len().saturating_add(range.to.as_ref().map_or(0, Vec::len))
            }
        }
    }
}
