//! Backups against fake servers over the real transport: blocks, streams that end in the middle, nodes that are busy.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fake/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod fake;

use std::{future::Future, time::Duration};

use client::{Client, Error, Saving};
use fake::{CLUSTER, Fake, Pki, Reaction, settings};
use protocol::{
    Refused,
    snapshot::{Checker, End, Filling, Head, SaveFrame, Summary, Table},
    version::STATE_FORMAT_PLAIN,
};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test did not end");
    });
}

/// The blocks of a state without keys.
fn blocks() -> Vec<Vec<u8>> {
    let facts = [
        ("changes_hash", 0),
        ("cluster", u128::from_be_bytes(CLUSTER.0)),
        ("format", u128::from(STATE_FORMAT_PLAIN)),
        ("history_floor", 2),
        ("index", 9),
        ("memory", 12),
        ("rows_hash", 0),
        ("stamp", 5),
        ("term", 3),
        ("window_age", 22),
        ("window_bytes", 33),
        ("window_changes", 11),
    ];
    let mut meta = Filling::new(Table::Meta);
    for (name, value) in facts {
        meta.push(name.as_bytes(), &u128::to_le_bytes(value));
    }
    let blocks = vec![Head::new(CLUSTER, 9, 3).encode(), meta.seal()];
    let end = End { blocks: 2, pairs: facts.len() as u64, sum: Checker::sum(&blocks) }.encode();
    blocks.into_iter().chain([end]).collect()
}

fn whole() -> Vec<SaveFrame> {
    blocks().into_iter().map(SaveFrame::Block).collect()
}

/// All bytes that come, and how it ended.
async fn all(mut saving: Saving) -> (Vec<u8>, Result<Summary, Error>) {
    let mut bytes = Vec::new();
    loop {
        match saving.next().await {
            Ok(Some(block)) => bytes.extend(block),
            Ok(None) => return (bytes, Ok(saving.summary().unwrap().clone())),
            Err(error) => return (bytes, Err(error)),
        }
    }
}

/// What a client gets of one fake that answers its first save, its second and so on with these.
async fn saved(answers: Vec<Vec<SaveFrame>>) -> (Vec<u8>, Result<Summary, Error>) {
    let pki = Pki::new();
    let node = Fake::start(&pki, 1, &[]);
    let mut answers = answers.into_iter();
    node.on(move |_| answers.next().map_or(Reaction::Ignore, Reaction::Blocks));
    let client = Client::new(settings(&pki, &[&node.address]));
    all(client.save()).await
}

#[test]
fn blocks_come_until_the_end() {
    run(async {
        let (bytes, ended) = saved(vec![whole()]).await;
        assert_eq!(bytes, blocks().concat());
        assert_eq!(ended.unwrap().head, Head::new(CLUSTER, 9, 3));
    });
}

#[test]
fn a_node_that_is_busy_is_asked_again() {
    run(async {
        let busy = || vec![SaveFrame::Refused(Refused::Busy { what: "x".into() })];
        assert!(saved(vec![busy(), busy(), whole()]).await.1.is_ok());
    });
}

#[test]
fn what_has_no_end_or_is_damaged_is_cut_off_and_never_whole() {
    run(async {
        let mut short = whole();
        short.pop();
        let mut damaged = whole();
        let SaveFrame::Block(block) = &mut damaged[1] else { panic!() };
        block[40] ^= 1;
        let cut = vec![whole().remove(0), SaveFrame::Cut("a backup may take 0 s".into())];
        for (answer, word) in [
            (short, "the stream ended before the backup"),
            (damaged, "does not check"),
            (cut, "may take 0 s"),
        ] {
            let (_, ended) = saved(vec![answer]).await;
            let Err(Error::Cut { why, shown: 0, revision: Some(9), after: None }) = ended else {
                panic!("{ended:?}")
            };
            assert!(why.contains(word), "{why}");
        }
    });
}
