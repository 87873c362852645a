//! A follower as its leader sees it (thesis 3.5, 10.2.1).
//!
//! ```text
//!              accepted at next - 1
//!     ┌───────┐ ─────────────────────► ┌───────────┐
//!     │ Probe │                        │ Replicate │
//!     └───────┘ ◄───────────────────── └───────────┘
//!          rejected, stalled or unreachable
//! ```
//!
//! *Probe*: where the logs agree is not known; one append at a time, repeated with each heartbeat. *Replicate*:
//! appends leave one behind the other without waiting, as many and as many bytes as the window allows; `next` runs
//! ahead of what was acknowledged.
//!
//! `matched` is a fact, learned from the follower's own acknowledgement in this session: its disk holds the leader's
//! log up to there. It never falls within a session. `matched < next` always.

use alloc::collections::VecDeque;

use crate::{
    effects::Fetch,
    instruments::{Mark, Mutant, mark, mutant},
    types::{Index, Position},
};

/// How much may be on the way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    /// Appends.
    pub(crate) appends: usize,
    /// Bytes.
    pub(crate) bytes: usize,
}

/// One follower.
#[derive(Clone, Debug)]
pub(crate) struct Progress {
    session: u64,
    matched: Index,
    next: Index,
    state: State,
    stalled: u32,
    fetch: Option<Fetch>,
    silent: bool,
    /// The latest read round it answered.
    pub(crate) round: u64,
    /// Whether it was heard since the last check of the quorum.
    pub(crate) heard: bool,
    /// The commit index it was last told.
    pub(crate) told: Index,
}

#[derive(Clone, Debug)]
enum State {
    Probe { sent: bool },
    Replicate { flights: VecDeque<Flight>, bytes: usize },
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    last: Index,
    bytes: usize,
}

impl Progress {
    /// A follower of which nothing is known: the leader guesses that its log is its own.
    pub(crate) fn new(session: u64, last: Index) -> Self {
        Self {
            session,
            matched: Index(0),
            next: last.next(),
            state: State::Probe { sent: false },
            stalled: 0,
            fetch: None,
            silent: false,
            round: 0,
            heard: true,
            told: Index(0),
        }
    }

    /// The session its replies must name.
    pub(crate) fn session(&self) -> u64 {
        self.session
    }

    /// Its disk holds the leader's log up to here.
    pub(crate) fn matched(&self) -> Index {
        self.matched
    }

    /// The next entry to send.
    pub(crate) fn next(&self) -> Index {
        self.next
    }

    /// The fetch under way for it.
    pub(crate) fn fetch(&self) -> Option<Fetch> {
        self.fetch
    }

    /// Whether an append may leave now, given that there is something to send.
    pub(crate) fn may_send(&self, window: Window) -> bool {
        match &self.state {
            State::Probe { sent } => !sent,
            State::Replicate { flights, bytes } => {
                let open = flights.len() < window.appends && *bytes < window.bytes;
                if !open {
                    mark(Mark::WindowFull);
                }
                open
            }
        }
    }

    /// The state's name, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.state {
            State::Probe { .. } => "probe",
            State::Replicate { .. } => "replicate",
        }
    }

    /// An append with entries up to `last` left.
    pub(crate) fn sent(&mut self, last: Index, size: usize) {
        match &mut self.state {
            State::Probe { sent } => *sent = true,
            State::Replicate { flights, bytes } => {
                assert!(last >= self.next, "an append in the window carries entries");
                flights.push_back(Flight { last, bytes: size });
                *bytes += size;
                self.next = last.next();
            }
        }
    }

    /// It acknowledged the log up to `matched`. Whether that was news.
    pub(crate) fn accepted(&mut self, matched: Index) -> bool {
        self.silent = false;
        let news = matched > self.matched;
        if news {
            self.matched = matched;
            self.stalled = 0;
        }
        match &mut self.state {
            State::Probe { .. } if matched.next() >= self.next => {
                self.next = matched.next();
                self.state = State::Replicate { flights: VecDeque::new(), bytes: 0 };
                self.fetch = None;
            }
            State::Probe { .. } => {}
            State::Replicate { flights, bytes } => {
                while let Some(flight) = flights.front().copied().filter(|flight| flight.last <= matched) {
                    *bytes -= flight.bytes;
                    flights.pop_front();
                }
            }
        }
        self.next = self.next.max(self.matched.next());
        news
    }

    /// It refused the append after `previous`, and the logs may agree at `agree`. Ignored when it is an old refusal:
    /// below what it since acknowledged, or not of the probe under way.
    pub(crate) fn rejected(&mut self, previous: Index, agree: Index) {
        let old = match self.state {
            State::Probe { .. } => previous.next() != self.next,
            State::Replicate { .. } => previous >= self.next,
        };
        if (old || previous <= self.matched) && !mutant(Mutant::OldRefusalCounts) {
            mark(Mark::OldRefusal);
            return;
        }
        mark(Mark::Refused);
        self.probe(agree.min(previous.previous()).next());
    }

    /// Goes back to asking, from `next` on.
    fn probe(&mut self, next: Index) {
        self.next = if mutant(Mutant::OldRefusalCounts) { next } else { next.max(self.matched.next()) };
        self.state = State::Probe { sent: false };
        self.stalled = 0;
        self.silent = false;
        self.fetch = None;
    }

    /// What is on the way is taken as lost.
    pub(crate) fn lost(&mut self) {
        if let State::Replicate { .. } = self.state {
            self.probe(self.matched.next());
        }
    }

    /// Time passes. Appends that nobody answers for `patience` ticks are taken as lost.
    pub(crate) fn tick(&mut self, patience: u32) {
        let waits = matches!(&self.state, State::Replicate { flights, .. } if !flights.is_empty());
        self.stalled = if waits { self.stalled + 1 } else { 0 };
        if self.stalled >= patience && !mutant(Mutant::LostIsNeverSentAgain) {
            mark(Mark::Stalled);
            self.lost();
        }
    }

    /// A heartbeat leaves: a probe may be repeated, and a fetch that failed.
    pub(crate) fn retry(&mut self) {
        if let State::Probe { sent } = &mut self.state
            && !mutant(Mutant::ProbesOnce)
        {
            self.silent = *sent;
            *sent = false;
        }
    }

    /// Whether the last probe went unanswered. The next one then carries no entries: a server that is down is not
    /// sent them over and over.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// A fetch begins.
    pub(crate) fn fetching(&mut self, fetch: Fetch) {
        assert!(self.fetch.is_none(), "one fetch a follower");
        self.fetch = Some(fetch);
    }

    /// Ends the fetch under way, when `fetch` is that one and still wanted. A stale answer changes nothing.
    pub(crate) fn fetched(&mut self, fetch: &Fetch) -> bool {
        if self.fetch != Some(*fetch) && !mutant(Mutant::LateFetchCounts) {
            return false;
        }
        self.fetch = None;
        fetch.from == self.next || mutant(Mutant::LateFetchCounts)
    }

    /// The fetch could not be answered: wait for the next heartbeat.
    pub(crate) fn unfetched(&mut self) {
        let fetch = self.fetch.filter(|_| mutant(Mutant::FetchAskedOnce));
        self.probe(self.next);
        self.state = State::Probe { sent: true };
        self.fetch = fetch;
    }

    /// What must always hold.
    pub(crate) fn check(&self, last: Position) {
        assert!(self.matched < self.next, "matched < next");
        assert!(self.next <= last.index.next(), "nothing is sent that is not there");
        if let State::Replicate { flights, bytes } = &self.state {
            assert_eq!(*bytes, flights.iter().map(|flight| flight.bytes).sum::<usize>(), "bytes on the way");
            assert!(
                flights.iter().all(|flight| flight.last > self.matched),
                "acknowledged flights have landed"
            );
        }
    }
}
