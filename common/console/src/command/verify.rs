//! `verify`: whether all nodes hold the same, read from their disks and compared at one revision.
//!
//! Each node hashes the rows of one revision as it reads them (`Want::Hash`), so that what a disk made of them counts and
//! not what the node believes; a row also carries a hash of its own, by which a damaged one is known without the others. The
//! past makes the meeting simple: a node that has gone on meanwhile still has that revision, and one that has not come so far
//! is waited for. What is kept of the past and the memory of requests are compared by the hash that each node keeps of
//! them, where the nodes are seen at one index.
//!
//! Who is wrong is said where it can be known: the fewer against more than half of all nodes, those among them that could not
//! be compared, or those with damaged rows.

use std::time::{Duration, Instant};

use clap::Args;
use client::{Error, NodeView};
use protocol::{
    Consistency, Refused, Scan,
    scan::{Digest, Want},
};
use serde_json::{Value, json};

use super::{assess::nobody, ping::name};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report, Table},
};

mod deep;

use deep::Difference;

/// So long the nodes are looked at to see them at one index; under load they are not.
const MEETING: Duration = Duration::from_millis(500);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(20);
/// So often another revision is taken where one was no longer kept.
const ROUNDS: usize = 3;

/// Arguments of `verify`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl verify\n  kvctl verify --deep\n\n\
                        Every node reads all keys and values from its disk; writes and reads go on.\n\n\
                        Ends with 0 when all nodes hold the same, 9 when they do not, 10 when those that could be\n\
                        compared do, 3 when none answered.")]
pub struct Verify {
    /// Where nodes differ, also find the keys
    #[arg(long)]
    pub deep: bool,
}

/// What one node came to.
#[derive(Clone, Debug)]
struct Row {
    name: String,
    address: String,
    seen: Result<Seen, String>,
}

/// What one node holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Seen {
    digest: Digest,
    /// The hash that it keeps itself, where all were seen at one index.
    kept: Option<u64>,
}

impl Verify {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let began = Instant::now();
        let (mut rows, mut index, mut gone) = compare(session).await?;
        for _ in 1..ROUNDS {
            if !gone {
                break;
            }
            (rows, index, gone) = compare(session).await?;
        }
        let verdict = Verdict::of(&rows);
        let differences = if self.deep && verdict.rows_differ {
            let nodes: Vec<(String, String)> = rows
                .iter()
                .filter(|row| row.seen.is_ok())
                .map(|row| (row.name.clone(), row.address.clone()))
                .collect();
            Some(deep::differences(session, &nodes, index).await?)
        } else {
            None
        };
        Ok(report(&rows, &verdict, index, differences.as_ref(), began.elapsed()))
    }
}

/// What all nodes hold at one revision, and whether one of them no longer keeps it.
async fn compare(session: &Session) -> Result<(Vec<Row>, u64, bool), Failure> {
    let (views, index, met) = meet(session).await?;
    let addresses: Vec<String> =
        views.iter().filter(|view| view.status.is_ok()).map(|view| view.address.clone()).collect();
    let scan = Scan { at: Some(index), want: Want::Hash, consistency: Consistency::Stale, ..Scan::default() };
    let mut digests = session.client().digests(&addresses, &scan).await.into_iter();
    let mut gone = false;
    let mut rows = Vec::new();
    for view in &views {
        let seen = match &view.status {
            Err(error) => Err(error.to_string()),
            Ok(status) => match digests.next() {
                Some(Ok(digest)) => Ok(Seen { digest, kept: met.then_some(status.state_hash) }),
                Some(Err(error)) => {
                    gone |= matches!(error, Error::Refused(Refused::NotKept { .. }));
                    Err(error.to_string())
                }
                None => Err("was not asked".to_owned()),
            },
        };
        rows.push(Row { name: name(view).to_owned(), address: view.address.clone(), seen });
    }
    Ok((rows, index, gone))
}

/// All nodes at the index that they share, or else the highest that one of them has applied.
async fn meet(session: &Session) -> Result<(Vec<NodeView>, u64, bool), Failure> {
    let began = Instant::now();
    loop {
        let views = session.client().status().await;
        let mut applied = views.iter().filter_map(|view| Some(view.status.as_ref().ok()?.applied));
        let Some(first) = applied.next() else { return Err(nobody(&views)) };
        let (mut highest, mut met) = (first, true);
        for other in applied {
            (highest, met) = (highest.max(other), met && other == first);
        }
        if met || began.elapsed() >= MEETING {
            return Ok((views, highest, met));
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// What the comparison came to.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    /// Whether all that could be compared hold the same, undamaged.
    consistent: bool,
    rows_differ: bool,
    /// By the order of the rows, a word each.
    words: Vec<&'static str>,
}

impl Verdict {
    fn of(rows: &[Row]) -> Self {
        let seen: Vec<Seen> = rows.iter().filter_map(|row| row.seen.as_ref().ok().copied()).collect();
        let fellows = |one: &Seen| seen.iter().filter(|other| *other == one).count();
        let most = seen.iter().max_by_key(|one| fellows(one)).copied();
        let right = most.filter(|one| fellows(one) > rows.len() / 2);
        let same = most.is_none_or(|one| fellows(&one) == seen.len());
        let hash = |seen: &Seen| (seen.digest.hash, seen.digest.count);
        let rows_differ = seen.windows(2).any(|pair| matches!(pair, [a, b] if hash(a) != hash(b)));
        let word = |row: &Row| match (&row.seen, right) {
            (Err(_), _) => "not compared",
            (Ok(seen), _) if seen.digest.damaged > 0 => "damaged",
            (Ok(seen), Some(right)) if *seen != right => "differs",
            (Ok(_), None) if !same => "unclear",
            (Ok(_), _) => "same",
        };
        let damaged = seen.iter().any(|seen| seen.digest.damaged > 0);
        Self { consistent: same && !damaged, rows_differ, words: rows.iter().map(word).collect() }
    }
}

fn report(
    rows: &[Row],
    verdict: &Verdict,
    index: u64,
    differences: Option<&(Vec<Difference>, bool)>,
    took: Duration,
) -> Report {
    let compared = rows.iter().filter(|row| row.seen.is_ok()).count();
    let met = rows.iter().filter_map(|row| row.seen.as_ref().ok()).all(|seen| seen.kept.is_some());
    let nodes: Vec<Value> = rows.iter().zip(&verdict.words).map(|(row, word)| node(row, word)).collect();
    let (keys, more) = differences.map_or((&[][..], false), |(keys, more)| (keys.as_slice(), *more));
    let document = Document::new("verify")
        .with("index", index)
        .with("consistent", verdict.consistent)
        .with("asked", rows.len())
        .with("compared", compared)
        .with("history_compared", met)
        .with("nodes", nodes)
        .with("differences", keys.iter().map(Difference::to_json).collect::<Vec<Value>>())
        .with("more_differences", more)
        .with("took_ms", took.as_secs_f64() * 1000.0);
    let all_same = verdict.consistent && compared == rows.len();
    let exit = match (verdict.consistent, all_same) {
        (false, _) => Exit::Integrity,
        (true, false) => Exit::Partial,
        (true, true) => Exit::Success,
    };
    let body = if all_same {
        let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
        let names = names.join(" ");
        let word = if rows.len() == 1 { "sound" } else { "identical" };
        Body::Line(vec![format!("{names} {word} at index {index} ({:.1}s)", took.as_secs_f64())])
    } else {
        Body::Table(table(rows, verdict, index, (keys, more)))
    };
    let report = Report::new(document, body).exit(exit);
    if met || compared < 2 {
        return report;
    }
    report.note(
        "keys and values only: the nodes were never seen at one index, to compare their history as well",
    )
}

fn table(rows: &[Row], verdict: &Verdict, index: u64, (keys, more): (&[Difference], bool)) -> Table {
    let cells = |(row, word): (&Row, &&str)| match &row.seen {
        Ok(Seen { digest, .. }) => vec![
            row.name.clone(),
            digest.count.to_string(),
            format!("{:016x}", digest.hash),
            digest.damaged.to_string(),
            (*word).to_owned(),
        ],
        Err(_) => vec![row.name.clone(), "-".into(), "-".into(), "-".into(), (*word).to_owned()],
    };
    let mut findings: Vec<String> =
        rows.iter().zip(&verdict.words).filter_map(|(row, word)| finding(row, word, index)).collect();
    if verdict.words.contains(&"unclear") {
        findings.push(format!(
            "the nodes do not hold the same at index {index}, and no more than half of all agree: which is right cannot be \
             told; save a backup of each"
        ));
    }
    findings.extend(keys.iter().map(Difference::finding));
    if more {
        findings.push("there are more keys that differ".to_owned());
    }
    Table {
        columns: vec!["NODE", "KEYS", "HASH", "DAMAGED", "VERDICT"],
        rows: rows.iter().zip(&verdict.words).map(cells).collect(),
        findings,
        ..Table::default()
    }
}

fn finding(row: &Row, word: &str, index: u64) -> Option<String> {
    let Row { name, address, seen } = row;
    match (seen, word) {
        (Err(error), _) => Some(format!("{name} ({address}) was not compared: {error}")),
        (Ok(seen), "damaged") => {
            let rows = seen.digest.damaged;
            let keys = if rows == 1 { "1 key that is".to_owned() } else { format!("{rows} keys that are") };
            Some(format!("{name} holds {keys} not what was written: stop it and look at its disk"))
        }
        (Ok(_), "differs") => {
            Some(format!("{name} holds something else than the others at index {index}: stop it"))
        }
        _ => None,
    }
}

fn node(row: &Row, word: &str) -> Value {
    let seen = row.seen.as_ref().ok();
    json!({
        "name": row.name,
        "addr": row.address,
        "verdict": word,
        "keys": seen.map(|seen| seen.digest.count),
        "damaged": seen.map(|seen| seen.digest.damaged),
        "hash": seen.map(|seen| format!("{:016x}", seen.digest.hash)),
        "state_hash": seen.and_then(|seen| seen.kept).map(|kept| format!("{kept:016x}")),
        "error": row.seen.as_ref().err(),
    })
}

#[cfg(test)]
mod tests;
