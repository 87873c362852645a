//! Scans: many rows in the order of their keys, all of one revision. A scan has a QUIC stream of its own.
//!
//! ```text
//! client ── RequestFrame with a scan ─► node          client ◄─ page, page, … ── node
//!                                                     client ◄─ end | refused | cut
//! ```
//!
//! Pages carry the revision that they are of, the same in all of one scan. A stream that ends without [`End`] was cut,
//! so nobody takes a part for the whole. An empty page is a sign of life: the node has looked at many keys and found
//! none to show.
//!
//! A scan shows the newest revision, or the one that it names in [`Scan::at`], or what was there [`Scan::age_ms`] ago: any
//! that is still kept, by any node that has it. What is older is refused with the oldest that there is
//! ([`Refused::NotKept`]), what is not written yet as invalid. So a scan goes on where another broke off when it names
//! that one's revision and begins after its last key.

use prost::Message as _;

use crate::{
    Consistency, DecodeError, Refused,
    history::{Version, VersionWire},
    lease::HeldWire,
    limits,
    response::{Found, wire::RefusedWire},
    stored::{Meta, hash},
};

/// Which keys are wanted, and what of them.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Scan {
    /// The first key that may be there; empty for the very first.
    pub from: Vec<u8>,
    /// The first key that is no longer wanted; `None` for all to the last.
    pub to: Option<Vec<u8>>,
    /// Most rows.
    pub limit: Option<u64>,
    /// What of each row.
    pub want: Want,
    /// How fresh.
    pub consistency: Consistency,
    /// Only this revision will do.
    pub at: Option<u64>,
    /// What was there so many milliseconds ago, by the stamps of the leaders. Not together with `at`.
    pub age_ms: Option<u64>,
    /// What was there at this time, in milliseconds since 1970 by the clocks of those who led: before the first change that
    /// says it is later. Not together with `at` or `age_ms`.
    pub time_ms: Option<u64>,
    /// Of versions only those before this revision.
    pub below: Option<u64>,
}

/// What a scan shows of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Want {
    /// Key, value, revisions.
    #[default]
    Rows,
    /// The same with an empty value.
    Keys,
    /// Nothing; only [`End::count`] is of interest.
    Count,
    /// Of one key all that is kept, newest first: [`Page::versions`] in the place of rows.
    Versions,
    /// Nothing; at the end comes a [`Digest`] of all of them.
    Hash,
}

/// One answer on the stream of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanFrame {
    /// The next rows.
    Page(Page),
    /// There are no more.
    End(End),
    /// The end where a hash was wanted.
    Digest(Digest),
    /// It was not begun.
    Refused(Refused),
    /// It was begun and cannot be finished, or cannot be gone on with at its revision; why, in words.
    Cut(String),
}

/// Some rows, keys ascending.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Page {
    /// The applied index of the state that is read.
    pub revision: u64,
    /// None, when many keys had to be passed over.
    pub rows: Vec<Row>,
    /// What one key held, newest first; only where that was wanted.
    pub versions: Vec<Version>,
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its key.
    pub key: Vec<u8>,
    /// What it holds; an empty value where only keys were wanted.
    pub found: Found,
}

/// The end of a scan that shows everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// How many rows there were.
    pub count: u64,
    /// The applied index of the state that was read.
    pub revision: u64,
    /// Whether there are more in the range, beyond the limit.
    pub more: bool,
}

/// The end of a scan that reads everything and shows a hash: equal on all nodes that hold the same at that revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Digest {
    /// The revision that was read.
    pub revision: u64,
    /// How many rows there were.
    pub count: u64,
    /// The sum of the rows' hashes ([`Row::element`]), of the bytes as they were read.
    pub hash: u64,
    /// Rows that are not the ones that were written, by the hash that each carries. They are in `hash` as they are.
    pub damaged: u64,
}

impl Row {
    /// Its share of a [`Digest`].
    pub fn element(&self) -> u64 {
        let Found { value, revision, created, version, lease } = &self.found;
        let (content, lease) = (hash::content(&self.key, value), lease.as_ref().map_or(0, |held| held.lease));
        Meta { revision: *revision, created: *created, version: *version, content, lease }.element()
    }
}

impl Scan {
    /// Every key that begins so.
    pub fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), to: after_prefix(prefix), ..Self::default() }
    }

    /// Every key from the one to before the other.
    pub fn range(from: &[u8], to: &[u8]) -> Self {
        Self { from: from.to_vec(), to: Some(to.to_vec()), ..Self::default() }
    }

    /// All that is kept of one key.
    pub fn versions(key: &[u8]) -> Self {
        Self { want: Want::Versions, ..Self::key(key) }
    }

    /// One key.
    pub fn key(key: &[u8]) -> Self {
        Self { from: key.to_vec(), to: Some(successor(key)), ..Self::default() }
    }

    /// Only what comes after this key.
    #[must_use]
    pub fn after(mut self, key: &[u8]) -> Self {
        let next = successor(key);
        if next > self.from {
            self.from = next;
        }
        self
    }

    /// Whether the key is in the range.
    pub fn covers(&self, key: &[u8]) -> bool {
        *key >= *self.from && self.to.as_ref().is_none_or(|to| *key < **to)
    }

    /// Whether its bounds leave room for one key and no other.
    pub fn names_one_key(&self) -> bool {
        self.to.as_deref() == Some(&*successor(&self.from))
    }

    /// Checks the bounds against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        let limit = limits::BOUND_BYTES;
        for bound in [Some(&self.from), self.to.as_ref()].into_iter().flatten() {
            if bound.len() > limit {
                return Err(DecodeError::TooLarge { what: "bound of a range", size: bound.len(), limit });
            }
        }
        if self.limit == Some(0) {
            return Err(DecodeError::Malformed("a limit of no rows"));
        }
        if self.at.is_some() && self.age_ms.is_some() {
            return Err(DecodeError::Malformed("a revision and an age"));
        }
        if self.time_ms.is_some() && (self.at.is_some() || self.age_ms.is_some()) {
            return Err(DecodeError::Malformed("a time and another moment"));
        }
        if self.want == Want::Versions && !self.names_one_key() {
            return Err(DecodeError::Malformed("versions of more than one key"));
        }
        if self.want != Want::Versions && self.below.is_some() {
            return Err(DecodeError::Malformed("rows below a revision"));
        }
        Ok(())
    }
}

/// The first key after `key`.
pub fn successor(key: &[u8]) -> Vec<u8> {
    let mut next = Vec::with_capacity(key.len().saturating_add(1));
    next.extend_from_slice(key);
    next.push(0);
    next
}

/// The first key after all that begin with `prefix`; none when they are the last.
pub fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte < u8::MAX)?;
    let mut end = prefix.get(..=last)?.to_vec();
    if let Some(byte) = end.last_mut() {
        *byte = byte.saturating_add(1);
    }
    Some(end)
}

impl ScanFrame {
    /// The bytes of the frame, without the length.
    pub fn encode(self) -> Vec<u8> {
        let kind = match self {
            Self::Page(Page { revision, rows, versions }) => {
                let rows = rows.into_iter().map(Into::into).collect();
                Kind::Page(PageWire {
                    revision,
                    rows,
                    versions: versions.into_iter().map(Into::into).collect(),
                })
            }
            Self::End(End { count, revision, more }) => Kind::End(EndWire { count, revision, more }),
            Self::Digest(Digest { revision, count, hash, damaged }) => {
                Kind::Digest(DigestWire { revision, count, hash, damaged })
            }
            Self::Refused(refused) => Kind::Refused(refused.into()),
            Self::Cut(why) => Kind::Cut(why),
        };
        FrameWire { kind: Some(kind) }.encode_to_vec()
    }

    /// Reads a frame. One of a kind that this version does not know is malformed to it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = FrameWire::decode(bytes).map_err(|_| DecodeError::Malformed("answer to a scan"))?;
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown answer to a scan"))? {
            Kind::Page(PageWire { revision, rows, versions }) => {
                let rows = rows.into_iter().map(Into::into).collect();
                Self::Page(Page { revision, rows, versions: versions.into_iter().map(Into::into).collect() })
            }
            Kind::End(EndWire { count, revision, more }) => Self::End(End { count, revision, more }),
            Kind::Digest(DigestWire { revision, count, hash, damaged }) => {
                Self::Digest(Digest { revision, count, hash, damaged })
            }
            Kind::Refused(refused) => Self::Refused(refused.try_into()?),
            Kind::Cut(why) => Self::Cut(why),
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ScanWire {
    #[prost(bytes = "vec", tag = "1")]
    from: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    to: Option<Vec<u8>>,
    #[prost(uint64, optional, tag = "3")]
    limit: Option<u64>,
    #[prost(enumeration = "WantWire", tag = "4")]
    want: i32,
    #[prost(bool, tag = "5")]
    stale: bool,
    #[prost(uint64, optional, tag = "6")]
    at: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    age_ms: Option<u64>,
    #[prost(uint64, optional, tag = "8")]
    below: Option<u64>,
    #[prost(uint64, optional, tag = "9")]
    most_ms: Option<u64>,
    #[prost(uint64, optional, tag = "10")]
    time_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum WantWire {
    Rows = 0,
    Keys = 1,
    Count = 2,
    Versions = 3,
    Hash = 4,
}

#[derive(Clone, PartialEq, prost::Message)]
struct FrameWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Page(PageWire),
    #[prost(message, tag = "2")]
    End(EndWire),
    #[prost(message, tag = "3")]
    Refused(RefusedWire),
    #[prost(string, tag = "4")]
    Cut(String),
    #[prost(message, tag = "5")]
    Digest(DigestWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct PageWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(message, repeated, tag = "2")]
    rows: Vec<RowWire>,
    #[prost(message, repeated, tag = "3")]
    versions: Vec<VersionWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RowWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(uint64, tag = "3")]
    revision: u64,
    #[prost(uint64, tag = "4")]
    created: u64,
    #[prost(uint64, tag = "5")]
    version: u64,
    #[prost(message, optional, tag = "6")]
    lease: Option<HeldWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct EndWire {
    #[prost(uint64, tag = "1")]
    count: u64,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(bool, tag = "3")]
    more: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct DigestWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(fixed64, tag = "3")]
    hash: u64,
    #[prost(uint64, tag = "4")]
    damaged: u64,
}

impl From<Scan> for ScanWire {
    fn from(Scan { from, to, limit, want, consistency, at, age_ms, time_ms, below }: Scan) -> Self {
        let want = match want {
            Want::Rows => WantWire::Rows,
            Want::Keys => WantWire::Keys,
            Want::Count => WantWire::Count,
            Want::Versions => WantWire::Versions,
            Want::Hash => WantWire::Hash,
        };
        let (stale, most_ms) = consistency.to_wire();
        Self { from, to, limit, want: want.into(), stale, at, age_ms, below, most_ms, time_ms }
    }
}

impl TryFrom<ScanWire> for Scan {
    type Error = DecodeError;

    fn try_from(
        ScanWire { from, to, limit, want, stale, at, age_ms, below, most_ms, time_ms }: ScanWire,
    ) -> Result<Self, DecodeError> {
        let want = match WantWire::try_from(want).map_err(|_| DecodeError::Malformed("unknown want"))? {
            WantWire::Rows => Want::Rows,
            WantWire::Keys => Want::Keys,
            WantWire::Count => Want::Count,
            WantWire::Versions => Want::Versions,
            WantWire::Hash => Want::Hash,
        };
        let consistency = Consistency::from_wire(stale, most_ms);
        Ok(Self { from, to, limit, want, consistency, at, age_ms, time_ms, below })
    }
}

impl From<Row> for RowWire {
    fn from(Row { key, found: Found { value, revision, created, version, lease } }: Row) -> Self {
        Self { key, value, revision, created, version, lease: lease.map(Into::into) }
    }
}

impl From<RowWire> for Row {
    fn from(RowWire { key, value, revision, created, version, lease }: RowWire) -> Self {
        Self { key, found: Found { value, revision, created, version, lease: lease.map(Into::into) } }
    }
}

#[cfg(test)]
mod tests;
