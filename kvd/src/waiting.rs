//! Clients that wait for a position of the log to be applied, or for a read to become safe.
//!
//! Nobody waits for ever: every waiter has a deadline, and both kinds are bounded by the core, which refuses
//! proposals and reads beyond its limits. Both are kept in order, so that the same events always give the same answers.

use std::collections::BTreeMap;

use raft::{Index, Position, ReadId, Term};

use crate::{
    event::Caller,
    instruments::{Mutant, mutant},
};

/// A client whose write entered the log.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WaitingWrite {
    /// Whom to answer.
    pub(crate) caller: Caller,
    /// The term the entry was proposed in: what is applied at its index may be another entry.
    pub(crate) term: Term,
    /// Monotonic milliseconds after which nobody listens any more.
    pub(crate) deadline_ms: u64,
}

/// A client whose read waits for its round.
#[derive(Debug)]
pub(crate) struct WaitingRead {
    /// Whom to answer.
    pub(crate) caller: Caller,
    /// What is to be read then.
    pub(crate) wanted: Wanted,
    /// Monotonic milliseconds at which it was asked for: nothing is missing that was acknowledged before.
    pub(crate) asked_ms: u64,
    /// As in [`WaitingWrite`].
    pub(crate) deadline_ms: u64,
}

/// What a read is after.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// One key.
    Key {
        /// Which.
        key: Vec<u8>,
        /// Whether only presence and metadata were asked for.
        without_value: bool,
    },
    /// A view of all rows, for a scan.
    View,
    /// The whole state, for a backup.
    State,
    /// Leases after an id.
    Leases {
        /// The id.
        after: u64,
    },
    /// A lease and its keys.
    Lease {
        /// Which.
        id: u64,
        /// Keys after this one.
        after: Vec<u8>,
    },
}

/// All waiting clients of a node.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    writes: BTreeMap<Index, WaitingWrite>,
    reads: BTreeMap<ReadId, WaitingRead>,
    last_read: u64,
}

impl Waiting {
    /// Notes who waits for `position`.
    pub(crate) fn write(&mut self, position: Position, caller: Caller, deadline_ms: u64) {
        let earlier =
            self.writes.insert(position.index, WaitingWrite { caller, term: position.term, deadline_ms });
        debug_assert!(earlier.is_none(), "two writers wait for {position}");
    }

    /// How many writers wait.
    pub(crate) fn writes(&self) -> usize {
        self.writes.len()
    }

    /// How many readers wait.
    pub(crate) fn reads(&self) -> usize {
        self.reads.len()
    }

    /// A name for the next read.
    pub(crate) fn next_read(&mut self) -> ReadId {
        self.last_read += u64::from(!mutant(Mutant::NodeSharesReadNames));
        ReadId(self.last_read)
    }

    /// Notes who waits for read `id`.
    pub(crate) fn read(&mut self, id: ReadId, read: WaitingRead) {
        self.reads.insert(id, read);
    }

    /// Who waited for the entry at `index`, if anybody.
    pub(crate) fn take_write(&mut self, index: Index) -> Option<WaitingWrite> {
        self.writes.remove(&index)
    }

    /// Who waited for read `id`; nobody when its deadline has passed.
    pub(crate) fn take_read(&mut self, id: ReadId) -> Option<WaitingRead> {
        self.reads.remove(&id)
    }

    /// All writers, when leadership is lost: their outcome can no longer be learned here in time.
    pub(crate) fn take_all_writes(&mut self) -> impl Iterator<Item = WaitingWrite> {
        std::mem::take(&mut self.writes).into_values()
    }

    /// Writers whose deadline has passed.
    pub(crate) fn expired_writes(&mut self, now_ms: u64) -> Vec<WaitingWrite> {
        self.writes.extract_if(.., |_, write| write.deadline_ms < now_ms).map(|(_, write)| write).collect()
    }

    /// Readers whose deadline has passed.
    pub(crate) fn expired_reads(&mut self, now_ms: u64) -> Vec<WaitingRead> {
        self.reads.extract_if(.., |_, read| read.deadline_ms < now_ms).map(|(_, read)| read).collect()
    }
}
