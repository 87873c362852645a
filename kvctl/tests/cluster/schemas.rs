//! Every document the tools print, held to the schema the tools print. The validator is this file's own, knows the few
//! words the schemas use and refuses all others, so that no word goes unchecked. What a schema does not name must not
//! be there: a field that is added must be added to the schema.

use std::{cell::RefCell, collections::BTreeSet};

use serde_json::Value;

use crate::trial::Trial;

/// What is wrong with `value`, empty where nothing is.
fn faults(schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |what: String| faults.push(format!("{at}: {what}"));
    for (word, rule) in schema.as_object().expect("a schema is an object") {
        match word.as_str() {
            "type" => {
                let allowed = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                if !allowed.iter().any(|kind| is_a(value, kind.as_str().unwrap())) {
                    fault(format!("{value} is not {rule}"));
                }
            }
            "const" if value != rule => fault(format!("{value} is not {rule}")),
            "enum" if !rule.as_array().unwrap().contains(value) => {
                fault(format!("{value} is none of {rule}"));
            }
            "const" | "enum" | "$schema" | "title" | "description" => {}
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
                        fault(format!("{name} is missing"));
                    }
                }
            }
            "properties" => {
                for (name, field) in value.as_object().into_iter().flatten() {
                    match rule.get(name) {
                        Some(rule) => faults_of(rule, field, &format!("{at}.{name}"), &mut fault),
                        None => fault(format!("{name} is not in the schema")),
                    }
                }
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    faults_of(rule, item, &format!("{at}[{index}]"), &mut fault);
                }
            }
            "allOf" => {
                rule.as_array().unwrap().iter().for_each(|rule| faults_of(rule, value, at, &mut fault));
            }
            "anyOf" => {
                if !rule.as_array().unwrap().iter().any(|rule| faults_in(rule, value).is_empty()) {
                    fault(format!("none of {rule} holds"));
                }
            }
            other => panic!("this validator does not know {other:?}"),
        }
    }
    faults
}

fn faults_in(schema: &Value, value: &Value) -> Vec<String> {
    faults(schema, value, "$")
}

fn faults_of(schema: &Value, value: &Value, at: &str, fault: &mut dyn FnMut(String)) {
    faults(schema, value, at).into_iter().for_each(fault);
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        other => panic!("no type {other:?}"),
    }
}

/// Validates what commands print and remembers which documents it has seen.
struct Golden<'a> {
    trial: &'a Trial,
    seen: RefCell<BTreeSet<String>>,
}

impl Golden<'_> {
    fn schema(&self, name: &str) -> Value {
        let ran = self.trial.kvctl(&["schema", name]);
        serde_json::from_slice(&ran.out).unwrap_or_else(|error| panic!("{name}: {error}: {ran:?}"))
    }

    /// Runs a command whose document must be `name` and valid.
    fn holds(&self, name: &str, words: &[&str]) -> Value {
        let (_, document) = self.trial.json(words);
        assert_eq!(document["schema"], format!("kvctl.{name}/v1"), "{words:?}: {document}");
        let faults = faults_in(&self.schema(name), &document);
        assert!(faults.is_empty(), "{words:?}: {faults:?} in {document}");
        self.seen.borrow_mut().insert(name.to_owned());
        document
    }
}

impl Golden<'_> {
    /// The same of each line that a command prints as NDJSON.
    fn lines(&self, words: &[&str]) {
        let ran = self.trial.kvctl(&[&["-o", "ndjson"], words].concat());
        for line in ran.text().lines() {
            let document: Value = serde_json::from_str(line).unwrap();
            let name =
                document["schema"].as_str().unwrap().trim_start_matches("kvctl.").trim_end_matches("/v1");
            let faults = faults_in(&self.schema(name), &document);
            assert!(faults.is_empty(), "{words:?}: {faults:?} in {line}");
            self.seen.borrow_mut().insert(name.to_owned());
        }
    }

    /// What an operator looks with.
    fn operating(&self, flags: &[&str]) {
        self.holds("events", &[&["events"], flags].concat());
        self.lines(&[&["events"], flags].concat());
        self.holds("doctor", &["doctor"]);
        let file = self.trial.home().join(format!("{}.tar", flags.len()));
        self.holds("bundle", &["debug", "bundle", "-f", file.to_str().unwrap()]);
    }
}

#[test]
fn every_document_is_as_its_schema_says() {
    let mut trial = Trial::start(3);
    let binary = trial.file("binary", b"\xff\0");
    let golden = Golden { trial: &trial, seen: RefCell::default() };
    golden.holds("set", &["set", "k", "v"]);
    golden.holds("set", &["set", "b", "--file", &binary]);
    golden.holds("get", &["get", "k"]);
    assert!(golden.holds("get", &["get", "b"]).get("value_b64").is_some());
    golden.holds("get", &["get", "none", "--consistency", "stale"]);
    golden.holds("get", &["get", "none", "--default", "x"]);
    golden.holds("range", &["get", "--prefix", ""]);
    golden.holds("range", &["get", "--range", "a", "c", "--keys", "--limit", "1"]);
    golden.holds("count", &["get", "--prefix", "", "--count"]);
    golden.holds("tree", &["tree"]);
    golden.holds("tree", &["ls", "k"]);
    for words in [&["get", "--prefix", ""][..], &["get", "--glob", "*", "--keys"], &["tree"]] {
        golden.lines(words);
    }
    let exported = trial.home().join("all.ndjson");
    golden.holds("export", &["export", exported.to_str().unwrap()]);
    golden.holds("import", &["import", exported.to_str().unwrap()]);
    let backup = trial.home().join("b.kvsnap");
    golden.holds("snapshot", &["snapshot", "save", backup.to_str().unwrap()]);
    golden.holds("snapshot", &["snapshot", "inspect", backup.to_str().unwrap()]);
    golden.holds("restore", &["snapshot", "restore", backup.to_str().unwrap(), "-n"]);
    golden.holds("restore", &["snapshot", "restore", "--abort"]);
    let batch = trial.file("batch", b"set x 1; get none\nincr x\nnonsense");
    golden.lines(&["batch", "-f", &batch]);
    golden.holds("exists", &["exists", "k"]);
    golden.holds("get", &["get", "k", "--rev", "0"]);
    golden.holds("history", &["history", "k"]);
    golden.lines(&["history", "b"]);
    golden.holds("watched", &["watch", "k", "--from", "0", "--prev", "--until", "1"]);
    golden.lines(&["watch", "--prefix", "", "--initial", "--until", "2"]);
    golden.lines(&["watch", "b", "--from", "0", "--until", "1"]);
    golden.holds("revert", &["revert", "k", "--at", "0s"]);
    golden.holds("retention", &["retention"]);
    golden.holds("retention_set", &["retention", "--changes", "1000"]);
    golden.holds("error", &["get", "k", "--rev", "99999999"]);
    golden.holds("del", &["del", "k"]);
    golden.holds("del", &["del", "k"]);
    golden.holds("set", &["set", "k", "v", "--if-absent", "--prev"]);
    golden.holds("set", &["set", "k", "v", "--if-absent", "--prev"]);
    golden.holds("set", &["set", "b", "v", "--if-rev", "1", "--prev"]);
    golden.holds("del", &["del", "k", "--if-value", "w"]);
    golden.holds("del", &["del", "k", "--prev"]);
    golden.holds("del", &["del", "--prefix", "none"]);
    golden.holds("incr", &["incr", "n"]);
    golden.holds(
        "txn",
        &["txn", "--then", "set t 1", "--then", "get b", "--then", "prefix n", "--then", "del t2"],
    );
    hold_leases(&golden);
    golden.holds("txn", &["txn", "--if", "exists(none)", "--else", "get none"]);
    golden.holds("error", &["incr", "b"]);
    hold_clusters(&golden);
    for check in ["live", "ready", "cluster", "replication", "disk", "cert", "latency", "all", "key"] {
        let key: &[&str] = if check == "key" { &["b"] } else { &[] };
        golden.holds("check", &[&["check", check], key].concat());
    }
    golden.holds("check", &["check", "nonsense"]);
    let context = trial.cluster.context();
    golden.holds("contexts", &["context", "ls"]);
    golden.holds("context", &["context", "import", context.to_str().unwrap(), "--name", "own", "--use"]);
    golden.holds("context", &["context", "show"]);
    golden.holds("context", &["context", "use", "own"]);
    golden.holds("contexts", &["context", "ls"]);
    golden.holds(
        "context_export",
        &["context", "export", "own", trial.home().join("own.kvctx").to_str().unwrap()],
    );
    golden.holds("context_rm", &["context", "rm", "own"]);
    golden.holds("config", &["config", "view"]);
    golden.holds("explain", &["explain"]);
    golden.holds("explain", &["explain", "KV-0601"]);
    let pages = trial.home().join("pages");
    std::fs::create_dir(&pages).unwrap();
    golden.holds("man", &["man", "--dir", pages.to_str().unwrap()]);
    let names = golden.holds("schemas", &["schema"]);
    golden.holds("error", &["get"]);
    golden.holds("error", &["get", "k", "-e", "127.0.0.1:1", "-t", "300ms"]);
    golden.holds("error", &["explain", "KV-9999"]);

    let all: BTreeSet<String> =
        names["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert_eq!(golden.seen.take(), all, "every schema has been held against a document");

    let dead = trial.followers()[0];
    trial.cluster.kill(dead);
    let golden = Golden { trial: &trial, seen: RefCell::default() };
    golden.holds("status", &["status"]);
    golden.holds("top", &["top", "--every", "100ms"]);
    golden.holds("ping", &["ping"]);
    golden.holds("verify", &["verify", "--deep"]);
    golden.operating(&[]);
    golden.holds("check", &["check", "all"]);
}

/// What is said of the cluster and its members.
fn hold_clusters(golden: &Golden<'_>) {
    golden.holds("status", &["status"]);
    golden.holds("top", &["top", "--every", "100ms"]);
    golden.lines(&["top", "--every", "100ms", "--count", "2"]);
    golden.holds("leader", &["leader"]);
    golden.holds("version", &["version"]);
    golden.holds("bench", &["bench", "--for", "50ms", "--keys", "4", "--clients", "2"]);
    golden.holds("ping", &["ping"]);
    golden.operating(&["--since", "1h"]);
    golden.holds("verify", &["verify"]);
    golden.holds("compact_log", &["compact", "log"]);
    golden.holds("transfer", &["leader", "transfer"]);
    golden.holds("drain", &["drain", "n1"]);
    golden.holds("status", &["status"]);
    golden.holds("drain", &["drain", "n1", "--undo"]);
    golden.holds("members", &["member", "ls"]);
    golden.holds("member", &["member", "remove", "n1", "-n"]);
    golden.holds("member", &["member", "add", "n9", "--addr", "127.0.0.1:1", "--id", "9", "--no-wait"]);
    golden.holds("members", &["member", "ls"]);
    golden.holds("status", &["status"]);
    golden.holds("member", &["member", "remove", "n9"]);
    golden.holds("member", &["member", "remove", "n9"]);
    golden.holds("error", &["member", "demote", "n9"]);
    golden.holds("wait", &["wait", "healthy"]);
}

/// What is said of leases.
fn hold_leases(golden: &Golden<'_>) {
    let granted = golden.holds("lease_grant", &["lease", "grant", "--ttl", "10m"]);
    let lease = granted["id"].as_str().unwrap();
    golden.holds("set", &["set", "held", "v", "--lease", lease]);
    golden.holds("set", &["set", "own", "v", "--ttl", "7d", "--prev"]);
    golden.holds("get", &["get", "held"]);
    golden.holds("range", &["get", "--prefix", "held"]);
    golden.lines(&["get", "--prefix", "own"]);
    golden.holds("watched", &["watch", "held", "--from", "0", "--until", "1"]);
    golden.holds("lease", &["lease", "show", lease]);
    golden.holds("lease", &["lease", "show", "1"]);
    golden.holds("leases", &["lease", "ls"]);
    golden.lines(&["lease", "ls"]);
    golden.holds("lease_renew", &["lease", "renew", lease]);
    golden.holds("lease_revoke", &["lease", "revoke", lease]);
    golden.holds("lease_renew", &["lease", "renew", lease]);
    golden.holds("set", &["set", "held", "v", "--lease", lease]);
}

#[test]
fn the_validator_sees_what_is_wrong() {
    let schema: Value = serde_json::from_str(
        r#"{"type":"object","properties":{"a":{"type":["integer","null"]},"b":{"enum":["x"]},"s":{"const":"y"},
            "l":{"type":"array","items":{"type":"object","properties":{"c":{"type":"string"}},"required":["c"]}}},
            "required":["s"],"anyOf":[{"required":["a"]},{"required":["b"]}]}"#,
    )
    .unwrap();
    let faults = |text: &str| faults_in(&schema, &serde_json::from_str(text).unwrap()).len();
    assert_eq!(faults(r#"{"s":"y","a":null,"l":[{"c":"z"}]}"#), 0);
    for bad in [
        r#"{"s":"y","a":1.5}"#,
        r#"{"s":"z","a":1}"#,
        r#"{"a":1}"#,
        r#"{"s":"y"}"#,
        r#"{"s":"y","b":"w"}"#,
        r#"{"s":"y","a":1,"more":1}"#,
        r#"{"s":"y","a":1,"l":[{}]}"#,
        r#"{"s":"y","a":1,"l":[{"c":1}]}"#,
    ] {
        assert_eq!(faults(bad), 1, "{bad}");
    }
    let unknown = serde_json::json!({"pattern": "x"});
    assert!(std::panic::catch_unwind(|| faults_in(&unknown, &Value::Null)).is_err());
}
