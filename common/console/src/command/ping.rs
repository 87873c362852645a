//! `ping`: the round trip of a status call to each node, all at once. Says of a node that it answers and how fast, and
//! nothing of the cluster.

use clap::Args;
use client::NodeView;
use serde_json::{Value, json};

use super::assess::nobody;
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `ping`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl ping\n  kvctl ping n1 n3\n  kvctl ping 127.0.0.1:7402\n\n\
                        Ends with 0 when all answer, 10 when some do, 3 when none does.")]
pub struct Ping {
    /// Names, ids or HOST:PORT; all nodes where none is given
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
}

impl Ping {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        report(&choose(&self.nodes, session).await?)
    }
}

/// The views of the nodes that are named; of all where none is.
pub(super) async fn choose(nodes: &[String], session: &Session) -> Result<Vec<NodeView>, Failure> {
    let all = session.client().status().await;
    if nodes.is_empty() {
        return Ok(all);
    }
    let mut views = Vec::new();
    for node in nodes {
        match all.iter().find(|view| is(view, node)) {
            Some(view) => views.push(view.clone()),
            // An address nobody knows can be asked all the same.
            None if node.contains(':') => views.push(session.client().status_at(node).await),
            None if all.iter().all(|view| view.status.is_err()) => return Err(nobody(&all)),
            None => return Err(unknown(node, &all)),
        }
    }
    Ok(views)
}

fn is(view: &NodeView, node: &str) -> bool {
    let id = view.id.map(|id| format!("{id:x}"));
    view.name.as_deref() == Some(node) || view.address == node || id.as_deref() == Some(node)
}

fn unknown(node: &str, all: &[NodeView]) -> Failure {
    let names: Vec<&str> = all.iter().map(name).collect();
    Failure::new(Exit::Usage, "KV-0206", "unknown_node", format!("no node is named `{node}`"))
        .hint(format!("there are: {}; HOST:PORT asks any other", names.join(", ")))
}

pub(super) fn name(view: &NodeView) -> &str {
    view.name.as_deref().unwrap_or(&view.address)
}

fn report(views: &[NodeView]) -> Result<Report, Failure> {
    let answered = views.iter().filter(|view| view.status.is_ok()).count();
    if answered == 0 {
        return Err(nobody(views));
    }
    let document = Document::new("ping")
        .with("asked", views.len())
        .with("answered", answered)
        .with("nodes", views.iter().map(node).collect::<Vec<Value>>());
    let findings = views.iter().filter_map(|view| {
        let error = view.status.as_ref().err()?;
        Some(format!("{} ({}) {error}", name(view), view.address))
    });
    let table = Table {
        columns: vec!["NODE", "ADDR", "STATE", "RTT"],
        rows: views.iter().map(cells).collect(),
        findings: findings.collect(),
        ..Table::default()
    };
    let exit = if answered == views.len() { Exit::Success } else { Exit::Partial };
    Ok(Report::new(document, Body::Table(table)).exit(exit))
}

fn state(view: &NodeView) -> &'static str {
    view.status.as_ref().map_or_else(client::EndpointError::word, |_| "ok")
}

fn cells(view: &NodeView) -> Vec<String> {
    let rtt = if view.status.is_ok() { text::millis(view.rtt) } else { "-".to_owned() };
    vec![name(view).to_owned(), view.address.clone(), state(view).to_owned(), rtt]
}

fn node(view: &NodeView) -> Value {
    json!({
        "id": view.id.map(|id| format!("{id:x}")),
        "name": name(view),
        "addr": view.address,
        "state": state(view),
        "rtt_ms": view.status.is_ok().then_some(view.rtt.as_secs_f64() * 1000.0),
        "error": view.status.as_ref().err().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use client::EndpointError;
    use protocol::NodeStatus;

    use super::*;
    use crate::render::{Format, Screen};

    fn view(id: u64, error: Option<EndpointError>) -> NodeView {
        NodeView {
            address: format!("h:{id}"),
            name: Some(format!("n{id}")),
            id: Some(id + 10),
            skew_ms: None,
            rtt: std::time::Duration::from_micros(400),
            status: error.map_or_else(|| Ok(NodeStatus::default()), Err),
        }
    }

    fn shown(views: &[NodeView], format: Format) -> (String, Exit) {
        let screen = Screen { format, terminal: false, color: false, quiet: false };
        let mut out = Vec::new();
        let exit = screen.show_on(&report(views), &mut out, &mut Vec::new());
        (String::from_utf8(out).unwrap(), exit)
    }

    #[test]
    fn a_dead_node_is_a_row() {
        let views = [view(1, None), view(2, Some(EndpointError::Refused))];
        let (table, exit) = shown(&views, Format::Table);
        let want = "NODE  ADDR  STATE    RTT\nn1    h:1   ok       0.4ms\nn2    h:2   refused  -\n\
                    ! n2 (h:2) refused the connection\n";
        assert_eq!((table.as_str(), exit), (want, Exit::Partial));
        let (plain, _) = shown(&views, Format::Plain);
        assert_eq!(plain, "n1\th:1\tok\t0.4ms\nn2\th:2\trefused\t-\n");
        assert_eq!(shown(&views[..1], Format::Plain).1, Exit::Success);
        let (json, _) = shown(&views, Format::Json);
        assert!(
            json.starts_with("{\"schema\":\"kvctl.ping/v1\",\"asked\":2,\"answered\":1,\"nodes\":["),
            "{json}"
        );
        assert!(
            json.contains(r#""error":"refused the connection","id":"c","name":"n2","rtt_ms":null"#),
            "{json}"
        );
    }

    #[test]
    fn nobody_is_a_failure() {
        assert_eq!(report(&[view(1, Some(EndpointError::Silent))]).unwrap_err().exit, Exit::Unreachable);
    }

    #[test]
    fn a_node_goes_by_name_id_and_address() {
        for word in ["n1", "b", "h:1"] {
            assert!(is(&view(1, None), word), "{word}");
        }
        assert!(!is(&view(1, None), "n2") && !is(&view(1, None), "11"));
        let failure = unknown("n9", &[view(1, None), view(2, None)]);
        assert_eq!(failure.hint.as_deref(), Some("there are: n1, n2; HOST:PORT asks any other"));
    }
}
