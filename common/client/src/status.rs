//! Asks every node for its own view, all at once; whom nobody configured but a node named is asked as well.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use protocol::{NodeStatus, Request, RequestFrame, Response};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use crate::{error::EndpointError, local, nodes::Nodes, retry::Address};

/// One node as it was found.
#[derive(Clone, Debug)]
pub struct NodeView {
    /// Where it was asked.
    pub address: String,
    /// Its name, by itself or by another node.
    pub name: Option<String>,
    /// Its id, by itself or by another node.
    pub id: Option<u64>,
    /// From question to answer, the handshake not counted; for a node that did not answer, how long that took.
    pub rtt: Duration,
    /// How far its clock is ahead of this machine's, in milliseconds, to within half of that time; `None` where it did not
    /// say.
    pub skew_ms: Option<i64>,
    /// What it says, or what is wrong with it.
    pub status: Result<NodeStatus, EndpointError>,
}

struct Row {
    view: NodeView,
    resolved: Vec<SocketAddr>,
}

/// One node's view, asked at exactly this address.
pub(crate) async fn status_at(nodes: &Arc<Nodes>, address: &str, timeout: Duration) -> NodeView {
    ask(Arc::clone(nodes), address.into(), timeout).await.view
}

/// A row for each node, by id; those whose id nobody knows come last. No node takes longer than `timeout`.
pub(crate) async fn status(nodes: &Arc<Nodes>, timeout: Duration) -> Vec<NodeView> {
    let mut asked = HashSet::new();
    let mut asking = JoinSet::new();
    let mut rows: Vec<Row> = Vec::new();
    loop {
        for address in nodes.addresses() {
            if asked.insert(address.clone()) {
                asking.spawn(ask(Arc::clone(nodes), address, timeout));
            }
        }
        match asking.join_next().await {
            Some(Ok(row)) => rows.push(row),
            Some(Err(_)) => {}
            None => break,
        }
    }
    one_row_a_node(rows)
}

async fn ask(nodes: Arc<Nodes>, address: Address, timeout: Duration) -> Row {
    let began = Instant::now();
    let until = began + timeout;
    let answered = timeout_at(until, async {
        let first = ask_once(&nodes, &address, until).await;
        // A link that was open before may have died unnoticed while nobody used it: one made now says more.
        let told = if matches!(first, Err(EndpointError::Dropped { .. })) {
            ask_once(&nodes, &address, until).await
        } else {
            first
        };
        told.inspect(|(status, _)| nodes.learn_index(status.applied))
    });
    let (status, rtt, skew_ms) = match answered.await.unwrap_or(Err(EndpointError::Silent)) {
        Ok((status, rtt)) => {
            let skew = skew(&status, rtt);
            (Ok(status), rtt, skew)
        }
        Err(error) => (Err(error), began.elapsed(), None),
    };
    let resolved = timeout_at(until, tokio::net::lookup_host(&*address)).await;
    let resolved = resolved.ok().and_then(Result::ok).map(Iterator::collect).unwrap_or_default();
    let (id, name) = match &status {
        Ok(status) => (Some(status.id), Some(status.name.clone())),
        Err(_) => (None, None),
    };
    // What is asked on its socket is known to all others by another address.
    let advertised = local::path(&address).and_then(|_| {
        let status = status.as_ref().ok()?;
        Some(status.members.iter().find(|member| member.id == status.id)?.address.clone())
    });
    let address = advertised.unwrap_or_else(|| address.to_string());
    Row { view: NodeView { address, name, id, rtt, skew_ms, status }, resolved }
}

/// The node read its clock in the middle of the round trip that has just ended, as far as anybody can tell.
fn skew(status: &NodeStatus, rtt: Duration) -> Option<i64> {
    let now = SystemTime::now().checked_sub(rtt / 2)?.duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_millis()).ok()?;
    let theirs = i64::try_from(status.wall_ms).ok().filter(|wall| *wall > 0)?;
    Some(theirs.saturating_sub(now))
}

async fn ask_once(
    nodes: &Nodes,
    address: &Address,
    until: Instant,
) -> Result<(NodeStatus, Duration), EndpointError> {
    let link = nodes.link(address, until).await?;
    let asked = Instant::now();
    let left = until.saturating_duration_since(asked).as_millis();
    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
    let permit = link.permit().await;
    let answer = link.send(permit, &mut RequestFrame { id: 0, deadline_ms, request: Request::Status })?;
    let dropped = |reason: String| EndpointError::Dropped { reason };
    match answer.await.map_err(|_| dropped("closed".into()))?? {
        Ok(Response::Status(status)) => Ok((*status, asked.elapsed())),
        Ok(_) => Err(dropped("it answered something else".into())),
        Err(refused) => Err(dropped(refused.to_string())),
    }
}

/// A node may be known under several addresses: its configured and its advertised one, a name and a number.
fn one_row_a_node(mut rows: Vec<Row>) -> Vec<NodeView> {
    name_the_silent(&mut rows);
    // Those that answered first, then those that can be named: what is dropped says less than what is kept.
    rows.sort_by_key(|row| (row.view.status.is_err(), row.view.id.is_none(), row.view.address.clone()));
    let mut kept: Vec<Row> = Vec::new();
    for row in rows {
        let same = |other: &Row| {
            (row.view.id.is_some() && row.view.id == other.view.id)
                || row.resolved.iter().any(|address| other.resolved.contains(address))
        };
        if !kept.iter().any(same) {
            kept.push(row);
        }
    }
    kept.sort_by_key(|row| (row.view.id.is_none(), row.view.id, row.view.address.clone()));
    kept.into_iter().map(|row| row.view).collect()
}

/// Gives rows without an answer the id and name that the others know their address by.
fn name_the_silent(rows: &mut [Row]) {
    let answered = rows.iter().filter_map(|row| row.view.status.as_ref().ok());
    let members: Vec<_> = answered.flat_map(|status| status.members.clone()).collect();
    for view in rows.iter_mut().map(|row| &mut row.view).filter(|view| view.status.is_err()) {
        if let Some(member) = members.iter().find(|member| member.address == view.address) {
            view.id = Some(member.id);
            view.name = Some(member.name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::response::Member;

    fn row(address: &str, port: u16, status: Result<u64, EndpointError>) -> Row {
        let member = Member { id: 2, name: "n2".into(), address: "n2:7400".into(), ..Member::default() };
        let status = status.map(|id| NodeStatus { id, members: vec![member], ..NodeStatus::default() });
        let id = status.as_ref().ok().map(|status| status.id);
        let view =
            NodeView { address: address.into(), name: None, id, rtt: Duration::ZERO, skew_ms: None, status };
        Row { view, resolved: vec![([127, 0, 0, 1], port).into()] }
    }

    fn told(rows: Vec<Row>) -> Vec<(String, Option<u64>)> {
        one_row_a_node(rows).into_iter().map(|view| (view.address, view.id)).collect()
    }

    #[test]
    fn a_node_under_two_addresses_is_one_row() {
        let rows = vec![row("localhost:1", 1, Ok(1)), row("127.0.0.1:1", 1, Ok(1)), row("other:3", 3, Ok(3))];
        assert_eq!(told(rows), [("127.0.0.1:1".into(), Some(1)), ("other:3".into(), Some(3))]);
    }

    #[test]
    fn a_dead_node_is_one_named_row() {
        let rows = vec![
            row("10.0.0.2:7400", 7, Err(EndpointError::Silent)),
            row("n2:7400", 7, Err(EndpointError::Silent)),
            row("n1:7400", 1, Ok(1)),
        ];
        assert_eq!(told(rows), [("n1:7400".into(), Some(1)), ("n2:7400".into(), Some(2))]);
    }

    #[test]
    fn a_node_nobody_knows_comes_last() {
        let rows = vec![row("a:1", 9, Err(EndpointError::Refused)), row("n1:7400", 1, Ok(1))];
        assert_eq!(told(rows), [("n1:7400".into(), Some(1)), ("a:1".into(), None)]);
    }
}
