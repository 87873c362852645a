//! What a server can answer instead of doing as asked, and what a decoder can say.

/// Bytes that are not what they should be. The connection they came on is closed; nothing else changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Fewer bytes than the format needs.
    #[error("truncated: {0}")]
    Truncated(&'static str),
    /// A field has a value that the format does not allow.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// More bytes than the bound of that kind.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size.
        size: usize,
        /// The bound.
        limit: usize,
    },
    /// The checksum does not match: damaged on the way or on disk.
    #[error("checksum mismatch")]
    Checksum,
    /// Written by a version this one does not know.
    #[error("unknown format version {0}")]
    Version(u32),
}

/// Why a server did not do as asked. Whether the request *may* have taken effect is said by each variant:
/// only [`Refused::Lost`] leaves it open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// This node does not lead; ask the leader, if one is known. Nothing was done.
    #[error("not the leader")]
    NotLeader {
        /// The leader's id, where this node knows it.
        leader: Option<u64>,
        /// The leader's advertised address.
        address: Option<String>,
    },
    /// A queue is full. Nothing was done; try again a little later.
    #[error("busy: {what} is full")]
    Busy {
        /// Which queue.
        what: String,
    },
    /// No quorum answered in time. A read, or a write that certainly was not done.
    #[error("no quorum answered in time")]
    NoQuorum,
    /// Leadership changed after the write entered the log: it may or may not take effect. Retry with the same
    /// request id to learn which.
    #[error("leadership changed before the outcome was known")]
    Lost,
    /// A limit was exceeded. Nothing was done, and the same request will never succeed.
    #[error("{what} of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// `key` or `value`.
        what: String,
        /// What was sent.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The request makes no sense (an empty key, an unknown operation). Nothing was done.
    #[error("invalid request: {0}")]
    Invalid(String),
    /// The request id is too old to be remembered. On a first attempt nothing was done; after an earlier attempt the
    /// outcome of that one is unknown.
    #[error("request id expired")]
    Expired,
    /// The request id was used before for a different operation, or comes from another cluster. Nothing was done.
    #[error("request id refused: {0}")]
    BadRequestId(String),
    /// The node cannot serve (it is stopping, or its disk is damaged). Nothing was done; ask another.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// The change would leave the cluster with too few servers that keep up. Nothing was done; mend them first, or insist.
    #[error("refused as unsafe: {0}")]
    Unsafe(String),
    /// What is asked for is older than what is kept of the past. Nothing was read.
    #[error("that is no longer kept: the oldest revision is {oldest}{}", ago(*age_ms))]
    NotKept {
        /// The oldest revision that can be read.
        oldest: u64,
        /// How long ago it was the newest, where that is known.
        age_ms: Option<u64>,
    },
}

/// In words, to the second: of a revision, how old it is.
fn ago(age_ms: Option<u64>) -> String {
    age_ms.map_or_else(String::new, |age_ms| format!(", of {} s ago", age_ms / 1000))
}
