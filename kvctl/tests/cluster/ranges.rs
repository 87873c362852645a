//! Many keys: `get` with a prefix, a range or a pattern, `ls`, `tree`, `export`, `import`.

use std::{
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::trial::{Ran, Trial};

const KEYS: &[(&str, &str)] =
    &[("app/mode", "blue"), ("app/quota/a", "1"), ("app/quota/b", "2"), ("apple", "red"), ("b", "x\ty")];

fn filled(size: usize) -> Trial {
    let trial = Trial::start(size);
    for (key, value) in KEYS {
        assert_eq!(trial.kvctl(&["set", key, value]).code, Some(0));
    }
    trial
}

fn said_of(ran: &Ran) -> (i32, String, String) {
    let (code, out, err) = ran.told();
    (code, out, err.to_owned())
}

fn lines(ran: &Ran) -> Vec<Value> {
    let lines = ran.text();
    lines.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
}

#[test]
fn many_keys_in_every_form_and_format() {
    let trial = filled(3);
    let plain = |words: &[&str]| said_of(&trial.kvctl(&[&["get"], words].concat()));
    let said = |text: &str| (0, text.to_owned(), String::new());
    assert_eq!(plain(&["--prefix", "app/", "--keys"]), said("app/mode\napp/quota/a\napp/quota/b\n"));
    assert_eq!(plain(&["--range", "app/quota/b", "b"]), said("app/quota/b\t2\napple\tred\n"));
    assert_eq!(plain(&["--prefix", "b"]), said("b\tx\\ty\n"));
    assert_eq!(plain(&["--glob", "app/*", "--keys"]), said("app/mode\n"));
    assert_eq!(plain(&["--glob", "**/[ab]", "--count"]), said("2\n"));
    assert_eq!(plain(&["--prefix", "", "--count"]), said("5\n"));
    assert_eq!(plain(&["--prefix", "none"]), said(""));
    assert_eq!(plain(&["--prefix", "app", "--after", "app/quota/b"]), said("apple\tred\n"));
    let limited = plain(&["--glob", "app/**", "--limit", "2", "--keys"]);
    let more = "there is more: 2 rows were wanted\n";
    assert_eq!(limited, (0, "app/mode\napp/quota/a\n".into(), more.into()));
    assert_eq!(plain(&["--prefix", "app/", "--limit", "3", "--keys", "-q"]).2, "");
    assert_eq!(plain(&["--prefix", "b", "--consistency", "stale"]), said("b\tx\\ty\n"));

    let table = trial.kvctl(&["get", "--prefix", "app/quota", "--meta", "-o", "table"]).text();
    assert!(table.starts_with("KEY          VALUE  REV"), "{table}");
    assert!(table.contains("\napp/quota/a  1      "), "{table}");

    let (code, json) = trial.json(&["get", "--prefix", "app/", "--limit", "2"]);
    assert_eq!((code, &json["schema"], &json["more"]), (0, &"kvctl.range/v1".into(), &true.into()));
    assert_eq!(json["rows"][1]["key"], "app/quota/a");
    let streamed = lines(&trial.kvctl(&["get", "--prefix", "app/", "-o", "ndjson"]));
    let kinds: Vec<_> = streamed.iter().map(|line| line["type"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["row", "row", "row", "end"]);
    assert_eq!((&streamed[0]["value"], &streamed[3]["count"]), (&"blue".into(), &3.into()));

    let piped = trial.kvshell(&["-x", "get --prefix app/ --keys | wc -l; get --glob 'b'"], "");
    assert_eq!((piped.code, piped.text().trim()), (Some(0), "3\nb\tx\\ty"));
}

#[test]
fn keys_are_listed_and_drawn_as_paths() {
    let trial = filled(1);
    let ls = said_of(&trial.kvctl(&["ls"]));
    assert_eq!(ls, (0, "app/\t3\napple\t1\nb\t1\n".into(), String::new()));
    let ls = said_of(&trial.kvctl(&["ls", "app/", "-o", "table"]));
    assert_eq!(ls, (0, "NAME        KEYS\napp/mode    1\napp/quota/  2\n".into(), String::new()));
    let tree = said_of(&trial.kvctl(&["tree", "-o", "table"]));
    assert_eq!(tree, (0, "app/\n  mode\n  quota/\n    a\n    b\napple\nb\n".into(), String::new()));
    let tree = trial.kvctl(&["tree", "--depth", "2", "-o", "table"]).text();
    assert_eq!(tree, "app/\n  mode\n  quota/ (2)\napple\nb\n");
    let (_, json) = trial.json(&["tree", "app/", "--depth", "1"]);
    assert_eq!((&json["rows"][1]["path"], &json["rows"][1]["keys"]), (&"app/quota/".into(), &2.into()));
}

#[test]
fn what_is_exported_comes_back_to_the_byte() {
    let trial = filled(1);
    let every: Vec<u8> = (0..=255).collect();
    assert_eq!(trial.kvctl(&["set", "every", "--file", &trial.file("every", &every)]).code, Some(0));
    let large = "\u{7f}\"\\".repeat(512 * 1024 / 3);
    assert_eq!(trial.kvctl_with(&["set", "large", "--file", "-"], large.as_bytes()).code, Some(0));
    let path = trial.home().join("all.ndjson");
    let file = path.to_str().unwrap();
    let exported = trial.kvctl(&["export", file]);
    assert!(exported.text().starts_with("exported 7 keys\trev "), "{exported:?}");
    let streamed = trial.kvctl(&["export", "-"]);
    assert!(streamed.out == std::fs::read(&path).unwrap(), "stdout and file have the same bytes");

    let other = Trial::start(1);
    let imported = other.kvctl(&["import", file]);
    assert!(imported.text().starts_with("imported 7 keys\trev "), "{imported:?}");
    assert!(other.kvctl(&["get", "every"]).out == every);
    assert!(other.kvctl(&["get", "large"]).out == large.as_bytes());
    let (_, again) = other.json(&["import", file, "--resume"]);
    assert_eq!(
        (&again["written"], &again["unchanged"], &again["ended"]),
        (&0.into(), &7.into(), &true.into())
    );
    assert_eq!(other.kvctl(&["del", "b"]).code, Some(0));
    let (_, again) = other.json(&["import", file, "--resume"]);
    assert_eq!((&again["written"], &again["unchanged"]), (&1.into(), &6.into()));
    assert_eq!(other.json(&["get", "every"]).1["version"], 1, "what was so already was left alone");

    let part = trial.kvctl(&["export", "--prefix", "app/", "-"]).text();
    assert_eq!(lines(&trial.kvctl(&["export", "--prefix", "app/", "-"])).len(), 4);
    let piped = other.kvctl_with(&["import", "-"], part.as_bytes());
    assert!(piped.text().starts_with("imported 3 keys"), "{piped:?}");
}

#[test]
fn a_file_that_is_not_whole_is_not_taken_for_it() {
    let trial = Trial::start(1);
    let import = |text: &str| trial.kvctl_with(&["import", "-"], text.as_bytes());
    let row = "{\"key\":\"k\",\"value\":\"v\"}\n";
    let cut = import(row);
    assert!(
        cut.code == Some(9) && cut.err.contains("KV-0901") && cut.err.contains("1 keys were written"),
        "{cut:?}"
    );
    assert_eq!(trial.kvctl_with(&["import", "-", "--no-end"], row.as_bytes()).code, Some(0));
    let short = import(&(row.to_owned() + "{\"type\":\"end\",\"count\":2}\n"));
    assert!(short.code == Some(9) && short.err.contains("line 2 of -"), "{short:?}");
    let bad = import(&(row.to_owned() + "nonsense\n"));
    assert!(bad.code == Some(9) && bad.err.contains("KV-0902"), "{bad:?}");
    let twice =
        "{\"key\":\"t\",\"value\":\"1\"}\n{\"key\":\"t\",\"value\":\"2\"}\n{\"type\":\"end\",\"count\":2}\n";
    for _ in 0..5 {
        assert_eq!(import(twice).code, Some(0));
        assert_eq!(trial.kvctl(&["get", "t"]).text(), "2", "of two lines the later decides");
    }
    assert_eq!(trial.kvctl(&["import", "/nowhere/at/all"]).code, Some(12));
    assert_eq!(trial.kvctl(&["export", "/nowhere/at/all"]).code, Some(12));
}

#[test]
fn a_scan_that_is_cut_off_has_no_end_and_says_so() {
    let mut trial = Trial::start(1);
    let value = trial.file("value", &vec![b'v'; 400 * 1024]);
    for at in 0..60 {
        assert_eq!(trial.kvctl(&["set", &format!("k{at:02}"), "--file", &value]).code, Some(0));
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
    command.args(["get", "--prefix", "k", "-o", "ndjson", "-t", "2s"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    // Longer than the idle timeout of a connection: a slow reader does not lose it.
    std::thread::sleep(std::time::Duration::from_millis(2500));
    trial.cluster.kill(1);
    let rows = out
        .lines()
        .map(Result::unwrap)
        .filter(|line| line.starts_with("{\"schema\":\"kvctl.row/v1\""))
        .count();
    assert!((1..59).contains(&rows), "{rows} rows, and no end");
    let mut failure = String::new();
    child.stderr.take().unwrap().read_to_string(&mut failure).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(10));
    let failure: Value = serde_json::from_str(&failure).unwrap();
    assert_eq!((&failure["code"], &failure["name"]), (&"KV-1001".into(), &"cut_off".into()));
    assert!(failure["hint"].as_str().unwrap().contains("--after 'k"), "{failure}");
}
