//! Bounds of a connection, by a client that keeps to none: what is one too many is refused by name, and all else is served.

use std::time::Duration;

use bytes::Bytes;
use protocol::{
    Consistency, Refused, Request, RequestFrame, Response, ResponseFrame,
    limits::{CLIENT_FRAME_BYTES, REQUESTS_PER_CONNECTION},
};
use testkit::cluster::Cluster;
use transport::{Connection, Endpoint, FrameReader};

use crate::{
    real::{KVD, client_of, eventually, leader, runtime, settings},
    start,
};

/// A connection to a node, welcomed.
async fn connect(cluster: &Cluster, id: usize) -> (Endpoint, Connection) {
    let identity = settings(cluster, cluster.addresses()).await.identity;
    let endpoint = Endpoint::client(identity.as_ref().unwrap(), &transport::Settings::client()).unwrap();
    let connection = endpoint.dial_client(cluster.address(id).parse().unwrap()).await.unwrap();
    let mut welcome = connection.accept_uni().await.unwrap();
    welcome.next(CLIENT_FRAME_BYTES).await.unwrap().unwrap();
    (endpoint, connection)
}

async fn answer(reader: &mut FrameReader) -> ResponseFrame {
    ResponseFrame::decode(&reader.next(CLIENT_FRAME_BYTES).await.unwrap().unwrap()).unwrap()
}

fn get(id: u64) -> Bytes {
    let request =
        Request::Get { key: b"k".to_vec(), consistency: Consistency::Linearizable, without_value: false };
    RequestFrame { id, deadline_ms: 30_000, request }.encode().into()
}

#[test]
fn a_connection_has_so_many_requests_at_a_time() {
    // Patient, so that a leader which hears nobody leads on for the time of the test.
    let timing = "[timing]\nelection_timeout_ms = 3000\nheartbeat_ms = 100\ndead_connection_ms = 30000\n";
    let cluster = Cluster::start_with(KVD, 3, timing);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        let id = eventually(Duration::from_secs(30), "leader", async || leader(&client).await).await;
        client.set(b"k", b"v", None).await.unwrap();
        let (endpoint, connection) = connect(&cluster, id).await;
        let (mut writer, mut reader) = connection.open_bi().await.unwrap();
        // A leader whose followers stand still confirms no read.
        let followers = (1..=3).filter(|other| *other != id);
        followers.clone().for_each(|id| cluster.pause(id));
        let most = REQUESTS_PER_CONNECTION as u64;
        let frames: Vec<Bytes> = (1..=most + 1).map(get).collect();
        writer.write(&frames).await.unwrap();
        let first = answer(&mut reader).await;
        followers.for_each(|id| cluster.resume(id));
        let Err(Refused::Busy { what }) = first.result else { panic!("{first:?}") };
        assert_eq!((first.id, what.as_str()), (most + 1, "this connection's queue of requests"));
        for _ in 0..most {
            let next = answer(&mut reader).await;
            assert!(matches!(next.result, Ok(Response::Value { .. })), "{next:?}");
        }
        writer.write(&[get(1)]).await.unwrap();
        let again = answer(&mut reader).await;
        assert!(matches!(again.result, Ok(Response::Value { .. })), "there is room again: {again:?}");
        drop(endpoint);
    });
}

#[test]
fn a_frame_has_a_longest() {
    let cluster = start(1);
    runtime().block_on(async {
        let client = client_of(&cluster, cluster.addresses()).await;
        eventually(Duration::from_secs(10), "write", async || client.set(b"k", b"v", None).await.ok()).await;
        let sized = |bytes: usize| Bytes::from(vec![0xff; bytes]);
        for (bytes, is_longer) in [(CLIENT_FRAME_BYTES, false), (CLIENT_FRAME_BYTES + 1, true)] {
            let (_endpoint, connection) = connect(&cluster, 1).await;
            let (mut writer, mut reader) = connection.open_bi().await.unwrap();
            // Nonsense of either length ends the connection; which of the two it was is said.
            let _ = writer.write(&[sized(bytes)]).await;
            let error = reader.next(CLIENT_FRAME_BYTES).await.unwrap_err().to_string();
            assert_eq!(error.contains("longer") || error.contains("limit"), is_longer, "{bytes}: {error}");
        }
        assert!(
            client.get(b"k", Consistency::Linearizable).await.unwrap().found.is_some(),
            "others are served"
        );
    });
}
