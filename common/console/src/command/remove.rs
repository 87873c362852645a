//! `del`: one key, or all keys of a prefix or a range at once. Many are never removed by accident: more than `--max` are
//! refused, all of them.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Args;
use client::{Judged, Written};
use protocol::{Condition, DecodeError, KeyRange, RequestId, Verdict, limits};

use super::{
    data::{absent, check_key},
    write::{Expectation, done, identified, judged_document, plain, previous, unmet, written_document},
};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// Arguments of `del`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl del app/mode\n  kvctl del app/mode --if-rev 45\n  \
                        kvctl del --prefix app/cache/\n  kvctl del --range log/2025 log/2026 --max 5000")]
pub struct Del {
    /// Which key: exactly one
    #[arg(required_unless_present_any = ["prefix", "range"], conflicts_with_all = ["prefix", "range"])]
    pub key: Option<OsString>,
    /// What must be so.
    #[command(flatten)]
    pub expect: Expectation,
    /// Every key that begins so
    #[arg(long, conflicts_with_all = ["range", "if_rev", "if_value", "prev"])]
    pub prefix: Option<OsString>,
    /// Every key from the first on, without the second; an empty second is the end
    #[arg(long, num_args = 2, value_names = ["FROM", "TO"], conflicts_with_all = ["if_rev", "if_value", "prev"])]
    pub range: Option<Vec<OsString>>,
    /// Remove nothing when there are more keys than this, at most 10000
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max: u32,
    /// Repeat the removal whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

impl Del {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        if let Some(key) = &self.key {
            check_key(key)?;
            return self.expect.check();
        }
        self.keys().check().map_err(|error| match error {
            DecodeError::TooLarge { what, size, limit } => {
                Failure::too_large(what, &size.to_string(), limit as u64)
            }
            other => Failure::usage(other.to_string()).hint("FROM comes before TO; an empty TO is the end"),
        })
    }

    /// The keys that are meant, where it is not one.
    fn keys(&self) -> KeyRange {
        match self.range.as_deref() {
            Some([from, to]) => {
                let to = Some(to.as_bytes().to_vec()).filter(|to| !to.is_empty());
                KeyRange { from: from.as_bytes().to_vec(), to }
            }
            _ => KeyRange::prefix(self.prefix.as_ref().map_or(&[], |prefix| prefix.as_bytes())),
        }
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let (client, id) = (session.client(), self.request_id);
        let Some(key) = &self.key else {
            return self.report_many(&client.delete_range(self.keys(), self.max, id).await?);
        };
        let Some(condition) = self.expect.condition(false) else {
            return Ok(report(key, &client.delete(key.as_bytes(), id).await?));
        };
        let judged = client.delete_if(key.as_bytes(), condition.clone(), self.expect.prev, id).await?;
        Ok(self.report_judged(key, &judged, &condition))
    }

    pub(super) fn report_judged(&self, key: &OsString, judged: &Judged, condition: &Condition) -> Report {
        let existed = judged.decided.existed;
        let document = judged_document("del", key.as_bytes(), judged).with("existed", existed);
        if !judged.is_done() {
            return unmet(document, "deleted", key.as_bytes(), judged, condition);
        }
        if !existed {
            return absent(document, key, 1);
        }
        if self.expect.prev {
            previous(document, "deleted", judged)
        } else {
            plain(document, "deleted", judged)
        }
    }

    pub(super) fn report_many(&self, judged: &Judged) -> Result<Report, Failure> {
        let decided = &judged.decided;
        let which = match (&self.prefix, self.range.as_deref()) {
            (Some(prefix), _) => format!("begin with {}", text::key(prefix.as_bytes())),
            (None, Some([from, to])) => {
                format!("lie between {} and {}", text::key(from.as_bytes()), text::key(to.as_bytes()))
            }
            (None, _) => "were meant".to_owned(),
        };
        if decided.verdict == Verdict::TooMany {
            let message = format!("more than {} keys {which}; nothing was deleted", self.max);
            let hint = format!("name fewer, or allow more with --max, at most {}", limits::DELETED_KEYS);
            return Err(Failure::new(Exit::Refused, "KV-0808", "too_many", message).hint(hint));
        }
        let document = identified(
            Document::new("del").with("count", decided.number).with("rev", decided.revision),
            true,
            &judged.request,
            decided.deduplicated,
        )
        .with("existed", decided.existed);
        if decided.number == 0 {
            return Ok(Report::new(document, Body::Empty).exit(Exit::No).note(format!("no keys {which}")));
        }
        let keys = if decided.number == 1 { "1 key".to_owned() } else { format!("{} keys", decided.number) };
        let Body::Done(mut cells) = done("deleted", decided.revision, decided.deduplicated) else {
            return Ok(Report::new(document, Body::Empty));
        };
        cells.insert(1, keys);
        Ok(Report::new(document, Body::Done(cells)))
    }
}

pub(super) fn report(key: &OsString, written: &Written) -> Report {
    let document = written_document("del", key.as_bytes(), written).with("existed", written.existed);
    if written.existed {
        Report::new(document, done("deleted", written.revision, written.deduplicated))
    } else {
        absent(document, key, 1)
    }
}
