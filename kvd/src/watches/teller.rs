//! The thread that finds out what each watch is to be told.
//!
//! ```text
//!  Begin ──► told where it begins                       ┌──► told: a frame, and the place after it
//!  Next ───┬──► behind: reads the log from its own place ┤
//!          └──► waiting: has been told all ──────────────┘ by a turn, or after a silence
//! ```
//!
//! Whenever something was applied the loop hands over a view, and the thread takes a **turn**: it reads the changes since the
//! last turn once, for all who wait, and asks for each watch whether one of its keys is among them, which is a search in the
//! sorted keys of the turn. So a write costs one reading, from memory, however many watches there are, and each watch a few
//! comparisons a turn. While the thread is busy nothing is handed over; what was applied meanwhile is one turn.
//!
//! Who is **behind**, because it began in the past or was slow, reads the log from its own place: a bounded stretch in turn
//! with the others, between two turns, so that it does not make those wait who are not.
//!
//! The frames of all watches that were told and are not written have a **common bound** ([`HELD_BYTES`]): one write may concern
//! every watch, and clients may read slowly or not at all. While it is reached, whom a turn concerns becomes one who is behind,
//! and those who are behind wait; the next who asks for more has had its frame written, and wakes the thread.
//!
//! Invariants:
//! - Of a watch that waits, all up to its place has been told, and [`Teller::seen`] is not beyond any of these places.
//! - No view is kept: one lives for a turn and a few stretches.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
        mpsc as thread_channel,
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    Watch, WatchFrame,
    limits::{PAGE_ROWS, WATCH_SILENCE_MS},
    watch::Events,
};
use tokio::sync::{mpsc, oneshot, watch};

use super::Places;
use crate::{
    clients::Greeting,
    driver::Input,
    state::{
        StateError,
        changes::{FrameLimits, Place, Stretch, StretchLimits},
        view::View,
    },
};

/// So many changes are looked at in one stretch, and the rest of the last revision.
const LOOKED: usize = 4096;
/// For all who wait: which of them they want is found out then.
const TURN: StretchLimits = StretchLimits { looked: LOOKED, taken: LOOKED };
/// For one who is behind: what fits into a frame.
const OWN: StretchLimits = StretchLimits { looked: LOOKED, taken: PAGE_ROWS };
/// How long those who are behind are served from one view before those who wait have their turn.
const ROUNDS: Duration = Duration::from_millis(10);
/// Most bytes of the frames in hand, and one frame: it is looked before one is made.
const HELD_BYTES: usize = 64 * 1024 * 1024;
/// How often it is looked who has not been told anything for long, and whether there is room again for those who are behind.
const LOOK: Duration = Duration::from_secs(1);
/// So few waiting watches are never looked through for those whose clients have gone.
const FEW: usize = 64;

/// What the thread is told.
pub(crate) enum Job {
    /// A watch begins, at the moment of this view. Its places are given back no sooner than the view: so there are never more
    /// views in the queue than places.
    Begin(Box<View>, Waiter, Arc<Places>),
    /// A watch was told what there was, and wants more.
    Next(Waiter),
    /// Something was applied: what there is now.
    View(Box<View>),
}

/// A watch that wants to be told what comes after its place.
pub(crate) struct Waiter {
    watch: Arc<Watch>,
    place: Place,
    told: oneshot::Sender<Told>,
    since: Instant,
}

/// A frame for a watch, and where that leaves it; nowhere, where it was the last.
pub(crate) struct Told {
    pub(crate) frame: Bytes,
    pub(crate) place: Option<Place>,
    /// Whoever writes the frame keeps this until it is written.
    _held: Held,
}

/// The bytes of a frame, which count among those in hand for as long as it lives.
pub(super) struct Held {
    all: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn new(all: &Arc<AtomicUsize>, bytes: usize) -> Self {
        all.fetch_add(bytes, Relaxed);
        Self { all: Arc::clone(all), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Relaxed);
    }
}

impl Waiter {
    pub(crate) fn new(watch: Arc<Watch>, place: Place, told: oneshot::Sender<Told>) -> Self {
        Self { watch, place, told, since: Instant::now() }
    }

    fn tell(self, events: Events, place: Place, in_hand: &Arc<AtomicUsize>) {
        self.send(WatchFrame::Events(events), Some(place), in_hand);
    }

    fn end(self, frame: WatchFrame, in_hand: &Arc<AtomicUsize>) {
        self.send(frame, None, in_hand);
    }

    /// Whoever has gone does not hear it.
    fn send(self, frame: WatchFrame, place: Option<Place>, in_hand: &Arc<AtomicUsize>) {
        let frame = Bytes::from(frame.encode());
        let held = Held::new(in_hand, frame.len());
        let _ = self.told.send(Told { frame, place, _held: held });
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= Duration::from_millis(WATCH_SILENCE_MS)
    }

    /// A sign of life: nothing happened up to its place.
    fn tell_nothing(self, in_hand: &Arc<AtomicUsize>) {
        let place = self.place;
        self.tell(Events { through: place.after, ..Events::default() }, place, in_hand);
    }
}

/// See the module.
pub(crate) struct Teller {
    /// Those who wait have been told everything up to here, and maybe more.
    seen: u64,
    waiting: Vec<Waiter>,
    behind: VecDeque<Waiter>,
    /// A view was asked for, of a moment after this revision.
    asked: Option<u64>,
    view: Option<Box<View>>,
    /// The bytes of the frames that were told and are not written.
    in_hand: Arc<AtomicUsize>,
    sweep_at: usize,
    looked: Instant,
    inputs: mpsc::UnboundedSender<Input>,
    greeting: watch::Receiver<Greeting>,
    limits: FrameLimits,
}

impl Teller {
    /// Nobody waits yet. Views are asked for through `inputs`.
    pub(crate) fn new(inputs: mpsc::UnboundedSender<Input>, greeting: watch::Receiver<Greeting>) -> Self {
        Self {
            seen: 0,
            waiting: Vec::new(),
            behind: VecDeque::new(),
            asked: None,
            view: None,
            in_hand: Arc::default(),
            sweep_at: FEW,
            looked: Instant::now(),
            inputs,
            greeting,
            limits: FrameLimits::default(),
        }
    }

    /// Tells until nobody asks any more or the store cannot be read.
    pub(crate) fn run(mut self, jobs: &thread_channel::Receiver<Job>) {
        loop {
            let idle = self.waiting.is_empty() && self.behind.is_empty();
            let job = if idle {
                jobs.recv().map_err(|_| thread_channel::RecvTimeoutError::Disconnected)
            } else {
                jobs.recv_timeout(LOOK)
            };
            match job {
                Ok(job) => self.take(job),
                Err(thread_channel::RecvTimeoutError::Timeout) => {}
                Err(thread_channel::RecvTimeoutError::Disconnected) => return,
            }
            // Each watch has one job at most.
            while let Ok(job) = jobs.try_recv() {
                self.take(job);
            }
            if let Err(error) = self.act(Instant::now()) {
                let _ = self.inputs.send(Input::Failed(error.into()));
                return;
            }
        }
    }

    pub(super) fn take(&mut self, job: Job) {
        match job {
            Job::Begin(view, waiter, places) => {
                begin(&view, waiter, &self.in_hand);
                // In this order.
                drop(view);
                drop(places);
            }
            Job::Next(waiter) => {
                // Where nobody waits, nobody knows what came since.
                if self.waiting.is_empty() || waiter.place.after < self.seen || waiter.place.is_partial() {
                    self.behind.push_back(waiter);
                } else {
                    self.wait(waiter);
                }
            }
            Job::View(view) => {
                self.asked = None;
                self.view = Some(view);
            }
        }
    }

    pub(super) fn act(&mut self, now: Instant) -> Result<(), StateError> {
        if let Some(view) = self.view.take() {
            self.turn(&view)?;
            let until = Instant::now() + ROUNDS;
            while !self.is_full() {
                let Some(waiter) = self.behind.pop_front() else { break };
                self.stretch_for(waiter, &view, now)?;
                // After each, for a stretch may take long; and after one at least, however long the turn took.
                if Instant::now() >= until {
                    break;
                }
            }
        }
        if now.saturating_duration_since(self.looked) >= LOOK {
            self.looked = now;
            self.break_silence(now);
        }
        self.ask();
        Ok(())
    }

    /// Whether no frame may be made before others are written.
    fn is_full(&self) -> bool {
        self.in_hand.load(Relaxed) >= HELD_BYTES
    }

    /// Asks for the next view: at once for those who are behind and may be told, for the others when there is something new.
    /// Those who are behind while there is no room have no use for a view, and would be shown one after the other.
    fn ask(&mut self) {
        let above = if !self.behind.is_empty() && !self.is_full() {
            0
        } else if self.waiting.is_empty() {
            return;
        } else {
            self.seen
        };
        if self.asked.is_none_or(|asked| above < asked) {
            self.asked = Some(above);
            // Where the loop has ended, nobody is told anything any more.
            let _ = self.inputs.send(Input::WatchFrom(above));
        }
    }

    fn wait(&mut self, waiter: Waiter) {
        if self.waiting.len() >= self.sweep_at {
            self.waiting.retain(|waiter| !waiter.told.is_closed());
            self.sweep_at = (2 * self.waiting.len()).max(FEW);
        }
        self.seen =
            if self.waiting.is_empty() { waiter.place.after } else { self.seen.min(waiter.place.after) };
        self.waiting.push(waiter);
    }

    /// Tells those who wait what was applied since.
    fn turn(&mut self, view: &View) -> Result<(), StateError> {
        if self.seen < view.oldest() {
            let lost = self.waiting.extract_if(.., |waiter| waiter.place.after < view.oldest());
            lost.for_each(|waiter| waiter.end(compacted(view), &self.in_hand));
            self.seen = view.oldest();
        }
        while self.seen < view.revision() && !self.waiting.is_empty() {
            let stretch = view.changes_after(self.seen, TURN, |_| true)?;
            let limits = self.limits;
            let concerned = |waiter: &mut Waiter| stretch.concerns(&waiter.watch, waiter.place);
            let concerned: Vec<_> = self.waiting.extract_if(.., concerned).collect();
            for waiter in concerned {
                if self.is_full() {
                    // It reads on from its place when there is room.
                    self.behind.push_back(waiter);
                } else {
                    tell(&stretch, waiter, &limits, &self.in_hand)?;
                }
            }
            self.seen = stretch.through();
            for waiter in &mut self.waiting {
                waiter.place = Place::after(waiter.place.after.max(self.seen));
            }
        }
        Ok(())
    }

    /// One stretch for one that is behind; the next time it comes after all others who are.
    fn stretch_for(&mut self, mut waiter: Waiter, view: &View, now: Instant) -> Result<(), StateError> {
        if waiter.told.is_closed() {
            return Ok(());
        }
        if waiter.place.after < view.oldest() {
            waiter.end(compacted(view), &self.in_hand);
            return Ok(());
        }
        if waiter.place.after >= view.revision() {
            self.wait(waiter);
            return Ok(());
        }
        let watch = &waiter.watch;
        let stretch = view.changes_after(waiter.place.after, OWN, |key| watch.covers(key))?;
        if stretch.concerns(watch, waiter.place) {
            return tell(&stretch, waiter, &self.limits, &self.in_hand);
        }
        waiter.place = Place::after(stretch.through());
        if waiter.is_silent(now) {
            waiter.tell_nothing(&self.in_hand);
        } else {
            self.behind.push_back(waiter);
        }
        Ok(())
    }

    /// Says to those who have not been told anything for long that there was nothing; unless this node knows no leader: then
    /// there may be something that it does not hear of, and another node should be asked.
    fn break_silence(&mut self, now: Instant) {
        let alone = self.greeting.borrow().is_leaderless();
        for waiter in self.waiting.extract_if(.., |waiter| waiter.is_silent(now)) {
            if alone {
                waiter.end(WatchFrame::Cut("this node knows no leader".into()), &self.in_hand);
            } else {
                waiter.tell_nothing(&self.in_hand);
            }
        }
    }
}

#[cfg(test)]
impl Teller {
    /// What was asked of the loop and is not answered.
    pub(super) fn wants(&self) -> Option<u64> {
        self.asked
    }

    /// Frames in hand that take all there is.
    pub(super) fn fill(&self) -> Held {
        Held::new(&self.in_hand, HELD_BYTES)
    }

    /// Bytes of the frames in hand.
    pub(super) fn in_hand(&self) -> usize {
        self.in_hand.load(Relaxed)
    }

    /// How many are known.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len() + self.behind.len()
    }
}

/// The first frame says where the watch begins.
fn begin(view: &View, mut waiter: Waiter, in_hand: &Arc<AtomicUsize>) {
    let after = waiter.watch.after.unwrap_or_else(|| view.revision());
    if after < view.oldest() {
        return waiter.end(compacted(view), in_hand);
    }
    waiter.place = Place::after(after);
    waiter.tell_nothing(in_hand);
}

fn tell(
    stretch: &Stretch<'_>,
    waiter: Waiter,
    limits: &FrameLimits,
    in_hand: &Arc<AtomicUsize>,
) -> Result<(), StateError> {
    let (events, place) = stretch.frame(&waiter.watch, waiter.place, limits)?;
    waiter.tell(events, place, in_hand);
    Ok(())
}

fn compacted(view: &View) -> WatchFrame {
    WatchFrame::Compacted { oldest: view.oldest() }
}
