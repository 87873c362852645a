use prost::Message as _;

use super::*;
use crate::testing::hex;

fn conditional(value: Option<&[u8]>, condition: Condition, previous: bool) -> Operation {
    Operation::Conditional { key: b"k".to_vec(), value: value.map(<[u8]>::to_vec), condition, previous }
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
    ]
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
