//! `batch`: results in order, exit codes, what may overtake what, and the same batch twice.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::trial::{Ran, Trial};

fn lines(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn results_come_in_the_order_of_the_lines() {
    let trial = Trial::start(3);
    // Of one key each sees the one before; of other keys many are on the way between them.
    let mut text = String::new();
    for number in 0..300 {
        let _ = writeln!(text, "incr n; set k{number} {number}; get k{number}; get n");
    }
    text += "txn --then 'prefix k'\ndel --prefix k\nexists k7\nget n";
    let ran = trial.kvctl_with(&["batch"], text.as_bytes());
    let all = lines(&ran);
    assert_eq!((ran.code, all.len()), (Some(1), 1205), "{}", ran.err);
    for (number, results) in all[..1200].chunks(4).enumerate() {
        let [incr, set, get, n] = results else { panic!("four a line") };
        assert!(results.iter().all(|result| result["line"] == number + 1 && result["exit"] == 0));
        assert_eq!(
            (&incr["result"]["number"], &set["result"]["applied"]),
            (&(number + 1).into(), &true.into())
        );
        assert_eq!(get["result"]["value"], number.to_string());
        assert_eq!(n["result"]["value"], (number + 1).to_string());
    }
    assert_eq!(
        all[1200]["result"]["results"][0]["rows"].as_array().unwrap().len(),
        300,
        "all before it are done"
    );
    assert_eq!((&all[1201]["result"]["count"], &all[1202]["exit"]), (&300.into(), &1.into()));
    assert_eq!(all[1203]["result"]["value"], "300");
    let end = &all[1204];
    assert_eq!(
        (&end["count"], &end["ok"], &end["no"], &end["exit"]),
        (&1204.into(), &1203.into(), &1.into(), &1.into())
    );
}

#[test]
fn the_code_is_of_all_of_it_or_of_the_first_that_fails() {
    let trial = Trial::start(1);
    let code = |words: &[&str], text: &str| {
        let ran = trial.kvctl_with(&[&["batch"], words].concat(), text.as_bytes());
        let end = lines(&ran).pop().unwrap();
        assert_eq!((&end["type"], end["exit"].as_i64()), (&"end".into(), ran.code.map(i64::from)), "{ran:?}");
        (ran.code.unwrap(), end)
    };
    assert_eq!(code(&[], "# nothing\n\n").0, 0);
    assert_eq!(code(&[], "set a 1\nget a").0, 0);
    assert_eq!(code(&[], "set a 1\nget none\nset a 2 --if-rev 1").0, 1);
    let (partial, end) = code(&[], "set a text\nincr a\nset b 2\nnonsense\nset c 3");
    assert_eq!(
        (partial, &end["ok"], &end["failed"], &end["stopped"]),
        (10, &3.into(), &2.into(), &false.into())
    );
    assert_eq!(trial.kvctl(&["get", "c"]).text(), "3", "what comes after is done");
    assert_eq!(code(&[], "incr a\nincr a").0, 8, "nothing was done");

    let (stopped, end) = code(&["--stop-on-error"], "set d 4\nget none\nincr a\nset d 5\nnonsense");
    assert_eq!((stopped, &end["count"], &end["stopped"]), (8, &3.into(), &true.into()));
    assert_eq!(trial.kvctl(&["get", "d"]).text(), "4", "nothing after it was begun");
    assert_eq!(code(&["--stop-on-error"], "set d 6\nnonsense").0, 2);
    assert_eq!(code(&["-e", "127.0.0.1:1", "-t", "300ms"], "set d 7\nget d").0, 3);
    assert_eq!(trial.kvctl(&["batch", "-f", "/none/file"]).code, Some(12));
}

#[test]
fn the_same_batch_under_one_id_is_done_once() {
    let mut trial = Trial::start(3);
    let (_, mark) = trial.json(&["set", "mark", "begun"]);
    let id = mark["request_id"].as_str().unwrap().to_owned();
    let batch = trial.file("batch", "incr n; incr n 10\nincr m\n".repeat(100).as_bytes());
    let run = |trial: &Trial| {
        let ran = trial.kvctl(&["batch", "-f", &batch, "--request-id", &id, "-t", "15s"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
        let mut all = lines(&ran);
        assert_eq!(all.pop().unwrap()["ok"], 300);
        all
    };
    let first = run(&trial);
    assert!(first.iter().all(|line| line["result"]["deduplicated"] == false));
    let leader = trial.leader();
    trial.cluster.kill(leader);
    let second = run(&trial);
    assert!(second.iter().all(|line| line["result"]["deduplicated"] == true));
    let told = |all: &[Value]| -> Vec<Value> {
        all.iter()
            .flat_map(|line| [line["result"]["number"].clone(), line["result"]["rev"].clone()])
            .collect()
    };
    assert_eq!(told(&first), told(&second), "what it heard first it hears again");
    assert_eq!(trial.kvctl(&["get", "n"]).text(), "1100");
    assert_eq!(trial.kvctl(&["get", "m"]).text(), "100");
}

#[test]
fn a_program_can_wait_for_each_result() {
    let trial = Trial::start(1);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kvctl"));
    command.env_clear().env("HOME", trial.home()).env("KVCTL_CONTEXT", trial.cluster.context());
    let mut child =
        command.args(["batch", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut out) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
    for number in 1..=20 {
        writeln!(input, "incr n").unwrap();
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["result"]["number"], number);
    }
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_shell_runs_a_batch_of_a_file_and_keeps_its_own_lines() {
    let trial = Trial::start(1);
    let batch = trial.file("batch", b"set a 1\nget a");
    let ran = trial.kvshell(&["-x", &format!("batch -f {batch}; get a")], "");
    assert_eq!((ran.code, ran.text().lines().count()), (Some(0), 4), "{ran:?}");
    for words in ["batch", "set k --file -", "import -", "txn --file -"] {
        let ran = trial.kvshell(&[], &format!("{words}\nget a\n"));
        assert!(ran.code == Some(2) && ran.err.contains("come from"), "{words}: {ran:?}");
        assert_eq!(ran.text(), "1", "the lines after it are the shell's");
    }
}
