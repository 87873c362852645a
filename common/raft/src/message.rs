//! What servers say to each other: one variant a message, every field explained.

use alloc::vec::Vec;

use crate::types::{Entry, Index, NodeId, Position, Term};

/// A message with its addressing. `term` is the sender's term, except in [`Message::PreVote`] and a granting
/// [`Message::PreVoteReply`], where it is the term the candidate *would* enter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// See the type's documentation.
    pub term: Term,
    /// The message itself.
    pub message: Message,
}

/// One message between servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// "Would you vote for me?" Asked before a term is spent (thesis 9.6). Binds nobody.
    PreVote {
        /// The last entry of the candidate's log.
        last: Position,
    },
    /// Answers a [`Message::PreVote`]. A refusal carries the refuser's own term, so that a candidate that fell
    /// behind learns of it.
    PreVoteReply {
        /// Whether the sender would vote so.
        granted: bool,
    },
    /// `RequestVote` of Figure 2.
    Vote {
        /// The last entry of the candidate's log.
        last: Position,
        /// Whether the leader told the candidate to stand (thesis 3.10): then also those listen who hear that leader.
        handed: bool,
    },
    /// "Stand for election now": a leader hands over to a follower that has its whole log (thesis 3.10).
    TimeoutNow,
    /// Answers a [`Message::Vote`]; a grant leaves only after term and vote are durable.
    VoteReply {
        /// Whether the sender gave its vote in this term.
        granted: bool,
    },
    /// `AppendEntries` of Figure 2; with no entries it is a probe.
    Append {
        /// The leader's progress session with this follower; replies repeat it, and replies to an older session
        /// are ignored.
        session: u64,
        /// The entry just before `entries` in the leader's log.
        previous: Position,
        /// Contiguous entries that follow `previous`; may be empty.
        entries: Vec<Entry>,
        /// The leader's commit index. The follower commits no further than the last entry this message verifies.
        commit: Index,
        /// The leader's latest read-index round (thesis 6.4): an answer to this message acknowledges it.
        round: u64,
    },
    /// Answers an [`Message::Append`]. Acceptance leaves only after the entries are durable.
    AppendReply {
        /// Repeated from the append.
        session: u64,
        /// Repeated from the append.
        round: u64,
        /// Whether the log matched.
        outcome: AppendOutcome,
    },
    /// Says "I lead" without saying anything about the log: never moves a match, only the commit index.
    Heartbeat {
        /// As in [`Message::Append`].
        session: u64,
        /// The leader's commit index or the follower's match, whichever is lower.
        commit: Index,
        /// As in [`Message::Append`].
        round: u64,
    },
    /// Answers a [`Message::Heartbeat`].
    HeartbeatReply {
        /// Repeated from the heartbeat.
        session: u64,
        /// Repeated from the heartbeat.
        round: u64,
    },
    /// A follower asks its leader for a read index (thesis 6.4).
    ReadIndex {
        /// Names the question; numbered freshly at each attempt and unique across restarts.
        id: u64,
    },
    /// Answers a [`Message::ReadIndex`].
    ReadIndexReply {
        /// Repeated from the question.
        id: u64,
        /// The index the follower must have applied before it serves the read; `None` when the sender cannot say
        /// (it does not lead, or its queue is full).
        index: Option<Index>,
    },
}

/// What became of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendOutcome {
    /// The follower's log is durable and equal to the leader's up to here.
    Accepted {
        /// Index of the last entry that the append verified.
        matched: Index,
    },
    /// The follower has no entry at `previous`, or one of another term.
    Rejected {
        /// The index that was refused, repeated so that a late refusal can be told from a new one.
        previous: Index,
        /// The latest place at which the logs might still agree: the follower's last entry, or the last entry
        /// before `previous` whose term is not above the term of the leader's `previous` (thesis 3.5's
        /// optimisation: a term is skipped at a time, not an entry).
        hint: Position,
    },
}

impl Message {
    /// Whether only the leader of the envelope's term says this.
    pub(crate) fn leads(&self) -> bool {
        matches!(self, Self::Append { .. } | Self::Heartbeat { .. })
    }
}
