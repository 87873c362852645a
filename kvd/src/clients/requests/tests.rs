use std::pin::pin;

use transport::{LocalListener, Visitor, dial_local};

use super::*;
use crate::clients::{FIRST, Far};

type Stream = (FrameWriter, FrameReader);

/// The client's end and the node's.
async fn pair() -> (Stream, Stream) {
    let home = tempfile::tempdir().unwrap();
    let listener = LocalListener::bind(&home.path().join("s")).unwrap();
    let client = dial_local(listener.path()).await.unwrap();
    let Visitor::Welcome(server) = listener.accept().await.unwrap() else { panic!("it is our own user") };
    (client, server)
}

fn asked(id: u64, request: Request) -> RequestFrame {
    RequestFrame { id, deadline_ms: 60_000, request }
}

fn frames(ids: std::ops::Range<u64>, request: &Request) -> Vec<Bytes> {
    ids.map(|id| Bytes::from(asked(id, request.clone()).encode())).collect()
}

/// Lets everything else go on until this is so.
async fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..100_000 {
        if so() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}

async fn a_while() {
    let mut turns = 0;
    until(|| {
        turns += 1;
        turns > 5_000
    })
    .await;
}

fn is_busy(bytes: &[u8]) -> bool {
    matches!(ResponseFrame::decode(bytes).unwrap().result, Err(Refused::Busy { .. }))
}

const ALL: usize = 4 * REQUESTS_PER_CONNECTION;

#[tokio::test]
async fn nothing_is_read_from_a_client_that_asks_and_takes_no_answers() {
    let (mut client, (writer, reader)) = pair().await;
    let (replies, mut unsent) = Replies::pair();
    let (inputs, _queue) = mpsc::channel(1);
    let meters = Meters::new();
    let asking = Asking { number: 1, replies: &replies, inputs: &inputs, meters: &meters, patience: None };
    let client = tokio::spawn(async move {
        client.0.write(&frames(1..ALL as u64, &Request::Status)).await.unwrap();
        client
    });
    let mut reading = pin!(asking.read(asked(0, Request::Status), reader));
    // One more than the bound is read, as it is known only then; the loop got one, and answers nothing.
    let most = 2 * REQUESTS_PER_CONNECTION;
    tokio::select! {
        _ = &mut reading => panic!("the client is still there"),
        () = until(|| unsent.len() >= most) => {}
    }
    tokio::select! {
        _ = &mut reading => panic!("the client is still there"),
        () = a_while() => assert_eq!(unsent.len(), most, "it goes on reading"),
    }
    // It takes them after all, and is answered to the last.
    let load = Arc::clone(&replies.load);
    let mut taken = 0;
    let took = async {
        while taken < ALL - 1 {
            let frame = unsent.recv().await.unwrap();
            assert!(is_busy(&frame));
            load.requests.fetch_sub(1, Relaxed);
            load.bytes.fetch_sub(frame.len(), Relaxed);
            load.taken.notify_one();
            taken += 1;
        }
    };
    tokio::select! {
        _ = &mut reading => panic!("the client is still there"),
        took = timeout(Duration::from_secs(20), took) => took.unwrap(),
    }
    drop((client.await.unwrap(), writer));
}

#[tokio::test]
async fn events_are_under_way_once_and_within_the_bounds() {
    let (mut client, (_writer, reader)) = pair().await;
    let (replies, mut unsent) = Replies::pair();
    let (inputs, _queue) = mpsc::channel(1);
    let meters = Meters::new();
    meters.journal.note("start", Some(1), None, "kvd");
    let asking = Asking { number: 1, replies: &replies, inputs: &inputs, meters: &meters, patience: None };
    let events = Request::Events { since_ms: 0 };
    client.0.write(&frames(1..8, &events)).await.unwrap();
    let mut reading = pin!(asking.read(asked(0, events.clone()), reader));
    tokio::select! {
        _ = &mut reading => panic!("the client is still there"),
        () = a_while() => assert_eq!(unsent.len(), 1, "one is under way"),
    }
    let answer = unsent.try_recv().unwrap();
    replies.load.requests.store(REQUESTS_PER_CONNECTION + 1, Relaxed);
    asking.take(asked(9, events.clone()));
    assert!(!is_busy(&answer) && is_busy(&unsent.try_recv().unwrap()), "the bound on requests");
    replies.load.requests.store(0, Relaxed);
    replies.load.bytes.store(UNSENT_BYTES + 1, Relaxed);
    asking.take(asked(10, events));
    assert!(is_busy(&unsent.try_recv().unwrap()), "the bound on bytes");
}

#[tokio::test]
async fn others_have_their_turn_while_frames_are_there() {
    let (mut client, (_writer, reader)) = pair().await;
    let (replies, unsent) = Replies::pair();
    let (inputs, _queue) = mpsc::channel(1);
    let meters = Meters::new();
    let asking = Asking { number: 1, replies: &replies, inputs: &inputs, meters: &meters, patience: None };
    client.0.write(&frames(1..1000, &Request::Status)).await.unwrap();
    let mut reading = pin!(asking.read(asked(0, Request::Status), reader));
    let mut before = 0;
    tokio::select! {
        biased;
        () = until(|| {
            assert!(unsent.len() - before <= AT_ONCE, "{} requests in one turn", unsent.len() - before);
            before = unsent.len();
            before == 999
        }) => {}
        _ = &mut reading => panic!("the client is still there"),
    }
}

#[tokio::test]
async fn a_local_client_that_is_of_no_use_gives_its_place_back() {
    let soon = Duration::from_millis(20);
    let ((_client, mut node), meters) = (pair().await, Meters::new());
    let silent = Far::Local.first(&mut node.1, soon).await;
    assert!(matches!(silent, Err(TransportError::Silent)), "it never asked");
    assert!(FIRST < IDLE);

    let (inputs, mut queue) = mpsc::channel(8);
    let mut serving = pin!(serve(asked(1, Request::Status), node, 1, (&inputs, &meters), soon));
    let waits = timeout(10 * soon, &mut serving).await;
    assert!(waits.is_err(), "it waits for its answer");
    let Some(Input::Connected(1, replies)) = queue.recv().await else { panic!("it connects first") };
    replies.answer(&ResponseFrame { id: 1, result: Err(Refused::Lost) });
    let ended = timeout(Duration::from_secs(20), serving).await.unwrap();
    assert!(matches!(ended, Err(TransportError::Silent)), "it asks no more");
}

#[tokio::test]
async fn a_local_client_that_takes_no_answer_gives_its_place_back() {
    let (_client, (writer, _reader)) = pair().await;
    let (replies, unsent) = Replies::pair();
    let value = Response::Value {
        found: Some(protocol::response::Found {
            value: vec![0; protocol::limits::VALUE_BYTES],
            revision: 1,
            created: 1,
            version: 1,
            lease: None,
        }),
        revision: 1,
        staleness_ms: None,
    };
    for id in 0..4 {
        replies.answer(&ResponseFrame { id, result: Ok(value.clone()) });
    }
    let written = write(writer, unsent, &replies.load, Some(Duration::from_millis(20)));
    let ended = timeout(Duration::from_secs(20), written).await.unwrap();
    assert!(matches!(ended, Err(TransportError::Silent)), "{ended:?}");
}
