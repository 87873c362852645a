//! A test for each sentence of the module: at the bound, and one past it.

use super::*;

const CLUSTER: ClusterId = ClusterId([7; 16]);
const SET: u64 = 11;
const OTHER: u64 = 12;

fn token(n: u64) -> [u8; 16] {
    u128::from(n).to_le_bytes()
}

fn id(n: u64, learned: u64) -> RequestId {
    RequestId { token: token(n), learned, cluster: CLUSTER }
}

fn written(n: u64, revision: u64) -> Remembered {
    let verdict = protocol::Verdict::from_code(u8::try_from(n % 5).unwrap()).unwrap();
    Remembered { token: token(n), revision, operation: SET, number: 0, existed: n % 2 == 1, verdict }
}

/// A memory of `limit` that remembered the ids 1 to `count` under the revisions 10, 20, …
fn memory(limit: usize, count: u64) -> Requests {
    let mut requests = Requests::new(limit, 0);
    (1..=count).for_each(|n| requests.remember(written(n, n * 10)));
    requests
}

fn is_bad_id(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(Refused::BadRequestId(_)))
}

#[test]
fn a_token_of_another_cluster_is_refused_even_when_its_bits_are_known() {
    let foreign = RequestId { cluster: ClusterId([8; 16]), ..id(1, 0) };
    assert!(is_bad_id(&memory(4, 1).judge(&foreign, SET, 50, CLUSTER)));
}

#[test]
fn a_token_must_have_been_learned_below_its_own_entry() {
    let requests = memory(4, 0);
    assert_eq!(requests.judge(&id(1, 49), SET, 50, CLUSTER), Verdict::New);
    assert!(is_bad_id(&requests.judge(&id(1, 50), SET, 50, CLUSTER)));
    assert!(is_bad_id(&requests.judge(&id(1, 51), SET, 50, CLUSTER)));
}

#[test]
fn a_known_token_returns_its_old_outcome() {
    let requests = memory(4, 2);
    assert_eq!(requests.judge(&id(1, 3), SET, 50, CLUSTER), Verdict::Repeated(written(1, 10)));
    assert_eq!(requests.judge(&id(2, 3), SET, 50, CLUSTER), Verdict::Repeated(written(2, 20)));
}

#[test]
fn a_known_token_with_a_different_operation_is_refused() {
    assert!(is_bad_id(&memory(4, 1).judge(&id(1, 3), OTHER, 50, CLUSTER)));
}

#[test]
fn an_unknown_token_older_than_the_floor_is_expired() {
    let requests = memory(2, 3);
    assert_eq!(requests.floor(), 10);
    assert_eq!(requests.judge(&id(9, 10), SET, 50, CLUSTER), Verdict::New);
    assert_eq!(requests.judge(&id(9, 9), SET, 50, CLUSTER), Verdict::Refused(Refused::Expired));
}

#[test]
fn a_forgotten_token_is_expired_and_not_executed() {
    assert_eq!(memory(2, 3).judge(&id(1, 9), SET, 50, CLUSTER), Verdict::Refused(Refused::Expired));
}

#[test]
fn a_known_token_never_expires_however_old_what_it_learned() {
    assert_eq!(memory(2, 4).judge(&id(3, 0), SET, 50, CLUSTER), Verdict::Repeated(written(3, 30)));
}

#[test]
fn the_memory_holds_its_limit_and_forgets_one_past_it() {
    let full = memory(3, 3);
    assert_eq!((full.len(), full.floor()), (3, 0));
    let past = memory(3, 4);
    assert_eq!((past.len(), past.floor()), (3, 10));
    assert!(past.find(&token(1)).is_none());
    assert_eq!(past.find(&token(2)), Some(&written(2, 20)));
}

#[test]
fn the_hash_depends_on_what_is_known_and_on_the_floor() {
    assert_ne!(memory(3, 1).hash(), memory(3, 2).hash());
    assert_ne!(Requests::new(3, 0).hash(), Requests::new(3, 1).hash());
    let mut rest = Requests::new(2, 10);
    rest.remember(written(2, 20));
    rest.remember(written(3, 30));
    assert_eq!(memory(2, 3).hash(), rest.hash());
}

/// Loads what `requests` would write now.
fn reload(requests: &mut Requests) -> Requests {
    let mut loaded = Requests::new(requests.limit, requests.floor());
    for chunk in requests.take_unflushed() {
        loaded.load(chunk.last(), chunk.bytes()).unwrap();
    }
    loaded
}

#[test]
fn a_loaded_memory_is_the_one_that_was_written() {
    for count in [0, 1, 4096, 4097, 9000] {
        let mut requests = memory(5000, count);
        let loaded = reload(&mut requests);
        assert_eq!(loaded.window, requests.window, "{count}");
        assert_eq!(loaded.hash(), requests.hash(), "{count}");
        assert!((1..=count).all(|n| loaded.find(&token(n)) == requests.find(&token(n))), "{count}");
    }
}

#[test]
fn a_chunk_whose_ids_are_all_forgotten_is_not_written() {
    let all = u64::try_from(Chunk::RECORDS).unwrap();
    let mut straddling = memory(1, all);
    assert_eq!(straddling.take_unflushed().len(), 1);
    let mut forgotten = memory(1, all + 1);
    let chunks = forgotten.take_unflushed();
    assert_eq!(chunks.iter().map(Chunk::last).collect::<Vec<_>>(), [(all + 1) * 10]);
}

#[test]
fn what_was_taken_for_a_flush_is_not_taken_again() {
    let mut requests = memory(4, 2);
    assert_eq!(requests.take_unflushed().len(), 1);
    assert_eq!(requests.unflushed_bytes(), 0);
    assert!(requests.take_unflushed().is_empty());
}

#[test]
fn unflushed_bytes_are_the_bytes_of_the_chunks() {
    let mut requests = memory(9000, 4100);
    let counted = requests.unflushed_bytes();
    assert_eq!(counted, requests.take_unflushed().iter().map(|chunk| chunk.bytes().len()).sum::<usize>());
}

#[test]
fn a_chunk_ends_where_a_step_no_longer_fits() {
    let step = u64::from(u32::MAX);
    let mut requests = Requests::new(4, 0);
    requests.remember(written(1, 1));
    requests.remember(written(2, 1 + step));
    requests.remember(written(3, 2 + 2 * step));
    assert_eq!(reload(&mut requests).window, requests.window);
    requests.remember(written(4, 3 + 2 * step));
    let lasts = requests.take_unflushed().iter().map(Chunk::last).collect::<Vec<_>>();
    assert_eq!(lasts, [3 + 2 * step]);
    assert_eq!(Chunk::begin(&written(1, 1)).0.append(&written(2, 1 + step)), Some(29));
    assert_eq!(Chunk::begin(&written(1, 1)).0.append(&written(2, 2 + step)), None);
}

#[test]
fn the_bytes_of_a_chunk_are_a_promise_to_the_disk() {
    let (mut chunk, _) = Chunk::begin(&Remembered { number: 0x0506, ..written(1, 0x0102) });
    chunk.append(&written(2, 0x0105)).unwrap();
    let mut expected = vec![2, 1, 0, 0, 0, 0, 0, 0];
    let records: [(u8, [u8; 4], u8); 2] = [(0b0111, [0, 0, 0, 0], 1), (0b1000, [3, 0, 0, 0], 2)];
    for (flags, step, token) in records {
        expected.push(flags);
        expected.extend_from_slice(&step);
        expected.extend_from_slice(&u128::from(token).to_le_bytes());
        expected.extend_from_slice(&[11, 0, 0, 0, 0, 0, 0, 0]);
        if flags & 2 != 0 {
            expected.extend_from_slice(&[6, 5, 0, 0, 0, 0, 0, 0]);
        }
    }
    assert_eq!(chunk.bytes(), expected);
}

#[test]
fn a_verdict_that_is_not_known_is_refused_and_hashes_tell_verdicts_apart() {
    let (chunk, _) = Chunk::begin(&written(1, 10));
    let mut bytes = chunk.bytes().to_vec();
    bytes[8] = 1 | u8::try_from(protocol::Verdict::ALL.len()).unwrap() << 2;
    assert!(Requests::new(4, 0).load(10, &bytes).is_err());
    let hash = |verdict| {
        let mut requests = Requests::new(4, 0);
        requests.remember(Remembered { verdict, ..written(1, 10) });
        requests.hash()
    };
    assert_ne!(hash(protocol::Verdict::Done), hash(protocol::Verdict::Unmet));
}

#[test]
fn a_chunk_cut_anywhere_is_refused() {
    let (mut chunk, _) = Chunk::begin(&Remembered { number: 5, ..written(1, 10) });
    chunk.append(&written(2, 20)).unwrap();
    for cut in 0..chunk.bytes().len() {
        let loaded = Requests::new(4, 0).load(20, &chunk.bytes()[..cut]);
        assert!(loaded.is_err(), "{cut}");
    }
    assert_eq!(Requests::new(4, 0).load(20, chunk.bytes()), Ok(()));
}

#[test]
fn a_stored_memory_that_contradicts_itself_is_refused() {
    let chunk = |ids: &[(u64, u64)]| {
        let mut chunks = ids.iter().map(|(n, revision)| written(*n, *revision));
        let (mut chunk, _) = Chunk::begin(&chunks.next().unwrap());
        chunks.for_each(|next| _ = chunk.append(&next).unwrap());
        chunk
    };
    let load = |limit, floor, chunk: &Chunk| Requests::new(limit, floor).load(chunk.last(), chunk.bytes());
    assert!(load(4, 0, &chunk(&[(1, 10), (2, 10)])).is_err(), "the same revision twice");
    assert!(load(4, 0, &chunk(&[(1, 10), (1, 20)])).is_err(), "the same token twice");
    assert!(load(1, 0, &chunk(&[(1, 10), (2, 20)])).is_err(), "more than the limit");
    assert!(load(1, 10, &chunk(&[(1, 10), (2, 20)])).is_ok(), "as many as the limit above the floor");
    let chunk = chunk(&[(1, 10)]);
    assert!(Requests::new(4, 0).load(11, chunk.bytes()).is_err(), "under another key");
}
