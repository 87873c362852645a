//! What stands in the rows and changes of a state on disk, and its hashes: the store of a node and whoever looks at a
//! backup read it alike.
//!
//! ```text
//! row     revision u64 │ created u64 │ version u64 │ content u64 │ value
//! change  flags u8 │ stamp u64 │ wall u64 │ before      its place: revision u64, big-endian │ the key
//! before  the row with flag 2, else the revision that had removed the key u64, zero for none that is kept
//! flags   1: the key was removed    2: it was there before
//! ```
//!
//! Numbers are little-endian unless said otherwise.

use crate::{limits::NUMBER, response::Found};

pub mod book;
pub mod hash;

/// Flag of a change that removed its key.
pub const DELETED: u8 = 1;
/// Flag of a change whose key was there before.
pub const THERE: u8 = 2;

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
}

impl Meta {
    /// Its share of the state's hash.
    pub fn element(&self) -> u64 {
        hash::element(&[self.content, self.revision, self.created, self.version])
    }

    /// Whether a row can say this. A number beyond would overflow when the row is written again, on every node.
    pub fn is_possible(&self) -> bool {
        let numbers = 1..=NUMBER;
        numbers.contains(&self.revision)
            && numbers.contains(&self.version)
            && (1..=self.revision).contains(&self.created)
    }

    /// The row as a reader sees it.
    pub fn found(&self, value: &[u8]) -> Found {
        Found { value: value.to_vec(), revision: self.revision, created: self.created, version: self.version }
    }

    /// Reads the front of a stored row; the rest is the value. `None` when there are too few bytes.
    pub fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let mut rest = bytes;
        let mut word = || {
            let (word, after) = rest.split_first_chunk()?;
            rest = after;
            Some(u64::from_le_bytes(*word))
        };
        let meta = Self { revision: word()?, created: word()?, version: word()?, content: word()? };
        Some((meta, rest))
    }
}

/// A change as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replaced<'a> {
    /// Whether it removed the key.
    pub deleted: bool,
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
        let known = flags & !(DELETED | THERE) == 0;
        known.then_some(Self { deleted: flags & DELETED != 0, stamp_ms, wall_ms, before })
    }

    /// Revision and key of a change, from its place in the store.
    pub fn split(place: &[u8]) -> Option<(u64, &[u8])> {
        let (revision, key) = place.split_first_chunk()?;
        (!key.is_empty()).then_some((u64::from_be_bytes(*revision), key))
    }

    /// Its share of the state's hash.
    pub fn element(&self, revision: u64, key: &[u8]) -> u64 {
        let before = self.before.map(|(meta, _)| meta);
        change_element(revision, key, self.deleted, (self.stamp_ms, self.wall_ms), before)
    }
}

/// The share of a change in the state's hash; `before` is the row that it replaced, or the revision that had removed the key.
pub fn change_element(
    revision: u64,
    key: &[u8],
    deleted: bool,
    (stamp, wall): (u64, u64),
    before: Result<Meta, u64>,
) -> u64 {
    let (there, before) = match before {
        Ok(meta) => (true, meta.element()),
        Err(deleted) => (false, deleted),
    };
    let flags = u64::from(deleted) | u64::from(there) << 1;
    hash::element(&[revision, hash::words(key), flags, stamp, wall, before])
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*taken)
}
