//! The bootstrap: intervals for means and ratios of skewed or clustered values.

use rand::{Rng as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

use crate::Interval;
use crate::quantile::quantile_of_sorted;
use crate::student::{normal_cdf, normal_quantile};

/// Number of resamples: another seed moves an end by about a twentieth of the interval's half-width.
pub const RESAMPLES: usize = 2_000;

/// The contribution of one independent unit, such as an item, to a ratio of sums.
///
/// For a mean: the value, and 1. For a mean over clusters: a cluster's sum, and its count.
/// For the cost per correct answer: an item's cost, and its number of correct answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unit {
    /// The contribution to the numerator.
    pub over: f64,
    /// The contribution to the denominator.
    pub under: f64,
}

impl From<f64> for Unit {
    fn from(over: f64) -> Self {
        Self { over, under: 1.0 }
    }
}

/// The bias-corrected and accelerated bootstrap interval of `Σ over / Σ under`; the same seed gives the same
/// interval.
///
/// Efron (1987), "Better bootstrap confidence intervals", JASA 82; Efron & Tibshirani (1993), "An introduction to the
/// bootstrap", chapter 14. Whole units are drawn, so with one unit per cluster it is the cluster bootstrap of Field &
/// Welsh (2007), JRSS B 69.
/// `None` for fewer than two units or where the estimate is not finite.
#[must_use]
pub fn bootstrap_interval(units: &[Unit], confidence: f64, seed: u64) -> Option<Interval> {
    bca_interval(units, replicates(units, RESAMPLES, seed), confidence)
}

/// The ratio in each of `count` resamples of the units, drawn with replacement.
#[must_use]
pub fn replicates(units: &[Unit], count: usize, seed: u64) -> Vec<f64> {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(seed);
    let resample = |_| {
        let drawn = (0..units.len()).map(|_| units[below(&mut chance, units.len())]);
        ratio(sum(drawn))
    };
    (0..count).map(resample).collect()
}

/// The interval from existing replicates; see [`bootstrap_interval`].
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn bca_interval(units: &[Unit], mut replicates: Vec<f64>, confidence: f64) -> Option<Interval> {
    let estimate = ratio(sum(units.iter().copied()));
    if units.len() < 2 || replicates.is_empty() || !estimate.is_finite() {
        return None;
    }
    let count = replicates.len() as f64;
    let share = |keep: &dyn Fn(f64) -> bool| {
        replicates.iter().filter(|value| keep(**value)).count() as f64 / count
    };
    // Ties count half, including those that rounding separated, and no bias is infinite.
    let hair = 1e-12 * estimate.abs();
    let below = share(&|value| value < estimate - hair);
    let lower = 0.5 * (below + share(&|value| value <= estimate + hair));
    let bias = normal_quantile(lower.clamp(0.5 / count, 1.0 - 0.5 / count));
    let acceleration = acceleration(units);
    replicates.sort_unstable_by(f64::total_cmp);
    let end = |z: f64| {
        let moved = bias + z;
        let share = normal_cdf(bias + moved / (1.0 - acceleration * moved));
        quantile_of_sorted(&replicates, share)
    };
    let z = normal_quantile(0.5 + 0.5 * confidence);
    Some(Interval {
        low: end(-z),
        high: end(z),
    })
}

/// A sixth of the skewness of the jackknife values, each of which leaves one unit out.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn acceleration(units: &[Unit]) -> f64 {
    let total = sum(units.iter().copied());
    let without = |unit: &Unit| {
        ratio(Unit {
            over: total.over - unit.over,
            under: total.under - unit.under,
        })
    };
    let values: Vec<f64> = units.iter().map(without).collect();
    let centre = values.iter().sum::<f64>() / values.len() as f64;
    let power = |exponent| {
        let powers = values.iter().map(|value| (centre - value).powi(exponent));
        powers.sum::<f64>()
    };
    let skew = power(3) / (6.0 * power(2).powf(1.5));
    if skew.is_finite() { skew } else { 0.0 }
}

fn sum(units: impl Iterator<Item = Unit>) -> Unit {
    let zero = Unit {
        over: 0.0,
        under: 0.0,
    };
    units.fold(zero, |sum, unit| Unit {
        over: sum.over + unit.over,
        under: sum.under + unit.under,
    })
}

fn ratio(sum: Unit) -> f64 {
    sum.over / sum.under
}

/// A number below `bound`, from the high bits of a product: Lemire (2019), "Fast random integer generation in an interval".
///
/// Implemented here so that a seed keeps its meaning across library versions; the bias is below 2⁻⁴⁰.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the product's high half is below `bound`"
)]
pub(super) fn below(chance: &mut Xoshiro256PlusPlus, bound: usize) -> usize {
    ((u128::from(chance.next_u64()) * bound as u128) >> 64) as usize
}
