//! The list is whole, in order, and says something of each code.

use std::{fs, path::Path};

use super::*;

/// Each `"KV-…"` of the sources with the string literal behind it.
fn used(folder: &Path, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            used(&path, found);
        } else if path.extension().is_some_and(|is| is == "rs")
            && !["tests.rs", "codes.rs"].iter().any(|name| path.ends_with(name))
        {
            let text = fs::read_to_string(&path).unwrap();
            let product = text.split("#[cfg(test)]").next().unwrap();
            for after in product.split("\"KV-").skip(1) {
                // What cuts or writes codes has only their beginning.
                if !after.starts_with(|digit: char| digit.is_ascii_digit()) {
                    continue;
                }
                let mut quotes = after.split('"');
                let (code, between) = (quotes.next().unwrap(), quotes.next().unwrap());
                let name = if between.trim() == "," { quotes.next().unwrap() } else { "" };
                found.push((format!("KV-{code}"), name.to_owned()));
            }
        }
    }
}

#[test]
fn every_code_of_a_failure_is_explained_and_every_explained_code_is_used() {
    let mut found = Vec::new();
    used(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
    for (code, name) in &found {
        let known = CODES.iter().find(|known| known.code == code);
        let known = known.unwrap_or_else(|| panic!("{code} {name} is not in the list"));
        assert!(name.is_empty() || known.name == name, "{code} is {} and not {name}", known.name);
    }
    for known in CODES {
        assert!(found.iter().any(|(code, _)| code == known.code), "{} is used nowhere", known.code);
    }
}

#[test]
fn codes_are_unique_ordered_and_begin_with_their_exit() {
    assert!(CODES.is_sorted_by(|a, b| a.code < b.code));
    for known in CODES {
        let exit = match known.exit {
            Exit::Interrupted => "13".to_owned(),
            Exit::Pipe => "14".to_owned(),
            exit => format!("{:02}", exit.code()),
        };
        assert_eq!(known.code[3..5], exit, "{}", known.code);
        assert!(!known.meaning.is_empty() && known.next.ends_with(['.', '?']), "{}", known.code);
    }
}
