//! Power: which differences a comparison can detect, and how many items that takes.

use crate::student::{normal_quantile, t_quantile};

/// Maximum number of items that is worth planning for.
const MOST_ITEMS: f64 = 1e9;

/// The smallest true difference that a paired comparison detects with 80 % power at the 5 % level.
///
/// Bloom (1995), "Minimum detectable effects", Evaluation Review 19: `(t₀.₉₇₅ + t₀.₈₀) · s / √n`, with `deviation` the
/// standard deviation of the differences. `None` for fewer than two items.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn detectable_difference(deviation: f64, items: usize) -> Option<f64> {
    let freedom = items.checked_sub(1).filter(|freedom| *freedom > 0)? as f64;
    let factor = t_quantile(0.975, freedom) + t_quantile(0.8, freedom);
    Some(factor * deviation / (items as f64).sqrt())
}

/// Number of items needed to detect a true difference of this size: the smallest number whose [`detectable_difference`]
/// is not larger. `None` for a difference of zero, or beyond a billion items.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the number lies between 0 and a billion"
)]
pub fn items_needed(deviation: f64, difference: f64) -> Option<usize> {
    let difference = difference.abs();
    // By the normal distribution; t needs a few more.
    let factor = normal_quantile(0.975) + normal_quantile(0.8);
    let least = (factor * deviation / difference).powi(2).ceil();
    if !(0.0..=MOST_ITEMS).contains(&least) {
        return None;
    }
    let least = 2.max(least as usize);
    // t needs a handful more than the normal distribution; the upper bound only ensures termination.
    (least..=least + 100).find(|items| {
        detectable_difference(deviation, *items).is_some_and(|found| found <= difference)
    })
}
