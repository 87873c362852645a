//! One block: bytes to content and back.

use raft::{Index, Position, Term};

use super::{BlockError, Table};
use crate::{
    ClusterId, DecodeError,
    limits::{NUMBER, SNAPSHOT_BLOCK_BYTES},
    version::{SNAPSHOT_FORMAT, STATE_FORMAT_PLAIN},
};

const MAGIC: &[u8; 8] = b"kvd snap";
/// What stands before what is covered: its length and its checksum.
pub(super) const PREFIX: usize = 8;
const HEAD: u8 = 1;
const PAIRS: u8 = 2;
const END: u8 = 3;

/// What stands at the beginning of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Format of its tables.
    pub state_format: u16,
    /// Whose state it is.
    pub cluster: ClusterId,
    /// The last entry in it.
    pub at: Position,
}

/// A block, read.
#[derive(Debug, PartialEq, Eq)]
pub enum Block<'a> {
    /// The first.
    Head(Head),
    /// Pairs of one table.
    Pairs(Table, Pairs<'a>),
    /// The last.
    End(End),
}

/// What stands at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Blocks before this one.
    pub blocks: u64,
    /// Pairs in them.
    pub pairs: u64,
    /// SHA-256 of their bytes.
    pub sum: [u8; 32],
}

impl Head {
    /// Of a state in the oldest format that this version knows, whose last entry is so.
    pub fn new(cluster: ClusterId, index: u64, term: u64) -> Self {
        Self {
            state_format: STATE_FORMAT_PLAIN,
            cluster,
            at: Position { index: Index(index), term: Term(term) },
        }
    }

    /// The block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = begin(HEAD);
        block.extend_from_slice(MAGIC);
        block.extend_from_slice(&SNAPSHOT_FORMAT.to_le_bytes());
        block.extend_from_slice(&self.state_format.to_le_bytes());
        block.extend_from_slice(&self.cluster.0);
        block.extend_from_slice(&self.at.index.0.to_le_bytes());
        block.extend_from_slice(&self.at.term.0.to_le_bytes());
        seal(block)
    }

    /// Reads the first block of a state.
    pub fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        match Block::decode(bytes)? {
            Block::Head(head) => Ok(head),
            _ => Err(BlockError::Content("the first block is not a head")),
        }
    }
}

impl End {
    /// The block.
    pub fn encode(&self) -> Vec<u8> {
        let mut block = begin(END);
        block.extend_from_slice(&self.blocks.to_le_bytes());
        block.extend_from_slice(&self.pairs.to_le_bytes());
        block.extend_from_slice(&self.sum);
        seal(block)
    }
}

/// A block of pairs that is being filled.
pub struct Filling(Vec<u8>);

impl Filling {
    /// Of this table.
    pub fn new(table: Table) -> Self {
        let mut block = begin(PAIRS);
        block.push(table as u8);
        Self(block)
    }

    /// Its bytes so far; never none, for it has a beginning.
    #[expect(clippy::len_without_is_empty, reason = "it is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Adds a pair.
    pub fn push(&mut self, key: &[u8], value: &[u8]) {
        for length in [key.len(), value.len()] {
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            self.0.extend_from_slice(&length.to_le_bytes());
        }
        self.0.extend_from_slice(key);
        self.0.extend_from_slice(value);
    }

    /// The block.
    pub fn seal(self) -> Vec<u8> {
        seal(self.0)
    }
}

fn begin(kind: u8) -> Vec<u8> {
    let mut block = vec![0; PREFIX];
    block.push(kind);
    block
}

/// Gives a block the length and the checksum of what it holds.
pub fn seal(mut block: Vec<u8>) -> Vec<u8> {
    let covered = block.get(PREFIX..).unwrap_or_default();
    let length = u32::try_from(covered.len()).unwrap_or(u32::MAX).to_le_bytes();
    let checksum = crc32c::crc32c(covered).to_le_bytes();
    for (byte, value) in block.iter_mut().zip(length.into_iter().chain(checksum)) {
        *byte = value;
    }
    block
}

impl<'a> Block<'a> {
    /// Reads exactly one block.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, BlockError> {
        if bytes.len() > SNAPSHOT_BLOCK_BYTES {
            let (size, limit) = (bytes.len(), SNAPSHOT_BLOCK_BYTES);
            return Err(DecodeError::TooLarge { what: "block of a state", size, limit }.into());
        }
        let short = || DecodeError::Truncated("block of a state");
        let mut rest = bytes;
        let length = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        let checksum = u32::from_le_bytes(take(&mut rest).ok_or_else(short)?);
        if usize::try_from(length).ok() != Some(rest.len()) {
            return Err(DecodeError::Malformed("length of a block of a state").into());
        }
        if crc32c::crc32c(rest) != checksum {
            return Err(DecodeError::Malformed("checksum of a block of a state").into());
        }
        let [kind] = take(&mut rest).ok_or_else(short)?;
        match kind {
            HEAD => head(rest).map(Block::Head),
            PAIRS => {
                let [table] = take(&mut rest).ok_or_else(short)?;
                let table = match table {
                    1 => Table::Meta,
                    2 => Table::Rows,
                    3 => Table::Requests,
                    4 => Table::Changes,
                    5 => Table::Deleted,
                    6 => Table::Spans,
                    7 => Table::Leases,
                    8 => Table::Leased,
                    9 => Table::Members,
                    10 => Table::Staged,
                    _ => {
                        return Err(BlockError::Content("it has a table that this version does not know"));
                    }
                };
                Ok(Block::Pairs(table, Pairs(rest)))
            }
            END => end(rest).ok_or(DecodeError::Malformed("end of a state").into()).map(Block::End),
            _ => Err(DecodeError::Malformed("unknown kind of block of a state").into()),
        }
    }
}

fn head(mut rest: &[u8]) -> Result<Head, BlockError> {
    let short = || DecodeError::Truncated("head of a state");
    if take(&mut rest).ok_or_else(short)? != *MAGIC {
        return Err(DecodeError::Malformed("head of a state").into());
    }
    let found = u16::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    if found != SNAPSHOT_FORMAT {
        return Err(BlockError::Format { found, known: SNAPSHOT_FORMAT });
    }
    let state_format = u16::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let cluster = ClusterId(take(&mut rest).ok_or_else(short)?);
    let index = u64::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let term = u64::from_le_bytes(take(&mut rest).ok_or_else(short)?);
    let possible = index > 0 && term > 0 && index <= NUMBER && term <= NUMBER && rest.is_empty();
    if !possible {
        return Err(DecodeError::Malformed("position of a state").into());
    }
    Ok(Head { state_format, cluster, at: Position { index: Index(index), term: Term(term) } })
}

fn end(mut rest: &[u8]) -> Option<End> {
    let end = End {
        blocks: u64::from_le_bytes(take(&mut rest)?),
        pairs: u64::from_le_bytes(take(&mut rest)?),
        sum: take(&mut rest)?,
    };
    rest.is_empty().then_some(end)
}

/// The pairs of a block. What is wrong with the bytes is the last item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pairs<'a>(&'a [u8]);

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), BlockError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let pair = self.pair();
        if pair.is_none() {
            self.0 = &[];
        }
        Some(pair.ok_or(DecodeError::Truncated("pair of a state").into()))
    }
}

impl<'a> Pairs<'a> {
    fn pair(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let key = usize::try_from(u32::from_le_bytes(take(&mut self.0)?)).ok()?;
        let value = usize::try_from(u32::from_le_bytes(take(&mut self.0)?)).ok()?;
        let (key, rest) = self.0.split_at_checked(key)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.0 = rest;
        Some((key, value))
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Head {
        Head { state_format: 1, cluster: ClusterId([7; 16]), at: Position::new(9, 3) }
    }

    #[test]
    fn blocks_survive_their_bytes() {
        assert_eq!(Head::decode(&sample().encode()).unwrap(), sample());
        let end = End { blocks: 4, pairs: 9, sum: [3; 32] };
        assert_eq!(Block::decode(&end.encode()).unwrap(), Block::End(end));
        let mut filling = Filling::new(Table::Rows);
        filling.push(b"key", b"value");
        filling.push(b"k", b"");
        let block = filling.seal();
        let Block::Pairs(Table::Rows, pairs) = Block::decode(&block).unwrap() else { panic!("pairs") };
        let pairs: Vec<_> = pairs.map(Result::unwrap).collect();
        assert_eq!(pairs, [(b"key".as_slice(), b"value".as_slice()), (b"k", b"")]);
    }

    #[test]
    fn every_bit_and_every_length_is_checked() {
        let mut filling = Filling::new(Table::Requests);
        filling.push(b"key", b"value");
        for block in [sample().encode(), filling.seal(), End { blocks: 1, pairs: 2, sum: [3; 32] }.encode()] {
            for bit in 0..block.len() * 8 {
                let mut wrong = block.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(Block::decode(&wrong).is_err(), "bit {bit} of {block:?}");
            }
            for length in 0..block.len() {
                assert!(Block::decode(&block[..length]).is_err(), "{length} bytes of {block:?}");
            }
        }
    }

    #[test]
    fn a_pair_that_ends_early_is_refused() {
        let mut block = begin(PAIRS);
        block.extend_from_slice(&[Table::Rows as u8, 1, 0, 0, 0, 2, 0, 0, 0, b'k', b'v']);
        let block = seal(block);
        let Block::Pairs(_, mut pairs) = Block::decode(&block).unwrap() else { panic!("pairs") };
        assert!(pairs.next().unwrap().is_err());
        assert!(pairs.next().is_none());
    }

    #[test]
    fn a_block_over_the_limit_is_refused_and_one_at_the_limit_is_not() {
        let block = |bytes: usize| {
            let mut filling = Filling::new(Table::Rows);
            filling.push(b"k", &vec![0; bytes - filling.len() - 9]);
            filling.seal()
        };
        assert!(Block::decode(&block(SNAPSHOT_BLOCK_BYTES)).is_ok());
        let over = Block::decode(&block(SNAPSHOT_BLOCK_BYTES + 1)).unwrap_err();
        assert!(matches!(over, BlockError::Bytes(DecodeError::TooLarge { .. })), "{over}");
    }

    #[test]
    fn the_head_is_a_promise() {
        let bytes = sample().encode();
        let hex = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(
            hex,
            "2d0000004112e54e016b766420736e6170010001000707070707070707070707070707070709000000000000000300000000000000"
        );
    }
}
