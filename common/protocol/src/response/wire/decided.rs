//! The bytes of what a write was decided to be.

use super::FoundWire;
use crate::{
    DecodeError, Verdict,
    response::{Decided, Done, Found},
};

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct DecidedWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(uint32, tag = "2")]
    verdict: u32,
    #[prost(uint64, tag = "3")]
    number: u64,
    #[prost(bool, tag = "4")]
    existed: bool,
    #[prost(bool, tag = "5")]
    deduplicated: bool,
    #[prost(message, optional, tag = "6")]
    previous: Option<FoundWire>,
    #[prost(message, repeated, tag = "7")]
    results: Vec<DoneWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DoneWire {
    #[prost(oneof = "DoneKind", tags = "1, 2, 3")]
    kind: Option<DoneKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum DoneKind {
    #[prost(bool, tag = "1")]
    Written(bool),
    #[prost(message, tag = "2")]
    Read(ReadWire),
    #[prost(message, tag = "3")]
    Rows(RowsWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadWire {
    #[prost(message, optional, tag = "1")]
    found: Option<FoundWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowsWire {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<RowWire>,
    #[prost(bool, tag = "2")]
    more: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    found: Option<FoundWire>,
}

impl From<Decided> for DecidedWire {
    fn from(decided: Decided) -> Self {
        let Decided { revision, verdict, number, existed, deduplicated, previous, results } = decided;
        Self {
            revision,
            verdict: u32::from(verdict.code()),
            number,
            existed,
            deduplicated,
            previous: previous.map(Into::into),
            results: results.into_iter().map(Into::into).collect(),
        }
    }
}

impl TryFrom<DecidedWire> for Decided {
    type Error = DecodeError;

    fn try_from(wire: DecidedWire) -> Result<Self, DecodeError> {
        let DecidedWire { revision, verdict, number, existed, deduplicated, previous, results } = wire;
        let known = u8::try_from(verdict).ok().and_then(Verdict::from_code);
        Ok(Self {
            revision,
            verdict: known.ok_or(DecodeError::Malformed("unknown verdict"))?,
            number,
            existed,
            deduplicated,
            previous: previous.map(Into::into),
            results: results.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<Done> for DoneWire {
    fn from(done: Done) -> Self {
        let row = |(key, found): (Vec<u8>, Found)| RowWire { key, found: Some(found.into()) };
        let kind = match done {
            Done::Written { existed } => DoneKind::Written(existed),
            Done::Read(found) => DoneKind::Read(ReadWire { found: found.map(Into::into) }),
            Done::Rows { rows, more } => {
                DoneKind::Rows(RowsWire { rows: rows.into_iter().map(row).collect(), more })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<DoneWire> for Done {
    type Error = DecodeError;

    fn try_from(wire: DoneWire) -> Result<Self, DecodeError> {
        let row = |RowWire { key, found }: RowWire| {
            Ok((key, found.ok_or(DecodeError::Malformed("a key without its row"))?.into()))
        };
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown result of an action"))? {
            DoneKind::Written(existed) => Self::Written { existed },
            DoneKind::Read(ReadWire { found }) => Self::Read(found.map(Into::into)),
            DoneKind::Rows(RowsWire { rows, more }) => {
                Self::Rows { rows: rows.into_iter().map(row).collect::<Result<_, DecodeError>>()?, more }
            }
        })
    }
}
