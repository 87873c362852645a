//! Golden scripts: each file under `tests/scripts` drives a cluster from plain text and holds the trace that must
//! come out. Read them as documentation. `UPDATE_GOLDENFILES=1 cargo test -p raft --test scripts` writes the traces
//! anew; a new trace is kept only after reading it.
//!
//! Commands: `cluster N [setting=value]`, `disk ID term=T [vote=V] POSITION...` (the server restarts from this disk),
//! `tick ID [count=N]`, `campaign ID`, `elect ID`, `deliver|drop|double [from=ID] [to=ID] [kind=NAME] [count=N]`,
//! `settle`, `isolate ID`, `heal`, `slow ID`, `fast ID`, `sync ID`, `crash ID`, `start ID [applied=I]`,
//! `discard ID I`, `arrive ID [from=ID]`, `lose ID [from=ID]` (the state on its way to a server arrives, or does not),
//! `join ID` (a server with an empty disk), `change ID [add|promote|demote|remove ID]...`, `members [ID...]`,
//! `transfer ID [to=ID]`, `reluctant ID`, `willing ID`, `propose ID TEXT...`, `read ID READ`, `unreachable ID PEER`,
//! `status [ID...]`. A command in parentheses prints nothing. Nothing moves by itself: messages wait to be delivered, and
//! only `settle` and `elect` deliver all.

#[path = "support/cluster.rs"]
mod cluster;
#[path = "support/script.rs"]
mod script;

use std::path::Path;

use script::Script;

fn run_all(folder: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts").join(folder);
    let mut count = 0;
    for file in std::fs::read_dir(folder).expect("the folder of scripts") {
        let file = file.expect("a script").path();
        goldenscript::run(&mut Script::default(), &file)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        count += 1;
    }
    assert!(count >= 5, "only {count} scripts were found");
}

#[test]
fn election() {
    run_all("election");
}

#[test]
fn append() {
    run_all("append");
}

#[test]
fn commit() {
    run_all("commit");
}

#[test]
fn read() {
    run_all("read");
}

#[test]
fn snapshot_scripts() {
    run_all("snapshot");
}

#[test]
fn restart() {
    run_all("restart");
}

#[test]
fn transfer_scripts() {
    run_all("transfer");
}

#[test]
fn members() {
    run_all("members");
}
