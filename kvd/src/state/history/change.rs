//! One change, in memory and in the store.
//!
//! ```text
//! key     revision u64, big-endian │ the key
//! value   flags u8 │ stamp u64 │ wall u64 │ before
//! before  the row (`state/row.rs`) with flag 2, else the revision that had removed the key u64, zero for none that is kept
//! flags   1: the key was removed    2: it was there before    4: its time was over
//! ```
//!
//! Numbers in the value are little-endian.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use std::sync::Arc;

pub(crate) use protocol::stored::Replaced;
use protocol::{
    limits::CHANGE_BYTES,
    stored::{DELETED, EXPIRED, THERE, change_element as element},
};

use crate::state::row::{Meta, Row};

/// One key written or removed at one revision.
#[derive(Clone, Debug)]
pub(crate) struct Change {
    /// The revision.
    pub(crate) revision: u64,
    /// The key.
    pub(crate) key: Arc<[u8]>,
    /// The leader's stamp.
    pub(crate) stamp_ms: u64,
    /// The leader's clock on the wall.
    pub(crate) wall_ms: u64,
    /// Whether it removed the key.
    pub(crate) deleted: bool,
    /// Whether it did because the key's time was over.
    pub(crate) expired: bool,
    /// What was there.
    pub(crate) before: Before,
}

/// What there was of a key before a change.
#[derive(Clone, Debug)]
pub(crate) enum Before {
    /// Nothing; the revision that had removed it, zero where that is not kept.
    Nothing(u64),
    /// A row in memory.
    Row(Arc<Row>),
    /// The row that the store has of the key until this change is flushed, and the length of its value. It is not read
    /// before that: the flush moves it.
    Stored(Meta, usize),
}

impl Before {
    /// What the row says.
    pub(crate) fn meta(&self) -> Option<Meta> {
        match self {
            Self::Nothing(_) => None,
            Self::Row(row) => Some(row.meta),
            Self::Stored(meta, _) => Some(*meta),
        }
    }

    /// Whether there was a row.
    pub(crate) fn is_row(&self) -> bool {
        !matches!(self, Self::Nothing(_))
    }

    fn value_bytes(&self) -> usize {
        match self {
            Self::Nothing(_) => 0,
            Self::Row(row) => row.value.len(),
            Self::Stored(_, bytes) => *bytes,
        }
    }
}

impl Change {
    /// What it counts for in the window.
    pub(crate) fn bytes(&self) -> u64 {
        counted(self.key.len(), self.before.value_bytes())
    }

    /// What it holds in memory beside its row.
    pub(crate) fn memory(&self) -> usize {
        let value = if let Before::Row(row) = &self.before { row.value.len() } else { 0 };
        CHANGE_BYTES.saturating_add(self.key.len()).saturating_add(value)
    }

    /// Its share of the state's hash.
    pub(crate) fn element(&self) -> u64 {
        let before = match &self.before {
            Before::Nothing(deleted) => Err(*deleted),
            Before::Row(row) => Ok(row.meta),
            Before::Stored(meta, _) => Ok(*meta),
        };
        element(self.revision, &self.key, (self.deleted, self.expired), (self.stamp_ms, self.wall_ms), before)
    }

    /// The key in the store.
    pub(crate) fn place(revision: u64, key: &[u8]) -> Vec<u8> {
        [&revision.to_be_bytes(), key].concat()
    }

    /// Replaces `out` with its stored form; `stored` is what the store has of the key, and `restored` what the revision zero
    /// stands for in it.
    pub(crate) fn encode(&self, stored: Option<&[u8]>, restored: u64, out: &mut Vec<u8>) -> Option<()> {
        out.clear();
        let there = if self.before.is_row() { THERE } else { 0 };
        let expired = if self.expired { EXPIRED } else { 0 };
        out.push(there | expired | if self.deleted { DELETED } else { 0 });
        out.extend_from_slice(&self.stamp_ms.to_le_bytes());
        out.extend_from_slice(&self.wall_ms.to_le_bytes());
        match &self.before {
            Before::Nothing(deleted) => out.extend_from_slice(&deleted.to_le_bytes()),
            Before::Row(row) => row.append(out),
            Before::Stored(..) => {
                let (meta, value) = Meta::split(stored?)?;
                meta.resolved(restored).append(out);
                out.extend_from_slice(value);
            }
        }
        Some(())
    }
}

fn counted(key: usize, value: usize) -> u64 {
    u64::try_from(CHANGE_BYTES.saturating_add(key).saturating_add(value)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(deleted: bool, before: Before) -> Change {
        Change {
            revision: 9,
            key: Arc::from(*b"k"),
            stamp_ms: 5,
            wall_ms: 6,
            deleted,
            expired: false,
            before,
        }
    }

    fn row() -> Row {
        Row { meta: Meta { revision: 7, created: 5, version: 2, content: 9, lease: 0 }, value: b"v".to_vec() }
    }

    fn bytes(change: &Change, stored: Option<&[u8]>) -> Vec<u8> {
        let mut bytes = vec![1];
        change.encode(stored, 0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_change_survives_its_bytes_whether_its_row_was_in_memory_or_in_the_store() {
        let held = change(true, Before::Row(Arc::new(row())));
        let mut stored = Vec::new();
        row().encode(&mut stored);
        let moved = change(true, Before::Stored(row().meta, 1));
        assert_eq!(bytes(&held, None), bytes(&moved, Some(&stored)));
        assert_eq!((held.element(), held.bytes()), (moved.element(), moved.bytes()));
        let bytes = bytes(&held, None);
        let read = Replaced::decode(&bytes).unwrap();
        let before = Ok((row().meta, b"v".as_slice()));
        assert_eq!(read, Replaced { deleted: true, expired: false, stamp_ms: 5, wall_ms: 6, before });
        assert_eq!(read.element(9, b"k"), held.element());
        assert_eq!(moved.encode(None, 0, &mut Vec::new()), None, "a row that is not there is not made up");
    }

    #[test]
    fn what_is_no_change_is_refused() {
        let bytes = bytes(&change(false, Before::Nothing(3)), None);
        assert_eq!(Replaced::decode(&bytes).unwrap().before, Err(3));
        for length in 0..bytes.len() {
            assert_eq!(Replaced::decode(&bytes[..length]), None);
        }
        assert_eq!(Replaced::decode(&[bytes.clone(), vec![0]].concat()), None);
        assert_eq!(Replaced::decode(&[&[8], &bytes[1..]].concat()), None, "an unknown flag");
        assert_eq!(Replaced::split(&Change::place(9, b"k")), Some((9, b"k".as_slice())));
        assert_eq!(Replaced::split(&[0; 8]), None);
    }

    #[test]
    fn the_bytes_of_a_change_are_a_promise() {
        let bytes = bytes(&change(true, Before::Row(Arc::new(row()))), None);
        let hex = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(
            hex,
            "0305000000000000000600000000000000070000000000000005000000000000000200000000000000090000000000000076"
        );
    }
}
