//! What an operator may see of a core. A picture of one moment; nothing decides by it.

use alloc::{sync::Arc, vec::Vec};

use crate::{
    membership::{MemberRole, Membership},
    types::{Index, NodeId, Position, Term},
};

/// The roles of thesis 3.3 and the pre-vote of 9.6, as names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    /// Follows a leader, or waits for one.
    Follower,
    /// Asks whether it would be elected; its term is not spent yet.
    PreCandidate,
    /// Stands for election.
    Candidate,
    /// Leads its term.
    Leader,
}

/// A picture of a server, from [`Raft::status`](crate::Raft::status).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This server.
    pub id: NodeId,
    /// What it is now.
    pub role: RoleName,
    /// Its term.
    pub term: Term,
    /// The leader it knows in that term.
    pub leader: Option<NodeId>,
    /// Its vote in that term.
    pub vote: Option<NodeId>,
    /// Known to be committed.
    pub commit: Index,
    /// Confirmed by the caller as applied.
    pub applied: Index,
    /// The last entry of its log.
    pub last: Position,
    /// Up to here its own disk holds the log.
    pub persisted: Index,
    /// Up to here the log is gone from its disk.
    pub discarded: Index,
    /// Who is in the cluster, as far as this server knows.
    pub membership: Arc<Membership>,
    /// Where that stands in the log; where it came with a state, that state's position.
    pub membership_at: Index,
    /// Whether it is known to be committed. A change is done when it is, and not joint.
    pub membership_committed: bool,
    /// To whom this leader is handing over.
    pub transferring: Option<NodeId>,
    /// The other servers as this leader sees them; empty when it does not lead.
    pub progress: Vec<(NodeId, PeerStatus)>,
}

/// A follower as its leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// What it is. A learner whose `matched` is close to the leader's commit index has caught up and can be promoted.
    pub role: MemberRole,
    /// Its log is durable and equal to the leader's up to here.
    pub matched: Index,
    /// Whether it was heard within the shortest election timeout.
    pub answers: bool,
    /// `probe`, `replicate`, `snapshot` while it is sent the state, or `behind`: what it needs was discarded from the
    /// leader's disk, and it waits to be sent the state.
    pub state: &'static str,
}
