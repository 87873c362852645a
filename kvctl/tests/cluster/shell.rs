//! What kvshell has beyond kvctl's commands: words of its own, transactions of several lines, contexts that change under
//! it. Each is typed as a script would; a terminal adds colour and a prompt.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    process::{Command, Stdio},
};

use testkit::programs;

use crate::trial::Trial;

#[test]
fn words_of_the_shell_set_what_lines_do_not_say() {
    let trial = Trial::start(1);
    let shell = |text: &str| trial.kvshell(&["-x", text], "");
    assert_eq!(trial.kvctl(&["set", "k", "v"]).code, Some(0));

    let ran = shell("\\consistency stale; get k -o json; \\consistency linearizable; get k -o json");
    let levels: Vec<String> = ran
        .text()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["consistency"].to_string())
        .collect();
    assert_eq!(levels, ["\"stale\"", "\"linearizable\""]);
    let ran = shell("\\consistency stale; get k --consistency linearizable -o json");
    assert!(ran.text().contains("\"consistency\":\"linearizable\""), "a line goes first: {ran:?}");

    let ran = shell("\\format json; exists k; \\format auto; exists k; \\format plain; exists k");
    let lines: Vec<String> = ran.text().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with('{') && lines[1..] == ["yes", "yes"], "{ran:?}");

    let ran = shell("\\timing on; exists k; \\timing off; exists k");
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "yes\nyes\n"));
    assert!(ran.err.ends_with("ms\n") && ran.err.lines().count() == 1, "{ran:?}");

    for (wrong, why) in [
        ("\\consistency lease", "`lease` is no consistency"),
        ("\\format yaml", "`yaml` is no format"),
        ("\\timing maybe", "on or off"),
        ("\\timing | cat", "nothing for a pipe"),
        ("\\watch", "wants a command"),
        ("\\watch nonsense", "wants a command"),
        ("\\watch 5 status", "a duration is"),
        ("\\watch 1s get 'k", "not closed"),
    ] {
        let ran = shell(wrong);
        assert!(ran.code == Some(2) && ran.out.is_empty() && ran.err.contains(why), "{wrong}: {ran:?}");
    }
}

#[test]
fn a_transaction_of_several_lines_is_one() {
    let trial = Trial::start(1);
    let shell = |input: &str| trial.kvshell(&["-q"], input);
    let ran = shell("begin\nif absent(a)\nset a '1; 2'\nset b 2\nelse get a\ncommit\nget a\n");
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.text().ends_with("1; 2"), "{ran:?}");
    assert!(trial.json(&["get", "a"]).1["mod_rev"] == trial.json(&["get", "b"]).1["mod_rev"]);

    let ran = shell("begin\nif absent(a)\nset a 3\nelse get a\ncommit | wc -l\n");
    assert_eq!((ran.code, ran.text().trim()), (Some(1), "1"), "the else branch: {ran:?}");
    let ran = shell("begin\nset a 4\nrollback\nget a\n");
    assert_eq!((ran.code, ran.text().as_str()), (Some(0), "1; 2"));
    let ran = shell("begin\nset a 4\n");
    assert!(ran.code == Some(2) && ran.err.contains("nothing of it was done"), "{ran:?}");
    for refused in ["nonsense", "if rev(a)5", "get a | cat", "begin", "\\nonsense", "\\context none"] {
        let ran = shell(&format!("begin\n{refused}\nset a 5\ncommit\nget a\n"));
        assert_eq!((ran.code, ran.text().as_str()), (Some(2), "1; 2"), "{refused}: {ran:?}");
        assert!(ran.err.contains("a line of the transaction was refused"), "{refused}: {ran:?}");
    }
    let ran = shell("begin\nnonsense\ncommit\nbegin\nset a 5\ncommit\nget a\n");
    assert_eq!((ran.code, ran.text().ends_with('5')), (Some(2), true), "the next is another: {ran:?}");
    for stray in ["commit", "rollback"] {
        let ran = shell(stray);
        assert!(ran.code == Some(2) && ran.err.contains("no transaction is open"), "{ran:?}");
    }
}

#[test]
fn a_watched_command_is_run_until_nobody_reads_it() {
    let trial = Trial::start(1);
    assert_eq!(trial.kvctl(&["set", "n", "0"]).code, Some(0));
    let mut shell = Command::new(programs::path("kvshell"))
        .args(["-o", "plain", "-x", "\\watch 1ms incr n; set after watch"])
        .env_clear()
        .env("HOME", trial.home())
        .env("KVCTL_CONTEXT", trial.cluster.context())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(shell.stdout.take().unwrap()).lines();
    for want in 1..=3 {
        assert_eq!(lines.next().unwrap().unwrap(), want.to_string());
    }
    drop(lines);
    assert_eq!(shell.wait().unwrap().code(), Some(141));
    assert_eq!(trial.kvctl(&["exists", "after"]).code, Some(1), "a script ends with its reader");
}

#[test]
fn local_commands_get_the_whole_line() {
    let trial = Trial::start(1);
    let ran = trial.kvshell(&[], "!echo a; echo 'b|c' | tr b d\n!exit 9\n");
    assert_eq!((ran.code, ran.text().as_str()), (Some(9), "a\nd|c\n"));
}

/// A context of this name for the trial's cluster, somewhere under its home.
fn context(trial: &Trial, folder: &str, protected: bool) -> String {
    let text = fs::read_to_string(trial.cluster.context()).unwrap();
    fs::create_dir_all(trial.home().join(folder)).unwrap();
    let mark = if protected { "protected = true\n" } else { "" };
    trial.file(&format!("{folder}/prod.kvctx"), format!("{mark}{text}").as_bytes())
}

#[test]
fn writable_is_one_file_and_not_all_of_its_name() {
    let trial = Trial::start(1);
    let (own, other) = (context(&trial, "a", true), context(&trial, "b", true));
    let shell = |text: &str| trial.kvshell(&["-C", &own, "-x", text], "");
    let ran = shell(&format!("\\writable prod; set -q k v; set k w -C {other}; get k"));
    assert!(ran.code == Some(11) && ran.text() == "v" && ran.err.contains("KV-1120"), "{ran:?}");
    let way = own.replace("/a/prod", "/a/../a/prod");
    let ran = shell(&format!("\\writable prod; set -q k x -C {way}; get k"));
    assert_eq!(ran.told(), (0, "x".into(), ""), "the same file by another way");
    let ran = shell(&format!("\\writable prod; \\context {other}; set k y; get k"));
    assert!(ran.code == Some(11) && ran.text() == "x", "what was allowed there is not allowed here: {ran:?}");

    let text = fs::read_to_string(&own).unwrap();
    let replaced = text.replacen("endpoints = [", "endpoints = [\"127.0.0.1:1\", ", 1);
    assert_ne!(replaced, text);
    let replaced = trial.file("replaced", replaced.as_bytes());
    let ran = shell(&format!("\\writable prod\n!cp {replaced} {own}\nset k z -C {way}\nget k"));
    assert!(ran.code == Some(11) && ran.text() == "x" && ran.err.contains("KV-1120"), "replaced: {ran:?}");
}

#[test]
fn a_context_that_is_replaced_is_used_as_it_is_now() {
    let (trial, other) = (Trial::start(1), Trial::start(1));
    assert_eq!(other.kvctl(&["set", "k", "other"]).code, Some(0));
    let admin = trial.cluster.context().display().to_string();
    for words in [&["import", &admin, "--name", "prod"][..], &["use", "prod"]] {
        assert_eq!(trial.kvctl(&[&["context"], words].concat()).code, Some(0));
    }
    let there = other.cluster.context().display().to_string();
    for how in [&["-C", "prod"][..], &[]] {
        let text = format!(
            "set -q k own; get k; context import -q {there} --name prod --replace; get k; \
             context import -q {admin} --name prod --replace; get k"
        );
        let ran = trial.kvshell_selected(&[how, &["-x", &text]].concat());
        assert_eq!(ran.told(), (0, "ownotherown".into(), ""), "{how:?}");
    }
    let text = format!("get k; \\context {there}; get k; \\context prod; get k; \\context none; get k");
    let ran = trial.kvshell_selected(&["-x", &text]);
    assert_eq!((ran.code, ran.text().as_str()), (Some(2), "ownotherownown"), "{ran:?}");
}
