//! What a client asks. Unary requests share one stream of a connection and are told apart by `id`; a scan has a stream
//! of its own, and so have a watch and a save.
//!
//! On the stream a frame is a big-endian `u32` length, at most [`limits::CLIENT_FRAME_BYTES`](crate::limits), and
//! that many bytes of [`RequestFrame`].

use prost::Message as _;

use crate::{
    DecodeError, RequestId,
    member::{MemberChange, MemberChangeWire},
    operation::{Operation, OperationWire},
    scan::{Scan, ScanWire},
    watch::{Watch, WatchWire},
};

/// One request with the number its answer will carry and the time the client is prepared to wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestFrame {
    /// Chosen by the client, unique among its unanswered requests on this connection.
    pub id: u64,
    /// Milliseconds until the client gives up; the server does not hold a request longer.
    pub deadline_ms: u32,
    /// What is asked.
    pub request: Request,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Do this once; the answer is [`Response::Written`](crate::Response::Written) for a set and a delete and
    /// [`Response::Decided`](crate::Response::Decided) for every other operation.
    Write {
        /// Under which it takes effect at most once.
        request: RequestId,
        /// What to do.
        operation: Operation,
    },
    /// Read one key; the answer is [`Response::Value`](crate::Response::Value).
    Get {
        /// Which.
        key: Vec<u8>,
        /// How fresh.
        consistency: Consistency,
        /// Whether only presence and metadata are wanted, not the bytes.
        without_value: bool,
    },
    /// Read many keys; it is the only request of its stream, which carries a [`ScanFrame`](crate::ScanFrame) after the
    /// other.
    Scan(Scan),
    /// The whole state at one revision, as a backup; it is the only request of its stream, which carries a
    /// [`SaveFrame`](crate::snapshot::SaveFrame) after the other.
    Save,
    /// Be told what happens; it is the only request of its stream, which carries a [`WatchFrame`](crate::WatchFrame) after
    /// the other.
    Watch(Watch),
    /// What the node asked knows of itself; answered without a quorum. The answer is
    /// [`Response::Status`](crate::Response::Status).
    Status,
    /// The leases there are, in the order of their ids, a page of them: read as a linearizable read of a key. The answer is
    /// [`Response::Leases`](crate::Response::Leases).
    Leases {
        /// Only those after this id.
        after: u64,
    },
    /// One lease and a page of its keys, read as a linearizable read of a key. The answer is
    /// [`Response::Lease`](crate::Response::Lease).
    Lease {
        /// Which.
        id: u64,
        /// Only keys after this one; empty for the first.
        after: Vec<u8>,
    },
    /// Discard of this node's log what its state holds; the answer is
    /// [`Response::Compacted`](crate::Response::Compacted).
    CompactLog,
    /// Hand leadership over, which only a leader can; the answer, once somebody else leads, is
    /// [`Response::Leads`](crate::Response::Leads).
    Transfer {
        /// To this server, or to the one that follows most closely.
        to: Option<u64>,
    },
    /// Leave leading to others from now on, until the process ends or it is undone; the answer, once this node does not
    /// lead, is [`Response::Leads`](crate::Response::Leads).
    Drain {
        /// Whether it is undone.
        undo: bool,
    },
    /// Change who is in the cluster, which only a leader can; the answer, once that is done, is
    /// [`Response::MembersChanged`](crate::Response::MembersChanged).
    ChangeMembers(MemberChange),
    /// What happened to this node; answered without a quorum and whatever the node does. The answer is
    /// [`Response::Events`](crate::Response::Events).
    Events {
        /// From this moment on, in milliseconds since 1970 by the node's clock.
        since_ms: u64,
    },
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Consistency {
    /// It reflects every write that was acknowledged before it was asked.
    #[default]
    Linearizable,
    /// Whatever the node asked has applied.
    Stale,
    /// The same, if the node knows that no write is missing which was acknowledged more than so many milliseconds ago;
    /// else as [`Consistency::Linearizable`].
    Within(u64),
}

impl Consistency {
    /// The same for somebody who has waited so long already.
    #[must_use]
    pub fn after(self, waited_ms: u64) -> Self {
        match self {
            Self::Within(most_ms) => Self::Within(most_ms.saturating_sub(waited_ms)),
            other => other,
        }
    }

    /// How it is said: whether any state will do, and of which age at most.
    pub(crate) fn to_wire(self) -> (bool, Option<u64>) {
        match self {
            Self::Linearizable => (false, None),
            Self::Stale => (true, None),
            Self::Within(most_ms) => (true, Some(most_ms)),
        }
    }

    pub(crate) fn from_wire(stale: bool, most_ms: Option<u64>) -> Self {
        match (stale, most_ms) {
            (false, _) => Self::Linearizable,
            (true, None) => Self::Stale,
            (true, Some(most_ms)) => Self::Within(most_ms),
        }
    }
}

impl RequestFrame {
    /// The bytes of the frame, without the length.
    pub fn encode(&self) -> Vec<u8> {
        let kind = match self.request.clone() {
            Request::Write { request, operation } => Kind::Write(WriteWire {
                request: request.to_bytes().to_vec(),
                operation: Some(operation.into()),
            }),
            Request::Get { key, consistency, without_value } => {
                let (stale, most_ms) = consistency.to_wire();
                Kind::Get(GetWire { key, stale, without_value, most_ms })
            }
            Request::Scan(scan) => Kind::Scan(scan.into()),
            Request::Save => Kind::Save(SaveWire {}),
            Request::Watch(watch) => Kind::Watch(watch.into()),
            Request::Status => Kind::Status(StatusWire {}),
            Request::Leases { after } => Kind::Leases(LeasesWire { after }),
            Request::Lease { id, after } => Kind::Lease(LeaseWire { id, after }),
            Request::CompactLog => Kind::CompactLog(CompactLogWire {}),
            Request::Transfer { to } => Kind::Transfer(TransferWire { to }),
            Request::Drain { undo } => Kind::Drain(DrainWire { undo }),
            Request::ChangeMembers(change) => Kind::ChangeMembers(change.into()),
            Request::Events { since_ms } => Kind::Events(AskEventsWire { since_ms }),
        };
        RequestWire { id: self.id, deadline_ms: self.deadline_ms, kind: Some(kind) }.encode_to_vec()
    }

    /// Reads a frame. Limits on keys and values are the server's to check, so that it can answer with a refusal.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = RequestWire::decode(bytes).map_err(|_| DecodeError::Malformed("request"))?;
        let request = match wire.kind.ok_or(DecodeError::Malformed("unknown request"))? {
            Kind::Write(write) => Request::Write {
                request: RequestId::from_bytes(&write.request)?,
                operation: write
                    .operation
                    .ok_or(DecodeError::Malformed("write without operation"))?
                    .try_into()?,
            },
            Kind::Get(get) => Request::Get {
                key: get.key,
                consistency: Consistency::from_wire(get.stale, get.most_ms),
                without_value: get.without_value,
            },
            Kind::Scan(scan) => Request::Scan(scan.try_into()?),
            Kind::Save(SaveWire {}) => Request::Save,
            Kind::Watch(watch) => Request::Watch(watch.into()),
            Kind::Status(StatusWire {}) => Request::Status,
            Kind::Leases(LeasesWire { after }) => Request::Leases { after },
            Kind::Lease(LeaseWire { id, after }) => Request::Lease { id, after },
            Kind::CompactLog(CompactLogWire {}) => Request::CompactLog,
            Kind::Transfer(TransferWire { to }) => Request::Transfer { to },
            Kind::Drain(DrainWire { undo }) => Request::Drain { undo },
            Kind::ChangeMembers(change) => Request::ChangeMembers(change.try_into()?),
            Kind::Events(AskEventsWire { since_ms }) => Request::Events { since_ms },
        };
        Ok(Self { id: wire.id, deadline_ms: wire.deadline_ms, request })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct RequestWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint32, tag = "2")]
    deadline_ms: u32,
    #[prost(oneof = "Kind", tags = "3, 4, 5, 6, 7, 20, 21, 22, 23, 24, 30, 31, 32")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "3")]
    Write(WriteWire),
    #[prost(message, tag = "4")]
    Get(GetWire),
    #[prost(message, tag = "5")]
    Status(StatusWire),
    #[prost(message, tag = "6")]
    Scan(ScanWire),
    #[prost(message, tag = "7")]
    Watch(WatchWire),
    #[prost(message, tag = "20")]
    CompactLog(CompactLogWire),
    #[prost(message, tag = "21")]
    Transfer(TransferWire),
    #[prost(message, tag = "22")]
    Drain(DrainWire),
    #[prost(message, tag = "23")]
    Save(SaveWire),
    #[prost(message, tag = "24")]
    ChangeMembers(MemberChangeWire),
    #[prost(message, tag = "30")]
    Leases(LeasesWire),
    #[prost(message, tag = "31")]
    Lease(LeaseWire),
    #[prost(message, tag = "32")]
    Events(AskEventsWire),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LeasesWire {
    #[prost(uint64, tag = "1")]
    after: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LeaseWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(bytes = "vec", tag = "2")]
    after: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct WriteWire {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    operation: Option<OperationWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct GetWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bool, tag = "2")]
    stale: bool,
    #[prost(bool, tag = "3")]
    without_value: bool,
    #[prost(uint64, optional, tag = "4")]
    most_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct StatusWire {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct SaveWire {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CompactLogWire {}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct TransferWire {
    #[prost(uint64, optional, tag = "1")]
    to: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct DrainWire {
    #[prost(bool, tag = "1")]
    undo: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct AskEventsWire {
    #[prost(uint64, tag = "1")]
    since_ms: u64,
}

#[cfg(test)]
mod tests;
