//! Streams of the admin socket that are meant for another member: carried over a connection of their own, frame by frame,
//! until either end has enough. The node shows its own certificate there, which its own user could do without it.

use std::net::SocketAddr;

use bytes::Bytes;
use protocol::{
    Welcome,
    limits::{CLIENT_FRAME_BYTES, SAVE_FRAME_BYTES},
    local::{Fault, Opened},
};
use transport::{CloseCode, Connection, Endpoint, FrameReader, FrameWriter, TransportError};

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
    let outcome = tokio::select! {
        outcome = pump(reader, there, CLIENT_FRAME_BYTES) => outcome,
        outcome = pump(back, writer, SAVE_FRAME_BYTES.max(CLIENT_FRAME_BYTES)) => outcome,
    };
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

async fn pump(mut from: FrameReader, mut to: FrameWriter, limit: usize) -> Result<(), TransportError> {
    while let Some(frame) = from.next(limit).await? {
        to.write(&[frame]).await?;
    }
    Ok(())
}
