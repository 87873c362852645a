//! The write-ahead log: every entry, and term and vote, on disk before anything depends on them.
//!
//! # What it is
//!
//! A directory of *segments*, files filled with zeros and then written from front to back. Each call of
//! [`Log::write`] is one *batch*: a *mark* and the records of its entries, one write, one `fdatasync`. There are no
//! timers: whatever queued up while the last sync ran is the caller's next batch.
//!
//! ```text
//! 0000000000000001.log   [header][mark e e e][mark e][mark]·····[mark e e]      closed
//! 0000000000000002.log   [header][mark e][mark e e]0000000000000000000000      active
//! spare.tmp              0000000000000000000000000000000000000000000000000      made by a thread, at half
//! ```
//!
//! A mark carries term and vote (Figure 2's "persistent state": one record, one checksum, atomic with the entries), a
//! checksum of the batch's entries, the checksum of the mark before it, and the *durable watermark*: the (index, term)
//! up to which everything was synced before this batch. Entries replace what the log held from their first index on
//! (thesis 3.5), so nothing is ever changed in place and nothing needs truncating.
//!
//! # Invariants
//!
//! 1. A batch is begun only after the one before is durable. So an intact mark proves everything before it.
//! 2. A batch is there entirely or not at all.
//! 3. Nothing that a later mark proves to have been durable is ever cut: it is [`LogError::Damaged`].
//! 4. A batch starts on a sector of its own: no write touches bytes that were acknowledged before.
//! 5. What [`Log::open`] returns is durable: a killed process leaves readable bytes that are not.
//! 6. After a failed write or sync every call fails (a retried `fsync` can succeed without having written). Only a write that
//!    found no room may be tried again, for it fails before the sync and stands where nothing durable does: see
//!    [`LogError::Full`].
//!
//! The last batch before a crash has no mark after it. [`Log::settle`], called when idle, gives it one.

mod anew;
mod error;
mod index;
mod read;
mod record;
mod recover;
mod segment;
mod spare;

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::Arc,
};

use protocol::{
    frame::{HEADER_BYTES, encode_entry, entry_bytes},
    limits::ENTRY_BYTES,
};
use raft::{Entry, HardState, Index, Persist, Position};

pub use self::error::LogError;
use self::{
    error::io,
    index::{Place, Places, Terms},
    record::{Header, MARK, Mark, SECTOR, aligned},
    segment::Active,
    spare::Spare,
};
use crate::{
    disk::Disk,
    instruments::{Mark as Seen, Mutant, mark, mutant},
};

/// Sizes and habits; the defaults are for production, tests take tiny ones.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Length of a segment.
    pub segment_bytes: u64,
    /// Steps in which files are filled with zeros.
    pub chunk_bytes: u64,
    /// Most bytes of one batch; more are written as several, each with its sync.
    pub batch_bytes: usize,
    /// Whether spares are made by a thread. Without it they are made at once, and every run is the same.
    pub background: bool,
    /// Segments' salts are derived from this; fresh at each opening.
    pub seed: u64,
}

impl Settings {
    /// For production.
    ///
    /// # Panics
    /// When the operating system has no randomness to give.
    pub fn production() -> Self {
        let seed = getrandom::u64().expect("the operating system gives random bytes");
        Self { segment_bytes: 64 << 20, chunk_bytes: 1 << 20, batch_bytes: 8 << 20, background: true, seed }
    }

    /// The salt of a segment: splitmix64 of seed and sequence.
    fn salt(&self, sequence: u64) -> u64 {
        let mut z = self.seed.wrapping_add(sequence.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// The state that a log is opened for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Over {
    /// What the state has durably applied.
    pub applied: Position,
    /// The last entry in it when it was received from another server; zero when it never was.
    pub received: Position,
}

/// Which segments may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Those with no entry after this one, in any case.
    pub to: Index,
    /// While the log takes more than `bytes`, also those with none after this one. The state must have applied all of
    /// them durably.
    pub most: Index,
    /// See `most`.
    pub bytes: u64,
}

/// What is left after segments went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// The position before the first entry that is left.
    pub position: Position,
    /// Bytes that the log took before, and takes now.
    pub bytes: (u64, u64),
}

/// What an opened log held, all of it durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recovered {
    /// Term and vote.
    pub hard: HardState,
    /// The position before the first entry on disk.
    pub discarded: Position,
    /// The position before `entries`: what the state has applied.
    pub base: Position,
    /// Everything after `base`, contiguous.
    pub entries: Vec<Entry>,
    /// The last entry, or `base`.
    pub last: Position,
}

/// An open log. One at a time for a directory.
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: Settings,
    /// Full segments, in order, with their lengths.
    closed: VecDeque<(Header, u64)>,
    active: Active,
    spare: Spare,
    hard: HardState,
    last: Position,
    discarded: Position,
    terms: Terms,
    places: Places,
    number: u64,
    chain: u32,
    settled: bool,
    poisoned: bool,
    buffer: Vec<u8>,
}

impl Log {
    /// Opens the log in `dir`, or begins one; `applied` is what the state has durably applied.
    ///
    /// # Errors
    /// See [`LogError`]: with any of them the node must not start.
    pub fn open(disk: Arc<dyn Disk>, dir: &Path, applied: Position) -> Result<(Self, Recovered), LogError> {
        Self::open_with(disk, dir, applied, Settings::production())
    }

    /// As [`Log::open`], with other settings.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        dir: &Path,
        applied: Position,
        settings: Settings,
    ) -> Result<(Self, Recovered), LogError> {
        Self::open_over(disk, dir, Over { applied, received: Position::ZERO }, settings)
    }

    /// As [`Log::open_with`], for a state that may have been received from another server: if the log does not match
    /// it, and nothing was applied to it since, the log begins anew where it ends.
    pub fn open_over(
        disk: Arc<dyn Disk>,
        dir: &Path,
        over: Over,
        settings: Settings,
    ) -> Result<(Self, Recovered), LogError> {
        assert!(settings.chunk_bytes >= SECTOR as u64 && settings.segment_bytes >= 4 * SECTOR as u64);
        let (mut scan, closed, active) = recover::recover(&disk, dir, &settings, over)?;
        let (anew, entries) = (scan.anew, std::mem::take(&mut scan.entries));
        let mut log = Self {
            disk,
            dir: dir.to_owned(),
            settings,
            closed: closed.into(),
            active,
            spare: Spare::Idle,
            hard: scan.hard,
            last: scan.last,
            discarded: scan.discarded,
            terms: scan.terms,
            places: scan.places,
            number: scan.number,
            chain: scan.chain,
            settled: scan.settled,
            poisoned: false,
            buffer: Vec::new(),
        };
        if anew {
            mark(Seen::LogBegunAnewAtStart);
            log.begin_anew(over.applied, log.hard)?;
        }
        let (hard, discarded, last) = (log.hard, log.discarded, log.last);
        let entries = if anew { Vec::new() } else { entries };
        Ok((log, Recovered { hard, discarded, base: over.applied, entries, last }))
    }

    /// Makes all of it durable, in one write and one sync (more only when over [`Settings::batch_bytes`]).
    ///
    /// # Errors
    /// Nothing of it may be assumed to be durable, nor to be lost. End the process; but after [`LogError::Full`] the same
    /// may be written again, and until then nothing that would follow it.
    pub fn write(&mut self, batch: &[Persist]) -> Result<(), LogError> {
        self.usable()?;
        let batch = self.restart(batch)?;
        let hard = batch.iter().rev().find_map(|persist| persist.hard).unwrap_or(self.hard);
        assert!(hard.term >= self.hard.term, "the core's term never goes back");
        let entries = self.merge(batch)?;
        if entries.is_empty() && (hard == self.hard || mutant(Mutant::LogDropsVotes)) {
            return Ok(());
        }
        self.settled = false;
        if mutant(Mutant::LogWritesVoteFirst) {
            self.write_entries(HardState { term: self.hard.term, ..hard }, &[])?;
        }
        let written = self.write_entries(hard, &entries);
        self.poisoned = is_final(&written);
        written
    }

    /// Marks the last batch as durable, so that damage to it is told from a torn write. For an idle moment: within a
    /// heartbeat or so after the last write. Costs a sync after a write, nothing otherwise.
    pub fn settle(&mut self) -> Result<(), LogError> {
        self.usable()?;
        if self.settled || mutant(Mutant::LogNeverSettles) {
            return Ok(());
        }
        mark(Seen::LogSettled);
        let written = self.write_entries(self.hard, &[]);
        self.poisoned = is_final(&written);
        self.settled = written.is_ok();
        written
    }

    /// Removes the segments that hold no entry after `index`, which the state must have applied durably. Returns the
    /// position before the first entry that is left.
    pub fn discard_to(&mut self, index: Index) -> Result<Position, LogError> {
        self.discard(Discard { to: index, most: index, bytes: 0 }).map(|discarded| discarded.position)
    }

    /// Removes the segments that may go.
    pub fn discard(&mut self, what: Discard) -> Result<Discarded, LogError> {
        self.usable()?;
        let before = self.disk_bytes();
        let discarded = self.discard_segments(what);
        self.poisoned = discarded.is_err();
        discarded.map(|()| Discarded { position: self.discarded, bytes: (before, self.disk_bytes()) })
    }

    /// Bytes that the segments take on disk.
    pub fn disk_bytes(&self) -> u64 {
        self.active.filled + self.closed.iter().map(|(_, bytes)| bytes).sum::<u64>()
    }

    /// The last entry.
    pub fn last(&self) -> Position {
        self.last
    }

    /// The position before the first entry on disk.
    pub fn discarded(&self) -> Position {
        self.discarded
    }

    fn usable(&self) -> Result<(), LogError> {
        if self.poisoned { Err(LogError::Poisoned) } else { Ok(()) }
    }

    /// The entries that are left when later ones have replaced earlier ones; checked to continue the log.
    fn merge<'a>(&self, batch: &'a [Persist]) -> Result<Vec<&'a Entry>, LogError> {
        let mut merged: Vec<&Entry> = Vec::new();
        let mut end = self.last.index;
        for persist in batch {
            for (number, entry) in persist.entries.iter().enumerate() {
                let index = entry.position.index;
                let replaces = number == 0 && index <= end && index > self.discarded.index;
                if index != end.next() && !replaces {
                    let (discarded, last) = (self.discarded.index, end);
                    return Err(LogError::OutOfOrder { first: index, discarded, last });
                }
                if !mutant(Mutant::LogMergesNothing) {
                    merged.truncate(merged.partition_point(|earlier| earlier.position.index < index));
                }
                merged.push(entry);
                end = index;
            }
        }
        Ok(merged)
    }

    /// Writes the entries in as few batches as they fit into, at least one.
    fn write_entries(&mut self, hard: HardState, entries: &[&Entry]) -> Result<(), LogError> {
        let mut rest = entries;
        loop {
            let (now, later) = rest.split_at(self.encode(rest)?);
            self.write_batch(hard, now)?;
            rest = later;
            if rest.is_empty() {
                return Ok(());
            }
            mark(Seen::LogSplit);
        }
    }

    /// Puts as many entries as one batch takes into the buffer, behind room for the mark; returns how many.
    fn encode(&mut self, entries: &[&Entry]) -> Result<usize, LogError> {
        let room = usize::try_from(self.settings.segment_bytes).unwrap_or(usize::MAX) - SECTOR - MARK;
        let limit = room.min(HEADER_BYTES + ENTRY_BYTES);
        let target = self.settings.batch_bytes.min(room);
        self.buffer.clear();
        self.buffer.resize(MARK, 0);
        for (count, entry) in entries.iter().enumerate() {
            let size = entry_bytes(entry);
            if size > limit {
                return Err(LogError::TooLarge { size, limit });
            }
            if count > 0 && self.buffer.len() - MARK + size > target {
                return Ok(count);
            }
            encode_entry(entry, &mut self.buffer);
        }
        Ok(entries.len())
    }

    /// Completes the batch in the buffer, writes and syncs it, and takes note of it.
    fn write_batch(&mut self, hard: HardState, entries: &[&Entry]) -> Result<(), LogError> {
        let previous = self.before(entries);
        let len = aligned(self.buffer.len() as u64);
        if self.active.at + len > self.settings.segment_bytes {
            self.turn_over(false)?;
        }
        let crc = self.complete(hard, previous, entries.len());
        let written = self.active.write(&self.buffer, &self.settings);
        if written.is_err() {
            mark(Seen::LogWriteFailed);
        }
        written.or_else(|error| if mutant(Mutant::LogIgnoresFailedWrite) { Ok(()) } else { Err(error) })?;
        self.active.sync()?;
        self.note(hard, previous, entries, crc);
        self.active.at += len;
        if self.active.at > self.settings.segment_bytes / 2 {
            self.spare.request(&self.disk, &self.dir, &self.settings);
        }
        Ok(())
    }

    /// The position before the first of these entries.
    fn before(&self, entries: &[&Entry]) -> Position {
        let Some(first) = entries.first() else { return self.last };
        let index = first.position.index.previous();
        let term = self.terms.at(index).expect("merge() has checked that the entries continue the log");
        Position { index, term }
    }

    /// Fills in the mark and pads the buffer to a sector; returns the mark's checksum.
    fn complete(&mut self, hard: HardState, previous: Position, entries: usize) -> u32 {
        let body = &self.buffer[MARK..];
        let mark = Mark {
            durable: self.last,
            salt: self.active.header.salt,
            number: self.number,
            chain: self.chain,
            body_crc: crc32c::crc32c(body),
            body_len: u32::try_from(body.len()).expect("a batch is smaller than a segment"),
            entries: u32::try_from(entries).expect("an entry takes bytes of the batch"),
            previous,
            hard,
        };
        let bytes = mark.encode();
        self.buffer[..MARK].copy_from_slice(&bytes);
        self.buffer.resize(self.buffer.len().next_multiple_of(SECTOR), 0);
        u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]])
    }

    /// Takes note of the batch that was made durable at the active segment's end.
    fn note(&mut self, hard: HardState, previous: Position, entries: &[&Entry], crc: u32) {
        if let (Some(first), Some(last)) = (entries.first(), entries.last()) {
            let (segment, offset) = (self.active.header.sequence, self.active.at);
            let place = Place { first: first.position.index, segment, offset };
            let replaces = previous != self.last;
            if replaces {
                mark(Seen::LogReplaced);
            }
            self.places.add(place, replaces && !mutant(Mutant::LogKeepsPlaces));
            if !mutant(Mutant::LogKeepsTerms) {
                self.terms.truncate(previous.index);
            }
            for entry in entries {
                self.terms.push(entry.position);
            }
            self.last = last.position;
        }
        (self.hard, self.number, self.chain) = (hard, self.number + 1, crc);
    }

    /// Closes the active segment and begins the next, with which the log may begin anew.
    fn turn_over(&mut self, anew: bool) -> Result<(), LogError> {
        let sequence = self.active.header.sequence + 1;
        let header = Header {
            sequence,
            salt: self.settings.salt(sequence),
            first: self.number,
            chain: self.chain,
            previous: self.last,
            hard: self.hard,
            anew,
        };
        mark(Seen::LogTurnedOver);
        let spare = self.spare.take();
        mark(if spare { Seen::LogSpareUsed } else { Seen::LogSpareMissing });
        let next = Active::begin(&self.disk, &self.dir, &self.settings, header, spare);
        if spare && next.as_ref().is_err_and(LogError::is_full) {
            self.spare = Spare::Ready;
        }
        let next = next?;
        let full = std::mem::replace(&mut self.active, next);
        self.closed.push_back((full.header, full.filled));
        Ok(())
    }

    /// Oldest first and each made durable by itself, so that no crash leaves a gap.
    fn discard_segments(&mut self, what: Discard) -> Result<(), LogError> {
        while let Some((header, _)) = self.closed.front() {
            let sequence = header.sequence;
            let live = self.places.first_after(sequence).map_or(self.last.index, Index::previous);
            let over = self.disk_bytes() > what.bytes && live <= what.most;
            if live > what.to && !over {
                break;
            }
            mark(if over { Seen::LogDiscardedForRoom } else { Seen::LogDiscarded });
            let term = self.terms.at(live).expect("a live entry has a term");
            let name = segment::name(sequence);
            self.disk.remove(&self.dir.join(&name)).map_err(io("remove", name.clone()))?;
            self.disk.sync_dir(&self.dir).map_err(io("sync the directory of", name))?;
            self.closed.pop_front();
            self.places.forget(sequence);
            self.discarded = Position { index: live, term };
            self.terms.discard(self.discarded);
        }
        Ok(())
    }

    fn salt_of(&self, sequence: u64) -> u64 {
        let first = self.closed.front().map_or(sequence, |(header, _)| header.sequence);
        let at = usize::try_from(sequence.saturating_sub(first)).unwrap_or(usize::MAX);
        self.closed.get(at).map_or(self.active.header.salt, |(header, _)| header.salt)
    }
}

/// Whether nothing more may be written in this process.
fn is_final(written: &Result<(), LogError>) -> bool {
    written.as_ref().is_err_and(|error| !error.is_full())
}
