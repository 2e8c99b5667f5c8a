//! One number over several benchmarks whose scores are not comparable.

use crate::{Rank, benjamini_hochberg, place, student::normal_cdf};

/// A score and its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// The score.
    pub score: f64,
    /// Its standard error.
    pub error: f64,
}

/// How often each entry beats another, averaged over its benchmarks; `None` for an entry without opponents.
///
/// The mean win rate of Liang et al. (2023), "Holistic evaluation of language models", TMLR: on each benchmark the
/// share of the other entries with a lower score; an equal score counts half. `scores[benchmark][entry]`.
/// It depends on the other entries: a newcomer can lower an entry's rate.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn mean_win_rates(scores: &[Vec<Option<f64>>]) -> Vec<Option<f64>> {
    let rate = |benchmark: &[Option<f64>], entry: usize| {
        let own = (*benchmark.get(entry)?)?;
        let others = benchmark.iter().enumerate().filter(|(at, _)| *at != entry);
        let others: Vec<f64> = others.filter_map(|(_, score)| *score).collect();
        let beaten = others.iter().filter(|score| **score < own).count();
        let worse = others.iter().filter(|score| **score > own).count();
        let points = 0.5 * (others.len() + beaten - worse) as f64;
        (!others.is_empty()).then(|| points / others.len() as f64)
    };
    means(scores, rate)
}

/// The mean of scores normalised so that guessing is 0 and perfection is 1; `None` for an entry without a score.
///
/// The normalisation of the Open LLM Leaderboard 2 (Fourrier et al. 2024): `(score − floor) / (1 − floor)`, 0 below the
/// floor; `floors` holds the score that guessing reaches on each benchmark. `scores[benchmark][entry]`.
#[must_use]
pub fn normalised_means(scores: &[Vec<Option<f64>>], floors: &[f64]) -> Vec<Option<f64>> {
    let stretched: Vec<Vec<Option<f64>>> = scores
        .iter()
        .zip(floors)
        .map(|(benchmark, floor)| {
            let stretch = |score: f64| ((score - floor) / (1.0 - floor)).max(0.0);
            benchmark.iter().map(|score| score.map(stretch)).collect()
        })
        .collect();
    means(&stretched, |benchmark, entry| *benchmark.get(entry)?)
}

/// The ranges of ranks of entries by mean score, in the order of the entries; entries differ if significant at level
/// `alpha`.
///
/// Two entries are compared on the benchmarks that both have a score on: the sum of the differences divided by its
/// standard error is treated as normal, and the p-values of all pairs are adjusted by [`benjamini_hochberg`].
/// Errors are treated as independent, between the two entries and between benchmarks. Entries that answered the same
/// items have mostly positively correlated errors, so the test leans towards a tie. Ranges and groups are those of
/// [`place`]. `scores[benchmark][entry]`.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn ranks_across(scores: &[Vec<Option<Measured>>], alpha: f64) -> Vec<Rank> {
    let entries = scores.iter().map(Vec::len).max().unwrap_or(0);
    let score_of = |entry: usize| {
        let own = scores.iter().filter_map(|benchmark| *benchmark.get(entry)?);
        let own: Vec<f64> = own.map(|measured| measured.score).collect();
        own.iter().sum::<f64>() / own.len() as f64
    };
    let mut pairs = Vec::new();
    for i in 0..entries {
        for j in i + 1..entries {
            let both = |benchmark: &Vec<Option<Measured>>| {
                let (a, b) = ((*benchmark.get(i)?)?, (*benchmark.get(j)?)?);
                Some((a.score - b.score, a.error.powi(2) + b.error.powi(2)))
            };
            let (difference, variance) = scores
                .iter()
                .filter_map(both)
                .fold((0.0, 0.0), |sum, (off, variance)| {
                    (sum.0 + off, sum.1 + variance)
                });
            let z = difference / variance.sqrt();
            let p = if z.is_finite() {
                2.0 * normal_cdf(-z.abs())
            } else {
                1.0
            };
            pairs.push(if difference > 0.0 {
                (i, j, p)
            } else {
                (j, i, p)
            });
        }
    }
    let p_values: Vec<f64> = pairs.iter().map(|(.., p)| *p).collect();
    let mut better = vec![false; entries * entries];
    for ((above, below, _), p) in pairs.iter().zip(benjamini_hochberg(&p_values)) {
        better[above * entries + below] = p < alpha;
    }
    let means: Vec<f64> = (0..entries).map(score_of).collect();
    place(&means, |i, j| better[i * entries + j])
}

/// The mean over benchmarks of `value` for each entry.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn means(
    scores: &[Vec<Option<f64>>],
    value: impl Fn(&[Option<f64>], usize) -> Option<f64>,
) -> Vec<Option<f64>> {
    let entries = scores.iter().map(Vec::len).max().unwrap_or(0);
    let mean = |entry| {
        let values: Vec<f64> = scores
            .iter()
            .filter_map(|benchmark| value(benchmark, entry))
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (0..entries).map(mean).collect()
}
