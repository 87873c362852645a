//! A follower as its leader sees it (thesis 3.5, 10.2.1).
//!
//! ```text
//!              accepted at next - 1
//!     ┌───────┐ ─────────────────────► ┌───────────┐
//!     │ Probe │                        │ Replicate │
//!     └───────┘ ◄───────────────────── └───────────┘
//!          rejected, stalled or unreachable
//!     │ ▲                                │
//!     │ │ installed: next behind the state, and asked
//!     │ │ failed: next at the log's end, after a rest
//!     │ │             ┌──────────┐       │
//!     │ └──────────── │ Snapshot │ ◄─────┘
//!     └─────────────► └──────────┘  what it needs was discarded
//! ```
//!
//! *Probe*: where the logs agree is not known; one append at a time, repeated as often as heartbeats. *Replicate*:
//! appends leave one behind the other without waiting, as many and as many bytes as the window allows; `next` runs
//! ahead of what was acknowledged. *Snapshot*: the caller sends it the state (thesis 5); nothing else but heartbeats
//! leaves. Each snapshot begins a new session in which nothing is matched: what the follower acknowledged before it may
//! drop its log counts no more, and that it got the state is believed only once it acknowledges it as any other entry.
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
    /// Ticks before another snapshot may begin.
    rest: u32,
    /// The latest read round it answered.
    pub(crate) round: u64,
    /// Whether it was heard since the last check of the quorum.
    pub(crate) heard: bool,
    /// For how many ticks it has not been heard; only shown.
    pub(crate) silence: u32,
    /// The commit index it was last told.
    pub(crate) told: Index,
}

#[derive(Clone, Debug)]
enum State {
    Probe { sent: bool },
    Replicate { flights: VecDeque<Flight>, bytes: usize },
    Snapshot,
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
            rest: 0,
            round: 0,
            heard: true,
            silence: u32::MAX,
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
            State::Snapshot => false,
        }
    }

    /// Whether it is asked where its log stands although there is no entry to send: nothing was heard since a snapshot.
    pub(crate) fn owes_answer(&self) -> bool {
        matches!(self.state, State::Probe { .. }) && self.matched.next() < self.next
    }

    /// Whether it is being sent the state.
    pub(crate) fn is_sent_snapshot(&self) -> bool {
        matches!(self.state, State::Snapshot)
    }

    /// Whether the last snapshot is long enough ago, or none failed.
    pub(crate) fn has_rested(&self) -> bool {
        self.rest == 0
    }

    /// The state's name, for people.
    pub(crate) fn name(&self) -> &'static str {
        match self.state {
            State::Probe { .. } => "probe",
            State::Replicate { .. } => "replicate",
            State::Snapshot => "snapshot",
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
            State::Snapshot => unreachable!("nothing is appended while the state is sent"),
        }
    }

    /// It acknowledged the log up to `matched`. Whether that was news.
    pub(crate) fn accepted(&mut self, matched: Index) -> bool {
        if self.is_sent_snapshot() {
            return false;
        }
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
            State::Probe { .. } | State::Snapshot => {}
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
            State::Snapshot => true,
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

    /// It is sent the state in this new session, in which it has acknowledged nothing.
    pub(crate) fn snapshot(&mut self, session: u64) {
        assert!(!self.is_sent_snapshot(), "one snapshot a follower");
        (self.session, self.matched) = (session, Index(0));
        self.state = State::Snapshot;
        (self.stalled, self.silent, self.fetch) = (0, false, None);
        self.told = Index(0);
    }

    /// The state was sent in `session`: the follower says that it made the state at `installed` current, or something
    /// failed, and it is asked for its log after a rest of `rest` ticks. `last` is the leader's last entry.
    pub(crate) fn snapshot_sent(
        &mut self,
        session: u64,
        installed: Option<Index>,
        last: Index,
        rest: u32,
    ) -> bool {
        if session != self.session || !self.is_sent_snapshot() {
            return false;
        }
        let known = installed.unwrap_or(last).min(last);
        self.next = known.next();
        self.state = State::Probe { sent: installed.is_none() };
        self.rest = if installed.is_none() { rest } else { 0 };
        if mutant(Mutant::SentCountsAsMatched) {
            self.matched = known;
        }
        true
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
        self.rest = self.rest.saturating_sub(1);
        if self.stalled >= patience && !mutant(Mutant::LostIsNeverSentAgain) {
            mark(Mark::Stalled);
            self.lost();
        }
    }

    /// As long as between two heartbeats has passed: a probe may be repeated, and a fetch that failed.
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

    /// The fetch could not be answered: wait for the next retry.
    pub(crate) fn unfetched(&mut self, fetch: Fetch) {
        self.probe(self.next);
        self.state = State::Probe { sent: true };
        self.fetch = mutant(Mutant::FetchAskedOnce).then_some(fetch);
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
