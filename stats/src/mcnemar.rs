//! McNemar's test of two pass/fail columns, and the sign test that it rests on.

use serde::{Deserialize, Serialize};
use statrs::function::gamma::ln_gamma;
use utoipa::ToSchema;

use crate::repeats::choose;

/// Both forms of McNemar's test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Mcnemar {
    /// The exact p-value: never too small, but much too large with few differing items.
    pub exact_p: f64,
    /// The mid-p value: closer to the truth, and rarely too small.
    pub mid_p: f64,
}

/// Tests whether items that only one column passed are split evenly between the two.
///
/// McNemar (1947), "Note on the sampling error of the difference between correlated proportions", Psychometrika 12, as
/// an exact binomial test; the mid-p form as in Fagerland, Lydersen & Laake (2013), "The McNemar test for binary
/// matched-pairs data", BMC Medical Research Methodology 13.
#[must_use]
pub fn mcnemar(only_a: usize, only_b: usize) -> Mcnemar {
    let point = point(only_a + only_b, only_a.min(only_b));
    let exact_p = sign_test(only_a, only_b);
    let mid_p = if only_a + only_b == 0 {
        1.0
    } else if only_a == only_b {
        1.0 - 0.5 * point
    } else {
        exact_p - point
    };
    Mcnemar { exact_p, mid_p }
}

/// The exact two-sided sign test: the probability of a split at least this uneven with fair coins.
///
/// Summed outwards from the smaller count, largest term first, until the sum no longer changes.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub(super) fn sign_test(plus: usize, minus: usize) -> f64 {
    let (tosses, heads) = (plus + minus, plus.min(minus));
    if 2 * heads >= tosses {
        return 1.0;
    }
    let mut term = point(tosses, heads);
    let mut tail = term;
    for heads in (1..=heads).rev() {
        term *= heads as f64 / (tosses - heads + 1) as f64;
        if term <= tail * 1e-17 {
            break;
        }
        tail += term;
    }
    (2.0 * tail).min(1.0)
}

/// The probability of exactly `heads` heads with fair coins; by logarithms where the numbers overflow a double.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn point(tosses: usize, heads: usize) -> f64 {
    let (n, k) = (tosses as f64, heads as f64);
    if tosses <= 1_000 {
        return choose(tosses, heads) * 0.5_f64.powf(n);
    }
    let ways = ln_gamma(n + 1.0) - ln_gamma(k + 1.0) - ln_gamma(n - k + 1.0);
    (ways - n * std::f64::consts::LN_2).exp()
}
