//! How a core is set up; checked once, when it is made.

use alloc::vec::Vec;

use crate::types::{Entry, HardState, NodeId, Position};

/// Settings of one server. Times are in ticks; the caller decides how long a tick is.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server.
    pub id: NodeId,
    /// All voters, this server among them.
    pub voters: Vec<NodeId>,
    /// Shortest election timeout; each timeout is drawn from `election_ticks..2 * election_ticks`.
    pub election_ticks: u32,
    /// Time between two heartbeats; well below `election_ticks`.
    pub heartbeat_ticks: u32,
    /// Most entries in one append.
    pub max_append_entries: usize,
    /// Most bytes in one append; one entry always fits.
    pub max_append_bytes: usize,
    /// Most appends on the way to one follower.
    pub max_inflight_appends: usize,
    /// Most bytes on the way to one follower.
    pub max_inflight_bytes: usize,
    /// Most entries a leader holds that are not committed; beyond it proposals are refused as busy.
    pub max_uncommitted_entries: usize,
    /// Most bytes a leader holds that are not committed.
    pub max_uncommitted_bytes: usize,
    /// Most reads waiting for a round; beyond it reads are refused as busy.
    pub max_reads: usize,
    /// How many bytes of applied entries stay in memory for followers that lag a little.
    pub cache_bytes: usize,
    /// Seeds the jitter of elections and the numbering of rounds; differs at each start of each server.
    pub seed: u64,
}

/// What a server found on its disk, already synced by whoever read it: killing a process leaves unsynced data
/// readable.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// Term and vote.
    pub hard: HardState,
    /// What the state machine has applied durably.
    pub applied: Position,
    /// The position just before `entries`: not later than `applied`.
    pub base: Position,
    /// The log after `base`, contiguous; everything after `applied` is here.
    pub entries: Vec<Entry>,
    /// The lowest index that can still be fetched from disk is just above this.
    pub discarded: Position,
}
