//! Confidence intervals of shares and means.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::student::{t_quantile, z_two_sided};

/// A range that contains the true value with the stated confidence.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

impl Interval {
    /// The interval clipped to a scale, such as 0 to 1 for scores.
    #[must_use]
    pub fn within(self, low: f64, high: f64) -> Self {
        Self {
            low: self.low.clamp(low, high),
            high: self.high.clamp(low, high),
        }
    }
}

/// The interval of a pass rate: `successes` of `n`, at a confidence such as 0.95.
///
/// Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22.
/// Without trials nothing is known: the interval is 0 to 1.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn wilson(successes: u64, n: u64, confidence: f64) -> Interval {
    if n == 0 {
        return Interval {
            low: 0.0,
            high: 1.0,
        };
    }
    wilson_of_share(successes.min(n) as f64 / n as f64, n as f64, confidence)
}

/// [`wilson`] for a share of at least one trial.
fn wilson_of_share(share: f64, trials: f64, confidence: f64) -> Interval {
    let z = z_two_sided(confidence);
    let spread = z * z / trials;
    let centre = (share + spread / 2.0) / (1.0 + spread);
    let half =
        z / (1.0 + spread) * (share * (1.0 - share) / trials + spread / (4.0 * trials)).sqrt();
    // Exact at the ends, where rounding would leave a tiny difference.
    let low = if share <= 0.0 {
        0.0
    } else {
        (centre - half).max(0.0)
    };
    let high = if share >= 1.0 {
        1.0
    } else {
        (centre + half).min(1.0)
    };
    Interval { low, high }
}

/// The arithmetic mean; 0 for no values.
#[must_use]
pub fn mean(values: &[f64]) -> f64 {
    Moments::of(values.iter().copied().filter(|value| value.is_finite())).mean
}

/// The interval of the mean of independent values, at a confidence such as 0.95.
///
/// Student (1908), "The probable error of a mean", Biometrika 6: `x̄ ± t · s / √n` with n − 1 degrees of freedom.
/// Fewer than two values have no spread: the interval is −∞ to ∞.
/// The interval does not know the scale of the values; clip it with [`Interval::within`].
#[must_use]
pub fn mean_interval(values: &[f64], confidence: f64) -> Interval {
    let moments = Moments::of(values.iter().copied().filter(|value| value.is_finite()));
    let half = moments.standard_error().map_or(f64::INFINITY, |error| {
        t_quantile(0.5 + 0.5 * confidence, moments.freedom()) * error
    });
    Interval {
        low: moments.mean - half,
        high: moments.mean + half,
    }
}

/// The interval of the mean of independent scores from 0 to 1, at a confidence such as 0.95: [`mean_interval`] on this
/// scale.
///
/// Scores that are all equal have no spread, and Student's interval would have no width, after two items as after a
/// thousand. They get the interval of [`wilson`] for a pass rate of that value: no scores with the same mean spread
/// more than passes and failures, so it is rather too wide than too narrow. For fewer than two scores the interval is 0
/// to 1.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn score_interval(scores: &[f64], confidence: f64) -> Interval {
    let moments = Moments::of(scores.iter().copied().filter(|score| score.is_finite()));
    // A spread that is only rounding is none.
    let is_level = moments.standard_error().is_some_and(|error| error < 1e-9);
    if is_level {
        return level_interval(moments.mean, moments.count as f64, confidence);
    }
    mean_interval(scores, confidence).within(0.0, 1.0)
}

/// [`score_interval`] from summary statistics: the number of scores, their mean, and their sample standard deviation
/// (over n − 1).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn score_interval_from(n: u64, mean: f64, deviation: f64, confidence: f64) -> Interval {
    if n >= 2 && deviation / (n as f64).sqrt() < 1e-9 {
        return level_interval(mean, n as f64, confidence);
    }
    mean_interval_from(n, mean, deviation, confidence).within(0.0, 1.0)
}

/// The interval of scores without spread.
fn level_interval(mean: f64, n: f64, confidence: f64) -> Interval {
    let share = (mean * 1e9).round() / 1e9;
    wilson_of_share(share.clamp(0.0, 1.0), n, confidence)
}

/// [`mean_interval`] from summary statistics: the number of values, their mean, and their sample standard deviation
/// (over n − 1).
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn mean_interval_from(n: u64, mean: f64, deviation: f64, confidence: f64) -> Interval {
    let half = if n < 2 {
        f64::INFINITY
    } else {
        let n = n as f64;
        t_quantile(0.5 + 0.5 * confidence, n - 1.0) * deviation / n.sqrt()
    };
    Interval {
        low: mean - half,
        high: mean + half,
    }
}

/// The interval of the mean over items with several measurements each.
///
/// Repeats of one item are not independent, so each group is reduced to its mean and Student's interval is taken over
/// the groups: the cluster-level analysis of Donner & Klar (2000), "Design and analysis of cluster randomization
/// trials", chapter 7. Every item has the same weight; empty groups are ignored.
#[must_use]
pub fn clustered_mean_interval<G: AsRef<[f64]>>(groups: &[G], confidence: f64) -> Interval {
    let groups = groups.iter().map(AsRef::as_ref);
    let measured = groups.filter(|group| group.iter().any(|value| value.is_finite()));
    let means: Vec<f64> = measured.map(mean).collect();
    mean_interval(&means, confidence)
}

/// Count, mean and sum of squared deviations of a sample.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    pub(super) count: usize,
    pub(super) mean: f64,
    pub(super) squares: f64,
}

impl Moments {
    /// One pass: Welford (1962), "Note on a method for calculating corrected sums of squares and products".
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    pub(super) fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut moments = Self {
            count: 0,
            mean: 0.0,
            squares: 0.0,
        };
        for value in values {
            moments.count += 1;
            let off = value - moments.mean;
            moments.mean += off / moments.count as f64;
            moments.squares += off * (value - moments.mean);
        }
        moments
    }

    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    pub(super) fn freedom(&self) -> f64 {
        self.count as f64 - 1.0
    }

    /// The standard error of the mean; `None` for fewer than two values.
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
    pub(super) fn standard_error(&self) -> Option<f64> {
        (self.count >= 2).then(|| (self.squares / self.freedom() / self.count as f64).sqrt())
    }
}
