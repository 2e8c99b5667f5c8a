//! Ratios of means, such as the cost per correct answer.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Interval;
use crate::bootstrap::Unit;
use crate::interval::Moments;
use crate::student::t_quantile;

/// A ratio of sums over the same units.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ratio {
    /// The ratio.
    pub value: f64,
    /// Its interval; absent if the denominator may be zero, so that no bound holds.
    pub interval: Option<Interval>,
}

/// `Σ over / Σ under` with its interval; `None` if the denominator is zero.
///
/// Fieller (1954), "Some problems in interval estimation", JRSS B 16: all ratios θ for which the paired t-test does not
/// reject that `over − θ · under` has mean zero, with n − 1 degrees of freedom.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn ratio_of_means(units: &[Unit], confidence: f64) -> Option<Ratio> {
    let over = Moments::of(units.iter().map(|unit| unit.over));
    let under = Moments::of(units.iter().map(|unit| unit.under));
    let value = over.mean / under.mean;
    if !value.is_finite() {
        return None;
    }
    if units.len() < 2 {
        return Some(Ratio {
            value,
            interval: None,
        });
    }
    let products = units
        .iter()
        .map(|unit| (unit.over - over.mean) * (unit.under - under.mean));
    let scale = t_quantile(0.5 + 0.5 * confidence, over.freedom()).powi(2)
        / (over.freedom() * units.len() as f64);
    // a θ² − 2 b θ + c ≤ 0
    let a = under.mean.powi(2) - scale * under.squares;
    let b = over.mean * under.mean - scale * products.sum::<f64>();
    let c = over.mean.powi(2) - scale * over.squares;
    let root = (b * b - a * c).max(0.0).sqrt();
    let interval = (a > 0.0).then(|| Interval {
        low: (b - root) / a,
        high: (b + root) / a,
    });
    Some(Ratio { value, interval })
}
