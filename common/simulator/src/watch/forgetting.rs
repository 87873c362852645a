//! What may be forgotten, and what takes its place: nothing goes from a log that the state does not hold for good, and a
//! state that was received is the committed prefix of which it says that it is.

use kvd::{log::Discarded, snapshot::Head};

use super::{Place, Watch, place};

impl Watch {
    /// The committed log up to `index`, as a disk would hold it.
    fn committed_log(&self, me: usize, index: u64) -> Vec<Place> {
        let count = usize::try_from(index).unwrap_or(usize::MAX);
        let log = self.committed.get(..count);
        let log =
            log.unwrap_or_else(|| panic!("VIOLATION s{me} has a state at {index}, which is not committed"));
        log.iter().map(|committed| committed.place.clone()).collect()
    }

    /// Server `me` lets its log begin anew after a position.
    pub(super) fn anew(&self, me: usize, base: raft::Position) -> Vec<Place> {
        let log = self.committed_log(me, base.index.0);
        let term = log.last().map_or(0, |place| place.term);
        assert_eq!(base.term.0, term, "VIOLATION s{me} begins anew after {base}, whose term is {term}");
        log
    }

    /// Server `me` sends its state to another.
    pub fn sends_state(&self, me: usize, head: &Head) {
        let log = self.committed_log(me, head.at.index.0);
        let term = log.last().map_or(0, |place| place.term);
        assert_eq!(
            head.at.term.0, term,
            "VIOLATION s{me} sends a state at {}, whose term is {term}",
            head.at
        );
    }

    /// Server `me` is about to make the state at `index` current.
    pub fn installing(&mut self, me: usize, index: u64) {
        let before = self.flushes.durable(me);
        assert!(index > before, "VIOLATION s{me} goes back from a state at {before} to one at {index}");
        let term = self.committed_log(me, index).last().map_or(0, |place| place.term);
        let hard = self.servers[me].hard;
        assert!(hard.term.0 >= term, "VIOLATION s{me} takes a state of term {term}, on disk is {hard:?}");
        self.servers[me].installing = Some(index);
    }

    /// The state at `index` is current at `me`, whatever happens.
    pub fn installed(&mut self, me: usize, index: u64) {
        self.servers[me].installing = None;
        self.servers[me].floor = index;
        self.flushes.installed(me, index);
        self.raise(me);
    }

    /// The process of `me` goes on from the state at `index`.
    pub fn adopted(&mut self, me: usize, index: u64) {
        let applied = self.servers[me].applied;
        assert!(index > applied, "VIOLATION s{me} goes back from {applied} to a state at {index}");
        self.servers[me].applied = index;
        self.flushes.adopted(me);
        let held = self.committed.iter().take(usize::try_from(index).unwrap_or(usize::MAX));
        let newest = held.rev().find_map(|committed| committed.command.as_ref());
        self.leasing.adopted(me, newest.map_or(0, |command| command.stamp_ms));
    }

    /// Server `me` begins to take another's state for its own.
    pub fn takes_state(&mut self, me: usize) {
        self.flushes.yields(me);
    }

    /// Whatever its log says, a server holds what its state holds.
    pub(super) fn raise(&mut self, me: usize) {
        let floor = self.servers[me].floor;
        if floor == 0 {
            return;
        }
        let log = self.committed_log(me, floor);
        let chain = log.last().map(|place| place.chain);
        if place(&self.servers[me].durable, floor).map(|place| place.chain) != chain {
            self.servers[me].durable = log;
        }
    }

    /// Server `me` found a state at `index` when it started: the one that it had begun to make current, perhaps.
    pub(super) fn found_state(&mut self, me: usize, index: u64) {
        if self.servers[me].installing == Some(index) {
            self.installed(me, index);
            self.servers[me].handed = self.servers[me].durable.clone();
        } else if self.servers[me].floor > 0 {
            let log = self.servers[me].durable.clone();
            self.servers[me].handed = log;
        }
    }

    /// Segments of the log of `me` went.
    pub fn discarded(&self, me: usize, discarded: &Discarded) {
        let (index, state) = (discarded.position.index.0, self.flushes.durable(me));
        assert!(index <= state, "VIOLATION s{me} discards its log up to {index}, its state holds {state}");
        let log = self.committed_log(me, index);
        let term = log.last().map_or(0, |place| place.term);
        assert_eq!(discarded.position.term.0, term, "VIOLATION s{me} takes the term at {index} for another");
    }

    /// Server `me` was idle for long, and its log takes so many bytes.
    pub fn log_rests(&self, me: usize, bytes: u64) {
        let most = self.bounds.log_bytes;
        assert!(bytes <= most, "VIOLATION s{me} is idle and its log takes {bytes} bytes, over {most}");
    }
}
