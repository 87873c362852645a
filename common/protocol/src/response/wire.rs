//! The bytes of replies. Tags are never reused; a new field gets a new tag, which older readers skip, and a new
//! kind of reply or refusal is one they report as unknown.

use super::{Found, NodeStatus, Response, ResponseFrame, Role, Welcome};
use crate::{
    ClusterId, DecodeError, Refused,
    events::EventsWire,
    history::KeptWire,
    lease::{HeldWire, LeaseKeysWire, LeasesWire},
    member::MemberWire,
};

mod decided;

use decided::DecidedWire;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct WelcomeWire {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(uint64, tag = "2")]
    node: u64,
    #[prost(uint64, tag = "3")]
    applied: u64,
    #[prost(uint64, optional, tag = "4")]
    leader: Option<u64>,
    #[prost(string, optional, tag = "5")]
    leader_address: Option<String>,
    #[prost(message, repeated, tag = "6")]
    members: Vec<MemberWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ResponseWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(oneof = "Kind", tags = "2, 3, 4, 5, 10, 20, 21, 24, 30, 31, 32")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "2")]
    Written(WrittenWire),
    #[prost(message, tag = "3")]
    Value(ValueWire),
    #[prost(message, tag = "4")]
    Status(Box<StatusWire>),
    #[prost(message, tag = "5")]
    Refused(RefusedWire),
    #[prost(message, tag = "10")]
    Decided(Box<DecidedWire>),
    #[prost(message, tag = "20")]
    Compacted(CompactedWire),
    #[prost(message, tag = "21")]
    Leads(LeadsWire),
    #[prost(uint64, tag = "24")]
    MembersChanged(u64),
    #[prost(message, tag = "30")]
    Leases(LeasesWire),
    #[prost(message, tag = "31")]
    Lease(LeaseKeysWire),
    #[prost(message, tag = "32")]
    Events(EventsWire),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LeadsWire {
    #[prost(uint64, optional, tag = "1")]
    leader: Option<u64>,
    #[prost(uint64, tag = "2")]
    term: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct CompactedWire {
    #[prost(uint64, tag = "1")]
    discarded: u64,
    #[prost(uint64, tag = "2")]
    freed: u64,
    #[prost(uint64, tag = "3")]
    bytes: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct WrittenWire {
    #[prost(uint64, tag = "1")]
    revision: u64,
    #[prost(bool, tag = "2")]
    existed: bool,
    #[prost(bool, tag = "3")]
    deduplicated: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ValueWire {
    #[prost(message, optional, tag = "1")]
    found: Option<FoundWire>,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(uint64, optional, tag = "3")]
    staleness_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct FoundWire {
    #[prost(bytes = "vec", tag = "1")]
    value: Vec<u8>,
    #[prost(uint64, tag = "2")]
    revision: u64,
    #[prost(uint64, tag = "3")]
    created: u64,
    #[prost(uint64, tag = "4")]
    version: u64,
    #[prost(message, optional, tag = "5")]
    lease: Option<HeldWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct StatusWire {
    #[prost(bytes = "vec", tag = "1")]
    cluster: Vec<u8>,
    #[prost(uint64, tag = "2")]
    id: u64,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(enumeration = "RoleWire", tag = "4")]
    role: i32,
    #[prost(uint64, tag = "5")]
    term: u64,
    #[prost(uint64, optional, tag = "6")]
    leader: Option<u64>,
    #[prost(uint64, tag = "7")]
    committed: u64,
    #[prost(uint64, tag = "8")]
    applied: u64,
    #[prost(uint64, tag = "9")]
    last: u64,
    #[prost(uint64, tag = "10")]
    disk_bytes: u64,
    #[prost(uint64, tag = "11")]
    uptime_ms: u64,
    #[prost(sint64, tag = "12")]
    certificate_days: i64,
    #[prost(string, tag = "13")]
    version: String,
    #[prost(fixed64, tag = "14")]
    state_hash: u64,
    #[prost(message, repeated, tag = "15")]
    members: Vec<MemberWire>,
    #[prost(string, tag = "16")]
    trouble: String,
    #[prost(bool, tag = "17")]
    drained: bool,
    #[prost(message, optional, tag = "20")]
    kept: Option<KeptWire>,
    #[prost(bool, tag = "24")]
    changing: bool,
    #[prost(message, repeated, tag = "25")]
    matched: Vec<MatchedWire>,
    #[prost(uint64, tag = "30")]
    wall_ms: u64,
    #[prost(uint64, tag = "31")]
    disk_free: u64,
    #[prost(uint64, tag = "32")]
    disk_size: u64,
    #[prost(bytes = "vec", optional, tag = "40")]
    incarnation: Option<Vec<u8>>,
    #[prost(bool, tag = "41")]
    waits: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct MatchedWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    matched: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum RoleWire {
    Follower = 0,
    Candidate = 1,
    Leader = 2,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct RefusedWire {
    #[prost(oneof = "RefusedKind", tags = "1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13")]
    kind: Option<RefusedKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum RefusedKind {
    #[prost(message, tag = "1")]
    NotLeader(NotLeaderWire),
    #[prost(string, tag = "2")]
    Busy(String),
    #[prost(message, tag = "3")]
    NoQuorum(EmptyWire),
    #[prost(message, tag = "4")]
    Lost(EmptyWire),
    #[prost(message, tag = "5")]
    TooLarge(TooLargeWire),
    #[prost(string, tag = "6")]
    Invalid(String),
    #[prost(message, tag = "7")]
    Expired(EmptyWire),
    #[prost(string, tag = "8")]
    BadRequestId(String),
    #[prost(string, tag = "9")]
    Unavailable(String),
    #[prost(message, tag = "12")]
    NotKept(NotKeptWire),
    #[prost(string, tag = "13")]
    Unsafe(String),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct EmptyWire {}

#[derive(Clone, PartialEq, prost::Message)]
struct NotLeaderWire {
    #[prost(uint64, optional, tag = "1")]
    leader: Option<u64>,
    #[prost(string, optional, tag = "2")]
    address: Option<String>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct NotKeptWire {
    #[prost(uint64, tag = "1")]
    oldest: u64,
    #[prost(uint64, optional, tag = "2")]
    age_ms: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TooLargeWire {
    #[prost(string, tag = "1")]
    what: String,
    #[prost(uint64, tag = "2")]
    size: u64,
    #[prost(uint64, tag = "3")]
    limit: u64,
}

impl From<Welcome> for WelcomeWire {
    fn from(welcome: Welcome) -> Self {
        let Welcome { cluster, node, applied, leader, leader_address, members } = welcome;
        let members = members.into_iter().map(Into::into).collect();
        Self { cluster: cluster.0.to_vec(), node, applied, leader, leader_address, members }
    }
}

impl TryFrom<WelcomeWire> for Welcome {
    type Error = DecodeError;

    fn try_from(wire: WelcomeWire) -> Result<Self, DecodeError> {
        let WelcomeWire { cluster, node, applied, leader, leader_address, members } = wire;
        let members = members.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?;
        Ok(Self { cluster: cluster_id(&cluster)?, node, applied, leader, leader_address, members })
    }
}

impl From<ResponseFrame> for ResponseWire {
    fn from(frame: ResponseFrame) -> Self {
        let kind = match frame.result {
            Ok(Response::Written { revision, existed, deduplicated }) => {
                Kind::Written(WrittenWire { revision, existed, deduplicated })
            }
            Ok(Response::Decided(decided)) => Kind::Decided(Box::new((*decided).into())),
            Ok(Response::Value { found, revision, staleness_ms }) => {
                Kind::Value(ValueWire { found: found.map(Into::into), revision, staleness_ms })
            }
            Ok(Response::Status(status)) => Kind::Status(Box::new((*status).into())),
            Ok(Response::Compacted { discarded, freed, bytes }) => {
                Kind::Compacted(CompactedWire { discarded, freed, bytes })
            }
            Ok(Response::Leases(leases)) => Kind::Leases(leases.into()),
            Ok(Response::Lease(lease)) => Kind::Lease(lease.into()),
            Ok(Response::Leads { leader, term }) => Kind::Leads(LeadsWire { leader, term }),
            Ok(Response::MembersChanged { revision }) => Kind::MembersChanged(revision),
            Ok(Response::Events(events)) => Kind::Events(events.into()),
            Err(refused) => Kind::Refused(refused.into()),
        };
        Self { id: frame.id, kind: Some(kind) }
    }
}

impl TryFrom<ResponseWire> for ResponseFrame {
    type Error = DecodeError;

    fn try_from(wire: ResponseWire) -> Result<Self, DecodeError> {
        let result = match wire.kind.ok_or(DecodeError::Malformed("unknown response"))? {
            Kind::Written(WrittenWire { revision, existed, deduplicated }) => {
                Ok(Response::Written { revision, existed, deduplicated })
            }
            Kind::Decided(decided) => Ok(Response::Decided(Box::new((*decided).try_into()?))),
            Kind::Value(ValueWire { found, revision, staleness_ms }) => {
                Ok(Response::Value { found: found.map(Into::into), revision, staleness_ms })
            }
            Kind::Status(status) => Ok(Response::Status(Box::new((*status).try_into()?))),
            Kind::Compacted(CompactedWire { discarded, freed, bytes }) => {
                Ok(Response::Compacted { discarded, freed, bytes })
            }
            Kind::Leases(leases) => Ok(Response::Leases(leases.into())),
            Kind::Lease(lease) => Ok(Response::Lease(lease.into())),
            Kind::Leads(LeadsWire { leader, term }) => Ok(Response::Leads { leader, term }),
            Kind::MembersChanged(revision) => Ok(Response::MembersChanged { revision }),
            Kind::Events(events) => Ok(Response::Events(events.try_into()?)),
            Kind::Refused(refused) => Err(refused.try_into()?),
        };
        Ok(Self { id: wire.id, result })
    }
}

impl From<Found> for FoundWire {
    fn from(Found { value, revision, created, version, lease }: Found) -> Self {
        Self { value, revision, created, version, lease: lease.map(Into::into) }
    }
}

impl From<FoundWire> for Found {
    fn from(FoundWire { value, revision, created, version, lease }: FoundWire) -> Self {
        Self { value, revision, created, version, lease: lease.map(Into::into) }
    }
}

impl From<NodeStatus> for StatusWire {
    fn from(status: NodeStatus) -> Self {
        let role = match status.role {
            Role::Follower => RoleWire::Follower,
            Role::Candidate => RoleWire::Candidate,
            Role::Leader => RoleWire::Leader,
        };
        Self {
            cluster: status.cluster.0.to_vec(),
            id: status.id,
            name: status.name,
            role: role.into(),
            term: status.term,
            leader: status.leader,
            committed: status.committed,
            applied: status.applied,
            last: status.last,
            disk_bytes: status.disk_bytes,
            uptime_ms: status.uptime_ms,
            certificate_days: status.certificate_days,
            version: status.version,
            state_hash: status.state_hash,
            members: status.members.into_iter().map(Into::into).collect(),
            changing: status.changing,
            matched: status.matched.into_iter().map(|(id, matched)| MatchedWire { id, matched }).collect(),
            trouble: status.trouble,
            drained: status.drained,
            kept: Some(status.kept.into()),
            wall_ms: status.wall_ms,
            disk_free: status.disk_free,
            disk_size: status.disk_size,
            incarnation: status.incarnation.map(|incarnation| incarnation.to_vec()),
            waits: status.waits,
        }
    }
}

impl TryFrom<StatusWire> for NodeStatus {
    type Error = DecodeError;

    fn try_from(wire: StatusWire) -> Result<Self, DecodeError> {
        let role = match RoleWire::try_from(wire.role).map_err(|_| DecodeError::Malformed("unknown role"))? {
            RoleWire::Follower => Role::Follower,
            RoleWire::Candidate => Role::Candidate,
            RoleWire::Leader => Role::Leader,
        };
        Ok(Self {
            cluster: cluster_id(&wire.cluster)?,
            id: wire.id,
            name: wire.name,
            role,
            term: wire.term,
            leader: wire.leader,
            committed: wire.committed,
            applied: wire.applied,
            last: wire.last,
            disk_bytes: wire.disk_bytes,
            uptime_ms: wire.uptime_ms,
            certificate_days: wire.certificate_days,
            version: wire.version,
            state_hash: wire.state_hash,
            members: wire.members.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            changing: wire.changing,
            matched: wire.matched.into_iter().map(|MatchedWire { id, matched }| (id, matched)).collect(),
            trouble: wire.trouble,
            drained: wire.drained,
            kept: wire.kept.map(Into::into).unwrap_or_default(),
            wall_ms: wire.wall_ms,
            disk_free: wire.disk_free,
            disk_size: wire.disk_size,
            incarnation: wire
                .incarnation
                .map(TryInto::try_into)
                .transpose()
                .map_err(|_| DecodeError::Malformed("the incarnation of a server"))?,
            waits: wire.waits,
        })
    }
}

impl From<Refused> for RefusedKind {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotLeader { leader, address } => Self::NotLeader(NotLeaderWire { leader, address }),
            Refused::Busy { what } => Self::Busy(what),
            Refused::NoQuorum => Self::NoQuorum(EmptyWire {}),
            Refused::Lost => Self::Lost(EmptyWire {}),
            Refused::TooLarge { what, size, limit } => Self::TooLarge(TooLargeWire { what, size, limit }),
            Refused::Invalid(why) => Self::Invalid(why),
            Refused::Expired => Self::Expired(EmptyWire {}),
            Refused::BadRequestId(why) => Self::BadRequestId(why),
            Refused::Unavailable(why) => Self::Unavailable(why),
            Refused::Unsafe(why) => Self::Unsafe(why),
            Refused::NotKept { oldest, age_ms } => Self::NotKept(NotKeptWire { oldest, age_ms }),
        }
    }
}

impl From<RefusedKind> for Refused {
    fn from(kind: RefusedKind) -> Self {
        match kind {
            RefusedKind::NotLeader(NotLeaderWire { leader, address }) => Self::NotLeader { leader, address },
            RefusedKind::Busy(what) => Self::Busy { what },
            RefusedKind::NoQuorum(EmptyWire {}) => Self::NoQuorum,
            RefusedKind::Lost(EmptyWire {}) => Self::Lost,
            RefusedKind::TooLarge(TooLargeWire { what, size, limit }) => Self::TooLarge { what, size, limit },
            RefusedKind::Invalid(why) => Self::Invalid(why),
            RefusedKind::Expired(EmptyWire {}) => Self::Expired,
            RefusedKind::BadRequestId(why) => Self::BadRequestId(why),
            RefusedKind::Unavailable(why) => Self::Unavailable(why),
            RefusedKind::Unsafe(why) => Self::Unsafe(why),
            RefusedKind::NotKept(NotKeptWire { oldest, age_ms }) => Self::NotKept { oldest, age_ms },
        }
    }
}

impl From<Refused> for RefusedWire {
    fn from(refused: Refused) -> Self {
        Self { kind: Some(refused.into()) }
    }
}

impl TryFrom<RefusedWire> for Refused {
    type Error = DecodeError;

    fn try_from(wire: RefusedWire) -> Result<Self, DecodeError> {
        Ok(wire.kind.ok_or(DecodeError::Malformed("unknown refusal"))?.into())
    }
}

fn cluster_id(bytes: &[u8]) -> Result<ClusterId, DecodeError> {
    bytes.try_into().map(ClusterId).map_err(|_| DecodeError::Malformed("cluster id"))
}
