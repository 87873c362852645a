//! All that the core may ask for. Everything in one [`Effects`] may be done at once and in any order: the core
//! itself withholds what must wait for the disk.

use alloc::vec::Vec;

use crate::{
    message::Envelope,
    types::{Entry, HardState, Index, NodeId, Position, ReadId, Ticket},
};

/// What to do now; drained by [`Raft::effects`](crate::Raft::effects).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Make this durable, then call [`Raft::persisted`](crate::Raft::persisted). Successive writes are done in the
    /// order they were given; several may share one sync.
    pub persist: Option<Persist>,
    /// Send these. Loss, duplication and reordering are tolerated; order costs less.
    pub send: Vec<Envelope>,
    /// Read these from the log on disk, then call [`Raft::fetched`](crate::Raft::fetched).
    pub fetch: Vec<Fetch>,
    /// Send the state, as some durable commit has it, to these; then call
    /// [`Raft::snapshot_sent`](crate::Raft::snapshot_sent), once for each and whatever came of it.
    pub send_snapshot: Vec<SendSnapshot>,
    /// Committed and durable here: apply in this order, then call [`Raft::applied`](crate::Raft::applied).
    pub apply: Vec<Entry>,
    /// These reads may be served from the state as it is after everything in `apply` was applied.
    pub reads: Vec<ReadId>,
    /// These reads cannot be served: leadership was lost or no leader answered. They were not served; ask again.
    pub failed_reads: Vec<ReadId>,
}

/// A durable write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persist {
    /// Hand this back when the write is durable.
    pub ticket: Ticket,
    /// The new term and vote, when they changed. Durable no later than the entries.
    pub hard: Option<HardState>,
    /// The log begins anew after this position, which is that of a state that is durable here; what it held is gone.
    pub restart: Option<Position>,
    /// Contiguous entries that replace the log from the first one's index on; empty when only `hard` changed.
    pub entries: Vec<Entry>,
}

/// A state to be sent to a follower whose entries were discarded (thesis 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendSnapshot {
    /// The follower.
    pub peer: NodeId,
    /// Names this attempt; handed back with its outcome.
    pub session: u64,
}

/// A read of entries that are no longer in memory, for a follower that fell behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fetch {
    /// The follower the entries are for.
    pub peer: NodeId,
    /// The first entry wanted; `previous` of the append is the one before it.
    pub from: Index,
    /// The last entry wanted.
    pub to: Index,
    /// Stop after about this many bytes; at least one entry is returned.
    pub max_bytes: usize,
}

/// The answer to a [`Fetch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The question.
    pub fetch: Fetch,
    /// The position of the entry just before `from`.
    pub previous: Position,
    /// Contiguous entries from `from` on; empty when they could not be read, and the core tries again later.
    pub entries: Vec<Entry>,
}

impl Effects {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.persist.is_none()
            && self.send.is_empty()
            && self.fetch.is_empty()
            && self.send_snapshot.is_empty()
            && self.apply.is_empty()
            && self.reads.is_empty()
            && self.failed_reads.is_empty()
    }
}
