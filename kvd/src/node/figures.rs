//! The numbers of a node that are shown and decide nothing.

use super::Node;

/// A picture of one moment.
#[derive(Clone, Debug)]
pub struct Figures {
    /// The core's picture of itself.
    pub consensus: raft::Status,
    /// Highest index applied.
    pub applied: u64,
    /// Highest index that the state's file holds.
    pub flushed: u64,
    /// Entries that this node has put into the log as a leader since it started.
    pub proposals: u64,
    /// Clients that wait for a write, and for a read.
    pub waiting: (usize, usize),
}

impl Node {
    /// What this node looks like now.
    pub fn figures(&self) -> Figures {
        Figures {
            consensus: self.raft.status(),
            applied: self.state.applied().index.0,
            flushed: self.state.flushed().index.0,
            proposals: self.proposals,
            waiting: (self.waiting.writes(), self.waiting.reads()),
        }
    }
}
