//! Why a change of members was not made, or nobody knows whether it was.

use client::{EndpointError, Error};
use protocol::Refused;

use crate::{error::Failure, exit::Exit};

/// What a change that was asked for came to where it was not done: mostly nobody can know, and it is safe to ask again.
pub(super) fn failed(error: Error) -> Failure {
    let open = match &error {
        Error::Refused(Refused::Lost)
        | Error::Deadline { .. }
        | Error::Unknown { .. }
        | Error::NoLeader { .. } => true,
        Error::Unreachable { endpoints } => {
            endpoints.iter().any(|endpoint| matches!(endpoint.error, EndpointError::Dropped { .. }))
        }
        _ => false,
    };
    if !open {
        return error.into();
    }
    let message = format!("nobody said what became of the change: {error}");
    Failure::new(Exit::Unknown, "KV-0604", "unknown", message)
        .hint("it is safe to ask again; `kvctl member ls` shows how it is")
}

pub(super) fn name_taken(name: &str) -> Failure {
    let message = format!("another server is named {name}; nothing was done");
    Failure::new(Exit::Refused, "KV-0852", "name_taken", message)
        .hint("`kvctl member ls` lists the members; a new server needs a name of its own, in its configuration as well")
}

pub(super) fn not_fit(message: &str, hint: &str) -> Failure {
    Failure::new(Exit::Refused, "KV-0851", "not_fit", format!("{message}; nothing was done")).hint(hint)
}
