//! `debug bundle`: what somebody who helps needs to see, in one archive that can be given away. It holds what the other
//! commands of diagnosis print, as JSON, and nothing that a user has stored: no key, no value, no certificate, no private key.
//! That is so by what goes in, not by what is taken out: none of those commands prints one.
//!
//! A part that cannot be had says so in its place. So a bundle of a cluster that is down is made like any other; it is then
//! that one is wanted.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use clap::{Args, Subcommand};
use client::NodeView;
use serde_json::{Value, json};

use super::{assess::Assessment, check, doctor, events};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    files::Beside,
    report::{Body, Document, Report},
    text,
};

/// Arguments of `debug`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl debug bundle\n  kvctl debug bundle -f kv.tar")]
pub struct Debug {
    /// What
    #[command(subcommand)]
    pub what: What,
    /// The settings of the line, as `config view --origin` shows them.
    #[arg(skip)]
    pub settings: Option<Document>,
}

/// What helps to find a fault.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// Gather what somebody who helps needs to see, without keys and values, in one archive
    Bundle(Bundle),
}

/// Arguments of `debug bundle`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl debug bundle\n  kvctl debug bundle -f kv.tar\n  tar -xOf kv.tar kv-bundle/doctor.json\n\n\
                        It holds addresses, names of nodes, contexts and files, and figures; no key, no value, no certificate.\n\n\
                        Ends with 0 also where a part could not be had, which that part says; 12 when the file cannot be\n\
                        written."
)]
pub struct Bundle {
    /// Where to; kv-bundle-TIME.tar in the current folder where it is not said
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

/// One file of the archive.
struct Part {
    name: &'static str,
    /// What it says, or why it cannot.
    content: Result<String, String>,
}

impl Part {
    fn document(name: &'static str, document: &Document) -> Self {
        Self { name, content: Ok(pretty(&serde_json::to_value(document).unwrap_or_default())) }
    }

    fn of(name: &'static str, report: Result<Report, Failure>) -> Self {
        match report {
            Ok(report) => Self::document(name, &report.document),
            Err(failure) => Self { name, content: Err(pretty_failure(&failure)) },
        }
    }

    fn text(&self) -> &str {
        match &self.content {
            Ok(text) | Err(text) => text,
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

fn pretty_failure(failure: &Failure) -> String {
    pretty(&serde_json::to_value(failure.to_document()).unwrap_or_default())
}

impl Debug {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let What::Bundle(bundle) = &self.what;
        bundle.run(session, self.settings.as_ref()).await
    }

    /// Refuses what would fail in the end before anybody is asked.
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        let What::Bundle(bundle) = &self.what;
        match &bundle.file {
            Some(file) => check_free(file),
            None => Ok(()),
        }
    }
}

impl Bundle {
    async fn run(&self, session: &Session, settings: Option<&Document>) -> Result<Report, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let views = session.client().status().await;
        let mut parts = vec![
            Part::document("version.json", &version()),
            Part::document("nodes.json", &nodes(&views)),
            Part::of("status.json", Assessment::of(views).map(|seen| seen.status(session.name()))),
            Part::of("doctor.json", doctor::Doctor { node: None }.run(session).await),
            Part::of("check.json", check::everything(session).await),
            Part::of("events.json", Ok(events::everything(session).await)),
        ];
        parts.extend(settings.map(|settings| Part::document("config.json", settings)));
        let file = self.file.clone().unwrap_or_else(|| {
            PathBuf::from(format!(
                "kv-bundle-{}.tar",
                text::timestamp(now.saturating_mul(1000)).replace(':', "")
            ))
        });
        check_free(&file)?;
        let bytes = write(&file, &parts, now).map_err(|error| match error.kind() {
            // Somebody has put one there meanwhile.
            io::ErrorKind::AlreadyExists => file_exists(&file),
            _ => Failure::file("write", &file, &error),
        })?;
        let missing: Vec<&str> =
            parts.iter().filter(|part| part.content.is_err()).map(|part| part.name).collect();
        let shown = file.display().to_string();
        let mut cells = vec![shown.clone(), format!("{} files", parts.len()), text::size(bytes)];
        if !missing.is_empty() {
            cells.push(format!("could not be had: {}", missing.join(", ")));
        }
        let document = Document::new("bundle")
            .with("file", shown)
            .with("bytes", bytes)
            .with("parts", parts.iter().map(|part| Value::from(part.name)).collect::<Vec<_>>())
            .with("missing", missing.iter().map(|name| Value::from(*name)).collect::<Vec<_>>());
        Ok(Report::new(document, Body::Line(cells)))
    }
}

fn check_free(file: &Path) -> Result<(), Failure> {
    if std::fs::symlink_metadata(file).is_err() {
        return Ok(());
    }
    Err(file_exists(file))
}

fn file_exists(file: &Path) -> Failure {
    let message = format!("{} is there already", file.display());
    Failure::new(Exit::File, "KV-1203", "file_exists", message).hint("name another file with -f")
}

/// Which program this is and where it runs.
fn version() -> Document {
    Document::bare()
        .with("version", env!("CARGO_PKG_VERSION"))
        .with("protocol", String::from_utf8_lossy(protocol::version::ALPN_CLIENT).into_owned())
        .with("system", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH))
}

/// What each node says of itself, with all of its figures.
fn nodes(views: &[NodeView]) -> Document {
    let node = |view: &NodeView| {
        let answer = view.status.as_ref().map(|status| {
            let members = status.members.iter();
            let members = members.map(|member| json!([format!("{:x}", member.id), member.name, member.address]));
            json!({
                "cluster": status.cluster.to_string(),
                "role": super::assess::role(status.role),
                "term": status.term, "leader": status.leader, "committed": status.committed,
                "applied": status.applied, "last": status.last, "disk_bytes": status.disk_bytes,
                "disk_free": status.disk_free, "disk_size": status.disk_size, "uptime_ms": status.uptime_ms,
                "certificate_days": status.certificate_days, "version": status.version,
                "state_hash": format!("{:016x}", status.state_hash), "drained": status.drained,
                "trouble": status.trouble, "wall_ms": status.wall_ms,
                "kept": {"oldest": status.kept.oldest, "changes": status.kept.changes, "bytes": status.kept.bytes},
                "members": members.collect::<Vec<Value>>(),
            })
        });
        json!({
            "address": view.address, "name": view.name, "id": view.id.map(|id| format!("{id:x}")),
            "rtt_ms": view.rtt.as_secs_f64() * 1000.0, "skew_ms": view.skew_ms,
            "error": view.status.as_ref().err().map(ToString::to_string), "says": answer.ok(),
        })
    };
    Document::bare().with("nodes", views.iter().map(node).collect::<Vec<Value>>())
}

/// A tar of the parts in one folder, readable by its owner alone: it says where everything is.
fn write(file: &Path, parts: &[Part], now: u64) -> io::Result<u64> {
    let mut archive = tar::Builder::new(Counted { out: Beside::create_private(file)?, bytes: 0 });
    for part in parts {
        let mut header = tar::Header::new_gnu();
        header.set_size(part.text().len() as u64);
        header.set_mode(0o600);
        header.set_mtime(now);
        archive.append_data(&mut header, Path::new("kv-bundle").join(part.name), part.text().as_bytes())?;
    }
    let Counted { out, bytes } = archive.into_inner()?;
    out.keep_new()?;
    Ok(bytes)
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.bytes = self.bytes.saturating_add(written as u64);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_there_meanwhile_is_not_replaced() {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("bundle.tar");
        let parts = [Part { name: "a.json", content: Ok("{}".to_owned()) }];
        assert!(write(&file, &parts, 1).unwrap() > 0);
        std::fs::write(&file, "another's").unwrap();
        assert_eq!(write(&file, &parts, 1).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&file).unwrap(), b"another's");
        assert_eq!(home.path().read_dir().unwrap().count(), 1, "nothing is left beside it");
    }
}
