//! Client connections: frames to events, answers to frames. Nothing is decided here but what a full queue means.
//!
//! A connection greets with [`Welcome`] on a stream of its own, then serves the client's streams of requests, at most
//! [`STREAMS`] and those of watches; a stream that begins with a scan is that scan's alone ([`scans`]), and so with a watch
//! ([`watches`]) and a save ([`saves`]). Each other stream is one of requests, and bounded ([`requests`]). A connection to the
//! socket of this machine is one such stream ([`socket`](crate::socket)).

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use protocol::{
    Refused, Request, RequestFrame, Response, ResponseFrame, Welcome, limits::WATCHES_PER_CONNECTION,
};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use transport::{CloseCode, Connection, FrameReader, FrameWriter, TransportError};

use crate::{
    directory::Directory,
    driver::Input,
    metrics::Meters,
    node::Node,
    saves::{self, Saves},
    scans::{self, Scans},
    watches::{self, Watches},
};

pub(crate) mod requests;

/// Most streams of one connection that are no watches.
const STREAMS: usize = 16;
/// Most bytes of answers waiting for one client; beyond it its requests are refused as busy.
const UNSENT_BYTES: usize = 8 * 1024 * 1024;
/// How long a connection to the socket of this machine may take to ask the first time.
pub(crate) const FIRST: Duration = Duration::from_secs(30);

/// The places of one connection.
#[derive(Clone)]
struct Own {
    streams: Arc<Semaphore>,
    scans: scans::Own,
    watches: watches::Own,
}

impl Own {
    /// All are free.
    fn new() -> Self {
        let streams = Arc::new(Semaphore::new(STREAMS));
        Self { streams, scans: scans::Own::new(), watches: watches::Own::new() }
    }
}

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

    /// As of a node that follows.
    #[cfg(test)]
    pub(crate) fn led_by(leader: u64) -> Self {
        Self { applied: 0, leader: Some(raft::NodeId(leader)) }
    }

    /// Whether the node knows of no leader.
    pub(crate) fn is_leaderless(&self) -> bool {
        self.leader.is_none()
    }
}

/// What every connection needs from the process.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) inputs: mpsc::Sender<Input>,
    pub(crate) greeting: watch::Receiver<Greeting>,
    pub(crate) directory: Directory,
    pub(crate) numbers: Arc<AtomicU64>,
    pub(crate) scans: Scans,
    pub(crate) saves: Saves,
    pub(crate) watches: Watches,
    pub(crate) meters: Arc<Meters>,
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
    /// Told whenever the client has taken answers.
    taken: Notify,
}

impl Replies {
    /// With who takes the answers.
    pub(crate) fn pair() -> (Self, mpsc::UnboundedReceiver<Bytes>) {
        let (frames, unsent) = mpsc::unbounded_channel();
        (Self { frames, load: Arc::default() }, unsent)
    }

    /// Queues one answer; it is dropped when the client has gone.
    fn send(&self, frame: Bytes) {
        self.load.bytes.fetch_add(frame.len(), Relaxed);
        let _ = self.frames.send(frame);
    }

    /// As `send`, but what was read is withheld from a client that does not take its answers: many reads that were
    /// taken in while nothing waited may all be answered with large values.
    fn answer(&self, frame: &ResponseFrame) {
        let full = self.load.bytes.load(Relaxed) > UNSENT_BYTES;
        if full && matches!(frame.result, Ok(Response::Value { .. } | Response::Events(_))) {
            return self.busy(frame.id, "this connection's queue of answers");
        }
        self.send(Bytes::from(frame.encode()));
    }

    fn busy(&self, id: u64, what: &str) {
        self.refuse(id, Refused::Busy { what: what.to_owned() });
    }

    fn refuse(&self, id: u64, refused: Refused) {
        self.send(Bytes::from(ResponseFrame { id, result: Err(refused) }.encode()));
    }
}

/// The streams of requests that the loop knows.
///
/// A stream that ends says nothing: its task may be aborted with its connection at any time. It is noticed by the
/// receiver of its answers being gone, and looked for whenever the table has doubled, so that there are at most
/// twice as many streams in it as are open (and a few).
pub(crate) struct Streams {
    open: HashMap<u64, Replies>,
    sweep_at: usize,
}

impl Streams {
    /// So few are never looked through.
    const FEW: usize = 64;

    pub(crate) fn new() -> Self {
        Self { open: HashMap::new(), sweep_at: Self::FEW }
    }

    /// A stream was opened: its answers go to `replies`.
    pub(crate) fn connected(&mut self, number: u64, replies: Replies) {
        if self.open.len() >= self.sweep_at {
            self.open.retain(|_, replies| !replies.frames.is_closed());
            self.sweep_at = (2 * self.open.len()).max(Self::FEW);
        }
        self.open.insert(number, replies);
    }

    /// Queues an answer for a stream, if it is still there.
    pub(crate) fn reply(&self, number: u64, frame: &ResponseFrame) {
        if let Some(replies) = self.open.get(&number) {
            replies.answer(frame);
        }
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
    let own = Own::new();
    loop {
        let (writer, reader) = connection.accept_bi().await?;
        while streams.try_join_next().is_some() {}
        if streams.len() >= STREAMS + WATCHES_PER_CONNECTION {
            connection.close(CloseCode::Limit, "too many request streams");
            return Ok(());
        }
        let far = Far::Net(connection.clone());
        streams.spawn(serve_stream((writer, reader), door.clone(), own.clone(), far));
    }
}

/// Serves the one stream of a connection on this machine, after its greeting.
pub(crate) async fn serve_local(stream: (FrameWriter, FrameReader), door: Door) {
    serve_stream(stream, door, Own::new(), Far::Local).await;
}

/// The far end of a stream.
enum Far {
    /// It has more streams on this connection.
    Net(Connection),
    /// It has this one, which ends when nobody serves it any more.
    Local,
}

impl Far {
    /// Ends everything that it has.
    fn close(&self, code: CloseCode, reason: &str) {
        if let Self::Net(connection) = self {
            connection.close(code, reason);
        }
    }
}

impl Far {
    /// The first request. Here a process that has said nothing within `patience` gives its place back; a connection over the
    /// network bounds its own.
    async fn first(
        &self,
        reader: &mut FrameReader,
        patience: Duration,
    ) -> Result<Option<RequestFrame>, TransportError> {
        let first = requests::next(reader);
        match self {
            Self::Net(_) => first.await,
            Self::Local => {
                let first = tokio::time::timeout(patience, first).await;
                first.unwrap_or(Err(TransportError::Silent))
            }
        }
    }
}

impl std::fmt::Display for Far {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Net(connection) => connection.remote_address().fmt(f),
            Self::Local => f.write_str("the admin socket"),
        }
    }
}

impl Door {
    pub(crate) fn welcome(&self) -> Welcome {
        let greeting = self.greeting.borrow().clone();
        let members = self.directory.now();
        let address = greeting.leader.and_then(|leader| members.address(leader));
        Welcome {
            cluster: members.cluster(),
            node: members.me().0,
            applied: greeting.applied,
            leader: greeting.leader.map(|leader| leader.0),
            leader_address: address.map(ToOwned::to_owned),
            members: members.list().to_vec(),
        }
    }
}

/// The first frame says what a stream is for.
async fn serve_stream((writer, mut reader): (FrameWriter, FrameReader), door: Door, own: Own, far: Far) {
    let number = door.numbers.fetch_add(1, Relaxed);
    let outcome = match far.first(&mut reader, FIRST).await {
        Ok(Some(frame)) => serve_first(frame, (writer, reader), number, (&door, &own), &far).await,
        Ok(None) => return,
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        match error {
            TransportError::TooLarge { .. } => far.close(CloseCode::Limit, "frame over the limit"),
            TransportError::Malformed(_) => far.close(CloseCode::Malformed, "malformed frame"),
            _ => {}
        }
        tracing::debug!(client = %far, %error, "stream of a client ended");
    }
}

async fn serve_first(
    frame: RequestFrame,
    (writer, reader): (FrameWriter, FrameReader),
    number: u64,
    (door, own): (&Door, &Own),
    far: &Far,
) -> Result<(), TransportError> {
    if let Request::Watch(watch) = &frame.request {
        let (watch, watches) = (watch.clone(), (&door.watches, &own.watches));
        return watches::serve(writer, (frame, watch), (number, &door.meters), watches, &door.inputs).await;
    }
    let Ok(_place) = own.streams.try_acquire() else {
        far.close(CloseCode::Limit, "too many request streams");
        return Ok(());
    };
    if let Request::Scan(scan) = &frame.request {
        let (scan, scans) = (scan.clone(), (&door.scans, &own.scans));
        return scans::serve(writer, (frame, scan), (number, &door.meters), scans, &door.inputs).await;
    }
    if let Request::Save = &frame.request {
        return saves::serve(writer, frame, (number, &door.meters), &door.saves, &door.inputs).await;
    }
    requests::serve(frame, (writer, reader), number, (&door.inputs, &door.meters), requests::IDLE).await
}

#[cfg(test)]
mod tests {
    use protocol::response::Found;

    use super::*;

    fn stream() -> (Replies, mpsc::UnboundedReceiver<Bytes>) {
        Replies::pair()
    }

    #[test]
    fn streams_that_ended_without_a_word_are_forgotten() {
        let mut streams = Streams::new();
        let (replies, mut answers) = stream();
        streams.connected(0, replies);
        for number in 1..=10_000 {
            streams.connected(number, stream().0);
        }
        assert!(streams.open.len() <= Streams::FEW + 1, "{} streams, one is open", streams.open.len());
        streams.reply(0, &ResponseFrame { id: 7, result: Err(Refused::Lost) });
        assert!(answers.try_recv().is_ok(), "the open one is still answered");
    }

    #[test]
    fn what_was_read_is_withheld_from_a_client_that_takes_no_answers() {
        let mut streams = Streams::new();
        let (replies, mut answers) = stream();
        let load = Arc::clone(&replies.load);
        streams.connected(0, replies);
        let value = vec![0; protocol::limits::VALUE_BYTES];
        let found = Some(Found { value, revision: 1, created: 1, version: 1, lease: None });
        for id in 0..1000 {
            let result = Ok(Response::Value { found: found.clone(), revision: 1, staleness_ms: None });
            streams.reply(0, &ResponseFrame { id, result });
        }
        assert!(load.bytes.load(Relaxed) < UNSENT_BYTES + 1024 * 1024, "bytes are bounded");
        let mut last = None;
        while let Ok(bytes) = answers.try_recv() {
            last = Some(ResponseFrame::decode(&bytes).unwrap());
        }
        let last = last.unwrap();
        assert!(last.id == 999 && matches!(last.result, Err(Refused::Busy { .. })), "each is answered");
    }
}
