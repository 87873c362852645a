//! `compact log`: nodes discard of their logs what their states hold, now and without keeping anything for followers
//! that lag. They do so by themselves as well; this is for a disk that should have the room at once.

use clap::{Args, Subcommand};
use client::{Compacted, Error, NodeView};
use serde_json::{Value, json};

use super::{
    assess::nobody,
    ping::{choose, name},
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `compact`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl compact log\n  kvctl compact log n2")]
pub struct Compact {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be made smaller.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// Discard of each node's log what its state holds
    Log(Log),
}

/// Arguments of `compact log`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl compact log\n  kvctl compact log n2\n\n\
                        Each node first writes its state, then removes whole segments. Writes go on.\n\n\
                        Ends with 0 when all did, 10 when some did, 3 when none answered.")]
pub struct Log {
    /// Names, ids or HOST:PORT; all nodes where none is given
    #[arg(value_name = "NODE")]
    pub nodes: Vec<String>,
}

impl Compact {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let What::Log(log) = &self.what;
        let mut rows = Vec::new();
        for view in choose(&log.nodes, session).await? {
            let compacted = match &view.status {
                Ok(_) => session.client().compact_log(&view.address).await,
                Err(error) => Err(Error::at(&view.address, error.clone())),
            };
            rows.push(Row { view, compacted });
        }
        report(&rows)
    }
}

/// One node and what it did.
struct Row {
    view: NodeView,
    compacted: Result<Compacted, Error>,
}

fn report(rows: &[Row]) -> Result<Report, Failure> {
    let done = rows.iter().filter(|row| row.compacted.is_ok()).count();
    if rows.iter().all(|row| row.view.status.is_err()) {
        let views: Vec<NodeView> = rows.iter().map(|row| row.view.clone()).collect();
        return Err(nobody(&views));
    }
    let document = Document::new("compact_log")
        .with("asked", rows.len())
        .with("done", done)
        .with("nodes", rows.iter().map(node).collect::<Vec<Value>>());
    let findings = rows.iter().filter_map(|row| {
        let error = row.compacted.as_ref().err()?;
        Some(format!("{} ({}) kept its log: {error}", name(&row.view), row.view.address))
    });
    let table = Table {
        columns: vec!["NODE", "DISCARDED", "FREED", "LOG"],
        rows: rows.iter().map(cells).collect(),
        findings: findings.collect(),
        ..Table::default()
    };
    let exit = if done == rows.len() { Exit::Success } else { Exit::Partial };
    Ok(Report::new(document, Body::Table(table)).exit(exit))
}

fn cells(row: &Row) -> Vec<String> {
    let name = name(&row.view).to_owned();
    match &row.compacted {
        Ok(Compacted { discarded, freed, bytes }) => {
            vec![name, discarded.to_string(), text::size(*freed), text::size(*bytes)]
        }
        Err(_) => vec![name, "-".to_owned(), "-".to_owned(), "-".to_owned()],
    }
}

fn node(row: &Row) -> Value {
    let done = row.compacted.as_ref().ok();
    json!({
        "name": name(&row.view),
        "addr": row.view.address,
        "discarded": done.map(|done| done.discarded),
        "freed_bytes": done.map(|done| done.freed),
        "log_bytes": done.map(|done| done.bytes),
        "error": row.compacted.as_ref().err().map(ToString::to_string),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use client::EndpointError;
    use protocol::NodeStatus;

    use super::*;
    use crate::render::{Format, Screen};

    fn row(id: u64, compacted: Result<Compacted, EndpointError>) -> Row {
        let address = format!("h:{id}");
        let status = compacted.as_ref().map(|_| NodeStatus::default()).map_err(Clone::clone);
        let view = NodeView {
            address: address.clone(),
            name: Some(format!("n{id}")),
            id: Some(id),
            skew_ms: None,
            rtt: Duration::ZERO,
            status,
        };
        Row { view, compacted: compacted.map_err(|error| Error::at(&address, error)) }
    }

    fn shown(rows: &[Row], format: Format) -> (String, Exit) {
        let screen = Screen { format, terminal: false, color: false, quiet: false };
        let mut out = Vec::new();
        let exit = screen.show_on(&report(rows), &mut out, &mut Vec::new());
        (String::from_utf8(out).unwrap(), exit)
    }

    #[test]
    fn each_node_is_a_row_and_one_that_did_not_is_said() {
        let done = Compacted { discarded: 71, freed: 192 << 20, bytes: 64 << 20 };
        let rows = [row(1, Ok(done)), row(2, Err(EndpointError::Refused))];
        let (plain, exit) = shown(&rows, Format::Plain);
        assert_eq!((plain.as_str(), exit), ("n1\t71\t192.0M\t64.0M\nn2\t-\t-\t-\n", Exit::Partial));
        let (table, _) = shown(&rows, Format::Table);
        assert!(table.starts_with("NODE  DISCARDED  FREED   LOG\n"), "{table}");
        assert!(table.contains("! n2 (h:2) kept its log"), "{table}");
        let (json, _) = shown(&rows[..1], Format::Json);
        let want = "{\"schema\":\"kvctl.compact_log/v1\",\"asked\":1,\"done\":1,\"nodes\":[{\"addr\":\"h:1\",\
                    \"discarded\":71,\"error\":null,\"freed_bytes\":201326592,\"log_bytes\":67108864,\
                    \"name\":\"n1\"}]}\n";
        assert_eq!(json, want);
        assert_eq!(shown(&rows[..1], Format::Plain).1, Exit::Success);
    }

    #[test]
    fn nobody_is_a_failure() {
        assert_eq!(report(&[row(1, Err(EndpointError::Silent))]).unwrap_err().exit, Exit::Unreachable);
    }
}
