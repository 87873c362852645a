//! Reading a log back after any end of the process or of the power.
//!
//! Batches are written one after another, each synced before the next is begun. So an intact mark proves that every
//! batch before it was durable, and only the very last batch may be incomplete. A batch that does not check is
//! therefore *torn* when no intact mark of a later number follows, and is dropped: nobody was told that it is durable,
//! save for the last one before a crash, which is why an idle log writes one more mark ([`Log::settle`](super::Log)).
//! With a later mark it is *damaged*, and nothing is dropped (docs/bugs.md, 42).
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

use std::{path::Path, sync::Arc};

use raft::{Entry, HardState, Position};

use super::{
    LogError, Over, Settings,
    error::io,
    index::{Place, Places, Terms},
    record::{BadHeader, Header, MARK, Mark, SECTOR, decode_entries},
    segment::{self, Active, FRESH, Reader},
    spare::SPARE,
};
use crate::{
    disk::{Create, Disk, DiskFile},
    instruments::{Mark as Seen, Mutant, mark as saw, mutant},
};

/// What a scan has learned so far.
pub(super) struct Scan {
    pub(super) hard: HardState,
    pub(super) last: Position,
    pub(super) discarded: Position,
    pub(super) terms: Terms,
    pub(super) places: Places,
    /// Entries after what the state has applied.
    pub(super) entries: Vec<Entry>,
    /// Number of the next batch.
    pub(super) number: u64,
    /// Checksum of the last mark.
    pub(super) chain: u32,
    /// Whether the last batch is only a mark that repeats what was known.
    pub(super) settled: bool,
    /// Where the last batch begins in its segment.
    last_batch: Option<u64>,
    applied: Position,
    /// Whether the log has to begin anew where the state ends.
    pub(super) anew: bool,
}

/// The scan's result: what was learned, the closed segments (header and length), and the open one.
pub(super) type Recovery = (Scan, Vec<(Header, u64)>, Active);

/// Reads all segments, makes what was found durable, and opens the last one for writing; begins a log where none is.
pub(super) fn recover(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    settings: &Settings,
    over: Over,
) -> Result<Recovery, LogError> {
    let Over { applied, received } = over;
    let mut headers = Vec::new();
    for sequence in sequences(disk, dir)? {
        let name = segment::name(sequence);
        let file = disk.open(&dir.join(&name), Create::Never).map_err(io("open", name))?;
        headers.push(header(file.as_ref(), sequence)?);
    }
    let (gone, mut missing) = leftovers(&headers);
    if let Some(refusal) = missing.take_if(|_| mutant(Mutant::LogRefusesGap)) {
        return Err(refusal);
    }
    let before: Vec<u64> = headers.drain(..gone).map(|header| header.sequence).collect();
    let Some((first, later)) = headers.split_first() else {
        saw(Seen::LogBegun);
        let header = first_header(settings);
        let mut scan = Scan::after(&header, applied);
        scan.check_applied(received)?;
        return Ok((scan, Vec::new(), Active::begin(disk, dir, settings, header, false)?));
    };
    let mut scan = Scan::after(first, applied);
    let (mut header, mut closed) = (*first, Vec::new());
    for next in later {
        let name = segment::name(header.sequence);
        let file = disk.open(&dir.join(&name), Create::Never).map_err(io("open", name.clone()))?;
        scan.segment(file.as_ref(), &header, Some(next))?;
        closed.push((header, file.len().map_err(io("measure", name))?));
        header = *next;
    }
    let active = scan.last_segment(disk, dir, header, settings)?;
    scan.check_applied(received).map_err(|elsewhere| missing.unwrap_or(elsewhere))?;
    // Only now is it sure that the disk has the name of what took their place.
    for sequence in before {
        saw(Seen::LogLeftoverRemoved);
        let name = segment::name(sequence);
        disk.remove(&dir.join(&name)).map_err(io("remove", name.clone()))?;
        disk.sync_dir(dir).map_err(io("sync the directory of", name))?;
    }
    Ok((scan, closed, active))
}

/// The segments there are, in order; unfinished files are removed.
fn sequences(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Vec<u64>, LogError> {
    let names = disk.list(dir).map_err(io("list", "the files"))?;
    for name in [SPARE, FRESH] {
        if names.iter().any(|found| found == name) {
            saw(Seen::LogUnfinishedRemoved);
            disk.remove(&dir.join(name)).map_err(io("remove", name))?;
        }
    }
    let mut sequences: Vec<u64> = names.iter().filter_map(|name| segment::parse(name)).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

/// How many of the first segments are no part of the log any more: those before one with which it began anew, and those
/// before a gap. A removal whose sync failed may come undone by a later loss of power, though later removals have lasted.
/// So a gap is an error, the one returned, only where the state does not hold what stood before it.
fn leftovers(headers: &[Header]) -> (usize, Option<LogError>) {
    let anew = headers.iter().rposition(|header| header.anew).unwrap_or(0);
    let mut pairs = headers.iter().zip(headers.iter().skip(1)).enumerate().skip(anew);
    let after = |header: &Header| header.sequence.saturating_add(1);
    let gap = pairs.rfind(|(_, (before, next))| after(before) != next.sequence);
    gap.map_or((anew, None), |(at, (before, _))| {
        saw(Seen::LogGap);
        (at.saturating_add(1), Some(LogError::Missing { file: segment::name(after(before)) }))
    })
}

fn first_header(settings: &Settings) -> Header {
    Header {
        sequence: 1,
        salt: settings.salt(1),
        first: 1,
        chain: 0,
        previous: Position::ZERO,
        hard: HardState::default(),
        anew: false,
    }
}

/// A name becomes durable only after the header behind it, so a header that does not check is damage.
fn header(file: &dyn DiskFile, sequence: u64) -> Result<Header, LogError> {
    let name = segment::name(sequence);
    let damaged = |why| LogError::Damaged {
        file: segment::name(sequence),
        offset: 0,
        why,
        intact: Position::ZERO,
        durable: Position::ZERO,
    };
    let mut bytes = [0; SECTOR];
    if file.len().map_err(io("measure", name.clone()))? < SECTOR as u64 {
        return Err(damaged("the file is shorter than its header"));
    }
    file.read_exact_at(&mut bytes, 0).map_err(io("read", name.clone()))?;
    match Header::decode(&bytes) {
        Ok(header) if header.sequence == sequence => Ok(header),
        Ok(_) => Err(damaged("the header is another segment's")),
        Err(BadHeader::Damaged) => {
            saw(Seen::LogHeaderDamaged);
            Err(damaged("the header's checksum does not match"))
        }
        Err(BadHeader::Impossible) => Err(damaged("the header has numbers that no log reaches")),
        Err(BadHeader::Format(found)) => {
            Err(LogError::Format { file: name, found, known: protocol::version::LOG_FORMAT })
        }
    }
}

/// Writes what stands from `from` to `to` over itself, so that the next sync has it to save.
fn write_again(file: &dyn DiskFile, from: u64, to: u64) -> std::io::Result<()> {
    let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut bytes, from)?;
    file.write_all_at(&bytes, from)
}

/// What stands where a batch is expected.
enum Found {
    Batch(Mark, u32, Vec<Entry>),
    /// Nothing, or something incomplete.
    Torn(&'static str, Seen),
    /// Its checksums match, but it does not continue the log: no crash does that.
    Wrong(&'static str),
}

impl Scan {
    fn after(header: &Header, applied: Position) -> Self {
        Self {
            hard: header.hard,
            last: header.previous,
            discarded: header.previous,
            terms: Terms::new(header.previous),
            places: Places::default(),
            entries: Vec::new(),
            number: header.first,
            chain: header.chain,
            settled: true,
            last_batch: None,
            applied,
            anew: false,
        }
    }

    /// Reads one segment; returns where its batches end.
    fn segment(
        &mut self,
        file: &dyn DiskFile,
        header: &Header,
        next: Option<&Header>,
    ) -> Result<u64, LogError> {
        let name = segment::name(header.sequence);
        let mut reader = Reader::new(file).map_err(io("measure", name.clone()))?;
        let mut at = SECTOR as u64;
        loop {
            if next.is_some_and(|next| next.first == self.number) {
                return Ok(at);
            }
            match self.batch(&mut reader, at, header.salt).map_err(io("read", name.clone()))? {
                Found::Batch(mark, crc, entries) => {
                    let place =
                        Place { first: mark.previous.index.next(), segment: header.sequence, offset: at };
                    self.absorb(&mark, crc, entries, place)
                        .map_err(|why| self.damaged(&name, at, why, None))?;
                    self.last_batch = Some(at);
                    at = at.saturating_add(mark.stride());
                }
                Found::Wrong(why) => return Err(self.damaged(&name, at, why, None)),
                Found::Torn(why, tail) => {
                    let later =
                        self.later_mark(&mut reader, at, header.salt).map_err(io("read", name.clone()))?;
                    if let Some(later) = later.filter(|_| !mutant(Mutant::LogCutsDamage)) {
                        saw(Seen::LogDamagedBeforeMark);
                        return Err(self.damaged(&name, at, why, Some(later.durable)));
                    }
                    if let Some(next) = next {
                        saw(Seen::LogDamagedBeforeSegment);
                        return Err(self.damaged(&name, at, why, Some(next.previous)));
                    }
                    saw(tail);
                    return Ok(at);
                }
            }
        }
    }

    /// Reads the last segment, cuts a torn tail, and makes the rest durable: what an ended process left may be readable
    /// and not on the disk.
    ///
    /// A sync alone does not do: where one failed before, the system takes the lost bytes for saved and has nothing to
    /// do. So whatever no later write proves to be durable is written once more: the last batch, or, when there is
    /// none, the segment itself, whose name may be lost.
    fn last_segment(
        &mut self,
        disk: &Arc<dyn Disk>,
        dir: &Path,
        header: Header,
        settings: &Settings,
    ) -> Result<Active, LogError> {
        let name = segment::name(header.sequence);
        let file = disk.open(&dir.join(&name), Create::Never).map_err(io("open", name.clone()))?;
        let at = self.segment(file.as_ref(), &header, None)?;
        let batch = self.last_batch.filter(|_| at > SECTOR as u64);
        if batch.is_none() && !mutant(Mutant::LogTrustsName) {
            saw(Seen::LogSegmentBegunAgain);
            return Active::begin(disk, dir, settings, header, false);
        }
        if let Some(batch) = batch.filter(|_| !mutant(Mutant::LogTrustsCache)) {
            saw(Seen::LogWrittenAgain);
            write_again(file.as_ref(), batch, at).map_err(io("write again", name.clone()))?;
        }
        let filled = file.len().map_err(io("measure", name.clone()))?;
        if at.saturating_add(SECTOR as u64) <= filled {
            // The remains of a torn batch begin with its mark; without it they are no batch, whatever is written next.
            file.write_all_at(&[0; SECTOR], at).map_err(io("cut", name.clone()))?;
        }
        if !mutant(Mutant::LogLeavesUnsynced) {
            file.sync_data().map_err(io("sync", name.clone()))?;
        }
        disk.sync_dir(dir).map_err(io("sync the directory of", name))?;
        Ok(Active { header, file, at, filled })
    }

    fn batch(&self, reader: &mut Reader<'_>, at: u64, salt: u64) -> std::io::Result<Found> {
        let Some(bytes) = reader.get(at, MARK as u64)? else {
            return Ok(Found::Torn("the file ends", Seen::LogTailAtFileEnd));
        };
        let Some((mark, crc)) = Mark::decode(bytes, salt) else {
            return Ok(Found::Torn("no intact mark stands there", Seen::LogTailUnmarked));
        };
        if mark.number != self.number || mark.chain != self.chain {
            return Ok(Found::Wrong("a mark stands there that does not follow the one before"));
        }
        let Some(body) = reader.get(at.saturating_add(MARK as u64), u64::from(mark.body_len))? else {
            return Ok(Found::Torn("the file ends within a batch", Seen::LogTailTorn));
        };
        if crc32c::crc32c(body) != mark.body_crc && !mutant(Mutant::LogTrustsMark) {
            return Ok(Found::Torn("the checksum of a batch does not match", Seen::LogTailTorn));
        }
        Ok(match decode_entries(body, &mark) {
            Ok(entries) => Found::Batch(mark, crc, entries),
            Err(why) => Found::Wrong(why),
        })
    }

    /// An intact mark of a later batch, anywhere after `at`.
    fn later_mark(&self, reader: &mut Reader<'_>, at: u64, salt: u64) -> std::io::Result<Option<Mark>> {
        let mut at = at.saturating_add(SECTOR as u64);
        while at < reader.len() {
            let found = reader.get(at, MARK as u64)?.and_then(|bytes| Mark::decode(bytes, salt));
            if let Some((mark, _)) = found.filter(|(mark, _)| mark.number > self.number) {
                return Ok(Some(mark));
            }
            at = at.saturating_add(SECTOR as u64);
        }
        Ok(None)
    }

    /// Takes over an intact batch.
    fn absorb(
        &mut self,
        mark: &Mark,
        crc: u32,
        entries: Vec<Entry>,
        place: Place,
    ) -> Result<(), &'static str> {
        if mark.durable != self.last {
            return Err("a mark's durable watermark is not the end of the log before it");
        }
        self.settled = entries.is_empty() && mark.hard == self.hard;
        if let Some(last) = entries.last().map(|entry| entry.position) {
            self.replace_after(mark.previous)?;
            self.places.add(place, mark.previous != self.last);
            for entry in entries {
                self.terms.push(entry.position);
                if entry.position.index > self.applied.index {
                    self.entries.push(entry);
                }
            }
            self.last = last;
        }
        (self.hard, self.number, self.chain) = (mark.hard, self.number.saturating_add(1), crc);
        Ok(())
    }

    /// Drops what the log held after `previous`. That can lie before the first segment: entries there were replaced
    /// before the segments that held them were discarded.
    fn replace_after(&mut self, previous: Position) -> Result<(), &'static str> {
        if previous.index > self.last.index {
            return Err("entries are missing before a batch");
        }
        if previous.index < self.discarded.index {
            self.discarded = previous;
            self.terms = Terms::new(previous);
        } else if self.terms.at(previous.index) != Some(previous.term) {
            return Err("a batch follows an entry of another term than the log has there");
        }
        self.terms.truncate(previous.index);
        let keep = self.entries.partition_point(|entry| entry.position.index <= previous.index);
        if !mutant(Mutant::LogRecoversReplaced) {
            self.entries.truncate(keep);
        }
        Ok(())
    }

    /// The state must lie within the log: everything it applied was durable here first. Only a state that was received
    /// from another server and nothing was applied to since may lie elsewhere: the process ended before its log went.
    fn check_applied(&mut self, received: Position) -> Result<(), LogError> {
        let Self { applied, discarded, last, .. } = *self;
        let within = discarded.index <= applied.index && applied.index <= last.index;
        if within && self.terms.at(applied.index) == Some(applied.term) {
            Ok(())
        } else if received == applied && received != Position::ZERO && !mutant(Mutant::LogRefusesReceived) {
            self.anew = true;
            Ok(())
        } else {
            Err(LogError::Elsewhere { applied, discarded, last })
        }
    }

    fn damaged(&self, file: &str, offset: u64, why: &'static str, durable: Option<Position>) -> LogError {
        let durable = durable.unwrap_or(self.last);
        LogError::Damaged { file: file.to_owned(), offset, why, intact: self.last, durable }
    }
}
