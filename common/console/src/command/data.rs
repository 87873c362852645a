//! Keys and values: set, del, exists (`get` has a file of its own). Both are bytes; text is only how they are typed and shown.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use client::Written;
use protocol::{RequestId, limits};

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

/// Arguments of `set`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl set app/mode blue\n  kvctl set app/logo --file logo.png\n  \
                        date | kvctl set app/started --file -\n  kvctl set app/offset -5")]
pub struct Set {
    /// 1 to 4096 bytes
    pub key: OsString,
    /// Up to 512 KiB; may begin with a dash
    #[arg(allow_hyphen_values = true, required_unless_present = "file", conflicts_with = "file")]
    pub value: Option<OsString>,
    /// Take the value from a file, or with `-` from stdin
    #[arg(long, value_name = "FILE|-")]
    pub file: Option<PathBuf>,
    /// Repeat the write whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// The bytes of `file`, once read.
    #[arg(skip)]
    loaded: Vec<u8>,
}

impl Set {
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        check_key(&self.key)?;
        if let Some(file) = &self.file {
            self.loaded = load(file)?;
        }
        let size = self.bytes().len();
        if size > limits::VALUE_BYTES {
            return Err(Failure::too_large("value", &size.to_string(), limits::VALUE_BYTES as u64));
        }
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        self.value.as_ref().map_or(&self.loaded, |value| value.as_bytes())
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let written = session.client().set(self.key.as_bytes(), self.bytes(), self.request_id).await?;
        Ok(self.report(&written))
    }

    fn report(&self, written: &Written) -> Report {
        Report::new(written_document("set", self.key.as_bytes(), written), done("ok", written))
    }
}

/// Arguments of `del`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  kvctl del app/mode")]
pub struct Del {
    /// Which key: exactly one
    pub key: OsString,
    /// Repeat the removal whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

impl Del {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let written = session.client().delete(self.key.as_bytes(), self.request_id).await?;
        Ok(self.report(&written))
    }

    fn report(&self, written: &Written) -> Report {
        let document = written_document("del", self.key.as_bytes(), written).with("existed", written.existed);
        if written.existed {
            Report::new(document, done("deleted", written))
        } else {
            absent(document, &self.key, 1)
        }
    }
}

/// Arguments of `exists`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Example:\n  if kvctl exists -q app/mode; then echo configured; fi")]
pub struct Exists {
    /// Which key
    pub key: OsString,
    /// How fresh
    #[arg(long, value_name = "LEVEL", default_value = "linearizable")]
    pub consistency: Consistency,
}

impl Exists {
    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let read = session.client().exists(self.key.as_bytes(), self.consistency.into()).await?;
        Ok(self.report(&read))
    }

    fn report(&self, read: &client::Read) -> Report {
        let there = read.found.is_some();
        let document = Document::new("exists")
            .with_bytes("key", "key_b64", self.key.as_bytes())
            .with("exists", there)
            .with("rev", read.revision)
            .with("served_by", format!("{:x}", read.served_by))
            .with("consistency", self.consistency.word());
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

/// The bytes of a file or of stdin; never more than one past the limit is read.
fn load(file: &Path) -> Result<Vec<u8>, Failure> {
    let limit = limits::VALUE_BYTES as u64;
    let one_more = limit.saturating_add(1);
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        io::stdin().lock().take(one_more).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(one_more).read_to_end(&mut bytes))
    };
    result.map_err(|error| Failure::file("read", file, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::too_large("value", &format!("more than {limit}"), limit));
    }
    Ok(bytes)
}

fn written_document(name: &str, key: &[u8], written: &Written) -> Document {
    Document::new(name)
        .with_bytes("key", "key_b64", key)
        .with("rev", written.revision)
        .with("applied", true)
        .with("request_id", written.request.to_string())
        .with("deduplicated", written.deduplicated)
}

fn done(word: &str, written: &Written) -> Body {
    let mut cells = vec![word.to_owned(), format!("rev {}", written.revision)];
    if written.deduplicated {
        cells.push("had been applied before".to_owned());
    }
    Body::Done(cells)
}

pub(super) fn absent(document: Document, key: &OsString, exit: u8) -> Report {
    let exit = Exit::absent(exit);
    Report::new(document, Body::Empty).exit(exit).note(format!("no such key: {}", text::key(key.as_bytes())))
}

#[cfg(test)]
mod tests;
