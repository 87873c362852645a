//! The search: every way in which the history of one key can have gone, carried forward from event to event.
//!
//! A [`Config`] is one way so far: what the key holds and which of the open operations have taken effect. When an
//! operation ends it must have taken effect, so each configuration in which it has not is carried on through every
//! chain of open writes that ends with it; what was tried is remembered. When none is left, no order exists. At a
//! moment at which nothing is open, the configurations differ in little more than what the key holds: that cuts a
//! long history into segments, and memory does not grow with it.
//!
//! What keeps the configurations few changes no verdict:
//!
//! - *Early effect.* An operation that would change nothing (a read of what is there; a set that found the key there
//!   and whose value nobody reads, while some unread value is there; a delete that found nothing, while nothing is
//!   there) takes effect at once. Whatever can follow if it waits can follow as well if it does not.
//! - *Values are unique.* While someone will yet ask for the value that the key holds, nothing may overwrite it: it
//!   would never come back. Once nobody will, it makes no difference which value it is.
//! - *Spares.* A write of unknown outcome that nobody reads may take effect whenever it is needed, from when it was
//!   asked and for ever: a set makes something be there, a delete makes it go. One is as good as another, so they are
//!   counted, not told apart; and a way that used fewer of each can go on like one that used more.
//!
//! - *The most urgent first.* Of open operations that would do the same with a value that nobody reads, the one that
//!   ends first takes effect first. Any other order of theirs stays one when the two change places.
//!
//! A set of unknown outcome that is read is an open operation until the last of its reads ended.

use std::collections::{BTreeMap, VecDeque};

use super::{
    Limits,
    model::{Act, Config, Entry, State},
};
use crate::mutant::{self, Mutant};

/// What came of a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Linearizable,
    Stuck,
    Undecided { configurations: u64, width: usize },
}

/// So many operations can be open at once.
const SLOTS: usize = 128;

/// Searches for an order of the operations of one key.
pub(super) fn run(entries: &[Entry], limits: Limits) -> Verdict {
    let mut search = Search::new(entries, limits);
    for (now, (_, is_end, at)) in events(entries).into_iter().enumerate() {
        search.now = now;
        let carried_on = if is_end { search.end(at) } else { search.begin(at) };
        if carried_on.is_none() {
            return Verdict::Undecided { configurations: search.looked_at, width: search.width };
        }
        if search.front.is_empty() {
            return Verdict::Stuck;
        }
    }
    Verdict::Linearizable
}

/// The beginning of a history in which only the given operations have ended.
pub(super) fn cut(entries: &[Entry], ends: &[(u64, usize)]) -> Vec<Entry> {
    let Some((until, _)) = ends.last() else { return Vec::new() };
    let mut is_ended = vec![false; entries.len()];
    for (_, at) in ends {
        is_ended[*at] = true;
    }
    let begun = entries.iter().zip(is_ended).filter(|(entry, _)| entry.invoked <= *until);
    let cut = begun.filter_map(|(entry, is_ended)| match entry.act {
        _ if is_ended => Some(*entry),
        Act::Get { .. } => None,
        Act::Set { value, .. } => {
            Some(Entry { act: Act::Set { value, existed: None }, ended: None, ..*entry })
        }
        Act::Delete { .. } => Some(Entry { act: Act::Delete { existed: None }, ended: None, ..*entry }),
    });
    cut.collect()
}

/// (moment, whether it is an end, operation), in order; what begins at a moment overlaps what ends at it.
fn events(entries: &[Entry]) -> Vec<(u64, bool, usize)> {
    let mut events = Vec::with_capacity(2 * entries.len());
    for (at, entry) in entries.iter().enumerate() {
        events.push((entry.invoked, false, at));
        if let Some(ended) = entry.ended
            && (!mutant::is(Mutant::NothingEnds) || matches!(entry.act, Act::Get { .. }))
        {
            events.push((ended, true, at));
        }
    }
    events.sort_by_key(|(moment, is_end, at)| {
        let ends_first = mutant::is(Mutant::MomentsTouch) && entries[*at].invoked < *moment;
        (*moment, if *is_end && !ends_first { 2 } else { u8::from(!*is_end) }, *at)
    });
    events
}

/// What is known of a value that is read.
#[derive(Clone, Copy, Debug)]
struct Readers {
    /// The event at which the last of its readers asks.
    last_asks: usize,
    /// How many of them have not ended.
    left: usize,
}

struct Search<'a> {
    entries: &'a [Entry],
    /// By value; `None` for one that nobody reads.
    readers: Vec<Option<Readers>>,
    /// The set of each value.
    writers: Vec<usize>,
    /// Which operations are open.
    slots: Vec<Option<usize>>,
    spare_sets: u32,
    spare_deletes: u32,
    front: Front,
    now: usize,
    looked_at: u64,
    limit: u64,
    open: usize,
    width: usize,
}

impl<'a> Search<'a> {
    fn new(entries: &'a [Entry], limits: Limits) -> Self {
        let mut writers = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            if let Act::Set { value, .. } = entry.act {
                writers.resize(writers.len().max(value + 1), usize::MAX);
                writers[value] = at;
            }
        }
        let mut readers: Vec<Option<Readers>> = vec![None; writers.len()];
        for (now, (_, is_end, at)) in events(entries).into_iter().enumerate() {
            if let (Act::Get { value: Some(value) }, false) = (entries[at].act, is_end) {
                readers.resize(readers.len().max(value + 1), None);
                let readers = readers[value].get_or_insert(Readers { last_asks: now, left: 0 });
                *readers = Readers { last_asks: now, left: readers.left + 1 };
            }
        }
        writers.resize(readers.len(), usize::MAX);
        let mut front = Front::default();
        front.insert(Config::START);
        let (limit, slots) = (limits.configurations, Vec::new());
        let (spare_sets, spare_deletes, now, looked_at, open, width) = (0, 0, 0, 0, 0, 0);
        Self {
            entries,
            readers,
            writers,
            slots,
            spare_sets,
            spare_deletes,
            front,
            now,
            looked_at,
            limit,
            open,
            width,
        }
    }

    /// An operation is asked. `None` gives up.
    fn begin(&mut self, at: usize) -> Option<()> {
        let entry = self.entries[at];
        match entry.act {
            Act::Set { value, .. } if entry.ended.is_none() && self.readers[value].is_none() => {
                self.spare_sets += 1;
            }
            Act::Delete { .. } if entry.ended.is_none() => self.spare_deletes += 1,
            _ => {
                let free = self.slots.iter().position(Option::is_none);
                let slot = free.unwrap_or(self.slots.len());
                if slot == SLOTS {
                    return None;
                }
                self.slots.resize(self.slots.len().max(slot + 1), None);
                self.slots[slot] = Some(at);
                self.open += 1;
                self.width = self.width.max(self.open);
                let front = std::mem::take(&mut self.front);
                for config in front.into_iter() {
                    self.look()?;
                    let settled = self.settle(config);
                    self.front.insert(settled);
                }
            }
        }
        Some(())
    }

    /// An operation ends: it has taken effect by now. `None` gives up.
    fn end(&mut self, at: usize) -> Option<()> {
        let Some(slot) = self.slots.iter().position(|open| *open == Some(at)) else { return Some(()) };
        let mut tried = Front::default();
        let mut open: VecDeque<Config> = std::mem::take(&mut self.front).into_iter().collect();
        let mut next = Vec::new();
        while let Some(config) = open.pop_front() {
            self.look()?;
            if config.is_done(slot) {
                self.front.insert(config);
                continue;
            }
            self.moves(config, &mut next);
            open.extend(next.drain(..).filter(|config| tried.insert(*config)));
        }
        self.close(slot);
        if let Act::Get { value: Some(value) } = self.entries[at].act
            && let Some(readers) = &mut self.readers[value]
        {
            readers.left -= 1;
            // In every way so far its set has taken effect, or nobody could have read it.
            let writer = Some(self.writers[value]);
            if readers.left == 0
                && let Some(slot) = self.slots.iter().position(|open| *open == writer)
                && self.entries[self.writers[value]].ended.is_none()
            {
                self.close(slot);
            }
        }
        Some(())
    }

    /// Every way has done the operation in this slot, which is free now.
    fn close(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.open -= 1;
        for mut config in std::mem::take(&mut self.front).into_iter() {
            config.done &= !(1 << slot);
            self.front.insert(config);
        }
    }

    fn look(&mut self) -> Option<()> {
        self.looked_at += 1;
        (self.looked_at <= self.limit).then_some(())
    }

    /// All that can take effect next.
    fn moves(&self, config: Config, next: &mut Vec<Config>) {
        let is_there = match config.state {
            State::Absent => false,
            State::Present => true,
            State::Value(_) => return,
        };
        let fits = |existed: Option<bool>| existed.is_none_or(|existed| existed == is_there);
        let is_open =
            |(slot, at): (usize, &Option<usize>)| Some((slot, (*at)?)).filter(|_| !config.is_done(slot));
        let open = || self.slots.iter().enumerate().filter_map(is_open);
        for (slot, at) in open() {
            if open().any(|(_, other)| self.goes_before(other, at)) {
                continue;
            }
            let state = match self.entries[at].act {
                Act::Set { value, existed } if fits(existed) => {
                    if self.readers[value].is_some() {
                        State::Value(value)
                    } else {
                        State::Present
                    }
                }
                Act::Delete { existed } if fits(existed) => State::Absent,
                _ => continue,
            };
            next.push(self.settle(Config { state, done: config.done | 1 << slot, ..config }));
        }
        let used = u32::from(!mutant::is(Mutant::UnknownRepeats));
        if !is_there && config.sets < self.spare_sets {
            let sets = config.sets + used;
            next.push(self.settle(Config { state: State::Present, sets, ..config }));
        }
        if is_there && config.deletes < self.spare_deletes {
            let deletes = config.deletes + used;
            next.push(self.settle(Config { state: State::Absent, deletes, ..config }));
        }
    }

    /// Whether the two open operations would do the same and the first is more urgent.
    fn goes_before(&self, one: usize, other: usize) -> bool {
        let same = match (self.entries[one].act, self.entries[other].act) {
            (Act::Delete { existed: one }, Act::Delete { existed: other }) => one == other,
            (Act::Set { value: a, existed: one }, Act::Set { value: b, existed: other }) => {
                one == other && self.readers[a].is_none() && self.readers[b].is_none()
            }
            _ => false,
        };
        let urgency = |at: usize| (self.entries[at].ended.unwrap_or(u64::MAX), at);
        same && urgency(one) < urgency(other)
    }

    /// Lets everything take effect that changes nothing, and forgets a value that nobody will ask for.
    fn settle(&self, mut config: Config) -> Config {
        loop {
            for (slot, at) in self.slots.iter().enumerate() {
                if let Some(at) = at
                    && self.is_idle(self.entries[*at].act, config.state)
                {
                    config.done |= 1 << slot;
                }
            }
            match config.state {
                State::Value(value) if !self.is_awaited(value) => config.state = State::Present,
                _ => return config,
            }
        }
    }

    /// Whether it fits and changes nothing that matters.
    fn is_idle(&self, act: Act, state: State) -> bool {
        match (act, state) {
            (Act::Get { value: None } | Act::Delete { existed: Some(false) | None }, State::Absent) => true,
            (Act::Get { value: Some(value) }, State::Value(held)) => value == held,
            (Act::Set { value, existed: Some(true) | None }, State::Present) => self.readers[value].is_none(),
            _ => false,
        }
    }

    /// Whether someone will yet ask who reads this value.
    fn is_awaited(&self, value: usize) -> bool {
        self.readers[value].is_some_and(|readers| readers.last_asks > self.now)
            && !mutant::is(Mutant::ValueForgotten)
    }
}

/// Ways that differ, none of which another one could stand for.
#[derive(Default)]
struct Front(BTreeMap<(State, u128), Vec<Config>>);

impl Front {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it was new and nothing better was there.
    fn insert(&mut self, config: Config) -> bool {
        let state = if mutant::is(Mutant::StateForgotten) { State::Absent } else { config.state };
        let done = if mutant::is(Mutant::DoneForgotten) { 0 } else { config.done };
        let same = self.0.entry((state, done)).or_default();
        let is_better = |one: &Config, other: &Config| {
            let (one, other) = if mutant::is(Mutant::WastefulKept) { (other, one) } else { (one, other) };
            one.sets <= other.sets && one.deletes <= other.deletes
        };
        if same.iter().any(|other| is_better(other, &config)) {
            return false;
        }
        same.retain(|other| !is_better(&config, other));
        same.push(config);
        true
    }

    fn into_iter(self) -> impl Iterator<Item = Config> {
        self.0.into_values().flatten()
    }
}
