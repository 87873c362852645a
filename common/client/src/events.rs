//! What happened, as every node tells it of itself, all at once.

use std::{sync::Arc, time::Duration};

use protocol::{Request, Response, events::Event};
use tokio::{task::JoinSet, time::Instant};

use crate::{EndpointError, Error, NodeView, nodes::Nodes, probe, status::status};

/// What one node told.
#[derive(Clone, Debug)]
pub struct Told {
    /// Where it was asked.
    pub address: String,
    /// Its name, where it is known.
    pub name: Option<String>,
    /// Its id, where it is known.
    pub id: Option<u64>,
    /// Its events, or why there are none.
    pub events: Result<Vec<Event>, EndpointError>,
}

/// Every node's events since the time of its clock that is asked of it, in the order of the nodes. No node takes longer than
/// twice the timeout.
pub(crate) async fn events(
    nodes: &Arc<Nodes>,
    since_ms: impl Fn(Option<u64>) -> u64,
    timeout: Duration,
) -> Vec<Told> {
    let mut asking = JoinSet::new();
    for (place, view) in status(nodes, timeout).await.into_iter().enumerate() {
        let (nodes, since_ms) = (Arc::clone(nodes), since_ms(view.id));
        asking.spawn(async move { (place, ask(&nodes, view, since_ms, timeout).await) });
    }
    // A task that panics is a defect and has said so.
    let mut told: Vec<(usize, Told)> = asking.join_all().await;
    told.sort_by_key(|(place, _)| *place);
    told.into_iter().map(|(_, told)| told).collect()
}

async fn ask(nodes: &Nodes, view: NodeView, since_ms: u64, timeout: Duration) -> Told {
    let NodeView { address, name, id, status, .. } = view;
    let events = match status {
        Ok(_) => answer(nodes, &address, since_ms, timeout).await,
        Err(error) => Err(error),
    };
    Told { address, name, id, events }
}

async fn answer(
    nodes: &Nodes,
    address: &str,
    since_ms: u64,
    timeout: Duration,
) -> Result<Vec<Event>, EndpointError> {
    let until = Instant::now() + timeout;
    let dropped = |reason: String| EndpointError::Dropped { reason };
    match probe::answer(nodes, address, Request::Events { since_ms }, until, "what happened").await {
        Ok(Response::Events(events)) => Ok(events),
        Ok(_) => Err(dropped("it answered something else".into())),
        Err(Error::Unreachable { mut endpoints } | Error::Denied { mut endpoints }) => {
            Err(endpoints.pop().map_or_else(|| dropped("closed".into()), |failure| failure.error))
        }
        Err(Error::Deadline { .. }) => Err(EndpointError::Silent),
        Err(error) => Err(dropped(error.to_string())),
    }
}
