//! Reading entries back for a follower that fell behind.
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects
    )
)]

use raft::{Entry, Index, Position};

use super::{
    Log, LogError,
    error::io,
    index::Place,
    record::{MARK, Mark, decode_entries},
    segment::{self, Reader},
};
use crate::{
    disk::{Create, DiskFile},
    instruments::{Mark as Seen, Mutant, mark, mutant},
};

impl Log {
    /// Entries `from` to `to`, as many as fit into `max_bytes` and at least one, with the position before the first.
    ///
    /// # Errors
    /// [`LogError::Absent`] when the log does not hold all of them, [`LogError::Damaged`] when they do not check.
    pub fn read(&self, from: Index, to: Index, max_bytes: usize) -> Result<(Position, Vec<Entry>), LogError> {
        self.usable()?;
        let absent = || LogError::Absent { from, to, discarded: self.discarded.index, last: self.last.index };
        if from <= self.discarded.index || from > to || to > self.last.index {
            mark(Seen::LogReadAbsent);
            return Err(absent());
        }
        let previous = from.previous();
        let known = if mutant(Mutant::LogReadsWrongTerm) { from } else { previous };
        let term = self.terms.at(known).ok_or_else(absent)?;
        let mut taken = Taken { next: from, to, room: max_bytes, entries: Vec::new() };
        while !taken.full() {
            let (place, end) = self.places.find(taken.next).ok_or_else(absent)?;
            let end = end.filter(|_| !mutant(Mutant::LogReadsPastSegment));
            self.read_from(place, end.unwrap_or(self.last.index.next()), &mut taken)?;
        }
        Ok((Position { index: previous, term }, taken.entries))
    }

    /// Reads the contiguous batches from `place` on, as far as their entries are live.
    fn read_from(&self, place: Place, end: Index, taken: &mut Taken) -> Result<(), LogError> {
        let name = segment::name(place.segment);
        let opened;
        let (file, salt): (&dyn DiskFile, u64) = if place.segment == self.active.header.sequence {
            (self.active.file.as_ref(), self.active.header.salt)
        } else {
            mark(Seen::LogReadBack);
            opened =
                self.disk.open(&self.dir.join(&name), Create::Never).map_err(io("open", name.clone()))?;
            (opened.as_ref(), self.salt_of(place.segment))
        };
        let mut reader = Reader::new(file).map_err(io("measure", name.clone()))?;
        let mut at = place.offset;
        while taken.next < end && !taken.full() {
            let damaged = |why| self.damaged(&name, at, why, taken.next);
            let bytes = reader.get(at, MARK as u64).map_err(io("read", name.clone()))?;
            let (mark, _) = bytes
                .and_then(|bytes| Mark::decode(bytes, salt))
                .ok_or_else(|| damaged("no intact mark stands there"))?;
            if mark.last() >= taken.next {
                let body = reader
                    .get(at.saturating_add(MARK as u64), u64::from(mark.body_len))
                    .map_err(io("read", name.clone()))?
                    .ok_or_else(|| damaged("the file ends within a batch"))?;
                let entries = decode_entries(body, &mark).map_err(damaged)?;
                taken.take(entries, end);
            }
            at = at.saturating_add(mark.stride());
        }
        Ok(())
    }

    fn damaged(&self, file: &str, offset: u64, why: &'static str, next: Index) -> LogError {
        let index = next.previous();
        let intact = Position { index, term: self.terms.at(index).unwrap_or_default() };
        LogError::Damaged { file: file.to_owned(), offset, why, intact, durable: self.last }
    }
}

/// What was read so far.
struct Taken {
    next: Index,
    to: Index,
    room: usize,
    entries: Vec<Entry>,
}

impl Taken {
    fn full(&self) -> bool {
        self.next > self.to || (self.room == 0 && !self.entries.is_empty())
    }

    fn take(&mut self, entries: Vec<Entry>, end: Index) {
        for entry in entries {
            let index = entry.position.index;
            if index != self.next || index >= end || self.full() {
                continue;
            }
            if !self.entries.is_empty() && entry.size() > self.room {
                self.room = 0;
                return;
            }
            self.room = self.room.saturating_sub(entry.size());
            self.next = index.next();
            self.entries.push(entry);
        }
    }
}
