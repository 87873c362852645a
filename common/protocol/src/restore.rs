//! A backup that takes the place of all keys of a running cluster: the keys are staged beside the present ones by ordinary
//! writes, and one entry switches.
//!
//! ```text
//!            begin ──► rows ──► rows … ──► switch     every step is a write, and may be repeated
//!  nothing ────────────► staging ─────────────► nothing staged; what was staged is all there is
//!                           │ abort, or another begins
//!                           └───────────────────► nothing staged
//! ```
//!
//! There is one staging at most, and its id says whose it is. Rows come in the order of their keys, and each write of them
//! says how many came before it: so a write that is repeated, or sent again by somebody who goes on where another ended,
//! adds nothing twice and leaves nothing out. The switch names how many rows there are and the sum of their hashes, so what
//! becomes current is what its maker read, or nothing.

use crate::{
    DecodeError,
    command::{check_key, within},
    limits,
    stored::{Meta, hash},
};

/// A step of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Restore {
    /// Makes room for a staging of this id: another's is dropped, its own is kept.
    Begin {
        /// Whose it is; not zero.
        id: u128,
    },
    /// Adds rows.
    Rows {
        /// To which staging.
        id: u128,
        /// How many rows were staged before these.
        offset: u64,
        /// Keys and values, in the order of the keys; one at least, at most [`limits::STAGED_ROWS`].
        rows: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// Puts what is staged in the place of all keys.
    Switch {
        /// Which staging.
        id: u128,
        /// How many rows it must have.
        count: u64,
        /// The sum of their hashes, each as [`element`] says.
        hash: u64,
    },
    /// Drops what is staged, whose ever it is.
    Abort,
}

/// The numbers of a row as it is staged. Its revision is that of the switch, which nobody knows before, and stands in the
/// facts of the state once; zero refers to it.
pub fn staged(key: &[u8], value: &[u8]) -> Meta {
    Meta { revision: 0, created: 0, version: 1, content: hash::content(key, value), lease: 0 }
}

/// The share of a row in the sum of all that are staged.
pub fn element(key: &[u8], value: &[u8]) -> u64 {
    staged(key, value).element()
}

impl Restore {
    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        if let Self::Begin { id } | Self::Rows { id, .. } | Self::Switch { id, .. } = self
            && *id == 0
        {
            return Err(DecodeError::Malformed("a staging without an id"));
        }
        let (Self::Rows { offset: number, .. } | Self::Switch { count: number, .. }) = self else {
            return Ok(());
        };
        if *number > limits::NUMBER {
            return Err(DecodeError::Malformed("more staged rows than there can be"));
        }
        let Self::Rows { rows, .. } = self else { return Ok(()) };
        if rows.is_empty() || rows.len() > limits::STAGED_ROWS {
            return Err(DecodeError::Malformed("no rows, or more than one write stages"));
        }
        let mut bytes = 0_usize;
        for (key, value) in rows {
            check_key(key)?;
            within("value", value.len(), limits::VALUE_BYTES)?;
            bytes = bytes.saturating_add(key.len()).saturating_add(value.len());
        }
        within("write", bytes, limits::WRITE_BYTES)?;
        if rows.is_sorted_by(|(key, _), (next, _)| key < next) {
            Ok(())
        } else {
            Err(DecodeError::Malformed("rows that are not in the order of their keys"))
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RestoreWire {
    #[prost(oneof = "Step", tags = "1, 2, 3, 4")]
    step: Option<Step>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Step {
    #[prost(message, tag = "1")]
    Begin(BeginWire),
    #[prost(message, tag = "2")]
    Rows(RowsWire),
    #[prost(message, tag = "3")]
    Switch(SwitchWire),
    #[prost(message, tag = "4")]
    Abort(AbortWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct BeginWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowsWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    offset: u64,
    #[prost(message, repeated, tag = "3")]
    rows: Vec<RowWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SwitchWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(fixed64, tag = "3")]
    hash: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct AbortWire {}

impl From<Restore> for RestoreWire {
    fn from(restore: Restore) -> Self {
        let step = match restore {
            Restore::Begin { id } => Step::Begin(BeginWire { id: id.to_be_bytes().to_vec() }),
            Restore::Rows { id, offset, rows } => {
                let rows = rows.into_iter().map(|(key, value)| RowWire { key, value }).collect();
                Step::Rows(RowsWire { id: id.to_be_bytes().to_vec(), offset, rows })
            }
            Restore::Switch { id, count, hash } => {
                Step::Switch(SwitchWire { id: id.to_be_bytes().to_vec(), count, hash })
            }
            Restore::Abort => Step::Abort(AbortWire {}),
        };
        Self { step: Some(step) }
    }
}

impl TryFrom<RestoreWire> for Restore {
    type Error = DecodeError;

    fn try_from(wire: RestoreWire) -> Result<Self, DecodeError> {
        Ok(match wire.step.ok_or(DecodeError::Malformed("unknown step of a restore"))? {
            Step::Begin(BeginWire { id }) => Self::Begin { id: read(&id)? },
            Step::Rows(RowsWire { id, offset, rows }) => {
                // A small frame can hold very many that are empty.
                if rows.len() > limits::STAGED_ROWS {
                    return Err(DecodeError::Malformed("more rows than one write stages"));
                }
                let rows = rows.into_iter().map(|RowWire { key, value }| (key, value)).collect();
                Self::Rows { id: read(&id)?, offset, rows }
            }
            Step::Switch(SwitchWire { id, count, hash }) => Self::Switch { id: read(&id)?, count, hash },
            Step::Abort(AbortWire {}) => Self::Abort,
        })
    }
}

fn read(id: &[u8]) -> Result<u128, DecodeError> {
    let bytes = id.try_into().map_err(|_| DecodeError::Malformed("the id of a staging"))?;
    Ok(u128::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Operation, operation::OperationWire, testing::hex};
    use prost::Message as _;

    fn rows(rows: Vec<(Vec<u8>, Vec<u8>)>) -> Restore {
        Restore::Rows { id: 7, offset: 300, rows }
    }

    fn row(key: &[u8], value: &[u8]) -> (Vec<u8>, Vec<u8>) {
        (key.to_vec(), value.to_vec())
    }

    #[test]
    fn the_bytes_of_every_step_are_a_promise() {
        let id = "0a10000000000000000000000000000000".to_owned() + "07";
        let golden = [
            (Restore::Begin { id: 7 }, format!("c202140a12{id}")),
            (
                rows(vec![row(b"a", b"v"), row(b"b", b"")]),
                format!("c2022412 22{id}10ac021a060a01611201761a030a0162"),
            ),
            (Restore::Switch { id: 7, count: 2, hash: 9 }, format!("c2021f1a1d{id}1002190900000000000000")),
            (Restore::Abort, "c202022200".to_owned()),
        ];
        for (step, expected) in golden {
            let operation = Operation::Restore(step);
            let bytes = operation.to_bytes();
            assert_eq!(hex(&bytes), expected.replace(' ', ""), "{operation:?}");
            assert_eq!(OperationWire::decode(bytes.as_slice()).unwrap().try_into(), Ok(operation));
        }
    }

    #[test]
    fn what_no_step_may_say_is_refused_at_the_bound_and_past_it() {
        assert!(Restore::Begin { id: 0 }.check().is_err() && Restore::Begin { id: 1 }.check().is_ok());
        assert!(rows(Vec::new()).check().is_err());
        assert!(rows(vec![row(b"b", b""), row(b"a", b"")]).check().is_err());
        assert!(rows(vec![row(b"a", b""), row(b"a", b"")]).check().is_err());
        let many = |count: usize| rows((0..count).map(|at| row(&at.to_be_bytes(), b"")).collect());
        assert!(many(limits::STAGED_ROWS).check().is_ok() && many(limits::STAGED_ROWS + 1).check().is_err());
        let large = |value: usize| {
            let half = vec![0; limits::VALUE_BYTES];
            rows(vec![row(b"a", &half), (b"b".to_vec(), vec![0; value])])
        };
        let room = limits::WRITE_BYTES - limits::VALUE_BYTES - 2;
        assert!(large(room).check().is_ok() && large(room + 1).check().is_err());
        let switch = |count| Restore::Switch { id: 1, count, hash: 0 }.check();
        assert!(switch(limits::NUMBER).is_ok() && switch(limits::NUMBER + 1).is_err());
        let unknown = OperationWire::decode([0xc2, 0x02, 0x02, 0x7a, 0].as_slice()).unwrap();
        assert!(Operation::try_from(unknown).is_err());
        let many = OperationWire::from(Operation::Restore(many(limits::STAGED_ROWS + 1)));
        assert!(Operation::try_from(many).is_err(), "before anything is made of them");
    }
}
