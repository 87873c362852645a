//! The bytes of a segment: its header, and the mark that stands before the entries of each batch.
//!
//! Both are little-endian, 96 bytes, checksummed by CRC32C, and start at a multiple of [`SECTOR`]. `docs/storage.md`
//! draws them. Entries are the records of `protocol::frame`, the same bytes as on the wire.

use protocol::{frame::decode_entry, version::LOG_FORMAT};
use raft::{Entry, HardState, Index, NodeId, Position, Term};

/// Batches start at multiples of this, so that no write touches a sector with bytes that were acknowledged before.
pub(super) const SECTOR: usize = 512;
/// Length of a mark.
pub(super) const MARK: usize = 96;
const HEADER: usize = 96;
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
}

/// What a segment's first sector turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// Not one, or damaged.
    Damaged,
    /// Of another version.
    Format(u16),
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
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        out[..8].copy_from_slice(MAGIC);
        out[8..10].copy_from_slice(&LOG_FORMAT.to_le_bytes());
        out[12..16].copy_from_slice(&self.chain.to_le_bytes());
        put(&mut out, 16, &[self.sequence, self.salt, self.first]);
        put_position(&mut out, 40, self.previous);
        put_hard(&mut out, 56, self.hard);
        let crc = crc32c::crc32c(&out[..92]);
        out[92..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a segment's first bytes.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        let bytes: &[u8; HEADER] = bytes.first_chunk().ok_or(BadHeader::Damaged)?;
        if &bytes[..8] != MAGIC || crc32c::crc32c(&bytes[..92]) != u32_at(bytes, 92) {
            return Err(BadHeader::Damaged);
        }
        let format = u16::from_le_bytes([bytes[8], bytes[9]]);
        if format != LOG_FORMAT {
            return Err(BadHeader::Format(format));
        }
        Ok(Self {
            sequence: u64_at(bytes, 16),
            salt: u64_at(bytes, 24),
            first: u64_at(bytes, 32),
            chain: u32_at(bytes, 12),
            previous: position_at(bytes, 40),
            hard: hard_at(bytes, 56),
        })
    }
}

impl Mark {
    /// The bytes, with their checksum in them.
    pub(super) fn encode(&self) -> [u8; MARK] {
        let mut out = [0; MARK];
        out[..4].copy_from_slice(&MARK_LENGTH.to_le_bytes());
        out[12] = KIND_MARK;
        put_position(&mut out, 16, self.durable);
        put(&mut out, 32, &[self.salt, self.number]);
        for (at, value) in [(48, self.chain), (52, self.body_crc), (56, self.body_len), (60, self.entries)] {
            out[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        put_position(&mut out, 64, self.previous);
        put_hard(&mut out, 80, self.hard);
        let crc = crc32c::crc32c(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The mark at the start of `bytes`, with its checksum, if an intact one of this segment stands there.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<(Self, u32)> {
        let bytes: &[u8; MARK] = bytes.first_chunk()?;
        if bytes[12] != KIND_MARK || u32_at(bytes, 0) != MARK_LENGTH || u64_at(bytes, 32) != salt {
            return None;
        }
        let crc = u32_at(bytes, 4);
        if crc32c::crc32c(&bytes[8..]) != crc {
            return None;
        }
        let mark = Self {
            durable: position_at(bytes, 16),
            salt,
            number: u64_at(bytes, 40),
            chain: u32_at(bytes, 48),
            body_crc: u32_at(bytes, 52),
            body_len: u32_at(bytes, 56),
            entries: u32_at(bytes, 60),
            previous: position_at(bytes, 64),
            hard: hard_at(bytes, 80),
        };
        Some((mark, crc))
    }

    /// Bytes from this mark to the next one.
    pub(super) fn stride(&self) -> u64 {
        aligned(MARK as u64 + u64::from(self.body_len))
    }

    /// Index of the last entry of the batch, or of the one before when it has none.
    pub(super) fn last(&self) -> Index {
        Index(self.previous.index.0.saturating_add(u64::from(self.entries)))
    }
}

/// Rounded up to a sector.
pub(super) fn aligned(bytes: u64) -> u64 {
    bytes.next_multiple_of(SECTOR as u64)
}

fn put(out: &mut [u8], mut at: usize, values: &[u64]) {
    for value in values {
        out[at..at + 8].copy_from_slice(&value.to_le_bytes());
        at += 8;
    }
}

fn put_position(out: &mut [u8], at: usize, position: Position) {
    put(out, at, &[position.index.0, position.term.0]);
}

fn put_hard(out: &mut [u8], at: usize, hard: HardState) {
    put(out, at, &[hard.term.0, hard.vote.map_or(0, |node| node.0)]);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(word)
}

fn position_at(bytes: &[u8], at: usize) -> Position {
    Position::new(u64_at(bytes, at), u64_at(bytes, at + 8))
}

fn hard_at(bytes: &[u8], at: usize) -> HardState {
    let vote = u64_at(bytes, at + 8);
    HardState { term: Term(u64_at(bytes, at)), vote: (vote != 0).then_some(NodeId(vote)) }
}

/// The entries of a batch whose checksum matched. They must be the ones its mark announced.
pub(super) fn decode_entries(mut body: &[u8], mark: &Mark) -> Result<Vec<Entry>, &'static str> {
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
