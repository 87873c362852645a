//! Writes of one key: set, and what it shares with del and incr. Whether a condition holds is the cluster's to say; a
//! condition that does not is a clean "no", with what was found instead.

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Read},
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use client::{Judged, Written};
use protocol::{Condition, Hold, RequestId, Verdict, limits};

use super::{
    data::check_key,
    lease::{check_ttl, no_lease, no_room, parse_lease, show_lease},
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// What a write may ask of its key.
#[derive(Args, Clone, Debug, PartialEq, Eq, Default)]
pub struct Expectation {
    /// Only if the key was written last at this revision
    #[arg(long, value_name = "REV")]
    pub if_rev: Option<u64>,
    /// Only if the key has this value
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, conflicts_with = "if_rev")]
    pub if_value: Option<OsString>,
    /// Print the value before
    #[arg(long)]
    pub prev: bool,
}

impl Expectation {
    /// The condition; `None` where nothing is asked, not even the value before.
    pub(super) fn condition(&self, if_absent: bool) -> Option<Condition> {
        match (if_absent, self.if_rev, &self.if_value) {
            (true, ..) => Some(Condition::Absent),
            (_, Some(revision), _) => Some(Condition::Revision(revision)),
            (.., Some(value)) => Some(Condition::Value(value.as_bytes().to_vec())),
            _ => self.prev.then_some(Condition::Always),
        }
    }

    /// Refuses a value that no key can have.
    pub(super) fn check(&self) -> Result<(), Failure> {
        check_value(self.if_value.as_ref().map_or(0, |value| value.len()))
    }
}

/// How long a key is to be there; for ever where nothing is said.
#[derive(Args, Clone, Debug, PartialEq, Eq, Default)]
pub struct Term {
    /// Remove it again after so long: 100ms to 366d
    #[arg(long, value_name = "TIME", value_parser = text::parse_age, conflicts_with_all = ["lease", "keep_lease"])]
    pub ttl: Option<Duration>,
    /// Remove it with this lease
    #[arg(long, value_name = "LEASE", value_parser = parse_lease, conflicts_with = "keep_lease")]
    pub lease: Option<u64>,
    /// Remove it when it would have been removed before this write
    #[arg(long)]
    pub keep_lease: bool,
}

impl Term {
    fn hold(&self) -> Result<Option<Hold>, Failure> {
        Ok(match (self.ttl, self.lease) {
            (Some(ttl), _) => Some(Hold::Ttl(check_ttl(ttl)?)),
            (_, Some(lease)) => Some(Hold::Lease(lease)),
            _ => self.keep_lease.then_some(Hold::Keep),
        })
    }
}

/// Arguments of `set`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl set app/mode blue\n  kvctl set app/logo --file logo.png\n  \
                        date | kvctl set app/started --file -\n  kvctl set app/offset -5\n  \
                        kvctl set app/owner me --if-absent\n  kvctl set app/mode green --if-rev 45\n  \
                        kvctl set app/mode green --if-value blue --prev\n  kvctl set session/7 me --ttl 30s\n  \
                        kvctl set workers/7 here --lease 2d")]
pub struct Set {
    /// 1 to 4096 bytes
    pub key: OsString,
    /// Up to 512 KiB; may begin with a dash
    #[arg(allow_hyphen_values = true, required_unless_present = "file", conflicts_with = "file")]
    pub value: Option<OsString>,
    /// Take the value from a file, or with `-` from stdin
    #[arg(long, value_name = "FILE|-")]
    pub file: Option<PathBuf>,
    /// Only if the key is not there
    #[arg(long, conflicts_with_all = ["if_rev", "if_value"])]
    pub if_absent: bool,
    /// What else must be so.
    #[command(flatten)]
    pub expect: Expectation,
    /// How long it is to be there.
    #[command(flatten)]
    pub term: Term,
    /// Repeat the write whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
    /// The bytes of `file`, once read.
    #[arg(skip)]
    pub(super) loaded: Vec<u8>,
}

impl Set {
    pub(super) fn prepare(&mut self) -> Result<(), Failure> {
        check_key(&self.key)?;
        if let Some(file) = &self.file {
            self.loaded = load("value", file, limits::VALUE_BYTES)?;
        }
        check_value(self.bytes().len())?;
        self.term.hold()?;
        self.expect.check()
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.value.as_ref().map_or(&self.loaded, |value| value.as_bytes())
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let (client, key, id) = (session.client(), self.key.as_bytes(), self.request_id);
        if let Some(hold) = self.term.hold()? {
            let condition = self.expect.condition(self.if_absent).unwrap_or(Condition::Always);
            let prev = self.expect.prev;
            let judged = client.set_held(key, self.bytes(), hold, condition.clone(), prev, id).await?;
            return self.report_held(&judged, &condition, hold);
        }
        let Some(condition) = self.expect.condition(self.if_absent) else {
            return Ok(self.report(&client.set(key, self.bytes(), id).await?));
        };
        let judged = client.set_if(key, self.bytes(), condition.clone(), self.expect.prev, id).await?;
        Ok(self.report_judged(&judged, &condition))
    }

    pub(super) fn report(&self, written: &Written) -> Report {
        Report::new(
            written_document("set", self.key.as_bytes(), written),
            done("ok", written.revision, written.deduplicated),
        )
    }

    pub(super) fn report_held(
        &self,
        judged: &Judged,
        condition: &Condition,
        hold: Hold,
    ) -> Result<Report, Failure> {
        let decided = &judged.decided;
        if let Some(failure) = no_room(decided.verdict) {
            return Err(failure);
        }
        let lease = match hold {
            Hold::Ttl(_) => Some(decided.revision).filter(|_| judged.is_done()),
            Hold::Lease(lease) => Some(lease),
            Hold::Keep => None,
        };
        if let (Verdict::NoLease, Some(lease)) = (decided.verdict, lease) {
            let document = judged_document("set", self.key.as_bytes(), judged);
            return Ok(no_lease(document.with("lease", show_lease(lease)), lease));
        }
        let mut report = self.report_judged(judged, condition);
        if let Some(lease) = lease {
            report.document = report.document.with("lease", show_lease(lease));
        }
        Ok(report)
    }

    pub(super) fn report_judged(&self, judged: &Judged, condition: &Condition) -> Report {
        let key = self.key.as_bytes();
        let document = judged_document("set", key, judged);
        if !judged.is_done() {
            return unmet(document, "written", key, judged, condition);
        }
        if self.expect.prev { previous(document, "ok", judged) } else { plain(document, "ok", judged) }
    }
}

/// The bytes of a write that was done, with nothing to print but that.
pub(super) fn plain(document: Document, word: &str, judged: &Judged) -> Report {
    Report::new(document, done(word, judged.decided.revision, judged.decided.deduplicated))
}

/// The value before as data. A repetition has none: values are not remembered.
pub(super) fn previous(document: Document, word: &str, judged: &Judged) -> Report {
    let decided = &judged.decided;
    let told = format!("{word}  rev {}", decided.revision);
    match &decided.previous {
        Some(found) => Report::new(document, Body::Bytes(found.value.clone())).note(told),
        None if decided.deduplicated && decided.existed => Report::new(document, Body::Empty)
            .note(format!("{told}  had been applied before: the value before it is not kept")),
        None => Report::new(document, Body::Empty).note(format!("{told}  there was no value before")),
    }
}

/// A condition did not hold: what was found instead.
pub(super) fn unmet(
    document: Document,
    done: &str,
    key: &[u8],
    judged: &Judged,
    condition: &Condition,
) -> Report {
    let found = judged.decided.number;
    let why = match condition {
        _ if !judged.decided.existed => "is absent".to_owned(),
        Condition::Value(_) => format!("has another value, at revision {found}"),
        Condition::Absent => format!("is there, at revision {found}"),
        Condition::Revision(_) | Condition::Always => format!("is at revision {found}"),
    };
    let body = judged.previous().map_or(Body::Empty, |found| Body::Bytes(found.value.clone()));
    let note = format!("not {done}: {} {why}", text::key(key));
    Report::new(document, body).exit(Exit::No).note(note)
}

/// Refuses a value that no server would take, in a server's words, before anything is sent.
fn check_value(size: usize) -> Result<(), Failure> {
    if size > limits::VALUE_BYTES {
        return Err(Failure::too_large("value", &size.to_string(), limits::VALUE_BYTES as u64));
    }
    Ok(())
}

/// The bytes of a file or of stdin; never more than one past the limit is read.
pub(super) fn load(what: &str, file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let limit = limit as u64;
    let one_more = limit.saturating_add(1);
    let mut bytes = Vec::new();
    let result = if file == Path::new("-") {
        io::stdin().lock().take(one_more).read_to_end(&mut bytes)
    } else {
        File::open(file).and_then(|file| file.take(one_more).read_to_end(&mut bytes))
    };
    result.map_err(|error| Failure::file("read", file, &error))?;
    if bytes.len() as u64 > limit {
        return Err(Failure::too_large(what, &format!("more than {limit}"), limit));
    }
    Ok(bytes)
}

pub(super) fn written_document(name: &str, key: &[u8], written: &Written) -> Document {
    let document = Document::new(name).with_bytes("key", "key_b64", key).with("rev", written.revision);
    identified(document, true, &written.request, written.deduplicated)
}

/// What every document of a write ends with.
pub(super) fn identified(
    document: Document,
    applied: bool,
    request: &RequestId,
    deduplicated: bool,
) -> Document {
    document
        .with("applied", applied)
        .with("request_id", request.to_string())
        .with("deduplicated", deduplicated)
}

/// The document of a write that was judged by what was there.
pub(super) fn judged_document(name: &str, key: &[u8], judged: &Judged) -> Document {
    let decided = &judged.decided;
    let document = Document::new(name).with_bytes("key", "key_b64", key).with("rev", decided.revision);
    let document = identified(document, judged.is_done(), &judged.request, decided.deduplicated)
        .with("prev_rev", decided.existed.then_some(decided.number));
    match &decided.previous {
        Some(found) => document.with_bytes("prev_value", "prev_value_b64", &found.value),
        None => document,
    }
}

/// One line that says that it is done.
pub(super) fn done(word: &str, revision: u64, deduplicated: bool) -> Body {
    let mut cells = vec![word.to_owned(), format!("rev {revision}")];
    if deduplicated {
        cells.push("had been applied before".to_owned());
    }
    Body::Done(cells)
}

#[cfg(test)]
mod tests;
