//! What a call can end with when it is not done, and what an endpoint can have wrong.
//!
//! A write has one of three outcomes: applied (the `Ok` of a call), not applied, unknown. [`Error::outcome`] says
//! which of the latter two an error means, and every variant says what the caller can do.

use std::fmt;

use protocol::{DecodeError, Refused, RequestId};

/// Whether the write of a failed call took effect. A read took none, so its failures are all
/// [`Outcome::NotApplied`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Certainly not, and it never will.
    NotApplied,
    /// It did, it did not, or it still will. Only a call with the same request id settles it.
    Unknown,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// No endpoint could be reached; nothing was sent. Check the addresses and that the nodes run; retry later.
    #[error("no endpoint answered: {}", List(endpoints))]
    Unreachable {
        /// Each endpoint with what was wrong there.
        endpoints: Vec<EndpointFailure>,
    },
    /// Nodes answered, but none could find a leader or a quorum before the deadline. Not applied; retry later.
    #[error("no leader: {why}")]
    NoLeader {
        /// What the last node said.
        why: String,
    },
    /// The time was up. Not applied; retry, perhaps with more time.
    #[error("deadline passed: {why}")]
    Deadline {
        /// What took the time.
        why: String,
    },
    /// The write may have reached a server and nobody said what became of it. Retry with this id: that is safe and
    /// tells the outcome.
    #[error("outcome unknown: {why}")]
    Unknown {
        /// The id of the write.
        request: RequestId,
        /// What happened after it was sent.
        why: String,
    },
    /// A scan ended early: what was shown is right and is not all. Another scan can begin after the last key, but at
    /// another revision.
    #[error("cut off after {shown} rows: {why}")]
    Cut {
        /// What happened.
        why: String,
        /// How many rows were shown.
        shown: u64,
        /// The revision that they are of; `None` where there was no row.
        revision: Option<u64>,
        /// The last key that was shown.
        after: Option<Vec<u8>>,
    },
    /// Every endpoint failed the TLS handshake: wrong CA, expired or foreign certificate. Retrying is pointless.
    #[error("denied: {}", List(endpoints))]
    Denied {
        /// Each endpoint with what TLS said.
        endpoints: Vec<EndpointFailure>,
    },
    /// A server (or this library, by the same limits) refused the request. Not applied; the same request is refused
    /// again.
    #[error("refused: {0}")]
    Refused(Refused),
}

impl Error {
    /// What is wrong with one endpoint, as the error of a call to it alone.
    pub fn at(address: &str, error: EndpointError) -> Self {
        let denied = error.is_denied();
        let endpoints = vec![EndpointFailure { address: address.to_owned(), error }];
        if denied { Self::Denied { endpoints } } else { Self::Unreachable { endpoints } }
    }

    /// Whether the write of the call may have taken effect.
    pub fn outcome(&self) -> Outcome {
        if matches!(self, Self::Unknown { .. }) { Outcome::Unknown } else { Outcome::NotApplied }
    }

    /// Whether the same call can succeed later without anything being changed by a person.
    pub fn is_retryable(&self) -> bool {
        !matches!(self, Self::Denied { .. } | Self::Refused(_))
    }
}

/// A request that this library refuses before it sends it, in the words a server would use.
impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Self {
        Self::Refused(match error {
            DecodeError::TooLarge { what, size, limit } => {
                Refused::TooLarge { what: what.to_owned(), size: size as u64, limit: limit as u64 }
            }
            DecodeError::Malformed(what) => Refused::Invalid(what.to_owned()),
            other => Refused::Invalid(other.to_string()),
        })
    }
}

/// One endpoint that did not do, with why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointFailure {
    /// As it was configured or learned, `host:port`.
    pub address: String,
    /// What was wrong.
    pub error: EndpointError,
}

impl fmt::Display for EndpointFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.address, self.error)
    }
}

/// What can be wrong with an endpoint; told apart because the remedies differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// The host says that nothing listens there: start the node or correct the port.
    #[error("refused the connection")]
    Refused,
    /// Nothing came back: the host is down, or a firewall drops UDP.
    #[error("is silent")]
    Silent,
    /// The handshake failed: certificates of another CA, expired, or of the wrong kind.
    #[error("failed TLS: {reason}")]
    Tls {
        /// What TLS said.
        reason: String,
    },
    /// It is the socket of a node on this machine, which this user may not open: become the superuser.
    #[error("is not open to this user: {reason}")]
    Forbidden {
        /// What the operating system or the node said.
        reason: String,
    },
    /// It speaks another version of the protocol.
    #[error("speaks another protocol version")]
    Version,
    /// The host name has no address: correct it, or the name service.
    #[error("cannot be resolved: {reason}")]
    Unresolved {
        /// What the resolver said.
        reason: String,
    },
    /// It belongs to another cluster than the first node that answered.
    #[error("belongs to another cluster")]
    OtherCluster,
    /// The connection ended, or what came over it made no sense.
    #[error("dropped the connection: {reason}")]
    Dropped {
        /// Why.
        reason: String,
    },
    /// This side could not even try (no socket).
    #[error("cannot be tried: {reason}")]
    Local {
        /// What the operating system said.
        reason: String,
    },
}

impl EndpointError {
    /// One lower-case word for machines.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Tls { .. } => "tls",
            Self::Forbidden { .. } => "forbidden",
            Self::Version => "version",
            Self::Unresolved { .. } => "unresolved",
            Self::OtherCluster => "other_cluster",
            Self::Dropped { .. } => "dropped",
            Self::Local { .. } => "local",
        }
    }

    /// Whether it is there and does not let us in: nothing but a person changes that.
    pub fn is_denied(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::Forbidden { .. })
    }

    /// Whether the far end (or the resolver) said no, as opposed to saying nothing: waiting longer brings nothing.
    pub(crate) fn is_definite(&self) -> bool {
        !matches!(self, Self::Silent | Self::Dropped { .. })
    }
}

/// Failures separated by semicolons.
pub(crate) struct List<'a>(pub(crate) &'a [EndpointFailure]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, failure) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("; ")?;
            }
            failure.fmt(f)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_unknown_leaves_the_outcome_open() {
        let request = RequestId::fresh(0, protocol::ClusterId::default());
        assert_eq!(Error::Unknown { request, why: String::new() }.outcome(), Outcome::Unknown);
        assert_eq!(Error::Deadline { why: String::new() }.outcome(), Outcome::NotApplied);
        assert_eq!(Error::Refused(Refused::Expired).outcome(), Outcome::NotApplied);
    }

    #[test]
    fn failures_are_listed_by_address() {
        let failure = |address: &str, error| EndpointFailure { address: address.into(), error };
        let endpoints = vec![failure("a:1", EndpointError::Refused), failure("b:2", EndpointError::Silent)];
        let text = Error::Unreachable { endpoints }.to_string();
        assert_eq!(text, "no endpoint answered: a:1 refused the connection; b:2 is silent");
    }
}
