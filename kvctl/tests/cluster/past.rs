//! The past: `get --rev` and `--at`, `history`, `revert`, `retention`.

use serde_json::Value;

use crate::trial::{Ran, Trial};

/// The revision that a write said it made.
fn revision(ran: &Ran) -> u64 {
    let text = ran.text();
    let number = text.split('\t').nth(1).and_then(|cell| cell.trim_end().strip_prefix("rev "));
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("{ran:?}"))
}

fn said(ran: &Ran) -> (i32, String, String) {
    let (code, out, err) = ran.told();
    (code, out, err.to_owned())
}

#[test]
fn a_key_is_read_listed_and_reverted_as_it_was() {
    let trial = Trial::start(3);
    let run = |words: &[&str]| trial.kvctl(words);
    let first = revision(&run(&["set", "app/mode", "blue"]));
    let second = revision(&run(&["set", "app/mode", "green"]));
    let other = revision(&run(&["set", "app/other", "x"]));
    let gone = revision(&run(&["del", "app/mode"]));
    let [first, second, other, gone] = [first, second, other, gone].map(|revision| revision.to_string());

    assert_eq!(run(&["get", "app/mode", "--rev", &first]).told(), (0, "blue".into(), ""));
    assert_eq!(run(&["get", "app/mode", "--rev", &other]).told(), (0, "green".into(), ""));
    assert_eq!(run(&["get", "app/mode", "--rev", &gone]).told().0, 1);
    assert_eq!(run(&["get", "app/mode", "--rev", "0"]).told(), (1, String::new(), "no such key: app/mode\n"));
    assert_eq!(run(&["get", "app/mode", "--rev", "0", "--default", "d"]).text(), "d");
    let (code, json) = trial.json(&["get", "app/mode", "--rev", &second]);
    assert_eq!((code, &json["value"], json["rev"].to_string()), (0, &"green".into(), second.clone()));
    let many = said(&run(&["get", "--prefix", "app/", "--rev", &second]));
    assert_eq!(many, (0, "app/mode\tgreen\n".into(), String::new()));
    assert_eq!(run(&["get", "--prefix", "app/", "--rev", &other, "--count"]).text(), "2\n");
    assert_eq!(run(&["get", "--prefix", "app/", "--at", "0s", "--keys"]).text(), "app/other\n");
    assert_eq!(run(&["get", "app/mode", "--at", "1d"]).told().0, 1, "a day ago there was nothing");

    let plain = run(&["history", "app/mode"]).text();
    let rows: Vec<Vec<&str>> = plain.lines().map(|line| line.split('\t').collect()).collect();
    let shown: Vec<_> = rows.iter().map(|row| row[..4].join(" ")).collect();
    let want = [format!("{gone} delete - -"), format!("{second} put green 2"), format!("{first} put blue 1")];
    assert_eq!(shown, want);
    assert!(rows.iter().all(|row| row[4].ends_with('s')), "{plain}");
    let table = run(&["history", "app/mode", "-o", "table", "--limit", "1"]);
    assert!(table.text().starts_with("REV  TYPE    VALUE  VERSION  AGE\n"), "{table:?}");
    assert!(table.err.contains("there is more: 1 versions were wanted"), "{table:?}");
    assert_eq!(said(&run(&["history", "none"])), (1, String::new(), "no such key: none\n".into()));
    let (_, json) = trial.json(&["history", "app/mode"]);
    assert_eq!((json["rows"][0]["event"].as_str(), json["count"].as_u64()), (Some("delete"), Some(3)));
    assert!(json["rows"][2]["time"].as_str().unwrap().ends_with('Z'), "{json}");

    let reverted = run(&["revert", "app/mode", "--to", &other]);
    assert!(reverted.text().contains(&format!("as at rev {other}, written at {second}")), "{reverted:?}");
    assert_eq!(run(&["get", "app/mode"]).text(), "green");
    let removed = run(&["revert", "app/mode", "--to", &gone]);
    assert!(removed.text().starts_with("deleted\trev "), "{removed:?}");
    assert_eq!(run(&["exists", "app/mode"]).told().0, 1);
    let (code, json) = trial.json(&["revert", "app/other", "--at", "0s"]);
    assert_eq!((code, &json["found"], &json["applied"]), (0, &true.into(), &true.into()));
    let piped = trial.kvshell(&["-x", &format!("revert app/mode --to {first}; get app/mode")], "");
    assert!(piped.text().ends_with("blue"), "{piped:?}");
}

#[test]
fn what_is_no_longer_kept_is_refused_with_the_oldest_that_there_is() {
    let mut trial = Trial::start(3);
    let first = revision(&trial.kvctl(&["set", "k", "0"]));
    let kept = trial.kvctl(&["retention", "-o", "table"]);
    assert!(kept.text().contains("at most  1000000  256.0M  1d"), "{kept:?}");
    let set = trial.kvctl(&["retention", "--changes", "3"]);
    assert!(set.text().contains("the oldest revision that can be read is"), "{set:?}");
    let writes: Vec<u64> = (1..9).map(|n| revision(&trial.kvctl(&["set", "k", &n.to_string()]))).collect();
    let oldest = writes[4].to_string();
    let first = first.to_string();
    for words in [&["get", "k", "--rev", &first][..], &["get", "--prefix", "", "--rev", &first]] {
        let refused = trial.kvctl(words);
        assert_eq!(refused.code, Some(8), "{refused:?}");
        assert!(
            refused.err.contains("KV-0812") && refused.err.contains(&format!("oldest revision is {oldest}"))
        );
    }
    let refused = trial.kvctl(&["revert", "k", "--to", &first]);
    assert!(refused.code == Some(8) && refused.err.contains("KV-0812"), "{refused:?}");
    assert_eq!(trial.kvctl(&["get", "k", "--rev", &oldest]).text(), "5");
    let ahead = trial.kvctl(&["get", "k", "--rev", "1000000"]);
    assert!(ahead.code == Some(8) && ahead.err.contains("is not written yet"), "{ahead:?}");

    let (_, json) = trial.json(&["retention"]);
    let of = |name: &str| json[name].as_u64().unwrap();
    assert_eq!((of("changes"), of("most_changes"), of("oldest_rev").to_string()), (3, 3, oldest));
    assert_eq!(trial.kvctl(&["retention", "--changes", "10000001"]).code, Some(8));
    assert_eq!(trial.kvctl(&["retention", "--age", "1y"]).code, Some(2));
    let lines = trial.kvctl(&["history", "k", "-o", "ndjson"]).text();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 5, "three changes, what was there before them, the end");
    assert_eq!((&lines[3]["value"], &lines[3]["age_ms"]), (&"5".into(), &Value::Null));

    let all: Vec<usize> = (1..=trial.cluster.size()).collect();
    trial.cluster.kill_all(&all);
    trial.cluster.revive();
    assert_eq!(trial.kvctl(&["get", "k", "--rev", &writes[5].to_string()]).text(), "6");
}

#[test]
fn a_time_on_the_wall_is_a_moment_as_well() {
    let trial = Trial::start(3);
    let run = |words: &[&str]| trial.kvctl(words);
    run(&["set", "k", "blue"]);
    run(&["set", "k", "green"]);
    run(&["del", "k"]);
    let ran = run(&["history", "k", "-o", "ndjson"]).text();
    let time =
        |line: &str| serde_json::from_str::<Value>(line).unwrap()["time"].as_str().map(ToOwned::to_owned);
    let times: Vec<String> = ran.lines().filter_map(time).collect();
    let [gone, green, blue] = &times[..] else { panic!("{ran}") };
    assert_eq!(run(&["get", "k", "--at", blue]).text(), "blue");
    assert_eq!(run(&["get", "k", "--at", green]).text(), "green");
    assert_eq!(run(&["get", "--prefix", "k", "--at", green, "--count"]).text(), "1\n");
    assert_eq!(run(&["get", "k", "--at", gone]).code, Some(1));
    assert_eq!(run(&["get", "k", "--at", "2001-02-03T04:05:06+01:00"]).code, Some(1), "before all of it");
    assert_eq!(run(&["get", "k", "--at", "2001-02-03"]).code, Some(2));
    run(&["revert", "k", "--at", blue]);
    assert_eq!(run(&["get", "k"]).text(), "blue");
}

#[test]
fn a_stale_read_may_have_a_bound() {
    let trial = Trial::start(3);
    trial.kvctl(&["set", "k", "v"]);
    let id = trial.followers()[0];
    let others: Vec<usize> = (1..=3).filter(|other| *other != id).collect();
    let at = trial.cluster.address(id);
    let read = |words: &[&str]| {
        let level = ["get", "k", "--consistency", "stale", "-e", at];
        trial.json(&[&level[..], words].concat())
    };
    let by = format!("{id:x}");
    let (code, fresh) = read(&["--max-staleness", "60s"]);
    assert_eq!(
        (code, &fresh["value"], &fresh["served_by"]),
        (0, &"v".into(), &by.as_str().into()),
        "{fresh}"
    );
    assert!(fresh["staleness_ms"].as_u64().unwrap() < 60_000, "it has asked: {fresh}");
    trial.pause(&others);
    let (code, known) = read(&["--max-staleness", "60s"]);
    assert_eq!((code, &known["served_by"]), (0, &by.as_str().into()), "it need not ask: {known}");
    let (code, refused) = read(&["--max-staleness", "1ms", "-t", "700ms"]);
    assert!(matches!(code, 4 | 5) && refused["applied"] == "no", "nobody can say so: {refused}");
    let (code, keys) =
        trial.json(&["get", "--prefix", "", "--consistency", "stale", "--max-staleness", "60s", "-e", at]);
    assert_eq!((code, &keys["count"]), (0, &1.into()), "{keys}");
    let many =
        ["get", "--prefix", "", "--consistency", "stale", "--max-staleness", "1ms", "-t", "700ms", "-e", at];
    assert!(matches!(trial.kvctl(&many).code, Some(4 | 5)));
    let (code, any) = read(&[]);
    assert_eq!((code, &any["value"]), (0, &"v".into()), "without a bound anything will do: {any}");
    trial.resume(&others);
    let (code, again) = read(&["--max-staleness", "0s", "-t", "15s"]);
    assert_eq!((code, &again["value"]), (0, &"v".into()), "{again}");
    assert_eq!(trial.json(&["get", "k"]).1["staleness_ms"], 0);
}
