//! The summary of a column over items, computed block by block, and the figures of a standing that follow from it.
//! Pure.
//!
//! Summaries of adjacent blocks can be joined, so a run is summarised while it goes on, and only the rest is left when
//! it ends.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{CONFIDENCE, Figures};
use crate::stats::{self, Interval, Unit};

/// Placeholder for the passes of an item between two summarised ranges.
const NOT_SUMMED_UP: i32 = -1;

/// The number of occurrences of each number of milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Histogram(BTreeMap<i32, i32>);

/// The fields of an evaluation that are summarised.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counted {
    pub(super) item: i32,
    pub(super) failed: bool,
    pub(super) score: Option<f32>,
    pub(super) passed: Option<bool>,
    pub(super) cost_microusd: Option<i64>,
    pub(super) latency_ms: Option<i32>,
    pub(super) first_token_ms: Option<i32>,
    pub(super) output_tokens: Option<i32>,
    pub(super) reasoning_tokens: Option<i32>,
}

/// The summary of one prompt version on one model over the items from `first_item`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Summary {
    pub(super) first_item: i32,
    pub(crate) sums: Sums,
    pub(super) item_scores: Vec<Option<f32>>,
    pub(super) item_passes: Vec<i32>,
    /// `None` if the cost of a response is unknown; a failed call with unknown cost counts as free.
    pub(super) item_costs: Vec<Option<i64>>,
    pub(super) latencies: Histogram,
    pub(super) first_tokens: Histogram,
}

/// Plain sums. Stored as JSON under these names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Sums {
    pub(crate) evaluations: i64,
    pub(crate) errors: i64,
    pub(crate) scored: i64,
    pub(crate) passed: i64,
    /// Whether any score is neither 0 nor 1.
    pub(super) graded: bool,
    pub(super) priced: i64,
    pub(super) cost_microusd: i64,
    pub(super) output_tokens: i64,
    /// Total latency of the evaluations with a known number of output tokens.
    pub(super) output_ms: i64,
    pub(super) reasoning_tokens: i64,
    /// Number of evaluations with a known number of reasoning tokens.
    pub(super) reasoned: i64,
}

impl Sums {
    fn take_in(&mut self, other: &Self) {
        self.evaluations += other.evaluations;
        self.errors += other.errors;
        self.scored += other.scored;
        self.passed += other.passed;
        self.graded |= other.graded;
        self.priced += other.priced;
        self.cost_microusd = self.cost_microusd.saturating_add(other.cost_microusd);
        self.output_tokens += other.output_tokens;
        self.output_ms += other.output_ms;
        self.reasoning_tokens += other.reasoning_tokens;
        self.reasoned += other.reasoned;
    }
}

impl Summary {
    /// Summarises evaluations of `count` items from `first_item`; others are ignored.
    pub(super) fn of(
        first_item: i32,
        count: usize,
        evaluations: impl Iterator<Item = Counted>,
    ) -> Self {
        let mut summary = Self {
            first_item,
            item_scores: vec![None; count],
            item_passes: vec![0; count],
            item_costs: vec![Some(0); count],
            ..Self::default()
        };
        let mut sums = vec![(0.0, 0_u32); count];
        let mut asked = vec![false; count];
        for evaluation in evaluations {
            let slot = usize::try_from(i64::from(evaluation.item) - i64::from(first_item));
            if let Ok(slot) = slot
                && let Some(sum) = sums.get_mut(slot)
            {
                if let Some(score) = evaluation.score {
                    *sum = (sum.0 + f64::from(score), sum.1 + 1);
                }
                asked[slot] = true;
                summary.count(slot, &evaluation);
            }
        }
        for (score, (sum, count)) in summary.item_scores.iter_mut().zip(sums) {
            *score = (count > 0).then(|| narrow(sum / f64::from(count)));
        }
        // Items that were not evaluated have no cost, and must not count as free.
        for (passes, asked) in summary.item_passes.iter_mut().zip(asked) {
            if !asked {
                *passes = NOT_SUMMED_UP;
            }
        }
        summary
    }

    #[expect(clippy::float_cmp, reason = "0 and 1 are looked for exactly")]
    fn count(&mut self, slot: usize, evaluation: &Counted) {
        let sums = &mut self.sums;
        sums.evaluations += 1;
        sums.errors += i64::from(evaluation.failed);
        if let Some(score) = evaluation.score {
            sums.scored += 1;
            sums.graded |= score != 0.0 && score != 1.0;
        }
        if evaluation.passed == Some(true) {
            sums.passed += 1;
            self.item_passes[slot] += 1;
        }
        match (evaluation.cost_microusd, self.item_costs[slot]) {
            (Some(cost), known) => {
                sums.priced += 1;
                sums.cost_microusd = sums.cost_microusd.saturating_add(cost);
                self.item_costs[slot] = known.map(|known| known.saturating_add(cost));
            }
            (None, _) if evaluation.failed => {}
            (None, _) => self.item_costs[slot] = None,
        }
        if let Some(latency_ms) = evaluation.latency_ms {
            self.latencies.add(latency_ms, 1);
        }
        if let Some(first_token_ms) = evaluation.first_token_ms {
            self.first_tokens.add(first_token_ms, 1);
        }
        if let (Some(tokens), Some(ms)) = (evaluation.output_tokens, evaluation.latency_ms) {
            sums.output_tokens += i64::from(tokens);
            sums.output_ms += i64::from(ms);
        }
        if let Some(tokens) = evaluation.reasoning_tokens {
            sums.reasoning_tokens += i64::from(tokens);
            sums.reasoned += 1;
        }
    }

    /// Appends the summary of later items of the same column.
    pub(super) fn take_in(&mut self, part: &Self) {
        let begin = usize::try_from(part.first_item - self.first_item).unwrap_or(0);
        let end = begin + part.item_scores.len();
        if self.item_scores.len() < end {
            self.item_scores.resize(end, None);
            self.item_passes.resize(end, NOT_SUMMED_UP);
            self.item_costs.resize(end, None);
        }
        self.item_scores[begin..end].copy_from_slice(&part.item_scores);
        self.item_passes[begin..end].copy_from_slice(&part.item_passes);
        self.item_costs[begin..end].copy_from_slice(&part.item_costs);
        self.sums.take_in(&part.sums);
        self.latencies.take_in(&part.latencies);
        self.first_tokens.take_in(&part.first_tokens);
    }

    /// The figures of the column; `None` if there are no scores.
    #[expect(clippy::cast_precision_loss, reason = "sums are far below 2⁵³")]
    pub(crate) fn figures(&self, repeats: i16) -> Option<Figures> {
        let scored = self.item_scores.iter().flatten();
        let values: Vec<f64> = scored.map(|score| f64::from(*score)).collect();
        if values.is_empty() {
            return None;
        }
        let sums = &self.sums;
        let (interval, interval_method) = score_interval(&values, repeats, sums.graded);
        let latencies = self.latencies.values();
        let [p50, p95] =
            stats::quantiles(&latencies, [0.5, 0.95]).map_or([None; 2], |found| found.map(Some));
        let [around_p50, around_p95] =
            [0.5, 0.95].map(|share| stats::quantile_interval(&latencies, share, CONFIDENCE));
        let first_token = stats::quantiles(&self.first_tokens.values(), [0.5]);
        let per_second = sums.output_tokens as f64 * 1000.0 / sums.output_ms as f64;
        let cost = self.cost_interval();
        let pass = self.cost_per_pass();
        let around_pass = pass.and_then(|pass| pass.interval);
        Some(Figures {
            items: i32::try_from(values.len()).unwrap_or(i32::MAX),
            // Not a running mean: for passes and failures the sum is exact, so that equal columns get equal scores.
            score: values.iter().sum::<f64>() / values.len() as f64,
            score_low: interval.low,
            score_high: interval.high,
            interval_method: interval_method.to_owned(),
            pass_rate: (sums.scored > 0).then(|| sums.passed as f64 / sums.scored as f64),
            cost_per_1000_microusd: (sums.priced > 0)
                .then(|| round(sums.cost_microusd as f64 * 1000.0 / sums.priced as f64)),
            cost_per_1000_low_microusd: cost.map(|(low, _)| low),
            cost_per_1000_high_microusd: cost.map(|(_, high)| high),
            cost_per_pass_microusd: pass.map(|pass| pass.value),
            cost_per_pass_low_microusd: around_pass.map(|interval| interval.low),
            cost_per_pass_high_microusd: around_pass.map(|interval| interval.high),
            latency_p50_ms: p50,
            latency_p50_low_ms: around_p50.low,
            latency_p50_high_ms: around_p50.high,
            latency_p95_ms: p95,
            latency_p95_low_ms: around_p95.low,
            latency_p95_high_ms: around_p95.high,
            first_token_p50_ms: first_token.map(|[median]| median),
            output_tokens_per_second: (sums.output_ms > 0).then_some(per_second),
            reasoning_tokens_mean: (sums.reasoned > 0)
                .then(|| sums.reasoning_tokens as f64 / sums.reasoned as f64),
        })
    }

    /// The cost of all evaluations together; `None` if the cost of a response is unknown.
    pub(crate) fn total_cost_microusd(&self) -> Option<i64> {
        let known = self.paid_items().all(|(cost, _)| cost.is_some());
        known.then_some(self.sums.cost_microusd)
    }

    /// The cost and the passes of each summarised item.
    fn paid_items(&self) -> impl Iterator<Item = (Option<i64>, i32)> {
        let items = self.item_costs.iter().copied();
        items
            .zip(self.item_passes.iter().copied())
            .filter(|(_, passes)| *passes != NOT_SUMMED_UP)
    }

    /// The interval of the cost of 1,000 evaluations, from the variation of the cost between items.
    #[expect(clippy::cast_precision_loss, reason = "sums are far below 2⁵³")]
    fn cost_interval(&self) -> Option<(i64, i64)> {
        let costs: Vec<f64> = self
            .paid_items()
            .map(|(cost, _)| Some(cost? as f64))
            .collect::<Option<_>>()?;
        if costs.len() < 2 || self.sums.priced == 0 {
            return None;
        }
        let interval = stats::mean_interval(&costs, CONFIDENCE).within(0.0, f64::MAX);
        let scale = costs.len() as f64 * 1000.0 / self.sums.priced as f64;
        Some((round(interval.low * scale), round(interval.high * scale)))
    }

    #[expect(clippy::cast_precision_loss, reason = "sums are far below 2⁵³")]
    fn cost_per_pass(&self) -> Option<stats::Ratio> {
        let unit = |(cost, passes): (Option<i64>, i32)| {
            Some(Unit {
                over: cost? as f64,
                under: f64::from(passes),
            })
        };
        let units: Vec<Unit> = self.paid_items().map(unit).collect::<Option<_>>()?;
        if self.sums.priced == 0 {
            return None;
        }
        let ratio = stats::ratio_of_means(&units, CONFIDENCE)?;
        let positive = |interval: Interval| interval.within(0.0, f64::MAX);
        Some(stats::Ratio {
            interval: ratio.interval.map(positive),
            ..ratio
        })
    }
}

/// The interval of a mean over items, and the name of its method.
fn score_interval(values: &[f64], repeats: i16, graded: bool) -> (Interval, &'static str) {
    let student = || stats::score_interval(values, CONFIDENCE);
    if repeats > 1 {
        // Repeats of one item are not independent, so the items are the sample (cluster = item).
        (student(), "clustered")
    } else if graded {
        (student(), "student")
    } else {
        let successes = values.iter().filter(|value| **value > 0.5).count();
        let interval = stats::wilson(successes as u64, values.len() as u64, CONFIDENCE);
        (interval, "wilson")
    }
}

impl Histogram {
    pub(super) fn of(values: &[i32], counts: &[i32]) -> Self {
        let mut histogram = Self::default();
        for (value, count) in values.iter().zip(counts) {
            histogram.add(*value, *count);
        }
        histogram
    }

    fn add(&mut self, value: i32, count: i32) {
        *self.0.entry(value).or_default() += count;
    }

    fn take_in(&mut self, other: &Self) {
        for (value, count) in &other.0 {
            self.add(*value, *count);
        }
    }

    /// The values and their counts.
    pub(super) fn parts(&self) -> (Vec<i32>, Vec<i32>) {
        (
            self.0.keys().copied().collect(),
            self.0.values().copied().collect(),
        )
    }

    /// Every value as often as it occurred, in ascending order.
    fn values(&self) -> Vec<f64> {
        let each = self.0.iter();
        each.flat_map(|(value, count)| {
            let count = usize::try_from(*count).unwrap_or(0);
            std::iter::repeat_n(f64::from(*value), count)
        })
        .collect()
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "a mean of singles fits a single"
)]
fn narrow(mean: f64) -> f32 {
    mean as f32
}

#[expect(clippy::cast_possible_truncation, reason = "money is far below 2⁶³")]
fn round(microusd: f64) -> i64 {
    microusd.round() as i64
}
