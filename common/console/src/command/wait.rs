//! `wait`: until something is so. It asks again and again, waits through anything that can pass by itself and ends at
//! once with what cannot, such as certificates of another cluster.

use std::{ffi::OsString, os::unix::ffi::OsStrExt as _, time::Duration};

use clap::{Args, ValueEnum};
use protocol::Consistency;
use tokio::time::{Instant, sleep, timeout_at};

use super::{assess::Assessment, data::check_key_bytes};
use crate::{
    connect::Session,
    error::Failure,
    exit::Exit,
    report::{Body, Document, Report},
    text,
};

/// Between two questions: short beside an election, long beside an answer.
const PAUSE: Duration = Duration::from_millis(100);

/// What can be waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Condition {
    /// A node leads
    Leader,
    /// A node leads, all nodes answer, agree and have no trouble
    Healthy,
    /// Every node has applied what was committed when the wait began
    CaughtUp,
    /// A key is there, or has a value
    Key,
}

/// Arguments of `wait`.
#[derive(Args, Debug, PartialEq)]
#[command(after_help = "Examples:\n  kvctl wait leader\n  kvctl wait healthy -t 2m\n  \
                        kvctl wait caught-up\n  kvctl wait key app/ready=yes -t 10s\n\n\
                        Ends with 0 when it is so, 5 when the time (-t, 30s) is up.")]
pub struct Wait {
    /// For what
    #[arg(value_name = "CONDITION")]
    pub what: Condition,
    /// For `key`: which; what follows the first = is the value
    #[arg(value_name = "KEY[=VALUE]", required_if_eq("what", "key"))]
    pub key: Option<OsString>,
}

impl Condition {
    fn word(self) -> &'static str {
        match self {
            Self::Leader => "leader",
            Self::Healthy => "healthy",
            Self::CaughtUp => "caught-up",
            Self::Key => "key",
        }
    }
}

/// What one look came to: it is so, with a word on it, or not yet, and why.
type Look = Result<String, String>;

impl Wait {
    pub(super) fn prepare(&self) -> Result<(), Failure> {
        match (&self.key, self.what) {
            (Some(_), Condition::Key) => check_key_bytes(self.wanted().0),
            (Some(_), _) => Err(Failure::usage("only `wait key` takes a key")),
            (None, _) => Ok(()),
        }
    }

    pub(super) async fn run(&self, session: &Session) -> Result<Report, Failure> {
        let began = Instant::now();
        let timeout = session.settings().timeout;
        let until = began.checked_add(timeout).unwrap_or(began);
        let (mut target, mut last) = (None, "nobody has answered".to_owned());
        loop {
            match timeout_at(until, self.look(session, &mut target)).await {
                Ok(Ok(Ok(word))) => return Ok(self.report(&word, began.elapsed())),
                Ok(Ok(Err(why))) => last = why,
                Ok(Err(failure)) if !failure.exit.is_retryable() => return Err(failure),
                Ok(Err(failure)) => last = failure.to_string(),
                Err(_) => {}
            }
            if until.saturating_duration_since(Instant::now()) <= PAUSE {
                return Err(self.expired(timeout, &last));
            }
            sleep(PAUSE).await;
        }
    }

    async fn look(&self, session: &Session, target: &mut Option<u64>) -> Result<Look, Failure> {
        if self.what == Condition::Key {
            let (key, value) = self.wanted();
            let read = session.client().get(key, Consistency::Linearizable).await?;
            return Ok(holds(key, value, read.found.as_ref().map(|found| found.value.as_slice())));
        }
        let seen = Assessment::of(session.client().status().await)?;
        Ok(match self.what {
            Condition::Leader => seen.leader_name().ok_or_else(|| "no leader".to_owned()),
            Condition::Healthy => healthy(&seen),
            _ => caught_up(&seen, *target.get_or_insert(seen.committed())),
        })
    }

    fn wanted(&self) -> (&[u8], Option<&[u8]>) {
        let bytes = self.key.as_ref().map_or(&b""[..], |key| key.as_bytes());
        let mut parts = bytes.splitn(2, |byte| *byte == b'=');
        (parts.next().unwrap_or_default(), parts.next())
    }

    fn report(&self, word: &str, took: Duration) -> Report {
        let condition = self.what.word();
        let document = Document::new("wait")
            .with("condition", condition)
            .with("met", true)
            .with("detail", word)
            .with("waited_ms", took.as_secs_f64() * 1000.0);
        Report::new(document, Body::Done(vec![condition.to_owned(), word.to_owned(), text::millis(took)]))
    }

    fn expired(&self, timeout: Duration, last: &str) -> Failure {
        let message = format!("waited {} for {} in vain: {last}", text::millis(timeout), self.what.word());
        Failure::new(Exit::Deadline, "KV-0503", "wait_expired", message)
            .hint("wait longer with `-t`, or see `kvctl status`")
    }
}

fn holds(key: &[u8], wanted: Option<&[u8]>, found: Option<&[u8]>) -> Look {
    let name = text::key(key);
    match (found, wanted) {
        (None, _) => Err(format!("{name} is absent")),
        (Some(found), Some(wanted)) if found != wanted => Err(format!("{name} has another value")),
        (Some(_), _) => Ok(name),
    }
}

fn healthy(seen: &Assessment) -> Look {
    let leader = seen.leader_name().ok_or_else(|| "no leader".to_owned())?;
    for node in seen.nodes() {
        match node.status {
            Err(error) => return Err(format!("{} {error}", node.name)),
            Ok(status) if !status.trouble.is_empty() => {
                return Err(format!("{}: {}", node.name, status.trouble));
            }
            Ok(_) => {}
        }
    }
    if seen.views_agree() { Ok(leader) } else { Err("the views of the nodes differ".to_owned()) }
}

fn caught_up(seen: &Assessment, target: u64) -> Look {
    for node in seen.nodes() {
        match node.status {
            Err(error) => return Err(format!("{} {error}", node.name)),
            Ok(status) if status.applied < target => {
                let behind = target.saturating_sub(status.applied);
                return Err(format!("{} is {behind} entries behind", node.name));
            }
            Ok(_) => {}
        }
    }
    Ok(format!("rev {target}"))
}

#[cfg(test)]
mod tests;
