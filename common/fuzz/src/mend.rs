//! Mends segments of a log, so that an input gets behind checksums and the links between batches. Written from
//! `docs/storage.md`, not with the code that reads segments: who shares a mistake does not see it.

use raft::Position;

use crate::seal;

const HEADER: usize = 96;
const MARK: usize = 96;

/// The checksum of headers.
const HEADERS: u8 = 1;
/// Checksum, length and number of a batch's entries.
const BODIES: u8 = 2;
/// The checksum of marks.
const MARKS: u8 = 4;
/// Salt, number and chain of marks; number, chain and sequence of headers.
const LINKS: u8 = 8;
/// The durable watermark of marks, and the end of the log in later headers.
const WATERMARK: u8 = 16;
/// What is the same in every header or mark: magic and format, length and kind.
const CONSTANTS: u8 = 32;
/// Not the bytes but the state: it has applied the whole log.
pub(crate) const APPLIED: u8 = 64;
/// Not the bytes but their names: the segments have the highest number, and the second the first's name in capitals.
pub(crate) const HIGHEST: u8 = 128;

/// What to mend, and where the log has got to.
pub(crate) struct Mend {
    what: u8,
    /// The end of the log so far.
    pub(crate) last: Position,
    salt: [u8; 8],
    number: u64,
    chain: [u8; 4],
}

impl Mend {
    /// Mends what the bits of `what` ask for.
    pub(crate) fn new(what: u8) -> Self {
        Self { what, last: Position::ZERO, salt: [0; 8], number: 0, chain: [0; 4] }
    }

    /// Whether the input asks for this.
    pub(crate) fn asks(&self, bit: u8) -> bool {
        self.what & bit != 0
    }

    /// Number of the segment that is the `at`-th, from zero.
    fn sequence(&self, at: usize) -> u64 {
        if self.asks(HIGHEST) { u64::MAX } else { at as u64 + 1 }
    }

    /// Name of the file of the `at`-th segment.
    pub(crate) fn name(&self, at: usize) -> String {
        let name = format!("{:016x}", self.sequence(at));
        if self.asks(HIGHEST) && at > 0 { name.to_uppercase() + ".log" } else { name + ".log" }
    }

    /// Mends the header of the `at`-th segment and takes over what it says.
    pub(crate) fn header(&mut self, piece: &mut [u8], at: usize) {
        let Some(header) = piece.first_chunk_mut::<HEADER>() else { return };
        if self.asks(CONSTANTS) {
            header[..10].copy_from_slice(b"kvd log\n\x01\x00");
        }
        if self.asks(LINKS) {
            header[16..24].copy_from_slice(&self.sequence(at).to_le_bytes());
            if at > 0 {
                header[12..16].copy_from_slice(&self.chain);
                header[32..40].copy_from_slice(&self.number.to_le_bytes());
            }
        }
        if self.asks(WATERMARK) && at > 0 {
            put_position(&mut header[40..56], self.last);
        }
        if self.asks(HEADERS) {
            let checksum = crc32c::crc32c(&header[..92]);
            header[92..].copy_from_slice(&checksum.to_le_bytes());
        }
        self.chain.copy_from_slice(&header[12..16]);
        self.salt.copy_from_slice(&header[24..32]);
        self.number = word(&header[32..40]);
        self.last = position(&header[40..56]);
    }

    /// Mends a batch and takes over what it says.
    pub(crate) fn batch(&mut self, piece: &mut [u8]) {
        let Some((mark, body)) = piece.split_first_chunk_mut::<MARK>() else { return };
        if self.asks(BODIES) {
            seal::entries(body);
            let entries = records(body);
            mark[52..56].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
            mark[56..60].copy_from_slice(&u32::try_from(body.len()).unwrap_or(0).to_le_bytes());
            mark[60..64].copy_from_slice(&u32::try_from(entries.len()).unwrap_or(0).to_le_bytes());
        }
        if self.asks(CONSTANTS) {
            mark[..4].copy_from_slice(&88_u32.to_le_bytes());
            mark[12] = 0x80;
        }
        if self.asks(LINKS) {
            mark[32..40].copy_from_slice(&self.salt);
            mark[40..48].copy_from_slice(&self.number.to_le_bytes());
            mark[48..52].copy_from_slice(&self.chain);
        }
        if self.asks(WATERMARK) {
            put_position(&mut mark[16..32], self.last);
        }
        if self.asks(MARKS) {
            let checksum = crc32c::crc32c(&mark[8..]);
            mark[4..8].copy_from_slice(&checksum.to_le_bytes());
        }
        self.chain.copy_from_slice(&mark[4..8]);
        self.number = word(&mark[40..48]).wrapping_add(1);
        self.last = records(body).last().copied().unwrap_or(self.last);
    }
}

/// The positions of the records that stand one after the other.
fn records(mut bytes: &[u8]) -> Vec<Position> {
    let mut positions = Vec::new();
    while let Some(length) = bytes.first_chunk().map(|length| u32::from_le_bytes(*length)) {
        let Some((record, rest)) =
            usize::try_from(length).ok().and_then(|length| bytes.split_at_checked(8 + length))
        else {
            break;
        };
        let Some(at) = record.get(16..32) else { break };
        positions.push(position(at));
        bytes = rest;
    }
    positions
}

pub(crate) fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |word| u64::from_le_bytes(*word))
}

fn position(bytes: &[u8]) -> Position {
    Position::new(word(bytes), word(&bytes[8..]))
}

fn put_position(out: &mut [u8], position: Position) {
    out[..8].copy_from_slice(&position.index.0.to_le_bytes());
    out[8..16].copy_from_slice(&position.term.0.to_le_bytes());
}
