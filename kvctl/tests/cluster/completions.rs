//! Keys and nodes behind TAB: what the completion scripts of kvctl offer, and what a dead cluster costs.

use std::{process::Command, time::Duration};

use crate::trial::Trial;

/// What the program answers to a script about this line.
fn offered(trial: &Trial, line: &str) -> Vec<String> {
    let mut kvctl = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    kvctl.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
    let ran = kvctl.env("_KVCTL_OFFER", line).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// What bash makes of that at the end of this line; `word` is the last one as bash breaks it.
fn completed(trial: &Trial, line: &str, word: &str) -> Vec<String> {
    let ask = format!(
        "source <(kvctl completion bash); COMP_WORDS=(kvctl); COMP_CWORD=1; COMP_LINE={}; \
         COMP_POINT=${{#COMP_LINE}}; _kvctl kvctl {} before; printf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted(line),
        quoted(word),
    );
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_kvctl")).parent().unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    bash.args(["--norc", "-c", &ask]).env("HOME", trial.home()).env("PATH", path);
    let ran = bash.env("KVCTL_CONTEXT", trial.cluster.context()).output().unwrap();
    assert!(ran.status.success() && ran.stderr.is_empty(), "{ran:?}");
    String::from_utf8(ran.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[test]
fn keys_and_nodes_of_the_cluster_are_offered() {
    let trial = Trial::start(3);
    let keys =
        ["app/mode", "app/owner", "app/quota/a", "app/quota/b", "ns:user=1", "with space", "tab\there"];
    for key in keys {
        assert_eq!(trial.kvctl(&["set", key, "v"]).code, Some(0));
    }
    assert_eq!(offered(&trial, "kvctl get "), ["app/", "ns:user=1", "with space"]);
    assert_eq!(offered(&trial, "kvctl get app/"), ["app/mode", "app/owner", "app/quota/"]);
    assert_eq!(offered(&trial, "sudo /usr/bin/kvctl del --prefix app/q"), ["app/quota/"]);
    assert_eq!(offered(&trial, "kvctl drain "), ["n1", "n2", "n3"]);
    assert_eq!(offered(&trial, "kvctl member remove "), ["n1", "n2", "n3"]);
    assert_eq!(offered(&trial, "kvctl leader transfer n2"), ["n2"]);
    assert_eq!(offered(&trial, "kvctl wait h"), ["healthy"], "not every script knows arguments by itself");
    for line in ["kvctl set app/mode ", "kvctl get --lim", "kvctl ", "kvctl get -C none a", "", "kvctl get x"]
    {
        assert!(offered(&trial, line).is_empty(), "{line}");
    }
    assert_eq!(completed(&trial, "kvctl get app/", "app/"), ["app/mode", "app/owner", "app/quota/"]);
    assert_eq!(completed(&trial, "kvctl get w", "w"), ["with\\ space"]);
    assert_eq!(completed(&trial, "kvctl get 'w", "'w"), ["with space"]);
    assert_eq!(completed(&trial, "kvctl get ns:us", "us"), ["user=1"], "bash has broken the word");
    assert_eq!(completed(&trial, "kvctl get k --quie", "--quie"), ["--quiet"]);
}

#[test]
fn a_large_folder_does_not_hide_what_follows_it() {
    let trial = Trial::start(1);
    let writes: Vec<String> = (0..300).map(|at| format!("set app/big/{at} v\n")).collect();
    let batches: String =
        writes.chunks(50).map(|some| ["begin\n", &some.concat(), "commit\n"].concat()).collect();
    assert_eq!(trial.kvshell(&["-q"], &(batches + "set app/zoo v\n")).code, Some(0));
    assert_eq!(offered(&trial, "kvctl get app/"), ["app/big/", "app/zoo"]);
    assert_eq!(offered(&trial, "kvctl get app/big/").len(), 256, "and no answer is longer than that");
}

#[test]
fn a_silent_cluster_costs_tab_a_moment() {
    let trial = Trial::start(3);
    let quickest = |line: &str| {
        // The least of some runs: other work on the machine is not what is measured.
        let runs = (0..5).map(|_| {
            let began = std::time::Instant::now();
            assert!(offered(&trial, line).is_empty());
            began.elapsed()
        });
        runs.min().unwrap()
    };
    trial.pause(&[1, 2, 3]);
    let took = [quickest("kvctl get "), quickest("kvctl drain x")];
    trial.resume(&[1, 2, 3]);
    assert!(took.iter().all(|took| *took < Duration::from_millis(300)), "{took:?}");
}
