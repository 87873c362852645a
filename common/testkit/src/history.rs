//! What clients asked and what they were told: the only thing the checkers look at.
//!
//! A history is a list of [`Operation`]s, each with the moment it was asked and, if it ever ended for its client, the
//! moment and the outcome. Moments are of one monotonic clock. An operation whose outcome is unknown stays open for
//! ever: it may take effect at any time after it was asked, also long after its client gave up, or never.

use std::fmt;

/// One call of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked. A client does one thing at a time.
    pub client: u64,
    /// What was asked.
    pub call: Call,
    /// When, in nanoseconds.
    pub invoked: u64,
    /// When the client was told what, in nanoseconds; not before `invoked`.
    pub ended: u64,
    /// What it was told.
    pub outcome: Outcome,
}

/// What a client can ask.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// Writes one key. Values are different in every call of a history.
    Set {
        /// The key.
        key: Vec<u8>,
        /// The value.
        value: Vec<u8>,
    },
    /// Removes one key.
    Delete {
        /// The key.
        key: Vec<u8>,
    },
    /// Nobody's call: one key went with the lease that held it. What goes with one lease, or with several at once, has one
    /// revision. Who records a history knows when that was.
    Vanish {
        /// The key.
        key: Vec<u8>,
    },
    /// Writes or removes one key if it is as expected.
    Conditional {
        /// The key.
        key: Vec<u8>,
        /// The value, different in every call of a history; `None` removes.
        value: Option<Vec<u8>>,
        /// What must be so.
        expects: Expects,
    },
    /// Reads one key; the answer must reflect every write acknowledged before.
    Get {
        /// The key.
        key: Vec<u8>,
    },
    /// Reads what one node happens to know.
    StaleGet {
        /// The key.
        key: Vec<u8>,
    },
}

/// What must be so of a key for a write to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expects {
    /// Nothing.
    Anything,
    /// The key is not there.
    Absent,
    /// It was written last at this revision.
    Revision(u64),
    /// It has this value.
    Value(Vec<u8>),
}

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The write took effect, once.
    Written {
        /// Its place in the order of all writes; unique but for [`Call::Vanish`].
        revision: u64,
        /// Whether the key was there before.
        existed: bool,
    },
    /// The conditional write was judged, once.
    Judged {
        /// Its place in the order of all writes; unique, also where nothing was done.
        revision: u64,
        /// Whether it was done.
        is_met: bool,
        /// The revision that had written the key before; `None` where it was not there.
        found: Option<u64>,
    },
    /// The read was served.
    Read {
        /// What was there.
        found: Option<Seen>,
        /// The revision of the state that was read: it includes every write up to here and none after.
        revision: u64,
    },
    /// It did not take effect and never will.
    NotApplied,
    /// It may have taken effect, may yet, or never. `ended` says nothing then.
    Unknown,
}

/// A key's row as a read showed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Its value.
    pub value: Vec<u8>,
    /// The revision that wrote it last.
    pub revision: u64,
    /// The revision that created it.
    pub created: u64,
    /// How often it was written since, from 1.
    pub version: u64,
}

impl Call {
    /// The key it is about.
    pub fn key(&self) -> &[u8] {
        match self {
            Self::Set { key, .. }
            | Self::Delete { key }
            | Self::Vanish { key }
            | Self::Conditional { key, .. }
            | Self::Get { key }
            | Self::StaleGet { key } => key,
        }
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        !matches!(self, Self::Get { .. } | Self::StaleGet { .. })
    }

    /// What the key holds once it took effect: a value, or nothing. `None` for a read.
    pub fn leaves(&self) -> Option<Option<&[u8]>> {
        match self {
            Self::Set { value, .. } => Some(Some(value)),
            Self::Delete { .. } | Self::Vanish { .. } => Some(None),
            Self::Conditional { value, .. } => Some(value.as_deref()),
            Self::Get { .. } | Self::StaleGet { .. } => None,
        }
    }
}

/// One line: who asked what, when, and what came of it.
impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { client, call, invoked, ended, outcome } = self;
        write!(out, "client {client}: {call} -> {outcome} [{invoked}..")?;
        if *outcome == Outcome::Unknown { write!(out, "]") } else { write!(out, "{ended}]") }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set { key, value } => write!(out, "set {}={}", Text(key), Text(value)),
            Self::Delete { key } => write!(out, "delete {}", Text(key)),
            Self::Vanish { key } => write!(out, "vanish {}", Text(key)),
            Self::Conditional { key, value, expects } => {
                match value {
                    Some(value) => write!(out, "set {}={}", Text(key), Text(value))?,
                    None => write!(out, "delete {}", Text(key))?,
                }
                match expects {
                    Expects::Anything => Ok(()),
                    Expects::Absent => write!(out, " if absent"),
                    Expects::Revision(revision) => write!(out, " if at {revision}"),
                    Expects::Value(value) => write!(out, " if {}", Text(value)),
                }
            }
            Self::Get { key } => write!(out, "get {}", Text(key)),
            Self::StaleGet { key } => write!(out, "stale get {}", Text(key)),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Written { revision, existed } => {
                write!(out, "written at {revision}, {}", if *existed { "existed" } else { "was not there" })
            }
            Self::Judged { revision, is_met, found } => {
                write!(out, "{} at {revision}, ", if *is_met { "written" } else { "not written" })?;
                match found {
                    Some(found) => write!(out, "over {found}"),
                    None => write!(out, "was not there"),
                }
            }
            Self::Read { found: Some(seen), revision } => write!(
                out,
                "{} (revision {}, created {}, version {}) at {revision}",
                Text(&seen.value),
                seen.revision,
                seen.created,
                seen.version
            ),
            Self::Read { found: None, revision } => write!(out, "nothing at {revision}"),
            Self::NotApplied => write!(out, "not applied"),
            Self::Unknown => write!(out, "unknown"),
        }
    }
}

/// A key or value as text, shortened.
pub(crate) struct Text<'a>(pub(crate) &'a [u8]);

impl fmt::Display for Text<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 40;
        let shown = &self.0[..self.0.len().min(SHOWN)];
        write!(out, "{}{}", shown.escape_ascii(), if self.0.len() > SHOWN { "..." } else { "" })
    }
}
