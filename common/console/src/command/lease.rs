//! `lease`: keys that go together, at a time; and what other commands say of leases.

use std::time::Duration;

use clap::{Args, Subcommand};
use client::Judged;
use protocol::{RequestId, Verdict, lease::Lease as Held, limits, response::Found};
use serde_json::Value;

use super::write::identified;
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    listing::{Kind, Listing, Out},
    report::{Body, Document, Report, Table},
    text,
};

/// Arguments of `lease`.
#[derive(Args, Debug, PartialEq)]
#[command(
    after_help = "Examples:\n  kvctl lease grant --ttl 30s\n  kvctl set workers/7 here --lease 2d\n  kvctl lease renew 2d\n  \
                  kvctl lease show 2d\n  kvctl lease revoke 2d\n  kvctl lease ls\n\n\
                  A lease that is not renewed in time ends, and all its keys are removed at once."
)]
pub struct Lease {
    /// What
    #[command(subcommand)]
    pub what: What,
}

/// What can be done.
#[derive(Subcommand, Debug, PartialEq)]
pub enum What {
    /// Make a lease, and print its id
    Grant(Grant),
    /// Give a lease its whole time again
    Renew(Which),
    /// End a lease now, and remove its keys
    Revoke(Which),
    /// Show a lease and its keys
    Show(Show),
    /// List all leases
    Ls(Ls),
}

/// Arguments of `lease grant`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl lease grant --ttl 30s\n  kvctl lease grant --ttl 7d")]
pub struct Grant {
    /// For how long: 100ms to 366d
    #[arg(long, value_name = "TIME", value_parser = text::parse_age)]
    pub ttl: Duration,
    /// Repeat the grant whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

/// Arguments of `lease renew` and `lease revoke`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl lease renew 2d\n  kvctl lease revoke 2d\n\n\
                        Ends with 1 where the lease is over, was revoked, or never was.")]
pub struct Which {
    /// Which, as `lease grant` printed it
    #[arg(value_name = "LEASE", value_parser = parse_lease)]
    pub lease: u64,
    /// Repeat the write whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

/// Arguments of `lease show`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl lease show 2d\n  kvctl lease show 2d -o json")]
pub struct Show {
    /// Which
    #[arg(value_name = "LEASE", value_parser = parse_lease)]
    pub lease: u64,
}

/// Arguments of `lease ls`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl lease ls\n  kvctl lease ls -o ndjson")]
pub struct Ls {}

/// Reads the id of a lease.
pub(super) fn parse_lease(text: &str) -> Result<u64, String> {
    let id = u64::from_str_radix(text, 16).ok().filter(|id| (1..=limits::NUMBER).contains(id));
    id.ok_or_else(|| "a lease is a hexadecimal number, as `lease grant` prints it".to_owned())
}

/// How the id of a lease is written.
pub(super) fn show_lease(id: u64) -> String {
    format!("{id:x}")
}

/// The lease that holds a row.
pub(super) fn lease_id(found: &Found) -> Option<String> {
    found.lease.map(|held| show_lease(held.lease))
}

/// How long a row is still to be there, in milliseconds.
pub(super) fn time_left(found: &Found) -> Option<u64> {
    found.lease.and_then(|held| held.remaining_ms)
}

/// A span for people: short ones with their milliseconds.
pub(super) fn left(millis: u64) -> String {
    let span = Duration::from_millis(millis);
    if millis < 1000 { format!("{millis}ms") } else { text::age(span) }
}

/// Refuses a time that no lease has.
pub(super) fn check_ttl(ttl: Duration) -> Result<u64, Failure> {
    let millis = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    protocol::lease::check_ttl(millis).map_err(|error| Failure::from(client::Error::from(error)))?;
    Ok(millis)
}

/// What a write says that leases have no room for; nothing of any other verdict.
pub(super) fn no_room(verdict: Verdict) -> Option<Failure> {
    let (message, next) = match verdict {
        Verdict::TooManyLeases => (
            format!("there are {} leases, which is the most", limits::LEASES),
            "nothing was changed; put keys that go together under one lease, or wait until some are over",
        ),
        Verdict::LeaseFull => (
            format!("the lease holds {} keys, which is the most", limits::LEASE_KEYS),
            "nothing was changed; grant another lease for further keys",
        ),
        Verdict::LeasedTooLarge => (
            format!("the keys of all leases have {} bytes together, which is the most", limits::LEASED_BYTES),
            "nothing was changed; choose shorter keys, or wait until some leases are over",
        ),
        _ => return None,
    };
    Some(Failure::new(Exit::Refused, "KV-0840", "lease_limit", message).hint(next))
}

/// A clean no: there is no such lease.
pub(super) fn no_lease(document: Document, id: u64) -> Report {
    let note = format!("no such lease: {} is over, was revoked, or never was", show_lease(id));
    Report::new(document, Body::Empty).exit(Exit::No).note(note)
}

impl Lease {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match &self.what {
            What::Grant(grant) => check_ttl(grant.ttl).map(drop),
            _ => Ok(()),
        }
    }

    /// Whether it changes anything.
    pub(super) fn changes(&self) -> bool {
        matches!(self.what, What::Grant(_) | What::Renew(_) | What::Revoke(_))
    }

    /// Whether it shows rows while it runs.
    pub(super) fn streams(&self) -> bool {
        matches!(self.what, What::Ls(_))
    }

    pub(super) async fn run(&self, session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
        let client = session.client();
        match &self.what {
            What::Grant(Grant { ttl, request_id }) => {
                let ttl_ms = check_ttl(*ttl)?;
                granted(&client.grant(ttl_ms, *request_id).await?, ttl_ms)
            }
            What::Renew(Which { lease, request_id }) => {
                Ok(renewed(&client.renew(*lease, *request_id).await?, *lease))
            }
            What::Revoke(Which { lease, request_id }) => {
                Ok(revoked(&client.revoke(*lease, *request_id).await?, *lease))
            }
            What::Show(Show { lease }) => Ok(match client.lease(*lease).await? {
                Some((held, keys)) => shown(&held, &keys),
                None => no_lease(
                    Document::new("lease").with("id", show_lease(*lease)).with("found", false),
                    *lease,
                ),
            }),
            What::Ls(Ls {}) => list(session, out).await,
        }
    }
}

fn of_write(name: &str, id: u64, judged: &Judged) -> Document {
    let decided = &judged.decided;
    let document = Document::new(name).with("id", show_lease(id)).with("rev", decided.revision);
    identified(document, judged.is_done(), &judged.request, decided.deduplicated)
}

fn granted(judged: &Judged, ttl_ms: u64) -> Result<Report, Failure> {
    if let Some(failure) = no_room(judged.decided.verdict) {
        return Err(failure);
    }
    let id = judged.decided.revision;
    let document = of_write("lease_grant", id, judged).with("ttl_ms", ttl_ms);
    Ok(Report::new(document, Body::Line(vec![show_lease(id)])))
}

fn renewed(judged: &Judged, id: u64) -> Report {
    let document = of_write("lease_renew", id, judged);
    if !judged.is_done() {
        return no_lease(document.with("ttl_ms", ()), id);
    }
    let ttl_ms = judged.decided.number;
    done(document.with("ttl_ms", ttl_ms), judged, format!("{} again", span(ttl_ms)))
}

fn revoked(judged: &Judged, id: u64) -> Report {
    let document = of_write("lease_revoke", id, judged);
    let removed = judged.decided.number;
    let document = document.with("removed", removed);
    if !judged.is_done() {
        return no_lease(document, id);
    }
    let keys = if removed == 1 { "key" } else { "keys" };
    done(document, judged, format!("removed {removed} {keys}"))
}

fn done(document: Document, judged: &Judged, what: String) -> Report {
    let decided = &judged.decided;
    let mut cells = vec!["ok".to_owned(), format!("rev {}", decided.revision), what];
    if decided.deduplicated {
        cells.push("had been applied before".to_owned());
    }
    Report::new(document, Body::Done(cells))
}

fn span(millis: u64) -> String {
    text::exact_age(Duration::from_millis(millis))
}

fn shown(held: &Held, keys: &[Vec<u8>]) -> Report {
    let texts: Vec<Value> =
        keys.iter().filter_map(|key| std::str::from_utf8(key).ok()).map(Value::from).collect();
    let others = keys.iter().filter(|key| std::str::from_utf8(key).is_err());
    let others: Vec<Value> = others.map(|key| text::base64(key).into()).collect();
    let document = Document::new("lease")
        .with("id", show_lease(held.id))
        .with("found", true)
        .with("ttl_ms", held.ttl_ms)
        .with("remaining_ms", held.remaining_ms)
        .with("own", held.own)
        .with("keys", texts);
    let document = if others.is_empty() { document } else { document.with("keys_b64", others) };
    let facts = vec![
        format!("lease {}", show_lease(held.id)),
        format!("ttl {}", span(held.ttl_ms)),
        format!("left {}", left(held.remaining_ms)),
        format!("keys {}", keys.len()),
    ];
    let table = Table {
        head: facts,
        columns: vec!["KEY"],
        rows: keys.iter().map(|key| vec![String::from_utf8_lossy(key).into_owned()]).collect(),
        ..Table::default()
    };
    Report::new(document, Body::Table(table))
}

async fn list(session: &Session, out: &mut Out<'_>) -> Result<Report, Failure> {
    let kind = Kind { whole: "leases", row: "lease_row", columns: &["LEASE", "TTL", "LEFT", "KEYS"] };
    let mut listing = Listing::new(out, kind);
    let (mut after, mut count) = (0, 0_u64);
    loop {
        let (leases, more) = session.client().leases(after).await?;
        for lease in &leases {
            listing.row(|| cells(lease), || row(lease));
            (after, count) = (lease.id, count.saturating_add(1));
        }
        listing.flush()?;
        if !more {
            return listing.end(Document::bare().with("count", count));
        }
    }
}

fn cells(lease: &Held) -> Vec<String> {
    vec![show_lease(lease.id), span(lease.ttl_ms), left(lease.remaining_ms), lease.keys.to_string()]
}

fn row(lease: &Held) -> Document {
    Document::bare()
        .with("id", show_lease(lease.id))
        .with("ttl_ms", lease.ttl_ms)
        .with("remaining_ms", lease.remaining_ms)
        .with("own", lease.own)
        .with("key_count", lease.keys)
}

#[cfg(test)]
mod tests;
