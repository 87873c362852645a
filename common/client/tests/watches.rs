//! Watches against fake servers over the real transport: streams that break, revisions in parts, what makes no sense.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "fake/cluster.rs"]
#[allow(dead_code, reason = "other tests use the rest of it")]
mod fake;

use std::{future::Future, time::Duration};

use client::{Client, Error, Watching};
use fake::{Fake, Pki, Reaction, settings};
use protocol::{
    Refused, Request, Watch, WatchFrame,
    response::Found,
    watch::{Event, Events},
};

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(20), test).await.expect("the test did not end");
    });
}

fn event(key: &str, revision: u64) -> Event {
    let found = Some(Found { value: b"v".to_vec(), revision, created: revision, version: 1, lease: None });
    let key = key.as_bytes().to_vec();
    Event { key, revision, found, previous: None, previous_left_out: false, wall_ms: 0, expired: false }
}

/// A frame with these keys and revisions.
fn told(through: u64, events: &[(&str, u64)]) -> WatchFrame {
    let events = events.iter().map(|(key, revision)| event(key, *revision)).collect();
    WatchFrame::Events(Events { events, through, unfinished: false })
}

fn part(through: u64, events: &[(&str, u64)]) -> WatchFrame {
    let WatchFrame::Events(events) = told(through, events) else { unreachable!("it is one") };
    WatchFrame::Events(Events { unfinished: true, ..events })
}

/// One fake that answers its first watch, its second and so on with these.
fn node(pki: &Pki, id: u64, answers: Vec<Vec<WatchFrame>>) -> Fake {
    let node = Fake::start(pki, id, &[]);
    let mut answers = answers.into_iter();
    node.on(move |_| answers.next().map_or(Reaction::Ignore, Reaction::Told));
    node
}

/// What the next batch says: keys with revisions, and up to where.
async fn next(watching: &mut Watching) -> (String, u64) {
    let batch = watching.next().await.unwrap();
    let events = batch.events.iter();
    let words = events.map(|event| format!("{}{}", String::from_utf8_lossy(&event.key), event.revision));
    (words.collect::<Vec<_>>().join(" "), batch.through)
}

fn words(text: &str, through: u64) -> (String, u64) {
    (text.to_owned(), through)
}

#[test]
fn revisions_are_given_whole_however_they_come() {
    run(async {
        let pki = Pki::new();
        let frames = vec![
            told(7, &[]),
            told(9, &[("a", 8), ("b", 9)]),
            part(10, &[("c", 10), ("a", 11)]),
            part(10, &[("b", 11)]),
            part(11, &[("c", 11), ("a", 12)]),
            told(12, &[("b", 12)]),
            told(20, &[]),
        ];
        let node = node(&pki, 9, vec![frames]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut watching = client.watch(Watch::default());
        assert_eq!((watching.through(), watching.cluster()), (None, None));
        for want in [words("", 7), words("a8 b9", 9), words("c10", 10), words("a11 b11 c11", 11)] {
            assert_eq!(next(&mut watching).await, want);
        }
        assert_eq!(
            [next(&mut watching).await, next(&mut watching).await],
            [words("a12 b12", 12), words("", 20)]
        );
        assert_eq!((watching.through(), watching.cluster()), (Some(20), Some(fake::CLUSTER)));
        assert_eq!((watching.served_by(), node.watches()), (9, vec![Watch::default()]));
        client.close().await;
    });
}

#[test]
fn writes_name_what_a_watch_was_told_of_and_not_where_it_waits() {
    run(async {
        let pki = Pki::new();
        let node = Fake::start(&pki, 1, &[]);
        node.on(|frame| match frame.request {
            Request::Watch(_) => Reaction::Told(vec![told(1000, &[]), told(1005, &[("a", 1001)])]),
            _ => Reaction::Answer(fake::written(false)),
        });
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut watching = client.watch(Watch { after: Some(1000), ..Watch::default() });
        for want in [words("", 1000), words("a1001", 1005)] {
            assert_eq!(next(&mut watching).await, want);
            client.set(b"k", b"v", None).await.unwrap();
        }
        let learned: Vec<u64> = node.writes().iter().map(|request| request.learned).collect();
        assert_eq!(learned, [fake::APPLIED, 1001]);
        client.close().await;
    });
}

#[test]
fn what_was_lost_is_asked_for_after_the_last_whole_revision() {
    run(async {
        let pki = Pki::new();
        let first = vec![told(7, &[]), told(9, &[("a", 8)]), part(10, &[("a", 11)])];
        let second = vec![told(9, &[]), told(11, &[("b", 10), ("a", 11), ("b", 11)])];
        let node = node(&pki, 1, vec![first, second]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let watch = Watch { previous: true, ..Watch::prefix(b"") };
        let mut watching = client.watch(watch.clone());
        for want in [words("", 7), words("a8", 9), words("", 9), words("b10 a11 b11", 11)] {
            assert_eq!(next(&mut watching).await, want);
        }
        assert_eq!(node.watches(), [watch.clone(), Watch { after: Some(9), ..watch }]);
    });
}

#[test]
fn a_watch_that_is_cut_goes_on_at_another_node() {
    run(async {
        let pki = Pki::new();
        let other = node(&pki, 2, vec![vec![told(8, &[("b", 8)])]]);
        let alone = vec![told(7, &[]), WatchFrame::Cut("this node knows no leader".into())];
        let first = Fake::start(&pki, 1, &[(2, &other.address)]);
        first.on(move |_| Reaction::Told(alone.clone()));
        let client = Client::new(settings(&pki, &[&first.address]));
        let mut watching = client.watch(Watch::default());
        assert_eq!([next(&mut watching).await, next(&mut watching).await], [words("", 7), words("b8", 8)]);
        assert_eq!((watching.served_by(), first.watches().len()), (2, 1));
        assert_eq!(other.watches(), [Watch { after: Some(7), ..Watch::default() }]);
    });
}

#[test]
fn a_watch_that_is_refused_for_now_is_asked_again() {
    run(async {
        let pki = Pki::new();
        let busy = || vec![WatchFrame::Refused(Refused::Busy { what: "x".into() })];
        let node = node(&pki, 1, vec![busy(), busy(), vec![told(7, &[])]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        assert_eq!(next(&mut client.watch(Watch::default())).await, words("", 7));
        assert_eq!(node.watches().len(), 3);
    });
}

#[test]
fn what_is_no_longer_kept_is_said_with_the_oldest_that_there_is() {
    run(async {
        let pki = Pki::new();
        let compacted = || vec![WatchFrame::Compacted { oldest: 9 }];
        let node = node(&pki, 1, vec![vec![told(5, &[])], compacted(), compacted()]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut watching = client.watch(Watch { after: Some(5), ..Watch::default() });
        assert_eq!(next(&mut watching).await, words("", 5));
        for _ in 0..2 {
            let gone = Refused::NotKept { oldest: 9, age_ms: None };
            assert_eq!(watching.next().await, Err(Error::Refused(gone)));
        }
    });
}

#[test]
fn a_call_that_nobody_waits_for_takes_nothing_with_it() {
    run(async {
        let pki = Pki::new();
        let node = node(&pki, 1, vec![vec![told(7, &[])], vec![told(7, &[])], vec![told(8, &[("a", 8)])]]);
        let client = Client::new(settings(&pki, &[&node.address]));
        let mut watching = client.watch(Watch::default());
        let mut all = Vec::new();
        while all.len() < 3 {
            // It is dropped again and again while it waits, for answers and between two nodes.
            let batch = tokio::time::timeout(Duration::from_millis(15), next(&mut watching)).await;
            all.extend(batch);
        }
        assert_eq!(all, [words("", 7), words("", 7), words("a8", 8)]);
    });
}

#[test]
fn nonsense_is_not_shown() {
    run(async {
        let mut backwards = event("a", 9);
        backwards.previous = backwards.found.clone();
        let unasked = WatchFrame::Events(Events { events: vec![backwards], through: 9, unfinished: false });
        for nonsense in [
            vec![told(9, &[("b", 8), ("a", 8)])],
            vec![told(9, &[("b", 8), ("b", 8)])],
            vec![told(9, &[("b", 9), ("a", 8)])],
            vec![told(9, &[("b", 7)])],
            vec![told(9, &[("z", 9)])],
            vec![told(8, &[("a", 9)])],
            vec![told(6, &[])],
            vec![part(9, &[("a", 9)])],
            vec![part(9, &[])],
            vec![part(8, &[("a", 9), ("a", 10)])],
            vec![part(8, &[("a", 9)]), told(9, &[])],
            vec![part(8, &[("b", 9)]), told(9, &[("a", 9)])],
            vec![part(8, &[("a", 9)]), told(10, &[("a", 10)])],
            vec![unasked],
        ] {
            let pki = Pki::new();
            let frames = [vec![told(7, &[])], nonsense.clone()].concat();
            let node = node(&pki, 1, vec![frames, vec![told(7, &[]), told(8, &[("a", 8)])]]);
            let client = Client::new(settings(&pki, &[&node.address]));
            let mut watching = client.watch(Watch::range(b"a", b"z"));
            assert_eq!(next(&mut watching).await, words("", 7));
            let error = watching.next().await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.ends_with("makes no sense"), "{nonsense:?}: {error}");
            // Where it stood before, another call goes on.
            assert_eq!(
                [next(&mut watching).await, next(&mut watching).await],
                [words("", 7), words("a8", 8)]
            );
        }
    });
}
