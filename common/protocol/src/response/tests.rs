use proptest::prelude::*;

use super::*;
use crate::{history::Window, lease::Lease, limits, testing::hex};

fn member() -> Member {
    Member { id: 2, name: "b".into(), address: "h:1".into(), part: crate::Part::Voter }
}

fn welcome() -> Welcome {
    Welcome {
        cluster: ClusterId([0xcc; 16]),
        node: 1,
        applied: 9,
        leader: Some(2),
        leader_address: Some("h:1".into()),
        members: vec![member()],
    }
}

fn status() -> NodeStatus {
    NodeStatus {
        cluster: ClusterId([0xcc; 16]),
        id: 1,
        name: "a".into(),
        role: Role::Leader,
        term: 3,
        leader: Some(1),
        committed: 4,
        applied: 5,
        last: 6,
        disk_bytes: 7,
        uptime_ms: 8,
        certificate_days: -9,
        version: "0".into(),
        state_hash: 10,
        members: vec![member()],
        trouble: "t".into(),
        drained: true,
        changing: true,
        matched: vec![(2, 3)],
        kept: Kept { oldest: 5, changes: 6, bytes: 7, window: Window { changes: 1, age_ms: 2, bytes: 3 } },
        wall_ms: 11,
        disk_free: 12,
        disk_size: 13,
        ..NodeStatus::default()
    }
}

#[test]
fn which_incarnation_a_node_is_comes_last_and_has_its_length() {
    let encode = |status| ResponseFrame { id: 1, result: Ok(Response::Status(Box::new(status))) }.encode();
    let known = NodeStatus { incarnation: Some([7; 16]), waits: true, ..status() };
    let bytes = encode(known.clone());
    let tail = format!("c20210{}c80201", "07".repeat(16));
    assert!(hex(&bytes).ends_with(&tail), "{}", hex(&bytes));
    assert_eq!(ResponseFrame::decode(&bytes).unwrap().result, Ok(Response::Status(Box::new(known))));
    let mut short = encode(NodeStatus { waits: false, ..NodeStatus::default() });
    short.extend([0xff; 3]);
    assert!(ResponseFrame::decode(&short).is_err());
}

fn event() -> Event {
    Event { number: 1, wall_ms: 2, kind: "k".into(), term: 3, took_ms: Some(4), what: "w".into() }
}

/// Every kind of result of an action.
fn done() -> Vec<Done> {
    let found = Found { value: b"v".to_vec(), revision: 4, created: 3, version: 2, lease: None };
    vec![
        Done::Written { existed: true },
        Done::Written { existed: false },
        Done::Read(None),
        Done::Read(Some(found.clone())),
        Done::Rows { rows: vec![(b"k".to_vec(), found)], more: true },
        Done::Rows { rows: Vec::new(), more: false },
    ]
}

/// Every kind of reply and refusal, with the bytes after the id as they must stay.
fn golden() -> Vec<(Result<Response, Refused>, &'static str)> {
    let found = Found { value: b"v".to_vec(), revision: 4, created: 3, version: 2, lease: None };
    let held = Found { lease: Some(Held { lease: 7, remaining_ms: Some(200) }), ..found.clone() };
    let lease = Lease { id: 7, ttl_ms: 300, remaining_ms: 200, keys: 1, own: true };
    let decided = |verdict, number, previous| {
        let revision = 9;
        let decided = Decided { revision, verdict, number, previous, existed: true, ..Decided::default() };
        Ok(Response::Decided(Box::new(decided)))
    };
    vec![
        (Ok(Response::MembersChanged { revision: 9 }), "c00109"),
        (Err(Refused::Unsafe("x".into())), "2a036a0178"),
        (decided(Verdict::Done, 4, Some(found.clone())), "521108091804200132090a0176100418032002"),
        (
            Ok(Response::Decided(Box::new(Decided { revision: 9, results: done(), ..Decided::default() }))),
            "523708093a0208013a0208003a0212003a0d120b0a090a01761004180320023a141a120a0e0a016b12090a0176100418032002\
             10013a021a00",
        ),
        (decided(Verdict::Unmet, 4, None), "52080809100118042001"),
        (decided(Verdict::TooMany, 0, None), "5206080910042001"),
        (decided(Verdict::Overflow, u64::MAX, None), "52110809100318ffffffffffffffffff012001"),
        (Ok(Response::Written { revision: 9, existed: true, deduplicated: true }), "1206080910011801"),
        (
            Ok(Response::Value { found: Some(found), revision: 9, staleness_ms: None }),
            "1a0d0a090a01761004180320021009",
        ),
        (Ok(Response::Value { found: None, revision: 9, staleness_ms: Some(0) }), "1a0410091800"),
        (
            Ok(Response::Value { found: Some(held), revision: 9, staleness_ms: None }),
            "1a140a100a01761004180320022a05080710c8011009",
        ),
        (
            Ok(Response::Leases(Leases { leases: vec![lease], more: true, revision: 9 })),
            "f201120a0c080710ac0218c8012001280110011809",
        ),
        (
            Ok(Response::Lease(LeaseKeys {
                lease: Some(lease),
                keys: vec![b"k".to_vec()],
                more: true,
                revision: 9,
            })),
            "fa01150a0c080710ac0218c8012001280112016b18012009",
        ),
        (Ok(Response::Lease(LeaseKeys { revision: 9, ..LeaseKeys::default() })), "fa01022009"),
        (decided(Verdict::NoLease, 0, None), "5206080910062001"),
        (
            Ok(Response::Status(Box::new(status()))),
            "226c0a10cccccccccccccccccccccccccccccccc10011a0161200228033001380440054806500758086011\
             6a0130710a000000000000007a0a08021201621a03683a3182010174880101a2010e0805100618072206080110021803\
             c00101ca010408021003f0010bf8010c80020d",
        ),
        (Ok(Response::Compacted { discarded: 5, freed: 6, bytes: 7 }), "a20106080510061807"),
        (Ok(Response::Leads { leader: Some(2), term: 3 }), "aa010408021003"),
        (Ok(Response::Events(vec![event()])), "8202100a0e080110021a016b20032804320177"),
        (Ok(Response::Events(Vec::new())), "820200"),
        (Err(Refused::NotLeader { leader: Some(2), address: Some("h:1".into()) }), "2a090a0708021203683a31"),
        (Err(Refused::NotLeader { leader: None, address: None }), "2a020a00"),
        (Err(Refused::Busy { what: "q".into() }), "2a03120171"),
        (Err(Refused::NoQuorum), "2a021a00"),
        (Err(Refused::Lost), "2a022200"),
        (Err(Refused::TooLarge { what: "key".into(), size: 9, limit: 8 }), "2a0b2a090a036b657910091808"),
        (Err(Refused::Invalid("w".into())), "2a03320177"),
        (Err(Refused::Expired), "2a023a00"),
        (Err(Refused::BadRequestId("w".into())), "2a03420177"),
        (Err(Refused::Unavailable("w".into())), "2a034a0177"),
        (Err(Refused::NotKept { oldest: 5, age_ms: Some(300) }), "2a076205080510ac02"),
        (Err(Refused::NotKept { oldest: 5, age_ms: None }), "2a0462020805"),
    ]
}

#[test]
fn the_bytes_of_every_reply_are_a_promise() {
    for (result, expected) in golden() {
        let frame = ResponseFrame { id: 7, result };
        let bytes = frame.encode();
        assert_eq!(hex(&bytes), format!("0807{expected}"), "{:?}", frame.result);
        assert_eq!(ResponseFrame::decode(&bytes), Ok(frame));
    }
}

#[test]
fn the_bytes_of_a_welcome_are_a_promise() {
    let bytes = welcome().encode();
    assert_eq!(
        hex(&bytes),
        "0a10cccccccccccccccccccccccccccccccc1001180920022a03683a31320a08021201621a03683a31"
    );
    assert_eq!(Welcome::decode(&bytes), Ok(welcome()));
}

#[test]
fn the_largest_result_fits_its_frame() {
    let numbers = (u64::MAX, u64::MAX, u64::MAX);
    for value in [0, 100, limits::VALUE_BYTES] {
        let (revision, created, version) = numbers;
        let found = Found { value: vec![7; value], revision, created, version, lease: None };
        let row = (vec![b'k'; 1], found);
        let count = limits::RESULT_BYTES / (limits::ROW_BYTES + 1 + value);
        let rows = vec![row; count];
        let results = vec![Done::Rows { rows, more: true }; 1];
        let decided = Decided { revision, number: revision, results, ..Decided::default() };
        let frame = ResponseFrame { id: u64::MAX, result: Ok(Response::Decided(Box::new(decided))) };
        assert!(frame.encode().len() < limits::CLIENT_FRAME_BYTES - 64 * 1024, "rows of {value}");
    }
}

#[test]
fn unknown_fields_are_skipped() {
    // Tag 100, length-delimited, of three bytes: a field of some later version.
    let later = [0xa2, 0x06, 3, 1, 2, 3];
    let extended = |bytes: Vec<u8>| [bytes.as_slice(), &later].concat();
    assert_eq!(Welcome::decode(&extended(welcome().encode())), Ok(welcome()));
    for (result, _) in golden() {
        let frame = ResponseFrame { id: 7, result };
        assert_eq!(ResponseFrame::decode(&extended(frame.encode())), Ok(frame));
    }
}

#[test]
fn unknown_kinds_are_refused() {
    let unknown = |bytes: &[u8]| ResponseFrame::decode(bytes).unwrap_err();
    // Id 7 and a reply under tag 9; id 7 and a refusal under tag 15; a status whose role is 9.
    assert_eq!(unknown(&[8, 7, 0x4a, 0]), DecodeError::Malformed("unknown response"));
    assert_eq!(unknown(&[8, 7, 0x2a, 2, 0x7a, 0]), DecodeError::Malformed("unknown refusal"));
    assert_eq!(unknown(&[8, 7, 0x22, 2, 0x20, 9]), DecodeError::Malformed("unknown role"));
    // A decision whose verdict is 32, and one with a result under tag 15.
    assert_eq!(unknown(&[8, 7, 0x52, 2, 0x10, 32]), DecodeError::Malformed("unknown verdict"));
    assert_eq!(
        unknown(&[8, 7, 0x52, 4, 0x3a, 2, 0x7a, 0]),
        DecodeError::Malformed("unknown result of an action")
    );
    assert_eq!(unknown(&[8, 7, 0x22, 0]), DecodeError::Malformed("cluster id"));
    assert_eq!(Welcome::decode(&[]), Err(DecodeError::Malformed("cluster id")));
}

fn results() -> impl Strategy<Value = Result<Response, Refused>> {
    let found =
        (prop::collection::vec(any::<u8>(), 0..64), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
            |(value, revision, created, version)| Found { value, revision, created, version, lease: None },
        );
    let address = || prop::option::of(".{0,9}");
    prop_oneof![
        any::<(u64, bool, bool)>().prop_map(|(revision, existed, deduplicated)| {
            Ok(Response::Written { revision, existed, deduplicated })
        }),
        (prop::sample::select(Verdict::ALL.to_vec()), any::<[u64; 2]>(), prop::option::of(found.clone()))
            .prop_map(|(verdict, [revision, number], previous)| {
                let decided = Decided { revision, verdict, number, previous, ..Decided::default() };
                Ok(Response::Decided(Box::new(decided)))
            }),
        (prop::option::of(found), any::<u64>(), any::<Option<u64>>()).prop_map(
            |(found, revision, staleness_ms)| Ok(Response::Value { found, revision, staleness_ms })
        ),
        (any::<[u8; 16]>(), any::<[u64; 4]>(), any::<i64>(), ".{0,9}").prop_map(
            |(cluster, [id, term, applied, hash], certificate_days, trouble)| {
                let cluster = ClusterId(cluster);
                let found = NodeStatus { cluster, id, term, applied, state_hash: hash, ..status() };
                Ok(Response::Status(Box::new(NodeStatus { certificate_days, trouble, ..found })))
            }
        ),
        (any::<Option<u64>>(), address())
            .prop_map(|(leader, address)| Err(Refused::NotLeader { leader, address })),
        (".{0,9}", any::<u64>(), any::<u64>()).prop_map(|(what, size, limit)| Err(Refused::TooLarge {
            what,
            size,
            limit
        })),
        ".{0,9}".prop_map(|why| Err(Refused::Invalid(why))),
    ]
}

proptest! {
    #[test]
    fn replies_survive_bytes(id in any::<u64>(), result in results()) {
        let frame = ResponseFrame { id, result };
        prop_assert_eq!(ResponseFrame::decode(&frame.encode()), Ok(frame));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = ResponseFrame::decode(&bytes);
        let _ = Welcome::decode(&bytes);
    }

    #[test]
    fn a_damaged_reply_never_panics(result in results(), at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = ResponseFrame { id: 7, result }.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = ResponseFrame::decode(&bytes);
    }
}
