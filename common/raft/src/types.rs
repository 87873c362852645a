//! The nouns of the core as newtypes, so that a term can never be passed where an index is meant.

use alloc::sync::Arc;
use core::fmt;

use crate::{
    instruments::{Mutant, mutant},
    membership::Membership,
};

/// Identifies a server for the life of a cluster. Zero is never a server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

/// Raft's logical clock (thesis 3.3): at most one leader is elected in each term.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(pub u64);

/// A place in the log. The first entry has index 1; zero is the place before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Index(pub u64);

/// An index together with the term of the entry that stands there, shown `7@3`.
///
/// Two logs that share a position share everything before it (Log Matching, thesis 3.5). The order of
/// `Position` is *not* the up-to-date order of thesis 3.6.1; see [`Position::up_to_date_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Position {
    /// The place.
    pub index: Index,
    /// The term of the entry at that place.
    pub term: Term,
}

/// Numbers the [`Persist`](crate::Persist) effects of one run; handed back through
/// [`Raft::persisted`](crate::Raft::persisted).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// The caller's name for a read it asked for. Unique within one run of a node; the core never interprets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReadId(pub u64);

/// What an entry carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// The empty entry a leader appends at the start of its term (thesis 6.4), so that it learns the commit index.
    Noop,
    /// A command of the state machine; opaque to the core.
    Command(Arc<[u8]>),
    /// Who is in the cluster from here on (thesis 4). The core takes note of it by itself; a state machine keeps it with
    /// what it has applied, for [`Restored::membership`](crate::Restored::membership).
    Membership(Arc<Membership>),
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands and the term of the leader that put it there.
    pub position: Position,
    /// What it carries.
    pub payload: Payload,
}

/// What must survive a crash besides the log (Figure 2, "persistent state"): one atomic record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The latest term this server has seen.
    pub term: Term,
    /// The candidate that received this server's vote in `term`.
    pub vote: Option<NodeId>,
}

impl Index {
    /// The place after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The place before this one; zero stays zero.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl Term {
    /// The term after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Position {
    /// The place before the first entry.
    pub const ZERO: Self = Self { index: Index(0), term: Term(0) };

    /// A position from bare numbers.
    pub const fn new(index: u64, term: u64) -> Self {
        Self { index: Index(index), term: Term(term) }
    }

    /// Whether a log that ends here is at least as up-to-date as one that ends at `other` (thesis 3.6.1):
    /// the later last term wins, and with equal terms the longer log.
    pub fn up_to_date_with(self, other: Self) -> bool {
        if mutant(Mutant::JudgesByIndex) {
            return self.index >= other.index;
        }
        if mutant(Mutant::JudgesByTerm) {
            return self.term >= other.term;
        }
        (self.term, self.index) >= (other.term, other.index)
    }
}

impl Entry {
    /// Bytes of payload; what the core's byte bounds count, with [`Entry::OVERHEAD`] added for each entry.
    pub fn size(&self) -> usize {
        Self::OVERHEAD
            + match &self.payload {
                Payload::Noop => 0,
                Payload::Command(bytes) => bytes.len(),
                Payload::Membership(membership) => membership.encoded_bytes(),
            }
    }

    /// What one entry costs beside its payload, so that a flood of empty entries is bounded too.
    pub const OVERHEAD: usize = 32;
}

macro_rules! shown_as_number {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    )*};
}
shown_as_number!(NodeId, Term, Index, Ticket, ReadId);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.index, self.term)
    }
}
