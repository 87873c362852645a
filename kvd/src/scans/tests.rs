use std::path::Path;

use protocol::{
    ClusterId, Command, Operation, Request, RequestId,
    limits::{CLIENT_FRAME_BYTES, VALUE_BYTES},
};
use raft::{Entry, Payload, Position};
use transport::{Authority, Connection, Endpoint, FrameReader, Identity, Settings};

use super::*;
use crate::{
    state::{State, StateLimits},
    store::memory::MemoryDisk,
};

fn scans() -> (Scans, thread_channel::Receiver<Job>) {
    let (jobs, asked) = thread_channel::channel();
    (Scans::new(jobs), asked)
}

fn cursor() -> Cursor {
    let disk = Arc::new(MemoryDisk::default());
    let state = State::open(disk, Path::new("state"), ClusterId([7; 16]), StateLimits::default()).unwrap();
    state.view().scan(Scan::default(), PageLimits::default()).unwrap()
}

fn full(result: Result<Places, Refused>, of: usize) -> bool {
    matches!(result, Err(Refused::Busy { what }) if what.ends_with(&format!("table of {of} scans")))
}

#[test]
fn a_connection_and_a_node_serve_so_many_scans_and_say_how_many() {
    let (scans, _jobs) = scans();
    let mut places = Vec::new();
    let own = Own::new();
    for _ in 0..SCANS_PER_CONNECTION {
        places.push(scans.enter(&own).unwrap());
    }
    assert!(full(scans.enter(&own), SCANS_PER_CONNECTION));
    while places.len() < SCANS {
        places.push(scans.enter(&Own::new()).unwrap());
    }
    assert!(full(scans.enter(&Own::new()), SCANS));
    places.pop();
    assert!(scans.enter(&Own::new()).is_ok());
}

#[test]
fn what_nobody_waits_for_is_freed_by_the_thread_and_its_place_with_it() {
    let (scans, jobs) = scans();
    let places = scans.enter(&Own::new()).unwrap();
    drop(Paused { scan: Some((cursor(), places)), jobs: scans.jobs.clone() });
    assert_eq!(scans.places.available_permits(), SCANS - 1, "a place is taken until the view is gone");
    assert!(matches!(jobs.recv().unwrap(), Job::Free(..)));
    assert_eq!(scans.places.available_permits(), SCANS);
}

#[test]
fn the_thread_answers_who_waits_and_passes_over_who_has_gone() {
    let (scans, jobs) = scans();
    let paused = |places| Paused { scan: Some((cursor(), places)), jobs: scans.jobs.clone() };
    drop(scans.ask(paused(scans.enter(&Own::new()).unwrap())));
    let mut waited = scans.ask(paused(scans.enter(&Own::new()).unwrap()));
    let (done, mut failed) = mpsc::unbounded_channel();
    let thread = std::thread::spawn(move || run_scans(&jobs, &done));
    let made = loop {
        match waited.try_recv() {
            Ok(made) => break made,
            Err(_) => std::thread::yield_now(),
        }
    };
    let frame = ScanFrame::decode(&made.frame).unwrap();
    assert!(matches!(frame, ScanFrame::End(end) if end.count == 0) && made.rest.is_none());
    assert!(failed.try_recv().is_err());
    drop(scans);
    thread.join().unwrap();
}

const CLUSTER: ClusterId = ClusterId([7; 16]);

/// A view of more than fits into a stream's window.
fn large() -> View {
    let disk = Arc::new(MemoryDisk::default());
    let mut state = State::open(disk, Path::new("state"), CLUSTER, StateLimits::default()).unwrap();
    for index in 1..=12_u64 {
        let request = RequestId { token: [u8::try_from(index).unwrap(); 16], learned: 0, cluster: CLUSTER };
        let operation = Operation::Set { key: index.to_be_bytes().to_vec(), value: vec![0; VALUE_BYTES] };
        let command = Command { request, stamp_ms: 0, wall_ms: 0, operation };
        let payload = Payload::Command(command.encode().into());
        _ = state.apply(&Entry { position: Position::new(index, 1), payload }).unwrap();
    }
    state.view()
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

/// Serves a scan of [`large`] that may take so long, and hands over the far end of its stream.
async fn serving(
    life: Duration,
) -> (FrameReader, tokio::task::JoinHandle<Connection>, (Connection, [Endpoint; 2])) {
    let (accepted, dialed, endpoints) = connected().await;
    let (mut asks, reader) = dialed.open_bi().await.unwrap();
    asks.write(&[Bytes::from_static(b"a stream begins with its first frame")]).await.unwrap();
    let (writer, _) = accepted.accept_bi().await.unwrap();
    let (jobs, asked) = thread_channel::channel();
    let scans = Scans { life, ..Scans::new(jobs) };
    let (done, _) = mpsc::unbounded_channel();
    std::thread::spawn(move || run_scans(&asked, &done));
    let (inputs, mut queue) = mpsc::channel(1);
    let served = tokio::spawn(async move {
        let frame = RequestFrame { id: 1, deadline_ms: 1000, request: Request::Scan(Scan::default()) };
        serve(writer, (frame, Scan::default()), (1, &Meters::new()), (&scans, &Own::new()), &inputs)
            .await
            .unwrap();
        accepted
    });
    let Some(Input::Scan { answer, .. }) = queue.recv().await else { panic!("the node is asked for a view") };
    assert!(answer.send(Ok(Box::new(large()))).is_ok());
    (reader, served, (dialed, endpoints))
}

#[tokio::test]
async fn a_scan_that_takes_too_long_is_told_the_limit() {
    let (mut reader, _served, _kept) = serving(Duration::ZERO).await;
    let mut last = None;
    while let Ok(Some(frame)) = reader.next(CLIENT_FRAME_BYTES).await {
        last = Some(ScanFrame::decode(&frame).unwrap());
    }
    assert_eq!(last, Some(ScanFrame::Cut("a scan may take 0 s".into())));
}

#[tokio::test]
async fn a_client_that_does_not_read_loses_its_scan_in_time() {
    let (mut reader, served, _kept) = serving(Duration::from_millis(200)).await;
    // It ends though nothing is read, and frees what it holds.
    let _accepted = tokio::time::timeout(Duration::from_secs(20), served).await.unwrap().unwrap();
    let error = loop {
        match reader.next(CLIENT_FRAME_BYTES).await {
            Ok(frame) => assert!(frame.is_some(), "a part is not taken for the whole"),
            Err(error) => break error.to_string(),
        }
    };
    assert!(error.contains("given up by the far end at a limit"), "{error}");
}
