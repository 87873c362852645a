//! The bytes of operations. A set and a delete are as short as they can be; what is new is a new kind, never a field of
//! an old one: a version that does not know it must stop, and would skip a field.

use super::{Action, Compare, Condition, KeyRange, Operand, Operation, Relation, Transaction};
use crate::{DecodeError, Hold, history::WindowChangeWire, member::MemberRecordWire, restore::RestoreWire};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OperationWire {
    #[prost(oneof = "Kind", tags = "1, 2, 3, 4, 5, 6, 12, 13, 30, 31, 32, 33, 34, 40")]
    kind: Option<Kind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Kind {
    #[prost(message, tag = "1")]
    Set(SetWire),
    #[prost(message, tag = "2")]
    Delete(KeyWire),
    #[prost(message, tag = "3")]
    Conditional(ConditionalWire),
    #[prost(message, tag = "4")]
    Increment(IncrementWire),
    #[prost(message, tag = "5")]
    DeleteRange(DeleteRangeWire),
    #[prost(message, tag = "6")]
    Transaction(TransactionWire),
    #[prost(message, tag = "12")]
    SetWindow(WindowChangeWire),
    #[prost(message, tag = "13")]
    SetMember(MemberRecordWire),
    #[prost(message, tag = "30")]
    SetHeld(SetHeldWire),
    #[prost(message, tag = "31")]
    Grant(GrantWire),
    #[prost(message, tag = "32")]
    Renew(LeaseIdWire),
    #[prost(message, tag = "33")]
    Revoke(LeaseIdWire),
    #[prost(message, tag = "34")]
    Expire(ExpireWire),
    #[prost(message, tag = "40")]
    Restore(RestoreWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct SetWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct KeyWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConditionalWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    value: Option<Vec<u8>>,
    #[prost(message, optional, tag = "3")]
    condition: Option<ConditionWire>,
    #[prost(bool, tag = "4")]
    previous: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct SetHeldWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
    #[prost(message, optional, tag = "3")]
    condition: Option<ConditionWire>,
    #[prost(bool, tag = "4")]
    previous: bool,
    #[prost(oneof = "HoldKind", tags = "5, 6, 7")]
    hold: Option<HoldKind>,
}

#[derive(Clone, Copy, PartialEq, prost::Oneof)]
enum HoldKind {
    #[prost(uint64, tag = "5")]
    Ttl(u64),
    #[prost(uint64, tag = "6")]
    Lease(u64),
    #[prost(message, tag = "7")]
    Keep(EmptyWire),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct GrantWire {
    #[prost(uint64, tag = "1")]
    ttl_ms: u64,
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct LeaseIdWire {
    #[prost(uint64, tag = "1")]
    lease: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ExpireWire {
    #[prost(uint64, repeated, tag = "1")]
    leases: Vec<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ConditionWire {
    #[prost(oneof = "ConditionKind", tags = "1, 2, 3")]
    kind: Option<ConditionKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ConditionKind {
    #[prost(message, tag = "1")]
    Absent(EmptyWire),
    #[prost(uint64, tag = "2")]
    Revision(u64),
    #[prost(bytes = "vec", tag = "3")]
    Value(Vec<u8>),
}

#[derive(Clone, Copy, PartialEq, prost::Message)]
struct EmptyWire {}

#[derive(Clone, PartialEq, prost::Message)]
struct IncrementWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(sint64, tag = "2")]
    by: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct RangeWire {
    #[prost(bytes = "vec", tag = "1")]
    from: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    to: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeleteRangeWire {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeWire>,
    #[prost(uint32, tag = "2")]
    most: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TransactionWire {
    #[prost(message, repeated, tag = "1")]
    compares: Vec<CompareWire>,
    #[prost(message, repeated, tag = "2")]
    then: Vec<ActionWire>,
    #[prost(message, repeated, tag = "3")]
    otherwise: Vec<ActionWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct CompareWire {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint32, tag = "2")]
    relation: u32,
    #[prost(oneof = "OperandKind", tags = "3, 4, 5, 6")]
    operand: Option<OperandKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum OperandKind {
    #[prost(bytes = "vec", tag = "3")]
    Value(Vec<u8>),
    #[prost(uint64, tag = "4")]
    Revision(u64),
    #[prost(uint64, tag = "5")]
    Version(u64),
    #[prost(message, tag = "6")]
    Present(EmptyWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ActionWire {
    #[prost(oneof = "ActionKind", tags = "1, 2, 3, 4")]
    kind: Option<ActionKind>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum ActionKind {
    #[prost(message, tag = "1")]
    Set(SetWire),
    #[prost(message, tag = "2")]
    Delete(KeyWire),
    #[prost(message, tag = "3")]
    Get(KeyWire),
    #[prost(message, tag = "4")]
    Range(ReadRangeWire),
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReadRangeWire {
    #[prost(message, optional, tag = "1")]
    range: Option<RangeWire>,
    #[prost(uint32, tag = "2")]
    limit: u32,
}

impl From<Operation> for OperationWire {
    fn from(operation: Operation) -> Self {
        let kind = match operation {
            Operation::Set { key, value } => Kind::Set(SetWire { key, value }),
            Operation::Delete { key } => Kind::Delete(KeyWire { key }),
            Operation::Conditional { key, value, condition, previous } => {
                Kind::Conditional(ConditionalWire { key, value, condition: condition.into(), previous })
            }
            Operation::Increment { key, by } => Kind::Increment(IncrementWire { key, by }),
            Operation::DeleteRange { range, most } => {
                Kind::DeleteRange(DeleteRangeWire { range: Some(range.into()), most })
            }
            Operation::Transaction(transaction) => Kind::Transaction(transaction.into()),
            Operation::SetWindow(change) => Kind::SetWindow(change.into()),
            Operation::SetMember(record) => Kind::SetMember(record.into()),
            Operation::Restore(step) => Kind::Restore(step.into()),
            Operation::SetHeld { key, value, condition, previous, hold } => {
                let (condition, hold) = (condition.into(), Some(hold.into()));
                Kind::SetHeld(SetHeldWire { key, value, condition, previous, hold })
            }
            Operation::Grant { ttl_ms } => Kind::Grant(GrantWire { ttl_ms }),
            Operation::Renew { lease } => Kind::Renew(LeaseIdWire { lease }),
            Operation::Revoke { lease } => Kind::Revoke(LeaseIdWire { lease }),
            Operation::Expire { leases } => Kind::Expire(ExpireWire { leases }),
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<OperationWire> for Operation {
    type Error = DecodeError;

    fn try_from(wire: OperationWire) -> Result<Self, DecodeError> {
        match wire.kind.ok_or(DecodeError::Malformed("unknown operation"))? {
            Kind::Set(SetWire { key, value }) => Ok(Self::Set { key, value }),
            Kind::Delete(KeyWire { key }) => Ok(Self::Delete { key }),
            Kind::Conditional(ConditionalWire { key, value, condition, previous }) => {
                let condition = condition.map_or(Ok(Condition::Always), TryInto::try_into)?;
                Ok(Self::Conditional { key, value, condition, previous })
            }
            Kind::Increment(IncrementWire { key, by }) => Ok(Self::Increment { key, by }),
            Kind::DeleteRange(DeleteRangeWire { range, most }) => {
                let range = range.ok_or(DecodeError::Malformed("removal without a range"))?.into();
                Ok(Self::DeleteRange { range, most })
            }
            Kind::Transaction(transaction) => Ok(Self::Transaction(transaction.try_into()?)),
            Kind::SetWindow(change) => Ok(Self::SetWindow(change.into())),
            Kind::SetMember(record) => Ok(Self::SetMember(record.try_into()?)),
            Kind::Restore(step) => Ok(Self::Restore(step.try_into()?)),
            Kind::SetHeld(SetHeldWire { key, value, condition, previous, hold }) => {
                let condition = condition.map_or(Ok(Condition::Always), TryInto::try_into)?;
                let hold = hold.ok_or(DecodeError::Malformed("unknown hold of a key"))?.into();
                Ok(Self::SetHeld { key, value, condition, previous, hold })
            }
            Kind::Grant(GrantWire { ttl_ms }) => Ok(Self::Grant { ttl_ms }),
            Kind::Renew(LeaseIdWire { lease }) => Ok(Self::Renew { lease }),
            Kind::Revoke(LeaseIdWire { lease }) => Ok(Self::Revoke { lease }),
            Kind::Expire(ExpireWire { leases }) => Ok(Self::Expire { leases }),
        }
    }
}

impl From<Hold> for HoldKind {
    fn from(hold: Hold) -> Self {
        match hold {
            Hold::Ttl(ttl_ms) => Self::Ttl(ttl_ms),
            Hold::Lease(lease) => Self::Lease(lease),
            Hold::Keep => Self::Keep(EmptyWire {}),
        }
    }
}

impl From<HoldKind> for Hold {
    fn from(kind: HoldKind) -> Self {
        match kind {
            HoldKind::Ttl(ttl_ms) => Self::Ttl(ttl_ms),
            HoldKind::Lease(lease) => Self::Lease(lease),
            HoldKind::Keep(EmptyWire {}) => Self::Keep,
        }
    }
}

impl From<Condition> for Option<ConditionWire> {
    fn from(condition: Condition) -> Self {
        let kind = match condition {
            Condition::Always => return None,
            Condition::Absent => ConditionKind::Absent(EmptyWire {}),
            Condition::Revision(revision) => ConditionKind::Revision(revision),
            Condition::Value(value) => ConditionKind::Value(value),
        };
        Some(ConditionWire { kind: Some(kind) })
    }
}

impl TryFrom<ConditionWire> for Condition {
    type Error = DecodeError;

    /// A condition that this version does not know must not pass for none.
    fn try_from(wire: ConditionWire) -> Result<Self, DecodeError> {
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown condition"))? {
            ConditionKind::Absent(EmptyWire {}) => Self::Absent,
            ConditionKind::Revision(revision) => Self::Revision(revision),
            ConditionKind::Value(value) => Self::Value(value),
        })
    }
}

impl From<KeyRange> for RangeWire {
    fn from(KeyRange { from, to }: KeyRange) -> Self {
        Self { from, to }
    }
}

impl From<RangeWire> for KeyRange {
    fn from(RangeWire { from, to }: RangeWire) -> Self {
        Self { from, to }
    }
}

impl From<Transaction> for TransactionWire {
    fn from(Transaction { compares, then, otherwise }: Transaction) -> Self {
        Self { compares: converted(compares), then: converted(then), otherwise: converted(otherwise) }
    }
}

impl TryFrom<TransactionWire> for Transaction {
    type Error = DecodeError;

    fn try_from(wire: TransactionWire) -> Result<Self, DecodeError> {
        let transaction = Self {
            compares: wire.compares.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            then: wire.then.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            otherwise: wire.otherwise.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        };
        // A small frame can hold very many that are empty.
        transaction.check_counts()?;
        Ok(transaction)
    }
}

fn converted<A: Into<B>, B>(from: Vec<A>) -> Vec<B> {
    from.into_iter().map(Into::into).collect()
}

impl From<Compare> for CompareWire {
    fn from(Compare { key, relation, operand }: Compare) -> Self {
        let relation = match relation {
            Relation::Equal => 0,
            Relation::NotEqual => 1,
            Relation::Less => 2,
            Relation::Greater => 3,
        };
        let operand = match operand {
            Operand::Value(value) => OperandKind::Value(value),
            Operand::Revision(revision) => OperandKind::Revision(revision),
            Operand::Version(version) => OperandKind::Version(version),
            Operand::Present => OperandKind::Present(EmptyWire {}),
        };
        Self { key, relation, operand: Some(operand) }
    }
}

impl TryFrom<CompareWire> for Compare {
    type Error = DecodeError;

    fn try_from(CompareWire { key, relation, operand }: CompareWire) -> Result<Self, DecodeError> {
        let known = usize::try_from(relation).ok().and_then(|at| Relation::ALL.get(at).copied());
        let relation = known.ok_or(DecodeError::Malformed("unknown relation"))?;
        let operand = match operand.ok_or(DecodeError::Malformed("unknown operand"))? {
            OperandKind::Value(value) => Operand::Value(value),
            OperandKind::Revision(revision) => Operand::Revision(revision),
            OperandKind::Version(version) => Operand::Version(version),
            OperandKind::Present(EmptyWire {}) => Operand::Present,
        };
        Ok(Self { key, relation, operand })
    }
}

impl From<Action> for ActionWire {
    fn from(action: Action) -> Self {
        let kind = match action {
            Action::Set { key, value } => ActionKind::Set(SetWire { key, value }),
            Action::Delete { key } => ActionKind::Delete(KeyWire { key }),
            Action::Get { key } => ActionKind::Get(KeyWire { key }),
            Action::Range { range, limit } => {
                ActionKind::Range(ReadRangeWire { range: Some(range.into()), limit })
            }
        };
        Self { kind: Some(kind) }
    }
}

impl TryFrom<ActionWire> for Action {
    type Error = DecodeError;

    fn try_from(wire: ActionWire) -> Result<Self, DecodeError> {
        Ok(match wire.kind.ok_or(DecodeError::Malformed("unknown action"))? {
            ActionKind::Set(SetWire { key, value }) => Self::Set { key, value },
            ActionKind::Delete(KeyWire { key }) => Self::Delete { key },
            ActionKind::Get(KeyWire { key }) => Self::Get { key },
            ActionKind::Range(ReadRangeWire { range, limit }) => {
                let range = range.ok_or(DecodeError::Malformed("read without a range"))?.into();
                Self::Range { range, limit }
            }
        })
    }
}
