//! The connections on which this node sends, one for each server it speaks to. Whom that is, the node says; and whoever sent
//! something from a server that nobody knows is answered where it said that it is reached (`PeerHello`), so that a server
//! that was just added can answer a leader that its configuration does not list.

use std::{collections::BTreeMap, sync::Arc};

use protocol::Member;
use raft::{Envelope, NodeId};
use tokio::{sync::mpsc, task::AbortHandle};
use transport::Endpoint;

use crate::{
    driver::Input,
    members::Members,
    metrics::Meters,
    peers::{self, Own, PeerSender},
    recognition::Guard,
};

/// Most servers that are answered though nobody knows them.
const STRANGERS: usize = 64;

/// See the module.
pub(crate) struct Links {
    endpoint: Arc<Endpoint>,
    own: Arc<Own>,
    reports: mpsc::UnboundedSender<Input>,
    meters: Arc<Meters>,
    open: BTreeMap<NodeId, Open>,
}

struct Open {
    id: NodeId,
    meters: Arc<Meters>,
    address: String,
    is_stranger: bool,
    sender: PeerSender,
    task: AbortHandle,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.task.abort();
        // The task does not come to say it any more.
        if let Some(meter) = self.meters.peer(self.id) {
            meter.connected.set(0);
        }
    }
}

impl Links {
    /// None yet. This node is reached at `address` by its own configuration, whatever was recorded of it before it moved.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        members: &Members,
        address: String,
        guard: Arc<Guard>,
        reports: mpsc::UnboundedSender<Input>,
        meters: Arc<Meters>,
    ) -> Self {
        let own = Arc::new(Own { cluster: members.cluster(), id: members.me(), address, guard });
        Self { endpoint, own, reports, meters, open: BTreeMap::new() }
    }

    /// Connects to these and lets all others go but strangers.
    pub(crate) fn follow(&mut self, peers: &[Member]) {
        self.meters.follow(peers.iter().map(|peer| NodeId(peer.id)));
        self.open.retain(|id, open| {
            let listed = peers.iter().find(|peer| peer.id == id.0);
            listed.map_or(open.is_stranger, |peer| peer.address == open.address && !open.is_stranger)
        });
        for peer in peers {
            self.connect(peer.clone(), false);
        }
    }

    /// A server says where it is reached.
    pub(crate) fn heard(&mut self, from: NodeId, address: String) {
        self.open.retain(|_, open| !open.is_stranger || !open.task.is_finished());
        let strangers = self.open.values().filter(|open| open.is_stranger).count();
        let known = self.open.contains_key(&from) || from == self.own.id || address.is_empty();
        if !known && strangers < STRANGERS {
            let name = format!("server-{from}");
            self.connect(Member { id: from.0, name, address, ..Member::default() }, true);
        }
    }

    fn connect(&mut self, peer: Member, is_stranger: bool) {
        let (endpoint, reports, meters) = (&self.endpoint, &self.reports, &self.meters);
        self.open.entry(NodeId(peer.id)).or_insert_with(|| {
            let (id, address) = (NodeId(peer.id), peer.address.clone());
            let (sender, task) = peers::connect(
                Arc::clone(endpoint),
                Arc::clone(&self.own),
                peer,
                is_stranger,
                reports.clone(),
                Arc::clone(meters),
            );
            Open { id, meters: Arc::clone(meters), address, is_stranger, sender, task }
        });
    }

    /// Queues a message. `false` when there is no room; one to nobody known is lost as on a network, and so are all of a
    /// server that nobody recognises.
    pub(crate) fn send(&self, envelope: Envelope) -> bool {
        if self.own.guard.waits() {
            return true;
        }
        self.open.get(&envelope.to).is_none_or(|open| open.sender.send(envelope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_is_let_go_is_not_connected() {
        let (meters, id) = (Meters::new(), NodeId(2));
        meters.follow(std::iter::once(id));
        meters.peer(id).unwrap().connected.set(1);
        let task = tokio::spawn(std::future::pending::<()>()).abort_handle();
        let (sender, meters) = (PeerSender::nowhere(), Arc::clone(&meters));
        let open =
            Open { id, meters: Arc::clone(&meters), address: "b:1".into(), is_stranger: false, sender, task };
        drop(open);
        assert_eq!(meters.peer(id).unwrap().connected.get(), 0);
    }
}
