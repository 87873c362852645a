//! Serves the pages on a thread of its own: neither making a page nor a reader that is slow costs the node's loop more than
//! one picture of its numbers.
//!
//! | bound | | beyond it |
//! | --- | --- | --- |
//! | connections | [`Limits::connections`] | 503 at once |
//! | bytes of a request | [`http::HEAD_BYTES`] | 431 |
//! | time of a request, its answer and its end | [`Limits::life`] | the connection is cut |
//! | requests of a connection | 1 | it is closed |
//! | looks at the node | one in [`FRESH`] | the same again |
//!
//! `/livez` says that the node's loop turns, `/readyz` that this node serves a linearizable read: what `kvctl check live`
//! and `kvctl check ready` mean. The read goes through the loop like a client's.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use protocol::{Consistency, Request, RequestFrame, ResponseFrame};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::{Mutex, Semaphore, mpsc, oneshot, watch},
    time::timeout,
};
use transport::Identity;

use super::{
    Meters, exposition,
    http::{self, Ask, Refusal, Wanted},
    page,
};
use crate::{
    clients::Replies, directory::Directory, driver::Input, event::Caller, footprint::used, node::Figures,
};

/// How much others may have of this.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at one time: a few scrapers and probes.
    pub(crate) connections: usize,
    /// Longest life of a connection.
    pub(crate) life: Duration,
    /// How long the node may take to answer: less than a probe waits by custom.
    pub(crate) patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 16, life: Duration::from_secs(5), patience: Duration::from_millis(900) }
    }
}

/// For so long what the node said is as good as new.
pub(super) const FRESH: Duration = Duration::from_millis(100);
/// After a failure to accept, such as too many open files, it is tried again.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes that are read after an answer, so that a client which still sends hears the answer and no reset.
const DRAIN_BYTES: usize = 64 * 1024;
/// The key that `/readyz` looks for. Whether it is there does not matter.
const PROBE: &[u8] = b"kvd/readyz";
/// What everything but a page of metrics is.
const PLAIN: &str = "text/plain; charset=utf-8";

/// What is shown of the process beside what is counted.
pub(crate) struct About {
    pub(crate) cluster_name: String,
    pub(crate) directory: Directory,
    pub(crate) state_dir: PathBuf,
    pub(crate) identity: watch::Receiver<Identity>,
}

impl About {
    pub(super) fn state_bytes(&self) -> u64 {
        used(&self.state_dir)
    }
}

/// All that an answer needs.
pub(crate) struct Board {
    limits: Limits,
    meters: Arc<Meters>,
    about: About,
    inputs: mpsc::Sender<Input>,
    /// Gives the streams of clients their numbers, and our reads theirs.
    numbers: Arc<AtomicU64>,
    looked: Mutex<Fresh<Option<Figures>>>,
    read: Mutex<Fresh<Result<(), String>>>,
}

/// Something that was asked for, and when.
type Fresh<T> = Option<(Instant, T)>;

impl Board {
    pub(crate) fn new(
        limits: Limits,
        meters: Arc<Meters>,
        about: About,
        inputs: mpsc::Sender<Input>,
        numbers: Arc<AtomicU64>,
    ) -> Self {
        Self { limits, meters, about, inputs, numbers, looked: Mutex::default(), read: Mutex::default() }
    }

    /// The node's numbers, of now or a moment ago; `None` where its loop does not turn.
    async fn look(&self) -> Option<Figures> {
        let mut looked = self.looked.lock().await;
        if let Some((_, figures)) = looked.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return figures.clone();
        }
        let (answer, answered) = oneshot::channel();
        let figures = match self.inputs.try_send(Input::Look(answer)) {
            Ok(()) => timeout(self.limits.patience, answered).await.ok().and_then(Result::ok),
            Err(_) => None,
        };
        *looked = Some((Instant::now(), figures.clone()));
        figures
    }

    /// Whether this node serves a linearizable read, now or a moment ago; and why not.
    async fn ready(&self) -> Result<(), String> {
        let mut read = self.read.lock().await;
        if let Some((_, outcome)) = read.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return outcome.clone();
        }
        let outcome = timeout(self.limits.patience, self.try_read()).await;
        let outcome = outcome.unwrap_or_else(|_| Err(self.late()));
        *read = Some((Instant::now(), outcome.clone()));
        outcome
    }

    async fn try_read(&self) -> Result<(), String> {
        let (replies, mut answers) = Replies::pair();
        let connection = self.numbers.fetch_add(1, Relaxed);
        let request =
            Request::Get { key: PROBE.to_vec(), consistency: Consistency::Linearizable, without_value: true };
        let deadline_ms = u32::try_from(self.limits.patience.as_millis()).unwrap_or(u32::MAX);
        let frame = RequestFrame { id: 1, deadline_ms, request };
        let asked = Input::Asked { caller: Caller { connection, request: 1 }, frame, at: Instant::now() };
        for input in [Input::Connected(connection, replies), asked] {
            self.inputs.try_send(input).map_err(|_| "the queue of requests is full")?;
        }
        let bytes = answers.recv().await.ok_or("the node is about to end")?;
        let answer = ResponseFrame::decode(&bytes).map_err(|error| error.to_string())?;
        answer.result.map(drop).map_err(|refused| refused.to_string())
    }

    fn late(&self) -> String {
        format!("the node gave no answer within {} ms", self.limits.patience.as_millis())
    }

    async fn answer(&self, Ask { wanted, head_only }: Ask) -> Vec<u8> {
        let (status, kind, body) = match wanted {
            Wanted::Metrics => match self.look().await {
                Some(figures) => {
                    (200, exposition::CONTENT_TYPE, page::write(&self.meters, &self.about, &figures))
                }
                None => (503, PLAIN, self.late() + "\n"),
            },
            Wanted::Live => match self.look().await {
                Some(_) => (200, PLAIN, "ok\n".to_owned()),
                None => (503, PLAIN, self.late() + "\n"),
            },
            Wanted::Ready => match self.ready().await {
                Ok(()) => (200, PLAIN, "ok\n".to_owned()),
                Err(why) => (503, PLAIN, format!("not ready: {why}\n")),
            },
        };
        http::answer(status, kind, &body, head_only, SystemTime::now())
    }
}

/// Ends the thread when it is dropped.
pub(crate) struct Serving {
    pub(crate) address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// Listens at `address` and serves from then on.
pub(crate) fn start(address: &str, board: Board) -> io::Result<Serving> {
    let listener = StdListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stop, stopped) = oneshot::channel();
    crate::driver::spawn("metrics", move || runtime.block_on(serve(listener, Arc::new(board), stopped)))?;
    Ok(Serving { address, _stop: stop })
}

async fn serve(listener: StdListener, board: Arc<Board>, mut stopped: oneshot::Receiver<()>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metrics are not served"),
    };
    let places = Arc::new(Semaphore::new(board.limits.connections));
    loop {
        let accepted = tokio::select! {
            _ = &mut stopped => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            let busy = http::answer(503, PLAIN, "busy: too many connections\n", false, SystemTime::now());
            // Whoever does not hear it sees the connection end.
            let _ = stream.try_write(&busy);
            continue;
        };
        let board = Arc::clone(&board);
        tokio::spawn(async move {
            let _place = place;
            let _ = timeout(board.limits.life, converse(stream, &board)).await;
        });
    }
}

/// One request and its answer.
async fn converse(mut stream: TcpStream, board: &Board) -> io::Result<()> {
    let answer = match hear(&mut stream).await? {
        Some(Ok(ask)) => board.answer(ask).await,
        Some(Err(Refusal(status, why))) => {
            http::answer(status, PLAIN, &format!("{why}\n"), false, SystemTime::now())
        }
        None => return Ok(()),
    };
    stream.write_all(&answer).await?;
    stream.shutdown().await?;
    let mut rest = [0; 1024];
    for _ in 0..DRAIN_BYTES / rest.len() {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The request, or what is wrong with it; `None` where the client has left.
async fn hear(stream: &mut TcpStream) -> io::Result<Option<Result<Ask, Refusal>>> {
    let mut head = Vec::with_capacity(1024);
    loop {
        let room = u64::try_from(http::HEAD_BYTES.saturating_sub(head.len())).unwrap_or(0);
        if (&mut *stream).take(room).read_buf(&mut head).await? == 0 {
            return Ok(None);
        }
        match http::parse(&head) {
            Ok(None) => {}
            Ok(Some(ask)) => return Ok(Some(Ok(ask))),
            Err(refusal) => return Ok(Some(Err(refusal))),
        }
    }
}

#[cfg(test)]
mod tests;
