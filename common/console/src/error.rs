//! What went wrong, why, and what to do next: one type for every failure, from a typing error to a lost quorum.
//!
//! A code is `KV-`, two digits of the exit code and a serial number; codes are never used twice.

use std::{io, path::Path};

use client::{EndpointError, EndpointFailure};
use protocol::{Refused, RequestId, limits};
use serde_json::{Value, json};

use crate::{exit::Exit, report::Document, text};

/// A command that did not do as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// With what the program ends.
    pub exit: Exit,
    /// `KV-0301`.
    pub code: &'static str,
    /// The code in a word.
    pub name: &'static str,
    /// What happened and why.
    pub message: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Each endpoint with one word on its state.
    pub endpoints: Vec<(String, &'static str)>,
    /// Under which a write is to be repeated.
    pub request: Option<Box<RequestId>>,
}

impl Failure {
    /// A failure without a hint.
    pub fn new(exit: Exit, code: &'static str, name: &'static str, message: impl Into<String>) -> Self {
        Self { exit, code, name, message: message.into(), hint: None, endpoints: Vec::new(), request: None }
    }

    /// Adds what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    fn at(mut self, endpoints: &[EndpointFailure]) -> Self {
        self.endpoints =
            endpoints.iter().map(|failure| (failure.address.clone(), failure.error.word())).collect();
        self
    }

    /// The command line makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "KV-0201", "usage", message)
    }

    /// A configuration file makes no sense.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "KV-0202", "config", message)
    }

    /// A local file could not be read or written.
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::new(Exit::File, "KV-1201", "file", format!("cannot {doing} {}: {error}", path.display()))
    }

    /// Standard output or input failed. A reader who left is no failure worth a word.
    pub fn stream(what: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(Exit::Pipe, "KV-1401", "pipe", String::new());
        }
        Self::new(Exit::File, "KV-1202", "stream", format!("{what}: {error}"))
    }

    /// Ctrl-C ended the command; `changes` says whether it could have changed something.
    pub fn interrupted(changes: bool) -> Self {
        let failure = Self::new(Exit::Interrupted, "KV-1301", "interrupted", "cancelled");
        if !changes {
            return failure;
        }
        Self { code: "KV-1302", ..failure }
            .hint("it may have been done; look at what it was to change to see")
    }

    /// A defect of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Exit::Internal, "KV-7001", "internal", message).hint("this is a bug, please report it")
    }

    /// The empty key.
    pub fn empty_key() -> Self {
        Self::new(Exit::Usage, "KV-0203", "empty_key", "the key is empty")
            .hint(format!("a key is 1 to {} bytes", limits::KEY_BYTES))
    }

    /// A key or a value over its limit, whoever noticed.
    pub fn too_large(what: &str, size: &str, limit: u64) -> Self {
        let message = format!("{what} of {size} bytes is over the limit of {limit}");
        Self::new(Exit::Refused, "KV-0801", "too_large", message)
    }

    /// Whether a write took effect: "no", or nobody can know.
    fn applied(&self) -> &'static str {
        if self.exit == Exit::Unknown || self.code == "KV-1302" { "unknown" } else { "no" }
    }

    /// For people: what happened and why, then what to do next.
    pub fn to_text(&self, color: bool) -> String {
        if self.message.is_empty() {
            return String::new();
        }
        let label = if color { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
        let what = format!("{label} {}   {}\n", text::printable(&self.message), self.code);
        let next = self.hint.as_ref().map(|hint| format!("  {}\n", text::printable(hint)));
        what + &next.unwrap_or_default()
    }

    /// For programs: one object.
    pub fn to_document(&self) -> Document {
        let endpoint = |(addr, state): &(String, &str)| json!({"addr": addr, "state": state});
        Document::new("error")
            .with("code", self.code)
            .with("name", self.name)
            .with("exit", self.exit.code())
            .with("applied", self.applied())
            .with("retryable", self.exit.is_retryable())
            .with("message", self.message.as_str())
            .with("hint", self.hint.as_deref())
            .with("endpoints", self.endpoints.iter().map(endpoint).collect::<Vec<Value>>())
            .with("request_id", self.request.as_ref().map(ToString::to_string))
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        use client::Error;
        let message = error.to_string();
        match error {
            Error::Unreachable { endpoints } => {
                Self::new(Exit::Unreachable, "KV-0301", "unreachable", message)
                    .hint("are the nodes running? `kvctl status` shows each; `-e HOST:PORT` asks others")
                    .at(&endpoints)
            }
            Error::NoLeader { .. } => Self::new(Exit::NoLeader, "KV-0401", "no_leader", message)
                .hint("nothing was done; retry, and look at `kvctl status` if it stays so"),
            Error::Deadline { .. } => Self::new(Exit::Deadline, "KV-0501", "deadline", message)
                .hint("nothing was done; retry, or give more time with `--timeout`"),
            Error::Unknown { request, .. } => {
                let hint = format!("retry safely: the same command with --request-id {request}");
                let failure = Self::new(Exit::Unknown, "KV-0601", "unknown", message).hint(hint);
                Self { request: Some(Box::new(request)), ..failure }
            }
            Error::Cut { after, shown, .. } => {
                let failure = Self::new(Exit::Partial, "KV-1001", "cut_off", message);
                match after {
                    None if shown > 0 => failure.hint("what was shown is right and not all; run it again"),
                    Some(key) => failure.hint(format!(
                        "what was shown is right and not all; go on with --after '{}', at another revision",
                        text::key(&key)
                    )),
                    None => failure.hint("nothing was shown; run it again"),
                }
            }
            Error::Denied { endpoints } => {
                Self::new(Exit::Denied, "KV-0701", "denied", message).hint(denied(&endpoints)).at(&endpoints)
            }
            Error::Refused(refused) => refused.into(),
        }
    }
}

fn denied(endpoints: &[EndpointFailure]) -> &'static str {
    if endpoints.iter().any(|failure| matches!(failure.error, EndpointError::Forbidden { .. })) {
        return "run it with sudo, or with -C and a context that has certificates";
    }
    "is this the context of that cluster, and are its certificates still valid?"
}

impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        let message = format!("refused: {refused}");
        match refused {
            Refused::TooLarge { what, size, limit } => Self::too_large(&what, &size.to_string(), limit),
            Refused::NotLeader { .. } | Refused::NoQuorum => {
                Self::new(Exit::NoLeader, "KV-0401", "no_leader", message).hint("nothing was done; retry")
            }
            Refused::Lost => Self::new(Exit::Unknown, "KV-0602", "unknown", message)
                .hint("read the key to see what became of the write"),
            Refused::Busy { .. } => Self::new(Exit::Deadline, "KV-0502", "busy", message)
                .hint("nothing was done; retry a little later"),
            Refused::Unavailable(_) => Self::new(Exit::Refused, "KV-0805", "unavailable", message)
                .hint("nothing was done; `kvctl status` shows how each node is"),
            Refused::NotKept { oldest, .. } => Self::new(Exit::Refused, "KV-0812", "not_kept", message).hint(format!(
                "`--rev {oldest}` reads the oldest; `kvctl retention` shows how much of the past is kept, and changes it"
            )),
            Refused::Unsafe(_) => Self::new(Exit::Refused, "KV-0850", "unsafe", message)
                .hint("nothing was done; `kvctl status` shows who lags, and --force insists"),
            Refused::Invalid(_) => Self::new(Exit::Refused, "KV-0802", "invalid", message),
            Refused::Expired => Self::new(Exit::Refused, "KV-0803", "expired", message)
                .hint("the request id is too old to be remembered; read the key, then write without one"),
            Refused::BadRequestId(_) => Self::new(Exit::Refused, "KV-0804", "bad_request_id", message)
                .hint("give the id only to a repetition of the very same write on the same cluster"),
        }
    }
}

#[cfg(test)]
mod tests {
    use client::Error;
    use protocol::ClusterId;

    use super::*;

    #[test]
    fn every_outcome_of_the_client_has_its_code() {
        let endpoints = vec![EndpointFailure { address: "a:1".into(), error: EndpointError::Refused }];
        let request = RequestId { token: [1; 16], learned: 2, cluster: ClusterId([3; 16]) };
        let why = String::new();
        let cases = [
            (Error::Unreachable { endpoints: endpoints.clone() }, Exit::Unreachable, "KV-0301"),
            (Error::NoLeader { why: why.clone() }, Exit::NoLeader, "KV-0401"),
            (Error::Deadline { why: why.clone() }, Exit::Deadline, "KV-0501"),
            (Error::Unknown { request, why }, Exit::Unknown, "KV-0601"),
            (Error::Denied { endpoints }, Exit::Denied, "KV-0701"),
            (
                Error::Cut { why: String::new(), shown: 1, revision: Some(2), after: Some(b"k".to_vec()) },
                Exit::Partial,
                "KV-1001",
            ),
        ];
        for (error, exit, code) in cases {
            let failure = Failure::from(error);
            assert_eq!((failure.exit, failure.code), (exit, code));
            assert!(failure.hint.is_some(), "{code}");
        }
    }

    #[test]
    fn every_refusal_has_its_code() {
        let cases = [
            (Refused::NotLeader { leader: None, address: None }, "KV-0401"),
            (Refused::NoQuorum, "KV-0401"),
            (Refused::Busy { what: "x".into() }, "KV-0502"),
            (Refused::Lost, "KV-0602"),
            (Refused::TooLarge { what: "key".into(), size: 2, limit: 1 }, "KV-0801"),
            (Refused::Invalid("x".into()), "KV-0802"),
            (Refused::Expired, "KV-0803"),
            (Refused::BadRequestId("x".into()), "KV-0804"),
            (Refused::Unavailable("x".into()), "KV-0805"),
            (Refused::NotKept { oldest: 7, age_ms: Some(5000) }, "KV-0812"),
            (Refused::Unsafe("x".into()), "KV-0850"),
        ];
        for (refused, code) in cases {
            let failure = Failure::from(refused);
            assert_eq!(failure.code, code);
            assert_eq!(code[3..5].parse::<u8>(), Ok(failure.exit.code()));
        }
    }

    #[test]
    fn an_unknown_outcome_names_the_id_to_retry_with() {
        let request = RequestId { token: [0xab; 16], learned: 2, cluster: ClusterId([3; 16]) };
        let failure = Failure::from(Error::Unknown { request, why: "n1 went".into() });
        assert!(failure.hint.as_deref().unwrap().contains(&format!("--request-id {request}")));
        assert_eq!(failure.applied(), "unknown");
        assert!(failure.to_document().to_json().ends_with(&format!("\"request_id\":\"{request}\"}}")));
    }

    #[test]
    fn a_cancelled_write_leaves_its_outcome_open_and_a_read_has_none() {
        assert_eq!(
            (Failure::interrupted(true).applied(), Failure::interrupted(false).applied()),
            ("unknown", "no")
        );
        assert_eq!(Failure::interrupted(false).hint, None);
    }

    #[test]
    fn the_text_says_what_and_what_next() {
        let failure = Failure::usage("no such thing").hint("try another");
        assert_eq!(failure.to_text(false), "error: no such thing   KV-0201\n  try another\n");
        assert!(failure.to_text(true).starts_with("\x1b[1;31merror:\x1b[0m "));
    }

    #[test]
    fn the_document_is_one_object() {
        let endpoints = vec![EndpointFailure { address: "a:1".into(), error: EndpointError::Silent }];
        let failure = Failure { hint: None, ..Error::Unreachable { endpoints }.into() };
        assert_eq!(
            failure.to_document().to_json(),
            r#"{"schema":"kvctl.error/v1","code":"KV-0301","name":"unreachable","exit":3,"applied":"no","#
                .to_owned()
                + r#""retryable":true,"message":"no endpoint answered: a:1 is silent","hint":null,"#
                + r#""endpoints":[{"addr":"a:1","state":"silent"}],"request_id":null}"#
        );
    }
}
