use prost::Message as _;

use super::*;
use crate::testing::hex;

fn conditional(value: Option<&[u8]>, condition: Condition, previous: bool) -> Operation {
    Operation::Conditional { key: b"k".to_vec(), value: value.map(<[u8]>::to_vec), condition, previous }
}

fn held(value: &[u8], condition: Condition, previous: bool, hold: Hold) -> Operation {
    Operation::SetHeld { key: b"k".to_vec(), value: value.to_vec(), condition, previous, hold }
}

fn delete_range(from: &[u8], to: Option<&[u8]>, most: u32) -> Operation {
    let range = KeyRange { from: from.to_vec(), to: to.map(<[u8]>::to_vec) };
    Operation::DeleteRange { range, most }
}

/// Every kind of operation with its bytes as they must stay: they are in logs, and their hash is in request memories.
fn golden() -> Vec<(Operation, &'static str)> {
    let increment = |by| Operation::Increment { key: b"k".to_vec(), by };
    vec![
        (Operation::Set { key: b"k".to_vec(), value: b"v".to_vec() }, "0a060a016b120176"),
        (Operation::Set { key: b"k".to_vec(), value: Vec::new() }, "0a030a016b"),
        (Operation::Delete { key: b"k".to_vec() }, "12030a016b"),
        (conditional(Some(b"v"), Condition::Always, true), "1a080a016b1201762001"),
        (conditional(Some(b""), Condition::Absent, false), "1a090a016b12001a020a00"),
        (conditional(None, Condition::Revision(300), false), "1a080a016b1a0310ac02"),
        (conditional(None, Condition::Revision(0), false), "1a070a016b1a021000"),
        (conditional(Some(b"v"), Condition::Value(b"w".to_vec()), true), "1a0d0a016b1201761a031a01772001"),
        (conditional(None, Condition::Value(Vec::new()), false), "1a070a016b1a021a00"),
        (increment(1), "22050a016b1002"),
        (increment(-1), "22050a016b1001"),
        (increment(0), "22030a016b"),
        (increment(i64::MIN), "220e0a016b10ffffffffffffffffff01"),
        (delete_range(b"a", Some(b"b"), 7), "2a0a0a060a01611201621007"),
        (delete_range(b"", None, 1), "2a040a001001"),
        (
            Operation::Transaction(transaction()),
            "32490a060a016b1a01760a070a016b100132000a070a016b100220070a070a016b1003280012080a060a016b1201761205\
             1a030a016b1a0512030a016b1a0c220a0a060a01611201621003",
        ),
        (Operation::Transaction(Transaction::default()), "3200"),
        (
            Operation::SetWindow(WindowChange { changes: Some(5), age_ms: Some(0), bytes: Some(300) }),
            "62070805100018ac02",
        ),
        (Operation::SetWindow(WindowChange::default()), "6200"),
        (
            Operation::SetMember(MemberRecord {
                id: 4,
                name: "n4".into(),
                address: "h:1".into(),
                intent: crate::Intent::Replace(3),
                incarnation: None,
            }),
            "6a0d080412026e341a03683a313003",
        ),
        (held(b"v", Condition::Always, false, Hold::Ttl(300)), "f201090a016b12017628ac02"),
        (held(b"v", Condition::Absent, true, Hold::Lease(7)), "f2010e0a016b1201761a020a0020013007"),
        (held(b"", Condition::Always, false, Hold::Keep), "f201050a016b3a00"),
        (Operation::Grant { ttl_ms: 300 }, "fa010308ac02"),
        (Operation::Renew { lease: 7 }, "8202020807"),
        (Operation::Revoke { lease: 7 }, "8a02020807"),
        (Operation::Expire { leases: vec![7, 300] }, "9202050a0307ac02"),
        (Operation::Expire { leases: Vec::new() }, "920200"),
    ]
}

fn compare(relation: Relation, operand: Operand) -> Compare {
    Compare { key: b"k".to_vec(), relation, operand }
}

/// Every kind of compare and of action.
fn transaction() -> Transaction {
    let range = KeyRange::prefix(b"a");
    Transaction {
        compares: vec![
            compare(Relation::Equal, Operand::Value(b"v".to_vec())),
            compare(Relation::NotEqual, Operand::Present),
            compare(Relation::Less, Operand::Revision(7)),
            compare(Relation::Greater, Operand::Version(0)),
        ],
        then: vec![
            Action::Set { key: b"k".to_vec(), value: b"v".to_vec() },
            Action::Get { key: b"k".to_vec() },
        ],
        otherwise: vec![Action::Delete { key: b"k".to_vec() }, Action::Range { range, limit: 3 }],
    }
}

#[test]
fn the_bytes_of_every_operation_are_a_promise() {
    for (operation, expected) in golden() {
        let bytes = operation.to_bytes();
        assert_eq!(hex(&bytes), expected, "{operation:?}");
        assert_eq!(OperationWire::decode(bytes.as_slice()).unwrap().try_into(), Ok(operation));
    }
}

#[test]
fn what_is_not_known_is_refused_and_never_taken_for_less() {
    let refused = |bytes: &[u8]| Operation::try_from(OperationWire::decode(bytes).unwrap()).unwrap_err();
    assert_eq!(refused(&[0x7a, 0]), DecodeError::Malformed("unknown operation"));
    // A condition under tag 15 is not the same as none.
    assert_eq!(refused(&[0x1a, 4, 0x1a, 2, 0x7a, 0]), DecodeError::Malformed("unknown condition"));
    assert_eq!(refused(&[0x2a, 0]), DecodeError::Malformed("removal without a range"));
    // A transaction: a compare of relation 4, one with its operand under tag 15, an action under tag 15.
    assert_eq!(refused(&[0x32, 4, 0x0a, 2, 0x10, 4]), DecodeError::Malformed("unknown relation"));
    assert_eq!(refused(&[0x32, 4, 0x0a, 2, 0x7a, 0]), DecodeError::Malformed("unknown operand"));
    assert_eq!(refused(&[0x32, 4, 0x12, 2, 0x7a, 0]), DecodeError::Malformed("unknown action"));
    assert_eq!(refused(&[0x32, 4, 0x12, 2, 0x22, 0]), DecodeError::Malformed("read without a range"));
}

#[test]
fn a_set_is_held_to_its_limits() {
    let set =
        |key: usize, value: usize| Operation::Set { key: vec![b'k'; key], value: vec![b'v'; value] }.check();
    assert_eq!(set(limits::KEY_BYTES, limits::VALUE_BYTES), Ok(()));
    assert!(set(limits::KEY_BYTES + 1, 0).is_err());
    assert!(set(1, limits::VALUE_BYTES + 1).is_err());
    assert!(set(0, 0).is_err());
}

#[test]
fn a_conditional_write_is_held_to_its_limits() {
    let write = |key: usize, value: Option<usize>, expected: usize| {
        let (value, expected) = (value.map(|size| vec![b'v'; size]), vec![b'e'; expected]);
        Operation::Conditional {
            key: vec![b'k'; key],
            value,
            condition: Condition::Value(expected),
            previous: false,
        }
        .check()
    };
    let rest = limits::WRITE_BYTES - limits::VALUE_BYTES - 1;
    assert_eq!(write(1, Some(limits::VALUE_BYTES), rest), Ok(()));
    let (what, size, limit) = ("write", limits::WRITE_BYTES + 1, limits::WRITE_BYTES);
    assert_eq!(
        write(1, Some(limits::VALUE_BYTES), rest + 1),
        Err(DecodeError::TooLarge { what, size, limit })
    );
    assert_eq!(write(1, None, limits::VALUE_BYTES), Ok(()));
    assert!(write(1, None, limits::VALUE_BYTES + 1).is_err());
    assert!(write(1, Some(limits::VALUE_BYTES + 1), 0).is_err());
    assert!(write(limits::KEY_BYTES + 1, None, 0).is_err());
    assert!(write(0, None, 0).is_err());
}

#[test]
fn increments_and_removals_are_held_to_their_limits() {
    let increment = |key: usize| Operation::Increment { key: vec![b'k'; key], by: 1 }.check();
    assert_eq!(increment(limits::KEY_BYTES), Ok(()));
    assert!(increment(limits::KEY_BYTES + 1).is_err() && increment(0).is_err());

    let most = u32::try_from(limits::DELETED_KEYS).unwrap();
    let remove =
        |from: usize, to: usize, most| delete_range(&vec![b'a'; from], Some(&vec![b'b'; to]), most).check();
    assert_eq!(remove(limits::KEY_BYTES, limits::KEY_BYTES, most), Ok(()));
    assert!(remove(limits::KEY_BYTES + 1, 1, 1).is_err() && remove(1, limits::KEY_BYTES + 1, 1).is_err());
    assert!(remove(1, 1, 0).is_err());
    let error = remove(1, 1, most + 1).unwrap_err().to_string();
    assert!(error.contains(&limits::DELETED_KEYS.to_string()), "{error}");
    assert!(
        delete_range(b"b", Some(b"b"), 1).check().is_err()
            && delete_range(b"b", Some(b"a"), 1).check().is_err()
    );
}

fn check(compares: Vec<Compare>, then: Vec<Action>, otherwise: Vec<Action>) -> Result<(), DecodeError> {
    Operation::Transaction(Transaction { compares, then, otherwise }).check()
}

fn set(key: &[u8], value: usize) -> Action {
    Action::Set { key: key.to_vec(), value: vec![b'v'; value] }
}

#[test]
fn a_transaction_is_held_to_its_counts() {
    let there = || compare(Relation::Equal, Operand::Present);
    let compares = |count: usize| vec![there(); count];
    let gets = |count: usize| vec![Action::Get { key: b"k".to_vec() }; count];
    let (most, many) = (limits::TRANSACTION_COMPARES, limits::TRANSACTION_ACTIONS);
    assert_eq!(check(compares(most), gets(many), gets(many)), Ok(()));
    for (compares, then, otherwise) in [
        (compares(most + 1), gets(1), gets(1)),
        (compares(1), gets(many + 1), gets(1)),
        (compares(1), gets(1), gets(many + 1)),
    ] {
        let transaction = Transaction { compares, then, otherwise };
        let error = transaction.check().unwrap_err().to_string();
        assert!(error.contains("128"), "{error}");
        // Nor does it get through the decoder.
        let bytes = Operation::Transaction(transaction).to_bytes();
        assert!(Operation::try_from(OperationWire::decode(bytes.as_slice()).unwrap()).is_err());
    }
    assert!(check(compares(0), gets(0), gets(1)).is_err(), "it does nothing");
    assert_eq!(check(compares(1), gets(0), gets(0)), Ok(()));
}

#[test]
fn a_transaction_is_held_to_its_bytes() {
    let rest = limits::WRITE_BYTES - limits::VALUE_BYTES - 2;
    assert_eq!(check(Vec::new(), vec![set(b"a", limits::VALUE_BYTES), set(b"b", rest)], Vec::new()), Ok(()));
    assert!(
        check(Vec::new(), vec![set(b"a", limits::VALUE_BYTES), set(b"b", rest + 1)], Vec::new()).is_err()
    );
    assert!(check(Vec::new(), vec![set(b"a", limits::VALUE_BYTES)], vec![set(b"b", rest + 1)]).is_err());
    let value = compare(Relation::Equal, Operand::Value(vec![0; rest]));
    assert_eq!(check(vec![value.clone()], vec![set(b"a", limits::VALUE_BYTES)], Vec::new()), Ok(()));
    assert!(check(vec![value], vec![set(b"ab", limits::VALUE_BYTES)], Vec::new()).is_err());
}

#[test]
fn every_part_of_a_transaction_is_held_to_its_limits() {
    let ok = || vec![set(b"k", 1)];
    assert!(check(vec![compare(Relation::Less, Operand::Present)], ok(), ok()).is_err());
    let value = |size: usize| vec![compare(Relation::Less, Operand::Value(vec![0; size]))];
    assert_eq!(check(value(limits::VALUE_BYTES), ok(), ok()), Ok(()));
    assert!(check(value(limits::VALUE_BYTES + 1), ok(), ok()).is_err());
    let key = |size: usize| {
        let key = vec![b'k'; size];
        vec![Compare { key, relation: Relation::Equal, operand: Operand::Present }]
    };
    assert_eq!(check(key(limits::KEY_BYTES), ok(), ok()), Ok(()));
    assert!(check(key(limits::KEY_BYTES + 1), ok(), ok()).is_err() && check(key(0), ok(), ok()).is_err());

    let range = |limit| Action::Range { range: KeyRange::prefix(b"a"), limit };
    let most = u32::try_from(limits::TRANSACTION_ROWS).unwrap();
    let empty = Action::Range { range: KeyRange { from: b"b".to_vec(), to: Some(b"a".to_vec()) }, limit: 1 };
    for (action, is_well) in [
        (range(1), true),
        (range(most), true),
        (range(0), false),
        (range(most + 1), false),
        (empty, false),
        (set(b"", 1), false),
        (set(b"k", limits::VALUE_BYTES + 1), false),
        (Action::Get { key: Vec::new() }, false),
        (Action::Delete { key: vec![0; limits::KEY_BYTES + 1] }, false),
    ] {
        assert_eq!(check(Vec::new(), vec![action.clone()], Vec::new()).is_ok(), is_well, "{action:?}");
        assert_eq!(check(Vec::new(), ok(), vec![action.clone()]).is_ok(), is_well, "{action:?}");
    }
}

#[test]
fn a_list_writes_a_key_once() {
    let delete = |key: &[u8]| Action::Delete { key: key.to_vec() };
    assert_eq!(check(Vec::new(), vec![set(b"a", 1), delete(b"b")], vec![delete(b"a")]), Ok(()));
    assert!(check(Vec::new(), vec![set(b"a", 1), delete(b"a")], Vec::new()).is_err());
    assert!(check(Vec::new(), vec![set(b"a", 1)], vec![delete(b"a"), delete(b"a")]).is_err());
}

#[test]
fn the_largest_write_fits_its_entry_and_its_frame() {
    let keys = limits::TRANSACTION_ACTIONS;
    let small = |at: usize| Action::Set { key: format!("{at:04}").into_bytes(), value: vec![0; 5000] };
    let compares = (0..limits::TRANSACTION_COMPARES)
        .map(|at| Compare {
            key: vec![7; 100 + at % 2],
            relation: Relation::Greater,
            operand: Operand::Revision(u64::MAX),
        })
        .collect();
    let transaction = Transaction {
        compares,
        then: (0..keys).map(small).collect(),
        otherwise: (0..keys).map(|_| Action::Get { key: vec![b'k'; 500] }).collect(),
    };
    let operation = Operation::Transaction(transaction);
    operation.check().unwrap();
    let request = crate::RequestId { token: [7; 16], learned: u64::MAX, cluster: crate::ClusterId([1; 16]) };
    let command = crate::Command { request, stamp_ms: u64::MAX, wall_ms: u64::MAX, operation };
    // Beside keys and values everything has a place of a few bytes, a few hundred times.
    assert!(command.encode().len() < limits::WRITE_BYTES + 128 * 1024);
    assert!(limits::WRITE_BYTES + 128 * 1024 < limits::ENTRY_BYTES.min(limits::CLIENT_FRAME_BYTES));
}

#[test]
fn a_prefix_is_a_range() {
    let range = |prefix: &[u8]| KeyRange::prefix(prefix).to;
    assert_eq!(range(b"app/"), Some(b"app0".to_vec()));
    assert_eq!(range(b"a\xff\xff"), Some(b"b".to_vec()));
    assert_eq!(range(b"\xff\xff"), None);
    assert_eq!(range(b""), None);
    assert_eq!(KeyRange::prefix(b"a\xff").from, b"a\xff");
}

#[test]
fn verdicts_have_the_numbers_they_are_stored_under() {
    for (at, verdict) in Verdict::ALL.into_iter().enumerate() {
        assert_eq!(usize::from(verdict.code()), at);
        assert_eq!(Verdict::from_code(verdict.code()), Some(verdict));
    }
    assert_eq!(Verdict::from_code(u8::try_from(Verdict::ALL.len()).unwrap()), None);
}

#[test]
fn what_is_held_is_bounded_as_every_write_and_only_a_leader_ends_it() {
    let sized = |key: usize, value: usize| Operation::SetHeld {
        key: vec![0; key],
        value: vec![0; value],
        condition: Condition::Value(vec![0; limits::WRITE_BYTES - limits::VALUE_BYTES - 1]),
        previous: false,
        hold: Hold::Keep,
    };
    assert_eq!(sized(1, limits::VALUE_BYTES).check(), Ok(()));
    assert!(sized(2, limits::VALUE_BYTES).check().is_err() && sized(0, 1).check().is_err());
    assert!(Operation::Grant { ttl_ms: limits::TTL_MAX_MS }.check().is_ok());
    assert!(Operation::Grant { ttl_ms: limits::TTL_MAX_MS + 1 }.check().is_err());
    assert!(
        Operation::Renew { lease: 0 }.check().is_err() && Operation::Revoke { lease: 0 }.check().is_err()
    );
    assert!(Operation::Expire { leases: vec![7] }.check().is_err());
    let unknown = OperationWire::decode(&[0xf2, 0x01, 0x03, 0x0a, 0x01, 0x6b][..]).unwrap();
    assert_eq!(Operation::try_from(unknown), Err(DecodeError::Malformed("unknown hold of a key")));
}
