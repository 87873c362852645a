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

pub(crate) use protocol::stored::Meta;

/// A key's row in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) meta: Meta,
    pub(crate) value: Vec<u8>,
}

impl Row {
    /// Replaces `out` with the row's stored form: [`Meta::append`] and the value.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.clear();
        self.append(out);
    }

    /// The same at the end of `out`.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        self.meta.append(out);
        out.extend_from_slice(&self.value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_survives_its_bytes_and_a_short_one_is_refused() {
        let meta = Meta { revision: 7, created: 5, version: 2, content: 9, lease: 0 };
        let row = Row { meta, value: b"value".to_vec() };
        let mut bytes = vec![1, 2, 3];
        row.encode(&mut bytes);
        assert_eq!(Meta::split(&bytes), Some((meta, b"value".as_slice())));
        assert_eq!(Meta::split(&bytes[..32]), Some((meta, b"".as_slice())));
        assert_eq!(Meta::split(&bytes[..31]), None);
    }
}
