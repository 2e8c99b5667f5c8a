//! Comparison of two entries on the items that both answered.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Interval;
use crate::interval::Moments;
use crate::mcnemar::sign_test;
use crate::power::detectable_difference;
use crate::student::{t_quantile, two_sided_p, z_two_sided};

/// The difference of two entries on the items that both have a score for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PairedDifference {
    /// The mean of `a − b`; 0 without shared items.
    pub difference: f64,
    /// The 95 % interval of the difference; absent if the data have no spread.
    pub interval: Option<Interval>,
    /// The two-sided probability of a difference at least this large if there were none.
    pub p_value: f64,
    /// The number of items that both have a score for.
    pub shared_items: usize,
    /// The smallest true difference that this comparison would detect with 80 % power at the 5 % level.
    pub detectable_difference: Option<f64>,
}

/// Compares two entries item by item; both slices are in the same order of items.
///
/// - In general the paired t-test: Student (1908), `t = d̄ / (s / √n)` with n − 1 degrees of freedom,
///   and its interval.
/// - If all scores are 0 or 1: the exact form of McNemar (1947), "Note on the sampling error of the difference between
///   correlated proportions", a binomial test on the items that differ. It never rejects equality too often, which t
///   does with counts. The interval is that of Agresti & Min (2005), "Simple improved confidence intervals for
///   comparing matched proportions", half a success added to each cell; it is extended to 0 where the exact test does
///   not exclude 0, so that the two never disagree.
/// - If all differences are equal: without a difference p is 1; otherwise t would be infinite and claim certainty from
///   two items, so the exact sign test is used, p = 2 · 0.5ⁿ. There is no interval then.
/// - With fewer than two shared items p is 1.
///
/// The detectable difference is that of [`detectable_difference`].
#[must_use]
pub fn paired_difference(a: &[Option<f32>], b: &[Option<f32>]) -> PairedDifference {
    let shared = Shared::of(a, b);
    let Moments { mean, count, .. } = shared.moments;
    let p_value = shared.p_value();
    let error = shared.moments.standard_error().filter(|error| *error > 0.0);
    let freedom = shared.moments.freedom();
    let deviation = (shared.moments.squares / freedom).sqrt();
    let interval = if shared.pass_or_fail {
        (count >= 2).then(|| shared.agresti_min(p_value))
    } else {
        error.map(|error| around(mean, t_quantile(0.975, freedom) * error))
    };
    PairedDifference {
        difference: mean,
        interval,
        p_value,
        shared_items: count,
        detectable_difference: error.and_then(|_| detectable_difference(deviation, count)),
    }
}

/// Adjusts the p-values of many tests, in the order given: among those below α, the expected share of false discoveries
/// is at most α.
///
/// Benjamini & Hochberg (1995), "Controlling the false discovery rate", JRSS B 57: the running
/// minimum from the largest p of `p · m / rank`, at most 1.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn benjamini_hochberg(p_values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_unstable_by(|&i, &j| p_values[i].total_cmp(&p_values[j]));
    let mut adjusted = vec![1.0; p_values.len()];
    let mut smallest = 1.0_f64;
    for (rank, &at) in order.iter().enumerate().rev() {
        smallest = smallest.min(p_values[at] * p_values.len() as f64 / (rank + 1) as f64);
        adjusted[at] = smallest;
    }
    adjusted
}

/// Statistics of the items that two entries share, computed in one pass.
pub(super) struct Shared {
    pub(super) moments: Moments,
    /// Number of items that only `a`, or only `b`, passed.
    pub(super) only_a: usize,
    pub(super) only_b: usize,
    pub(super) pass_or_fail: bool,
    spread: bool,
}

impl Shared {
    #[expect(
        clippy::float_cmp,
        reason = "0, 1 and equal differences are looked for exactly"
    )]
    pub(super) fn of(a: &[Option<f32>], b: &[Option<f32>]) -> Self {
        let (mut only_a, mut only_b) = (0, 0);
        let (mut pass_or_fail, mut spread) = (true, false);
        let mut first = None;
        let both = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?)));
        let differences = both
            .filter(|(a, b)| a.is_finite() && b.is_finite())
            .map(|(a, b)| {
                pass_or_fail &= (a == 0.0 || a == 1.0) && (b == 0.0 || b == 1.0);
                only_a += usize::from(a > b);
                only_b += usize::from(a < b);
                let difference = f64::from(a) - f64::from(b);
                spread |= *first.get_or_insert(difference) != difference;
                difference
            });
        let moments = Moments::of(differences);
        Self {
            moments,
            only_a,
            only_b,
            pass_or_fail,
            spread,
        }
    }

    pub(super) fn p_value(&self) -> f64 {
        if self.moments.count < 2 {
            return 1.0;
        }
        if self.pass_or_fail || !self.spread {
            return sign_test(self.only_a, self.only_b);
        }
        match self.moments.standard_error() {
            Some(error) if error > 0.0 => {
                two_sided_p(self.moments.mean / error, self.moments.freedom())
            }
            _ => sign_test(self.only_a, self.only_b),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    fn agresti_min(&self, p_value: f64) -> Interval {
        let items = self.moments.count as f64 + 2.0;
        let (a, b) = (
            (self.only_a as f64 + 0.5) / items,
            (self.only_b as f64 + 0.5) / items,
        );
        let centre = a - b;
        let found = around(
            centre,
            z_two_sided(0.95) * ((a + b - centre * centre) / items).sqrt(),
        );
        let (low, high) = (found.low.max(-1.0), found.high.min(1.0));
        if p_value < 0.05 {
            Interval { low, high }
        } else {
            Interval {
                low: low.min(0.0),
                high: high.max(0.0),
            }
        }
    }
}

fn around(centre: f64, half: f64) -> Interval {
    Interval {
        low: centre - half,
        high: centre + half,
    }
}
