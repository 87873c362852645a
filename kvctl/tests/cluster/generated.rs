//! What `generate` prints, held to what a running node shows.

use std::{
    collections::BTreeSet,
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    process::Command,
};

use crate::trial::Trial;

/// What a page of a running node has: the names of its families.
fn shown() -> BTreeSet<String> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let tables = format!("[metrics]\nlisten = \"127.0.0.1:{port}\"\n");
    let trial = Trial::start_with(1, &tables);
    trial.eventually("page", |_| {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let names = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
        Some(names.map(str::to_owned).collect())
    })
}

fn generated(what: &str) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_kvctl")).args(["generate", what]).output().unwrap();
    String::from_utf8(ran.stdout).unwrap()
}

/// The families that these expressions name, each of which must be shown.
fn named<'a>(expressions: impl Iterator<Item = &'a str>, shown: &BTreeSet<String>) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for expression in expressions {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("kvd_") || word.starts_with("process_"));
        for word in words {
            let family = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(shown.contains(family), "{family} of {expression} is on no page: {shown:?}");
            named.insert(family.to_owned());
        }
    }
    named
}

#[test]
fn systemd_takes_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("kvd@.service");
    // The tool wants the programs to be there; what of them a page says is not its affair.
    let text = generated("systemd").replace("/usr/bin/kvd", env!("CARGO_BIN_EXE_kvctl"));
    let text: Vec<&str> = text.lines().filter(|line| !line.starts_with("Documentation=")).collect();
    let text = text.join("\n") + "\n";
    std::fs::write(&unit, text).unwrap();
    let analyze = |words: &[&str]| Command::new("systemd-analyze").args(words).arg(&unit).output();
    let Ok(verified) = analyze(&["verify", "--man=no"]) else { return };
    let said = String::from_utf8_lossy(&verified.stderr).into_owned();
    assert!(verified.status.success() && !said.contains("kvd@.service"), "{said}");
    // Exposure in tenths, of 100. An older tool has no such look at a file.
    if let Ok(judged) = analyze(&["security", "--offline=true", "--threshold=20"]) {
        let said = String::from_utf8_lossy(&judged.stdout);
        assert!(judged.status.success() || !said.contains("Overall exposure"), "{said}");
    }
}

#[test]
fn alerts_and_panels_are_about_metrics_that_nodes_show() {
    let shown = shown();
    let alerts = generated("alerts");
    let rules = alerts.lines().filter_map(|line| line.trim().strip_prefix("expr: "));
    assert!(named(rules, &shown).len() >= 8);

    let dashboard: serde_json::Value = serde_json::from_str(&generated("grafana")).unwrap();
    let mut expressions = Vec::new();
    collect(&dashboard, &mut expressions);
    let seen = named(expressions.iter().map(String::as_str), &shown);
    // What nobody needs a picture of.
    let left = ["kvd_build_info", "kvd_snapshot_transfers_underway", "process_start_time_seconds"];
    let left = left.into_iter().chain(["process_virtual_memory_bytes"]).map(str::to_owned).collect();
    let missing: Vec<&String> =
        shown.difference(&seen).filter(|name| !BTreeSet::contains(&left, *name)).collect();
    assert!(missing.is_empty(), "a metric that is shown is worth a panel: {missing:?}");
}

/// All expressions and queries, wherever they stand.
fn collect(value: &serde_json::Value, expressions: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str().filter(|_| ["expr", "definition"].contains(&name.as_str())) {
                    Some(text) => expressions.push(text.to_owned()),
                    None => collect(field, expressions),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| collect(item, expressions)),
        _ => {}
    }
}
