use proptest::prelude::*;

use super::*;
use crate::{history::Moment, testing::hex};

fn row() -> Row {
    Row {
        key: b"k".to_vec(),
        found: Found { value: b"v".to_vec(), revision: 4, created: 3, version: 2, lease: None },
    }
}

fn versions() -> Vec<Version> {
    let moment = Some(Moment { age_ms: 7, wall_ms: 32 });
    vec![
        Version { revision: 6, found: None, moment, expired: false },
        Version { revision: 4, found: Some(row().found), moment: None, expired: false },
    ]
}

/// Every kind of answer, with its bytes as they must stay.
fn golden() -> Vec<(ScanFrame, &'static str)> {
    let end = |more| ScanFrame::End(End { count: 3, revision: 9, more });
    vec![
        (
            ScanFrame::Page(Page { revision: 9, rows: vec![row()], ..Page::default() }),
            "0a100809120c0a016b120176180420032802",
        ),
        (ScanFrame::Page(Page { revision: 9, ..Page::default() }), "0a020809"),
        (
            ScanFrame::Page(Page { revision: 9, rows: Vec::new(), versions: versions() }),
            "0a1b08091a0808061a04080710201a0d080412090a0176100418032002",
        ),
        (end(false), "120408031009"),
        (end(true), "1206080310091801"),
        (
            ScanFrame::Digest(Digest { revision: 9, count: 3, hash: 0x0102_0304_0506_0708, damaged: 1 }),
            "2a0f080910031908070605040302012001",
        ),
        (ScanFrame::Refused(Refused::NoQuorum), "1a021a00"),
        (ScanFrame::Cut("w".into()), "220177"),
    ]
}

#[test]
fn the_bytes_of_every_answer_are_a_promise() {
    for (frame, expected) in golden() {
        let bytes = frame.clone().encode();
        assert_eq!(hex(&bytes), expected, "{frame:?}");
        assert_eq!(ScanFrame::decode(&bytes), Ok(frame));
    }
    assert_eq!(ScanFrame::decode(&[0x4a, 0]), Err(DecodeError::Malformed("unknown answer to a scan")));
    assert_eq!(ScanFrame::decode(&[0x1a, 0]), Err(DecodeError::Malformed("unknown refusal")));
}

#[test]
fn a_prefix_ends_before_the_first_key_that_does_not_begin_so() {
    for (prefix, end) in [
        (&b""[..], None),
        (b"a", Some(&b"b"[..])),
        (b"a\xff", Some(b"b")),
        (b"a\xfe\xff\xff", Some(b"a\xff")),
        (b"\xff\xff", None),
    ] {
        assert_eq!(after_prefix(prefix).as_deref(), end, "{prefix:?}");
    }
}

#[test]
fn after_a_key_nothing_is_left_out_and_nothing_comes_twice() {
    let scan = Scan::range(b"b", b"d").after(b"bb");
    let covered = [&b"b"[..], b"bb", b"bb\0", b"bba", b"c", b"cz", b"d"].map(|key| scan.covers(key));
    assert_eq!(covered, [false, false, true, true, true, true, false]);
    assert_eq!(Scan::range(b"b", b"d").after(b"a").from, b"b", "a key before the range changes nothing");
}

#[test]
fn versions_are_of_one_key_and_a_past_is_named_once() {
    assert!(Scan::versions(b"k").check().is_ok());
    assert!(Scan { below: Some(3), ..Scan::versions(b"k") }.check().is_ok());
    assert!(Scan { to: Some(b"l".to_vec()), ..Scan::versions(b"k") }.check().is_err());
    assert!(Scan { below: Some(3), ..Scan::key(b"k") }.check().is_err());
    assert!(Scan { at: Some(3), ..Scan::key(b"k") }.check().is_ok());
    assert!(Scan { at: Some(3), age_ms: Some(4), ..Scan::key(b"k") }.check().is_err());
    assert!(Scan { time_ms: Some(3), ..Scan::key(b"k") }.check().is_ok());
    assert!(Scan { time_ms: Some(3), at: Some(4), ..Scan::key(b"k") }.check().is_err());
    assert!(Scan { time_ms: Some(3), age_ms: Some(4), ..Scan::key(b"k") }.check().is_err());
}

#[test]
fn bounds_are_bounded() {
    let longest = vec![b'k'; limits::BOUND_BYTES];
    assert!(Scan::range(&longest, &longest).check().is_ok());
    assert!(Scan::default().after(&[b'k'; limits::KEY_BYTES]).check().is_ok(), "after the longest key");
    let over = vec![b'k'; limits::BOUND_BYTES + 1];
    for scan in [Scan::range(&over, b"z"), Scan::range(b"", &over)] {
        assert!(matches!(scan.check(), Err(DecodeError::TooLarge { what: "bound of a range", .. })));
    }
    assert!(Scan { limit: Some(0), ..Scan::default() }.check().is_err());
    assert!(Scan { limit: Some(1), ..Scan::default() }.check().is_ok());
}

#[test]
fn the_hash_of_a_row_is_a_promise_between_versions() {
    assert_eq!(format!("{:016x}", row().element()), "d3dc714bc958740d");
    let mut other = row();
    other.found.version = 3;
    assert_ne!(other.element(), row().element());
}

proptest! {
    #[test]
    fn what_a_prefix_covers_begins_with_it(prefix: Vec<u8>, key: Vec<u8>) {
        prop_assert_eq!(Scan::prefix(&prefix).covers(&key), key.starts_with(&prefix));
        let longer = [prefix.clone(), key].concat();
        prop_assert!(Scan::prefix(&prefix).covers(&longer));
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        let _ = ScanFrame::decode(&bytes);
    }

    #[test]
    fn a_damaged_answer_never_panics(which in 0_usize..8, at in any::<prop::sample::Index>(), with in any::<u8>()) {
        let mut bytes = golden().swap_remove(which).0.encode();
        let at = at.index(bytes.len());
        bytes[at] = with;
        let _ = ScanFrame::decode(&bytes);
    }
}
