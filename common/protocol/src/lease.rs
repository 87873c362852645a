//! Leases: keys that go together, at a time.
//!
//! A lease is granted for a time and holds keys, which are written under it. It ends when its time is over and nobody has
//! renewed it, or when it is revoked, and its keys are removed with it, all at one revision. A key that is written with a
//! time of its own has a lease of its own, which ends with it.
//!
//! Its time is that of the leaders' stamps in the log and of nobody's clock on the wall: it goes on after an election where it
//! was, and stands still while no node runs. Its id is the revision of the write that made it.

use crate::{DecodeError, limits};

/// How long a key that is written is to be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// So many milliseconds, under a lease of its own: from [`limits::TTL_MIN_MS`] to [`limits::TTL_MAX_MS`].
    Ttl(u64),
    /// As long as this lease.
    Lease(u64),
    /// As long as it would have been before; for ever, where it was not there or was to be there for ever.
    Keep,
}

/// A lease, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Lease {
    /// The revision of the write that made it.
    pub id: u64,
    /// For how long it was granted, and is again with each renewal.
    pub ttl_ms: u64,
    /// How much of that was left; zero where it is over and about to be removed.
    pub remaining_ms: u64,
    /// How many keys it holds.
    pub keys: u64,
    /// Whether it was made by a write for its one key, and ends with it.
    pub own: bool,
}

/// What holds a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The lease.
    pub lease: u64,
    /// How much of its time was left; unknown of a row of the past.
    pub remaining_ms: Option<u64>,
}

/// Some leases, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Leases {
    /// At most [`limits::PAGE_ROWS`].
    pub leases: Vec<Lease>,
    /// Whether there are more after the last of them.
    pub more: bool,
    /// The applied index of the state that was read.
    pub revision: u64,
}

/// One lease and some of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct LeaseKeys {
    /// The lease; `None` where there is none.
    pub lease: Option<Lease>,
    /// In their order; at most [`limits::PAGE_ROWS`], and at most about [`limits::PAGE_BYTES`].
    pub keys: Vec<Vec<u8>>,
    /// Whether there are more after the last of them.
    pub more: bool,
    /// The applied index of the state that was read.
    pub revision: u64,
}

/// Refuses a time that is shorter or longer than any.
pub fn check_ttl(ttl_ms: u64) -> Result<(), DecodeError> {
    if ttl_ms < limits::TTL_MIN_MS {
        return Err(DecodeError::Malformed("a time to live under 100 ms"));
    }
    if ttl_ms > limits::TTL_MAX_MS {
        return Err(DecodeError::Malformed("a time to live over 366 days"));
    }
    Ok(())
}

/// Refuses a lease that no write can have made.
pub fn check_id(lease: u64) -> Result<(), DecodeError> {
    if (1..=limits::NUMBER).contains(&lease) {
        Ok(())
    } else {
        Err(DecodeError::Malformed("the id of a lease that cannot be"))
    }
}

impl Hold {
    /// Checks it against the limits.
    pub fn check(self) -> Result<(), DecodeError> {
        match self {
            Self::Ttl(ttl_ms) => check_ttl(ttl_ms),
            Self::Lease(lease) => check_id(lease),
            Self::Keep => Ok(()),
        }
    }
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct HeldWire {
    #[prost(uint64, tag = "1")]
    lease: u64,
    #[prost(uint64, optional, tag = "2")]
    remaining_ms: Option<u64>,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
pub(crate) struct LeaseWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(uint64, tag = "2")]
    ttl_ms: u64,
    #[prost(uint64, tag = "3")]
    remaining_ms: u64,
    #[prost(uint64, tag = "4")]
    keys: u64,
    #[prost(bool, tag = "5")]
    own: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeasesWire {
    #[prost(message, repeated, tag = "1")]
    leases: Vec<LeaseWire>,
    #[prost(bool, tag = "2")]
    more: bool,
    #[prost(uint64, tag = "3")]
    revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct LeaseKeysWire {
    #[prost(message, optional, tag = "1")]
    lease: Option<LeaseWire>,
    #[prost(bytes = "vec", repeated, tag = "2")]
    keys: Vec<Vec<u8>>,
    #[prost(bool, tag = "3")]
    more: bool,
    #[prost(uint64, tag = "4")]
    revision: u64,
}

impl From<Held> for HeldWire {
    fn from(Held { lease, remaining_ms }: Held) -> Self {
        Self { lease, remaining_ms }
    }
}

impl From<HeldWire> for Held {
    fn from(HeldWire { lease, remaining_ms }: HeldWire) -> Self {
        Self { lease, remaining_ms }
    }
}

impl From<Lease> for LeaseWire {
    fn from(Lease { id, ttl_ms, remaining_ms, keys, own }: Lease) -> Self {
        Self { id, ttl_ms, remaining_ms, keys, own }
    }
}

impl From<LeaseWire> for Lease {
    fn from(LeaseWire { id, ttl_ms, remaining_ms, keys, own }: LeaseWire) -> Self {
        Self { id, ttl_ms, remaining_ms, keys, own }
    }
}

impl From<Leases> for LeasesWire {
    fn from(Leases { leases, more, revision }: Leases) -> Self {
        Self { leases: leases.into_iter().map(Into::into).collect(), more, revision }
    }
}

impl From<LeasesWire> for Leases {
    fn from(LeasesWire { leases, more, revision }: LeasesWire) -> Self {
        Self { leases: leases.into_iter().map(Into::into).collect(), more, revision }
    }
}

impl From<LeaseKeys> for LeaseKeysWire {
    fn from(LeaseKeys { lease, keys, more, revision }: LeaseKeys) -> Self {
        Self { lease: lease.map(Into::into), keys, more, revision }
    }
}

impl From<LeaseKeysWire> for LeaseKeys {
    fn from(LeaseKeysWire { lease, keys, more, revision }: LeaseKeysWire) -> Self {
        Self { lease: lease.map(Into::into), keys, more, revision }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_to_live_is_bounded_at_either_end() {
        for within in [limits::TTL_MIN_MS, limits::TTL_MAX_MS] {
            assert_eq!(Hold::Ttl(within).check(), Ok(()));
        }
        for beyond in [0, limits::TTL_MIN_MS - 1, limits::TTL_MAX_MS + 1, u64::MAX] {
            assert!(Hold::Ttl(beyond).check().is_err(), "{beyond}");
        }
        assert_eq!((limits::TTL_MIN_MS, limits::TTL_MAX_MS), (100, 366 * 86_400_000), "as the refusals say");
    }

    #[test]
    fn the_id_of_a_lease_is_a_revision() {
        for within in [1, limits::NUMBER] {
            assert_eq!(Hold::Lease(within).check(), Ok(()));
        }
        for beyond in [0, limits::NUMBER + 1] {
            assert!(Hold::Lease(beyond).check().is_err(), "{beyond}");
        }
    }
}
