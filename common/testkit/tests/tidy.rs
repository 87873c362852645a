//! What no lint sees: the lengths of files and functions, prose before code, what must be absent, and documents that
//! name files which are there. The rules are those of `docs/architecture.md`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

/// All files below the members with one of these endings, as (path from the root, text).
fn files(ending: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for folder in ["common", "kvd", "kvctl", "kvshell", "docs"] {
        collect(&root().join(folder), ending, &mut found);
    }
    assert!(!found.is_empty(), "no {ending} files below {}", root().display());
    found
}

fn collect(folder: &Path, ending: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            collect(&path, ending, found);
        } else if path.to_string_lossy().ends_with(ending) {
            let name = path.strip_prefix(root()).unwrap().display().to_string();
            found.push((name, fs::read_to_string(&path).unwrap()));
        }
    }
}

fn is_product(name: &str) -> bool {
    !name.contains("/tests/") && !name.ends_with("tests.rs")
}

/// Functions longer than the bound, by the indentation that rustfmt keeps.
fn long_functions(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let mut long = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        let is_function = code.split("fn ").next().is_some_and(|before| {
            before.len() < code.len()
                && before
                    .split_whitespace()
                    .all(|word| matches!(word, "const" | "async" | "pub") || word.starts_with("pub("))
        });
        if !is_function {
            continue;
        }
        let end = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| *line == end).map_or(0, |length| length + 1);
        if length > FUNCTION_LINES {
            long.push(format!("line {}: {length} lines: {code}", start + 1));
        }
    }
    long
}

#[test]
fn files_and_functions_stay_small_enough_to_read_at_once() {
    for (name, text) in files(".rs") {
        let lines = text.lines().count();
        assert!(!is_product(&name) || lines <= FILE_LINES, "{name} has {lines} lines");
        let long = long_functions(&text);
        assert!(!is_product(&name) || long.is_empty(), "{name}: {long:?}");
    }
    let long = format!("fn long() {{\n{}}}\n", "    x();\n".repeat(FUNCTION_LINES));
    assert_eq!(long_functions(&long).len(), 1, "the rule sees a long function");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    for (name, text) in files(".rs") {
        assert!(!is_product(&name) || text.starts_with("//!"), "{name} begins with its purpose");
    }
}

#[test]
fn what_must_be_absent_is_absent() {
    let absent: &[(&str, &[&str])] = &[
        ("common/raft/src", &["std::", "tokio", "Instant", "SystemTime", "println"]),
        ("common/protocol/src", &["tokio", "quinn", "async fn"]),
        ("kvd/src/node.rs", &["std::time::Instant", "SystemTime", "std::thread", "tokio", "transport::"]),
        (
            "kvd/src/state",
            &["SystemTime", "Instant::now", "use rand", " rand::", "getrandom", "HashMap::new"],
        ),
        ("kvctl/src", &["quinn", "rustls"]),
        ("kvshell/src", &["quinn", "rustls"]),
        ("kvd/src", &["client::Client", "console::"]),
    ];
    for (place, words) in absent {
        let mut seen = 0;
        for (name, text) in
            files(".rs").iter().filter(|(name, _)| name.starts_with(place) && is_product(name))
        {
            seen += 1;
            for line in text.lines().filter(|line| !line.trim_start().starts_with("//")) {
                let word = words.iter().find(|word| line.contains(**word));
                assert!(word.is_none(), "{name} must not name {word:?}: {line}");
            }
        }
        assert!(seen > 0, "{place} is there");
    }
}

#[test]
fn the_core_depends_on_nothing() {
    let manifest = fs::read_to_string(root().join("common/raft/Cargo.toml")).unwrap();
    let (_, dependencies) = manifest.split_once("[dependencies]").unwrap();
    let (dependencies, _) = dependencies.split_once("[dev-dependencies]").unwrap();
    assert_eq!(dependencies.trim(), "", "the core has no dependencies");
}

#[test]
fn documents_name_files_that_are_there() {
    let mut named = 0;
    for (document, text) in files(".md") {
        for word in text.split('`').skip(1).step_by(2) {
            let is_path = word.contains('/')
                && Path::new(word).extension().is_some_and(|ending| ending == "rs")
                && !word.contains([' ', '*', '{', '<']);
            if !is_path {
                continue;
            }
            named += 1;
            let places = ["", "common/raft", "common/raft/src", "common", "kvd", "kvd/src"];
            let there = places.iter().any(|place| root().join(place).join(word).exists());
            assert!(there, "{document} names {word}, which is not there");
        }
    }
    assert!(named > 5, "the documents name files");
}
