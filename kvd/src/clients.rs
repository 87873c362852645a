//! Client connections: frames to events, answers to frames. Nothing is decided here but what a full queue means.
//!
//! A connection greets with [`Welcome`] on a stream of its own, then serves the client's streams of requests. Each
//! connection is bounded: [`REQUESTS_PER_CONNECTION`] unanswered requests, [`STREAMS`] streams, and
//! [`UNSENT_BYTES`] of answers that the client has not taken yet.

use std::sync::{
    Arc,
    atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
};

use bytes::Bytes;
use protocol::{
    Refused, RequestFrame, ResponseFrame, Welcome,
    limits::{CLIENT_FRAME_BYTES, REQUESTS_PER_CONNECTION},
    response::Member,
};
use tokio::sync::{mpsc, watch};
use transport::{Connection, FrameReader, FrameWriter, TransportError};

use crate::{
    driver::Input,
    event::{Caller, Event},
    node::Node,
};

/// Most request streams of one connection.
const STREAMS: usize = 16;
/// Most bytes of answers waiting for one client; beyond it its requests are refused as busy.
const UNSENT_BYTES: usize = 8 * 1024 * 1024;
/// Most answers written at once.
const WRITE_BATCH: usize = 256;

/// What a new connection is told first.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Greeting {
    applied: u64,
    leader: Option<raft::NodeId>,
}

impl Greeting {
    pub(crate) fn of(node: &Node) -> Self {
        Self { applied: node.applied(), leader: node.standing().leader }
    }
}

/// What every connection needs from the process.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) greeting: watch::Receiver<Greeting>,
    pub(crate) members: Arc<crate::members::Members>,
    pub(crate) numbers: Arc<AtomicU64>,
}

/// Where the loop puts the answers for one stream of requests.
#[derive(Clone)]
pub(crate) struct Replies {
    frames: mpsc::UnboundedSender<Bytes>,
    load: Arc<Load>,
}

/// What one stream has in the house. Requests bound the number of answers, bytes their size.
#[derive(Default)]
struct Load {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

impl Replies {
    /// Queues one answer; it is dropped when the client has gone.
    pub(crate) fn send(&self, frame: Bytes) {
        self.load.bytes.fetch_add(frame.len(), Relaxed);
        let _ = self.frames.send(frame);
    }
}

/// Serves one client until it leaves.
pub(crate) async fn serve(connection: Connection, door: Door) {
    if let Err(error) = converse(&connection, &door).await {
        tracing::debug!(client = %connection.remote_address(), %error, "client connection ended");
    }
}

async fn converse(connection: &Connection, door: &Door) -> Result<(), TransportError> {
    let mut hello = connection.open_uni().await?;
    hello.write(&[Bytes::from(door.welcome().encode())]).await?;
    let mut streams = tokio::task::JoinSet::new();
    loop {
        let (writer, reader) = connection.accept_bi().await?;
        while streams.try_join_next().is_some() {}
        if streams.len() >= STREAMS {
            connection.close(1, "too many request streams");
            return Ok(());
        }
        streams.spawn(serve_stream(writer, reader, door.clone(), connection.clone()));
    }
}

impl Door {
    fn welcome(&self) -> Welcome {
        let greeting = self.greeting.borrow().clone();
        let address = greeting.leader.and_then(|leader| self.members.address(leader));
        Welcome {
            cluster: self.members.cluster(),
            node: self.members.me().0,
            applied: greeting.applied,
            leader: greeting.leader.map(|leader| leader.0),
            leader_address: address.map(ToOwned::to_owned),
            members: self.members.list().iter().map(Member::clone).collect(),
        }
    }
}

async fn serve_stream(writer: FrameWriter, reader: FrameReader, door: Door, connection: Connection) {
    let number = door.numbers.fetch_add(1, Relaxed);
    let (frames, unsent) = mpsc::unbounded_channel();
    let replies = Replies { frames, load: Arc::default() };
    if door.inputs.send(Input::Connected(number, replies.clone())).await.is_err() {
        return;
    }
    let load = Arc::clone(&replies.load);
    let outcome = tokio::select! {
        read = read_requests(reader, number, &replies, &door) => read,
        written = write_answers(writer, unsent, &load) => written,
    };
    if let Err(error) = outcome {
        match error {
            TransportError::TooLarge { .. } => connection.close(2, "frame over the limit"),
            TransportError::Malformed(_) => connection.close(2, "malformed frame"),
            _ => {}
        }
        tracing::debug!(client = %connection.remote_address(), %error, "request stream ended");
    }
    let _ = door.inputs.send(Input::Gone(number)).await;
}

async fn read_requests(
    mut reader: FrameReader,
    number: u64,
    replies: &Replies,
    door: &Door,
) -> Result<(), TransportError> {
    while let Some(bytes) = reader.next(CLIENT_FRAME_BYTES).await? {
        let frame =
            RequestFrame::decode(&bytes).map_err(|error| TransportError::Malformed(error.to_string()))?;
        let id = frame.id;
        replies.load.requests.fetch_add(1, Relaxed);
        let event = Event::Client { caller: Caller { connection: number, request: id }, frame };
        let full = if replies.load.requests.load(Relaxed) > REQUESTS_PER_CONNECTION {
            Some("this connection's queue of requests")
        } else if replies.load.bytes.load(Relaxed) > UNSENT_BYTES {
            Some("this connection's queue of answers")
        } else if door.inputs.try_send(Input::Event(event)).is_err() {
            Some("the queue of requests")
        } else {
            None
        };
        if let Some(what) = full {
            let result = Err(Refused::Busy { what: what.to_owned() });
            replies.send(Bytes::from(ResponseFrame { id, result }.encode()));
        }
    }
    // The client has no more to ask; what it asked is still answered until it closes the connection.
    std::future::pending().await
}

async fn write_answers(
    mut writer: FrameWriter,
    mut unsent: mpsc::UnboundedReceiver<Bytes>,
    load: &Load,
) -> Result<(), TransportError> {
    let mut frames = Vec::with_capacity(WRITE_BATCH);
    while unsent.recv_many(&mut frames, WRITE_BATCH).await > 0 {
        writer.write(&frames).await?;
        load.requests.fetch_sub(frames.len(), Relaxed);
        load.bytes.fetch_sub(frames.iter().map(Bytes::len).sum(), Relaxed);
        frames.clear();
    }
    Ok(())
}
