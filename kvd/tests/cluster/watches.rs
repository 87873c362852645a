//! Watches of real nodes: everything once and in order while leaders are killed under writes, from now and from the past, and
//! never more at a time than a node has places for.

use std::{collections::BTreeMap, time::Duration};

use client::{Client, Error, Settings, Watching};
use protocol::{Refused, Transaction, Watch, history::WindowChange, limits, operation::Action, watch::Event};

use crate::{
    real::{client_of, converged, eventually, leader, length, runtime, settings},
    start,
};

/// What a watcher is told until everything up to a revision was.
async fn follow(mut watching: Watching, end: tokio::sync::watch::Receiver<u64>) -> Vec<Event> {
    let mut all = Vec::new();
    loop {
        match watching.next().await {
            Ok(batch) => all.extend(batch.events),
            // No node can be asked at the moment; nothing is lost by that.
            Err(Error::Refused(refused)) => panic!("{refused}"),
            Err(error @ Error::Cut { .. }) => panic!("{error}"),
            Err(_) => {}
        }
        if watching.through().is_some_and(|through| through >= *end.borrow()) {
            return all;
        }
    }
}

/// Writes one or two keys, and removes one now and then. Returns what was acknowledged.
async fn write(client: &Client, number: u64) -> Option<(u64, Vec<Vec<u8>>)> {
    let name = |number: u64| format!("k{}/{}", number % 3, number % 7).into_bytes();
    let (key, value) = (name(number), number.to_string().into_bytes());
    let (result, keys) = if number.is_multiple_of(11) {
        (client.delete(&key, None).await.map(|written| (written.revision, written.existed)), vec![key])
    } else if number.is_multiple_of(5) {
        let other = name(number + 1);
        let set = |key: &Vec<u8>| Action::Set { key: key.clone(), value: value.clone() };
        let then = vec![set(&key), set(&other)];
        let transaction = Transaction { then, ..Transaction::default() };
        let judged = client.transact(transaction, None).await;
        (judged.map(|judged| (judged.decided.revision, true)), vec![key, other])
    } else {
        (client.set(&key, &value, None).await.map(|written| (written.revision, true)), vec![key])
    };
    let (revision, changed) = result.ok()?;
    Some((revision, if changed { keys } else { Vec::new() }))
}

/// Every change once: in order, and of each key the versions one after the other.
fn complete(events: &[Event]) {
    let place = |event: &Event| (event.revision, event.key.clone());
    assert!(events.is_sorted_by(|a, b| place(a) < place(b)), "in order, and nothing twice");
    let mut versions: BTreeMap<&[u8], u64> = BTreeMap::new();
    for event in events {
        let before = versions.insert(&event.key, event.found.as_ref().map_or(0, |found| found.version));
        match (&event.found, before) {
            (Some(found), Some(before)) => assert_eq!(found.version, before + 1, "a version is missing"),
            (None, Some(before)) => assert_ne!(before, 0, "removed twice"),
            (_, None) => {}
        }
    }
}

#[test]
fn everything_is_told_once_however_often_the_leader_is_killed() {
    let mut cluster = start(3);
    let (kills, watchers) = (length("KVD_TEST_KILLS", 5), length("KVD_TEST_WATCHERS", 24));
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let set = async || client.set(b"k0/0", b"before", None).await.ok();
        let first = eventually(Duration::from_secs(10), "first write", set).await.revision;
        let kinds = [
            Watch::default(),
            Watch { previous: true, ..Watch::default() },
            Watch::prefix(b"k1/"),
            Watch::key(b"k2/5"),
            Watch::range(b"k0/3", b"k2/1"),
            Watch::key(b"none"),
        ];
        let (told, end) = tokio::sync::watch::channel(u64::MAX);
        let (mut clients, mut tasks) = (Vec::new(), Vec::new());
        for number in 0..watchers {
            if number % 24 == 0 {
                let mut addresses = cluster.addresses();
                addresses.rotate_left(clients.len() % 3);
                clients.push(client_of(&cluster, addresses).await);
            }
            let watch = kinds[number % kinds.len()].clone();
            let mut watching = clients.last().unwrap().watch(watch.clone());
            let begun = watching.next().await.unwrap();
            assert!(begun.events.is_empty() && begun.through >= first, "it says where it begins");
            tasks.push((watch, tokio::spawn(follow(watching, end.clone()))));
        }
        let (mut acknowledged, mut number) = (Vec::new(), 1);
        for _ in 0..kills {
            let id = eventually(Duration::from_secs(10), "leader", async || leader(&client).await).await;
            for turn in 0..30 {
                if turn == 10 {
                    cluster.kill(id);
                }
                acknowledged.extend(write(&client, number).await);
                number += 1;
            }
            cluster.restart(id);
        }
        converged(&client, 3).await;
        let last = client.set(b"k0/0", b"after", None).await.unwrap().revision;
        told.send(last).unwrap();
        let all = client.watch(Watch { after: Some(0), ..Watch::default() });
        let mut all = follow(all, end.clone()).await;
        complete(&all);
        let between = |event: &Event| event.revision > first && event.revision <= last;
        all.retain(between);
        for (revision, keys) in &acknowledged {
            for key in keys {
                let is_there = |event: &Event| event.revision == *revision && event.key == *key;
                assert!(all.iter().any(is_there), "an acknowledged write is not told");
            }
        }
        for (watch, task) in tasks {
            let mut events = task.await.unwrap();
            complete(&events);
            events.retain(between);
            let bare = |event: &Event| (event.revision, event.key.clone(), event.found.clone());
            let want: Vec<_> = all.iter().filter(|event| watch.covers(&event.key)).map(bare).collect();
            assert!(events.iter().map(bare).collect::<Vec<_>>() == want, "{watch:?} was told something else");
        }
        println!(
            "{kills} leaders killed, {watchers} watchers, {} writes, {} events",
            acknowledged.len(),
            all.len()
        );
    });
}

#[test]
fn a_watch_from_now_at_any_node_misses_nothing_that_comes() {
    let cluster = start(3);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        for (turn, id) in (1..=3).cycle().take(9).enumerate() {
            let alone = client_of(&cluster, vec![cluster.address(id).to_owned()]).await;
            let key = format!("key{turn}").into_bytes();
            let before = client.set(&key, b"before", None).await.unwrap().revision;
            let mut watching = alone.watch(Watch { previous: true, ..Watch::key(&key) });
            assert!(watching.next().await.unwrap().through >= before, "what was acknowledged is behind it");
            let written = client.set(&key, b"value", None).await.unwrap().revision;
            let event = loop {
                if let Some(event) = watching.next().await.unwrap().events.pop() {
                    break event;
                }
            };
            let value = |found: Option<protocol::response::Found>| found.map(|found| found.value);
            assert_eq!((event.revision, value(event.previous)), (written, Some(b"before".to_vec())));
            assert_eq!(value(event.found), Some(b"value".to_vec()));
        }
    });
}

#[test]
fn what_is_not_kept_is_said_with_the_oldest_that_is() {
    let cluster = start(1);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let few = WindowChange { changes: Some(10), ..WindowChange::default() };
        client.set_window(few, None).await.unwrap();
        for number in 0..100 {
            write(&client, number).await.unwrap();
        }
        let gone = client.watch(Watch { after: Some(1), ..Watch::default() }).next().await.unwrap_err();
        let Error::Refused(Refused::NotKept { oldest, .. }) = gone else { panic!("{gone}") };
        let mut watching = client.watch(Watch { after: Some(oldest), ..Watch::default() });
        assert_eq!(watching.next().await.unwrap().through, oldest);
        assert!(!watching.next().await.unwrap().events.is_empty());
    });
}

#[test]
fn a_connection_has_so_many_watches_at_a_time_and_scans_beside_them() {
    let cluster = start(1);
    runtime().block_on(async {
        let hasty =
            Settings { timeout: Duration::from_millis(500), ..settings(&cluster, cluster.addresses()).await };
        let client = Client::new(hasty);
        eventually(Duration::from_secs(10), "answer", async || client.set(b"k", b"v", None).await.ok()).await;
        let mut held = Vec::new();
        for _ in 0..limits::WATCHES_PER_CONNECTION {
            let mut watching = client.watch(Watch::default());
            watching.next().await.unwrap();
            held.push(watching);
        }
        let refused = client.watch(Watch::default()).next().await.unwrap_err().to_string();
        assert!(refused.contains("table of 48 watches is full"), "{refused}");
        // The last streams of the connection are not for watches.
        assert!(client.scan(protocol::Scan::default()).next().await.unwrap().is_some());
        held.pop();
        eventually(Duration::from_secs(10), "place", async || {
            client.watch(Watch::default()).next().await.ok()
        })
        .await;
        let written = client.set(b"k", b"w", None).await.unwrap().revision;
        for watching in &mut held {
            assert_eq!(watching.next().await.unwrap().through, written);
        }
    });
}
