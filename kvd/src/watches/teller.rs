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
//! Invariants:
//! - Of a watch that waits, all up to its place has been told, and [`Teller::seen`] is not beyond any of these places.
//! - No view is kept: one lives for a turn and a few stretches.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc as thread_channel},
    time::{Duration, Instant},
};

use bytes::Bytes;
use protocol::{
    Watch, WatchFrame,
    limits::{PAGE_ROWS, WATCH_SILENCE_MS},
    watch::Events,
};
use tokio::sync::{mpsc, oneshot, watch};

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
/// How often it is looked who has not been told anything for long.
const LOOK: Duration = Duration::from_secs(1);
/// So few waiting watches are never looked through for those whose clients have gone.
const FEW: usize = 64;

/// What the thread is told.
pub(crate) enum Job {
    /// A watch begins, at the moment of this view.
    Begin(Box<View>, Waiter),
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
}

impl Waiter {
    pub(crate) fn new(watch: Arc<Watch>, place: Place, told: oneshot::Sender<Told>) -> Self {
        Self { watch, place, told, since: Instant::now() }
    }

    /// Whoever has gone does not hear it.
    fn tell(self, events: Events, place: Place) {
        let frame = WatchFrame::Events(events).encode().into();
        let _ = self.told.send(Told { frame, place: Some(place) });
    }

    fn end(self, frame: WatchFrame) {
        let _ = self.told.send(Told { frame: frame.encode().into(), place: None });
    }

    fn is_silent(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= Duration::from_millis(WATCH_SILENCE_MS)
    }

    /// A sign of life: nothing happened up to its place.
    fn tell_nothing(self) {
        let place = self.place;
        self.tell(Events { through: place.after, ..Events::default() }, place);
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
            Job::Begin(view, waiter) => begin(&view, waiter),
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
            let began = Instant::now();
            // One at least, however long the turn took.
            while !self.behind.is_empty() {
                self.round(&view, now)?;
                if began.elapsed() >= ROUNDS {
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

    /// Asks for the next view: at once for those who are behind, for the others when there is something new.
    fn ask(&mut self) {
        let above = match (self.behind.is_empty(), self.waiting.is_empty()) {
            (false, _) => 0,
            (true, false) => self.seen,
            (true, true) => return,
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
            lost.for_each(|waiter| waiter.end(compacted(view)));
            self.seen = view.oldest();
        }
        while self.seen < view.revision() && !self.waiting.is_empty() {
            let stretch = view.changes_after(self.seen, TURN, |_| true)?;
            let limits = self.limits;
            let concerned = |waiter: &mut Waiter| stretch.concerns(&waiter.watch, waiter.place);
            let concerned: Vec<_> = self.waiting.extract_if(.., concerned).collect();
            for waiter in concerned {
                tell(&stretch, waiter, &limits)?;
            }
            self.seen = stretch.through();
            for waiter in &mut self.waiting {
                waiter.place = Place::after(waiter.place.after.max(self.seen));
            }
        }
        Ok(())
    }

    /// One stretch for each that is behind.
    fn round(&mut self, view: &View, now: Instant) -> Result<(), StateError> {
        for _ in 0..self.behind.len() {
            let Some(mut waiter) = self.behind.pop_front() else { break };
            if waiter.told.is_closed() {
                continue;
            }
            if waiter.place.after < view.oldest() {
                waiter.end(compacted(view));
                continue;
            }
            if waiter.place.after >= view.revision() {
                self.wait(waiter);
                continue;
            }
            let watch = &waiter.watch;
            let stretch = view.changes_after(waiter.place.after, OWN, |key| watch.covers(key))?;
            if stretch.concerns(watch, waiter.place) {
                tell(&stretch, waiter, &self.limits)?;
                continue;
            }
            waiter.place = Place::after(stretch.through());
            if waiter.is_silent(now) {
                waiter.tell_nothing();
            } else {
                self.behind.push_back(waiter);
            }
        }
        Ok(())
    }

    /// Says to those who have not been told anything for long that there was nothing; unless this node knows no leader: then
    /// there may be something that it does not hear of, and another node should be asked.
    fn break_silence(&mut self, now: Instant) {
        let alone = self.greeting.borrow().is_leaderless();
        for waiter in self.waiting.extract_if(.., |waiter| waiter.is_silent(now)) {
            if alone {
                waiter.end(WatchFrame::Cut("this node knows no leader".into()));
            } else {
                waiter.tell_nothing();
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

    /// How many are known.
    pub(super) fn waiters(&self) -> usize {
        self.waiting.len() + self.behind.len()
    }
}

/// The first frame says where the watch begins.
fn begin(view: &View, mut waiter: Waiter) {
    let after = waiter.watch.after.unwrap_or_else(|| view.revision());
    if after < view.oldest() {
        return waiter.end(compacted(view));
    }
    waiter.place = Place::after(after);
    waiter.tell_nothing();
}

fn tell(stretch: &Stretch<'_>, waiter: Waiter, limits: &FrameLimits) -> Result<(), StateError> {
    let (events, place) = stretch.frame(&waiter.watch, waiter.place, limits)?;
    waiter.tell(events, place);
    Ok(())
}

fn compacted(view: &View) -> WatchFrame {
    WatchFrame::Compacted { oldest: view.oldest() }
}
