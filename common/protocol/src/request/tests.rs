use proptest::prelude::*;

use super::*;
use crate::{ClusterId, MemberEdit, scan::Want, testing::hex};

fn id() -> RequestId {
    RequestId { token: [7; 16], learned: 3, cluster: ClusterId([1; 16]) }
}

/// Every kind of request, with the bytes after id and deadline as they must stay.
fn golden() -> Vec<(Request, String)> {
    let write = |operation| Request::Write { request: id(), operation };
    let scan = Scan {
        from: b"a".to_vec(),
        to: Some(b"b".to_vec()),
        limit: Some(3),
        want: Want::Keys,
        consistency: Consistency::Stale,
        at: Some(9),
        ..Scan::default()
    };
    let versions = Scan { at: None, age_ms: Some(300), below: Some(9), want: Want::Versions, ..scan.clone() };
    let then = Scan { time_ms: Some(9), consistency: Consistency::Within(0), ..Scan::default() };
    let hash = Scan { at: Some(9), consistency: Consistency::Stale, want: Want::Hash, ..Scan::default() };
    let watch = Watch { after: Some(0), previous: true, ..Watch::range(b"a", b"b") };
    let get = |consistency, without_value| Request::Get { key: b"k".to_vec(), consistency, without_value };
    let edits = vec![MemberEdit::Add(4), MemberEdit::Promote(4), MemberEdit::Remove(3)];
    let members = MemberChange { edits, force: true };
    vec![
        (
            write(Operation::Set { key: b"k".to_vec(), value: b"v".to_vec() }),
            format!("1a340a28{}12080a060a016b120176", hex(&id().to_bytes())),
        ),
        (
            write(Operation::Delete { key: b"k".to_vec() }),
            format!("1a310a28{}120512030a016b", hex(&id().to_bytes())),
        ),
        (
            write(Operation::Increment { key: b"k".to_vec(), by: -1 }),
            format!("1a330a28{}120722050a016b1001", hex(&id().to_bytes())),
        ),
        (get(Consistency::Linearizable, false), "22030a016b".into()),
        (get(Consistency::Stale, true), "22070a016b10011801".into()),
        (get(Consistency::Within(300), false), "22080a016b100120ac02".into()),
        (Request::Leases { after: 7 }, "f201020807".into()),
        (Request::Lease { id: 7, after: b"k".to_vec() }, "fa0105080712016b".into()),
        (Request::Status, "2a00".into()),
        (Request::CompactLog, "a20100".into()),
        (Request::Transfer { to: Some(2) }, "aa01020802".into()),
        (Request::Transfer { to: None }, "aa0100".into()),
        (Request::Drain { undo: true }, "b201020801".into()),
        (Request::Drain { undo: false }, "b20100".into()),
        (Request::Save, "ba0100".into()),
        (Request::ChangeMembers(members), "c2010e0a0208040a0210040a0220031001".into()),
        (Request::Events { since_ms: 7 }, "8202020807".into()),
        (Request::Watch(Watch::default()), "3a00".into()),
        (Request::Watch(watch), "3a0a0a016112016218002001".into()),
        (Request::Scan(Scan::default()), "3200".into()),
        (Request::Scan(scan), "320e0a01611201621803200128013009".into()),
        (Request::Scan(hash), "3206200428013009".into()),
        (Request::Scan(versions), "32110a016112016218032003280138ac024009".into()),
        (Request::Scan(then), "3206280148005009".into()),
    ]
}

#[test]
fn the_bytes_of_every_request_are_a_promise() {
    for (request, expected) in golden() {
        let frame = RequestFrame { id: 5, deadline_ms: 6, request };
        let bytes = frame.encode();
        assert_eq!(hex(&bytes), format!("08051006{expected}"), "{:?}", frame.request);
        assert_eq!(RequestFrame::decode(&bytes), Ok(frame));
    }
}

#[test]
fn unknown_fields_are_skipped_and_unknown_kinds_refused() {
    for (request, _) in golden() {
        let frame = RequestFrame { id: 5, deadline_ms: 6, request };
        let extended = [frame.encode().as_slice(), &[0xa2, 0x06, 3, 1, 2, 3]].concat();
        assert_eq!(RequestFrame::decode(&extended), Ok(frame));
    }
    let refused = |bytes: &[u8]| RequestFrame::decode(bytes).unwrap_err();
    assert_eq!(refused(&[8, 5, 0x4a, 0]), DecodeError::Malformed("unknown request"));
    assert_eq!(refused(&[8, 5, 0x32, 2, 0x20, 7]), DecodeError::Malformed("unknown want"));
    assert_eq!(refused(&[8, 5, 0x1a, 0]), DecodeError::Truncated("request id"));
}

#[test]
fn whoever_has_waited_wants_what_is_fresher() {
    assert_eq!(Consistency::Within(7).after(5), Consistency::Within(2));
    assert_eq!(Consistency::Within(7).after(9), Consistency::Within(0));
    assert_eq!(Consistency::Stale.after(9), Consistency::Stale);
    assert_eq!(Consistency::Linearizable.after(9), Consistency::Linearizable);
}

proptest! {
    #[test]
    fn requests_survive_bytes(
        (id, deadline_ms) in any::<(u64, u32)>(),
        key in prop::collection::vec(any::<u8>(), 0..64),
        (stale, most_ms, without_value) in any::<(bool, Option<u64>, bool)>(),
    ) {
        let consistency = Consistency::from_wire(stale, most_ms);
        let frame = RequestFrame { id, deadline_ms, request: Request::Get { key, consistency, without_value } };
        prop_assert_eq!(RequestFrame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = RequestFrame::decode(&bytes);
        let _ = crate::Command::decode(&bytes);
    }

    #[test]
    fn a_damaged_request_never_panics(which in 0_usize..7, at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = RequestFrame { id: 5, deadline_ms: 6, request: golden().swap_remove(which).0 }.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = RequestFrame::decode(&bytes);
    }
}
