//! `revert`: a key gets what it held earlier.
//!
//! The past is read, and then it is written like anything else. That is no less safe than if the cluster did both at once:
//! what a key held at a revision never changes, so nothing can come between the two that would make the write wrong; and
//! the cluster need not walk through a key's versions where writes are applied, where nothing else could happen meanwhile.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Args;
use client::{Error, Read, Written};
use protocol::RequestId;

use super::{
    data::{Freshness, check_key},
    past::{At, When},
    write::{done, identified},
};
use crate::{
    connect::Session,
    error::Failure,
    report::{Body, Document, Report},
};

/// Arguments of `revert`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl revert app/mode --to 41\n  kvctl revert app/mode --at 10m\n\n\
                        A key that was not there then is removed. `kvctl history KEY` shows what there is to go back to.")]
pub struct Revert {
    /// Which key
    pub key: OsString,
    /// To what it held at this revision
    #[arg(long, value_name = "REV", required_unless_present = "at", conflicts_with = "at")]
    pub to: Option<u64>,
    /// To what it held so long ago (30s, 10m, 2h, 1d), or at a time such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "AGE|TIME", value_parser = At::parse)]
    pub at: Option<At>,
    /// Repeat the write whose outcome was unknown
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    pub request_id: Option<RequestId>,
}

impl Revert {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        check_key(&self.key)
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let (client, key) = (session.client(), self.key.as_bytes());
        let when = When { rev: self.to, at: self.at };
        let then = when.read(session, key, Freshness::default()).await?;
        let written = match &then.found {
            Some(found) => client.set(key, &found.value, self.request_id).await,
            None => client.delete(key, self.request_id).await,
        };
        match written {
            Ok(written) => Ok(self.report(&then, &written)),
            Err(error) => Err(Self::failed(error, then.revision)),
        }
    }

    /// How long ago that was is another revision by now, so a repetition must name the one that was meant.
    fn failed(error: Error, to: u64) -> Failure {
        let hint = match &error {
            Error::Unknown { request, .. } => Some(format!(
                "retry safely: the same command with --to {to} in place of what it had, and --request-id {request}"
            )),
            _ => None,
        };
        let failure = Failure::from(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }

    fn report(&self, then: &Read, written: &Written) -> Report {
        let document = Document::new("revert")
            .with_bytes("key", "key_b64", self.key.as_bytes())
            .with("rev", written.revision)
            .with("to_rev", then.revision)
            .with("found", then.found.is_some());
        let document = identified(document, true, &written.request, written.deduplicated)
            .with("existed", written.existed);
        let word = if then.found.is_some() { "ok" } else { "deleted" };
        let Body::Done(mut cells) = done(word, written.revision, written.deduplicated) else {
            return Report::new(document, Body::Empty);
        };
        let key = match &then.found {
            Some(found) => format!("as at rev {}, written at {}", then.revision, found.revision),
            None => format!("as at rev {}, where it was not there", then.revision),
        };
        cells.push(key);
        Report::new(document, Body::Done(cells))
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClusterId, response::Found};

    use super::*;

    fn revert() -> Revert {
        Revert { key: "k".into(), to: None, at: At::parse("10m").ok(), request_id: None }
    }

    fn written() -> Written {
        let request = RequestId { token: [1; 16], learned: 2, cluster: ClusterId([3; 16]) };
        Written { revision: 50, existed: true, deduplicated: false, request }
    }

    #[test]
    fn a_report_says_to_what_it_went_back() {
        let found = Found { value: b"v".to_vec(), revision: 41, created: 12, version: 3, lease: None };
        let then = Read { found: Some(found), revision: 45, served_by: 1, staleness_ms: Some(0) };
        let report = revert().report(&then, &written());
        let Body::Done(cells) = report.body else { panic!() };
        assert_eq!(cells, ["ok", "rev 50", "as at rev 45, written at 41"]);
        let gone = Read { found: None, ..then };
        let Body::Done(cells) = revert().report(&gone, &written()).body else { panic!() };
        assert_eq!(cells, ["deleted", "rev 50", "as at rev 45, where it was not there"]);
    }

    #[test]
    fn a_repetition_names_the_revision_that_was_meant() {
        let unknown = Error::Unknown { request: written().request, why: "n1 went".into() };
        let hint = Revert::failed(unknown, 45).hint.unwrap();
        let request = written().request;
        let want = format!(
            "retry safely: the same command with --to 45 in place of what it had, and --request-id {request}"
        );
        assert_eq!(hint, want);
        assert_eq!(Revert::failed(Error::Deadline { why: "slow".into() }, 45).code, "KV-0501");
    }
}
