//! `retention`: how much of the past the cluster keeps, of all keys together; shown, or changed.
//!
//! The bounds are part of the cluster's state and not of anybody's configuration file, for all nodes must trim the same. They
//! are changed by a write; what they then no longer hold goes at once, and is never asked for by anybody again.

use std::time::Duration;

use clap::Args;
use client::Judged;
use protocol::{
    RequestId,
    history::{Kept, WindowChange},
};

use super::{assess::nobody, write::identified};
use crate::{
    connect::Session,
    error::Failure,
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `retention`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl retention\n  kvctl retention --age 7d\n  kvctl retention --changes 100000 --bytes 64M\n\n\
                        Each write of a key is a change. As much is kept as all three bounds allow; 0 keeps nothing."
)]
pub struct Retention {
    /// Keep at most so many changes, up to 10000000
    #[arg(long, value_name = "N")]
    pub changes: Option<u64>,
    /// Keep changes so long: 30m, 24h, 7d, up to 366d
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    pub age: Option<Duration>,
    /// Keep at most so many bytes of keys and replaced values: 64M, 1G, up to 16G
    #[arg(long, value_name = "SIZE", value_parser = text::parse_size)]
    pub bytes: Option<u64>,
    /// Repeat the change whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

impl Retention {
    fn change(&self) -> WindowChange {
        let age_ms = self.age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        WindowChange { changes: self.changes, age_ms, bytes: self.bytes }
    }

    /// Whether it changes something.
    pub(super) fn writes(&self) -> bool {
        self.change() != WindowChange::default()
    }

    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if !self.writes() {
            return match self.request_id {
                Some(_) => Err(Failure::usage("--request-id repeats a change, and none is named")
                    .hint("the same command again, with its --changes, --age or --bytes")),
                None => Ok(()),
            };
        }
        self.change().check().map_err(|error| Failure::from(client::Error::from(error)))
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        if self.writes() {
            let judged = session.client().set_window(self.change(), self.request_id).await?;
            return Ok(changed(&judged));
        }
        let views = session.client().status().await;
        // All nodes keep the same at the same revision: whoever is furthest knows best.
        let newest =
            views.iter().filter_map(|view| view.status.as_ref().ok()).max_by_key(|status| status.applied);
        match newest {
            Some(status) => Ok(shown(&status.kept, status.applied)),
            None => Err(nobody(&views)),
        }
    }
}

fn changed(judged: &Judged) -> Report {
    let decided = &judged.decided;
    let document = Document::new("retention_set").with("rev", decided.revision);
    let document =
        identified(document, true, &judged.request, decided.deduplicated).with("oldest_rev", decided.number);
    let mut cells = vec!["ok".to_owned(), format!("rev {}", decided.revision)];
    cells.push(format!("the oldest revision that can be read is {}", decided.number));
    if decided.deduplicated {
        cells.push("had been applied before".to_owned());
    }
    Report::new(document, Body::Done(cells))
}

fn shown(kept: &Kept, applied: u64) -> Report {
    let window = kept.window;
    let document = Document::new("retention")
        .with("rev", applied)
        .with("oldest_rev", kept.oldest)
        .with("changes", kept.changes)
        .with("bytes", kept.bytes)
        .with("most_changes", window.changes)
        .with("most_bytes", window.bytes)
        .with("most_age_ms", window.age_ms);
    let row = |name: &str, changes: u64, bytes: u64, age: String| {
        vec![name.to_owned(), changes.to_string(), text::size(bytes), age]
    };
    let age = text::exact_age(Duration::from_millis(window.age_ms));
    let table = Table {
        columns: vec!["", "CHANGES", "BYTES", "AGE"],
        rows: vec![
            row("kept", kept.changes, kept.bytes, "-".to_owned()),
            row("at most", window.changes, window.bytes, age),
        ],
        findings: vec![format!("revisions {} to {applied} can be read", kept.oldest)],
        ..Table::default()
    };
    Report::new(document, Body::Table(table))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;

    #[test]
    fn what_is_over_the_limits_is_refused_before_anything_is_sent() {
        let retention = |changes, request_id| Retention { changes, age: None, bytes: None, request_id };
        assert!(retention(Some(10_000_000), None).prepare().is_ok());
        assert_eq!(retention(Some(10_000_001), None).prepare().unwrap_err().exit, Exit::Refused);
        assert!(retention(None, None).prepare().is_ok() && !retention(None, None).writes());
        let id = RequestId { token: [1; 16], learned: 2, cluster: protocol::ClusterId([3; 16]) };
        assert_eq!(retention(None, Some(id)).prepare().unwrap_err().exit, Exit::Usage);
    }

    #[test]
    fn it_shows_what_is_kept_and_what_may_be() {
        let report = shown(&Kept { oldest: 41, changes: 7, bytes: 2048, ..Kept::default() }, 50);
        let Body::Table(table) = report.body else { panic!() };
        assert_eq!(table.rows[0], ["kept", "7", "2.0K", "-"]);
        assert_eq!(table.rows[1], ["at most", "1000000", "256.0M", "1d"]);
        assert_eq!(table.findings, ["revisions 41 to 50 can be read"]);
        assert_eq!(
            report.document.to_json(),
            r#"{"schema":"kvctl.retention/v1","rev":50,"oldest_rev":41,"changes":7,"bytes":2048,"#.to_owned()
                + r#""most_changes":1000000,"most_bytes":268435456,"most_age_ms":86400000}"#
        );
    }
}
