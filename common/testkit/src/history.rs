//! What clients asked and what they were told: the only thing the checkers look at.
//!
//! A history is a list of [`Operation`]s, each with the moment it was asked and, if it ever ended for its client, the
//! moment and the outcome. Moments are of one monotonic clock. An operation whose outcome is unknown stays open for
//! ever: it may take effect at any time after it was asked, also long after its client gave up, or never.

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

/// What a client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The write took effect, once.
    Written {
        /// Its place in the order of all writes; unique.
        revision: u64,
        /// Whether the key was there before.
        existed: bool,
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
            Self::Set { key, .. } | Self::Delete { key } | Self::Get { key } | Self::StaleGet { key } => key,
        }
    }

    /// Whether it changes anything.
    pub fn is_write(&self) -> bool {
        matches!(self, Self::Set { .. } | Self::Delete { .. })
    }
}
