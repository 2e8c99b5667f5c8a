//! A run's own table: what each prompt on each model has reached, however the run stands, and why evaluations failed.
//!
//! Computed from the recorded evaluations, block by block where a run goes on (`measure`, with `errors` and `part_scores`),
//! and kept when it ends (`keep`); `read` shows it, and `groups` splits it by the items' metadata. Leaderboards may show other things; this is the run alone.

mod errors;
mod groups;
mod keep;
mod measure;
mod part_scores;
mod read;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

pub use groups::{GroupColumn, RunGroup, RunGroups, measure_run_groups};
pub(crate) use keep::keep;
pub use read::{kept_run_columns, measure_run_columns};

use crate::{leaderboards::Figures, runs::RunState};

/// The columns of a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunColumns {
    /// The run's id.
    pub run_id: Uuid,
    /// The run's number.
    pub number: i64,
    /// Where the run stands. Unless it has ended, the numbers will still change.
    pub state: RunState,
    /// The level of all intervals.
    pub confidence: f64,
    /// What is not shown, and where to see it; absent when every column is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// Prompt by prompt, and of each prompt model by model.
    pub columns: Vec<RunColumn>,
}

/// One prompt version on one model in one run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunColumn {
    /// The prompt version's position in the run.
    pub prompt_position: i16,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// The model's position in the run.
    pub model_position: i16,
    /// `provider:name` of the model.
    pub model: String,
    /// What is sent along with every call.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// True when the answers are simulated, or mere echoes.
    pub simulated: bool,
    /// Evaluations that the run has for it.
    pub planned: i64,
    /// True when it is not asked any more, since its place among the run's columns is decided.
    pub settled: bool,
    /// What was measured.
    #[serde(flatten)]
    pub measured: MeasuredColumn,
}

/// What was measured of a column so far.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct MeasuredColumn {
    /// Evaluations that are recorded.
    pub evaluations: i64,
    /// Evaluations that passed.
    pub passed: i64,
    /// Evaluations whose answer was judged and did not pass.
    pub failed: i64,
    /// Evaluations that ended in an error.
    pub errors: i64,
    /// Micro-dollars of the recorded evaluations; absent when a price is unknown.
    pub cost_microusd: Option<i64>,
    /// The figures that boards show, too; absent while nothing is scored.
    #[serde(flatten)]
    pub figures: Option<Figures>,
    /// Part scores, by the name that scorers give as `metric`. While the run goes on, of its first 100,000 evaluations.
    pub part_scores: Vec<PartScore>,
    /// Its errors, the most frequent kind first.
    pub error_kinds: Vec<ErrorKind>,
}

/// What the scorers of one metric say together.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct PartScore {
    /// The metric's name.
    pub metric: String,
    /// Items that it was measured on.
    pub items: i64,
    /// Evaluations that it was measured on.
    pub evaluations: i64,
    /// Mean of the items, 0 to 1.
    pub score: f64,
    /// Lower bound of the mean's interval.
    pub score_low: f64,
    /// Upper bound of the mean's interval.
    pub score_high: f64,
}

/// The errors of one kind in one column.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ErrorKind {
    /// The kind: `refused`, `timeout`, `scorer` and so on.
    pub kind: String,
    /// Evaluations that ended so.
    pub evaluations: i64,
    /// The most frequent message.
    pub message: String,
    /// Evaluations with this message, among the run's first 20,000 errors.
    pub message_evaluations: i64,
    /// The own id of the first item with this message.
    pub item: String,
}
