//! What can go wrong, told apart by what the caller can do about it.

use std::{io, path::PathBuf};

use quinn::{ConnectError, ConnectionError, ReadError, TransportErrorCode, WriteError};

use crate::connection::CloseCode;

/// A failure of this crate.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// Nothing listens at that address (the operating system there said so). Try another endpoint, or later.
    #[error("connection refused: nothing listens there")]
    Refused,
    /// No answer in time: wrong address, firewall, or the machine is down. Try another endpoint.
    #[error("no answer in time")]
    Silent,
    /// The far end has no room for another connection now. Try another endpoint, or later.
    #[error("the far end takes no more connections for now")]
    Busy,
    /// One end does not accept the other's certificate. Repeating it will not help; a person has to.
    #[error("{reason}")]
    Tls {
        /// Whose, and what is wrong with it.
        reason: TlsReason,
    },
    /// The two ends share no version of QUIC or of our protocol. Upgrade one of them.
    #[error("the far end does not speak this version of the protocol")]
    Version,
    /// An end closed the connection on purpose; dial again if the reason allows.
    #[error("connection closed: {0}")]
    Closed(String),
    /// The far end fell silent or restarted. What was underway may or may not have arrived; dial again.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The stream was given up by the far end, or ended in the middle of a frame.
    #[error("stream cut: {0}")]
    Cut(String),
    /// A frame over the limit. The connection should be closed: what follows cannot be read.
    #[error("frame of {size} bytes is over the limit of {limit}")]
    TooLarge {
        /// Announced by the sender.
        size: usize,
        /// The reader's.
        limit: usize,
    },
    /// A socket of this machine that this user may not open. Become the superuser, or the user that runs the node.
    #[error("{}: it is open to the superuser and to the user that runs the node only", .0.display())]
    Forbidden(PathBuf),
    /// The operating system refused, mostly at start: an address in use, no permission.
    #[error(transparent)]
    Io(io::Error),
    /// Bytes that are no frame of the protocol, in the words of the decoder. The connection should be closed.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A certificate, key or CA that cannot be used as given.
    #[error("{what}: {why}")]
    Identity {
        /// Which of them: a file where it came from one.
        what: String,
        /// What is wrong with it.
        why: String,
    },
    /// A private key that others on this machine could have read. `chmod 600` it; better, issue a new one.
    #[error("{}: the key can be read by others (mode {mode:04o}); chmod 600 it", path.display())]
    KeyExposed {
        /// The key file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why a certificate was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{whose} was not accepted: {fault}")]
pub struct TlsReason {
    /// Whose certificate it is.
    pub whose: Whose,
    /// What is wrong with it.
    pub fault: TlsFault,
}

/// What is wrong with a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFault {
    /// It is of another CA: another cluster's, or the CA was made anew.
    #[error("it was issued by another CA")]
    UnknownAuthority,
    /// It has expired, or is not valid yet (then a clock is wrong).
    #[error("it has expired or is not valid yet")]
    Expired,
    /// It belongs to another node than the one dialed.
    #[error("it names another server")]
    WrongName,
    /// A client's certificate where a node's is needed, or one that says no role.
    #[error("it does not have the role that is needed here")]
    WrongRole,
    /// Anything else, in the words of the TLS library.
    #[error("{0}")]
    Other(String),
}

/// Whose certificate was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours, by the far end.
    Ours,
    /// The far end's, by us.
    Theirs,
}

impl std::fmt::Display for Whose {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ours => "our certificate",
            Self::Theirs => "the far end's certificate",
        })
    }
}

impl TransportError {
    pub(crate) fn tls(whose: Whose, fault: TlsFault) -> Self {
        Self::Tls { reason: TlsReason { whose, fault } }
    }

    pub(crate) fn io(error: impl Into<io::Error>) -> Self {
        Self::Io(error.into())
    }

    // By value, so that it takes a literal and an error alike.
    #[allow(clippy::needless_pass_by_value)]
    pub(crate) fn identity(what: impl Into<String>, why: impl ToString) -> Self {
        Self::Identity { what: what.into(), why: why.to_string() }
    }

    /// The same failure seen while a connection was being made, where silence means that nobody answered at all.
    pub(crate) fn while_dialing(error: ConnectionError) -> Self {
        if error == ConnectionError::TimedOut { Self::Silent } else { error.into() }
    }
}

/// TLS alerts (RFC 8446, 6.2), which QUIC carries as 0x100 plus the number.
fn alert(code: TransportErrorCode) -> Option<u64> {
    u64::from(code).checked_sub(0x100).filter(|alert| *alert < 0x100)
}

fn failed(code: TransportErrorCode, whose: Whose, said: &str) -> TransportError {
    if code == TransportErrorCode::CONNECTION_REFUSED {
        return TransportError::Busy;
    }
    let fault = match alert(code) {
        Some(70 | 120) => return TransportError::Version,
        // Two CAs of the same name differ only in their signatures, so a bad signature is another CA as well.
        Some(48 | 51) => TlsFault::UnknownAuthority,
        Some(45) => TlsFault::Expired,
        Some(42) => TlsFault::WrongName,
        Some(43 | 49 | 116) => TlsFault::WrongRole,
        Some(_) => TlsFault::Other(said.to_owned()),
        None => return TransportError::Lost(format!("{code}: {said}")),
    };
    TransportError::tls(whose, fault)
}

impl From<ConnectionError> for TransportError {
    fn from(error: ConnectionError) -> Self {
        match error {
            ConnectionError::VersionMismatch => Self::Version,
            ConnectionError::TransportError(error) => failed(error.code, Whose::Theirs, &error.reason),
            ConnectionError::ConnectionClosed(close) => {
                failed(close.error_code, Whose::Ours, &String::from_utf8_lossy(&close.reason))
            }
            ConnectionError::ApplicationClosed(close) => match close.error_code.into_inner() {
                code if code == CloseCode::Role as u64 => Self::tls(Whose::Ours, TlsFault::WrongRole),
                _ => Self::Closed(String::from_utf8_lossy(&close.reason).into_owned()),
            },
            ConnectionError::LocallyClosed => Self::Closed("on this side".into()),
            ConnectionError::TimedOut | ConnectionError::Reset | ConnectionError::CidsExhausted => {
                Self::Lost(error.to_string())
            }
        }
    }
}

impl From<ConnectError> for TransportError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::EndpointStopping => Self::Closed("the endpoint".into()),
            error => Self::Io(io::Error::new(io::ErrorKind::InvalidInput, error)),
        }
    }
}

impl From<ReadError> for TransportError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::ConnectionLost(error) => error.into(),
            ReadError::Reset(code) if code == CloseCode::Limit.into() => {
                Self::Cut("given up by the far end at a limit".into())
            }
            error => Self::Cut(error.to_string()),
        }
    }
}

impl From<WriteError> for TransportError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::ConnectionLost(error) => error.into(),
            error => Self::Cut(error.to_string()),
        }
    }
}
