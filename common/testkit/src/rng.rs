//! Seeded chance: everything that a simulation draws comes from a generator like this, so that a seed is a whole run.
//!
//! One run has many generators, one a purpose ([`Rng::fork`]): turning one fault off then leaves the draws of all
//! others as they were, which is what makes a failing run shrink.

/// A small generator (splitmix64); equal seeds give equal sequences. Nothing here is secret.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    /// A generator for `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A generator of its own for a purpose; it does not move this one.
    #[must_use]
    pub fn fork(&self, purpose: &str) -> Self {
        let mut forked = Self(self.0 ^ 0x6a09_e667_f3bc_c909);
        for byte in purpose.bytes() {
            forked.0 = forked.0.wrapping_mul(0x0000_0100_0000_01b3) ^ u64::from(byte);
            forked.bits();
        }
        forked
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; zero when the bound is.
    pub fn below(&mut self, bound: u64) -> u64 {
        let bits = self.bits();
        if bound == 0 { 0 } else { bits % bound }
    }

    /// As [`Rng::below`], for places in a list.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// A number from `low` to `high`, both possible.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low).saturating_add(1))
    }

    /// True so many times in a million.
    pub fn chance(&mut self, per_million: u64) -> bool {
        self.below(1_000_000) < per_million
    }

    /// One of these; none of an empty list.
    pub fn pick<'a, T>(&mut self, from: &'a [T]) -> Option<&'a T> {
        from.get(self.index(from.len()))
    }

    /// Puts a list into a random order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for i in (1..list.len()).rev() {
            list.swap(i, self.index(i + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fork_depends_on_seed_and_purpose_and_moves_nothing() {
        let mut one = Rng::new(7);
        let forked = |rng: &Rng, purpose| rng.fork(purpose).bits();
        assert_ne!(forked(&one, "loss"), forked(&one, "delay"));
        assert_ne!(forked(&one, "loss"), forked(&Rng::new(8), "loss"));
        let before = one.clone().bits();
        assert_eq!(one.bits(), before);
    }

    #[test]
    fn draws_stay_in_their_bounds() {
        let mut rng = Rng::new(1);
        assert!((0..1000).all(|_| rng.below(3) < 3 && (4..=6).contains(&rng.between(4, 6))));
        assert!((0..1000).all(|_| !rng.chance(0) && rng.chance(1_000_000)));
        assert_eq!((rng.below(0), rng.pick::<u8>(&[])), (0, None));
    }
}
