//! A stream of requests, answered one by one in any order.
//!
//! ```text
//!  reader ── Asked ──► the loop ── answer ──┐
//!     ├── busy, invalid, events ───────────►├──► queue of answers ──► writer ──► the client
//!     └◄─────────────── answers were taken ──────────────────────────┘
//! ```
//!
//! Beyond [`REQUESTS_PER_CONNECTION`] unanswered requests, or [`UNSENT_BYTES`] of answers that the client has not taken, a
//! request is answered `busy`. That is an answer as well: beyond twice either bound nothing is read until the client takes
//! some, so that one which only asks fills its own window and nobody's memory. What is answered here costs the thread of the
//! loop: events, which are many at once, are read for one request of a stream at a time, and nobody is served more than
//! [`AT_ONCE`] requests without the others having a turn.
//!
//! On the socket of this machine, which has few places, a stream that says nothing and waits for nothing for [`IDLE`] is
//! ended, and so is one that takes no answer for as long. Its client opens another one when it needs one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    Refused, Request, RequestFrame, Response, ResponseFrame,
    limits::{CLIENT_FRAME_BYTES, REQUESTS_PER_CONNECTION},
};
use tokio::{sync::mpsc, time::timeout};
use transport::{FrameReader, FrameWriter, TransportError};

use super::{Load, Replies, UNSENT_BYTES};
use crate::{driver::Input, event::Caller, metrics::Meters};

/// How long a stream of the socket of this machine may be of no use.
pub(crate) const IDLE: Duration = Duration::from_mins(5);
/// Most answers written at once.
const WRITE_BATCH: usize = 256;
/// Most requests that are taken before others have a turn.
const AT_ONCE: usize = 64;

impl Load {
    /// What is full, if something is.
    fn full(&self) -> Option<&'static str> {
        if self.requests.load(Relaxed) > REQUESTS_PER_CONNECTION {
            Some("this connection's queue of requests")
        } else if self.bytes.load(Relaxed) > UNSENT_BYTES {
            Some("this connection's queue of answers")
        } else {
            None
        }
    }

    /// Waits until there is room for a `busy` at least.
    async fn room(&self) {
        while self.requests.load(Relaxed) > 2 * REQUESTS_PER_CONNECTION
            || self.bytes.load(Relaxed) > 2 * UNSENT_BYTES
        {
            self.taken.notified().await;
        }
    }

    /// Waits until the client has taken all answers that there are.
    async fn empty(&self) {
        while self.bytes.load(Relaxed) > 0 {
            self.taken.notified().await;
        }
    }
}

/// The next request of a stream.
pub(super) async fn next(reader: &mut FrameReader) -> Result<Option<RequestFrame>, TransportError> {
    reader.next(CLIENT_FRAME_BYTES).await?.map(|bytes| decode(&bytes)).transpose()
}

fn decode(bytes: &[u8]) -> Result<RequestFrame, TransportError> {
    RequestFrame::decode(bytes).map_err(|error| TransportError::Malformed(error.to_string()))
}

/// The next frame of a stream of requests. With a patience it is an error that none comes for so long while none is
/// unanswered.
pub(crate) async fn frame(
    reader: &mut FrameReader,
    unanswered: &AtomicUsize,
    patience: Option<Duration>,
) -> Result<Option<Bytes>, TransportError> {
    let Some(patience) = patience else { return reader.next(CLIENT_FRAME_BYTES).await };
    loop {
        match timeout(patience, reader.next(CLIENT_FRAME_BYTES)).await {
            Ok(frame) => return frame,
            Err(_) if unanswered.load(Relaxed) > 0 => {}
            Err(_) => return Err(TransportError::Silent),
        }
    }
}

/// Writes answers. With a patience it is an error that they are not taken for so long.
pub(crate) async fn put(
    writer: &mut FrameWriter,
    frames: &[Bytes],
    patience: Option<Duration>,
) -> Result<(), TransportError> {
    let written = writer.write(frames);
    match patience {
        Some(patience) => timeout(patience, written).await.map_err(|_| TransportError::Silent)?,
        None => written.await,
    }
}

/// Serves requests until the stream ends.
pub(super) async fn serve(
    first: RequestFrame,
    (writer, reader): (FrameWriter, FrameReader),
    number: u64,
    (inputs, meters): (&mpsc::Sender<Input>, &Meters),
    idle: Duration,
) -> Result<(), TransportError> {
    let (replies, unsent) = Replies::pair();
    if inputs.send(Input::Connected(number, replies.clone())).await.is_err() {
        return Ok(());
    }
    let load = Arc::clone(&replies.load);
    let patience = reader.is_local().then_some(idle);
    let asking = Asking { number, replies: &replies, inputs, meters, patience };
    tokio::select! {
        read = asking.read(first, reader) => read,
        written = write(writer, unsent, &load, patience) => written,
    }
}

/// The requests of one stream.
struct Asking<'a> {
    number: u64,
    replies: &'a Replies,
    inputs: &'a mpsc::Sender<Input>,
    meters: &'a Meters,
    /// How long it may be of no use.
    patience: Option<Duration>,
}

impl Asking<'_> {
    async fn read(&self, first: RequestFrame, mut reader: FrameReader) -> Result<(), TransportError> {
        let load = &self.replies.load;
        let (mut next, mut count) = (Some(first), 0_usize);
        while let Some(frame) = next.take() {
            let events = matches!(frame.request, Request::Events { .. });
            load.requests.fetch_add(1, Relaxed);
            self.take(frame);
            if events {
                load.empty().await;
            }
            load.room().await;
            count = count.wrapping_add(1);
            if count.is_multiple_of(AT_ONCE) {
                // Frames that have arrived are taken without waiting for anything.
                tokio::task::yield_now().await;
            }
            let bytes = self::frame(&mut reader, &load.requests, self.patience).await?;
            next = bytes.map(|bytes| decode(&bytes)).transpose()?;
        }
        if reader.is_local() {
            return Ok(());
        }
        // The client has no more to ask; what it asked is still answered until it closes the connection.
        std::future::pending().await
    }

    /// Hands a request to the loop, or answers it.
    fn take(&self, frame: RequestFrame) {
        let id = frame.id;
        if let Some(what) = self.replies.load.full() {
            return self.busy(id, what);
        }
        match frame.request {
            Request::Scan(_) | Request::Watch(_) | Request::Save => {
                let why = "a scan, a watch or a save needs a stream of its own";
                self.replies.refuse(id, Refused::Invalid(why.into()));
            }
            Request::Events { since_ms } => {
                self.meters.asked(&frame.request);
                let events = self.meters.journal.since(since_ms);
                self.replies.answer(&ResponseFrame { id, result: Ok(Response::Events(events)) });
            }
            _ => {
                let caller = Caller { connection: self.number, request: id };
                let input = Input::Asked { caller, frame, at: Instant::now() };
                if self.inputs.try_send(input).is_err() {
                    self.busy(id, "the queue of requests");
                }
            }
        }
    }

    fn busy(&self, id: u64, what: &str) {
        self.meters.refused(&Refused::Busy { what: String::new() });
        self.replies.busy(id, what);
    }
}

async fn write(
    mut writer: FrameWriter,
    mut unsent: mpsc::UnboundedReceiver<Bytes>,
    load: &Load,
    patience: Option<Duration>,
) -> Result<(), TransportError> {
    let mut frames = Vec::with_capacity(WRITE_BATCH);
    while unsent.recv_many(&mut frames, WRITE_BATCH).await > 0 {
        put(&mut writer, &frames, patience).await?;
        load.requests.fetch_sub(frames.len(), Relaxed);
        load.bytes.fetch_sub(frames.iter().map(Bytes::len).sum(), Relaxed);
        load.taken.notify_one();
        frames.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests;
