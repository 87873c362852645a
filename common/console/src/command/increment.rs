//! `incr`: counts in a key, without a race.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _};

use clap::Args;
use client::Judged;
use protocol::{RequestId, Verdict};

use super::{data::check_key, write::identified};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// Arguments of `incr`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl incr app/visits\n  kvctl incr app/credit -5")]
pub struct Incr {
    /// Which key; an absent one counts as 0
    pub key: OsString,
    /// What to add, a whole number of 64 bits; may be negative
    #[arg(default_value_t = 1, allow_negative_numbers = true)]
    pub by: i64,
    /// Repeat the addition whose outcome was unknown
    #[arg(long, value_name = "ID")]
    pub request_id: Option<RequestId>,
}

impl Incr {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        check_key(&self.key)
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let judged = session.client().increment(self.key.as_bytes(), self.by, self.request_id).await?;
        self.report(&judged)
    }

    pub(super) fn report(&self, judged: &Judged) -> Result<Report, Failure> {
        let (decided, key) = (&judged.decided, text::key(self.key.as_bytes()));
        match decided.verdict {
            Verdict::NotANumber => {
                let message = format!("{key} holds no number, at revision {}", decided.number);
                let failure = Failure::new(Exit::Refused, "KV-0806", "not_a_number", message);
                return Err(failure.hint("nothing was changed; set it to a whole number of 64 bits first"));
            }
            Verdict::Overflow => {
                let message =
                    format!("{key} is {}, and {} more is too much for 64 bits", decided.sum(), self.by);
                let failure = Failure::new(Exit::Refused, "KV-0807", "overflow", message);
                return Err(failure.hint("nothing was changed"));
            }
            _ => {}
        }
        let document = Document::new("incr")
            .with_bytes("key", "key_b64", self.key.as_bytes())
            .with("number", decided.sum())
            .with("rev", decided.revision);
        let document = identified(document, true, &judged.request, decided.deduplicated)
            .with("existed", decided.existed);
        Ok(Report::new(document, Body::Line(vec![decided.sum().to_string()])))
    }
}
