//! Requests and answers in other words: for the history that the checkers read, and for people.

use protocol::{Operation as Change, Request, Response};
use testkit::history::{Outcome, Seen};

/// What a client was told, as the history has it.
pub(super) fn outcome_of(response: Response) -> Outcome {
    match response {
        Response::Written { revision, existed, .. } => Outcome::Written { revision, existed },
        Response::Value { found, revision } => {
            let seen = |found: protocol::response::Found| Seen {
                value: found.value,
                revision: found.revision,
                created: found.created,
                version: found.version,
            };
            Outcome::Read { found: found.map(seen), revision }
        }
        Response::Status(_) => Outcome::NotApplied,
    }
}

/// A request in a line of the trace.
pub(super) fn told(request: &Request) -> String {
    match request {
        Request::Write { operation: Change::Set { key, value }, .. } => {
            format!("set {} to {}", String::from_utf8_lossy(key), String::from_utf8_lossy(value).trim_end())
        }
        Request::Write { operation: Change::Delete { key }, .. } => {
            format!("delete {}", String::from_utf8_lossy(key))
        }
        Request::Get { key, consistency, .. } => {
            format!("get {} {consistency:?}", String::from_utf8_lossy(key))
        }
        Request::Scan(scan) => format!("scan {scan:?}"),
        Request::Status => "status".to_owned(),
    }
}
