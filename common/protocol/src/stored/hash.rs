//! The hashes of the state: of one operation, and of everything at once.
//!
//! An operation's hash is the first eight bytes of its SHA-256, so that it is the same on every node, platform and
//! version, for as long as the disk holds it. The state's hash is a wrapping sum over its elements (rows and
//! remembered requests): a sum does not depend on the order in which the elements came, and one element can be
//! taken out again, so the hash follows each write at the price of that write. It tells nodes that diverged by
//! accident apart; it is no defence against somebody who constructs collisions.

use ring::digest::{Context, SHA256};

use crate::Operation;

/// Hash of what an operation does. For a set it covers key and value, so it also serves as the row's content hash.
pub fn operation(operation: &Operation) -> u64 {
    match operation {
        Operation::Set { key, value } => content(key, value),
        Operation::Delete { key } => digest(2, key, &[]),
        other => digest(3, &[], &other.to_bytes()),
    }
}

/// Hash of a row's key and value.
pub fn content(key: &[u8], value: &[u8]) -> u64 {
    digest(1, key, value)
}

fn digest(kind: u8, key: &[u8], value: &[u8]) -> u64 {
    let mut context = Context::new(&SHA256);
    context.update(&[kind]);
    // The length keeps ("ab", "c") and ("a", "bc") apart.
    context.update(&(key.len() as u64).to_le_bytes());
    context.update(key);
    context.update(value);
    // A digest has 32 bytes.
    context.finish().as_ref().first_chunk().map_or(0, |first| u64::from_le_bytes(*first))
}

/// Folds the words of one element into the number that is added to the state's hash.
pub fn element(words: &[u64]) -> u64 {
    words.iter().fold(0x6b76_645f_7374_6174, |hash, word| scramble(hash ^ word))
}

/// Folds bytes into one number, in which their length counts. Like [`element`] it tells apart by accident only.
pub fn words(bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut last = [0; 8];
    last.iter_mut().zip(rest).for_each(|(byte, given)| *byte = *given);
    let hash = words.iter().fold(bytes.len() as u64, |hash, word| scramble(hash ^ u64::from_le_bytes(*word)));
    scramble(hash ^ u64::from_le_bytes(last))
}

/// The finaliser of `SplitMix64` (Steele, Lea and Flood 2014): a bijection in which each bit of the input moves about
/// half of the output.
fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_that_share_bytes_differ() {
        let set = |key: &[u8], value: &[u8]| {
            operation(&Operation::Set { key: key.to_vec(), value: value.to_vec() })
        };
        assert_ne!(set(b"ab", b"c"), set(b"a", b"bc"));
        assert_ne!(set(b"a", b""), operation(&Operation::Delete { key: b"a".to_vec() }));
    }

    #[test]
    fn the_hash_of_an_operation_is_a_promise_to_the_disk() {
        let set = Operation::Set { key: b"key".to_vec(), value: b"value".to_vec() };
        assert_eq!(format!("{:016x}", operation(&set)), "356b3cded5a77a8f");
        let increment = Operation::Increment { key: b"key".to_vec(), by: 1 };
        assert_eq!(format!("{:016x}", operation(&increment)), "6489b0e444e1de54");
        assert_eq!(format!("{:016x}", element(&[1, 2, 3])), "318f2047921655c4");
    }

    #[test]
    fn bytes_are_told_apart_by_length_and_place() {
        let all = [&b""[..], b"\0", b"\0\0\0\0\0\0\0\0", b"ab", b"ba", b"abcdefgh1", b"abcdefgh2"].map(words);
        let distinct: std::collections::BTreeSet<_> = all.into_iter().collect();
        assert_eq!(distinct.len(), 7);
        assert_eq!(format!("{:016x}", words(b"abcdefgh1")), "0f9890ca73fa0ed2");
    }

    #[test]
    fn words_do_not_commute() {
        assert_ne!(element(&[1, 2]), element(&[2, 1]));
        assert_ne!(element(&[0]), element(&[0, 0]));
    }
}
