//! Comparisons: columns of one or several runs, compared on the items that they share.
//!
//! A column is one prompt version on one model in one run. Nothing is stored: every response is computed from the
//! recorded evaluations. Real and simulated columns are never compared with each other.

mod columns;
mod flips;
mod summary;

pub use self::flips::{Flip, FlipDirection, FlipsRequest, list_flips};
pub use self::summary::{CostPerPass, LatencyPercentile, RepeatedTries, ScoreSummary};

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use self::{
    columns::{Column, Tried, load_tries, resolve_columns},
    summary::Summary,
};
use crate::{Error, Result, auth::CurrentUser, computing::Loaded, runs::RunReference, stats};

/// Maximum number of columns of a table; the number of pairs grows quadratically.
const MAX_COLUMNS: usize = 30;
/// The default for the difference that matters.
const DEFAULT_SMALLEST_DIFFERENCE: f64 = 0.05;

/// The columns to compare.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CompareRequest {
    /// At least two and at most 30 columns after expanding every choice. Each is the baseline of those after it.
    pub columns: Vec<ColumnChoice>,
    /// The smallest difference of scores that matters, above 0 and at most 1; it decides between `no_difference_shown`
    /// and `too_few_items`.
    #[serde(default = "default_smallest_difference")]
    #[schema(default = 0.05)]
    pub smallest_difference: f64,
}

/// A choice of columns of a run: all, or those of a prompt, of a model, or of both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ColumnChoice {
    /// The run: its number, its id or a unique end of it, or `last`.
    pub run: RunReference,
    /// `slug` or `slug@number` of a prompt version of the run; absent: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// `provider:name` of a model of the run, optionally with its parameters as in `local:small temperature=0`; absent:
    /// all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
}

/// A table of columns, and the comparisons of every pair.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComparisonTable {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// Number of items of the version; a run on fewer items has fewer scores.
    pub item_count: i32,
    /// True if the models are simulated.
    pub simulated: bool,
    /// True if a run has not ended, so that the numbers will still change.
    pub provisional: bool,
    /// The confidence level of all intervals.
    pub confidence: f64,
    /// The smallest difference of scores that matters.
    pub smallest_difference: f64,
    /// The columns, in the order of the request.
    pub columns: Vec<ComparedColumn>,
    /// Comparisons of every pair of columns, with the earlier one as the baseline.
    pub comparisons: Vec<stats::Comparison>,
}

/// The results of one column.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComparedColumn {
    /// The id of its run.
    pub run_id: Uuid,
    /// The number of its run.
    pub run_number: i64,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// Number of evaluations, including errors.
    pub evaluations: i64,
    /// Number of evaluations that ended in an error; they have no score and are left out of every comparison.
    pub errors: i64,
    /// The mean score with its interval, if there are scores.
    pub score: Option<ScoreSummary>,
    /// The cost per passed evaluation, if every price is known.
    pub cost_per_pass: Option<CostPerPass>,
    /// The median and the 95th percentile of the latency.
    pub latency: Vec<LatencyPercentile>,
    /// The success rates of several attempts; empty without repeats.
    pub tries: Vec<RepeatedTries>,
}

/// Loads the columns of a comparison.
///
/// # Errors
/// [`Error::NotFound`] for a run that the viewer may not find; [`Error::Invalid`] for columns that do not exist, are
/// too few or too many, belong to different benchmark versions, or mix real with simulated models.
pub async fn load_comparison(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    request: &CompareRequest,
) -> Result<Loaded<ComparisonTable>> {
    let smallest = request.smallest_difference;
    if !(smallest > 0.0 && smallest <= 1.0) {
        return Err(Error::invalid(
            "smallest_difference",
            "must be above 0 and at most 1",
        ));
    }
    let refuse_number = |count: String| {
        let message = format!("name {count} columns; a comparison takes 2 to {MAX_COLUMNS}");
        Error::invalid("columns", message)
    };
    // Each choice costs a query.
    if request.columns.len() > MAX_COLUMNS {
        return Err(refuse_number(request.columns.len().to_string()));
    }
    let columns = resolve_columns(conn, viewer, &request.columns).await?;
    match columns.len() {
        2..=MAX_COLUMNS => {}
        more if more > MAX_COLUMNS => return Err(refuse_number(format!("at least {more}"))),
        few => return Err(refuse_number(few.to_string())),
    }
    let tries = load_tries(conn, &columns).await?;
    // The computation may take minutes, so it must not block other requests.
    Ok(Loaded::new(move || tabulate(columns, &tries, smallest)))
}

fn tabulate(columns: Vec<Column>, tries: &[Vec<Tried>], smallest: f64) -> Result<ComparisonTable> {
    let first = columns
        .first()
        .ok_or_else(|| Error::Internal("a comparison without columns".into()))?;
    let item_count = columns.iter().map(|column| column.item_count).max();
    let slots = item_count.unwrap_or_default();
    let table = ComparisonTable {
        benchmark: first.benchmark.clone(),
        item_count: slots,
        simulated: first.simulated,
        provisional: columns.iter().any(|column| !column.run_state.has_ended()),
        confidence: 0.95,
        smallest_difference: smallest,
        columns: Vec::new(),
        comparisons: Vec::new(),
    };
    let scores: Vec<Vec<Option<f32>>> = tries
        .iter()
        .map(|items| columns::scores_by_item(items, slots))
        .collect();
    let comparisons = stats::compare(&scores, smallest, 0);
    let columns = columns.into_iter().zip(tries);
    Ok(ComparisonTable {
        columns: columns
            .map(|(column, tries)| compared(column, tries))
            .collect(),
        comparisons,
        ..table
    })
}

fn compared(column: Column, tries: &[Tried]) -> ComparedColumn {
    let summary = Summary::of(tries);
    ComparedColumn {
        run_id: column.run_id,
        run_number: column.run_number,
        prompt: column.prompt,
        model: column.model,
        parameters: column.parameters,
        evaluations: tries.iter().map(|item| item.evaluations).sum(),
        errors: tries.iter().map(|item| item.errors).sum(),
        score: summary.score,
        cost_per_pass: summary.cost_per_pass,
        latency: summary.latency,
        tries: summary.tries,
    }
}

fn default_smallest_difference() -> f64 {
    DEFAULT_SMALLEST_DIFFERENCE
}
