//! The request memory: which writes were applied under which id, so that a repeated one is answered and not repeated.
//!
//! State remembers the ids of the last `limit` applied writes, in the order of their revisions. The **floor** is the
//! highest revision it has forgotten. A client takes an applied index into its id *before* its first attempt
//! (`learned`), so every execution of that id has a higher revision than `learned`. An unknown id with
//! `learned >= floor` was therefore never executed: had it been, its revision would lie above the floor and it would
//! still be known. An unknown id with `learned < floor` may have been executed and forgotten; it is refused as
//! expired and never executed.
//!
//! The window is a function of the applied entries alone, never of when a node flushed, so equal applied indexes
//! mean equal memories. On disk the ids lie in [chunks](Chunk), written once with the flush that made them and
//! removed whole when all of their ids are below the floor; those of a chunk that straddles the floor are skipped
//! when it is loaded, for the floor itself is stored exactly.

use std::collections::{HashMap, VecDeque};

use protocol::{ClusterId, Refused, RequestId};

use super::hash;
use crate::instruments::{Mark, Mutant, mark, mutant};

mod chunk;
pub(crate) use chunk::Chunk;

/// One applied write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Remembered {
    /// The random part of its id.
    pub(crate) token: [u8; 16],
    /// Its revision.
    pub(crate) revision: u64,
    /// [`hash::operation`] of what it did.
    pub(crate) operation: u64,
    /// The number it answered with; zero for operations that answer with none.
    pub(crate) number: u64,
    /// Whether the key was there before.
    pub(crate) existed: bool,
    /// Whether it was done, or why not.
    pub(crate) verdict: protocol::Verdict,
}

/// What to do with a request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Never executed: execute it.
    New,
    /// Executed before, with this outcome.
    Repeated(Remembered),
    /// Not to be executed, for this reason.
    Refused(Refused),
}

/// See the module.
pub(crate) struct Requests {
    limit: usize,
    window: VecDeque<Remembered>,
    /// Token to place, counted from the first id this process knew. Only ever looked up, never iterated: its order
    /// differs between processes.
    places: HashMap<[u8; 16], u64>,
    /// Place of the front of the window.
    first_place: u64,
    floor: u64,
    hash: u64,
    /// Remembered since the last flush began, already in the form of the disk.
    unflushed: Vec<Chunk>,
    unflushed_bytes: usize,
}

impl Requests {
    /// An empty memory of at most `limit` ids. The space is reserved at once, so that no write pays for moving a
    /// million ids to a larger table; the system hands it out as it is used.
    pub(crate) fn new(limit: usize, floor: u64) -> Self {
        assert!(limit > 0, "a memory of no ids would make every retry expire");
        Self {
            limit,
            window: VecDeque::with_capacity(limit + 1),
            places: HashMap::with_capacity(limit + 1),
            first_place: 0,
            floor,
            hash: 0,
            unflushed: Vec::new(),
            unflushed_bytes: 0,
        }
    }

    /// Takes in one stored chunk; the caller passes them in order. Ids at or below the floor are skipped. The error
    /// says what is wrong with the bytes.
    pub(crate) fn load(&mut self, last: u64, bytes: &[u8]) -> Result<(), &'static str> {
        let mut revision = None;
        for remembered in Chunk::read(bytes) {
            let remembered = remembered?;
            revision = Some(remembered.revision);
            if remembered.revision > self.floor {
                self.admit(remembered)?;
            } else {
                mark(Mark::ChunkStraddles);
            }
        }
        if revision == Some(last) {
            Ok(())
        } else {
            Err("request ids end at another revision than their key says")
        }
    }

    fn admit(&mut self, remembered: Remembered) -> Result<(), &'static str> {
        if self.window.back().is_some_and(|last| last.revision >= remembered.revision) {
            return Err("request ids are not in the order of their revisions");
        }
        if self.window.len() == self.limit {
            return Err("more request ids than the memory holds");
        }
        if self.places.contains_key(&remembered.token) {
            return Err("a request id occurs twice");
        }
        self.push(remembered);
        Ok(())
    }

    /// Decides on a request whose entry stands at `index`.
    pub(crate) fn judge(
        &self,
        request: &RequestId,
        operation: u64,
        index: u64,
        cluster: ClusterId,
    ) -> Verdict {
        if request.cluster != cluster && !mutant(Mutant::RequestsTakeAnyCluster) {
            mark(Mark::RequestOfAnotherCluster);
            return refused_id("it belongs to another cluster");
        }
        // Below, an id is judged by `learned < revision` of every execution; this keeps that true.
        if request.learned >= index && !mutant(Mutant::RequestsBelieveFuture) {
            mark(Mark::RequestFromTheFuture);
            return refused_id("it says to have learned an index that its own write had not reached");
        }
        match self.find(&request.token) {
            Some(known) if known.operation == operation || mutant(Mutant::RequestsCompareNothing) => {
                mark(Mark::RequestRepeated);
                Verdict::Repeated(*known)
            }
            Some(_) => {
                mark(Mark::RequestReused);
                refused_id("it was used before for a different operation")
            }
            None if request.learned < self.floor && !mutant(Mutant::RequestsRunExpired) => {
                mark(Mark::RequestExpired);
                Verdict::Refused(Refused::Expired)
            }
            None => Verdict::New,
        }
    }

    fn find(&self, token: &[u8; 16]) -> Option<&Remembered> {
        let place = self.places.get(token)? - self.first_place;
        let found = usize::try_from(place).ok().and_then(|place| self.window.get(place));
        assert!(found.is_some_and(|found| found.token == *token), "the index of the request memory is wrong");
        found
    }

    /// Remembers an executed write, and forgets the oldest when there is one too many.
    pub(crate) fn remember(&mut self, remembered: Remembered) {
        assert!(
            self.window.back().is_none_or(|last| last.revision < remembered.revision),
            "revisions of applied writes rise"
        );
        self.push(remembered);
        self.pack(&remembered);
        if self.window.len() > self.limit {
            self.forget_oldest();
        }
    }

    fn push(&mut self, remembered: Remembered) {
        let place = self.first_place + self.window.len() as u64;
        let before = self.places.insert(remembered.token, place);
        assert!(before.is_none(), "a request id is remembered once");
        self.window.push_back(remembered);
        self.hash = self.hash.wrapping_add(element(&remembered));
    }

    fn forget_oldest(&mut self) {
        mark(Mark::RequestForgotten);
        let newest = mutant(Mutant::RequestsForgetNewest);
        let oldest = if newest { self.window.pop_back() } else { self.window.pop_front() }
            .expect("called when the window is over its limit, which is positive");
        self.places.remove(&oldest.token);
        self.first_place += u64::from(!newest);
        self.hash = self.hash.wrapping_sub(element(&oldest));
        self.floor = oldest.revision - u64::from(mutant(Mutant::RequestsFloorTooLow));
    }

    fn pack(&mut self, remembered: &Remembered) {
        let appended = self.unflushed.last_mut().and_then(|chunk| chunk.append(remembered));
        self.unflushed_bytes += appended.unwrap_or_else(|| {
            let (chunk, bytes) = Chunk::begin(remembered);
            self.unflushed.push(chunk);
            bytes
        });
    }

    /// The ids remembered since this was last called, without the chunks that are forgotten already.
    pub(crate) fn take_unflushed(&mut self) -> Vec<Chunk> {
        self.unflushed_bytes = 0;
        if mutant(Mutant::RequestsUnboundByFlush) {
            self.places.clear();
        }
        let mut chunks = std::mem::take(&mut self.unflushed);
        let count = chunks.len();
        chunks.retain(|chunk| chunk.last() > self.floor);
        if chunks.len() < count {
            mark(Mark::ChunkForgotten);
        }
        chunks
    }

    /// Bytes that [`Requests::take_unflushed`] would hand out, at most.
    pub(crate) fn unflushed_bytes(&self) -> usize {
        self.unflushed_bytes
    }

    /// The highest revision forgotten; zero while nothing is.
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }

    /// Its share of the state's hash.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.wrapping_add(hash::element(&[self.floor]))
    }

    /// How many ids are known.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }
}

fn element(remembered: &Remembered) -> u64 {
    let half = |from: usize| {
        let mut half = [0; 8];
        half.copy_from_slice(&remembered.token[from..from + 8]);
        u64::from_le_bytes(half)
    };
    let Remembered { revision, operation, number, existed, verdict, .. } = *remembered;
    let outcome = u64::from(existed) | u64::from(verdict.code()) << 1;
    hash::element(&[half(0), half(8), revision, operation, number, outcome])
}

fn refused_id(why: &str) -> Verdict {
    Verdict::Refused(Refused::BadRequestId(why.to_owned()))
}

#[cfg(test)]
mod tests;
