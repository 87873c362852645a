use raft::Position;

use super::*;
use crate::{
    ClusterId,
    snapshot::{End, Filling, ReadError, Reader},
    stored::{DELETED, change_element},
};

const HEAD: Head =
    Head { state_format: STATE_FORMAT_PLAIN, cluster: ClusterId([7; 16]), at: Position::new(9, 3) };

/// What a sample may have wrong.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrong {
    Nothing,
    Value,
    RowsHash,
    ChangesHash,
    Order,
    Later,
    Version,
    NoStamp,
}

fn row(key: &[u8], value: &[u8], revision: u64) -> (Meta, Vec<u8>) {
    let meta = Meta { revision, created: revision, version: 1, content: hash::content(key, value), lease: 0 };
    let words = [meta.revision, meta.created, meta.version, meta.content];
    let row = words.iter().flat_map(|word| word.to_le_bytes()).chain(value.iter().copied());
    (meta, row.collect())
}

fn blocks(wrong: Wrong) -> Vec<Vec<u8>> {
    let (a, mut a_row) = row(b"a", b"one", 4);
    let (b, b_row) = row(b"b", b"two", if wrong == Wrong::Later { 10 } else { 9 });
    let change = [&[DELETED][..], &5_u64.to_le_bytes(), &6_u64.to_le_bytes(), &0_u64.to_le_bytes()].concat();
    let mut facts = vec![
        ("changes_hash", u128::from(change_element(8, b"c", (true, false), (5, 6), Err(0)))),
        ("cluster", u128::from_be_bytes([7; 16])),
        ("format", u128::from(STATE_FORMAT_PLAIN)),
        ("history_floor", 2),
        ("index", 9),
        ("memory", 12),
        ("rows_hash", u128::from(a.element().wrapping_add(b.element()))),
        (SAVED, 1000),
        ("stamp", 5),
        ("term", 3),
        ("window_age", 22),
        ("window_bytes", 33),
        ("window_changes", 11),
    ];
    match wrong {
        Wrong::RowsHash => facts[6].1 ^= 1,
        Wrong::ChangesHash => facts[0].1 ^= 1,
        Wrong::NoStamp => drop(facts.remove(8)),
        Wrong::Version => a_row[16] = 0,
        Wrong::Value => *a_row.last_mut().unwrap() ^= 1,
        _ => {}
    }
    let mut meta = Filling::new(Table::Meta);
    for (name, value) in &facts {
        meta.push(name.as_bytes(), &value.to_le_bytes());
    }
    let mut rows = Filling::new(Table::Rows);
    let mut both = [(b"a", &a_row), (b"b", &b_row)];
    if wrong == Wrong::Order {
        both.reverse();
    }
    for (key, row) in both {
        rows.push(key, row);
    }
    let mut changes = Filling::new(Table::Changes);
    changes.push(&[&8_u64.to_be_bytes()[..], b"c"].concat(), &change);
    let mut blocks = vec![HEAD.encode(), meta.seal(), rows.seal(), changes.seal()];
    let pairs = facts.len() as u64 + 3;
    let sum = ring::digest::digest(&SHA256, &blocks.concat());
    let sum = sum.as_ref().try_into().unwrap();
    blocks.push(End { blocks: 4, pairs, sum }.encode());
    blocks
}

fn read(bytes: &[u8]) -> Result<Summary, ReadError> {
    Reader::new(bytes).read_all()
}

#[test]
fn a_sound_one_says_what_it_is() {
    let bytes = blocks(Wrong::Nothing).concat();
    let summary = read(&bytes).unwrap();
    let window = Window { changes: 11, age_ms: 22, bytes: 33 };
    let facts = Facts { stamp_ms: 5, window, oldest: 2, memory: 12, saved_ms: Some(1000) };
    assert_eq!((summary.head, summary.facts), (HEAD, facts));
    assert_eq!((summary.keys, summary.row_bytes, summary.changes, summary.wall_ms), (2, 8, 1, 6));
    assert_eq!(summary.bytes, bytes.len() as u64);
    assert_eq!(summary.sum, bytes[bytes.len() - 32..]);
}

#[test]
fn every_bit_every_cut_and_everything_behind_it_is_seen() {
    let bytes = blocks(Wrong::Nothing).concat();
    for bit in 0..bytes.len() * 8 {
        let mut wrong = bytes.clone();
        wrong[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(read(&wrong), Err(ReadError::Damaged { .. })), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(matches!(read(&bytes[..length]), Err(ReadError::Damaged { .. })), "{length} bytes");
    }
    let Err(ReadError::Damaged { at, why }) = read(&[&bytes[..], b"\0"].concat()) else { panic!() };
    assert_eq!((at, why), (bytes.len() as u64, BlockError::Content("something follows its end")));
}

#[test]
fn what_has_the_right_sums_and_makes_no_sense_is_no_state() {
    let said = |wrong| match read(&blocks(wrong).concat()) {
        Err(ReadError::Damaged { why: BlockError::Content(why), .. }) => why,
        _ => panic!("it is taken"),
    };
    assert!(said(Wrong::Value).starts_with("a row does not match its own hash"));
    assert_eq!(said(Wrong::RowsHash), "its facts contradict what it holds");
    assert_eq!(said(Wrong::ChangesHash), "its facts contradict what it holds");
    assert_eq!(said(Wrong::Order), "its keys are not in order");
    assert_eq!(said(Wrong::Later), "a row is of a later revision than the state");
    assert_eq!(said(Wrong::Version), "a row has numbers that no row has");
    assert_eq!(said(Wrong::NoStamp), "a fact of its own is missing or out of range");
}

#[test]
fn blocks_that_are_left_out_doubled_or_swapped_are_seen() {
    let whole = blocks(Wrong::Nothing);
    for at in 0..whole.len() {
        let mut without = whole.clone();
        without.remove(at);
        assert!(read(&without.concat()).is_err(), "without {at}");
        let mut doubled = whole.clone();
        doubled.insert(at, whole[at].clone());
        assert!(read(&doubled.concat()).is_err(), "{at} twice");
        let mut swapped = whole.clone();
        swapped.swap(at, (at + 1) % whole.len());
        assert!(read(&swapped.concat()).is_err(), "{at} swapped");
    }
}

#[test]
fn another_format_is_named_and_another_file_is_no_backup() {
    let mut other = blocks(Wrong::Nothing);
    other[0] = Head { state_format: STATE_FORMAT + 1, ..HEAD }.encode();
    let Err(ReadError::Damaged { why, .. }) = read(&other.concat()) else { panic!() };
    assert_eq!(why, BlockError::Format { found: STATE_FORMAT + 1, known: STATE_FORMAT });
    for text in ["", "{}", "{\"key\":\"k\",\"value\":\"v\"}\n"] {
        let Err(ReadError::Damaged { at: 0, why }) = read(text.as_bytes()) else { panic!("{text}") };
        assert_eq!(why, BlockError::Content("it is no backup"));
    }
}

#[test]
fn a_row_has_numbers_that_can_be_added_to() {
    let row = Meta { revision: 9, created: 4, version: 2, content: 0, lease: 0 };
    assert!(row.is_possible());
    assert!(Meta { revision: NUMBER, created: NUMBER, version: NUMBER, ..row }.is_possible());
    let wrong = [
        Meta { created: 0, ..row },
        Meta { created: 10, ..row },
        Meta { version: 0, ..row },
        Meta { version: NUMBER + 1, ..row },
        Meta { revision: NUMBER + 1, ..row },
        Meta { revision: 0, created: 0, ..row },
    ];
    assert!(wrong.iter().all(|meta| !meta.is_possible()));
}

#[test]
fn tombstones_and_spans_of_history_have_one_length() {
    let takes = |table, key: &[u8], value: &[u8]| {
        let mut checker = Checker::new();
        checker.take(&HEAD.encode()).unwrap();
        let mut pairs = Filling::new(table);
        pairs.push(key, value);
        checker.take(&pairs.seal()).is_ok()
    };
    assert!(takes(Table::Deleted, b"key", &[0; 8]));
    assert!(!takes(Table::Deleted, b"key", &[0; 7]) && !takes(Table::Deleted, b"key", &[0; 9]));
    assert!(takes(Table::Spans, &[0; 8], &[0; 48]));
    assert!(!takes(Table::Spans, &[0; 7], &[0; 48]) && !takes(Table::Spans, &[0; 8], &[0; 40]));
}

#[test]
fn a_state_has_so_many_facts_and_no_more() {
    let facts = |count: usize| {
        let mut checker = Checker::new();
        checker.take(&HEAD.encode()).unwrap();
        let mut meta = Filling::new(Table::Meta);
        for fact in 0..count {
            meta.push(format!("{fact:04}").as_bytes(), &[0; 16]);
        }
        checker.take(&meta.seal()).map(|_| ())
    };
    assert!(facts(MOST_FACTS).is_ok() && facts(MOST_FACTS + 1).is_err());
}
