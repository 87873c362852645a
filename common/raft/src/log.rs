//! The newest part of the log, in memory (thesis 3.5, 3.8).
//!
//! ```text
//!   on disk only        in memory
//!  ──────────────┬───────────────────────────────────────┐
//!            base│           persisted      handed   last │
//!                │  equal to the disk │ being written │ new
//! ```
//!
//! `persisted ≤ handed ≤ last`. What was handed to the disk moves up with each write, and back when a conflicting
//! tail is replaced. Entries leave memory from the front, once applied and durable, when they exceed a bound in
//! bytes; the place before the first one kept is `base`, whose term is remembered because appends name it.
//!
//! A write that was begun before its entries were replaced proves nothing about what stands there now, not even
//! when the same entries come back: the disk may by then hold the replacement. So a truncation lowers what every
//! write under way can prove, and `persisted` only ever follows such a proof.
//!
//! Beside its entries the log keeps the memberships that stand in it, so that the latest one is in effect from the moment
//! it is appended until it is replaced (`membership::history`).
//!
//! A log may also begin anew after a position further on, when a state up to there was made durable that it does not
//! match. `discarded` says what the disk no longer has; memory may still hold some of it.

use alloc::{collections::VecDeque, sync::Arc, vec::Vec};

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    membership::{History, Membership},
    types::{Entry, Index, Payload, Position, Term, Ticket},
};

/// Most entries given to apply at once.
const PAGE_ENTRIES: usize = 4096;
/// Most bytes given to apply at once, but one entry if there is one.
const PAGE_BYTES: usize = 4 * 1024 * 1024;

/// The log as the core sees it.
#[derive(Clone, Debug)]
pub(crate) struct Log {
    base: Position,
    discarded: Index,
    entries: VecDeque<Entry>,
    bytes: usize,
    persisted: Index,
    handed: Index,
    writes: VecDeque<Write>,
    memberships: History,
}

/// A write under way and how far it will prove the log durable.
#[derive(Clone, Copy, Debug)]
struct Write {
    ticket: Ticket,
    proves: Position,
}

impl Log {
    /// The log found on disk, all of it durable. The entries were checked to be contiguous. `memberships` is that of the
    /// state; those in the entries after it follow.
    pub(crate) fn new(
        base: Position,
        discarded: Index,
        entries: Vec<Entry>,
        mut memberships: History,
    ) -> Self {
        let (applied, _) = memberships.latest();
        for entry in entries.iter().filter(|entry| entry.position.index > applied) {
            if let Payload::Membership(membership) = &entry.payload
                && !mutant(Mutant::RestartForgetsMembership)
            {
                memberships.push(entry.position.index, Arc::clone(membership));
            }
        }
        let bytes = entries.iter().map(Entry::size).sum();
        let last = entries.last().map_or(base, |entry| entry.position).index;
        Self {
            base,
            discarded,
            entries: entries.into(),
            bytes,
            persisted: last,
            handed: last,
            writes: VecDeque::new(),
            memberships,
        }
    }

    /// The memberships in the log.
    pub(crate) fn memberships(&self) -> &History {
        &self.memberships
    }

    /// The log is committed up to `commit`.
    pub(crate) fn committed(&mut self, commit: Index) {
        self.memberships.commit(commit);
    }

    /// The place just before the first entry in memory.
    pub(crate) fn base(&self) -> Position {
        self.base
    }

    /// Entries up to here are gone from the disk too.
    pub(crate) fn discarded(&self) -> Index {
        self.discarded
    }

    /// The caller has removed entries up to here from the disk.
    pub(crate) fn discard(&mut self, to: Index) {
        self.discarded = self.discarded.max(to);
    }

    /// The log holds the entry at `index` as a durable state has it, so up to there it need not be on the disk itself.
    /// The state has this membership.
    pub(crate) fn proven(&mut self, index: Index, membership: Arc<Membership>) {
        assert!(index <= self.handed, "what was not given to the disk is not proven");
        self.persisted = self.persisted.max(index);
        self.memberships.rebase(index, membership);
    }

    /// Begins anew after `base`, which a durable state with this membership stands for. Writes under way prove nothing beyond it: what they
    /// hold goes with the log that they belong to.
    pub(crate) fn restart(&mut self, base: Position, membership: Arc<Membership>) {
        assert!(base.index > self.base.index, "a log begins anew only further on");
        self.memberships = if mutant(Mutant::MembershipOutlivesLog) {
            History::new(base.index, Arc::clone(self.memberships.latest().1))
        } else {
            History::new(base.index, membership)
        };
        self.entries.clear();
        self.bytes = 0;
        (self.base, self.discarded) = (base, base.index);
        (self.persisted, self.handed) = (base.index, base.index);
        for write in self.writes.iter_mut().filter(|write| write.proves.index > base.index) {
            write.proves = base;
        }
    }

    /// Where the log ends.
    pub(crate) fn last(&self) -> Position {
        self.entries.back().map_or(self.base, |entry| entry.position)
    }

    /// Up to here the log is on this server's disk.
    pub(crate) fn persisted(&self) -> Index {
        self.persisted
    }

    /// Up to here the log was given to the disk.
    pub(crate) fn handed(&self) -> Index {
        self.handed
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The term of the entry at `index`, when memory knows it.
    pub(crate) fn term_at(&self, index: Index) -> Option<Term> {
        if index == self.base.index {
            let forgets = mutant(Mutant::TermAtBaseForgotten);
            return Some(if forgets { Term(0) } else { self.base.term });
        }
        self.get(index).map(|entry| entry.position.term)
    }

    /// The position at `index`, when memory knows it.
    pub(crate) fn position_at(&self, index: Index) -> Option<Position> {
        self.term_at(index).map(|term| Position { index, term })
    }

    fn get(&self, index: Index) -> Option<&Entry> {
        self.entries.get(self.offset(index)?)
    }

    fn offset(&self, index: Index) -> Option<usize> {
        usize::try_from(index.0.checked_sub(self.base.index.0 + 1)?).ok()
    }

    /// Appends one entry.
    pub(crate) fn push(&mut self, entry: Entry) {
        let last = self.last();
        assert_eq!(entry.position.index, last.index.next(), "the log has no holes");
        assert!(entry.position.term >= last.term, "terms never fall along the log");
        self.bytes += entry.size();
        if let Payload::Membership(membership) = &entry.payload {
            self.memberships.push(entry.position.index, Arc::clone(membership));
        }
        self.entries.push_back(entry);
    }

    /// Makes the log agree with `entries`, which follow a place where it agrees already: what matches stays, a
    /// conflicting entry goes with all that follow it, and what is new is appended (Figure 2, `AppendEntries` 3, 4).
    /// `keep` is the index up to which nothing may be replaced.
    pub(crate) fn splice(&mut self, entries: Vec<Entry>, keep: Index) {
        for entry in entries {
            let at = entry.position;
            match self.term_at(at.index) {
                Some(term) if term == at.term && !mutant(Mutant::TruncatesMatching) => {
                    mark(Mark::EntryMatches);
                }
                Some(_) if mutant(Mutant::ConflictStays) => {}
                Some(_) => {
                    mark(Mark::TailReplaced);
                    assert!(at.index > keep, "a committed entry is never replaced");
                    self.truncate(at.index);
                    self.push(entry);
                }
                None => self.push(entry),
            }
        }
    }

    /// Drops everything from `from` on. What is on disk stays there until the next write replaces it, so nothing
    /// from `from` on counts as durable, whatever write completes.
    fn truncate(&mut self, from: Index) {
        while self.last().index >= from && !self.entries.is_empty() {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= entry.size();
            }
        }
        self.memberships.truncate(from);
        let end = self.last();
        for write in &mut self.writes {
            if write.proves.index > end.index && !mutant(Mutant::WritesProveTooMuch) {
                mark(Mark::WriteProvesLess);
                write.proves = end;
            }
        }
        self.persisted = self.persisted.min(end.index);
        if !mutant(Mutant::ReplacementUnwritten) {
            self.handed = self.handed.min(end.index);
        }
    }

    /// The entries that were not yet given to the disk; from now on they are.
    pub(crate) fn hand(&mut self) -> Vec<Entry> {
        let fresh = self.offset(self.handed.next()).map_or(0, |offset| offset.min(self.entries.len()));
        self.handed = self.last().index;
        self.entries.range(fresh..).cloned().collect()
    }

    /// Notes that the write `ticket` contains the log up to its present end.
    pub(crate) fn writing(&mut self, ticket: Ticket) {
        self.writes.push_back(Write { ticket, proves: self.last() });
    }

    /// All writes up to `ticket` are durable.
    pub(crate) fn written(&mut self, ticket: Ticket) {
        while let Some(write) = self.writes.front().copied() {
            if write.ticket > ticket {
                break;
            }
            self.writes.pop_front();
            let stands = write.proves.index <= self.base.index
                || self.term_at(write.proves.index) == Some(write.proves.term);
            assert!(stands, "a truncation lowers what the writes before it prove");
            self.persisted = self.persisted.max(write.proves.index);
        }
    }

    /// Entries from `from` on, at most `count` of them and about `bytes` bytes, but one if there is one.
    pub(crate) fn slice(&self, from: Index, count: usize, bytes: usize) -> Vec<Entry> {
        let Some(offset) = self.offset(from) else { return Vec::new() };
        let start = offset.min(self.entries.len());
        let (mut taken, mut size) = (0, 0);
        for entry in self.entries.range(start..).take(count) {
            size += entry.size();
            if taken > 0 && size > bytes {
                break;
            }
            taken += 1;
        }
        self.entries.range(start..start + taken).cloned().collect()
    }

    /// The first entries after `after` and not after `to`: a page of them, so that whoever applies can pause.
    pub(crate) fn page(&self, after: Index, to: Index) -> Vec<Entry> {
        let count = usize::try_from(to.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        self.slice(after.next(), count.min(PAGE_ENTRIES), PAGE_BYTES)
    }

    /// Bytes of the entries after `after` up to and with `to`.
    pub(crate) fn bytes_between(&self, after: Index, to: Index) -> usize {
        let Some(offset) = self.offset(after.next()) else { return 0 };
        let count = usize::try_from(to.0.saturating_sub(after.0)).unwrap_or(usize::MAX);
        self.entries.range(offset.min(self.entries.len())..).take(count).map(Entry::size).sum()
    }

    /// The last place at or before `index` whose term is not above `term`; `index` itself where memory cannot say.
    /// One term is skipped at a time (thesis 3.5's optimisation).
    pub(crate) fn not_above(&self, index: Index, term: Term) -> Index {
        let mut at = index.min(self.last().index);
        while at > self.base.index && self.term_at(at).is_some_and(|here| here > term) {
            at = at.previous();
        }
        at
    }

    /// Lets go of entries up to `until` while more than `bytes` are held.
    pub(crate) fn evict(&mut self, until: Index, bytes: usize) {
        while self.bytes > bytes {
            let Some(front) = self.entries.front().filter(|front| front.position.index <= until) else {
                return;
            };
            self.bytes -= front.size();
            self.base = front.position;
            self.entries.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;
    use proptest::prelude::*;

    fn entries(from: u64, terms: &[u64]) -> Vec<Entry> {
        let at = |(i, &term): (usize, &u64)| Entry {
            position: Position::new(from + i as u64, term),
            payload: Payload::Noop,
        };
        terms.iter().enumerate().map(at).collect()
    }

    fn nobody() -> History {
        History::new(Index(0), Arc::new(Membership::nobody()))
    }

    fn empty() -> Log {
        Log::new(Position::ZERO, Index(0), vec![], nobody())
    }

    /// What may happen to a follower's log.
    #[derive(Clone, Debug)]
    enum Event {
        /// A newer leader replaces the log after `keep` per cent of it by so many entries.
        Splice {
            keep: u64,
            count: usize,
        },
        Write,
        Done,
        Evict,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..=100_u64, 0..4_usize).prop_map(|(keep, count)| Event::Splice { keep, count }),
            Just(Event::Write),
            Just(Event::Done),
            Just(Event::Evict),
        ]
    }

    proptest! {
        /// Whatever happens, what the log calls durable is on the disk, and memory equals a plain vector.
        #[test]
        fn what_counts_as_durable_is_on_the_disk(events in prop::collection::vec(event(), 1..60)) {
            let mut log = empty();
            let (mut model, mut disk): (Vec<Entry>, Vec<Entry>) = (vec![], vec![]);
            let mut writes: VecDeque<Vec<Entry>> = VecDeque::new();
            let (mut tickets, mut done, mut kept) = (0, 0, 0_u64);
            for (i, event) in events.into_iter().enumerate() {
                match event {
                    Event::Splice { keep, count } => {
                        let keep = (model.len() as u64 * keep / 100).max(kept);
                        let fresh = entries(keep + 1, &vec![i as u64 + 1; count]);
                        if !fresh.is_empty() {
                            model.truncate(usize::try_from(keep).expect("small"));
                            model.extend(fresh.iter().cloned());
                        }
                        log.splice(fresh, Index(kept));
                    }
                    Event::Write => {
                        writes.push_back(log.hand());
                        tickets += 1;
                        log.writing(Ticket(tickets));
                    }
                    Event::Done => if let Some(write) = writes.pop_front() {
                        if let Some(first) = write.first() {
                            disk.truncate(usize::try_from(first.position.index.0 - 1).expect("small"));
                            disk.extend(write);
                        }
                        done += 1;
                        log.written(Ticket(done));
                    },
                    Event::Evict => {
                        kept = kept.max(log.persisted().0 / 2);
                        log.evict(Index(kept), 0);
                    }
                }
                prop_assert_eq!(log.last().index.0, model.len() as u64);
                let durable = usize::try_from(log.persisted().0).expect("small");
                prop_assert!(disk.len() >= durable && disk[..durable] == model[..durable]);
                for entry in &model[usize::try_from(log.base().index.0).expect("small")..] {
                    prop_assert_eq!(log.term_at(entry.position.index), Some(entry.position.term));
                }
                prop_assert_eq!(log.bytes(), log.bytes_between(log.base().index, log.last().index));
            }
        }

        /// The place to back up to is the last one whose term is not above the given one.
        #[test]
        fn not_above_is_what_a_search_finds(
            mut terms in prop::collection::vec(1..6_u64, 0..20), index in 0..25_u64, term in 0..7_u64,
        ) {
            terms.sort_unstable();
            let log = Log::new(Position::ZERO, Index(0), entries(1, &terms), nobody());
            let end = usize::try_from(index).expect("small").min(terms.len());
            let found = terms[..end].iter().rposition(|&t| t <= term).map_or(0, |at| at + 1);
            prop_assert_eq!(log.not_above(Index(index), Term(term)), Index(found as u64));
        }

        /// A slice is contiguous, within its limits, and never empty while there is something.
        #[test]
        fn a_slice_keeps_its_limits(from in 1..12_u64, count in 1..12_usize, bytes in 0..400_usize) {
            let log = Log::new(Position::ZERO, Index(0), entries(1, &[1; 10]), nobody());
            let slice = log.slice(Index(from), count, bytes);
            prop_assert!(slice.len() <= count);
            prop_assert!(slice.len() <= 1 || slice.len() * Entry::OVERHEAD <= bytes);
            prop_assert_eq!(slice.is_empty(), from > 10);
            for (i, entry) in slice.iter().enumerate() {
                prop_assert_eq!(entry.position.index.0, from + i as u64);
            }
        }
    }
}
