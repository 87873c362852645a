//! The bytes of a segment: its header, and the mark that stands before the entries of each batch.
//!
//! Both are little-endian, 96 bytes, checksummed by CRC32C, and start at a multiple of [`SECTOR`]. `docs/storage.md`
//! draws them. Entries are the records of `protocol::frame`, the same bytes as on the wire.
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

use protocol::{frame::decode_entry, limits::NUMBER, version::LOG_FORMAT};
use raft::{Entry, HardState, Index, NodeId, Position, Term};

/// Batches start at multiples of this, so that no write touches a sector with bytes that were acknowledged before.
pub(super) const SECTOR: usize = 512;
/// Length of a mark.
pub(super) const MARK: usize = 96;
const HEADER: usize = 96;
const CHECKSUM: usize = 4;
/// The flag of a segment with which the log begins anew.
const ANEW: u8 = 1;
const MAGIC: &[u8; 8] = b"kvd log\n";
/// The kind of a mark, in the place where an entry record has its kind.
const KIND_MARK: u8 = 0x80;
/// What a record's length counts: all but the length itself and the checksum.
const MARK_LENGTH: u32 = 88;

/// The first sector of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Numbers the segments of a log from 1 on.
    pub(super) sequence: u64,
    /// Random; part of every mark, so that foreign or stale bytes are never taken for one of this segment's.
    pub(super) salt: u64,
    /// Number of the first batch in this segment.
    pub(super) first: u64,
    /// Checksum of the mark before that batch.
    pub(super) chain: u32,
    /// End of the log when the segment was begun.
    pub(super) previous: Position,
    /// Term and vote when the segment was begun, so that earlier segments are not needed for them.
    pub(super) hard: HardState,
    /// Whether the log begins anew after `previous`: earlier segments are no part of it.
    pub(super) anew: bool,
}

/// What a segment's first sector turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not one, or damaged.
    Damaged,
    /// Of another version.
    Format(u16),
    /// Its checksum matches, but no log reaches its numbers.
    Impossible,
}

/// What stands before the entries of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The durable watermark: everything up to here was synced before this batch was written.
    pub(super) durable: Position,
    /// The segment's.
    pub(super) salt: u64,
    /// Numbers the batches of a log from 1 on.
    pub(super) number: u64,
    /// Checksum of the mark before this one.
    pub(super) chain: u32,
    /// Checksum of the entry records that follow.
    pub(super) body_crc: u32,
    /// Their length.
    pub(super) body_len: u32,
    /// How many there are; possibly none.
    pub(super) entries: u32,
    /// The entry before the first of them. What the log held after it is replaced.
    pub(super) previous: Position,
    /// Term and vote from now on.
    pub(super) hard: HardState,
}

impl Header {
    /// The bytes; the rest of the sector is zero.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&LOG_FORMAT.to_le_bytes());
        out.extend_from_slice(&[if self.anew { ANEW } else { 0 }, 0]);
        out.extend_from_slice(&self.chain.to_le_bytes());
        put(&mut out, &[self.sequence, self.salt, self.first]);
        put_position(&mut out, self.previous);
        put_hard(&mut out, self.hard);
        out.resize(HEADER.saturating_sub(CHECKSUM), 0);
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out
    }

    /// Reads a segment's first bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let header = bytes.first_chunk::<HEADER>().and_then(|header| header.split_last_chunk::<CHECKSUM>());
        let (covered, checksum) = header.ok_or(BadHeader::Damaged)?;
        if crc32c::crc32c(covered) != u32::from_le_bytes(*checksum) {
            return Err(BadHeader::Damaged);
        }
        let (format, header) = Self::fields(covered).ok_or(BadHeader::Damaged)?;
        if format != LOG_FORMAT {
            return Err(BadHeader::Format(format));
        }
        let numbers = [header.sequence, header.first, header.hard.term.0];
        if possible(&numbers, &[header.previous]) { Ok(header) } else { Err(BadHeader::Impossible) }
    }

    fn fields(covered: &[u8]) -> Option<(u16, Self)> {
        let mut fields = Fields(covered.strip_prefix(MAGIC)?);
        let [low, high, flags, _] = fields.take()?;
        let header = Self {
            chain: fields.u32()?,
            sequence: fields.u64()?,
            salt: fields.u64()?,
            first: fields.u64()?,
            previous: fields.position()?,
            hard: fields.hard()?,
            anew: flags & ANEW != 0,
        };
        Some((u16::from_le_bytes([low, high]), header))
    }
}

impl Mark {
    /// The bytes, with their checksum in them.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut covered = vec![0, 0, 0, 0, KIND_MARK, 0, 0, 0];
        put_position(&mut covered, self.durable);
        put(&mut covered, &[self.salt, self.number]);
        for value in [self.chain, self.body_crc, self.body_len, self.entries] {
            covered.extend_from_slice(&value.to_le_bytes());
        }
        put_position(&mut covered, self.previous);
        put_hard(&mut covered, self.hard);
        let mut out = Vec::with_capacity(MARK);
        out.extend_from_slice(&MARK_LENGTH.to_le_bytes());
        out.extend_from_slice(&crc32c::crc32c(&covered).to_le_bytes());
        out.extend_from_slice(&covered);
        out
    }

    /// The mark at the start of `bytes`, with its checksum, if an intact one of this segment stands there.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<(Self, u32)> {
        let mut fields = Fields(bytes.first_chunk::<MARK>()?);
        let (length, checksum) = (fields.u32()?, fields.u32()?);
        let covered = fields.0;
        let [_, _, _, _, kind, _, _, _] = fields.take()?;
        let mark = Self {
            durable: fields.position()?,
            salt: fields.u64()?,
            number: fields.u64()?,
            chain: fields.u32()?,
            body_crc: fields.u32()?,
            body_len: fields.u32()?,
            entries: fields.u32()?,
            previous: fields.position()?,
            hard: fields.hard()?,
        };
        let ours = length == MARK_LENGTH && kind == KIND_MARK && mark.salt == salt;
        (ours && crc32c::crc32c(covered) == checksum).then_some((mark, checksum))
    }

    /// Whether a log can reach its numbers; where it cannot, they could not be added to without overflow.
    fn is_possible(&self) -> bool {
        possible(&[self.number, self.hard.term.0], &[self.durable, self.previous])
    }

    /// Bytes from this mark to the next one.
    pub(super) fn stride(&self) -> u64 {
        aligned(u64::from(self.body_len).saturating_add(MARK as u64))
    }

    /// Index of the last entry of the batch, or of the one before when it has none.
    pub(super) fn last(&self) -> Index {
        Index(self.previous.index.0.saturating_add(u64::from(self.entries)))
    }
}

/// Within the bound that entries keep, too.
fn possible(numbers: &[u64], positions: &[Position]) -> bool {
    let of_positions = positions.iter().flat_map(|position| [position.index.0, position.term.0]);
    numbers.iter().copied().chain(of_positions).all(|number| number <= NUMBER)
}

/// Rounded up to a sector.
pub(super) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR as u64)
}

fn put(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn put_position(out: &mut Vec<u8>, position: Position) {
    put(out, &[position.index.0, position.term.0]);
}

fn put_hard(out: &mut Vec<u8>, hard: HardState) {
    put(out, &[hard.term.0, hard.vote.map_or(0, |node| node.0)]);
}

/// What is left to read of a header or mark.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position::new(self.u64()?, self.u64()?))
    }

    fn hard(&mut self) -> Option<HardState> {
        let (term, vote) = (self.u64()?, self.u64()?);
        Some(HardState { term: Term(term), vote: (vote != 0).then_some(NodeId(vote)) })
    }
}

/// The entries of a batch whose checksum matched. They must be the ones its mark announced.
pub(super) fn decode_entries(mut body: &[u8], mark: &Mark) -> Result<Vec<Entry>, &'static str> {
    if !mark.is_possible() {
        return Err("a mark has numbers that no log reaches");
    }
    let mut entries = Vec::new();
    let mut index = mark.previous.index;
    while !body.is_empty() {
        let (entry, consumed) = decode_entry(body).map_err(|_| "an entry cannot be decoded")?;
        index = index.next();
        if entry.position.index != index {
            return Err("the entries of a batch are not contiguous");
        }
        entries.push(entry);
        body = body.get(consumed..).filter(|_| consumed > 0).ok_or("an entry has no length")?;
    }
    if index == mark.last() { Ok(entries) } else { Err("a batch has not the entries it announces") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> Header {
        let (previous, hard) = (Position::new(9, 2), HardState { term: Term(3), vote: Some(NodeId(1)) });
        Header { sequence: 2, salt: u64::MAX, first: 5, chain: 7, previous, hard, anew: true }
    }

    fn mark() -> Mark {
        let Header { salt, first: number, chain, previous, hard, .. } = header();
        let (body_crc, body_len, entries) = (1, 2, 3);
        Mark { durable: previous, salt, number, chain, body_crc, body_len, entries, previous, hard }
    }

    #[test]
    fn a_header_whose_numbers_no_log_reaches_is_refused() {
        assert_eq!(Header::decode(&header().encode()), Ok(header()));
        let (index, term) = (Position::new(NUMBER + 1, 2), Position::new(9, NUMBER + 1));
        for wrong in [
            Header { sequence: NUMBER + 1, ..header() },
            Header { first: NUMBER + 1, ..header() },
            Header { previous: index, ..header() },
            Header { previous: term, ..header() },
            Header { hard: HardState { term: Term(NUMBER + 1), vote: None }, ..header() },
        ] {
            assert_eq!(Header::decode(&wrong.encode()), Err(BadHeader::Impossible));
        }
        let edge = Header { first: NUMBER, previous: Position::new(NUMBER, NUMBER), ..header() };
        assert_eq!(Header::decode(&edge.encode()), Ok(edge));
    }

    #[test]
    fn a_mark_whose_numbers_no_log_reaches_has_no_entries() {
        let read = |mark: Mark| Mark::decode(&mark.encode(), mark.salt).map(|(mark, _)| mark).unwrap();
        let empty = Mark { entries: 0, ..mark() };
        assert_eq!(decode_entries(&[], &read(empty)), Ok(Vec::new()));
        let far = Position::new(u64::MAX, 2);
        for wrong in [
            Mark { number: NUMBER + 1, ..empty },
            Mark { durable: far, ..empty },
            Mark { previous: far, ..empty },
            Mark { hard: HardState { term: Term(u64::MAX), vote: None }, ..empty },
        ] {
            assert!(decode_entries(&[], &read(wrong)).is_err(), "{wrong:?}");
        }
    }
}
