//! What a server answers, and the [`Welcome`] with which it opens every client connection.

pub(crate) mod wire;

use prost::Message as _;

use self::wire::{ResponseWire, WelcomeWire};
use crate::{
    ClusterId, DecodeError, Refused, Verdict,
    events::Event,
    history::Kept,
    lease::{Held, LeaseKeys, Leases},
};

pub use crate::member::Member;

/// The first thing a server says on a client connection, on a stream of its own, unasked: what a client needs
/// before its first write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Which cluster this is.
    pub cluster: ClusterId,
    /// Which node this is.
    pub node: u64,
    /// An applied index for the request ids of this connection.
    pub applied: u64,
    /// The leader's id, where this node knows it.
    pub leader: Option<u64>,
    /// The leader's advertised address.
    pub leader_address: Option<String>,
    /// All members: id, name, advertised address.
    pub members: Vec<Member>,
}

/// An answer with the number of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResponseFrame {
    /// The request's `id`.
    pub id: u64,
    /// What happened.
    pub result: Result<Response, Refused>,
}

/// A request done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Response {
    /// The set or delete is committed and applied.
    Written {
        /// Its revision: the log index of the entry that did it.
        revision: u64,
        /// For a delete, whether the key was there.
        existed: bool,
        /// Whether this id had been applied before and this is the remembered outcome.
        deduplicated: bool,
    },
    /// Any other write is committed and was judged.
    Decided(Box<Decided>),
    /// The read was served.
    Value {
        /// The entry, or `None` when the key is absent.
        found: Option<Found>,
        /// The applied index of the state that was read.
        revision: u64,
        /// No write is missing that was acknowledged more than so many milliseconds before it was looked up; of a linearizable
        /// read none that was acknowledged before it was asked. `None` where the node cannot say.
        staleness_ms: Option<u64>,
    },
    /// The node's view of itself.
    Status(Box<NodeStatus>),
    /// The node's log was discarded as far as its state goes.
    Compacted {
        /// The log now begins after this index.
        discarded: u64,
        /// Bytes that this gave back.
        freed: u64,
        /// Bytes that the log takes now.
        bytes: u64,
    },
    /// Some of the leases there are.
    Leases(Leases),
    /// A lease and some of its keys.
    Lease(LeaseKeys),
    /// Who leads, after leadership was to change.
    Leads {
        /// The leader, if the node has heard of it.
        leader: Option<u64>,
        /// The node's term.
        term: u64,
    },
    /// Members were changed, and that is committed.
    MembersChanged {
        /// Where the last entry of the change stands in the log.
        revision: u64,
    },
    /// What happened to the node, in the order of the events' numbers.
    Events(Vec<Event>),
}

/// What became of a write that is more than a set or a delete.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Decided {
    /// The log index of the entry that was judged: the revision of what it changed.
    pub revision: u64,
    /// Whether it was done.
    pub verdict: Verdict,
    /// | operation | number |
    /// | --- | --- |
    /// | [`Operation::Conditional`](crate::Operation::Conditional) | the revision that had written the key last, zero where it was absent |
    /// | [`Operation::Increment`](crate::Operation::Increment) | the sum, or on [`Verdict::Overflow`] what is there, as an `i64` of the same bits; on [`Verdict::NotANumber`] the revision that wrote what is there |
    /// | [`Operation::DeleteRange`](crate::Operation::DeleteRange) | how many keys were removed |
    /// | [`Operation::Transaction`](crate::Operation::Transaction) | zero |
    /// | [`Operation::SetWindow`](crate::Operation::SetWindow) | the oldest revision that can be read from then on |
    /// | [`Operation::SetMember`](crate::Operation::SetMember) | zero; [`Verdict::Unmet`] where another has this name, [`Verdict::TooMany`] where there are too many records |
    /// | [`Operation::Restore`](crate::Operation::Restore) | how many rows are staged; of an abort, how many were; of a switch the revision of all keys; [`Verdict::Unmet`] where it is another's staging, or not as it should be, and of a beginning where this id has switched: the number is that revision |
    /// | [`Operation::SetHeld`](crate::Operation::SetHeld) | as of a conditional; the id of the lease that [`Hold::Ttl`](crate::Hold) makes is the revision |
    /// | [`Operation::Grant`](crate::Operation::Grant) | zero; the id of the lease is the revision |
    /// | [`Operation::Renew`](crate::Operation::Renew) | the time it has again, in milliseconds |
    /// | [`Operation::Revoke`](crate::Operation::Revoke) | how many keys were removed |
    pub number: u64,
    /// Whether the key was there before; for a range, whether any was.
    pub existed: bool,
    /// Whether this id had been judged before and this is the remembered outcome.
    pub deduplicated: bool,
    /// The row before, where it was asked for, the key was there, and this is not a remembered outcome.
    pub previous: Option<Found>,
    /// What each action of a transaction came to, in the order of its list; none of a remembered outcome.
    pub results: Vec<Done>,
}

/// What one action of a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// A set or a delete.
    Written {
        /// Whether the key was there before it.
        existed: bool,
    },
    /// A read of one key.
    Read(Option<Found>),
    /// A read of a range.
    Rows {
        /// Key and row, in the order of the keys.
        rows: Vec<(Vec<u8>, Found)>,
        /// Whether the range has more than were to be read.
        more: bool,
    },
}

impl Decided {
    /// The sum of an increment, or the number that it would not add to.
    pub fn sum(&self) -> i64 {
        self.number.cast_signed()
    }
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Found {
    /// Its value; empty when the request said `without_value`.
    pub value: Vec<u8>,
    /// The revision that wrote it last.
    pub revision: u64,
    /// The revision that created it.
    pub created: u64,
    /// How often it was written since it was created, from 1.
    pub version: u64,
    /// The lease that holds it, where one does.
    pub lease: Option<Held>,
}

/// A server's role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Role {
    /// Follows a leader, or waits for one.
    #[default]
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads.
    Leader,
}

/// What a node knows of itself, answered without a quorum.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct NodeStatus {
    /// Which cluster.
    pub cluster: ClusterId,
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its role.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// The leader it knows of.
    pub leader: Option<u64>,
    /// Highest index known to be committed.
    pub committed: u64,
    /// Highest index applied.
    pub applied: u64,
    /// Last index of the log.
    pub last: u64,
    /// Bytes used on disk by log and state.
    pub disk_bytes: u64,
    /// Milliseconds since the process started.
    pub uptime_ms: u64,
    /// Whole days until the node's certificate expires; negative once it has.
    pub certificate_days: i64,
    /// `CARGO_PKG_VERSION` of the daemon.
    pub version: String,
    /// Hash of the state at `applied`, equal on all nodes with an equal `applied`.
    pub state_hash: u64,
    /// Members as this node knows them.
    pub members: Vec<Member>,
    /// Whether a change of members is under way.
    pub changing: bool,
    /// How far the log of each other member is durable and equal to this leader's; empty when it does not lead.
    pub matched: Vec<(u64, u64)>,
    /// Whether it leaves leading to others.
    pub drained: bool,
    /// What is wrong, in the words of the daemon; empty when all is well.
    pub trouble: String,
    /// What it keeps of the past, equal on all nodes with an equal `applied`.
    pub kept: Kept,
    /// Its clock, in milliseconds since 1970; zero where it does not say.
    pub wall_ms: u64,
    /// Bytes that are free for it on the fuller of the file systems of log and state, and the size of that one; zero where it
    /// does not say.
    pub disk_free: u64,
    /// See `disk_free`.
    pub disk_size: u64,
    /// Which incarnation of the server it is; nothing where it does not say.
    pub incarnation: Option<[u8; 16]>,
    /// Whether others do not recognise it, so that it takes no part; `trouble` says why.
    pub waits: bool,
}

impl Welcome {
    /// The bytes of the frame, without the length.
    pub fn encode(&self) -> Vec<u8> {
        WelcomeWire::from(self.clone()).encode_to_vec()
    }

    /// Reads a frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        WelcomeWire::decode(bytes).map_err(|_| DecodeError::Malformed("welcome"))?.try_into()
    }
}

impl ResponseFrame {
    /// The bytes of the frame, without the length.
    pub fn encode(&self) -> Vec<u8> {
        ResponseWire::from(self.clone()).encode_to_vec()
    }

    /// Reads a frame. A reply or a refusal of a kind that this version does not know is malformed to it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        ResponseWire::decode(bytes).map_err(|_| DecodeError::Malformed("response"))?.try_into()
    }
}

#[cfg(test)]
mod tests;
