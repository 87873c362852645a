//! The stored form of the request memory: a few thousand ids packed into one row of the store.
//!
//! ```text
//! chunk   first revision u64 │ record │ record │ …                 key of the row: its last revision, u64
//! record  flags u8 │ step u32 │ token 16 │ operation u64 │ number u64, only with flag 2
//! flags   1: the key existed before    2: a number follows    from the third bit on: the verdict
//! step    revision minus that of the record before; zero in the first
//! ```
//!
//! All numbers are little-endian.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use protocol::Verdict;

use super::Remembered;
use crate::instruments::{Mutant, mutant};

const EXISTED: u8 = 1;
const NUMBERED: u8 = 2;
/// How far the verdict stands from the right.
const VERDICT: u8 = 2;

/// Some ids in the order of their revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Chunk {
    last: u64,
    records: usize,
    bytes: Vec<u8>,
}

impl Chunk {
    /// Ids in a chunk: large enough that a million of them are a few hundred rows, small enough that a row is
    /// some thirty pages.
    pub(crate) const RECORDS: usize = 4096;

    /// A chunk of one id, and its length in bytes.
    pub(crate) fn begin(first: &Remembered) -> (Self, usize) {
        let mut chunk =
            Self { last: first.revision, records: 0, bytes: first.revision.to_le_bytes().to_vec() };
        chunk.push(first, 0);
        let bytes = chunk.bytes.len();
        (chunk, bytes)
    }

    /// Adds an id and says how many bytes that took; `None` when it needs a new chunk.
    pub(crate) fn append(&mut self, remembered: &Remembered) -> Option<usize> {
        let step = u32::try_from(remembered.revision.checked_sub(self.last)?).ok()?;
        if self.records == Self::RECORDS {
            return None;
        }
        let before = self.bytes.len();
        self.push(remembered, step);
        Some(self.bytes.len().saturating_sub(before))
    }

    fn push(&mut self, remembered: &Remembered, step: u32) {
        let numbered = if remembered.number == 0 { 0 } else { NUMBERED };
        let existed = if remembered.existed { EXISTED } else { 0 };
        let verdict = if mutant(Mutant::RequestsForgetVerdict) { Verdict::Done } else { remembered.verdict };
        self.bytes.push(existed | numbered | verdict.code() << VERDICT);
        self.bytes.extend_from_slice(&step.to_le_bytes());
        self.bytes.extend_from_slice(&remembered.token);
        self.bytes.extend_from_slice(&remembered.operation.to_le_bytes());
        if numbered != 0 {
            self.bytes.extend_from_slice(&remembered.number.to_le_bytes());
        }
        self.last = remembered.revision;
        self.records = self.records.saturating_add(1);
    }

    /// The revision of its last id.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// Its stored form.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The ids in a stored chunk. What is wrong with the bytes is the last item.
    pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = Result<Remembered, &'static str>> {
        let mut reader = Reader { bytes, revision: None };
        std::iter::from_fn(move || {
            if reader.bytes.is_empty() {
                return None;
            }
            let next = reader.next();
            if next.is_none() {
                reader.bytes = &[];
            }
            Some(next.ok_or("request ids end in the middle of one, or have an unknown verdict"))
        })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    revision: Option<u64>,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Remembered> {
        let base = match self.revision {
            Some(revision) => revision,
            None => u64::from_le_bytes(self.take()?),
        };
        let [flags] = self.take()?;
        let step = u32::from_le_bytes(self.take()?);
        let revision = base.checked_add(u64::from(step))?;
        let token = self.take()?;
        let operation = u64::from_le_bytes(self.take()?);
        let verdict = Verdict::from_code(flags >> VERDICT)?;
        let number = if flags & NUMBERED == 0 { 0 } else { u64::from_le_bytes(self.take()?) };
        self.revision = Some(revision);
        Some(Remembered { token, revision, operation, number, existed: flags & EXISTED != 0, verdict })
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>()?;
        self.bytes = rest;
        Some(*taken)
    }
}
