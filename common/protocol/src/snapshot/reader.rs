//! Blocks from a file or a pipe, one after the other.
//!
//! The prefix of a block says how long it is, so nothing stands between them. At most one block is in memory.

use std::io::{self, Read};

use super::{BlockError, Checker, block::PREFIX};
use crate::{
    DecodeError,
    limits::SNAPSHOT_BLOCK_BYTES,
    snapshot::{Block, Summary},
};

/// Why a file is no backup.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It could not be read.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// It is damaged, cut off, or something else.
    #[error("at byte {at}: {why}")]
    Damaged {
        /// Where the block begins that does not check.
        at: u64,
        /// What is wrong.
        why: BlockError,
    },
}

/// See the module.
pub struct Reader<R> {
    from: R,
    checker: Checker,
    block: Vec<u8>,
    at: u64,
}

impl<R: Read> Reader<R> {
    /// Over bytes of which none was read.
    pub fn new(from: R) -> Self {
        Self { from, checker: Checker::new(), block: Vec::new(), at: 0 }
    }

    /// What was learned so far.
    pub fn checker(&self) -> &Checker {
        &self.checker
    }

    /// The next block, checked, and after the last what all of it is. Behind that there is nothing, which is looked at.
    ///
    /// # Errors
    /// It is not a whole state.
    pub fn next_block(&mut self) -> Result<(Block<'_>, Option<Summary>), ReadError> {
        let at = self.at;
        let damaged = |why: BlockError| ReadError::Damaged { at, why };
        self.fill(at)?;
        self.at = self.at.saturating_add(self.block.len() as u64);
        let (block, whole) = self.checker.take(&self.block).map_err(damaged)?;
        if whole.is_some() && self.from.by_ref().take(1).read(&mut [0])? > 0 {
            let why = BlockError::Content("something follows its end");
            return Err(ReadError::Damaged { at: self.at, why });
        }
        Ok((block, whole))
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// As of [`Reader::next_block`].
    pub fn read_all(mut self) -> Result<Summary, ReadError> {
        loop {
            if let (_, Some(summary)) = self.next_block()? {
                return Ok(summary);
            }
        }
    }

    /// Reads the bytes of a block.
    fn fill(&mut self, at: u64) -> Result<(), ReadError> {
        let damaged = |why: BlockError| ReadError::Damaged { at, why };
        let cut = || damaged(BlockError::Content("it ends without its end: it was cut off"));
        self.block.clear();
        let read = self.from.by_ref().take(PREFIX as u64).read_to_end(&mut self.block)?;
        if read == 0 && at > 0 {
            return Err(cut());
        }
        let Some(length) = self.block.first_chunk().map(|length| u32::from_le_bytes(*length)) else {
            return Err(if at == 0 { damaged(BlockError::Content("it is no backup")) } else { cut() });
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length.saturating_add(PREFIX) > SNAPSHOT_BLOCK_BYTES {
            let why = match at {
                0 => BlockError::Content("it is no backup"),
                _ => DecodeError::Malformed("length of a block of a state").into(),
            };
            return Err(damaged(why));
        }
        let wanted = (length as u64).saturating_add(PREFIX as u64).saturating_sub(read as u64);
        let rest = self.from.by_ref().take(wanted).read_to_end(&mut self.block)?;
        if rest as u64 == wanted { Ok(()) } else { Err(cut()) }
    }
}
