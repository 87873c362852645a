//! The record of one log entry: the same bytes in the log on disk and in an append between servers, so that an
//! entry is laid out once and its checksum follows it from the leader's memory to the follower's disk.
//!
//! ```text
//!  0        4        8        12   13    16       24       32
//! ┌────────┬────────┬────────┬────┬─────┬────────┬────────┬───────────┐
//! │ length │ crc32c │ group  │kind│ 0 0 0│ index  │ term   │ payload … │
//! │ u32    │ u32    │ u32    │ u8 │     │ u64    │ u64    │           │
//! └────────┴────────┴────────┴────┴─────┴────────┴────────┴───────────┘
//!                    ╰───── `length` bytes, covered by the checksum ──╯
//! ```
//!
//! All numbers are little-endian. `kind` 1 is the empty entry of a new leader, 2 is a command, 3 is a membership, whose
//! bytes the core defines (`common/raft/src/membership/bytes.rs`). `group` is 0 as long
//! as there is one Raft group. A damaged `length` either does not fit, or moves the end of what the checksum covers;
//! a region of zeros is never a record, because a record is at least [`HEADER_BYTES`] long.

use std::{borrow::Cow, sync::Arc};

use raft::{Entry, Index, Membership, Payload, Position, Term};

use crate::{DecodeError, limits, read::Reader};

/// Bytes of a record without its payload.
pub const HEADER_BYTES: usize = 32;
/// Bytes of a record that its length does not count: the length and the checksum.
const PREFIX_BYTES: usize = 8;
/// Bytes that the length counts before the payload.
const FIXED_BYTES: usize = HEADER_BYTES - PREFIX_BYTES;

const KIND_NOOP: u8 = 1;
const KIND_COMMAND: u8 = 2;
const KIND_MEMBERSHIP: u8 = 3;

/// Bytes that [`encode_entry`] will append for this entry.
pub fn entry_bytes(entry: &Entry) -> usize {
    HEADER_BYTES.saturating_add(payload(entry).1.len())
}

/// Appends the record of one entry.
///
/// # Panics
/// When the payload is 4 GiB or more; whoever proposed it had to keep to [`limits::ENTRY_BYTES`].
pub fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    let (kind, payload) = payload(entry);
    let mut fixed = [0; FIXED_BYTES];
    let (_group, rest) = fixed.split_at_mut(4);
    let (kind_and_zeros, numbers) = rest.split_at_mut(4);
    let (index, term) = numbers.split_at_mut(8);
    kind_and_zeros.copy_from_slice(&[kind, 0, 0, 0]);
    index.copy_from_slice(&entry.position.index.0.to_le_bytes());
    term.copy_from_slice(&entry.position.term.0.to_le_bytes());

    out.reserve(entry_bytes(entry));
    out.extend_from_slice(&record_length(&payload).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c_append(crc32c::crc32c(&fixed), &payload).to_le_bytes());
    out.extend_from_slice(&fixed);
    out.extend_from_slice(&payload);
}

/// Reads the record at the start of `bytes` and says how long it is.
///
/// [`DecodeError::Truncated`] means that the bytes end before the record does, which is how a torn write at the end
/// of a log looks; everything else is damage or a record that this version does not know.
pub fn decode_entry(bytes: &[u8]) -> Result<(Entry, usize), DecodeError> {
    let mut reader = Reader::new(bytes, "entry");
    let length = checked_length(reader.u32()?)?;
    let checksum = reader.u32()?;
    let covered = reader.take(length)?;
    if crc32c::crc32c(covered) != checksum {
        return Err(DecodeError::Checksum);
    }
    Ok((decode_covered(covered)?, length.saturating_add(PREFIX_BYTES)))
}

fn decode_covered(covered: &[u8]) -> Result<Entry, DecodeError> {
    let mut reader = Reader::new(covered, "entry");
    if reader.u32()? != 0 {
        return Err(DecodeError::Malformed("entry of an unknown group"));
    }
    let [kind, zeros @ ..] = reader.array::<4>()?;
    if zeros != [0; 3] {
        return Err(DecodeError::Malformed("reserved bytes of an entry"));
    }
    let position = Position { index: Index(reader.number()?), term: Term(reader.number()?) };
    if position.index.0 == 0 || position.term.0 == 0 {
        return Err(DecodeError::Malformed("entry at no position"));
    }
    let payload = match (kind, reader.rest()) {
        (KIND_NOOP, []) => Payload::Noop,
        (KIND_NOOP, _) => return Err(DecodeError::Malformed("empty entry with a payload")),
        (KIND_COMMAND, bytes) => Payload::Command(Arc::from(bytes)),
        (KIND_MEMBERSHIP, bytes) => {
            let membership = Membership::decode(bytes);
            Payload::Membership(Arc::new(
                membership.map_err(|_| DecodeError::Malformed("membership of an entry"))?,
            ))
        }
        _ => return Err(DecodeError::Malformed("unknown kind of entry")),
    };
    Ok(Entry { position, payload })
}

fn payload(entry: &Entry) -> (u8, Cow<'_, [u8]>) {
    match &entry.payload {
        Payload::Noop => (KIND_NOOP, Cow::Borrowed(&[])),
        Payload::Command(bytes) => (KIND_COMMAND, Cow::Borrowed(bytes)),
        Payload::Membership(membership) => (KIND_MEMBERSHIP, Cow::Owned(membership.encode())),
    }
}

#[allow(clippy::expect_used)]
fn record_length(payload: &[u8]) -> u32 {
    u32::try_from(payload.len().saturating_add(FIXED_BYTES)).expect("a proposal is bounded far below 4 GiB")
}

fn checked_length(length: u32) -> Result<usize, DecodeError> {
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let size = length.checked_sub(FIXED_BYTES).ok_or(DecodeError::Malformed("length of an entry"))?;
    if size > limits::ENTRY_BYTES {
        return Err(DecodeError::TooLarge { what: "entry", size, limit: limits::ENTRY_BYTES });
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use raft::NodeId;

    use super::*;
    use crate::testing::{entries, hex};

    fn command(size: usize) -> Entry {
        Entry { position: Position::new(7, 3), payload: Payload::Command(vec![b'v'; size].into()) }
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        encode_entry(entry, &mut out);
        assert_eq!(out.len(), entry_bytes(entry));
        out
    }

    #[test]
    fn the_bytes_of_an_entry_are_a_promise() {
        assert_eq!(
            hex(&encoded(&command(3))),
            "1b00000013eb7496000000000200000007000000000000000300000000000000767676"
        );
        let noop = Entry { position: Position::new(1, 1), payload: Payload::Noop };
        assert_eq!(hex(&encoded(&noop)), "180000008a6b8808000000000100000001000000000000000100000000000000");
        let members = Membership::new(&[NodeId(1), NodeId(2)], &[NodeId(3)]).unwrap();
        let members =
            Entry { position: Position::new(2, 1), payload: Payload::Membership(Arc::new(members)) };
        assert_eq!(
            hex(&encoded(&members)),
            "340000000713d00c00000000030000000200000000000000010000000000000001020001010000000000000002000000000000000300000000000000"
        );
    }

    #[test]
    fn the_payload_is_bounded() {
        assert!(decode_entry(&encoded(&command(limits::ENTRY_BYTES))).is_ok());
        let error = decode_entry(&encoded(&command(limits::ENTRY_BYTES + 1))).unwrap_err();
        assert!(matches!(error, DecodeError::TooLarge { what: "entry", .. }));
    }

    #[test]
    fn zeros_are_no_entry() {
        assert_eq!(decode_entry(&[0; 64]), Err(DecodeError::Malformed("length of an entry")));
    }

    /// Replaces bytes under the checksum and makes the checksum fit again.
    fn resealed(change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut bytes = encoded(&command(3));
        change(&mut bytes);
        let checksum = crc32c::crc32c(&bytes[8..]).to_le_bytes();
        bytes[4..8].copy_from_slice(&checksum);
        bytes
    }

    #[test]
    fn what_this_version_does_not_know_is_refused() {
        let kind = resealed(|bytes| bytes[12] = 9);
        assert_eq!(decode_entry(&kind), Err(DecodeError::Malformed("unknown kind of entry")));
        let group = resealed(|bytes| bytes[8] = 1);
        assert_eq!(decode_entry(&group), Err(DecodeError::Malformed("entry of an unknown group")));
        let reserved = resealed(|bytes| bytes[15] = 1);
        assert_eq!(decode_entry(&reserved), Err(DecodeError::Malformed("reserved bytes of an entry")));
        let members = resealed(|bytes| bytes[12] = KIND_MEMBERSHIP);
        assert_eq!(decode_entry(&members), Err(DecodeError::Malformed("membership of an entry")));
        let noop = resealed(|bytes| bytes[12] = KIND_NOOP);
        assert_eq!(decode_entry(&noop), Err(DecodeError::Malformed("empty entry with a payload")));
        let nowhere = resealed(|bytes| bytes[16] = 0);
        assert_eq!(decode_entry(&nowhere), Err(DecodeError::Malformed("entry at no position")));
        let beyond = resealed(|bytes| bytes[31] = 0x80);
        assert_eq!(decode_entry(&beyond), Err(DecodeError::Malformed("term or index out of range")));
    }

    proptest! {
        #[test]
        fn entries_survive_bytes(entries in entries()) {
            for entry in entries {
                let mut bytes = encoded(&entry);
                bytes.extend_from_slice(b"what follows");
                prop_assert_eq!(decode_entry(&bytes), Ok((entry.clone(), entry_bytes(&entry))));
            }
        }

        #[test]
        fn no_cut_and_no_flipped_bit_goes_unnoticed(size in 0_usize..64, at in any::<prop::sample::Index>(), bit in 0..8) {
            let bytes = encoded(&command(size));
            let at = at.index(bytes.len());
            prop_assert_eq!(decode_entry(&bytes[..at]), Err(DecodeError::Truncated("entry")));
            let mut flipped = bytes;
            flipped[at] ^= 1_u8 << bit;
            prop_assert!(decode_entry(&flipped).is_err());
        }

        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
            let _ = decode_entry(&bytes);
        }
    }
}
