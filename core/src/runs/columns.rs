//! A run's own table: what each prompt on each model has reached, however the run stands, and why evaluations failed.
//!
//! Computed from the recorded evaluations, block by block where a run goes on, and kept when it ends. Leaderboards may
//! show other things; this is the run alone.

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sqlx::{Connection as _, PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Run, RunState, extend::shape, groups::score_interval};
use crate::{
    Error, Result,
    leaderboards::{self, CONFIDENCE, ColumnKey, Figures},
    library::fitting_in,
};

/// Of so many errors the commonest messages are found; what comes after them has no new ones.
const ERRORS_LOOKED_AT: i64 = 20_000;
/// The characters of a message that are kept.
const MESSAGE_CHARACTERS: i32 = 500;
/// While a run goes on, part scores are computed from its first so many evaluations: they are read from every single one.
const PART_SCORES_OF: i64 = 100_000;

/// Maximum number of metrics whose part scores are summed up. A version has no more, unless it came in parts or is older
/// than this rule.
const MAX_METRICS: i64 = 100;
/// Maximum size of the columns in an answer, in bytes of JSON.
const MAX_BYTES: usize = 4 << 20;

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

/// The columns of a run that were kept when it ended. None while it goes on, and for a moment after it was cancelled: then
/// [`measure_run_columns`] finds them. Who may see the run is for the caller to ask.
///
/// # Errors
/// The database does not answer.
pub async fn kept_run_columns(conn: &mut PgConnection, run: &Run) -> Result<Option<RunColumns>> {
    let kept = load(conn, run.id).await?;
    if kept.is_empty() && run.recorded > 0 {
        return Ok(None);
    }
    describe(conn, run, kept).await.map(Some)
}

/// The columns of a run as far as it has come, summed up from its evaluations. That takes Postgres seconds for a large run:
/// the caller has a turn ([`Computing::turn`](crate::computing::Computing::turn)). Who may see the run is for the caller to ask.
///
/// # Errors
/// The database does not answer.
pub async fn measure_run_columns(conn: &mut PgConnection, run: &Run) -> Result<RunColumns> {
    // One picture of the run for all that is read: what is summed up meanwhile would be missed or counted twice.
    let mut tx = conn.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read")
        .execute(&mut *tx)
        .await?;
    let measured = measure(&mut tx, run.id, !run.state.has_ended()).await?;
    tx.commit().await?;
    describe(conn, run, measured).await
}

/// Every column of a run, with what was measured of it.
async fn describe(
    conn: &mut PgConnection,
    run: &Run,
    mut measured: BTreeMap<ColumnKey, MeasuredColumn>,
) -> Result<RunColumns> {
    let (repeats, items, settled) = facts(conn, run.id).await?;
    let simulated = simulated_models(conn, run.id).await?;
    let mut columns = Vec::with_capacity(run.prompts.len() * run.models.len());
    for (prompt_position, prompt) in (0..).zip(&run.prompts) {
        for (index, (model_position, model)) in (0..).zip(&run.models).enumerate() {
            let key = (prompt_position, model_position);
            columns.push(RunColumn {
                prompt_position,
                prompt: prompt.clone(),
                model_position,
                model: model.clone(),
                parameters: run.parameters.get(index).cloned().unwrap_or_default(),
                simulated: simulated.get(index).copied().unwrap_or_default(),
                planned: i64::from(repeats) * i64::from(items),
                settled: settled.contains(&key),
                measured: measured.remove(&key).unwrap_or_default(),
            });
        }
    }
    let found = columns.len();
    columns.truncate(fitting_in(&columns, MAX_BYTES));
    let notice = (columns.len() < found).then(|| format!(
        "only the first {} of {found} columns fit into one answer; export the evaluations of the run to see the others",
        columns.len()
    ));
    Ok(RunColumns {
        run_id: run.id,
        number: run.number,
        state: run.state,
        confidence: CONFIDENCE,
        notice,
        columns,
    })
}

/// Keeps the columns of a run that is about to end, or was cancelled, for good. The caller has locked the run.
pub(super) async fn keep(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let columns = measure(tx, run_id, false).await?;
    let prompts: Vec<i16> = columns.keys().map(|(prompt, _)| *prompt).collect();
    let models: Vec<i16> = columns.keys().map(|(_, model)| *model).collect();
    let measured: Vec<Json<&MeasuredColumn>> = columns.values().map(Json).collect();
    sqlx::query!(
        "-- columns::keep
        insert into run_columns (run_id, prompt_position, model_position, measured)
        select $1, * from unnest($2::smallint[], $3::smallint[], $4::jsonb[])
        on conflict (run_id, prompt_position, model_position) do update set measured = excluded.measured",
        run_id,
        &prompts,
        &models,
        measured as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Forgets what was kept: the run goes on.
pub(super) async fn forget(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- columns::forget
        delete from run_columns where run_id = $1",
        run_id
    )
    .execute(tx)
    .await?;
    Ok(())
}

async fn load(
    conn: &mut PgConnection,
    run_id: Uuid,
) -> Result<BTreeMap<ColumnKey, MeasuredColumn>> {
    let rows = sqlx::query!(
        r#"-- columns::load
        select prompt_position, model_position, measured as "measured: Json<MeasuredColumn>"
        from run_columns where run_id = $1"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    let keyed = rows
        .into_iter()
        .map(|row| ((row.prompt_position, row.model_position), row.measured.0));
    Ok(keyed.collect())
}

/// Sums a run up. Of one that goes on, part scores are those of its first items.
async fn measure(
    conn: &mut PgConnection,
    run_id: Uuid,
    goes_on: bool,
) -> Result<BTreeMap<ColumnKey, MeasuredColumn>> {
    let shape = shape(conn, run_id).await?;
    let mut columns: BTreeMap<ColumnKey, MeasuredColumn> =
        leaderboards::measure_run(conn, run_id, shape).await?;
    for (key, kind) in error_kinds(conn, run_id).await? {
        columns.entry(key).or_default().error_kinds.push(kind);
    }
    let per_item = (shape.evaluations() / i64::from(shape.items.max(1))).max(1);
    let items = if goes_on {
        i32::try_from(PART_SCORES_OF / per_item)
            .unwrap_or(i32::MAX)
            .max(1)
    } else {
        i32::MAX
    };
    if has_part_scores(conn, run_id).await? {
        for (key, part) in part_scores(conn, run_id, items).await? {
            columns.entry(key).or_default().part_scores.push(part);
        }
    }
    Ok(columns)
}

async fn error_kinds(conn: &mut PgConnection, run_id: Uuid) -> Result<Vec<(ColumnKey, ErrorKind)>> {
    let counts = sqlx::query!(
        r#"-- columns::error_kinds
        select prompt_position, model_position, error_kind as "kind!", count(*) as "evaluations!"
        from evaluations
        where run_id = $1 and state = 'error'
        group by 1, 2, 3
        order by 4 desc, 3"#,
        run_id
    )
    .fetch_all(&mut *conn)
    .await?;
    if counts.is_empty() {
        return Ok(Vec::new());
    }
    let messages = sqlx::query!(
        r#"-- columns::error_kinds
        with looked_at as (
            select item_position, prompt_position, model_position, error_kind,
                   left(coalesce(error, ''), $3) as message
            from evaluations
            where run_id = $1 and state = 'error'
            order by item_position, repeat, prompt_position, model_position
            limit $2
        ), messages as (
            select prompt_position, model_position, error_kind, message, count(*) as evaluations,
                   min(item_position) as first_item
            from looked_at
            group by 1, 2, 3, 4
        ), commonest as (
            select distinct on (prompt_position, model_position, error_kind) *
            from messages
            order by prompt_position, model_position, error_kind, evaluations desc, first_item
        )
        select prompt_position as "prompt_position!", model_position as "model_position!", error_kind as "kind!",
               message as "message!", evaluations as "evaluations!", items.key as item
        from commonest
        join runs on runs.id = $1
        join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = first_item"#,
        run_id,
        ERRORS_LOOKED_AT,
        MESSAGE_CHARACTERS
    )
    .fetch_all(conn)
    .await?;
    let mut messages: HashMap<(ColumnKey, String), (String, i64, String)> = messages
        .into_iter()
        .map(|row| {
            let key = ((row.prompt_position, row.model_position), row.kind);
            (key, (row.message, row.evaluations, row.item))
        })
        .collect();
    let kinds = counts.into_iter().map(|row| {
        let column = (row.prompt_position, row.model_position);
        let found = messages.remove(&(column, row.kind.clone()));
        let (message, message_evaluations, item) = found.unwrap_or_default();
        let kind = ErrorKind {
            kind: row.kind,
            evaluations: row.evaluations,
            message,
            message_evaluations,
            item,
        };
        (column, kind)
    });
    Ok(kinds.collect())
}

/// Whether any scorer of the run's benchmark version names a metric.
async fn has_part_scores(conn: &mut PgConnection, run_id: Uuid) -> Result<bool> {
    let has = sqlx::query_scalar!(
        r#"-- columns::has_part_scores
        select jsonb_path_exists(benchmark_versions.scorers, '$[*].metric')
               or exists(select from items where benchmark_version_id = benchmark_versions.id
                         and items.scorers is not null and jsonb_path_exists(items.scorers, '$[*].metric')) as "has!"
        from runs
        join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        where runs.id = $1"#,
        run_id
    )
    .fetch_one(conn)
    .await?;
    Ok(has)
}

/// Part scores of each column over the first so many items. In one evaluation a metric is the weighted mean of its
/// scorers, or their plain mean if all their weights are 0, as [`crate::scorers::combine`] has it; then each item counts the
/// same.
async fn part_scores(
    conn: &mut PgConnection,
    run_id: Uuid,
    items: i32,
) -> Result<Vec<(ColumnKey, PartScore)>> {
    let rows = sqlx::query!(
        r#"-- columns::part_scores
        with lines as (
            select item_position, repeat, prompt_position, model_position, line ->> 'metric' as metric,
                   (line ->> 'score')::float8 as score,
                   coalesce((coalesce(items.scorers, benchmark_versions.scorers) -> (place - 1)::int ->> 'weight')::float8, 1)
                       as weight
            from runs
            join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
            join evaluations on evaluations.run_id = runs.id
            join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = item_position
            cross join jsonb_array_elements(evaluations.scores) with ordinality as it (line, place)
            where runs.id = $1 and item_position < $2
              and line ->> 'outcome' = 'scored' and line ->> 'metric' is not null
        ), of_evaluations as (
            select item_position, prompt_position, model_position, metric,
                   coalesce(sum(weight * score) / nullif(sum(weight), 0), avg(score)) as score
            from lines
            group by item_position, repeat, prompt_position, model_position, metric
        ), of_items as (
            select prompt_position, model_position, metric, avg(score) as score, count(*) as evaluations
            from of_evaluations
            where metric in (select metric from lines group by metric order by metric limit $3)
            group by item_position, prompt_position, model_position, metric
        )
        select prompt_position, model_position, metric as "metric!", count(*) as "items!",
               sum(evaluations)::bigint as "evaluations!", avg(score) as "score!", stddev_samp(score) as deviation,
               bool_and(score in (0, 1)) as "is_all_or_nothing!"
        from of_items
        group by 1, 2, 3
        order by 1, 2, 3"#,
        run_id,
        items,
        MAX_METRICS
    )
    .fetch_all(conn)
    .await?;
    let parts = rows.into_iter().map(|row| {
        let items = u64::try_from(row.items).unwrap_or(0);
        let interval = score_interval(items, row.score, row.deviation, row.is_all_or_nothing);
        let part = PartScore {
            metric: row.metric,
            items: row.items,
            evaluations: row.evaluations,
            score: row.score,
            score_low: interval.low,
            score_high: interval.high,
        };
        ((row.prompt_position, row.model_position), part)
    });
    Ok(parts.collect())
}

/// Repeats, items, and the columns that are settled.
async fn facts(conn: &mut PgConnection, run_id: Uuid) -> Result<(i16, i32, Vec<ColumnKey>)> {
    let run = sqlx::query!(
        "-- columns::facts
        select repeats, item_count from runs where id = $1",
        run_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the run `{run_id}`")))?;
    let settled = sqlx::query!(
        "-- columns::facts
        select prompt_position, model_position from settled_columns where run_id = $1",
        run_id
    )
    .fetch_all(conn)
    .await?;
    let settled = settled
        .into_iter()
        .map(|row| (row.prompt_position, row.model_position));
    Ok((run.repeats, run.item_count, settled.collect()))
}

/// Which models of a run are simulated, by position.
async fn simulated_models(conn: &mut PgConnection, run_id: Uuid) -> Result<Vec<bool>> {
    let simulated = sqlx::query_scalar!(
        r#"-- columns::simulated_models
        select providers.kind in ('simulated', 'echo') as "simulated!"
        from run_models
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where run_id = $1
        order by position"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    Ok(simulated)
}
