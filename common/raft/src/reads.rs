//! Linearizable reads without the log: the read index (thesis 6.4).
//!
//! A leader notes its commit index, starts a *round*, and once a majority has answered that round (the leader
//! answers itself) the noted index covers every write that was acknowledged before the read came. The read may be
//! served when the state has caught up with that index.
//!
//! Rounds are numbered and never reused: each broadcast takes a new number, and where the numbering starts is drawn
//! anew at each start of a server. A read belongs to a round that *began after it came*; an answer to an earlier
//! round says nothing about it. Reads that come while a round is under way wait and share the next one, so that the
//! cost is one round trip at a time however many reads there are.
//!
//! [`Rounds`] is the leader's side. [`Questions`] is a follower's: it asks its leader for an index, one question at
//! a time, asked again under a new number when no answer comes.

use alloc::{collections::VecDeque, vec::Vec};

use crate::{
    instruments::{Mark, Mutant, mark, mutant},
    types::{Index, NodeId, ReadId},
};

/// Who asked for a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asker {
    /// The caller of this server.
    Local(ReadId),
    /// A follower, by its question's number.
    Remote(NodeId, u64),
}

/// Reads of a leader.
#[derive(Clone, Debug)]
pub(crate) struct Rounds {
    latest: u64,
    waiting: Vec<Asker>,
    running: VecDeque<Round>,
    count: usize,
}

/// The reads of one round.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    number: u64,
    /// The commit index when the round began.
    pub(crate) index: Index,
    /// Who waits for it.
    pub(crate) askers: Vec<Asker>,
}

impl Rounds {
    /// No reads; rounds are numbered after `latest`.
    pub(crate) fn new(latest: u64) -> Self {
        Self { latest, waiting: Vec::new(), running: VecDeque::new(), count: 0 }
    }

    /// The number of the latest round.
    pub(crate) fn latest(&self) -> u64 {
        self.latest
    }

    /// How many reads are here.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// Takes a read; the next round serves it. A follower's new question replaces its old one, which it gave up.
    pub(crate) fn add(&mut self, asker: Asker) {
        if let Asker::Remote(node, _) = asker {
            let same = |old: &&mut Asker| matches!(old, Asker::Remote(from, _) if *from == node);
            if let Some(old) = self.waiting.iter_mut().find(same) {
                mark(Mark::QuestionReplaced);
                *old = asker;
                return;
            }
        }
        self.count += 1;
        if let Some(round) = self.running.back_mut().filter(|_| mutant(Mutant::JoinsRunningRound)) {
            return round.askers.push(asker);
        }
        self.waiting.push(asker);
    }

    /// Whether reads wait and no round is under way that would have to end first.
    pub(crate) fn wants_round(&self) -> bool {
        if !self.running.is_empty() && !self.waiting.is_empty() {
            mark(Mark::ReadWaitsForRound);
        }
        !self.waiting.is_empty() && self.running.is_empty()
    }

    /// Begins a round under a new number. Waiting reads join it when the leader may already say its commit `index`.
    pub(crate) fn begin(&mut self, index: Option<Index>) -> u64 {
        self.latest += u64::from(!mutant(Mutant::RoundsShareNumber));
        if let (Some(index), false) = (index, self.waiting.is_empty()) {
            let askers = core::mem::take(&mut self.waiting);
            self.running.push_back(Round { number: self.latest, index, askers });
        }
        self.latest
    }

    /// A majority has answered round `number`: that and all earlier rounds are settled.
    pub(crate) fn settle(&mut self, number: u64) -> Vec<Round> {
        let mut settled = Vec::new();
        while self.running.front().is_some_and(|round| round.number <= number) {
            settled.extend(self.running.pop_front());
        }
        if !mutant(Mutant::SettledStayCounted) {
            self.count -= settled.iter().map(|round| round.askers.len()).sum::<usize>();
        }
        settled
    }

    /// Leadership ends: the caller's reads that were not settled.
    pub(crate) fn abandon(self) -> Vec<ReadId> {
        let running = self.running.into_iter().flat_map(|round| round.askers);
        running
            .chain(self.waiting)
            .filter_map(|asker| match asker {
                Asker::Local(id) => Some(id),
                Asker::Remote(..) => None,
            })
            .collect()
    }
}

/// Reads of a follower.
#[derive(Clone, Debug, Default)]
pub(crate) struct Questions {
    waiting: Vec<ReadId>,
    asked: Option<Question>,
}

#[derive(Clone, Debug)]
struct Question {
    id: u64,
    ticks: u32,
    reads: Vec<ReadId>,
    tries: u32,
}

impl Questions {
    /// How many reads are here.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len() + self.asked.as_ref().map_or(0, |question| question.reads.len())
    }

    /// Takes a read; the next question serves it.
    pub(crate) fn add(&mut self, id: ReadId) {
        self.waiting.push(id);
    }

    /// Whether a question should be asked now: reads wait and none is under way.
    pub(crate) fn wants_question(&self) -> bool {
        self.asked.is_none() && !self.waiting.is_empty()
    }

    /// All reads here join a question with the fresh number `id`.
    pub(crate) fn ask(&mut self, id: u64) {
        let (mut reads, tries) = self.asked.take().map_or((Vec::new(), 0), |old| (old.reads, old.tries + 1));
        reads.append(&mut self.waiting);
        self.asked = Some(Question { id, ticks: 0, reads, tries });
    }

    /// Time passes: whether the question under way is older than `patience` and should be asked again.
    pub(crate) fn tick(&mut self, patience: u32) -> bool {
        self.asked.as_mut().is_some_and(|question| {
            question.ticks += 1;
            question.ticks >= patience
        })
    }

    /// How often the question under way was asked again.
    pub(crate) fn tries(&self) -> u32 {
        self.asked.as_ref().map_or(0, |question| question.tries)
    }

    /// The reads of question `id`, when that is the one under way.
    pub(crate) fn answered(&mut self, id: u64) -> Vec<ReadId> {
        let other = |question: &Question| question.id != id && !mutant(Mutant::LateAnswerCounts);
        if self.asked.as_ref().is_none_or(other) {
            mark(Mark::AnswerTooLate);
            return Vec::new();
        }
        self.asked.take().map_or(Vec::new(), |question| question.reads)
    }

    /// All reads here, given up.
    pub(crate) fn abandon(&mut self) -> Vec<ReadId> {
        let mut reads = self.asked.take().map_or(Vec::new(), |question| question.reads);
        reads.append(&mut self.waiting);
        reads
    }
}
