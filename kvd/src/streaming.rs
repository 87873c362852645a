//! Carries states between servers: a connection of its own for each, so that heartbeats and appends share nothing with
//! it, and a thread of its own at each end, so that neither reading nor writing one holds anything up.
//!
//! ```text
//!  sender                                         receiver
//!    thread: blocks of a view ─► task ─── stream ──► task ─► thread: a file that is not current
//!                                 ◄── one byte ─────  taken or not, once the node has decided
//! ```
//!
//! Everything in between is bounded: a few blocks in each queue, and the windows of QUIC. The receiver reads as fast as
//! it writes, the sender sends as fast as it is allowed to and as the receiver reads. A stream on which nothing moves for
//! [`PATIENCE`] is given up, and so is one that takes longer than [`LIFE`]: the view behind it keeps pages of the store
//! from being used again. Nothing is decided here; the node says whether a state is taken.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::limits::SNAPSHOT_BLOCK_BYTES;
use raft::NodeId;
use tokio::sync::{mpsc, oneshot};
use transport::{CloseCode, Connection, Endpoint, FrameReader, FrameWriter, TransportError};

use crate::{
    directory::Directory,
    driver::{Input, spawn},
    event::{Event, Transfer},
    members::Members,
    metrics::{Meters, Transfers, meter::Held},
    peers::dial,
    snapshot::{Head, Progress, Received, Receiver, Sending, SnapshotError},
};

/// Most blocks between a task and its thread.
const QUEUE: usize = 4;
/// After so long without a block the stream is given up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest time for one state.
const LIFE: Duration = Duration::from_hours(1);
/// Most states that are offered at one time; those beyond are refused unread.
const OFFERED: usize = 4;
/// The answer of a server that has made the state current.
const TAKEN: u8 = 1;

/// Why a state did not get through.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    #[error("nothing moved for {} s", PATIENCE.as_secs())]
    Stuck,
    #[error("it took longer than {} minutes", LIFE.as_secs() / 60)]
    TooLong,
    #[error("the other end did not take it")]
    Refused,
    #[error("it was ended before it was whole")]
    Cut,
}

/// What the loop holds of all this.
pub(crate) struct Streaming {
    endpoint: Arc<Endpoint>,
    directory: Directory,
    reports: mpsc::UnboundedSender<Input>,
    rate: u64,
    meters: Arc<Meters>,
    coming: HashMap<Transfer, Coming>,
}

/// A state that is offered: what the node decides goes to its task.
pub(crate) struct Coming {
    receive: Option<oneshot::Sender<Receiver>>,
    answer: oneshot::Sender<bool>,
}

/// The part of a state that comes in that waits for the node's decisions.
struct Decisions {
    receive: oneshot::Receiver<Receiver>,
    answer: oneshot::Receiver<bool>,
}

impl Streaming {
    /// Sends each state at most at `rate` bytes a second, and reports to the loop.
    pub(crate) fn new(
        endpoint: Arc<Endpoint>,
        directory: Directory,
        reports: mpsc::UnboundedSender<Input>,
        rate: u64,
        meters: Arc<Meters>,
    ) -> Self {
        Self { endpoint, directory, reports, rate, meters, coming: HashMap::new() }
    }

    /// A peer offers a state.
    pub(crate) fn offered(&mut self, transfer: Transfer, coming: Coming) {
        self.coming.retain(|_, coming| !coming.answer.is_closed());
        self.coming.insert(transfer, coming);
    }

    /// Sends a state, and reports what came of it.
    pub(crate) fn send(&self, peer: NodeId, session: u64, sending: Sending) {
        let (endpoint, members) = (Arc::clone(&self.endpoint), self.directory.now());
        let (reports, rate, meters) = (self.reports.clone(), self.rate, Arc::clone(&self.meters));
        tokio::spawn(async move {
            let _underway = Held::new(&meters, |meters| &meters.sent.underway);
            let (name, at) = (members.name(peer).to_owned(), sending.head().at);
            tracing::info!(
                peer = name,
                index = at.index.0,
                "sends the state: the log it needs was discarded"
            );
            let began = Instant::now();
            let life =
                tokio::time::timeout(LIFE, send(&endpoint, &members, (peer, sending), rate, &meters.sent))
                    .await;
            let outcome = life.unwrap_or(Err(StreamError::TooLong));
            meters.sent.ended(outcome.is_ok());
            match &outcome {
                Ok(bytes) => {
                    let seconds = began.elapsed().as_secs_f64();
                    tracing::info!(peer = name, index = at.index.0, bytes, seconds, "the state was taken");
                }
                Err(error) => {
                    tracing::warn!(peer = name, index = at.index.0, %error, "the state was not taken");
                }
            }
            let installed = outcome.is_ok();
            let _ = reports.send(Input::Event(Event::SnapshotSent { peer, session, installed }));
        });
    }

    /// The node takes the state that is offered.
    pub(crate) fn receive(&mut self, transfer: Transfer, receiver: Receiver) {
        let receive = self.coming.get_mut(&transfer).and_then(|coming| coming.receive.take());
        if receive.is_none_or(|receive| receive.send(receiver).is_err()) {
            self.ended(transfer, None);
        }
    }

    /// The node has decided.
    pub(crate) fn answer(&mut self, transfer: Transfer, installed: bool) {
        if let Some(coming) = self.coming.remove(&transfer) {
            // The other end may have gone.
            let _ = coming.answer.send(installed);
        }
    }

    fn ended(&self, transfer: Transfer, received: Option<Box<Received>>) {
        let _ = self.reports.send(Input::Event(Event::SnapshotEnded { transfer, received }));
    }
}

/// Sends a state over a connection of its own; returns how many bytes it took.
async fn send(
    endpoint: &Endpoint,
    members: &Members,
    (peer, sending): (NodeId, Sending),
    rate: u64,
    meter: &Transfers,
) -> Result<u64, StreamError> {
    let member = members.get(peer).ok_or(StreamError::Refused)?;
    let connection = dial(endpoint, member).await?;
    let (mut writer, mut reader) = connection.open_bi().await?;
    let (blocks, mut queue) = mpsc::channel(QUEUE);
    let thread = spawn("send state", move || read_blocks(sending, &blocks));
    thread.map_err(TransportError::Io)?;
    let (began, mut sent) = (Instant::now(), 0_u64);
    while let Some(block) = queue.recv().await {
        let block = [Bytes::from(block?)];
        sent = sent.saturating_add(block[0].len() as u64);
        meter.bytes.add(block[0].len() as u64);
        tokio::select! {
            written = in_time(writer.write(&block)) => written?,
            answer = reader.next(1) => { answer?; return Err(StreamError::Refused) }
        }
        tokio::time::sleep(earliest(sent, rate).saturating_sub(began.elapsed())).await;
    }
    writer.finish();
    // It may take a while to be made current; the connection itself is watched by QUIC.
    let answer = reader.next(1).await?;
    connection.close(CloseCode::Done, "");
    if answer.is_some_and(|answer| *answer == [TAKEN]) { Ok(sent) } else { Err(StreamError::Refused) }
}

/// When so many bytes may have been sent at the earliest, from the beginning on.
pub(crate) fn earliest(sent: u64, rate: u64) -> Duration {
    let micros = u128::from(sent) * 1_000_000 / u128::from(rate.max(1));
    Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
}

async fn in_time<T>(what: impl Future<Output = Result<T, TransportError>>) -> Result<T, StreamError> {
    Ok(tokio::time::timeout(PATIENCE, what).await.map_err(|_| StreamError::Stuck)??)
}

/// Reads the view until it is at its end or nobody wants more.
pub(crate) fn read_blocks(mut sending: Sending, blocks: &mpsc::Sender<Result<Vec<u8>, SnapshotError>>) {
    loop {
        let block = match sending.next_block() {
            Ok(Some(block)) => Ok(block),
            Ok(None) => return,
            Err(error) => Err(SnapshotError::from(error)),
        };
        let failed = block.is_err();
        if blocks.blocking_send(block).is_err() || failed {
            return;
        }
    }
}

/// What receiving needs of the process.
#[derive(Clone)]
pub(crate) struct Gate {
    pub(crate) reports: mpsc::UnboundedSender<Input>,
    pub(crate) places: Arc<tokio::sync::Semaphore>,
    pub(crate) numbers: Arc<std::sync::atomic::AtomicU64>,
    pub(crate) meters: Arc<Meters>,
}

impl Gate {
    pub(crate) fn new(reports: mpsc::UnboundedSender<Input>, meters: Arc<Meters>) -> Self {
        let places = Arc::new(tokio::sync::Semaphore::new(OFFERED));
        Self { reports, places, numbers: Arc::default(), meters }
    }
}

/// Receives a state that a peer sends on this stream.
pub(crate) async fn serve(
    connection: Connection,
    writer: FrameWriter,
    reader: FrameReader,
    peer: String,
    gate: Gate,
) {
    let Ok(_place) = gate.places.clone().try_acquire_owned() else {
        connection.close(CloseCode::Limit, "busy: too many states are offered");
        return;
    };
    let taken = tokio::time::timeout(LIFE, take(writer, reader, &peer, &gate)).await;
    if matches!(taken, Ok(Ok(()))) {
        // The other end closes the connection once it has read the answer; an end from here could overtake that.
        let _ = tokio::time::timeout(PATIENCE, connection.closed()).await;
    }
    match taken {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(peer, %error, "a state that was offered was not taken");
        }
        Err(_) => {
            tracing::warn!(peer, error = %StreamError::TooLong, "a state that was offered was not taken");
        }
    }
}

async fn take(
    mut writer: FrameWriter,
    mut reader: FrameReader,
    peer: &str,
    gate: &Gate,
) -> Result<(), StreamError> {
    let first = in_time(reader.next(SNAPSHOT_BLOCK_BYTES)).await?.ok_or(StreamError::Cut)?;
    let head = Head::decode(&first).map_err(SnapshotError::from)?;
    let number = gate.numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let transfer = Transfer(number);
    let (receive, receiving) = oneshot::channel();
    let (answer, answered) = oneshot::channel();
    let coming = Coming { receive: Some(receive), answer };
    let _ = gate.reports.send(Input::Offered { transfer, head, coming });
    let mut decisions = Decisions { receive: receiving, answer: answered };
    let installed = tokio::select! {
        place = &mut decisions.receive => {
            let Ok(place) = place else { return Err(StreamError::Refused) };
            tracing::info!(peer, index = head.at.index.0, "receives the state");
            let _underway = Held::new(&gate.meters, |meters| &meters.received.underway);
            let received = absorb(&mut reader, place, first, &gate.meters.received).await;
            if let Err(error) = &received {
                tracing::warn!(peer, index = head.at.index.0, %error, "a state that came in is of no use");
            }
            let received = received.ok().map(Box::new);
            let _ = gate.reports.send(Input::Event(Event::SnapshotEnded { transfer, received }));
            let installed = decisions.answer.await.unwrap_or(false);
            gate.meters.received.ended(installed);
            installed
        }
        answer = &mut decisions.answer => answer.unwrap_or(false),
    };
    writer.write(&[Bytes::copy_from_slice(&[if installed { TAKEN } else { 0 }])]).await?;
    writer.finish();
    Ok(())
}

/// Takes all blocks through a thread that writes them.
async fn absorb(
    reader: &mut FrameReader,
    receiver: Receiver,
    first: Bytes,
    meter: &Transfers,
) -> Result<Received, StreamError> {
    meter.bytes.add(first.len() as u64);
    let (blocks, queue) = thread_channel::sync_channel::<Bytes>(QUEUE);
    let (progress, mut outcome) = mpsc::channel(QUEUE);
    spawn("receive state", move || write_blocks(receiver, &first, &queue, &progress))
        .map_err(TransportError::Io)?;
    let mut blocks = Some(blocks);
    loop {
        // A few blocks are under way to the disk, so a slow disk slows the sender down.
        if let Some(received) = outcome.recv().await.ok_or(StreamError::Cut)?? {
            return Ok(received);
        }
        if let Some(blocks_in) = &blocks {
            match in_time(reader.next(SNAPSHOT_BLOCK_BYTES)).await? {
                Some(block) => {
                    meter.bytes.add(block.len() as u64);
                    blocks_in.send(block).map_err(|_| StreamError::Cut)?;
                }
                None => blocks = None,
            }
        }
    }
}

/// Writes blocks, and says after each whether it was the last.
fn write_blocks(
    receiver: Receiver,
    first: &[u8],
    queue: &thread_channel::Receiver<Bytes>,
    progress: &mpsc::Sender<Result<Option<Received>, SnapshotError>>,
) {
    let mut receiving = match receiver.begin(first) {
        Ok(receiving) => Box::new(receiving),
        Err(error) => return drop(progress.blocking_send(Err(error))),
    };
    // As many as the queue holds may be on the way.
    for _ in 0..QUEUE {
        let _ = progress.blocking_send(Ok(None));
    }
    while let Ok(block) = queue.recv() {
        let (said, more) = match receiving.take(&block) {
            Ok(Progress::More(more)) => (Ok(None), Some(more)),
            Ok(Progress::Whole(whole)) => (Ok(Some(whole)), None),
            Err(error) => (Err(error), None),
        };
        if progress.blocking_send(said).is_err() {
            return;
        }
        match more {
            Some(more) => receiving = more,
            None => return,
        }
    }
    if let Some(whole) = receiving.cut() {
        let _ = progress.blocking_send(Ok(Some(whole)));
    }
}
