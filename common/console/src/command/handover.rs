//! `leader transfer` and `drain`: somebody else should lead. Both are asked of exactly one node, which says who leads once
//! that has changed; writes wait meanwhile and none is lost.

use std::time::Instant;

use clap::{Args, Subcommand};
use client::{EndpointError, Error, Leads, NodeView};
use protocol::{Refused, Role};
use serde_json::{Value, json};

use super::{
    assess::Assessment,
    ping::{choose, name},
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// The leader may change between asking who it is and asking it: so often it is looked for again.
const ATTEMPTS: usize = 3;

/// What can be done about who leads.
#[derive(Subcommand, Debug, PartialEq)]
pub enum Of {
    /// Hand leadership over to another node
    Transfer(Transfer),
}

/// Arguments of `leader transfer`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl leader transfer\n  kvctl leader transfer n2\n\n\
                        Writes wait for some milliseconds; none is lost. Ends with 0 when another node leads or the named\n\
                        one did already, 4 without a leader, 6 when no node said what became of it, 8 when nobody took over\n\
                        and the old leader leads on.")]
pub struct Transfer {
    /// To which: name, id or HOST:PORT; the one that follows most closely where none is given
    #[arg(value_name = "NODE")]
    pub to: Option<String>,
}

/// Arguments of `drain`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl drain n1\n  kvctl drain n1 --undo\n\n\
                        The node goes on to follow, vote and serve; it only does not lead, unless no other does for ten\n\
                        election timeouts. That lasts until its process ends or it is undone.")]
pub struct Drain {
    /// Which: name, id or HOST:PORT
    #[arg(value_name = "NODE")]
    pub node: String,
    /// Let it lead again when it is elected
    #[arg(long)]
    pub undo: bool,
}

impl Transfer {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let to = match &self.to {
            Some(node) => id(&one(node, session).await?)?.into(),
            None => None,
        };
        for _ in 0..ATTEMPTS {
            let views = session.client().status().await;
            let Some(leader) = leading(&views) else { return nobody_leads(views) };
            let began = Instant::now();
            match session.client().transfer(&leader.address, to).await {
                Ok(leads) => {
                    let took = began.elapsed().as_secs_f64() * 1000.0;
                    return Ok(transferred(leader, leads, &views, took));
                }
                Err(Error::Refused(Refused::NotLeader { .. })) => {}
                Err(error) => return Err(failed(error)),
            }
        }
        nobody_leads(session.client().status().await)
    }
}

impl Drain {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let view = one(&self.node, session).await?;
        let leads = session.client().drain(&view.address, self.undo).await.map_err(failed)?;
        let views = session.client().status().await;
        Ok(drained(&view, self.undo, leads, &views))
    }
}

/// Where a node does not say what became of it, it may have happened all the same.
fn failed(error: Error) -> Failure {
    let open = match &error {
        Error::Refused(Refused::Lost) | Error::Deadline { .. } => true,
        Error::Unreachable { endpoints } => {
            endpoints.iter().any(|endpoint| matches!(endpoint.error, EndpointError::Dropped { .. }))
        }
        _ => false,
    };
    if !open {
        return error.into();
    }
    Failure::new(Exit::Unknown, "KV-0603", "unknown", format!("nobody said what became of it: {error}"))
        .hint("it is safe to ask again; `kvctl leader` says who leads")
}

/// The node of this name; a failure when it does not answer.
async fn one(node: &str, session: &Session) -> Result<NodeView, Failure> {
    let views = choose(std::slice::from_ref(&node.to_owned()), session).await?;
    let view = views.into_iter().next().ok_or_else(|| Failure::internal("a chosen node is missing"))?;
    match &view.status {
        Ok(_) => Ok(view),
        Err(error) => Err(Error::at(&view.address, error.clone()).into()),
    }
}

fn id(view: &NodeView) -> Result<u64, Failure> {
    view.id.ok_or_else(|| Failure::internal("a node that answers has an id"))
}

/// Who leads the newest term by its own word: only that node can hand over.
fn leading(views: &[NodeView]) -> Option<&NodeView> {
    let term = |view: &&NodeView| view.status.as_ref().map_or(0, |status| status.term);
    let leads = |view: &&NodeView| view.status.as_ref().is_ok_and(|status| status.role == Role::Leader);
    views.iter().filter(leads).max_by_key(term)
}

/// The failure of a cluster without a leader that answers.
fn nobody_leads(views: Vec<NodeView>) -> Result<Report, Failure> {
    let assessment = Assessment::of(views)?;
    Err(assessment.no_leader())
}

fn named(id: Option<u64>, views: &[NodeView]) -> (String, Value) {
    let view = views.iter().find(|view| id.is_some() && view.id == id);
    match (id, view) {
        (Some(id), view) => {
            let hex = format!("{id:x}");
            let name = view.map_or(hex.as_str(), name).to_owned();
            let value = json!({"id": hex, "name": name});
            (name, value)
        }
        (None, _) => ("nobody yet".to_owned(), Value::Null),
    }
}

fn transferred(from: &NodeView, leads: Leads, views: &[NodeView], took_ms: f64) -> Report {
    let ((before, before_value), (now, now_value)) = (named(from.id, views), named(leads.leader, views));
    let document = Document::new("transfer")
        .with("from", before_value)
        .with("leader", now_value)
        .with("term", leads.term)
        .with("changed", from.id != leads.leader)
        .with("took_ms", took_ms);
    let how = if from.id == leads.leader {
        "led already".to_owned()
    } else {
        format!(
            "leads now, after {before}; took {}",
            text::millis(std::time::Duration::from_secs_f64(took_ms / 1000.0))
        )
    };
    Report::new(document, Body::Line(vec![now, how, format!("term {}", leads.term)]))
}

fn drained(view: &NodeView, undo: bool, leads: Leads, views: &[NodeView]) -> Report {
    let (leader, value) = named(leads.leader, views);
    let document = Document::new("drain")
        .with("node", named(view.id, views).1)
        .with("drained", !undo)
        .with("leader", value)
        .with("term", leads.term);
    let how = if undo { "leads again when it is elected" } else { "leaves leading to others" };
    let who = if leads.leader.is_some() { format!("{leader} leads") } else { "nobody leads yet".to_owned() };
    Report::new(document, Body::Line(vec![name(view).to_owned(), how.to_owned(), who]))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use protocol::NodeStatus;

    use super::*;
    use crate::render::{Format, Screen};

    fn view(id: u64, role: Role, term: u64) -> NodeView {
        let status = NodeStatus { role, term, ..NodeStatus::default() };
        NodeView {
            address: format!("h:{id}"),
            name: Some(format!("n{id}")),
            id: Some(id),
            skew_ms: None,
            rtt: Duration::ZERO,
            status: Ok(status),
        }
    }

    fn shown(report: Report, format: Format) -> String {
        let screen = Screen { format, terminal: false, color: false, quiet: false };
        let mut out = Vec::new();
        screen.show_on(&Ok(report), &mut out, &mut Vec::new());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_leader_of_the_newest_term_is_asked() {
        let mut views = [view(1, Role::Leader, 3), view(2, Role::Leader, 4), view(3, Role::Follower, 4)];
        assert_eq!(leading(&views).and_then(|view| view.id), Some(2));
        views[1].status = Err(EndpointError::Silent);
        assert_eq!(leading(&views).and_then(|view| view.id), Some(1));
        assert!(leading(&views[1..]).is_none());
    }

    #[test]
    fn silence_is_no_refusal() {
        let dropped = EndpointError::Dropped { reason: "closed".into() };
        for error in [
            Error::Refused(Refused::Lost),
            Error::Deadline { why: "h:1 did not say who leads".to_owned() },
            Error::at("h:1", dropped),
        ] {
            assert_eq!(failed(error).exit, Exit::Unknown);
        }
        assert_eq!(failed(Error::at("h:1", EndpointError::Refused)).exit, Exit::Unreachable);
        assert_eq!(failed(Error::Refused(Refused::Unavailable("w".into()))).exit, Exit::Refused);
    }

    #[test]
    fn a_report_says_who_led_and_who_leads() {
        let views = [view(1, Role::Leader, 3), view(2, Role::Follower, 3)];
        let leads = Leads { leader: Some(2), term: 4 };
        let report = || transferred(&views[0], leads, &views, 12.0);
        assert_eq!(shown(report(), Format::Plain), "n2\tleads now, after n1; took 12.0ms\tterm 4\n");
        let want = "{\"schema\":\"kvctl.transfer/v1\",\"from\":{\"id\":\"1\",\"name\":\"n1\"},\
                    \"leader\":{\"id\":\"2\",\"name\":\"n2\"},\"term\":4,\"changed\":true,\"took_ms\":12.0}\n";
        assert_eq!(shown(report(), Format::Json), want);
        let same = transferred(&views[0], Leads { leader: Some(1), term: 3 }, &views, 1.0);
        assert_eq!(shown(same, Format::Plain), "n1\tled already\tterm 3\n");
        let drained = drained(&views[0], false, leads, &views);
        assert_eq!(shown(drained, Format::Plain), "n1\tleaves leading to others\tn2 leads\n");
    }
}
