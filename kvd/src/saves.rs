//! Serves backups: each has a stream of its own, a thread that reads the state for it, and nothing else.
//!
//! ```text
//!  stream ── save ──► the node ── Sending ──► task ◄── blocks ── thread
//!         ◄─────────── block ◄─────────────────┘
//! ```
//!
//! What is sent is what a follower is sent (`snapshot/send.rs`): one commit of the store, in blocks with checksums, an end
//! with the sum of all. The client paces it by reading, the node by the rate of its configuration; a few blocks are in memory
//! and what QUIC has not been acknowledged. The view behind it keeps pages of the store from being used again, so there are
//! few at a time ([`SAVES`]), one on which nothing moves is given up ([`PATIENCE`]), one that moves too slowly as well
//! ([`LEAST`]), and none takes longer than [`LIFE`]. A place is free again once the thread has let go of the view.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{Refused, RequestFrame, snapshot::SaveFrame};
use tokio::sync::{Semaphore, mpsc, oneshot};
use transport::{CloseCode, FrameWriter, TransportError};

use crate::{
    driver::{Input, spawn},
    event::Caller,
    metrics::Meters,
    snapshot::{Sending, SnapshotError},
    streaming::{earliest, read_blocks},
};

/// Most backups of a node at one time.
const SAVES: usize = 2;
/// Most blocks between the thread and the stream.
const QUEUE: usize = 4;
/// How long a client may take for one block: it may write to a pipe that is slow.
const PATIENCE: Duration = Duration::from_mins(1);
/// Bytes of a second that a client takes at least, from its second minute on: a place is not for who trickles.
const LEAST: u64 = 128 * 1024;
/// Longest time for one backup.
const LIFE: Duration = Duration::from_hours(1);

/// What the node makes of a request for a backup.
pub(crate) type Answer = Result<Box<Sending>, Refused>;

/// What all tasks that serve backups share.
#[derive(Clone)]
pub(crate) struct Saves {
    places: Arc<Semaphore>,
    /// Bytes of a second.
    rate: u64,
    patience: Duration,
    /// See [`LEAST`].
    least: u64,
    life: Duration,
}

impl Saves {
    /// Sends each at most at `rate` bytes a second.
    pub(crate) fn new(rate: u64) -> Self {
        Self { places: Arc::new(Semaphore::new(SAVES)), rate, patience: PATIENCE, least: LEAST, life: LIFE }
    }
}

impl Saves {
    /// Whether a client that took so much in this time keeps its place from others.
    fn is_too_slow(&self, sent: u64, took: Duration) -> bool {
        // What lies in the stream's window is sent before anybody reads.
        took > self.patience && earliest(sent, self.least) < took.saturating_sub(self.patience)
    }
}

/// Serves the save that a stream began with.
pub(crate) async fn serve(
    mut writer: FrameWriter,
    frame: RequestFrame,
    (number, meters): (u64, &Meters),
    saves: &Saves,
    inputs: &mpsc::Sender<Input>,
) -> Result<(), TransportError> {
    // Answers to other requests of this client go first.
    writer.set_priority(-1);
    match begin(frame, (number, meters), saves, inputs).await {
        Ok(blocks) => write_blocks(&mut writer, blocks, saves).await?,
        Err(refused) => writer.write(&[Bytes::from(SaveFrame::Refused(refused).encode())]).await?,
    }
    writer.finish();
    Ok(())
}

type Blocks = mpsc::Receiver<Result<Vec<u8>, SnapshotError>>;

/// The blocks of what the node gives. A refusal of which the node does not hear is counted here.
async fn begin(
    frame: RequestFrame,
    (number, meters): (u64, &Meters),
    saves: &Saves,
    inputs: &mpsc::Sender<Input>,
) -> Result<Blocks, Refused> {
    let busy = |what: String| {
        let refused = Refused::Busy { what };
        meters.refused(&refused);
        refused
    };
    let place = Arc::clone(&saves.places).try_acquire_owned();
    let place = place.map_err(|_| busy(format!("this node's table of {SAVES} backups")))?;
    let (answer, answered) = oneshot::channel();
    let caller = Caller { connection: number, request: frame.id };
    let asked = inputs.try_send(Input::Save { caller, frame, at: Instant::now(), answer });
    asked.map_err(|_| busy("the queue of requests".into()))?;
    let about_to_end = |_| Err(Refused::Unavailable("the node is about to end".into()));
    let sending = answered.await.unwrap_or_else(about_to_end)?;
    let (blocks, queue) = mpsc::channel(QUEUE);
    let thread = spawn("save", move || {
        read_blocks(*sending, &blocks);
        drop(place);
    });
    thread.map_err(|error| Refused::Unavailable(format!("the node has no thread for it: {error}")))?;
    Ok(queue)
}

async fn write_blocks(
    writer: &mut FrameWriter,
    mut blocks: Blocks,
    saves: &Saves,
) -> Result<(), TransportError> {
    let (began, mut sent) = (Instant::now(), 0_u64);
    while let Some(block) = blocks.recv().await {
        let (frame, more) = match block {
            Ok(_) if began.elapsed() >= saves.life => {
                let why = format!("a backup may take {} s", saves.life.as_secs());
                (SaveFrame::Cut(why), false)
            }
            Ok(_) if saves.is_too_slow(sent, began.elapsed()) => {
                let why = format!("a backup must be taken at {} KiB/s at least", saves.least / 1024);
                (SaveFrame::Cut(why), false)
            }
            Ok(block) => {
                sent = sent.saturating_add(block.len() as u64);
                (SaveFrame::Block(block), true)
            }
            Err(error) => {
                tracing::error!(%error, "a backup cannot go on");
                (SaveFrame::Cut(error.to_string()), false)
            }
        };
        let frame = [Bytes::from(frame.encode())];
        let Ok(written) = tokio::time::timeout(saves.patience, writer.write(&frame)).await else {
            // In the middle of a frame nothing can be said any more.
            writer.reset(CloseCode::Limit);
            return Ok(());
        };
        written?;
        if !more {
            return Ok(());
        }
        tokio::time::sleep(earliest(sent, saves.rate).saturating_sub(began.elapsed())).await;
    }
    tracing::info!(bytes = sent, seconds = began.elapsed().as_secs_f64(), "a backup was sent");
    Ok(())
}

#[cfg(test)]
mod tests;
