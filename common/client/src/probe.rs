//! One question to exactly one node, once: no redirect, no retry, nobody else. A health check of a node wants to know
//! what that node does, where every other call wants its answer from whoever gives it.

use protocol::{Consistency, Refused, Request, RequestFrame, Response};
use tokio::time::{Instant, timeout_at};

use crate::{
    Compacted, Leads, Read,
    error::{EndpointError, Error},
    link::{Answer, Link},
    nodes::Nodes,
};

/// A linearizable read of whether `key` is there, served by the node at `address`.
pub(crate) async fn exists(nodes: &Nodes, address: &str, key: &[u8], until: Instant) -> Result<Read, Error> {
    let failed = |error| failure(address, error);
    let link = nodes.link(&address.into(), until).await.map_err(failed)?;
    let request =
        Request::Get { key: key.to_vec(), consistency: Consistency::Linearizable, without_value: true };
    let answer = timeout_at(until, ask(&link, request, until)).await;
    let late = |_| Error::Deadline { why: format!("{address} did not answer the read") };
    match answer.map_err(late)?.map_err(failed)? {
        Ok(Response::Value { found, revision, .. }) => {
            nodes.learn_index(revision);
            Ok(Read { found, revision, served_by: link.welcome().node, staleness_ms: Some(0) })
        }
        Ok(_) => Err(something_else(address)),
        Err(Refused::NotLeader { leader: None, .. }) => {
            Err(Error::NoLeader { why: format!("{address} knows none") })
        }
        Err(refused @ (Refused::NotLeader { .. } | Refused::NoQuorum)) => {
            Err(Error::NoLeader { why: format!("{address} said {refused}") })
        }
        Err(refused) => Err(Error::Refused(refused)),
    }
}

/// The node at `address` discards of its log what its state holds.
pub(crate) async fn compact_log(nodes: &Nodes, address: &str, until: Instant) -> Result<Compacted, Error> {
    match answer(nodes, address, Request::CompactLog, until, "that its log was discarded").await? {
        Response::Compacted { discarded, freed, bytes } => Ok(Compacted { discarded, freed, bytes }),
        _ => Err(something_else(address)),
    }
}

/// The node at `address` does what changes who leads, and says who does.
pub(crate) async fn leads(
    nodes: &Nodes,
    address: &str,
    request: Request,
    until: Instant,
) -> Result<Leads, Error> {
    match answer(nodes, address, request, until, "who leads").await? {
        Response::Leads { leader, term } => Ok(Leads { leader, term }),
        _ => Err(something_else(address)),
    }
}

/// What the node at `address` answers; `what` is what it did not say where it says nothing.
pub(crate) async fn answer(
    nodes: &Nodes,
    address: &str,
    request: Request,
    until: Instant,
    what: &str,
) -> Result<Response, Error> {
    let failed = |error| failure(address, error);
    let link = nodes.link(&address.into(), until).await.map_err(failed)?;
    let late = |_| Error::Deadline { why: format!("{address} did not say {what}") };
    let answer = timeout_at(until, ask(&link, request, until)).await.map_err(late)?;
    answer.map_err(failed)?.map_err(Error::Refused)
}

fn something_else(address: &str) -> Error {
    failure(address, EndpointError::Dropped { reason: "it answered something else".into() })
}

async fn ask(link: &Link, request: Request, until: Instant) -> Answer {
    let permit = link.permit().await;
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    let deadline_ms = u32::try_from(left).unwrap_or(u32::MAX);
    let answer = link.send(permit, &mut RequestFrame { id: 0, deadline_ms, request })?;
    answer.await.unwrap_or_else(|_| Err(EndpointError::Dropped { reason: "closed".into() }))
}

fn failure(address: &str, error: EndpointError) -> Error {
    Error::at(address, error)
}
