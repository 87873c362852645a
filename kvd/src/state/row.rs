//! One key's row: what it holds, and its bytes in the store.
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

use protocol::response::Found;

use super::hash;

/// What a row says beside its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The revision that wrote it last.
    pub(crate) revision: u64,
    /// The revision that created it.
    pub(crate) created: u64,
    /// How often it was written since, from 1.
    pub(crate) version: u64,
    /// Hash of key and value ([`hash::operation`] of the set), kept so that an overwrite can take the row out of the
    /// state's hash without reading the value.
    pub(crate) content: u64,
}

/// A key's row in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) meta: Meta,
    pub(crate) value: Vec<u8>,
}

impl Meta {
    /// Its share of the state's hash.
    pub(crate) fn element(&self) -> u64 {
        hash::element(&[self.content, self.revision, self.created, self.version])
    }

    /// The row as a reader sees it.
    pub(crate) fn found(&self, value: &[u8]) -> Found {
        Found { value: value.to_vec(), revision: self.revision, created: self.created, version: self.version }
    }

    /// Reads the front of a stored row; the rest is the value. `None` when there are too few bytes.
    pub(crate) fn split(bytes: &[u8]) -> Option<(Self, &[u8])> {
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

impl Row {
    /// Replaces `out` with the row's stored form: revision, created, version, content (little-endian), value.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        self.append(out);
    }

    /// The same at the end of `out`.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        for word in [self.meta.revision, self.meta.created, self.meta.version, self.meta.content] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_bytes_and_a_short_one_is_refused() {
        let meta = Meta { revision: 7, created: 5, version: 2, content: 9 };
        let row = Row { meta, value: b"value".to_vec() };
        let mut bytes = vec![1, 2, 3];
        row.encode(&mut bytes);
        assert_eq!(Meta::split(&bytes), Some((meta, b"value".as_slice())));
        assert_eq!(Meta::split(&bytes[..32]), Some((meta, b"".as_slice())));
        assert_eq!(Meta::split(&bytes[..31]), None);
    }
}
