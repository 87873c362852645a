//! Who is in the cluster, as it lies in a state: one pair for the membership, one for each record of a member.
//!
//! ```text
//! key           value
//! 0             the membership, as in its entry (`common/raft/src/membership/bytes.rs`)
//! 1 │ id u64    flags u8 │ the record      flags  1: it was a member since it was recorded
//! ```
//!
//! The id is big-endian.

use raft::Membership;

use crate::{DecodeError, MemberRecord};

const MEMBERSHIP: u8 = 0;
const RECORD: u8 = 1;
const JOINED: u8 = 1;

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Page {
    /// The latest membership that was applied.
    Membership(Membership),
    /// What is recorded of a server, and whether it was a member since.
    Record {
        /// What.
        record: MemberRecord,
        /// Whether it was a member since: if it is none any more, the record goes.
        joined: bool,
    },
}

impl Page {
    /// Key and value.
    pub fn encode(&self) -> (Vec<u8>, Vec<u8>) {
        match self {
            Self::Membership(membership) => (vec![MEMBERSHIP], membership.encode()),
            Self::Record { record, joined } => {
                let key = [&[RECORD][..], &record.id.to_be_bytes()].concat();
                let flags = if *joined { JOINED } else { 0 };
                (key, [&[flags][..], &record.encode()].concat())
            }
        }
    }

    /// Reads a pair.
    pub fn decode(key: &[u8], value: &[u8]) -> Result<Self, DecodeError> {
        match (key, value) {
            ([MEMBERSHIP], bytes) => {
                let membership = Membership::decode(bytes);
                membership.map(Self::Membership).map_err(|_| DecodeError::Malformed("a membership"))
            }
            ([RECORD, id @ ..], [flags @ (0 | JOINED), bytes @ ..]) => {
                let record = MemberRecord::decode(bytes)?;
                if record.id.to_be_bytes() != *id {
                    return Err(DecodeError::Malformed("a record of another member than its key says"));
                }
                Ok(Self::Record { record, joined: *flags == JOINED })
            }
            _ => Err(DecodeError::Malformed("what is known of members")),
        }
    }
}

#[cfg(test)]
mod tests {
    use raft::NodeId;

    use super::*;
    use crate::Intent;

    #[test]
    fn pages_survive_their_bytes_and_nothing_else_passes_for_one() {
        let (name, address) = ("n".into(), "h:1".into());
        let record = MemberRecord { id: 258, name, address, intent: Intent::Hold, incarnation: None };
        let membership = Membership::new(&[NodeId(1)], &[NodeId(258)]).unwrap();
        let pages = [
            Page::Membership(membership),
            Page::Record { record: record.clone(), joined: false },
            Page::Record { record, joined: true },
        ];
        for page in pages {
            let (key, value) = page.encode();
            assert_eq!(Page::decode(&key, &value), Ok(page));
            assert!(Page::decode(&[key.as_slice(), &[0]].concat(), &value).is_err());
            assert!(Page::decode(&key, &[]).is_err());
            assert!(Page::decode(&[2], &value).is_err());
        }
        let (key, value) = (vec![1, 0, 0, 0, 0, 0, 0, 1, 2], [2, 8, 1]);
        assert!(Page::decode(&key, &value).is_err(), "an unknown flag");
    }
}
