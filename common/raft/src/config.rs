//! How a core is set up; checked once, when it is made.

use alloc::vec::Vec;
use core::fmt;

use crate::{
    membership::Membership,
    types::{Entry, HardState, Index, NodeId, Payload, Position},
};

/// Settings of one server. Times are in ticks; the caller decides how long a tick is.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server.
    pub id: NodeId,
    /// The founders: who votes until the log or a state says otherwise, this server among them. Empty for a server that joins
    /// a cluster: it waits for a leader to tell it who is in there.
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
    /// Most followers that are sent the state at one time.
    pub max_snapshots: usize,
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
    /// The membership that the state machine has at `applied`: that of the last [`Payload::Membership`](crate::Payload)
    /// it applied, or that came with a state it received. Nothing when there was none: then the founders are in effect.
    pub membership: Option<Membership>,
    /// The position just before `entries`: not later than `applied`.
    pub base: Position,
    /// The log after `base`, contiguous; everything after `applied` is here.
    pub entries: Vec<Entry>,
    /// The lowest index that can still be fetched from disk is just above this.
    pub discarded: Position,
}

/// Why a core cannot be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigError {
    /// A setting makes no sense; correct it.
    Setting(&'static str),
    /// What was found on disk contradicts itself; the server must not start from it.
    Restored(&'static str),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setting(why) => write!(f, "the consensus settings are wrong: {why}"),
            Self::Restored(why) => write!(f, "the restored log is wrong: {why}"),
        }
    }
}

impl core::error::Error for ConfigError {}

impl Config {
    /// Checks the settings against each other.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let listed = |node: NodeId| self.voters.iter().filter(|&&voter| voter == node).count();
        let limits = [
            self.max_append_entries,
            self.max_append_bytes,
            self.max_inflight_appends,
            self.max_inflight_bytes,
            self.max_uncommitted_entries,
            self.max_uncommitted_bytes,
            self.max_reads,
            self.max_snapshots,
        ];
        let wrong = [
            (listed(NodeId(0)) > 0, "zero is not a server"),
            (!self.voters.is_empty() && listed(self.id) == 0, "this server is not among the voters"),
            (self.voters.iter().any(|&voter| listed(voter) > 1), "a voter is listed twice"),
            (self.voters.len() > Membership::MOST, "there are too many voters"),
            (self.heartbeat_ticks == 0, "the heartbeat takes at least one tick"),
            (self.election_ticks <= self.heartbeat_ticks, "the election timeout must exceed the heartbeat"),
            (self.election_ticks > 1 << 30, "the election timeout is too long"),
            (limits.contains(&0), "a limit is zero"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(ConfigError::Setting(why)),
            None => Ok(()),
        }
    }
}

impl Restored {
    /// Checks what was found: a log without holes that covers what was applied.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let mut last = self.base;
        for entry in &self.entries {
            let at = entry.position;
            if at.index.0.checked_sub(1) != Some(last.index.0) {
                return Err(ConfigError::Restored("the entries are not contiguous"));
            }
            if at.term < last.term {
                return Err(ConfigError::Restored("a term falls along the log"));
            }
            last = at;
        }
        let found = |index: Index| {
            let offset = index.0.checked_sub(self.base.index.0)?;
            let before = usize::try_from(offset).ok()?.checked_sub(1);
            before.map_or(Some(self.base), |i| self.entries.get(i).map(|entry| entry.position))
        };
        let applied = |entry: &&Entry| entry.position.index <= self.applied.index;
        let changed = self.entries.iter().rev().filter(applied).find_map(|entry| match &entry.payload {
            Payload::Membership(membership) => Some(&**membership),
            Payload::Noop | Payload::Command(_) => None,
        });
        let wrong = [
            (
                changed.is_some() && changed != self.membership.as_ref(),
                "the membership of the state is not the last one that was applied",
            ),
            (last.term > self.hard.term, "an entry is of a later term than the term and vote"),
            (found(self.applied.index) != Some(self.applied), "what was applied is not in the log"),
            (self.discarded.index > self.base.index, "more was discarded than precedes the entries"),
        ];
        match wrong.iter().find(|(wrong, _)| *wrong) {
            Some((_, why)) => Err(ConfigError::Restored(why)),
            None => Ok(()),
        }
    }
}
