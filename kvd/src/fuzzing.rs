//! Decoders of stored bytes that are nobody's business but this crate's, for the fuzzed build alone: each of these
//! decodes what it is given and panics when what it understood does not survive another round through bytes.
#![allow(clippy::expect_used, reason = "a panic is how a broken promise is told to the fuzzer")]

use std::sync::Arc;

use protocol::stored::StoredLease;

use crate::{
    bootstrap::record::Record,
    metrics::http,
    state::{
        history::{Before, Change, Replaced, Span},
        requests::{Chunk, Requests},
        row::{Meta, Row},
    },
};

/// A row of the state.
pub fn row(bytes: &[u8]) {
    if let Some((meta, value)) = Meta::split(bytes) {
        let mut again = Vec::new();
        Row { meta, value: value.to_vec() }.encode(&mut again);
        assert_eq!(again, bytes, "a row has one form");
    }
}

/// A stored change: its place, of which the first byte says how long it is, and its value.
pub fn change(bytes: &[u8]) {
    let Some((length, bytes)) = bytes.split_first() else { return };
    let Some((place, value)) = bytes.split_at_checked(usize::from(*length)) else { return };
    let Some(((revision, key), change)) = Replaced::split(place).zip(Replaced::decode(value)) else { return };
    let before = match change.before {
        Ok((meta, value)) => Before::Row(Arc::new(Row { meta, value: value.to_vec() })),
        Err(deleted) => Before::Nothing(deleted),
    };
    let Replaced { deleted, expired, stamp_ms, wall_ms, .. } = change;
    let read = Change { revision, key: Arc::from(key), stamp_ms, wall_ms, deleted, expired, before };
    let mut again = Vec::new();
    read.encode(None, 0, &mut again).expect("a row in memory");
    assert_eq!(
        (again.as_slice(), Change::place(revision, key).as_slice()),
        (value, place),
        "a change has one form"
    );
    assert_eq!(read.element(), change.element(revision, key), "and one hash");
}

/// A stored lease.
pub fn lease(bytes: &[u8]) {
    if let Some(lease) = StoredLease::decode(bytes) {
        assert_eq!(lease.encode(), bytes, "a lease has one form");
    }
}

/// A stored span of changes.
pub fn span(bytes: &[u8]) {
    if let Some(span) = Span::decode(7, bytes) {
        assert_eq!(span.encode(), bytes, "a span has one form");
    }
}

/// Stored request ids, and a memory of at most `limit` ids above `floor` that loads them.
pub fn request_ids(limit: usize, floor: u64, bytes: &[u8]) {
    let Ok(ids) = Chunk::read(bytes).collect::<Result<Vec<_>, _>>() else { return };
    let Some((first, rest)) = ids.split_first() else { return };
    let (mut chunk, _) = Chunk::begin(first);
    if rest.iter().all(|id| chunk.append(id).is_some()) {
        let again = Chunk::read(chunk.bytes()).collect::<Result<Vec<_>, _>>();
        assert_eq!(again.as_ref(), Ok(&ids), "ids survive their bytes");
    }
    let last = ids.last().map_or(0, |id| id.revision);
    let mut memory = Requests::new(limit, floor);
    if memory.load(last, bytes).is_ok() {
        assert!(
            ids.is_sorted_by(|before, after| before.revision < after.revision || after.revision <= floor)
        );
    }
}

/// The record of who a directory belongs to.
pub fn identity(text: &str) {
    if let Ok(record) = Record::decode(text) {
        assert_eq!(Record::decode(&record.encode()).as_ref(), Ok(&record), "a record survives its text");
    }
}

/// A request over HTTP: what is decided of its beginning stays decided, however much of it has come.
pub fn http(bytes: &[u8]) {
    let mut decided = None;
    // Each beginning of a short one, and the whole of a long one.
    let all = bytes.len().min(2 * http::HEAD_BYTES);
    for end in (0..all.min(256)).chain([all]) {
        let now = bytes.get(..end).map_or(Ok(None), http::parse);
        if let Some(before) = decided {
            assert_eq!(now, before, "more bytes change nothing");
        }
        decided = (now != Ok(None)).then_some(now);
    }
    assert!(decided.is_some() || bytes.len() < http::HEAD_BYTES, "the bound is a bound");
}
