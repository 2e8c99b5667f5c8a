//! Quantiles of latencies, with confidence intervals.

use serde::{Deserialize, Serialize};
use statrs::distribution::{Binomial, DiscreteCDF as _};
use utoipa::ToSchema;

use crate::student::normal_quantile;

/// Above this number of values the binomial distribution is replaced by its normal limit.
const EXACT_UP_TO: usize = 2_000;

/// The interval of a quantile; an end is absent if there are too few values to bound it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QuantileInterval {
    /// The lower end.
    pub low: Option<f64>,
    /// The upper end.
    pub high: Option<f64>,
}

/// Quantiles such as 0.5 and 0.95, with one sort; `None` for no values.
///
/// Hyndman & Fan (1996), "Sample quantiles in statistical packages", type 7: linear between order
/// statistics, the default of R, numpy and Excel.
#[must_use]
pub fn quantiles<const N: usize>(values: &[f64], shares: [f64; N]) -> Option<[f64; N]> {
    let sorted = sorted(values);
    (!sorted.is_empty()).then(|| shares.map(|share| quantile_of_sorted(&sorted, share)))
}

/// The interval of a quantile, from one order statistic to another, whatever the distribution.
///
/// The number of values below the true quantile is binomial: Conover (1999), "Practical nonparametric statistics",
/// section 3.2. The coverage is at least the stated confidence. Above 2,000 values the binomial quantiles come from the
/// normal limit with a continuity correction, rounded outwards.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "counts are far below 2⁵³, and negative ranks are cut first"
)]
pub fn quantile_interval(values: &[f64], share: f64, confidence: f64) -> QuantileInterval {
    let sorted = sorted(values);
    let (count, tail) = (sorted.len(), 0.5 - 0.5 * confidence);
    // The smallest numbers at which the distribution function reaches the lower tail and exceeds the upper one.
    let (below, above) = if count <= EXACT_UP_TO {
        let Ok(binomial) = Binomial::new(share, count as u64) else {
            return QuantileInterval {
                low: None,
                high: None,
            };
        };
        let first = |reached: f64| {
            let (mut low, mut high) = (0, count as u64);
            while low < high {
                let middle = low.midpoint(high);
                if binomial.cdf(middle) >= reached {
                    high = middle;
                } else {
                    low = middle + 1;
                }
            }
            low as usize
        };
        (first(tail), first(1.0 - tail))
    } else {
        let centre = count as f64 * share;
        let half = normal_quantile(1.0 - tail) * (centre * (1.0 - share)).sqrt();
        let (below, above) = (centre - half - 0.5, centre + half + 0.5);
        (below.floor().max(0.0) as usize, above.ceil() as usize)
    };
    QuantileInterval {
        low: below.checked_sub(1).map(|rank| sorted[rank]),
        high: sorted.get(above).copied(),
    }
}

/// The quantile of sorted, non-empty values, as [`quantiles`] defines it.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "positions lie between 0 and the number of values, far below 2⁵³; equal neighbours may be infinite"
)]
pub(super) fn quantile_of_sorted(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len() - 1;
    let position = share.clamp(0.0, 1.0) * last as f64;
    let below = (position.floor() as usize).min(last);
    let (low, high) = (sorted[below], sorted[(below + 1).min(last)]);
    let part = position - below as f64;
    if low == high || part == 0.0 {
        return low;
    }
    low + part * (high - low)
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let finite = values.iter().copied().filter(|value| value.is_finite());
    let mut sorted: Vec<f64> = finite.collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted
}
