//! What stands in the rows and changes of a state on disk, and its hashes: the store of a node and whoever looks at a
//! backup read it alike.
//!
//! ```text
//! row     revision u64 │ created u64 │ version u64 │ content u64 │ value            no lease holds it
//! row     revision u64 │ created u64 │ version u64 │ content u64 │ lease u64 │ value   with the highest bit of the version
//! change  flags u8 │ stamp u64 │ wall u64 │ before      its place: revision u64, big-endian │ the key
//! before  the row with flag 2, else the revision that had removed the key u64, zero for none that is kept
//! flags   1: the key was removed    2: it was there before    4: its time was over
//! lease   ttl u64 │ deadline u64 │ flags u8                 its place: the id u64, big-endian; flag 1: it ends with its one key
//! ```
//!
//! Numbers are little-endian unless said otherwise.

use crate::{lease::Held, limits::NUMBER, response::Found};

pub mod book;
pub mod hash;

/// Flag of a change that removed its key.
pub const DELETED: u8 = 1;
/// Flag of a change whose key was there before.
pub const THERE: u8 = 2;
/// Flag of a change that removed its key because its time was over.
pub const EXPIRED: u8 = 4;
/// Bit of a row's version that says that a lease follows: no version gets there.
const LEASED: u64 = 1 << 63;

/// What a row says beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// The revision that wrote it last.
    pub revision: u64,
    /// The revision that created it.
    pub created: u64,
    /// How often it was written since, from 1.
    pub version: u64,
    /// Hash of key and value ([`hash::operation`] of the set), kept so that an overwrite can take the row out of the
    /// state's hash without reading the value.
    pub content: u64,
    /// The lease that holds it; zero for none.
    pub lease: u64,
}

impl Meta {
    /// Its share of the state's hash.
    pub fn element(&self) -> u64 {
        let Self { revision, created, version, content, lease } = *self;
        if lease == 0 {
            hash::element(&[content, revision, created, version])
        } else {
            hash::element(&[content, revision, created, version, lease])
        }
    }

    /// Whether a row can say this. A number beyond would overflow when the row is written again, on every node.
    pub fn is_possible(&self) -> bool {
        let numbers = 1..=NUMBER;
        numbers.contains(&self.revision)
            && numbers.contains(&self.version)
            && (1..=self.revision).contains(&self.created)
            && self.lease <= self.revision
    }

    /// Its share of the state's hash where the last restore was of this revision: a row of that restore counts as it was
    /// staged, whether its revision is written out or not, so that the switch has nothing to sum.
    pub fn element_since(&self, restored: u64) -> u64 {
        let of_it = restored != 0 && (self.revision == restored || self.revision == 0);
        if of_it { Self { revision: 0, created: 0, ..*self }.element() } else { self.element() }
    }

    /// The same with the revision of the last restore, where it only refers to it.
    #[must_use]
    pub fn resolved(self, restored: u64) -> Self {
        if self.revision == 0 { Self { revision: restored, created: restored, ..self } } else { self }
    }

    /// The row as a reader sees it.
    pub fn found(&self, value: &[u8]) -> Found {
        self.holding(value.to_vec())
    }

    /// The same of a value that is nobody else's.
    pub fn holding(&self, value: Vec<u8>) -> Found {
        let Self { revision, created, version, lease, .. } = *self;
        let lease = (lease != 0).then_some(Held { lease, remaining_ms: None });
        Found { value, revision, created, version, lease }
    }

    /// Reads the front of a stored row; the rest is the value. `None` when there are too few bytes.
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        let mut word = || {
            let (word, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*word))
        };
        let (revision, created, version, content) = (word()?, word()?, word()?, word()?);
        let mut meta = Self { revision, created, version, content, lease: 0 };
        if version & LEASED != 0 {
            meta.version = version & !LEASED;
            meta.lease = Some(word()?).filter(|lease| *lease != 0)?;
        }
        Some((meta, rest))
    }

    /// Adds the front of a stored row to `out`.
    pub fn append(&self, out: &mut Vec<u8>) {
        let leased = if self.lease == 0 { 0 } else { LEASED };
        for word in [self.revision, self.created, self.version | leased, self.content] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        if self.lease != 0 {
            out.extend_from_slice(&self.lease.to_le_bytes());
        }
    }
}

/// A lease as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredLease {
    /// For how long it is granted.
    pub ttl_ms: u64,
    /// The stamp from which on it is over.
    pub deadline_ms: u64,
    /// Whether it ends with its one key.
    pub own: bool,
}

impl StoredLease {
    /// Its bytes.
    pub fn encode(&self) -> [u8; 17] {
        let mut bytes = [0; 17];
        let numbers = self.ttl_ms.to_le_bytes().into_iter().chain(self.deadline_ms.to_le_bytes());
        bytes.iter_mut().zip(numbers.chain([u8::from(self.own)])).for_each(|(byte, given)| *byte = given);
        bytes
    }

    /// Reads it. `None` when it is no lease.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let (ttl_ms, deadline_ms) =
            (u64::from_le_bytes(take(&mut rest)?), u64::from_le_bytes(take(&mut rest)?));
        let [own] = take(&mut rest)?;
        let sound = rest.is_empty() && own <= 1 && ttl_ms <= NUMBER && deadline_ms <= NUMBER;
        sound.then_some(Self { ttl_ms, deadline_ms, own: own == 1 })
    }

    /// Its share of the hash of all leases.
    pub fn element(&self, id: u64) -> u64 {
        hash::element(&[id, self.ttl_ms, self.deadline_ms, u64::from(self.own)])
    }

    /// Where a lease says of a key that it holds it.
    pub fn place(id: u64, key: &[u8]) -> Vec<u8> {
        [&id.to_be_bytes(), key].concat()
    }

    /// Lease and key of such a place.
    pub fn split(place: &[u8]) -> Option<(u64, &[u8])> {
        Replaced::split(place)
    }

    /// The share of a key that a lease holds in the hash of all leases.
    pub fn key_element(id: u64, key: &[u8]) -> u64 {
        hash::element(&[id, hash::words(key)])
    }
}

/// A change as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced<'a> {
    /// Whether it removed the key.
    pub deleted: bool,
    /// Whether it did because the key's time was over.
    pub expired: bool,
    /// The leader's stamp.
    pub stamp_ms: u64,
    /// The leader's clock on the wall.
    pub wall_ms: u64,
    /// The row before, or the revision that had removed the key.
    pub before: Result<(Meta, &'a [u8]), u64>,
}

impl<'a> Replaced<'a> {
    /// Reads it. `None` when it is no change.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let [flags] = take(&mut rest)?;
        let stamp_ms = u64::from_le_bytes(take(&mut rest)?);
        let wall_ms = u64::from_le_bytes(take(&mut rest)?);
        let before = if flags & THERE == 0 {
            let deleted = u64::from_le_bytes(take(&mut rest)?);
            rest.is_empty().then_some(Err(deleted))?
        } else {
            Ok(Meta::split(rest)?)
        };
        let (deleted, expired) = (flags & DELETED != 0, flags & EXPIRED != 0);
        let known = flags & !(DELETED | THERE | EXPIRED) == 0 && (deleted || !expired);
        known.then_some(Self { deleted, expired, stamp_ms, wall_ms, before })
    }

    /// Revision and key of a change, from its place in the store.
    pub fn split(place: &[u8]) -> Option<(u64, &[u8])> {
        let (revision, key) = place.split_first_chunk()?;
        (!key.is_empty()).then_some((u64::from_be_bytes(*revision), key))
    }

    /// Its share of the state's hash.
    pub fn element(&self, revision: u64, key: &[u8]) -> u64 {
        let before = self.before.map(|(meta, _)| meta);
        change_element(revision, key, (self.deleted, self.expired), (self.stamp_ms, self.wall_ms), before)
    }
}

/// The share of a change in the state's hash; `before` is the row that it replaced, or the revision that had removed the key.
pub fn change_element(
    revision: u64,
    key: &[u8],
    (deleted, expired): (bool, bool),
    (stamp, wall): (u64, u64),
    before: Result<Meta, u64>,
) -> u64 {
    let (there, before) = match before {
        Ok(meta) => (true, meta.element()),
        Err(deleted) => (false, deleted),
    };
    let flags = u64::from(deleted) | u64::from(there) << 1 | u64::from(expired) << 2;
    hash::element(&[revision, hash::words(key), flags, stamp, wall, before])
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::hex;

    const HELD: Meta = Meta { revision: 7, created: 5, version: 2, content: 9, lease: 6 };

    #[test]
    fn the_bytes_of_a_row_with_a_lease_and_without_one_are_a_promise() {
        let bytes = |meta: Meta| {
            let mut bytes = Vec::new();
            meta.append(&mut bytes);
            assert_eq!(Meta::split(&bytes), Some((meta, &b""[..])));
            hex(&bytes)
        };
        let plain = "0700000000000000050000000000000002000000000000000900000000000000";
        assert_eq!(bytes(Meta { lease: 0, ..HELD }), plain);
        let held = "0700000000000000050000000000000002000000000000800900000000000000";
        assert_eq!(bytes(HELD), format!("{held}0600000000000000"));
        assert_eq!(format!("{:016x}", HELD.element()), "627c088e2746865d");
        assert_ne!(HELD.element(), Meta { lease: 0, ..HELD }.element());
    }

    #[test]
    fn a_row_that_says_that_a_lease_follows_and_has_none_is_refused() {
        let mut bytes = Vec::new();
        HELD.append(&mut bytes);
        assert_eq!(Meta::split(&bytes[..39]), None);
        bytes[32] = 0;
        assert_eq!(Meta::split(&bytes), None, "the lease zero is none");
        assert!(
            HELD.is_possible() && !Meta { lease: 8, ..HELD }.is_possible(),
            "it is not of a later revision"
        );
    }

    #[test]
    fn the_bytes_of_a_lease_are_a_promise() {
        let lease = StoredLease { ttl_ms: 1000, deadline_ms: 2000, own: true };
        assert_eq!(hex(&lease.encode()), "e803000000000000d00700000000000001");
        assert_eq!(StoredLease::decode(&lease.encode()), Some(lease));
        assert_eq!(StoredLease::decode(&lease.encode()[..16]), None);
        assert_eq!(StoredLease::decode(&[&lease.encode()[..16], &[2]].concat()), None, "an unknown flag");
        let long = StoredLease { deadline_ms: NUMBER + 1, ..lease };
        assert_eq!(StoredLease::decode(&long.encode()), None);
        assert_eq!(StoredLease::split(&StoredLease::place(6, b"k")), Some((6, &b"k"[..])));
        assert_eq!(StoredLease::split(&[0; 8]), None, "no key");
    }

    #[test]
    fn a_change_that_expired_was_a_removal() {
        let change = |flags: u8| [&[flags], &[0; 24][..]].concat();
        assert!(Replaced::decode(&change(DELETED | EXPIRED)).unwrap().expired);
        assert_eq!(Replaced::decode(&change(EXPIRED)), None);
        assert_eq!(Replaced::decode(&change(8)), None);
    }
}
