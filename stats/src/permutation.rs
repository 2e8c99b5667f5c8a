//! The permutation test of paired differences, which swaps the two columns at random.

use rand::{Rng as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

/// Up to this number of non-zero differences, every sign pattern is tried.
const EXACT_UP_TO: usize = 16;
/// Number of random sign patterns otherwise.
const DRAWS: u32 = 9_999;

/// The two-sided p-value of the mean of paired differences under random signs.
///
/// Fisher (1935), "The design of experiments", section 21. With at most 16 non-zero differences all 2ⁿ sign patterns
/// are counted; otherwise 9,999 seeded draws, counted as (hits + 1) / (draws + 1) as in Phipson & Smyth (2010),
/// "Permutation p-values should never be zero". Without differences p is 1.
#[must_use]
pub fn sign_flip_p(differences: &[f64], seed: u64) -> f64 {
    let sizes: Vec<f64> = differences
        .iter()
        .copied()
        .filter(|value| value.is_finite() && *value != 0.0)
        .collect();
    // A small tolerance: rounding may separate equal sums.
    let total: f64 = sizes.iter().map(|value| value.abs()).sum();
    let reached = sizes.iter().sum::<f64>().abs() - 1e-12 * total;
    if sizes.len() <= EXACT_UP_TO {
        let patterns = 1_u32 << sizes.len();
        let hits = (0..patterns).filter(|pattern| flipped(&sizes, *pattern).abs() >= reached);
        return share(hits.count(), patterns);
    }
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let hits = (0..DRAWS).filter(|_| {
        let parts = sizes.chunks(32);
        let sum: f64 = parts.map(|part| flipped(part, chance.next_u32())).sum();
        sum.abs() >= reached
    });
    share(hits.count() + 1, DRAWS + 1)
}

/// The sum of the values, with the signs flipped that the bits of the pattern select.
fn flipped(values: &[f64], pattern: u32) -> f64 {
    let signed = values.iter().enumerate().map(|(bit, value)| {
        if pattern >> bit & 1 == 0 {
            *value
        } else {
            -value
        }
    });
    signed.sum()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn share(hits: usize, of: u32) -> f64 {
    hits as f64 / f64::from(of)
}
