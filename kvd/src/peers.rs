//! Connections between servers. Each node dials every other and sends on its own connection; what it is sent
//! comes on theirs, each stream after a greeting that says who the sender is and where it is reached. Whoever is not the life
//! of a server that is known is not listened to (`recognition.rs`). Messages that find no connection or a full queue are lost, as on a network, and the core is told.
//!
//! Liveness is decided by Raft's acknowledged rounds. The idle timer here only ends connections that say nothing, so
//! that they are dialled again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{Member, PeerFrame, PeerHello, limits::PEER_FRAME_BYTES};
use raft::{Envelope, NodeId};
use tokio::{sync::mpsc, task::AbortHandle};
use transport::{CloseCode, Connection, Endpoint, FrameReader, TransportError};

use crate::{
    directory::Directory,
    driver::Input,
    event::Event,
    members::Members,
    metrics::Meters,
    recognition::{Guard, Turn, Verdict},
    streaming::{self, Gate},
};

/// Most messages waiting for one peer.
const QUEUE: usize = 1024;
/// Most bytes waiting for one peer; a batch of appends of the largest size fits several times.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Most messages written at once.
const WRITE_BATCH: usize = 64;
/// First and longest pause between two attempts to dial.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(500));
/// So often is a server dialled that nobody knows: it said where it is reached, and may be gone for good.
const STRANGER_TRIES: u32 = 20;
/// Most streams a peer may open on one connection.
const STREAMS: usize = 8;

/// The queue to one peer.
#[derive(Clone)]
pub(crate) struct PeerSender {
    frames: mpsc::Sender<Bytes>,
    unsent: Arc<std::sync::atomic::AtomicUsize>,
    cluster: protocol::ClusterId,
}

#[cfg(test)]
impl PeerSender {
    /// To nobody.
    pub(crate) fn nowhere() -> Self {
        let cluster = protocol::ClusterId([0; 16]);
        Self { frames: mpsc::channel(1).0, unsent: Arc::default(), cluster }
    }
}

impl PeerSender {
    /// Queues a message; `false` when there is no room, and it is lost.
    pub(crate) fn send(&self, envelope: Envelope) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        if self.unsent.load(Relaxed) > QUEUE_BYTES {
            return false;
        }
        let bytes = Bytes::from(PeerFrame { cluster: self.cluster, group: 0, envelope }.encode());
        let size = bytes.len();
        let queued = self.frames.try_send(bytes).is_ok();
        if queued {
            self.unsent.fetch_add(size, Relaxed);
        }
        queued
    }
}

/// What this server says of itself in each greeting.
pub(crate) struct Own {
    pub(crate) cluster: protocol::ClusterId,
    pub(crate) id: NodeId,
    /// Where it is reached.
    pub(crate) address: String,
    /// Which life of it, and of others.
    pub(crate) guard: Arc<Guard>,
}

impl Own {
    fn greet(&self, peer: NodeId) -> Bytes {
        let hello = PeerHello {
            cluster: self.cluster,
            from: self.id,
            presence: self.guard.me(),
            known: self.guard.known(peer),
            address: self.address.clone(),
        };
        Bytes::from(hello.encode())
    }
}

/// Keeps a connection to `peer` and sends what is queued, until it is aborted; to a stranger until that is not reached for
/// [`STRANGER_TRIES`].
pub(crate) fn connect(
    endpoint: Arc<Endpoint>,
    own: Arc<Own>,
    peer: Member,
    is_stranger: bool,
    reports: mpsc::UnboundedSender<Input>,
    meters: Arc<Meters>,
) -> (PeerSender, AbortHandle) {
    let (frames, queue) = mpsc::channel(QUEUE);
    let unsent = Arc::default();
    let sender = PeerSender { frames, unsent: Arc::clone(&unsent), cluster: own.cluster };
    let link = Link { endpoint, own, peer, is_stranger, queue, unsent, reports, meters };
    (sender, tokio::spawn(link.run()).abort_handle())
}

struct Link {
    endpoint: Arc<Endpoint>,
    own: Arc<Own>,
    peer: Member,
    is_stranger: bool,
    queue: mpsc::Receiver<Bytes>,
    unsent: Arc<std::sync::atomic::AtomicUsize>,
    reports: mpsc::UnboundedSender<Input>,
    meters: Arc<Meters>,
}

impl Link {
    async fn run(mut self) {
        let (mut pause, mut said, mut failures) = (BACKOFF.0, false, 0);
        loop {
            match dial(&self.endpoint, &self.peer).await {
                Ok(connection) => {
                    (said, failures) = (false, 0);
                    let began = Instant::now();
                    self.carry(&connection).await;
                    // Whoever is not let in is connected for a moment only, and asks again no faster than others.
                    if began.elapsed() > BACKOFF.1 {
                        pause = BACKOFF.0;
                    }
                }
                Err(error) => {
                    // Once an outage: a peer that is down is no news every half second.
                    if !said {
                        tracing::warn!(peer = self.peer.name, address = self.peer.address, %error, "cannot connect");
                    }
                    (said, failures) = (true, failures + 1);
                    if self.is_stranger && failures >= STRANGER_TRIES {
                        return;
                    }
                }
            }
            if self.reports.send(Input::Event(Event::Unreachable(NodeId(self.peer.id)))).is_err() {
                return;
            }
            self.forget_queue();
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF.1);
        }
    }

    async fn carry(&mut self, connection: &Connection) {
        let peer = self.peer.name.clone();
        // Once, and not at each attempt while nobody lets this server in.
        let quiet = self.own.guard.waits();
        if !quiet {
            tracing::info!(peer, "connected");
        }
        self.note(true);
        let error = self.send_all(connection).await;
        self.note(false);
        connection.close(CloseCode::Done, "");
        if !quiet {
            tracing::info!(peer, reason = %error, "disconnected");
        }
    }

    fn note(&self, connected: bool) {
        if let Some(meter) = self.meters.peer(NodeId(self.peer.id)) {
            meter.connected.set(connected.into());
        }
    }

    /// Sends until the connection ends; returns why it did.
    async fn send_all(&mut self, connection: &Connection) -> TransportError {
        let mut stream = match connection.open_uni().await {
            Ok(stream) => stream,
            Err(error) => return error,
        };
        let hello = self.own.greet(NodeId(self.peer.id));
        if let Err(error) = stream.write(&[hello]).await {
            return error;
        }
        let mut frames = Vec::with_capacity(WRITE_BATCH);
        loop {
            tokio::select! {
                count = self.queue.recv_many(&mut frames, WRITE_BATCH) => {
                    if count == 0 {
                        return TransportError::Closed("stopping".to_owned());
                    }
                }
                error = connection.closed() => return error,
            }
            let size = frames.iter().map(Bytes::len).sum();
            let sent = tokio::select! {
                sent = stream.write(&frames) => sent,
                error = connection.closed() => Err(error),
            };
            self.unsent.fetch_sub(size, std::sync::atomic::Ordering::Relaxed);
            frames.clear();
            if let Err(error) = sent {
                return error;
            }
        }
    }

    /// What queued for a connection that is gone is stale: the core repeats what still matters.
    fn forget_queue(&mut self) {
        while let Ok(frame) = self.queue.try_recv() {
            self.unsent.fetch_sub(frame.len(), std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// Dials a server at each of its addresses.
pub(crate) async fn dial(endpoint: &Endpoint, peer: &Member) -> Result<Connection, TransportError> {
    let mut failure = TransportError::Io(std::io::Error::other("the name has no address"));
    for address in tokio::net::lookup_host(&peer.address).await.map_err(TransportError::Io)? {
        match endpoint.dial_peer(address, peer.id).await {
            Ok(connection) => return Ok(connection),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Receives from one peer until its connection ends.
pub(crate) async fn serve(
    connection: Connection,
    from: NodeId,
    directory: Directory,
    inbox: mpsc::Sender<Input>,
    gate: Gate,
    guard: Arc<Guard>,
) {
    let mut streams = tokio::task::JoinSet::new();
    loop {
        let reader = tokio::select! {
            reader = connection.accept_uni() => reader,
            // A stream that both write carries a state.
            stream = connection.accept_bi() => {
                let Ok((writer, reader)) = stream else { return };
                if guard.waits() {
                    return connection.close(CloseCode::Misdirected, "this server waits to be recognised");
                }
                let name = directory.now().name(from).to_owned();
                return streaming::serve(connection, writer, reader, name, gate).await;
            }
        };
        let Ok(reader) = reader else { return };
        while streams.try_join_next().is_some() {}
        if streams.len() >= STREAMS {
            connection.close(CloseCode::Limit, "too many streams");
            return;
        }
        let (members, inbox, connection) = (directory.now(), inbox.clone(), connection.clone());
        let guard = Arc::clone(&guard);
        streams.spawn(async move {
            if let Err(error) = receive(reader, from, &members, &inbox, guard).await {
                tracing::debug!(peer = members.name(from), %error, "peer stream ended");
                connection.close(error.code(), &error.to_string());
            }
        });
    }
}

async fn receive(
    mut reader: FrameReader,
    from: NodeId,
    members: &Members,
    inbox: &mpsc::Sender<Input>,
    guard: Arc<Guard>,
) -> Result<(), Unfit> {
    let Some(first) = reader.next(PEER_FRAME_BYTES).await? else { return Ok(()) };
    let hello = PeerHello::decode(&first)?;
    if (hello.cluster, hello.from) != (members.cluster(), from) {
        return Err(Unfit::Misdirected("another cluster, or another node"));
    }
    say(guard.opinion(from, hello.known), &guard);
    let (at, speaks) = (Arc::clone(&guard), hello.presence);
    // The disk is waited for elsewhere: others are listened to meanwhile.
    let met = tokio::task::spawn_blocking(move || at.meet(from, speaks)).await;
    let verdict = met.map_err(std::io::Error::other).flatten().map_err(Unfit::NotKept)?;
    if !verdict.recognises() {
        let error = Unfit::NotRecognised(verdict);
        if guard.turned_away(from, hello.presence) {
            tracing::warn!(peer = members.name(from), %error, "not let in");
        }
        return Err(error);
    }
    // Said once for the stream and repeated by nobody, so that it waits for room. It comes before what follows on the stream.
    if inbox.send(Input::Heard { from, address: hello.address }).await.is_err() {
        return Ok(());
    }
    while let Some(bytes) = reader.next(PEER_FRAME_BYTES).await? {
        if !guard.hears(from, hello.presence) {
            return Err(Unfit::NotRecognised(Verdict::Rewound));
        }
        // A full inbox loses the message; Raft repeats it. So does a server that waits to be recognised.
        if guard.waits() {
            continue;
        }
        let _ = inbox.try_send(Input::Event(Event::Peer(admit(&bytes, from, members)?)));
    }
    Ok(())
}

/// One line when this server begins or ends to wait, whichever peer it hears it from.
fn say(turn: Turn, guard: &Guard) {
    match turn {
        Turn::None => {}
        Turn::Waits => tracing::error!("not recognised: {}", guard.trouble()),
        Turn::TakesPart => tracing::info!("recognised; takes part"),
    }
}

/// What a frame says, if it is from whom the certificate names, for this node, and of this cluster's only group.
fn admit(bytes: &[u8], from: NodeId, members: &Members) -> Result<Envelope, Unfit> {
    let PeerFrame { cluster, group, envelope } = PeerFrame::decode(bytes)?;
    if cluster != members.cluster() || group != 0 {
        return Err(Unfit::Misdirected("another cluster"));
    }
    if envelope.from != from || envelope.to != members.me() {
        return Err(Unfit::Misdirected("another node"));
    }
    Ok(envelope)
}

/// Why a peer's stream, and its connection with it, is ended.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("malformed frame: {0}")]
    Malformed(#[from] protocol::DecodeError),
    #[error("a frame of or for {0}")]
    Misdirected(&'static str),
    #[error("{}", match .0 {
        Verdict::Rewound => "its data directories are an older copy of those that are known here",
        _ => "its data directories are others than those that are known here",
    })]
    NotRecognised(Verdict),
    #[error("which life of it this is cannot be kept: {0}")]
    NotKept(std::io::Error),
}

impl Unfit {
    fn code(&self) -> CloseCode {
        match self {
            Self::Transport(TransportError::TooLarge { .. }) | Self::NotKept(_) => CloseCode::Limit,
            Self::Transport(_) | Self::Malformed(_) => CloseCode::Malformed,
            Self::Misdirected(_) | Self::NotRecognised(_) => CloseCode::Misdirected,
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{ClusterId, Presence};
    use raft::{Message, Position, Term};
    use transport::{LocalListener, Visitor, dial_local};

    use super::*;

    /// Node 1 of a cluster of two hears a frame from node 2.
    fn heard(cluster: u8, group: u32, from: u64, to: u64) -> Result<Envelope, CloseCode> {
        let member = |id| Member { id, name: format!("n{id}"), ..Member::default() };
        let members = Members::new(ClusterId([1; 16]), NodeId(1), vec![member(1), member(2)]);
        let message = Message::Vote { last: Position::ZERO, handed: false };
        let envelope = Envelope { from: NodeId(from), to: NodeId(to), term: Term(1), message };
        let frame = PeerFrame { cluster: ClusterId([cluster; 16]), group, envelope };
        admit(&frame.encode(), NodeId(2), &members).map_err(|unfit| unfit.code())
    }

    /// Node 2 greets on a stream of its own, and ends it.
    async fn greet(inbox: &mpsc::Sender<Input>) -> Result<(), Unfit> {
        let members =
            Members::new(ClusterId([1; 16]), NodeId(1), vec![Member { id: 1, ..Member::default() }]);
        let home = tempfile::tempdir().unwrap();
        let listener = LocalListener::bind(&home.path().join("s")).unwrap();
        let mut client = dial_local(listener.path()).await.unwrap();
        let Visitor::Welcome(server) = listener.accept().await.unwrap() else { panic!("it is our own user") };
        let presence = Presence { incarnation: [2; 16], boot: 1, process: 1 };
        let (cluster, from, address) = (ClusterId([1; 16]), NodeId(2), "b:1".into());
        let hello = PeerHello { cluster, from, presence, known: None, address };
        client.0.write(&[Bytes::from(hello.encode())]).await.unwrap();
        drop(client);
        let known = Directory::fixed(members.clone());
        let guard = Guard::open(home.path(), presence, false, known).unwrap();
        receive(server.1, NodeId(2), &members, inbox, Arc::new(guard)).await
    }

    #[tokio::test]
    async fn who_greets_again_and_again_waits_for_the_loop_and_is_heard() {
        let (inbox, mut queue) = mpsc::channel(2);
        for _ in 0..2 {
            greet(&inbox).await.unwrap();
        }
        let mut third = std::pin::pin!(greet(&inbox));
        let early = tokio::time::timeout(Duration::from_millis(50), &mut third).await;
        assert!(early.is_err() && queue.len() == 2, "there is no room for it");
        assert!(matches!(queue.recv().await, Some(Input::Heard { from: NodeId(2), .. })));
        tokio::time::timeout(Duration::from_secs(20), third).await.unwrap().unwrap();
        assert_eq!(queue.len(), 2, "it is not lost");
    }

    #[test]
    fn only_what_is_meant_for_this_node_and_from_its_sender_is_taken() {
        assert!(heard(1, 0, 2, 1).is_ok());
        for (cluster, group, from, to) in [(2, 0, 2, 1), (1, 1, 2, 1), (1, 0, 3, 1), (1, 0, 2, 3)] {
            assert_eq!(heard(cluster, group, from, to), Err(CloseCode::Misdirected));
        }
    }
}
