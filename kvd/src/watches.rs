//! Serves watches: each has a stream of its own, and one thread finds out what each is to be told.
//!
//! ```text
//!  stream ── watch ──► the node ── View ──► task ── Job ──► thread ◄── View, when something was applied ── the loop
//!         ◄────────── frame ◄───────────────────── Told ◄──┘
//! ```
//!
//! All watches read the one log of changes that is kept anyway (`state/changes.rs`), and a watch is a place in it: there is no
//! queue of a watch, neither here nor there. A task has one frame in hand at most. It asks for the next one when that is
//! written, so a client that reads slowly makes its task wait and nobody else, and finds in the log what it missed, or that it
//! is no longer kept. Who has been told everything waits with the thread ([`teller`]).
//!
//! What the tasks have in hand is bounded together, so a client must take a frame within a time ([`PATIENCE`]): whose client does
//! not is cut off, and begins again where it stood.
//!
//! How many there are is bounded ([`WATCHES`], and [`WATCHES_PER_CONNECTION`] of one connection). A watch lasts as long as its
//! client wants: it costs a task, a place and, once it has begun, no view.

use std::{
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{Refused, RequestFrame, Watch, WatchFrame, limits::WATCHES_PER_CONNECTION};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use transport::{CloseCode, FrameWriter, TransportError};

use crate::{
    driver::Input,
    metrics::{Meters, meter::Held},
    scans,
    state::changes::Place,
};

pub(crate) mod teller;

use teller::Waiter;
pub(crate) use teller::{Job, Teller};

/// Most watches of a node at one time.
const WATCHES: usize = 10_000;
/// How long a client may take to make room for one frame.
const PATIENCE: Duration = Duration::from_secs(10);

/// What all tasks that serve watches share.
#[derive(Clone)]
pub(crate) struct Watches {
    jobs: thread_channel::Sender<Job>,
    places: Arc<Semaphore>,
}

/// The places of one connection.
#[derive(Clone)]
pub(crate) struct Own(Arc<Semaphore>);

/// A watch's place at the node and at its connection.
pub(crate) struct Places {
    _node: OwnedSemaphorePermit,
    _own: OwnedSemaphorePermit,
}

impl Own {
    /// All are free.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Semaphore::new(WATCHES_PER_CONNECTION)))
    }
}

impl Watches {
    /// Watches that are told by whoever receives the jobs.
    pub(crate) fn new(jobs: thread_channel::Sender<Job>) -> Self {
        Self { jobs, places: Arc::new(Semaphore::new(WATCHES)) }
    }

    fn enter(&self, own: &Own) -> Result<Places, Refused> {
        let full = |whose, most: usize| Refused::Busy { what: format!("{whose} table of {most} watches") };
        let own = Arc::clone(&own.0).try_acquire_owned();
        let own = own.map_err(|_| full("this connection's", WATCHES_PER_CONNECTION))?;
        let node = Arc::clone(&self.places).try_acquire_owned();
        let node = node.map_err(|_| full("this node's", WATCHES))?;
        Ok(Places { _node: node, _own: own })
    }
}

/// Serves the watch that a stream began with, until its client stops it or the node has to.
pub(crate) async fn serve(
    mut writer: FrameWriter,
    (frame, watch): (RequestFrame, Watch),
    (number, meters): (u64, &Arc<Meters>),
    (watches, own): (&Watches, &Own),
    inputs: &mpsc::Sender<Input>,
) -> Result<(), TransportError> {
    // Answers to other requests of this client go first.
    writer.set_priority(-1);
    let counted = |refused: &Refused| meters.refused(refused);
    let begun = match watches.enter(own).inspect_err(counted) {
        Ok(places) => {
            scans::view(frame, (number, meters), Instant::now(), inputs).await.map(|view| (view, places))
        }
        Err(refused) => Err(refused),
    };
    let (view, places) = match begun {
        Ok(begun) => begun,
        Err(refused) => {
            writer.write(&[Bytes::from(WatchFrame::Refused(refused).encode())]).await?;
            writer.finish();
            return Ok(());
        }
    };
    let places = Arc::new(places);
    let _underway = Held::new(meters, |meters| &meters.watches);
    let watch = Arc::new(watch);
    let job = |place: Place| {
        let (told, heard) = oneshot::channel();
        (Waiter::new(Arc::clone(&watch), place, told), heard)
    };
    let (waiter, mut heard) = job(Place::default());
    let mut next = Job::Begin(view, waiter, Arc::clone(&places));
    loop {
        let _ = watches.jobs.send(next);
        let told = tokio::select! {
            told = &mut heard => told,
            () = writer.stopped() => return Ok(()),
        };
        // Nobody tells when the node is about to end.
        let Ok(told) = told else { return Ok(()) };
        let writing = writer.write(std::slice::from_ref(&told.frame));
        let Ok(written) = tokio::time::timeout(PATIENCE, writing).await else {
            // In the middle of a frame nothing can be said any more.
            writer.reset(CloseCode::Limit);
            return Ok(());
        };
        written?;
        let place = told.place;
        // Before the next is asked for: then the thread looks whether there is room.
        drop(told);
        let Some(place) = place else {
            writer.finish();
            return Ok(());
        };
        let (waiter, following) = job(place);
        (next, heard) = (Job::Next(waiter), following);
    }
}

#[cfg(test)]
mod tests;
