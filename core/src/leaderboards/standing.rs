//! A standing as it is shown.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::stats::{FrontierPlace, Rank};

/// One line of a leaderboard.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// One more than the number of standings that are surely better.
    pub rank_low: i32,
    /// The number of standings less those that are surely worse.
    pub rank_high: i32,
    /// Standings of one group cannot be told apart from the group's best.
    pub tie_group: i32,
    /// Whether another one is at least as good on score, cost and latency, and better on one of them.
    pub frontier: FrontierPlace,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// What is sent along with every call.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// True when the answers are simulated.
    pub simulated: bool,
    /// True when an administrator or a moderator measured it.
    pub verified: bool,
    /// Mean of the scored evaluations, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// How the interval was computed: `wilson`, `student` or `clustered`.
    pub interval_method: String,
    /// Share of the scored evaluations that passed.
    pub pass_rate: Option<f64>,
    /// Items with at least one score.
    pub items: i32,
    /// Evaluations, errors included.
    pub evaluations: i64,
    /// Evaluations that ended in an error.
    pub errors: i64,
    /// Completed public runs of this column.
    pub runs: i32,
    /// By how much the score lies above that of the run before, on the items of both.
    pub trend: Option<f64>,
    /// Lower bound of the trend's interval; absent where the differences have no spread.
    pub trend_low: Option<f64>,
    /// Upper bound of the trend's interval.
    pub trend_high: Option<f64>,
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
    /// The run that it comes from.
    pub run_id: Uuid,
    /// When it was computed.
    pub updated_at: DateTime<Utc>,
}

impl Standing {
    pub(super) fn set_rank(&mut self, rank: Rank) {
        let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
        self.rank_low = narrow(rank.rank_low);
        self.rank_high = narrow(rank.rank_high);
        self.tie_group = narrow(rank.tie_group);
    }
}
