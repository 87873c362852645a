//! One seed from its beginning to its verdict.

use crate::{counts::Counts, options::Options, world::World};

/// What came of a run that broke no promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Everything that happened, as one number.
    pub hash: u64,
    /// Events.
    pub events: u64,
    /// Simulated microseconds.
    pub time: u64,
    /// Entries committed.
    pub committed: u64,
    /// Calls of clients that ended.
    pub calls: u64,
    /// What happened how often.
    pub counts: Counts,
}

/// Runs a seed with these options.
///
/// # Panics
/// With a message that begins with `VIOLATION` when a promise is broken; otherwise where the production code panics.
pub fn run(seed: u64, options: &Options, aloud: bool) -> Outcome {
    let mut world = World::new(seed, options.clone(), aloud);
    world.run(options.seconds * 1_000_000);
    world.heal();
    world.settle_accounts();
    Outcome {
        hash: world.trace.hash(),
        events: world.trace.events(),
        time: world.agenda.now(),
        committed: world.watch.committed(),
        calls: world.history.len() as u64,
        counts: world.counts,
    }
}
