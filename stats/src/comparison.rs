//! Pairwise comparisons of all columns of a table, each with a verdict.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::paired::Shared;
use crate::power::{detectable_difference, items_needed};
use crate::{Interval, Mcnemar, benjamini_hochberg, mcnemar, paired_difference, sign_flip_p};

/// From this number of differing items on, Student's t is as good as the permutation test.
const PERMUTED_BELOW: usize = 50;
/// The significance level of every test.
const ALPHA: f64 = 0.05;

/// The verdict about a candidate against its baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Significantly better: the adjusted p-value is below 0.05.
    Better,
    /// Significantly worse.
    Worse,
    /// Not significant, although the items would have detected the difference that matters with 80 % power.
    NoDifferenceShown,
    /// Not significant, and a difference that matters could have gone undetected.
    TooFewItems,
}

/// The test behind a p-value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// McNemar's exact test.
    Mcnemar,
    /// The permutation test that flips the signs of the differences.
    Permutation,
    /// The paired t-test.
    Student,
}

/// A candidate against its baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Comparison {
    /// The position of the baseline among the columns.
    pub baseline: usize,
    /// The position of the candidate among the columns.
    pub candidate: usize,
    /// The verdict.
    pub verdict: Verdict,
    /// The mean of candidate − baseline over the shared items.
    pub difference: f64,
    /// The 95 % interval of the difference, not adjusted for the number of comparisons.
    pub interval: Option<Interval>,
    /// The probability of a difference at least this large if there were none.
    pub p_value: f64,
    /// The p-value adjusted over all comparisons of the table; the verdict rests on it.
    pub p_adjusted: f64,
    /// The test behind the p-value.
    pub test: Test,
    /// Both forms of McNemar's test, when every score is 0 or 1.
    pub mcnemar: Option<Mcnemar>,
    /// Number of items that both have a score for.
    pub shared_items: usize,
    /// Number of items on which the candidate scores higher.
    pub wins: usize,
    /// Number of items on which both score the same.
    pub ties: usize,
    /// Number of items on which the candidate scores lower.
    pub losses: usize,
    /// The smallest true difference that this number of items detects with 80 % power.
    pub detectable_difference: Option<f64>,
    /// Number of shared items needed to detect the difference that matters with 80 % power.
    pub items_needed: Option<usize>,
}

/// Compares each column with every column before it; `columns[column][item]`, with the same order of items in all.
///
/// The difference and its interval are those of [`paired_difference`]. Below 50 differing items with scores between 0
/// and 1, the p-value is that of [`sign_flip_p`]. [`benjamini_hochberg`] adjusts the p-values over all pairs.
/// `smallest` is the difference that matters: without a significant difference the verdict is
/// [`Verdict::NoDifferenceShown`] if the items would have detected it with 80 % power, else [`Verdict::TooFewItems`].
#[must_use]
pub fn compare(columns: &[Vec<Option<f32>>], smallest: f64, seed: u64) -> Vec<Comparison> {
    let pairs = (0..columns.len()).flat_map(|later| (0..later).map(move |first| (first, later)));
    let mut found: Vec<Comparison> = pairs
        .map(|(baseline, candidate)| {
            let found = compare_pair(&columns[baseline], &columns[candidate], smallest, seed);
            Comparison {
                baseline,
                candidate,
                ..found
            }
        })
        .collect();
    found.sort_by_key(|comparison| (comparison.baseline, comparison.candidate));
    let p_values: Vec<f64> = found.iter().map(|comparison| comparison.p_value).collect();
    for (comparison, adjusted) in found.iter_mut().zip(benjamini_hochberg(&p_values)) {
        comparison.p_adjusted = adjusted;
        comparison.verdict = verdict(comparison, smallest);
    }
    found
}

fn verdict(comparison: &Comparison, smallest: f64) -> Verdict {
    let enough = comparison
        .detectable_difference
        .is_some_and(|detectable| detectable <= smallest);
    match (comparison.p_adjusted < ALPHA, enough) {
        (true, _) if comparison.difference > 0.0 => Verdict::Better,
        (true, _) => Verdict::Worse,
        (false, true) => Verdict::NoDifferenceShown,
        (false, false) => Verdict::TooFewItems,
    }
}

fn compare_pair(
    baseline: &[Option<f32>],
    candidate: &[Option<f32>],
    smallest: f64,
    seed: u64,
) -> Comparison {
    let paired = paired_difference(candidate, baseline);
    let shared = Shared::of(candidate, baseline);
    let differing = shared.only_a + shared.only_b;
    let (p_value, test) = if shared.pass_or_fail {
        (paired.p_value, Test::Mcnemar)
    } else if differing < PERMUTED_BELOW && paired.shared_items >= 2 {
        let differences = differences(candidate, baseline);
        (sign_flip_p(&differences, seed), Test::Permutation)
    } else {
        (paired.p_value, Test::Student)
    };
    let deviation = deviation(&shared);
    Comparison {
        baseline: 0,
        candidate: 0,
        verdict: Verdict::TooFewItems,
        difference: paired.difference,
        // Student's interval does not know that scores lie between 0 and 1.
        interval: paired.interval.map(|interval| interval.within(-1.0, 1.0)),
        p_value,
        p_adjusted: p_value,
        test,
        mcnemar: shared
            .pass_or_fail
            .then(|| mcnemar(shared.only_a, shared.only_b)),
        shared_items: paired.shared_items,
        wins: shared.only_a,
        ties: paired.shared_items - differing,
        losses: shared.only_b,
        detectable_difference: deviation
            .and_then(|deviation| detectable_difference(deviation, paired.shared_items)),
        items_needed: deviation.and_then(|deviation| items_needed(deviation, smallest)),
    }
}

fn differences(a: &[Option<f32>], b: &[Option<f32>]) -> Vec<f64> {
    let both = a.iter().zip(b).filter_map(|(a, b)| Some(((*a)?, (*b)?)));
    both.map(|(a, b)| f64::from(a) - f64::from(b)).collect()
}

/// The standard deviation of the differences.
///
/// If all differences are equal, that of the differences with half a win and half a loss added, as in Agresti & Min
/// (2005): many equal items do not prove that none will ever differ.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn deviation(shared: &Shared) -> Option<f64> {
    let moments = shared.moments;
    if moments.count < 2 {
        return None;
    }
    let found = (moments.squares / moments.freedom()).sqrt();
    let smoothed = (1.0 / (moments.count as f64 + 2.0)).sqrt();
    Some(if found > 0.0 { found } else { smoothed })
}
