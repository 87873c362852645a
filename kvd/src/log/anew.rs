//! The log begins anew further on: what it held does not match a state that was received and is durable.
//!
//! A segment whose header says so takes the place of all before it. Once its name is durable they are no part of the log,
//! whether they are removed yet or not; a start that still finds some removes them. Term and vote stand in the header,
//! and batches go on being numbered, so nothing of the old segments is needed.

use raft::{HardState, Persist, Position};

use super::{Log, LogError, error::io, index::Terms, is_final, segment};
use crate::instruments::{Mark as Seen, Mutant, mark, mutant};

impl Log {
    /// Begins anew if the batch says so; returns what is left of it to write.
    pub(super) fn restart<'a>(&mut self, batch: &'a [Persist]) -> Result<&'a [Persist], LogError> {
        let Some(at) = batch.iter().rposition(|persist| persist.restart.is_some()) else { return Ok(batch) };
        let (before, rest) = batch.split_at(at);
        let base = rest.first().and_then(|persist| persist.restart).expect("it was found there");
        let hard = before.iter().rev().find_map(|persist| persist.hard).unwrap_or(self.hard);
        mark(Seen::LogBegunAnew);
        let begun = self.begin_anew(base, hard);
        self.poisoned = is_final(&begun);
        begun.map(|()| rest)
    }

    /// Drops everything and begins after `base`.
    pub(super) fn begin_anew(&mut self, base: Position, hard: HardState) -> Result<(), LogError> {
        let before = (self.hard, self.last, self.discarded);
        (self.hard, self.last, self.discarded) = (hard, base, base);
        let terms = std::mem::replace(&mut self.terms, Terms::new(base));
        let places = std::mem::take(&mut self.places);
        if let Err(error) = self.turn_over(!mutant(Mutant::LogAnewUnmarked)) {
            // Without room for it the log is what it was.
            (self.hard, self.last, self.discarded) = before;
            (self.terms, self.places) = (terms, places);
            return Err(error);
        }
        self.settled = true;
        while let Some((header, _)) = self.closed.front() {
            let name = segment::name(header.sequence);
            self.disk.remove(&self.dir.join(&name)).map_err(io("remove", name.clone()))?;
            self.disk.sync_dir(&self.dir).map_err(io("sync the directory of", name))?;
            self.closed.pop_front();
        }
        Ok(())
    }
}
