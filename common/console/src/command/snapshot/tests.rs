use protocol::{
    ClusterId,
    snapshot::{Checker, End, Filling, Head, SAVED, Table as Tables},
    version::STATE_FORMAT_PLAIN,
};

use super::*;
use crate::render::{Format, Screen};

/// A backup without keys.
fn backup() -> Vec<u8> {
    let facts = [
        ("changes_hash", 0),
        ("cluster", u128::from_be_bytes([7; 16])),
        ("format", u128::from(STATE_FORMAT_PLAIN)),
        ("history_floor", 2),
        ("index", 9),
        ("memory", 12),
        ("rows_hash", 0),
        (SAVED, 1_700_000_000_123),
        ("stamp", 5),
        ("term", 3),
        ("window_age", 3_600_000),
        ("window_bytes", 2048),
        ("window_changes", 11),
    ];
    let mut meta = Filling::new(Tables::Meta);
    for (name, value) in facts {
        meta.push(name.as_bytes(), &u128::to_le_bytes(value));
    }
    let blocks = vec![Head::new(ClusterId([7; 16]), 9, 3).encode(), meta.seal()];
    let end = End { blocks: 2, pairs: 13, sum: Checker::sum(&blocks) }.encode();
    [blocks.concat(), end].concat()
}

fn looked(words: &[&str], bytes: &[u8], format: Format) -> (String, String, Exit) {
    let home = tempfile::tempdir().unwrap();
    std::fs::write(home.path().join("b"), bytes).unwrap();
    let file = home.path().join("b");
    let look = Look { file: file.clone() };
    let what = if words == ["verify"] { What::Verify(look) } else { What::Inspect(look) };
    let result = Snapshot { what }.run_alone().unwrap();
    let screen = Screen { format, terminal: false, color: false, quiet: false };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let exit = screen.show_on(&result, &mut out, &mut err);
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(file.to_str().unwrap(), "FILE");
    (text(out), text(err), exit)
}

#[test]
fn a_sound_backup_is_told_in_every_format() {
    let sum = text::hex(&backup()[backup().len() - 32..]);
    let size = backup().len();
    let (line, _, exit) = looked(&["verify"], &backup(), Format::Plain);
    assert_eq!((line, exit), (format!("sound\trev 9\t0 keys\t{size}\tsha256 {sum}\n"), Exit::Success));
    let (table, ..) = looked(&["inspect"], &backup(), Format::Table);
    assert!(table.contains("saved            2023-11-14T22:13:20.123Z\n"), "{table}");
    assert!(table.contains("history          0 changes, revisions 2 to 9\n"), "{table}");
    assert!(table.contains("retention        11 changes, 2.0K, 1h\n"), "{table}");
    let (json, ..) = looked(&["inspect"], &backup(), Format::Json);
    let want = format!(
        "{{\"schema\":\"kvctl.snapshot/v1\",\"file\":\"FILE\",\"cluster_id\":\"{}\",\"rev\":9,\"term\":3,\
         \"saved_at\":\"2023-11-14T22:13:20.123Z\",\"newest_change_at\":null,\"keys\":0,\"data_bytes\":0,\"changes\":0,\
         \"oldest_rev\":2,\"most_changes\":11,\"most_bytes\":2048,\"most_age_ms\":3600000,\"bytes\":{size},\
         \"sha256\":\"{sum}\"}}\n",
        ClusterId([7; 16])
    );
    assert_eq!(json, want);
}

#[test]
fn one_that_is_damaged_is_told_where_and_ends_with_nine() {
    let mut flipped = backup();
    flipped[70] ^= 1;
    let mut longer = backup();
    longer.push(0);
    let short = &backup()[..backup().len() - 1];
    for (bytes, word) in [
        (flipped.as_slice(), "at byte 53: "),
        (longer.as_slice(), "something follows its end"),
        (short, "it was cut off"),
        (b"", "it is no backup"),
    ] {
        for verb in ["verify", "inspect"] {
            let (out, err, exit) = looked(&[verb], bytes, Format::Plain);
            assert_eq!((out.as_str(), exit), ("", Exit::Integrity), "{err}");
            assert!(err.contains(word) && err.contains("KV-0903"), "{err}");
        }
    }
}

#[test]
fn a_file_that_is_there_stays_unless_it_is_said_and_what_is_no_file_in_any_case() {
    let home = tempfile::tempdir().unwrap();
    let there = home.path().join("there");
    std::fs::write(&there, "old").unwrap();
    let save = |file: &Path, force| Save { file: file.to_owned(), force };
    let refused = save(&there, false).prepare().unwrap_err();
    assert_eq!((refused.exit, refused.code), (Exit::File, "KV-1203"));
    assert!(save(&there, true).prepare().is_ok() && save(&home.path().join("new"), false).prepare().is_ok());
    assert_eq!(save(home.path(), true).prepare().unwrap_err().code, "KV-1203");
}
