//! A log on a simulated disk, what it should hold, and something for it to do.

use std::{path::Path, sync::Arc};

use kvd::{
    disk::Disk,
    log::{Log, LogError, Recovered, Settings},
};
use raft::{Entry, HardState, NodeId, Payload, Persist, Position, Term, Ticket};
use testkit::disk::SimDisk;

use crate::sim::Sim;

pub(crate) const DIR: &str = "/log";

/// A disk with the log's directory.
pub(crate) fn disk() -> SimDisk {
    let disk = SimDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// The log's view of it.
pub(crate) fn sim(disk: &SimDisk) -> Arc<dyn Disk> {
    Arc::new(Sim(disk.clone()))
}

pub(crate) fn settings(seed: u64) -> Settings {
    Settings { segment_bytes: 8192, chunk_bytes: 1024, batch_bytes: 4096, background: false, seed }
}

pub(crate) fn open(disk: &SimDisk, applied: Position, seed: u64) -> Result<(Log, Recovered), LogError> {
    Log::open_with(sim(disk), Path::new(DIR), applied, settings(seed))
}

pub(crate) fn begin(disk: &SimDisk) -> Log {
    open(disk, Position::ZERO, 3).unwrap().0
}

pub(crate) fn reopen(disk: &SimDisk) -> Recovered {
    open(disk, Position::ZERO, 99).unwrap().1
}

pub(crate) fn entry(index: u64, term: u64, bytes: usize) -> Entry {
    let payload = match bytes {
        0 => Payload::Noop,
        _ => Payload::Command(vec![u8::try_from(index % 251).unwrap(); bytes].into()),
    };
    Entry { position: Position::new(index, term), payload }
}

pub(crate) fn persist(hard: Option<(u64, u64)>, entries: Vec<Entry>) -> Persist {
    let hard =
        hard.map(|(term, vote)| HardState { term: Term(term), vote: (vote > 0).then_some(NodeId(vote)) });
    Persist { ticket: Ticket(0), hard, restart: None, entries }
}

pub(crate) fn entries(from: u64, to: u64, term: u64, bytes: usize) -> Vec<Entry> {
    (from..=to).map(|index| entry(index, term, bytes)).collect()
}

/// What a log must contain, kept the simple way.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Model {
    pub(crate) hard: HardState,
    pub(crate) entries: Vec<Entry>,
}

impl Model {
    pub(crate) fn write(&mut self, batch: &[Persist]) {
        for persist in batch {
            self.hard = persist.hard.unwrap_or(self.hard);
            if let Some(first) = persist.entries.first() {
                self.entries.truncate(usize::try_from(first.position.index.0).unwrap() - 1);
                self.entries.extend(persist.entries.iter().cloned());
            }
        }
    }

    pub(crate) fn of(recovered: &Recovered) -> Self {
        Self { hard: recovered.hard, entries: recovered.entries.clone() }
    }
}

/// splitmix64
struct Rng(u64);

impl Rng {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// Appends, overwrites in a later term, and votes; at most 4096 bytes a batch, so that each is one write.
pub(crate) fn workload(seed: u64, batches: usize) -> Vec<Vec<Persist>> {
    let mut rng = Rng(seed);
    let (mut last, mut term) = (0, 1);
    let mut one = |rng: &mut Rng| {
        let (mut hard, mut from) = (None, last + 1);
        let kind = rng.below(6);
        if kind < 2 {
            term += 1;
            hard = Some((term, rng.below(4)));
        }
        if kind == 0 {
            return persist(hard, Vec::new());
        }
        if kind == 1 {
            from -= rng.below(last.min(6) + 1);
        }
        let bytes = [0, 7, 300, 600][usize::try_from(rng.below(4)).unwrap()];
        last = from + rng.below(3);
        persist(hard, entries(from, last, term, bytes))
    };
    (0..batches).map(|_| (0..=rng.below(2)).map(|_| one(&mut rng)).collect()).collect()
}
