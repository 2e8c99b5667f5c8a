//! The figures of a column: the one list of what a board, and a run's own table, say of it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What was measured of a prompt version on a model. Stored as JSON under these names; what a statement filters or sorts
/// by is a generated column of its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// Items with at least one score.
    pub items: i32,
    /// Mean score of the items, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// How the interval was computed: `wilson`, `student` or `clustered`.
    pub interval_method: String,
    /// Share of the scored evaluations that passed.
    pub pass_rate: Option<f64>,
    /// Micro-dollars for 1,000 evaluations, if the price is known.
    pub cost_per_1000_microusd: Option<i64>,
    /// Lower bound of that cost's interval: with other items of the same kind it would differ.
    pub cost_per_1000_low_microusd: Option<i64>,
    /// Upper bound of that cost's interval.
    pub cost_per_1000_high_microusd: Option<i64>,
    /// Micro-dollars for one passed evaluation, the failed ones paid along.
    pub cost_per_pass_microusd: Option<f64>,
    /// Lower bound of the cost per pass.
    pub cost_per_pass_low_microusd: Option<f64>,
    /// Upper bound of the cost per pass; absent when too few passed to bound it.
    pub cost_per_pass_high_microusd: Option<f64>,
    /// Median latency in milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// Lower bound of the median's interval.
    pub latency_p50_low_ms: Option<f64>,
    /// Upper bound of the median's interval.
    pub latency_p50_high_ms: Option<f64>,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// Lower bound of the 95th percentile's interval.
    pub latency_p95_low_ms: Option<f64>,
    /// Upper bound of the 95th percentile's interval; absent when too few calls were slow to bound it.
    pub latency_p95_high_ms: Option<f64>,
    /// Median time to the first piece of text in milliseconds.
    pub first_token_p50_ms: Option<f64>,
    /// Output tokens per second of latency.
    pub output_tokens_per_second: Option<f64>,
    /// Mean tokens of reasoning in an answer; absent when the provider did not tell them.
    #[serde(default)]
    pub reasoning_tokens_mean: Option<f64>,
}
