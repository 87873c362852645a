//! Streams of the admin socket that are meant for another member: carried over a connection of their own, frame by frame,
//! until either end has enough. The node shows its own certificate there, which its own user could do without it.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use protocol::{
    Request, RequestFrame, Welcome,
    limits::{CLIENT_FRAME_BYTES, SAVE_FRAME_BYTES},
    local::{Fault, Opened},
};
use tokio::time::timeout;
use transport::{CloseCode, Connection, Endpoint, FrameReader, FrameWriter, TransportError};

use crate::clients::{
    FIRST,
    requests::{self, IDLE},
};

/// Why the member could not be had.
struct Unreached {
    kind: Fault,
    why: String,
}

impl From<TransportError> for Unreached {
    fn from(error: TransportError) -> Self {
        let kind = match &error {
            TransportError::Refused => Fault::Refused,
            TransportError::Silent => Fault::Silent,
            TransportError::Tls { .. } => Fault::Tls,
            TransportError::Version => Fault::Version,
            _ => Fault::Other,
        };
        Self { kind, why: error.to_string() }
    }
}

/// Carries a stream to the member at `address`, once it has welcomed us.
pub(super) async fn carry(
    (mut writer, reader): (FrameWriter, FrameReader),
    address: &str,
    endpoint: &Endpoint,
) -> Result<(), TransportError> {
    // A client that gives up meanwhile closes the stream, and is not there to be told.
    let reached = tokio::select! {
        reached = reach(address, endpoint) => reached,
        () = writer.stopped() => return Ok(()),
    };
    let (connection, welcome, (there, back)) = match reached {
        Ok(reached) => reached,
        Err(Unreached { kind, why }) => {
            return writer.write(&[Bytes::from(Opened::Failed { kind, why }.encode())]).await;
        }
    };
    writer.write(&[Bytes::from(Opened::Welcome(welcome).encode())]).await?;
    let outcome = pump((writer, reader), (there, back), (FIRST, IDLE)).await;
    connection.close(CloseCode::Done, "done");
    outcome
}

type Reached = (Connection, Welcome, (FrameWriter, FrameReader));

async fn reach(address: &str, endpoint: &Endpoint) -> Result<Reached, Unreached> {
    let unresolved = |why: String| Unreached { kind: Fault::Unresolved, why };
    let resolved = tokio::net::lookup_host(address).await.map_err(|error| unresolved(error.to_string()))?;
    let mut failure = unresolved("the name has no address".into());
    for socket in resolved {
        match dial(socket, endpoint).await {
            Ok(reached) => return Ok(reached),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn dial(address: SocketAddr, endpoint: &Endpoint) -> Result<Reached, Unreached> {
    let connection = endpoint.dial_client(address).await?;
    let mut greeting = connection.accept_uni().await?;
    let bytes = greeting.next(CLIENT_FRAME_BYTES).await?;
    let malformed = |error: String| Unreached::from(TransportError::Malformed(error));
    let bytes = bytes.ok_or_else(|| malformed("no welcome".into()))?;
    let welcome = Welcome::decode(&bytes).map_err(|error| malformed(error.to_string()))?;
    let streams = connection.open_bi().await?;
    Ok((connection, welcome, streams))
}

/// Carries frames until either end has enough, or the one here is of no use: the bounds are those of a stream that is served
/// here ([`clients`](crate::clients)).
async fn pump(
    (mut writer, mut reader): (FrameWriter, FrameReader),
    (mut there, mut back): (FrameWriter, FrameReader),
    (first, idle): (Duration, Duration),
) -> Result<(), TransportError> {
    let asked = timeout(first, reader.next(CLIENT_FRAME_BYTES)).await;
    let Some(asked) = asked.map_err(|_| TransportError::Silent)?? else { return Ok(()) };
    let patience = is_one_of_many(&asked).then_some(idle);
    let unanswered = AtomicUsize::new(1);
    there.write(&[asked]).await?;
    let out = async {
        while let Some(frame) = requests::frame(&mut reader, &unanswered, patience).await? {
            unanswered.fetch_add(1, Relaxed);
            there.write(&[frame]).await?;
        }
        Ok(())
    };
    let home = async {
        while let Some(frame) = back.next(SAVE_FRAME_BYTES.max(CLIENT_FRAME_BYTES)).await? {
            requests::put(&mut writer, &[frame], patience).await?;
            // More answers than requests are the other end's mistake, and no reason to count below nothing.
            let _ = unanswered.fetch_update(Relaxed, Relaxed, |count| Some(count.saturating_sub(1)));
        }
        Ok(())
    };
    tokio::select! {
        outcome = out => outcome,
        outcome = home => outcome,
    }
}

/// Whether this is the first of many requests with an answer each; a scan, a watch or a save has its stream to itself.
fn is_one_of_many(frame: &[u8]) -> bool {
    let frame = RequestFrame::decode(frame);
    !frame.is_ok_and(|frame| matches!(frame.request, Request::Scan(_) | Request::Watch(_) | Request::Save))
}

#[cfg(test)]
mod tests {
    use protocol::{Response, ResponseFrame};
    use transport::{LocalListener, Visitor, dial_local};

    use super::*;

    type Stream = (FrameWriter, FrameReader);

    async fn pair(home: &std::path::Path, name: &str) -> (Stream, Stream) {
        let listener = LocalListener::bind(&home.join(name)).unwrap();
        let client = dial_local(listener.path()).await.unwrap();
        let Visitor::Welcome(server) = listener.accept().await.unwrap() else { panic!("it is our own user") };
        (client, server)
    }

    /// A client that says this and then nothing, and a member that gives so many answers and then none.
    async fn carried(frame: Option<Request>, answers: u64) -> Option<Result<(), TransportError>> {
        let home = tempfile::tempdir().unwrap();
        let (mut client, here) = pair(home.path(), "here").await;
        let (there, mut member) = pair(home.path(), "there").await;
        if let Some(request) = frame {
            let frame = RequestFrame { id: 1, deadline_ms: 1000, request };
            client.0.write(&[Bytes::from(frame.encode())]).await.unwrap();
        }
        for id in 0..answers {
            let frame = ResponseFrame { id, result: Ok(Response::Events(Vec::new())) };
            member.0.write(&[Bytes::from(frame.encode())]).await.unwrap();
        }
        let patience = (Duration::from_millis(20), Duration::from_millis(20));
        timeout(Duration::from_millis(400), pump(here, there, patience)).await.ok()
    }

    #[tokio::test]
    async fn a_client_that_is_of_no_use_gives_its_place_back() {
        let events = Request::Events { since_ms: 0 };
        assert!(matches!(carried(None, 0).await, Some(Err(TransportError::Silent))), "it asks nothing");
        let outcome = carried(Some(events.clone()), 1).await;
        assert!(matches!(outcome, Some(Err(TransportError::Silent))), "it was answered and asks no more");
        assert!(carried(Some(events), 0).await.is_none(), "it waits for its answer");
        assert!(carried(Some(Request::Save), 2).await.is_none(), "it has its stream to itself");
    }
}
