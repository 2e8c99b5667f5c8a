//! Stable hashes, and random numbers based on them.
//!
//! FNV-1a and splitmix64 are implemented here because a recorded demonstration must be reproducible years later: both
//! are defined by published constants and test vectors, whereas `DefaultHasher` and crates may change between versions.
//! Neither is cryptographic; nothing here protects anything.

/// The 64-bit FNV-1a hash of some bytes.
/// <http://www.isthe.com/chongo/tech/comp/fnv/>
#[must_use]
pub fn stable_hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Combines several hashes; the order matters.
pub(super) fn combine(parts: &[u64]) -> u64 {
    parts
        .iter()
        .fold(0, |hash, part| Draws::new(hash ^ part).bits())
}

/// A seeded stream of random numbers: splitmix64.
/// <https://prng.di.unimi.it/splitmix64.c>
pub(super) struct Draws(u64);

impl Draws {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next 64 bits.
    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Returns a number from 0 to below 1, in steps of 2⁻³².
    pub(super) fn uniform(&mut self) -> f64 {
        f64::from((self.bits() >> 32) as u32) / 4_294_967_296.0
    }

    /// Returns an integer below `limit`; 0 if `limit` is 0.
    pub(super) fn below(&mut self, limit: u32) -> u32 {
        ((u64::from(limit) * (self.bits() >> 32)) >> 32) as u32
    }

    /// Returns true with a probability of `percent` per cent.
    pub(super) fn percent(&mut self, percent: u32) -> bool {
        self.below(100) < percent
    }

    /// Returns one of `choices`; `None` only if it is empty.
    pub(super) fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let limit = u32::try_from(choices.len()).unwrap_or(u32::MAX);
        choices.get(self.below(limit) as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fnv_meets_its_published_vectors() {
        for (text, expect) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(stable_hash(text.as_bytes()), expect, "{text}");
        }
    }

    #[test]
    fn splitmix_meets_its_published_vector() {
        let mut draws = Draws::new(1_234_567);
        assert_eq!(draws.bits(), 6_457_827_717_110_365_317);
        assert_eq!(draws.bits(), 3_203_168_211_198_807_973);
        assert_eq!(draws.bits(), 9_817_491_932_198_370_423);
    }

    #[test]
    fn order_matters_when_hashes_are_combined() {
        assert_ne!(combine(&[1, 2]), combine(&[2, 1]));
        assert_ne!(combine(&[1]), combine(&[1, 0]));
    }

    #[test]
    fn draws_stay_in_range_and_reach_all_of_it() {
        let mut draws = Draws::new(7);
        let mut seen = [0_u32; 5];
        for _ in 0..5_000 {
            let uniform = draws.uniform();
            assert!((0.0..1.0).contains(&uniform));
            seen[draws.below(5) as usize] += 1;
        }
        assert!(
            seen.iter().all(|count| (850..1_150).contains(count)),
            "{seen:?}"
        );
        assert_eq!(draws.below(0), 0);
        assert_eq!(draws.pick::<u8>(&[]), None);
    }
}
