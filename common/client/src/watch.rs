//! One watch: what happens to the keys of a range, without a gap and without anything twice, whichever nodes serve it.
//!
//! ```text
//!            next() ──► a stream to some node ──► whole revisions ──► Batch { events, through }
//!                            ▲                                             │
//!                            └── lost: asked again, after `through`, ◄─────┘
//! ```
//!
//! A watch is a place in the one order of all changes, and every frame says up to which revision everything has been told. So
//! when a stream breaks, or its node says nothing for long, or knows no leader, the rest is asked of any node; one that has not
//! got that far tells it when it does. What one write changed is given together: a revision of which a part was told before
//! the stream broke is told again from its beginning, and nobody has seen that part.
//!
//! Nothing is read ahead but what the stream's window holds: a caller that takes its time makes the node wait, which then
//! finds the rest in what is kept of the past. What is kept no longer is said ([`Refused::NotKept`]).

use std::{sync::Arc, time::Duration};

use protocol::{
    ClusterId, DecodeError, Refused, Request, Watch, WatchFrame,
    limits::WATCH_SILENCE_MS,
    watch::{Event, Events},
};
use tokio::time::{Instant, timeout};

use crate::{
    error::Error,
    nodes::Nodes,
    retry::{Address, Target},
    stream::{Answer, Answers},
};

/// A node that says nothing for so long has been lost: it would have given signs of life.
const SILENCE: Duration = Duration::from_millis(3 * WATCH_SILENCE_MS);
/// The first pause before a stream that was lost is opened again; it doubles to [`LONGEST_PAUSE`] while nothing comes of it.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Most bytes of one revision: the longest keys that one write can remove, the largest values of one write, and what is shown of
/// those that were replaced, with room.
const REVISION_BYTES: usize = 64 * 1024 * 1024;

/// A watch under way.
pub struct Watching {
    nodes: Arc<Nodes>,
    watch: Watch,
    timeout: Duration,
    seed: u64,
    answers: Option<Answers<WatchFrame>>,
    /// Everything up to here was given; `None` before it is known where the watch began.
    through: Option<u64>,
    /// The events of one revision, of which there are more, and their bytes.
    part: Vec<Event>,
    part_bytes: usize,
    /// The node that was lost last, and how often in a row that brought nothing.
    lost: Option<Address>,
    losses: u32,
    /// Until when another node is not asked.
    pause: Option<Instant>,
    cluster: Option<ClusterId>,
    served_by: u64,
}

/// Some whole revisions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// What happened, in the order of revision and key; nothing where this is a sign of life.
    pub events: Vec<Event>,
    /// Everything up to this revision has been given. A watch [`after`](Watch::after) it goes on here.
    pub through: u64,
}

impl Answer for WatchFrame {
    const WHAT: &str = "end of the watch";

    fn read(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes)
    }

    fn refused(&self) -> Option<&Refused> {
        if let Self::Refused(refused) = self { Some(refused) } else { None }
    }
}

impl Watching {
    pub(crate) fn new(nodes: &Arc<Nodes>, watch: Watch, timeout: Duration, seed: u64) -> Self {
        Self {
            nodes: Arc::clone(nodes),
            watch,
            timeout,
            seed,
            answers: None,
            through: None,
            part: Vec::new(),
            part_bytes: 0,
            lost: None,
            losses: 0,
            pause: None,
            cluster: None,
            served_by: 0,
        }
    }

    /// The next revisions. The first batch comes at once, has no events and says where the watch begins; later ones come when
    /// something has happened, and without events in silence.
    ///
    /// Cancel-safe: whoever drops the future and calls again misses nothing. Only what it takes to find a node begins anew, so
    /// it should be given some tenths of a second.
    ///
    /// # Errors
    /// As of any read, when no node serves the watch within the budget of a call. Nothing is lost by it: the next call goes on
    /// where this one stood, so whoever wants to wait longer calls again. [`Error::Cut`]: the node sent what makes no sense.
    /// It is not shown, and the next call asks again.
    ///
    /// [`Error::Refused`] with [`Refused::NotKept`]: what comes next is no longer kept. It names the oldest revision after which
    /// everything is; what happened before that must be found out otherwise, and the next call says the same again.
    pub async fn next(&mut self) -> Result<Batch, Error> {
        self.watch.check()?;
        loop {
            match self.frame().await? {
                WatchFrame::Events(events) => {
                    if let Some(batch) = self.accept(events)? {
                        return Ok(batch);
                    }
                }
                WatchFrame::Compacted { oldest } => {
                    self.forget();
                    return Err(Error::Refused(Refused::NotKept { oldest, age_ms: None }));
                }
                // Of one that was begun this makes no sense, but is clear.
                WatchFrame::Refused(refused) => {
                    self.forget();
                    return Err(Error::Refused(refused));
                }
                WatchFrame::Cut(_) => self.lose(),
            }
        }
    }

    /// Up to which revision everything was given; `None` before it is known where the watch begins.
    pub fn through(&self) -> Option<u64> {
        self.through
    }

    /// The cluster that is watched, once a node has served the watch.
    pub fn cluster(&self) -> Option<ClusterId> {
        self.cluster
    }

    /// The node that serves it, or did last.
    pub fn served_by(&self) -> u64 {
        self.served_by
    }

    /// The next frame, of this stream or of one that goes on with it.
    async fn frame(&mut self) -> Result<WatchFrame, Error> {
        loop {
            let Some(answers) = &mut self.answers else {
                self.open().await?;
                continue;
            };
            match timeout(SILENCE, answers.next()).await {
                Ok(Ok(frame)) => return Ok(frame),
                Ok(Err(_)) => self.lose(),
                Err(_) => {
                    answers.suspect();
                    self.lose();
                }
            }
        }
    }

    /// Finds a node that serves what is left, another than the one that was lost where there is one.
    async fn open(&mut self) -> Result<(), Error> {
        self.forget();
        if let Some(pause) = self.pause {
            tokio::time::sleep_until(pause).await;
            self.pause = None;
        }
        self.seed = self.seed.wrapping_add(1);
        let first = self.lost.clone().map_or(Target::Preferred, Target::NotAt);
        let after = self.through.or(self.watch.after);
        let request = Request::Watch(Watch { after, ..self.watch.clone() });
        let until = Instant::now() + self.timeout;
        let answers = Answers::open(&self.nodes, request, self.seed, first, until).await?;
        (self.cluster, self.served_by) = (Some(answers.cluster()), answers.node());
        self.answers = Some(answers);
        Ok(())
    }

    /// The stream is of no use any more.
    fn lose(&mut self) {
        self.lost = self.answers.as_ref().map(|answers| answers.address().clone());
        let pause = FIRST_PAUSE.saturating_mul(1 << self.losses.min(10));
        self.pause = Some(Instant::now() + pause.min(LONGEST_PAUSE));
        self.losses = self.losses.saturating_add(1);
        self.forget();
    }

    fn forget(&mut self) {
        (self.answers, self.part_bytes) = (None, 0);
        self.part.clear();
    }

    /// The whole revisions of a frame, with what was told of the first before. Nothing where it only has a part of one.
    fn accept(&mut self, events: Events) -> Result<Option<Batch>, Error> {
        if !self.is_sound(&events) {
            self.lose();
            let why = "the node sent what makes no sense".to_owned();
            return Err(Error::Cut { why, shown: 0, revision: self.through, after: None });
        }
        let Events { mut events, through, unfinished } = events;
        let unfinished = events.last().map(|last| last.revision).filter(|_| unfinished);
        let whole =
            events.partition_point(|event| unfinished.is_none_or(|revision| event.revision < revision));
        let rest = events.split_off(whole);
        if unfinished.is_none() || !events.is_empty() {
            // What was a part is whole with these.
            self.part.append(&mut events);
            events = std::mem::take(&mut self.part);
            self.part_bytes = 0;
        }
        self.part_bytes += rest.iter().map(Event::bytes).sum::<usize>();
        self.part.extend(rest);
        if unfinished.is_some() && events.is_empty() {
            return Ok(None);
        }
        if self.through.is_none_or(|before| before < through) {
            self.losses = 0;
        }
        self.through = Some(through);
        // Not `through`: that of a watch of the future has not come, and what names it as learned is refused until it has.
        if let Some(last) = events.last() {
            self.nodes.learn_index(last.revision);
        }
        Ok(Some(Batch { events, through }))
    }

    /// What a frame must be to be believed.
    fn is_sound(&self, Events { events, through, unfinished }: &Events) -> bool {
        let known = self.through.or(self.watch.after).unwrap_or(0);
        let mut before = self.part.last().map(|event| (event.revision, &event.key));
        let goes_on = self
            .part
            .last()
            .is_none_or(|part| events.first().is_some_and(|first| first.revision == part.revision));
        let ordered = events.iter().all(|event| {
            let place = (event.revision, &event.key);
            let after = before.replace(place).is_none_or(|before| before < place);
            let previous = self.watch.previous || (event.previous.is_none() && !event.previous_left_out);
            after && event.revision > known && self.watch.covers(&event.key) && previous
        });
        let last = events.last().map_or(0, |event| event.revision);
        let told =
            events.iter().all(|event| event.revision <= *through || *unfinished && event.revision == last);
        let open = !*unfinished || last > *through;
        let bytes = self.part_bytes + events.iter().map(Event::bytes).sum::<usize>();
        *through >= known && goes_on && ordered && told && open && bytes <= REVISION_BYTES
    }
}
