//! What becomes of each datagram: the faults and counters of every directed pair. No socket and no clock.

use std::{collections::BTreeSet, time::Duration};

use super::{Counts, Faults};
use crate::rng::Rng;

/// What is to be done with a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nothing: it is lost.
    Lost,
    /// Keep it until the next has passed.
    Hold,
    /// Send it, after a while or at once, and perhaps once more.
    Pass {
        /// How long it takes.
        after: Duration,
        /// How long its copy takes, if it has one.
        again: Option<Duration>,
    },
}

/// One directed pair of places.
#[derive(Clone, Debug, Default)]
pub(super) struct Wire {
    pub(super) faults: Faults,
    pub(super) counts: Counts,
    seed: u64,
    number: u64,
}

impl Wire {
    /// Decides on the next datagram and counts what it decided. One that is held back is counted when it has been
    /// overtaken. Each datagram has a generator of its own, so that what became of one changes nothing for the next.
    pub(super) fn judge(&mut self, can_hold: bool) -> Fate {
        self.number += 1;
        let mut rng = Rng::new(self.seed ^ self.number.wrapping_mul(0xd1b5_4a32_d192_ed03));
        let (faults, counts) = (&self.faults, &mut self.counts);
        if faults.cut {
            counts.cut += 1;
            return Fate::Lost;
        }
        if rng.chance(faults.loss) {
            counts.lost += 1;
            return Fate::Lost;
        }
        let twice = rng.chance(faults.duplicate);
        if rng.chance(faults.reorder) && can_hold && !twice {
            return Fate::Hold;
        }
        let mut lasts = || {
            let jitter = u64::try_from(faults.jitter.as_micros()).unwrap_or(u64::MAX);
            faults.delay + Duration::from_micros(rng.between(0, jitter))
        };
        let (after, again) = (lasts(), twice.then(&mut lasts));
        counts.duplicated += u64::from(twice);
        counts.delayed += u64::from(!after.is_zero());
        Fate::Pass { after, again }
    }
}

/// All wires.
pub(super) struct Wires {
    places: usize,
    pairs: Vec<Wire>,
    /// Pairs whose flows are to get another port.
    pub(super) rebindings: BTreeSet<(usize, usize)>,
}

impl Wires {
    /// Wires without faults between so many places.
    pub(super) fn new(seed: u64, places: usize) -> Self {
        let mut seeds = Rng::new(seed);
        let pairs = (0..places * places).map(|_| Wire { seed: seeds.bits(), ..Wire::default() }).collect();
        Self { places, pairs, rebindings: BTreeSet::new() }
    }

    pub(super) fn wire(&mut self, from: usize, to: usize) -> &mut Wire {
        assert!(from < self.places && to < self.places, "no place {from} or {to}");
        &mut self.pairs[from * self.places + to]
    }

    pub(super) fn all(&mut self) -> impl Iterator<Item = &mut Wire> {
        self.pairs.iter_mut()
    }
}
