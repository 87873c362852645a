//! Who is in the cluster: what is recorded of a server beside the id that the consensus knows, what clients see of it, and
//! what they can ask to be changed.
//!
//! The consensus decides who votes and knows ids only (`common/raft/src/change.rs`). A name and an address are an ordinary
//! write, [`Operation::SetMember`](crate::Operation), made before the server is added, so that whoever applies
//! the change knows where to reach it. The founders of a cluster are in the configuration of each and need no record.

use prost::Message as _;

use crate::{DecodeError, command::within, limits};

/// A server of the cluster as clients see it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Member {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Where clients and peers reach it.
    pub address: String,
    /// What it is.
    pub part: Part,
}

/// What a server is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, PartialOrd, Ord)]
pub enum Part {
    /// It counts for majorities.
    #[default]
    Voter,
    /// It counts for majorities until the change under way is done.
    Outgoing,
    /// It is sent the log and does not count.
    Learner,
}

impl Part {
    const ALL: [Self; 3] = [Self::Voter, Self::Outgoing, Self::Learner];

    /// Whether its voice counts at present.
    pub fn votes(self) -> bool {
        matches!(self, Self::Voter | Self::Outgoing)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Voter => "voter",
            Self::Outgoing => "outgoing",
            Self::Learner => "learner",
        }
    }

    fn code(self) -> u32 {
        self as u32
    }

    fn from_code(code: u32) -> Result<Self, DecodeError> {
        let known = Self::ALL.into_iter().find(|part| part.code() == code);
        known.ok_or(DecodeError::Malformed("unknown part of a member"))
    }
}

/// What is recorded of a server that was added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Its id; not zero.
    pub id: u64,
    /// Its name, at most [`limits::NAME_BYTES`].
    pub name: String,
    /// Its advertised address, at most [`limits::ADDRESS_BYTES`].
    pub address: String,
    /// What becomes of it once it has caught up.
    pub intent: Intent,
    /// Which incarnation of it is meant, where that is known: no other is listened to. A later record without one keeps it.
    pub incarnation: Option<[u8; 16]>,
}

/// What the leader does with a learner that has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Intent {
    /// It becomes a voter.
    #[default]
    Promote,
    /// It stays a learner until somebody promotes it.
    Hold,
    /// It becomes a voter in the place of this one, which goes, in one change.
    Replace(u64),
}

impl MemberRecord {
    /// The bytes under which a state keeps it.
    pub fn encode(&self) -> Vec<u8> {
        MemberRecordWire::from(self.clone()).encode_to_vec()
    }

    /// Reads it; checked as [`MemberRecord::check`] does.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire =
            MemberRecordWire::decode(bytes).map_err(|_| DecodeError::Malformed("record of a member"))?;
        let record = Self::try_from(wire)?;
        record.check()?;
        Ok(record)
    }

    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        within("name of a member", self.name.len(), limits::NAME_BYTES)?;
        within("address of a member", self.address.len(), limits::ADDRESS_BYTES)?;
        if self.id == 0 || self.id > limits::NUMBER {
            return Err(DecodeError::Malformed("the id of a member is out of range"));
        }
        if self.name.is_empty() || self.address.is_empty() {
            return Err(DecodeError::Malformed("a member without a name or an address"));
        }
        if self.intent == Intent::Replace(self.id) || self.intent == Intent::Replace(0) {
            return Err(DecodeError::Malformed("a member that takes the place of itself, or of nobody"));
        }
        Ok(())
    }
}

/// One step of a change of members; several are done in one. What is so already changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberEdit {
    /// A server becomes a learner. Its [`MemberRecord`] was written before.
    Add(u64),
    /// A learner becomes a voter.
    Promote(u64),
    /// A voter becomes a learner.
    Demote(u64),
    /// A member goes.
    Remove(u64),
}

/// What a client asks to be changed: the edits take effect together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberChange {
    /// At most [`limits::MEMBER_EDITS`], and not none.
    pub edits: Vec<MemberEdit>,
    /// Whether it is done though too few of the voters it leaves keep up.
    pub force: bool,
}

impl MemberChange {
    /// Checks it against the limits.
    pub fn check(&self) -> Result<(), DecodeError> {
        within("change of members", self.edits.len(), limits::MEMBER_EDITS)?;
        if self.edits.is_empty() { Err(DecodeError::Malformed("a change of nothing")) } else { Ok(()) }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(uint32, tag = "4")]
    part: u32,
}

impl From<Member> for MemberWire {
    fn from(Member { id, name, address, part }: Member) -> Self {
        Self { id, name, address, part: part.code() }
    }
}

impl TryFrom<MemberWire> for Member {
    type Error = DecodeError;

    fn try_from(MemberWire { id, name, address, part }: MemberWire) -> Result<Self, DecodeError> {
        Ok(Self { id, name, address, part: Part::from_code(part)? })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberRecordWire {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "3")]
    address: String,
    #[prost(oneof = "IntentWire", tags = "4, 5, 6")]
    intent: Option<IntentWire>,
    #[prost(bytes = "vec", optional, tag = "10")]
    incarnation: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum IntentWire {
    #[prost(message, tag = "4")]
    Promote(EmptyWire),
    #[prost(message, tag = "5")]
    Hold(EmptyWire),
    #[prost(uint64, tag = "6")]
    Replace(u64),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct EmptyWire {}

impl From<MemberRecord> for MemberRecordWire {
    fn from(MemberRecord { id, name, address, intent, incarnation }: MemberRecord) -> Self {
        let intent = Some(match intent {
            Intent::Promote => IntentWire::Promote(EmptyWire {}),
            Intent::Hold => IntentWire::Hold(EmptyWire {}),
            Intent::Replace(old) => IntentWire::Replace(old),
        });
        let incarnation = incarnation.map(|incarnation| incarnation.to_vec());
        Self { id, name, address, intent, incarnation }
    }
}

impl TryFrom<MemberRecordWire> for MemberRecord {
    type Error = DecodeError;

    fn try_from(wire: MemberRecordWire) -> Result<Self, DecodeError> {
        let MemberRecordWire { id, name, address, intent, incarnation } = wire;
        let intent = match intent.ok_or(DecodeError::Malformed("unknown intent with a member"))? {
            IntentWire::Promote(EmptyWire {}) => Intent::Promote,
            IntentWire::Hold(EmptyWire {}) => Intent::Hold,
            IntentWire::Replace(old) => Intent::Replace(old),
        };
        let sized = |bytes: Vec<u8>| bytes.try_into();
        let incarnation = incarnation
            .map(sized)
            .transpose()
            .map_err(|_| DecodeError::Malformed("the incarnation of a member"))?;
        Ok(Self { id, name, address, intent, incarnation })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MemberChangeWire {
    #[prost(message, repeated, tag = "1")]
    edits: Vec<MemberEditWire>,
    #[prost(bool, tag = "2")]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct MemberEditWire {
    #[prost(oneof = "EditWire", tags = "1, 2, 3, 4")]
    edit: Option<EditWire>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum EditWire {
    #[prost(uint64, tag = "1")]
    Add(u64),
    #[prost(uint64, tag = "2")]
    Promote(u64),
    #[prost(uint64, tag = "3")]
    Demote(u64),
    #[prost(uint64, tag = "4")]
    Remove(u64),
}

impl From<MemberChange> for MemberChangeWire {
    fn from(MemberChange { edits, force }: MemberChange) -> Self {
        let edit = |edit| MemberEditWire {
            edit: Some(match edit {
                MemberEdit::Add(id) => EditWire::Add(id),
                MemberEdit::Promote(id) => EditWire::Promote(id),
                MemberEdit::Demote(id) => EditWire::Demote(id),
                MemberEdit::Remove(id) => EditWire::Remove(id),
            }),
        };
        Self { edits: edits.into_iter().map(edit).collect(), force }
    }
}

impl TryFrom<MemberChangeWire> for MemberChange {
    type Error = DecodeError;

    fn try_from(MemberChangeWire { edits, force }: MemberChangeWire) -> Result<Self, DecodeError> {
        let edit = |wire: MemberEditWire| {
            Ok(match wire.edit.ok_or(DecodeError::Malformed("unknown change of a member"))? {
                EditWire::Add(id) => MemberEdit::Add(id),
                EditWire::Promote(id) => MemberEdit::Promote(id),
                EditWire::Demote(id) => MemberEdit::Demote(id),
                EditWire::Remove(id) => MemberEdit::Remove(id),
            })
        };
        Ok(Self { edits: edits.into_iter().map(edit).collect::<Result<_, DecodeError>>()?, force })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::testing::hex;

    fn record() -> MemberRecord {
        let (name, address) = ("n4".into(), "h:1".into());
        MemberRecord { id: 4, name, address, intent: Intent::Promote, incarnation: None }
    }

    #[test]
    fn the_bytes_of_a_record_are_a_promise() {
        for (intent, bytes) in
            [(Intent::Promote, "2200"), (Intent::Hold, "2a00"), (Intent::Replace(3), "3003")]
        {
            let record = MemberRecord { intent, ..record() };
            assert_eq!(hex(&record.encode()), format!("080412026e341a03683a31{bytes}"));
            assert_eq!(MemberRecord::decode(&record.encode()), Ok(record));
        }
    }

    #[test]
    fn an_incarnation_has_its_length() {
        let record = MemberRecord { incarnation: Some([0xab; 16]), ..record() };
        let text = format!("080412026e341a03683a3122005210{}", "ab".repeat(16));
        assert_eq!(hex(&record.encode()), text);
        assert_eq!(MemberRecord::decode(&record.encode()), Ok(record.clone()));
        let mut wire = MemberRecordWire::from(record);
        for length in [0, 15, 17] {
            wire.incarnation = Some(vec![1; length]);
            let refused = DecodeError::Malformed("the incarnation of a member");
            assert_eq!(MemberRecord::decode(&wire.encode_to_vec()), Err(refused), "{length}");
        }
    }

    #[test]
    fn an_intent_that_is_not_known_is_not_taken_for_another() {
        let bytes = [8, 4, 0x12, 1, b'n', 0x1a, 1, b'h', 0x3a, 0];
        let refused = DecodeError::Malformed("unknown intent with a member");
        assert_eq!(MemberRecord::decode(&bytes), Err(refused));
    }

    #[test]
    fn records_and_changes_are_bounded() {
        let named = |name: usize, address: usize| {
            MemberRecord { name: "n".repeat(name), address: "a".repeat(address), ..record() }.check().is_ok()
        };
        assert!(named(limits::NAME_BYTES, limits::ADDRESS_BYTES) && named(1, 1));
        assert!(!named(limits::NAME_BYTES + 1, 1) && !named(1, limits::ADDRESS_BYTES + 1));
        assert!(!named(0, 1) && !named(1, 0));
        for (id, intent) in [(0, Intent::Hold), (limits::NUMBER + 1, Intent::Hold), (4, Intent::Replace(4))] {
            assert!(MemberRecord { id, intent, ..record() }.check().is_err());
        }
        let change =
            |edits| MemberChange { edits: vec![MemberEdit::Add(1); edits], force: false }.check().is_ok();
        assert!(!change(0) && change(1) && change(limits::MEMBER_EDITS) && !change(limits::MEMBER_EDITS + 1));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = MemberRecord::decode(&bytes);
        }
    }
}
