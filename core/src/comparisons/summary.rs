//! Summary of a column: score, cost and latency, each with its uncertainty. Pure.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::columns::Tried;
use crate::stats::{
    self, Interval, QuantileInterval, Unit, bootstrap_interval, ratio_of_means, score_interval,
    wilson,
};

/// The confidence level of all intervals.
const CONFIDENCE: f64 = 0.95;
/// Maximum number of items for which the bootstrap adds information to Student's t.
const BOOTSTRAPPED_UP_TO: usize = 2_000;
/// Maximum number of attempts, k, that is reported.
const MOST_TRIES: usize = 10;

/// A mean score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ScoreSummary {
    /// The mean over the items; the repeats of an item count as one.
    pub mean: f64,
    /// Its interval.
    pub interval: Interval,
    /// How the interval was computed: `wilson`, `student` or `clustered`.
    pub interval_method: String,
    /// The bootstrap interval, if scores are graded and there are few enough items for it to matter.
    pub bootstrap: Option<Interval>,
    /// The share of scored evaluations that passed.
    pub pass_rate: f64,
    /// Number of items with a score.
    pub items: usize,
}

/// The cost per passed evaluation, including the cost of failed ones.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CostPerPass {
    /// Micro-dollars.
    pub microusd: f64,
    /// Its interval; absent if too few evaluations passed to bound it.
    pub interval: Option<Interval>,
}

/// A percentile of the latency.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LatencyPercentile {
    /// The percentile as a share: 0.5 or 0.95.
    pub share: f64,
    /// Milliseconds.
    pub latency_ms: f64,
    /// Its interval.
    pub interval: QuantileInterval,
}

/// The success rates of k attempts at an item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepeatedTries {
    /// The number of attempts.
    pub k: usize,
    /// pass@k: the probability that at least one attempt passes.
    pub pass_at_k: f64,
    /// pass^k: the probability that all attempts pass.
    pub pass_hat_k: f64,
    /// Number of items with at least k attempts.
    pub items: usize,
}

/// The summary of a column.
pub(super) struct Summary {
    pub(super) score: Option<ScoreSummary>,
    pub(super) cost_per_pass: Option<CostPerPass>,
    pub(super) latency: Vec<LatencyPercentile>,
    pub(super) tries: Vec<RepeatedTries>,
}

impl Summary {
    pub(super) fn of(items: &[Tried]) -> Self {
        Self {
            score: score(items),
            cost_per_pass: cost_per_pass(items),
            latency: latency(items),
            tries: tries(items),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::float_cmp,
    reason = "counts are far below 2⁵³; 0 and 1 are looked for exactly"
)]
fn score(items: &[Tried]) -> Option<ScoreSummary> {
    let scored: Vec<f64> = items
        .iter()
        .filter_map(|item| item.score)
        .map(f64::from)
        .collect();
    if scored.is_empty() {
        return None;
    }
    let full_or_nothing = scored.iter().all(|score| *score == 0.0 || *score == 1.0);
    let repeated = items.iter().any(|item| item.scored > 1);
    let student = || score_interval(&scored, CONFIDENCE);
    let (interval, method) = if repeated {
        (student(), "clustered")
    } else if full_or_nothing {
        let passes = scored.iter().filter(|score| **score == 1.0).count();
        let interval = wilson(passes as u64, scored.len() as u64, CONFIDENCE);
        (interval, "wilson")
    } else {
        (student(), "student")
    };
    let bootstrap = if method == "wilson" || scored.len() > BOOTSTRAPPED_UP_TO {
        None
    } else {
        let units: Vec<Unit> = scored.iter().copied().map(Unit::from).collect();
        bootstrap_interval(&units, CONFIDENCE, 0)
    };
    let count = |of: fn(&Tried) -> i64| items.iter().map(of).sum::<i64>() as f64;
    Some(ScoreSummary {
        mean: stats::mean(&scored),
        interval,
        interval_method: method.into(),
        bootstrap,
        pass_rate: count(|item| item.passed) / count(|item| item.scored),
        items: scored.len(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "sums are far below 2⁵³")]
fn cost_per_pass(items: &[Tried]) -> Option<CostPerPass> {
    let unit = |item: &Tried| {
        Some(Unit {
            over: item.cost_microusd? as f64,
            under: item.passed as f64,
        })
    };
    let units: Vec<Unit> = items.iter().map(unit).collect::<Option<_>>()?;
    let ratio = ratio_of_means(&units, CONFIDENCE)?;
    Some(CostPerPass {
        microusd: ratio.value,
        interval: ratio
            .interval
            .map(|interval| interval.within(0.0, f64::INFINITY)),
    })
}

fn latency(items: &[Tried]) -> Vec<LatencyPercentile> {
    let latencies = items.iter().flat_map(|item| &item.latencies_ms);
    let values: Vec<f64> = latencies.copied().map(f64::from).collect();
    let shares = [0.5, 0.95];
    let Some(found) = stats::quantiles(&values, shares) else {
        return Vec::new();
    };
    let percentile = |(share, latency_ms)| LatencyPercentile {
        share,
        latency_ms,
        interval: stats::quantile_interval(&values, share, CONFIDENCE),
    };
    shares.into_iter().zip(found).map(percentile).collect()
}

fn tries(items: &[Tried]) -> Vec<RepeatedTries> {
    let most = items.iter().map(|item| item.scored).max().unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0).min(MOST_TRIES);
    if most < 2 {
        return Vec::new();
    }
    let mean_over = |k, estimate: fn(usize, usize, usize) -> Option<f64>| {
        let of_items = items.iter().filter_map(|item| {
            let passed = usize::try_from(item.passed).ok()?;
            estimate(passed, usize::try_from(item.scored).ok()?, k)
        });
        let values: Vec<f64> = of_items.collect();
        (stats::mean(&values), values.len())
    };
    let line = |k| {
        let (pass_at_k, items) = mean_over(k, stats::pass_at_k);
        RepeatedTries {
            k,
            pass_at_k,
            pass_hat_k: mean_over(k, stats::pass_hat_k).0,
            items,
        }
    };
    (1..=most).map(line).collect()
}
