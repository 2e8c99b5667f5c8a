//! Seeded random numbers.

/// `SplitMix64` (Steele, Lea and Flood, 2014).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Uniform from 0 (exclusive) to 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        #[expect(clippy::cast_precision_loss, reason = "53 bits are exact")]
        let whole = (bits >> 11) as f64;
        (whole + 1.0) / 9_007_199_254_740_993.0
    }

    /// Log-normal with mean 1; `scatter` is the standard deviation of the logarithm.
    pub(super) fn around_one(&mut self, scatter: f64) -> f64 {
        // Box and Muller, 1958.
        let radius = (-2.0 * self.uniform().ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.uniform()).cos();
        (scatter * normal - scatter * scatter / 2.0).exp()
    }
}
