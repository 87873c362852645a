//! Lines of a file that is imported, and patterns of keys; the first byte chooses.

use console::{command::Meaning, glob::Glob, report::Document, text};

pub(crate) fn run(bytes: &[u8]) {
    let Some((choice, rest)) = bytes.split_first() else { return };
    match choice % 3 {
        0 => line(rest),
        1 => pattern(rest),
        _ => {
            if let Some(decoded) = std::str::from_utf8(rest).ok().and_then(text::unbase64) {
                assert_eq!(text::base64(&decoded).as_bytes(), rest, "base64 has one form");
            }
        }
    }
}

/// What a line says is the same in the form in which it is exported.
fn line(bytes: &[u8]) {
    match Meaning::of(bytes) {
        Ok(Meaning::Row(key, value)) => {
            let document = Document::bare().with_bytes("key", "key_b64", &key);
            let exported = document.with_bytes("value", "value_b64", &value).to_json();
            assert_eq!(Meaning::of(exported.as_bytes()), Ok(Meaning::Row(key, value)));
        }
        Ok(Meaning::End(_)) => {}
        Err(why) => assert_ne!(why, ""),
    }
}

/// Whatever matches begins with the prefix of its pattern, by which the cluster is asked.
fn pattern(bytes: &[u8]) {
    let (pattern, key) = match bytes.iter().position(|byte| *byte == 0) {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, bytes),
    };
    if let Ok(glob) = Glob::new(pattern)
        && glob.matches(key)
    {
        assert!(key.starts_with(&glob.prefix()));
    }
}
