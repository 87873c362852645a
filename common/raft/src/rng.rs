//! Seeded jitter: the core draws its randomness from one number given at the start, so that a run can be repeated.
//!
//! `SplitMix64` is enough: the draws spread election timeouts (thesis 3.4) and pick where numberings start. Nothing
//! here is secret.

use crate::instruments::{Mutant, mutant};

/// A small generator; equal seeds give equal sequences.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for `seed`; two servers given the same seed still differ by their `id`.
    pub(crate) fn new(seed: u64, id: u64) -> Self {
        Self(seed ^ id.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A timeout from `shortest..2 * shortest`.
    pub(crate) fn timeout(&mut self, shortest: u32) -> u32 {
        let spread = if mutant(Mutant::NoJitter) { 0 } else { self.next() % u64::from(shortest.max(1)) };
        shortest.saturating_add(u32::try_from(spread).unwrap_or(0))
    }

    /// Where a numbering starts, so that it does not repeat the numbers of an earlier run: 2^32 numbers follow
    /// before another start could be met, and the numbering cannot overflow.
    pub(crate) fn numbering(&mut self) -> u64 {
        if mutant(Mutant::NumbersStartOver) { 0 } else { (self.next() >> 33) << 32 }
    }
}
