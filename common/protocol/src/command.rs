//! What is inside a log entry: one operation with the id under which it takes effect at most once, and the
//! leader's stamp, the only way time enters the state.

use prost::Message as _;

use crate::{
    DecodeError, MemberRecord, Operation, RequestId, limits, member::MemberRecordWire,
    operation::OperationWire,
};

/// A replicated command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// Under which the operation takes effect at most once.
    pub request: RequestId,
    /// The leader's replicated clock when it appended the entry, in milliseconds; never goes back.
    pub stamp_ms: u64,
    /// Wall time at the leader, milliseconds since 1970; for display only.
    pub wall_ms: u64,
    /// What to do.
    pub operation: Operation,
}

/// Refuses the empty key and one over [`limits::KEY_BYTES`].
pub fn check_key(key: &[u8]) -> Result<(), DecodeError> {
    if key.is_empty() {
        return Err(DecodeError::Malformed("empty key"));
    }
    within("key", key.len(), limits::KEY_BYTES)
}

/// Refuses what is over a limit, by name.
pub(crate) fn within(what: &'static str, size: usize, limit: usize) -> Result<(), DecodeError> {
    if size > limit { Err(DecodeError::TooLarge { what, size, limit }) } else { Ok(()) }
}

impl Command {
    /// The bytes that go into an entry.
    pub fn encode(&self) -> Vec<u8> {
        CommandWire {
            request: self.request.to_bytes().to_vec(),
            stamp_ms: self.stamp_ms,
            wall_ms: self.wall_ms,
            operation: Some(self.operation.clone().into()),
        }
        .encode_to_vec()
    }

    /// Reads an entry's bytes. An operation this version does not know is an error: a node that cannot apply an
    /// entry must stop, never skip it.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire = CommandWire::decode(bytes).map_err(|_| DecodeError::Malformed("command"))?;
        let operation =
            wire.operation.ok_or(DecodeError::Malformed("command without operation"))?.try_into()?;
        Ok(Self {
            request: RequestId::from_bytes(&wire.request)?,
            stamp_ms: wire.stamp_ms,
            wall_ms: wire.wall_ms,
            operation,
        })
    }
}

impl Command {
    /// Where a server is reached, if that is what the entry records, found without reading anything else of it: whoever
    /// appends an entry looks, and most are something else.
    pub fn member(bytes: &[u8]) -> Option<MemberRecord> {
        let record = CommandGlance::decode(bytes).ok()?.operation?.set_member?;
        MemberRecord::try_from(record).ok().filter(|record| record.check().is_ok())
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct CommandGlance {
    #[prost(message, optional, tag = "4")]
    operation: Option<OperationGlance>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct OperationGlance {
    #[prost(message, optional, tag = "13")]
    set_member: Option<MemberRecordWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CommandWire {
    #[prost(bytes = "vec", tag = "1")]
    request: Vec<u8>,
    #[prost(uint64, tag = "2")]
    stamp_ms: u64,
    #[prost(uint64, tag = "3")]
    wall_ms: u64,
    #[prost(message, optional, tag = "4")]
    operation: Option<OperationWire>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ClusterId;

    fn command(operation: Operation) -> Command {
        let request = RequestId { token: [7; 16], learned: 3, cluster: ClusterId([1; 16]) };
        Command { request, stamp_ms: 5, wall_ms: 6, operation }
    }

    #[test]
    fn commands_survive_bytes() {
        for operation in [
            Operation::Set { key: b"k".to_vec(), value: b"v".to_vec() },
            Operation::Set { key: b"k".to_vec(), value: Vec::new() },
            Operation::Delete { key: b"k".to_vec() },
        ] {
            let command = command(operation);
            assert_eq!(Command::decode(&command.encode()), Ok(command));
        }
    }

    #[test]
    fn a_glance_finds_a_record_and_nothing_else() {
        let (name, address, intent) = ("n4".to_owned(), "h:1".to_owned(), crate::Intent::Hold);
        let record = MemberRecord { id: 4, name, address, intent, incarnation: None };
        let bytes = command(Operation::SetMember(record.clone())).encode();
        assert_eq!(Command::member(&bytes), Some(record));
        let other = command(Operation::Set { key: b"k".to_vec(), value: bytes.clone() }).encode();
        assert_eq!(
            [Command::member(&other), Command::member(&bytes[..40]), Command::member(&[])],
            [None, None, None]
        );
    }

    #[test]
    fn the_bytes_of_a_command_are_a_promise() {
        let bytes = command(Operation::Set { key: b"key".to_vec(), value: b"value".to_vec() }).encode();
        let hex = bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        assert_eq!(
            hex,
            "0a280707070707070707070707070707070700000000000000030101010101010101010101010101010110051806\
             220e0a0c0a036b6579120576616c7565"
        );
    }
}
