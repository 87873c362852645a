//! Blocks into a file that is not current yet.
//!
//! Everything is checked before anybody could use it: each block's checksum, the sum over all of them, the order of the
//! keys, the hash of the rows. The store's own facts are written last, in the one commit that makes the file a store, so
//! that an unfinished file would not even open; and it keeps its provisional name until it is installed.

use std::{path::PathBuf, sync::Arc};

use protocol::{
    ClusterId,
    snapshot::{Block, BlockError, End, Head, Pairs, block},
    version::{STATE_FORMAT, knows_state_format},
};
use raft::Position;
use ring::digest::{Context, SHA256};

use super::{SnapshotError, Table};
use crate::{
    disk::Disk,
    instruments::{Mark, Mutant, mark, mutant},
    state::StateLimits,
    store::building::Building,
};

/// Where a state that comes in is written, and what it must be. Made by the state that it may replace.
#[derive(Clone)]
pub struct Receiver {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) dir: PathBuf,
    pub(crate) cluster: ClusterId,
    pub(crate) limits: StateLimits,
}

/// A state that comes in.
pub struct Receiving {
    receiver: Receiver,
    head: Head,
    file: Building,
    digest: Context,
    blocks: u64,
    pairs: u64,
    last: Option<(u8, Vec<u8>)>,
}

/// Whether more is to come.
pub enum Progress {
    /// Go on.
    More(Box<Receiving>),
    /// It is whole and durable.
    Whole(Received),
}

/// A whole state under its provisional name, durable.
pub struct Received {
    pub(crate) at: Position,
    pub(crate) receiver: Receiver,
}

impl Received {
    /// The last entry in it.
    pub fn position(&self) -> Position {
        self.at
    }
}

impl Receiver {
    /// Begins with the first block.
    ///
    /// # Errors
    /// It is no state of this cluster in a format that is known here, or the disk refuses the file.
    pub fn begin(self, first: &[u8]) -> Result<Receiving, SnapshotError> {
        let head = Head::decode(first)?;
        if head.cluster != self.cluster {
            return Err(SnapshotError::OtherCluster { found: head.cluster });
        }
        if !knows_state_format(head.state_format.into()) {
            return Err(BlockError::Format { found: head.state_format, known: STATE_FORMAT }.into());
        }
        let file = Building::begin(&*self.disk, &self.dir, self.limits.cache_bytes)?;
        let mut digest = Context::new(&SHA256);
        digest.update(first);
        Ok(Receiving { receiver: self, head, file, digest, blocks: 1, pairs: 0, last: None })
    }
}

impl Receiving {
    /// Takes the next block.
    ///
    /// # Errors
    /// Whatever is wrong: what came so far is of no use.
    pub fn take(mut self: Box<Self>, bytes: &[u8]) -> Result<Progress, SnapshotError> {
        let checked = self.absorb(bytes);
        if let Err(SnapshotError::Blocks(BlockError::Bytes(_) | BlockError::Content(_))) = checked {
            mark(Mark::SnapshotDamaged);
        }
        match checked? {
            Some(end) => self.finish(&end).map(Progress::Whole),
            None => Ok(Progress::More(self)),
        }
    }

    /// There will be no more: what came is of no use.
    pub fn cut(self: Box<Self>) -> Option<Received> {
        let at = self.head.at;
        let (cluster, memory) = (self.receiver.cluster, self.receiver.limits.request_ids);
        if mutant(Mutant::SnapshotTakenPartial) && self.file.finish(at, cluster, memory).is_ok() {
            return Some(Received { at, receiver: self.receiver });
        }
        None
    }

    fn absorb(&mut self, bytes: &[u8]) -> Result<Option<End>, SnapshotError> {
        let mended = mutant(Mutant::SnapshotUnchecked).then(|| block::seal(bytes.to_vec()));
        match Block::decode(mended.as_deref().unwrap_or(bytes))? {
            Block::Head(_) => return Err(SnapshotError::content("a second head")),
            Block::End(end) => return Ok(Some(end)),
            Block::Pairs(table, pairs) => self.pairs(table, pairs)?,
        }
        self.digest.update(bytes);
        self.blocks = self.blocks.saturating_add(1);
        Ok(None)
    }

    fn pairs(&mut self, table: Table, pairs: Pairs<'_>) -> Result<(), SnapshotError> {
        for pair in pairs.clone() {
            let (key, _) = pair?;
            let place = (table as u8, key.to_vec());
            if table != Table::Requests && self.last.as_ref().is_some_and(|last| *last >= place) {
                return Err(SnapshotError::content("its keys are not in order"));
            }
            self.last = Some(place);
            self.pairs = self.pairs.saturating_add(1);
        }
        let pairs: Vec<_> = pairs.filter_map(Result::ok).collect();
        self.file.put(table, &pairs)
    }

    fn finish(self, end: &End) -> Result<Received, SnapshotError> {
        let sum = self.digest.finish();
        let whole = end.blocks == self.blocks && end.pairs == self.pairs && end.sum == sum.as_ref();
        if !whole && !mutant(Mutant::SnapshotUnchecked) {
            mark(Mark::SnapshotDamaged);
            return Err(SnapshotError::content("its end does not match what came before"));
        }
        self.file.finish(self.head.at, self.receiver.cluster, self.receiver.limits.request_ids)?;
        mark(Mark::SnapshotReceived);
        Ok(Received { at: self.head.at, receiver: self.receiver })
    }
}
