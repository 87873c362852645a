//! One connection to one node: a long stream on which requests leave and answers come back, told apart by number.
//!
//! ```text
//! send() ─► frames ─► writer task ─► stream ─► reader task ─► the oneshot of the request's number
//! ```
//!
//! The writer takes everything that queued while its last write ran and writes it at once: under load many requests
//! share a packet, alone one leaves immediately. A link exists from the server's [`Welcome`] on, so what a first
//! write needs is known; it ends once, with one reason for all that still wait. At most
//! [`limits::REQUESTS_PER_CONNECTION`] requests are unanswered: a permit stays with its request until the answer
//! comes, even when the caller has given up, because the server still holds the request then.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use protocol::{Refused, RequestFrame, Response, ResponseFrame, Welcome, limits};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use transport::{Connection, FrameReader, FrameWriter};

use crate::{
    dial::endpoint_error,
    error::EndpointError,
    local::{Unopened, Way},
    retry::Address,
};

/// Most frames of one write.
const BATCH: usize = 256;

/// What comes of a request on a link: the node's answer, or how the link ended without one.
pub(crate) type Answer = Result<Result<Response, Refused>, EndpointError>;

/// A connection on which requests can be sent; clones share it.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    address: Address,
    welcome: Welcome,
    carrier: Carrier,
    over: Notify,
    permits: Arc<Semaphore>,
    waiting: Mutex<Waiting>,
    suspect: AtomicBool,
}

/// What its streams go over.
enum Carrier {
    /// A connection that they share.
    Net(Connection),
    /// Nothing: each is a connection of its own to a socket of this machine.
    Local(Way),
}

struct Waiting {
    /// `None` once the link has ended.
    frames: Option<mpsc::UnboundedSender<Bytes>>,
    next_id: u64,
    requests: HashMap<u64, (oneshot::Sender<Answer>, OwnedSemaphorePermit)>,
    retired: bool,
    ended: Option<EndpointError>,
}

impl Link {
    /// Opens the stream and waits for the server's welcome.
    pub(crate) async fn open(address: Address, connection: Connection) -> Result<Self, EndpointError> {
        let welcome = welcome(&connection).await?;
        let streams = connection.open_bi().await.map_err(endpoint_error)?;
        Ok(Self::over(address, welcome, Carrier::Net(connection), streams))
    }

    /// The same on a socket of this machine.
    pub(crate) async fn open_local(address: Address, way: Way) -> Result<Self, Unopened> {
        let (welcome, streams) = way.open().await?;
        Ok(Self::over(address, welcome, Carrier::Local(way), streams))
    }

    fn over(
        address: Address,
        welcome: Welcome,
        carrier: Carrier,
        (writer, reader): (FrameWriter, FrameReader),
    ) -> Self {
        // Unbounded in type only: a frame needs a permit.
        let (frames, queued) = mpsc::unbounded_channel();
        let link = Self(Arc::new(Inner {
            address,
            welcome,
            carrier,
            over: Notify::new(),
            permits: Arc::new(Semaphore::new(limits::REQUESTS_PER_CONNECTION)),
            waiting: Mutex::new(Waiting {
                frames: Some(frames),
                next_id: 1,
                requests: HashMap::new(),
                retired: false,
                ended: None,
            }),
            suspect: AtomicBool::new(false),
        }));
        tokio::spawn(write(link.clone(), writer, queued));
        tokio::spawn(read(link.clone(), reader));
        link
    }

    /// The address it was dialled by.
    pub(crate) fn address(&self) -> &Address {
        &self.0.address
    }

    /// What the server said of itself.
    pub(crate) fn welcome(&self) -> &Welcome {
        &self.0.welcome
    }

    /// Whether a new request should go over it: it has neither ended nor stopped answering.
    pub(crate) fn is_good(&self) -> bool {
        !self.0.suspect.load(Ordering::Relaxed) && self.waiting().frames.is_some()
    }

    /// It did not answer in time. Whatever it says next clears that.
    pub(crate) fn suspect(&self) {
        self.0.suspect.store(true, Ordering::Relaxed);
    }

    /// Waits until another request may be sent.
    pub(crate) async fn permit(&self) -> OwnedSemaphorePermit {
        let permits = Arc::clone(&self.0.permits);
        permits.acquire_owned().await.expect("the semaphore of a link is never closed")
    }

    /// Sends the frame under a number of its own. From here on it may arrive.
    pub(crate) fn send(
        &self,
        permit: OwnedSemaphorePermit,
        frame: &mut RequestFrame,
    ) -> Result<oneshot::Receiver<Answer>, EndpointError> {
        let mut waiting = self.waiting();
        frame.id = waiting.next_id;
        let Some(frames) = &waiting.frames else { return Err(waiting.reason()) };
        if frames.send(frame.encode().into()).is_err() {
            return Err(waiting.reason());
        }
        waiting.next_id += 1;
        let (answer, answered) = oneshot::channel();
        waiting.requests.insert(frame.id, (answer, permit));
        Ok(answered)
    }

    /// Opens a stream of its own for a request that is answered by more than a frame.
    pub(crate) async fn stream(&self) -> Result<(FrameWriter, FrameReader), EndpointError> {
        match &self.0.carrier {
            Carrier::Net(connection) => connection.open_bi().await.map_err(endpoint_error),
            Carrier::Local(way) => Ok(way.open().await?.1),
        }
    }

    /// Another link has taken its place: it closes with its last answer.
    pub(crate) fn retire(&self) {
        let idle = {
            let mut waiting = self.waiting();
            waiting.retired = true;
            waiting.requests.is_empty()
        };
        if idle {
            self.end(&EndpointError::Dropped { reason: "replaced".into() });
        }
    }

    /// Ends the link; everything that waits on it is told why.
    pub(crate) fn end(&self, reason: &EndpointError) {
        let requests = {
            let mut waiting = self.waiting();
            waiting.frames = None;
            waiting.ended.get_or_insert_with(|| reason.clone());
            std::mem::take(&mut waiting.requests)
        };
        for (answer, _permit) in requests.into_values() {
            // A caller that gave up is not there to hear it.
            let _ = answer.send(Err(reason.clone()));
        }
        // The tasks let go of their halves of the stream.
        self.0.over.notify_one();
        if let Carrier::Net(connection) = &self.0.carrier {
            connection.close(transport::CloseCode::Done, "done");
        }
    }

    /// Hands an answer to whoever waits for it. An unknown number belongs to nobody and is ignored.
    fn answered(&self, response: ResponseFrame) {
        self.0.suspect.store(false, Ordering::Relaxed);
        let (waiter, finished) = {
            let mut waiting = self.waiting();
            let waiter = waiting.requests.remove(&response.id);
            (waiter, waiting.retired && waiting.requests.is_empty())
        };
        if let Some((answer, _permit)) = waiter {
            let _ = answer.send(Ok(response.result));
        }
        if finished {
            self.end(&EndpointError::Dropped { reason: "replaced".into() });
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn reason(&self) -> EndpointError {
        self.ended.clone().unwrap_or_else(|| EndpointError::Dropped { reason: "closed".into() })
    }
}

async fn welcome(connection: &Connection) -> Result<Welcome, EndpointError> {
    let mut reader = connection.accept_uni().await.map_err(endpoint_error)?;
    let bytes = reader.next(limits::CLIENT_FRAME_BYTES).await.map_err(endpoint_error)?;
    let bytes = bytes.ok_or_else(|| EndpointError::Dropped { reason: "no welcome".into() })?;
    Welcome::decode(&bytes).map_err(|error| EndpointError::Dropped { reason: error.to_string() })
}

async fn write(link: Link, mut writer: FrameWriter, mut queued: mpsc::UnboundedReceiver<Bytes>) {
    let mut batch = Vec::with_capacity(BATCH);
    while queued.recv_many(&mut batch, BATCH).await > 0 {
        if let Err(error) = writer.write(&batch).await {
            return link.end(&endpoint_error(error));
        }
        batch.clear();
    }
}

async fn read(link: Link, mut reader: FrameReader) {
    let reason = loop {
        let next = tokio::select! {
            next = reader.next(limits::CLIENT_FRAME_BYTES) => next,
            () = link.0.over.notified() => return,
        };
        match next {
            Ok(Some(bytes)) => match ResponseFrame::decode(&bytes) {
                Ok(response) => link.answered(response),
                Err(error) => break EndpointError::Dropped { reason: error.to_string() },
            },
            Ok(None) => break EndpointError::Dropped { reason: "the node closed the stream".into() },
            Err(error) => break endpoint_error(error),
        }
    };
    link.end(&reason);
}
