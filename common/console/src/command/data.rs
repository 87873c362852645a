//! Keys and values: exists, and what all commands on keys share. Both are bytes; text is only how they are typed and shown.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, time::Duration};

use clap::{Args, ValueEnum};
use protocol::limits;

use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub enum Consistency {
    /// It reflects every acknowledged write
    #[default]
    Linearizable,
    /// Whatever the node asked has; needs no leader
    Stale,
}

impl Consistency {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Linearizable => "linearizable",
            Self::Stale => "stale",
        }
    }
}

impl From<Consistency> for protocol::Consistency {
    fn from(consistency: Consistency) -> Self {
        match consistency {
            Consistency::Linearizable => Self::Linearizable,
            Consistency::Stale => Self::Stale,
        }
    }
}

/// How fresh a read must be, and how old it may be where it need not.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Freshness {
    /// How fresh
    #[arg(long, value_name = "LEVEL", default_value = "linearizable")]
    pub consistency: Consistency,
    /// Of a stale read: nothing may be missing that was acknowledged longer ago than this
    #[arg(long, value_name = "AGE", value_parser = text::parse_age)]
    pub max_staleness: Option<Duration>,
}

impl Freshness {
    /// What the cluster is asked for. A linearizable read is within every bound.
    pub(super) fn wanted(self) -> protocol::Consistency {
        match (self.consistency, self.max_staleness) {
            (Consistency::Stale, Some(most)) => {
                protocol::Consistency::Within(u64::try_from(most.as_millis()).unwrap_or(u64::MAX))
            }
            (level, _) => level.into(),
        }
    }
}

/// Arguments of `exists`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  if kvctl exists -q app/mode; then echo configured; fi")]
pub struct Exists {
    /// Which key
    pub key: OsString,
    /// How fresh.
    #[command(flatten)]
    pub fresh: Freshness,
}

impl Exists {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let read = session.client().exists(self.key.as_bytes(), self.fresh.wanted()).await?;
        Ok(self.report(&read))
    }

    fn report(&self, read: &client::Read) -> Report {
        let there = read.found.is_some();
        let document = Document::new("exists")
            .with_bytes("key", "key_b64", self.key.as_bytes())
            .with("exists", there)
            .with("rev", read.revision)
            .with("served_by", format!("{:x}", read.served_by))
            .with("consistency", self.fresh.consistency.word())
            .with("staleness_ms", read.staleness_ms);
        let word = if there { "yes" } else { "no" };
        let report = Report::new(document, Body::Done(vec![word.to_owned()]));
        report.exit(if there { Exit::Success } else { Exit::No })
    }
}

/// Refuses what no server would take, in a server's words, before anything is sent.
pub(super) fn check_key(key: &OsString) -> Result<(), Failure> {
    check_key_bytes(key.as_bytes())
}

/// The same of a key that is part of an argument.
pub(super) fn check_key_bytes(key: &[u8]) -> Result<(), Failure> {
    match key.len() {
        0 => Err(Failure::empty_key()),
        size if size > limits::KEY_BYTES => {
            Err(Failure::too_large("key", &size.to_string(), limits::KEY_BYTES as u64))
        }
        _ => Ok(()),
    }
}

pub(super) fn absent(document: Document, key: &OsString, exit: u8) -> Report {
    let exit = Exit::absent(exit);
    Report::new(document, Body::Empty).exit(exit).note(absent_note(key))
}

pub(super) fn absent_note(key: &OsString) -> String {
    format!("no such key: {}", text::key(key.as_bytes()))
}

#[cfg(test)]
mod tests;
