//! Who is in the cluster, as configured: names and addresses beside the ids that the core knows.

use protocol::{ClusterId, response::Member};
use raft::NodeId;

/// The members and which of them this node is.
#[derive(Clone, Debug)]
pub struct Members {
    cluster: ClusterId,
    me: NodeId,
    list: Vec<Member>,
}

impl Members {
    /// Members of `cluster`; `me` is one of them.
    pub fn new(cluster: ClusterId, me: NodeId, list: Vec<Member>) -> Self {
        debug_assert!(
            list.iter().any(|member| member.id == me.0),
            "node {me} is a member of its own cluster"
        );
        Self { cluster, me, list }
    }

    /// The cluster's id.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// This node.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// All members.
    pub fn list(&self) -> &[Member] {
        &self.list
    }

    /// All members but this one.
    pub fn peers(&self) -> impl Iterator<Item = &Member> {
        self.list.iter().filter(|member| member.id != self.me.0)
    }

    /// A member's name; empty for a stranger.
    pub fn name(&self, id: NodeId) -> &str {
        self.get(id).map_or("", |member| &member.name)
    }

    /// A member's advertised address.
    pub fn address(&self, id: NodeId) -> Option<&str> {
        self.get(id).map(|member| member.address.as_str())
    }

    fn get(&self, id: NodeId) -> Option<&Member> {
        self.list.iter().find(|member| member.id == id.0)
    }
}
