//! Serves scans: each has a stream of its own, and one thread makes the pages of all.
//!
//! ```text
//!  stream ── scan ──► the node ── View ──► task ── Job ──► thread: one page at a time, in turn
//!         ◄─────────── page ◄──────────────────── Made ◄──┘
//! ```
//!
//! A page may need the disk, so it is not made on the node's thread; and it is bounded, so that scans take turns there. A
//! task asks for the next page before it writes one: there are at most two of a scan in memory here, and what QUIC has
//! not been acknowledged. A client that reads slowly makes its task wait, and nobody else.
//!
//! What a view holds ([`crate::state::view`]) is bounded by how many scans there are ([`SCANS`], and
//! [`SCANS_PER_CONNECTION`] of one connection) and by how long each may take ([`LIFE`]). A place is free again once the view
//! is freed, which the thread does: it may take long.

use std::{
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{Refused, RequestFrame, Scan, ScanFrame, limits::SCANS_PER_CONNECTION};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use transport::{CloseCode, FrameWriter, TransportError};

use crate::{
    driver::Input,
    event::Caller,
    metrics::Meters,
    state::view::{Cursor, PageLimits, View},
};

/// Most scans of a node at one time.
const SCANS: usize = 16;
/// How long a scan may take, from its view to its end.
const LIFE: Duration = Duration::from_mins(5);

/// What the node makes of a request for a scan.
pub(crate) type Answer = Result<Box<View>, Refused>;

/// What all tasks that serve scans share.
#[derive(Clone)]
pub(crate) struct Scans {
    jobs: thread_channel::Sender<Job>,
    places: Arc<Semaphore>,
    life: Duration,
}

/// The places of one connection.
#[derive(Clone)]
pub(crate) struct Own(Arc<Semaphore>);

/// What the thread is asked.
pub(crate) enum Job {
    /// The next answer of a scan.
    Page { cursor: Cursor, places: Places, made: oneshot::Sender<Made>, back: thread_channel::Sender<Job> },
    /// To free what a scan held that nobody wants any more.
    Free(Cursor, Places),
}

/// A scan's place at the node and at its connection.
pub(crate) struct Places {
    _node: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

/// An answer of a scan, and the scan, unless that was its last.
pub(crate) struct Made {
    frame: Bytes,
    rest: Option<Paused>,
    /// What the frame says, where it is a refusal.
    refused: Option<Refused>,
}

/// A scan between two pages. Where it is dropped, the thread frees what it holds.
struct Paused {
    scan: Option<(Cursor, Places)>,
    jobs: thread_channel::Sender<Job>,
}

impl Drop for Paused {
    fn drop(&mut self) {
        if let Some((cursor, places)) = self.scan.take() {
            let _ = self.jobs.send(Job::Free(cursor, places));
        }
    }
}

impl Own {
    /// All are free.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(SCANS_PER_CONNECTION)))
    }
}

impl Scans {
    /// Scans whose pages are made by whoever receives the jobs.
    pub(crate) fn new(jobs: thread_channel::Sender<Job>) -> Self {
        Self { jobs, places: Arc::new(Semaphore::new(SCANS)), life: LIFE }
    }

    fn enter(&self, own: &Own) -> Result<Places, Refused> {
        let full = |whose, most: usize| Refused::Busy { what: format!("{whose} table of {most} scans") };
        let own = Arc::clone(&own.0).try_acquire_owned();
        let own = own.map_err(|_| full("this connection's", SCANS_PER_CONNECTION))?;
        let node = Arc::clone(&self.places).try_acquire_owned();
        let node = node.map_err(|_| full("this node's", SCANS))?;
        Ok(Places { _node: node, _own: own })
    }

    /// Has the next answer made. Nobody answers when the node is about to end.
    fn ask(&self, mut paused: Paused) -> oneshot::Receiver<Made> {
        let (made, answer) = oneshot::channel();
        if let Some((cursor, places)) = paused.scan.take() {
            let _ = self.jobs.send(Job::Page { cursor, places, made, back: self.jobs.clone() });
        }
        answer
    }
}

/// Makes pages until nobody asks any more or the store cannot be read.
pub(crate) fn run_scans(jobs: &thread_channel::Receiver<Job>, done: &mpsc::UnboundedSender<Input>) {
    while let Ok(job) = jobs.recv() {
        let (mut cursor, places, made, back) = match job {
            Job::Page { cursor, places, made, back } => (cursor, places, made, back),
            Job::Free(cursor, places) => {
                drop((cursor, places));
                continue;
            }
        };
        if made.is_closed() {
            continue;
        }
        match cursor.answer() {
            Ok(frame) => {
                let more = matches!(frame, ScanFrame::Page(_));
                let rest = more.then(|| Paused { scan: Some((cursor, places)), jobs: back });
                let refused =
                    if let ScanFrame::Refused(refused) = &frame { Some(refused.clone()) } else { None };
                let _ = made.send(Made { frame: Bytes::from(frame.encode()), rest, refused });
            }
            Err(error) => {
                let _ = done.send(Input::Failed(error.into()));
                return;
            }
        }
    }
}

/// Serves the scan that a stream began with.
pub(crate) async fn serve(
    mut writer: FrameWriter,
    (frame, scan): (RequestFrame, Scan),
    (number, meters): (u64, &Meters),
    (scans, own): (&Scans, &Own),
    inputs: &mpsc::Sender<Input>,
) -> Result<(), TransportError> {
    // Answers to other requests of this client go first.
    writer.set_priority(-1);
    match begin(frame, scan, (number, meters), (scans, own), inputs).await {
        Ok(scan) => {
            let first = Paused { scan: Some(scan), jobs: scans.jobs.clone() };
            write_pages(&mut writer, first, (scans, meters), Instant::now() + scans.life).await?;
        }
        Err(refused) => writer.write(&[Bytes::from(ScanFrame::Refused(refused).encode())]).await?,
    }
    writer.finish();
    Ok(())
}

/// A scan with its places, over the view that the node gives. A refusal of which the node does not hear is counted here.
async fn begin(
    frame: RequestFrame,
    scan: Scan,
    (number, meters): (u64, &Meters),
    (scans, own): (&Scans, &Own),
    inputs: &mpsc::Sender<Input>,
) -> Result<(Cursor, Places), Refused> {
    let counted = |refused: Refused| {
        meters.refused(&refused);
        refused
    };
    let places = scans.enter(own).map_err(counted)?;
    let view = view(frame, (number, meters), Instant::now(), inputs).await?;
    view.scan(scan, PageLimits::default()).map(|cursor| (cursor, places)).map_err(counted)
}

/// Asks the node for the view with which a scan or a watch begins.
pub(crate) async fn view(
    frame: RequestFrame,
    (number, meters): (u64, &Meters),
    at: Instant,
    inputs: &mpsc::Sender<Input>,
) -> Answer {
    let (answer, answered) = oneshot::channel();
    let caller = Caller { connection: number, request: frame.id };
    if inputs.try_send(Input::Scan { caller, frame, at, answer }).is_err() {
        let refused = Refused::Busy { what: "the queue of requests".into() };
        meters.refused(&refused);
        return Err(refused);
    }
    let about_to_end = |_| Err(Refused::Unavailable("the node is about to end".into()));
    answered.await.unwrap_or_else(about_to_end)
}

async fn write_pages(
    writer: &mut FrameWriter,
    first: Paused,
    (scans, meters): (&Scans, &Meters),
    until: Instant,
) -> Result<(), TransportError> {
    let mut next = scans.ask(first);
    loop {
        let Ok(Made { frame, rest, refused }) = next.await else { return Ok(()) };
        if let Some(refused) = &refused {
            meters.refused(refused);
        }
        let following = rest.map(|rest| scans.ask(rest));
        let writing = writer.write(std::slice::from_ref(&frame));
        let Ok(written) = tokio::time::timeout_at(until.into(), writing).await else {
            // In the middle of a frame nothing can be said any more.
            writer.reset(CloseCode::Limit);
            return Ok(());
        };
        written?;
        let Some(following) = following else { return Ok(()) };
        if Instant::now() >= until {
            let why = format!("a scan may take {} s", scans.life.as_secs());
            return writer.write(&[Bytes::from(ScanFrame::Cut(why).encode())]).await;
        }
        next = following;
    }
}

#[cfg(test)]
mod tests;
