//! The figures of a column: the single list of the numbers that a board and a run's own table show.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The measured figures of a prompt version on a model. Stored as JSON under these names; figures that statements
/// filter or sort by also have generated columns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Figures {
    /// Number of items with at least one score.
    pub items: i32,
    /// Mean score of the items, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// How the interval was computed: `wilson`, `student` or `clustered`.
    pub interval_method: String,
    /// The share of scored evaluations that passed.
    pub pass_rate: Option<f64>,
    /// Micro-dollars per 1,000 evaluations, if the price is known.
    pub cost_per_1000_microusd: Option<i64>,
    /// Lower bound of that cost's interval, which reflects the variation between items of the same kind.
    pub cost_per_1000_low_microusd: Option<i64>,
    /// Upper bound of that cost's interval.
    pub cost_per_1000_high_microusd: Option<i64>,
    /// Micro-dollars per passed evaluation, including the cost of failed ones.
    pub cost_per_pass_microusd: Option<f64>,
    /// Lower bound of the cost per pass.
    pub cost_per_pass_low_microusd: Option<f64>,
    /// Upper bound of the cost per pass; absent if too few evaluations passed to bound it.
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
    /// Upper bound of the 95th percentile's interval; absent if too few calls were slow to bound it.
    pub latency_p95_high_ms: Option<f64>,
    /// Median time to the first token, in milliseconds.
    pub first_token_p50_ms: Option<f64>,
    /// Output tokens per second of latency.
    pub output_tokens_per_second: Option<f64>,
    /// Mean number of reasoning tokens per response; absent if the provider did not report them.
    #[serde(default)]
    pub reasoning_tokens_mean: Option<f64>,
}
