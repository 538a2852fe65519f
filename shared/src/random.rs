//! Random numbers from a seed, without secrecy: of a shard's start values, and of simulations.

use std::ops::RangeInclusive;
use std::time::Duration;

const MILLION: u64 = 1_000_000;

/// SplitMix64 (Steele, Lea, Flood 2014). Each part of a simulated world has its own, by [`Prng::fork`], so
/// that one part which asks more often does not change what the others get.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Prng(u64);

impl Prng {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The generator of a part, by the part's own number and what this one stands at.
    #[must_use]
    pub fn fork(&self, part: u64) -> Self {
        let mut mixed = Self(self.0 ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93));
        let high = mixed.next_u64();
        Self(high ^ mixed.next_u64().rotate_left(17))
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Less than `end`, which is not 0. The bias of the remainder is of no concern here.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next_u64() % end
    }

    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        range.start() + self.below(range.end() - range.start() + 1)
    }

    /// True in `ppm` of a million cases.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        self.below(MILLION) < u64::from(ppm)
    }

    /// True once in `n` cases.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// From zero up to `most`.
    pub fn duration(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap_or(u64::MAX - 1);
        Duration::from_nanos(self.below(nanos + 1))
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next_u64().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_is_one_sequence_and_parts_differ() {
        let draws = |mut prng: Prng| -> Vec<u64> { (0..8).map(|_| prng.next_u64()).collect() };
        let root = Prng::new(7);
        assert_eq!(draws(root.clone()), draws(Prng::new(7)));
        assert_ne!(draws(root.clone()), draws(Prng::new(8)));
        assert_eq!(draws(root.fork(1)), draws(root.fork(1)));
        assert_ne!(draws(root.fork(1)), draws(root.fork(2)));
        assert_ne!(draws(root.fork(1)), draws(root));
    }

    #[test]
    fn chances_are_what_they_say() {
        let mut prng = Prng::new(1);
        let hits = (0..100_000).filter(|_| prng.chance_ppm(50_000)).count();
        assert!((4_700..5_300).contains(&hits), "{hits}");
        assert!((0..1_000).all(|_| (3..=5).contains(&prng.within(3..=5))));
        assert!((0..1_000).all(|_| !prng.chance_ppm(0)));
        let most = Duration::from_millis(2);
        assert!((0..1_000).all(|_| prng.duration(most) <= most));
    }
}
