//! A run split by a key of its items' metadata: what each prompt on each model has reached in each group of items, such as
//! the subtasks of a benchmark.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    leaderboards::CONFIDENCE,
    paging::{fitting_in, json_bytes},
    runs::{Run, RunState},
    stats::{self, Interval},
};

/// Maximum number of groups in a response: those with the most items. A run with many columns has fewer.
const MAX_GROUPS: usize = 200;
/// The characters of a value that name its group.
const VALUE_CHARACTERS: i32 = 200;
/// Maximum number of elements of a list that name groups.
const LIST_ELEMENTS: i32 = 100;
/// Maximum number of keys that an error names.
const KEYS_NAMED: i64 = 20;
/// Maximum size of the groups in a response, in bytes of JSON.
const MAX_BYTES: usize = 4 << 20;
/// Size of the numbers of a column in a response, in bytes of JSON.
const NUMBERS_BYTES: usize = 300;

/// A run split by a key of its items' metadata.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunGroups {
    /// The run's id.
    pub run_id: Uuid,
    /// The run's number.
    pub number: i64,
    /// Where the run stands. Unless it has ended, the numbers will still change.
    pub state: RunState,
    /// The level of all intervals.
    pub confidence: f64,
    /// The key of the metadata.
    pub by: String,
    /// What is not shown; absent when every group is here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// The groups, that with the most items first. An item whose value is a list is in the group of each of its first 100
    /// elements.
    pub groups: Vec<RunGroup>,
}

/// The items with one value.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunGroup {
    /// The value as text, at most its first 200 characters; null for the items that have none.
    pub value: Option<String>,
    /// Items of the run in this group.
    pub items: i64,
    /// Prompt by prompt, and of each prompt model by model; those of which nothing is recorded in this group are left out.
    pub columns: Vec<GroupColumn>,
}

/// One prompt version on one model, on the items of a group.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct GroupColumn {
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
    /// Evaluations that are recorded.
    pub evaluations: i64,
    /// Evaluations that passed.
    pub passed: i64,
    /// Evaluations whose answer was judged and did not pass.
    pub failed: i64,
    /// Evaluations that ended in an error.
    pub errors: i64,
    /// Items with at least one score.
    pub scored_items: i64,
    /// Mean score of the items, 0 to 1; absent while nothing is scored. An item's repeats count as one.
    pub score: Option<f64>,
    /// Lower bound of the score's interval.
    pub score_low: Option<f64>,
    /// Upper bound of the score's interval.
    pub score_high: Option<f64>,
}

/// Splits a run by a key of its items' metadata, as far as the run has come. That takes Postgres seconds for a large run: the
/// caller has a turn ([`Computing::turn`](crate::computing::Computing::turn)). Who may see the run is for the caller to ask.
///
/// # Errors
/// [`Error::Invalid`] when no item of the run has the key; the message names those that there are.
pub async fn measure_run_groups(conn: &mut PgConnection, run: &Run, by: &str) -> Result<RunGroups> {
    let mut tx = conn.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read")
        .execute(&mut *tx)
        .await?;
    let max_groups = max_groups(run);
    let groups = groups(&mut tx, run.id, by, max_groups).await?;
    if !groups.iter().any(|group| group.value.is_some()) {
        return Err(no_such_key(&mut tx, run.id, by).await?);
    }
    let columns = columns(&mut tx, run, by, max_groups).await?;
    tx.commit().await?;
    Ok(put_together(run, by, max_groups, groups, columns))
}

/// Number of groups whose columns fit into a response: nothing larger is loaded.
fn max_groups(run: &Run) -> usize {
    let prompts: usize = run.prompts.iter().map(String::len).sum();
    let models: usize = run.models.iter().map(String::len).sum();
    let parameters: usize = run.parameters.iter().map(json_bytes).sum();
    let (prompt_count, model_count) = (run.prompts.len(), run.models.len());
    let group_bytes = prompt_count * (models + parameters)
        + model_count * prompts
        + prompt_count * model_count * NUMBERS_BYTES;
    (MAX_BYTES / group_bytes.max(1)).clamp(1, MAX_GROUPS)
}

/// Loads up to `max_groups + 1` groups, without their columns: the last one only shows that there are more.
async fn groups(
    conn: &mut PgConnection,
    run_id: Uuid,
    by: &str,
    max_groups: usize,
) -> Result<Vec<RunGroup>> {
    let rows = sqlx::query!(
        r#"-- groups::groups
        select left(value, $3) as value, count(distinct position) as "items!"
        from runs
        join items on items.benchmark_version_id = runs.benchmark_version_id and position < item_count
        left join lateral jsonb_array_elements_text(
            case jsonb_typeof(metadata -> $2) when 'array' then jsonb_path_query_array(metadata -> $2, '$[0 to $last]', jsonb_build_object('last', $5::int - 1))
                else jsonb_build_array(metadata -> $2) end
        ) as it (value) on true
        where runs.id = $1
        group by 1
        order by 2 desc, 1
        limit $4"#,
        run_id,
        by,
        VALUE_CHARACTERS,
        i64::try_from(max_groups + 1).unwrap_or(i64::MAX),
        LIST_ELEMENTS
    )
    .fetch_all(conn)
    .await?;
    let groups = rows.into_iter().map(|row| RunGroup {
        value: row.value,
        items: row.items,
        columns: Vec::new(),
    });
    Ok(groups.collect())
}

async fn no_such_key(conn: &mut PgConnection, run_id: Uuid, by: &str) -> Result<Error> {
    let keys = sqlx::query_scalar!(
        r#"-- groups::no_such_key
        select left(metadata_key, 200) as "metadata_key!"
        from runs
        join items on items.benchmark_version_id = runs.benchmark_version_id and position < item_count
        cross join jsonb_object_keys(metadata) as it (metadata_key)
        where runs.id = $1 and metadata_key <> $3
        group by metadata_key
        order by count(*) desc, metadata_key
        limit $2"#,
        run_id,
        KEYS_NAMED,
        by
    )
    .fetch_all(conn)
    .await?;
    let message = if keys.is_empty() {
        "no item of this run has a value under this key, nor metadata under another".to_owned()
    } else {
        format!(
            "no item of this run has a value under this key; keys of the items' metadata: {}",
            keys.join(", ")
        )
    };
    Ok(Error::invalid("by", message))
}

/// Loads every column of the first `max_groups` groups of [`groups`], each with the value of its group.
async fn columns(
    conn: &mut PgConnection,
    run: &Run,
    by: &str,
    max_groups: usize,
) -> Result<Vec<(Option<String>, GroupColumn)>> {
    let rows = sqlx::query!(
        r#"-- groups::columns
        with members as (
            select distinct position, left(value, $3) as value
            from runs
            join items on items.benchmark_version_id = runs.benchmark_version_id and position < item_count
            left join lateral jsonb_array_elements_text(
                case jsonb_typeof(metadata -> $2) when 'array' then jsonb_path_query_array(metadata -> $2, '$[0 to $last]', jsonb_build_object('last', $5::int - 1))
                else jsonb_build_array(metadata -> $2) end
            ) as it (value) on true
            where runs.id = $1
        ), largest as (
            select value from members group by value order by count(*) desc, value limit $4
        ), of_items as (
            select item_position, prompt_position, model_position, count(*) as evaluations,
                   count(*) filter (where passed) as passed, count(score) as scored,
                   count(*) filter (where state = 'error') as errors, avg(score::float8) as score
            from evaluations
            where run_id = $1
            group by 1, 2, 3
        )
        select members.value, prompt_position, model_position, sum(evaluations)::bigint as "evaluations!",
               sum(passed)::bigint as "passed!", sum(scored)::bigint as "scored!", sum(errors)::bigint as "errors!",
               count(score) as "scored_items!", avg(score) as score, stddev_samp(score) as deviation,
               coalesce(max(scored) <= 1 and bool_and(score in (0, 1)), false) as "is_pass_or_fail!"
        from members
        join largest on largest.value is not distinct from members.value
        join of_items on item_position = position
        group by 1, 2, 3
        order by 1, 2, 3"#,
        run.id,
        by,
        VALUE_CHARACTERS,
        i64::try_from(max_groups).unwrap_or(i64::MAX),
        LIST_ELEMENTS
    )
    .fetch_all(conn)
    .await?;
    let named = |names: &[String], position: i16| {
        let name = usize::try_from(position).ok().and_then(|it| names.get(it));
        name.cloned().unwrap_or_default()
    };
    let columns = rows.into_iter().map(|row| {
        let interval = row.score.map(|mean| {
            let items = u64::try_from(row.scored_items).unwrap_or(0);
            score_interval(items, mean, row.deviation, row.is_pass_or_fail)
        });
        let parameters = usize::try_from(row.model_position)
            .ok()
            .and_then(|position| run.parameters.get(position));
        let column = GroupColumn {
            prompt_position: row.prompt_position,
            prompt: named(&run.prompts, row.prompt_position),
            model_position: row.model_position,
            model: named(&run.models, row.model_position),
            parameters: parameters.cloned().unwrap_or_default(),
            evaluations: row.evaluations,
            passed: row.passed,
            failed: row.scored - row.passed,
            errors: row.errors,
            scored_items: row.scored_items,
            score: row.score,
            score_low: interval.map(|Interval { low, .. }| low),
            score_high: interval.map(|Interval { high, .. }| high),
        };
        (row.value, column)
    });
    Ok(columns.collect())
}

/// The interval of the mean score of items, as boards have it: Wilson's where each item passed or failed once, else
/// Student's over the items. `deviation` is the standard deviation of the items as a sample; one item has none.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a share of a count"
)]
pub(super) fn score_interval(
    items: u64,
    mean: f64,
    deviation: Option<f64>,
    is_pass_or_fail: bool,
) -> Interval {
    if is_pass_or_fail {
        let passes = (mean * items as f64).round() as u64;
        return stats::wilson(passes, items, CONFIDENCE);
    }
    stats::score_interval_from(items, mean, deviation.unwrap_or(0.0), CONFIDENCE)
}

/// Gives each group its columns, and drops the groups that do not fit into a response.
fn put_together(
    run: &Run,
    by: &str,
    max_groups: usize,
    mut groups: Vec<RunGroup>,
    columns: Vec<(Option<String>, GroupColumn)>,
) -> RunGroups {
    let mut is_whole = groups.len() <= max_groups;
    groups.truncate(max_groups);
    let mut by_value: HashMap<Option<String>, Vec<GroupColumn>> = HashMap::new();
    for (value, column) in columns {
        by_value.entry(value).or_default().push(column);
    }
    for group in &mut groups {
        group.columns = by_value.remove(&group.value).unwrap_or_default();
    }
    let fitting = fitting_in(&groups, MAX_BYTES);
    is_whole &= fitting == groups.len();
    groups.truncate(fitting);
    RunGroups {
        run_id: run.id,
        number: run.number,
        state: run.state,
        confidence: CONFIDENCE,
        by: by.to_owned(),
        notice: (!is_whole).then(|| {
            format!(
                "only the {} groups with the most items are shown; export the evaluations of the run to see the others",
                groups.len()
            )
        }),
        groups,
    }
}
