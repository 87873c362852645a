use std::path::Path;

use protocol::{
    ClusterId, Command, Operation, Request, RequestId,
    limits::{SAVE_FRAME_BYTES, VALUE_BYTES},
    snapshot::Checker,
};
use raft::{Entry, Payload, Position};
use transport::{Authority, Connection, Endpoint, FrameReader, Identity, Settings};

use super::*;
use crate::{
    state::{State, StateLimits},
    store::memory::MemoryDisk,
};

const CLUSTER: ClusterId = ClusterId([7; 16]);
const KEYS: u64 = 12;

/// More than fits into a stream's window.
fn large() -> Box<Sending> {
    let disk = Arc::new(MemoryDisk::default());
    let mut state = State::open(disk, Path::new("state"), CLUSTER, StateLimits::default()).unwrap();
    for index in 1..=KEYS {
        let request = RequestId { token: [u8::try_from(index).unwrap(); 16], learned: 0, cluster: CLUSTER };
        let operation = Operation::Set { key: index.to_be_bytes().to_vec(), value: vec![0; VALUE_BYTES] };
        let command = Command { request, stamp_ms: 0, wall_ms: 0, operation };
        let payload = Payload::Command(command.encode().into());
        _ = state.apply(&Entry { position: Position::new(index, 1), payload }).unwrap();
    }
    let flushed = state.begin_flush(0).unwrap().run().unwrap();
    state.finish_flush(flushed);
    Box::new(state.sending().unwrap().saved_at(1234))
}

/// The two ends of a connection, and what keeps them.
async fn connected() -> (Connection, Connection, [Endpoint; 2]) {
    let authority = Authority::create("test", 1).unwrap();
    let node = authority.issue_node(1, &["127.0.0.1".to_owned()], 1).unwrap();
    let client = authority.issue_client("tester", 1).unwrap();
    let identity = |cert: &str, key: &str| Identity::from_pem(authority.cert_pem(), cert, key).unwrap();
    let node = identity(&node.cert_pem, &node.key_pem);
    let server = Endpoint::server(([127, 0, 0, 1], 0).into(), &node, &Settings::default()).unwrap();
    let client = identity(&client.cert_pem, &client.key_pem);
    let client = Endpoint::client(&client, &Settings::client()).unwrap();
    let (accepted, dialed) = tokio::join!(
        async { server.accept().await.unwrap().finish().await.unwrap().connection },
        client.dial_client(server.local_addr()),
    );
    (accepted, dialed.unwrap(), [server, client])
}

/// What keeps a stream that is served open.
type Kept = (tokio::task::JoinHandle<Connection>, Connection, [Endpoint; 2]);

/// Serves a save of [`large`], and hands over the far end of its stream.
async fn serving(saves: &Saves) -> (FrameReader, Kept) {
    let (accepted, dialed, endpoints) = connected().await;
    let (mut asks, reader) = dialed.open_bi().await.unwrap();
    asks.write(&[Bytes::from_static(b"a stream begins with its first frame")]).await.unwrap();
    let (writer, _) = accepted.accept_bi().await.unwrap();
    let (inputs, mut queue) = mpsc::channel(1);
    let saves = saves.clone();
    let served = tokio::spawn(async move {
        let frame = RequestFrame { id: 1, deadline_ms: 1000, request: Request::Save };
        let meters = Meters::new();
        serve(writer, frame, (1, &meters), &saves, &inputs).await.unwrap();
        accepted
    });
    if let Some(Input::Save { answer, .. }) = queue.recv().await {
        assert!(answer.send(Ok(large())).is_ok());
    }
    (reader, (served, dialed, endpoints))
}

async fn next(reader: &mut FrameReader) -> Option<SaveFrame> {
    let frame = reader.next(SAVE_FRAME_BYTES).await.unwrap()?;
    Some(SaveFrame::decode(&frame).unwrap())
}

#[tokio::test]
async fn a_backup_is_whole_and_says_what_it_is() {
    let (mut reader, _kept) = serving(&Saves::new(u64::MAX)).await;
    let (mut checker, mut whole) = (Checker::new(), None);
    while let Some(SaveFrame::Block(block)) = next(&mut reader).await {
        whole = checker.take(&block).unwrap().1;
    }
    let summary = whole.unwrap();
    assert_eq!((summary.keys, summary.row_bytes), (KEYS, KEYS * (8 + VALUE_BYTES as u64)));
    assert_eq!((summary.facts.saved_ms, summary.head.cluster), (Some(1234), CLUSTER));
}

#[tokio::test]
async fn one_that_takes_too_long_is_told_the_limit() {
    let (mut reader, _kept) = serving(&Saves { life: Duration::ZERO, ..Saves::new(u64::MAX) }).await;
    let mut last = None;
    while let Some(frame) = next(&mut reader).await {
        last = Some(frame);
    }
    assert_eq!(last, Some(SaveFrame::Cut("a backup may take 0 s".into())));
}

#[test]
fn a_client_that_trickles_is_told_apart_from_one_that_reads() {
    let saves = Saves { patience: Duration::from_mins(1), least: 1000, ..Saves::new(u64::MAX) };
    let slow = |sent, seconds| saves.is_too_slow(sent, Duration::from_secs(seconds));
    assert!(!slow(0, 60) && slow(0, 61));
    assert!(!slow(40_000, 100) && slow(39_000, 100));
}

#[tokio::test]
async fn one_that_is_too_slow_is_told_the_limit() {
    let saves = Saves { patience: Duration::ZERO, least: u64::MAX, ..Saves::new(u64::MAX) };
    let (mut reader, _kept) = serving(&saves).await;
    let mut last = None;
    while let Some(frame) = next(&mut reader).await {
        last = Some(frame);
    }
    let Some(SaveFrame::Cut(why)) = last else { panic!("{last:?}") };
    assert!(why.starts_with("a backup must be taken at "), "{why}");
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_it_in_time_and_its_place_is_free() {
    let saves = Saves { patience: Duration::from_millis(200), ..Saves::new(u64::MAX) };
    let (mut reader, (served, ..)) = serving(&saves).await;
    let _accepted = tokio::time::timeout(Duration::from_secs(20), served).await.unwrap().unwrap();
    let error = loop {
        match reader.next(SAVE_FRAME_BYTES).await {
            Ok(frame) => assert!(frame.is_some(), "a part is not taken for the whole"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("given up by the far end at a limit"), "{error}");
    let all = u32::try_from(SAVES).unwrap();
    let free = tokio::time::timeout(Duration::from_secs(20), saves.places.acquire_many(all)).await;
    assert!(free.unwrap().is_ok());
}

#[tokio::test]
async fn so_many_are_served_and_one_more_hears_how_many() {
    let saves = Saves::new(u64::MAX);
    let mut kept = Vec::new();
    for _ in 0..SAVES {
        let (mut reader, keeps) = serving(&saves).await;
        assert!(matches!(next(&mut reader).await, Some(SaveFrame::Block(_))));
        kept.push((reader, keeps));
    }
    let (mut reader, _kept) = serving(&saves).await;
    let busy = Refused::Busy { what: format!("this node's table of {SAVES} backups") };
    assert_eq!(next(&mut reader).await, Some(SaveFrame::Refused(busy)));
}
