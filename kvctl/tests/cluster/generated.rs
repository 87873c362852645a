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

#[test]
fn alerts_are_about_metrics_that_nodes_show() {
    let shown = shown();
    let ran = Command::new(env!("CARGO_BIN_EXE_kvctl")).args(["generate", "alerts"]).output().unwrap();
    let text = String::from_utf8(ran.stdout).unwrap();
    let mut named = BTreeSet::new();
    for rule in text.lines().filter_map(|line| line.trim().strip_prefix("expr: ")) {
        let words = rule.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let words = words.filter(|word| word.starts_with("kvd_") || word.starts_with("process_"));
        for word in words {
            let family = word.strip_suffix("_bucket").unwrap_or(word);
            assert!(shown.contains(family), "{family} of {rule} is on no page: {shown:?}");
            named.insert(family.to_owned());
        }
    }
    assert!(named.len() >= 8, "{named:?}");
}
