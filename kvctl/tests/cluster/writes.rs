//! Writes that are judged by what is there, against real nodes: what they say, their exit codes, and that a verdict is
//! remembered wherever and whenever it is asked for again.

use crate::trial::Trial;

fn revision(done: &str) -> u64 {
    done.trim_end().rsplit(' ').next().unwrap().parse().unwrap()
}

#[test]
fn conditions_hold_or_say_what_was_found() {
    let trial = Trial::start(3);
    let kvctl = |words: &[&str]| trial.kvctl(words);
    let first = revision(&kvctl(&["set", "k", "blue", "--if-absent"]).text());
    let refused = |words: &[&str], told: &str| {
        assert_eq!(kvctl(words).told(), (1, String::new(), &*format!("{told}\n")), "{words:?}");
    };
    refused(&["set", "k", "v", "--if-absent"], &format!("not written: k is there, at revision {first}"));
    refused(&["set", "k", "v", "--if-rev", "1"], &format!("not written: k is at revision {first}"));
    refused(
        &["set", "k", "v", "--if-value", "red"],
        &format!("not written: k has another value, at revision {first}"),
    );
    refused(&["set", "none", "v", "--if-rev", "1"], "not written: none is absent");
    refused(
        &["del", "k", "--if-value", "red"],
        &format!("not deleted: k has another value, at revision {first}"),
    );
    assert_eq!(kvctl(&["get", "k"]).text(), "blue");

    let second = kvctl(&["set", "k", "green", "--if-rev", &first.to_string()]);
    assert_eq!(second.code, Some(0), "{second:?}");
    let swapped = kvctl(&["set", "k", "red", "--if-value", "green", "--prev"]);
    assert_eq!((swapped.code, swapped.text().as_str()), (Some(0), "green"), "{swapped:?}");
    let fresh = kvctl(&["set", "new", "v", "--prev"]);
    assert!(fresh.out.is_empty() && fresh.err.ends_with("there was no value before\n"), "{fresh:?}");
    assert_eq!(kvctl(&["del", "k", "--if-value", "red", "--prev"]).text(), "red");
    refused(&["del", "k", "--prev"], "no such key: k");
    assert_eq!(trial.json(&["get", "new"]).1["version"], 1);
}

#[test]
fn counters_count_and_ranges_are_removed_as_a_whole() {
    let trial = Trial::start(1);
    let kvctl = |words: &[&str]| trial.kvctl(words);
    assert_eq!(kvctl(&["incr", "n"]).told(), (0, "1\n".into(), ""));
    assert_eq!(kvctl(&["incr", "n", "-5"]).told(), (0, "-4\n".into(), ""));
    assert_eq!(kvctl(&["get", "n"]).text(), "-4");
    let over = kvctl(&["incr", "n", "-9223372036854775808"]);
    assert!(over.code == Some(8) && over.err.contains("KV-0807"), "{over:?}");
    kvctl(&["set", "n", "four"]);
    let text = kvctl(&["incr", "n"]);
    assert!(text.code == Some(8) && text.err.contains("KV-0806"), "{text:?}");
    assert_eq!(kvctl(&["get", "n"]).text(), "four");

    for key in ["a/1", "a/2", "a/3", "b"] {
        assert_eq!(kvctl(&["set", key, "v"]).code, Some(0));
    }
    let many = kvctl(&["del", "--prefix", "a/", "--max", "2"]);
    assert!(many.code == Some(8) && many.err.contains("KV-0808"), "{many:?}");
    assert_eq!(kvctl(&["exists", "a/1"]).code, Some(0));
    assert!(kvctl(&["del", "--prefix", "a/", "--max", "3"]).text().starts_with("deleted\t3 keys\trev "));
    assert_eq!(kvctl(&["del", "--prefix", "a/"]).told(), (1, String::new(), "no keys begin with a/\n"));
    assert!(kvctl(&["del", "--range", "b", "c"]).text().starts_with("deleted\t1 key\trev "));
    assert_eq!(kvctl(&["del", "--range", "b", "a"]).code, Some(2));
}

#[test]
fn a_transaction_does_one_list_or_the_other() {
    let trial = Trial::start(3);
    let words = [
        "txn",
        "--if",
        "absent(owner)",
        "--then",
        "set owner me",
        "--then",
        "set since 'day one'",
        "--else",
        "get owner",
    ];
    assert_eq!(trial.kvctl(&words).code, Some(0));
    let (code, json) = trial.json(&words);
    assert_eq!((code, &json["branch"]), (1, &"else".into()), "{json}");
    assert_eq!((&json["results"][0]["value"], &json["results"][0]["version"]), (&"me".into(), &1.into()));
    let [owner, since] = ["owner", "since"].map(|key| trial.json(&["get", key]).1["mod_rev"].clone());
    assert_eq!(owner, since, "both were written at one revision");

    let file = br#"{"if": [{"key": "owner", "value": "me"}], "then": [{"prefix": {"prefix": ""}}, {"del": {"key": "owner"}}]}"#;
    let ran = trial.kvctl_with(&["txn", "--file", "-", "-o", "plain"], file);
    assert!(ran.code == Some(0) && ran.text().lines().count() == 3, "{ran:?}");
    assert_eq!(trial.kvctl(&["exists", "owner"]).code, Some(1));
    let bad = trial.kvctl_with(&["txn", "--file", "-"], b"{}");
    assert!(bad.code == Some(2) && bad.err.contains("does nothing"), "{bad:?}");

    let large = trial.file("large", &vec![b'v'; 400 * 1024]);
    for key in ["x1", "x2"] {
        assert_eq!(trial.kvctl(&["set", key, "--file", &large]).code, Some(0));
    }
    let much = trial.kvctl(&["txn", "--then", "set y 1", "--then", "prefix x"]);
    assert!(much.code == Some(8) && much.err.contains("KV-0809"), "{much:?}");
    assert_eq!(trial.kvctl(&["exists", "y"]).code, Some(1), "nothing of it was done");
}

#[test]
fn a_verdict_is_heard_again_at_another_node_and_after_kill_9() {
    let mut trial = Trial::start(3);
    let write = ["set", "k", "mine", "--if-absent"];
    let count = ["incr", "n", "5"];
    assert_eq!(trial.kvctl(&["set", "k", "theirs"]).code, Some(0));
    let (code, refused) = trial.json(&write);
    assert_eq!((code, &refused["applied"]), (1, &false.into()));
    let (_, counted) = trial.json(&count);
    let id = |json: &serde_json::Value| json["request_id"].as_str().unwrap().to_owned();
    let (refused_id, counted_id) = (id(&refused), id(&counted));
    assert_eq!(trial.kvctl(&["del", "k"]).code, Some(0));

    let hears_it_again = |trial: &Trial, node: usize| {
        let at = ["-e", trial.cluster.address(node), "-t", "15s"];
        let (code, again) = trial.json(&[&write[..], &["--request-id", &refused_id], &at].concat());
        assert_eq!(
            (code, &again["applied"], &again["deduplicated"]),
            (1, &false.into(), &true.into()),
            "{again}"
        );
        assert_eq!(again["prev_rev"], refused["prev_rev"], "{again}");
        let (code, again) = trial.json(&[&count[..], &["--request-id", &counted_id], &at].concat());
        assert_eq!((code, &again["number"], &again["rev"]), (0, &5.into(), &counted["rev"]), "{again}");
        assert_eq!(again["deduplicated"], true, "{again}");
    };
    for node in 1..=3 {
        hears_it_again(&trial, node);
    }
    trial.cluster.kill_all(&[1, 2, 3]);
    (1..=3).for_each(|node| trial.cluster.restart(node));
    for node in 1..=3 {
        hears_it_again(&trial, node);
    }
    assert_eq!(trial.kvctl(&["get", "n"]).text(), "5", "all of these are one addition");
    assert_eq!(trial.kvctl(&["exists", "k"]).code, Some(1), "and none of these is a write");
    let other = trial.kvctl(&["incr", "n", "6", "--request-id", &counted_id]);
    assert!(other.code == Some(8) && other.err.contains("KV-0804"), "{other:?}");
}

#[test]
fn two_retries_at_two_nodes_after_kill_9_are_one_write() {
    let mut trial = Trial::start(3);
    // A write that the leader has taken and cannot commit; where the leader gave up before it came, there is another one.
    let (leader, id) = (0..10)
        .find_map(|_| {
            let (leader, followers) = (trial.leader(), trial.followers());
            trial.pause(&followers);
            let (code, failure) = trial.json(&["set", "k", "v", "-t", "800ms"]);
            if code == 6 {
                // With the others standing still: whether it had reached any of them before shows in what they make of it.
                trial.cluster.kill(leader);
            }
            trial.resume(&followers);
            let id = failure["request_id"].as_str().map(ToOwned::to_owned);
            (code == 6).then_some((leader, id.unwrap()))
        })
        .expect("a leader alone takes a write that it cannot commit");

    let retry = |node: usize| {
        let at = trial.cluster.address(node);
        let (code, set) = trial.json(&["set", "k", "v", "--request-id", &id, "-e", at, "-t", "15s"]);
        assert_eq!((code, &set["applied"]), (0, &true.into()), "{set}");
        (set["rev"].clone(), set["deduplicated"].as_bool().unwrap())
    };
    let others: Vec<usize> = (1..=3).filter(|node| *node != leader).collect();
    let told = std::thread::scope(|scope| {
        let both = [others[0], others[1]].map(|node| scope.spawn(move || retry(node)));
        both.map(|one| one.join().unwrap())
    });
    assert_eq!(told[0].0, told[1].0, "both hear of one revision: {told:?}");
    assert!(told[0].1 || told[1].1, "at least one of them heard of what was done before: {told:?}");
    let (_, read) = trial.json(&["get", "k"]);
    assert_eq!((&read["version"], &read["mod_rev"]), (&1.into(), &told[0].0), "{read}");

    // Whoever had taken it first hears the same, and so do all after each was killed once more.
    trial.cluster.restart(leader);
    trial.cluster.kill_all(&others);
    for node in others {
        trial.cluster.restart(node);
    }
    for node in 1..=3 {
        let at = trial.cluster.address(node);
        let (code, set) = trial.json(&["set", "k", "v", "--request-id", &id, "-e", at, "-t", "15s"]);
        assert_eq!((code, &set["rev"], &set["deduplicated"]), (0, &told[0].0, &true.into()), "{set}");
    }
    let (_, read) = trial.json(&["get", "k"]);
    assert_eq!((&read["version"], &read["mod_rev"]), (&1.into(), &told[0].0), "{read}");
}
