//! Finds the columns of a comparison, and loads their recorded results.

use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{ColumnChoice, MAX_COLUMNS};
use crate::{
    Error, FieldError, Result,
    auth::CurrentUser,
    models::{is_model, model_label},
    runs::{RunState, find_readable_run, resolve_run},
};

/// One prompt version on one model in one run.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) run_id: Uuid,
    pub(super) run_number: i64,
    pub(super) run_state: RunState,
    pub(super) benchmark_version_id: Uuid,
    pub(super) benchmark: String,
    pub(super) item_count: i32,
    pub(super) prompt_position: i16,
    pub(super) model_position: i16,
    pub(super) prompt: String,
    pub(super) model: String,
    pub(super) parameters: Value,
    pub(super) simulated: bool,
}

/// The recorded results for one item of a column, over its repeats.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub(super) prompt_position: i16,
    pub(super) model_position: i16,
    pub(super) item_position: i32,
    pub(super) evaluations: i64,
    pub(super) errors: i64,
    pub(super) scored: i64,
    pub(super) passed: i64,
    /// The mean over the scored repeats.
    pub(super) score: Option<f32>,
    /// `None` if the cost of one of them is unknown.
    pub(super) cost_microusd: Option<i64>,
    pub(super) latencies_ms: Vec<i32>,
}

/// The columns that the choices name, in order and without duplicates. Stops when there are more than a comparison
/// allows.
pub(super) async fn resolve_columns(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    choices: &[ColumnChoice],
) -> Result<Vec<Column>> {
    let mut columns: Vec<Column> = Vec::new();
    let mut errors = Vec::new();
    for (index, choice) in choices.iter().enumerate() {
        if columns.len() > MAX_COLUMNS {
            break;
        }
        let path = format!("columns[{index}]");
        // Also checks that the viewer may read the run and every part of it.
        let run = resolve_run(conn, viewer, &choice.run)
            .await
            .map_err(|error| error.below(&path))?;
        let run = find_readable_run(conn, viewer, run.id).await?;
        let all = list_columns(conn, run.id).await?;
        let is_prompt = |column: &&Column| {
            let slug = column.prompt.split('@').next();
            let wanted = choice.prompt.as_deref();
            wanted.is_none_or(|wanted| column.prompt == wanted || slug == Some(wanted))
        };
        let is_model = |column: &&Column| {
            let wanted = choice.model.as_deref();
            wanted.is_none_or(|wanted| is_model(wanted, &column.model, &column.parameters))
        };
        if !all.iter().any(|column| is_prompt(&column)) {
            let message = format!("must be one of the run's: {}", run.prompts.join(", "));
            errors.push(FieldError::new(format!("{path}.prompt"), message));
        }
        if !all.iter().any(|column| is_model(&column)) {
            let labels = run.models.iter().zip(&run.parameters);
            let labels: Vec<String> = labels
                .map(|(model, parameters)| model_label(model, parameters))
                .collect();
            let message = format!("must be one of the run's: {}", labels.join(", "));
            errors.push(FieldError::new(format!("{path}.model"), message));
        }
        for column in all.iter().filter(is_prompt).filter(is_model) {
            if let Some(first) = columns.first()
                && let Some(message) = mismatch(first, column)
            {
                errors.push(FieldError::new(path.clone(), message));
                break;
            }
            if !columns.iter().any(|known| is_same(known, column)) {
                columns.push(column.clone());
            }
        }
    }
    if errors.is_empty() {
        Ok(columns)
    } else {
        Err(Error::Invalid(errors))
    }
}

fn is_same(a: &Column, b: &Column) -> bool {
    let key = |column: &Column| (column.run_id, column.prompt_position, column.model_position);
    key(a) == key(b)
}

/// Why two columns cannot be compared, if they cannot.
fn mismatch(first: &Column, column: &Column) -> Option<String> {
    if first.benchmark_version_id != column.benchmark_version_id {
        return Some(format!(
            "is a run of `{}` and the first column one of `{}`; only runs of one benchmark version share their items",
            column.benchmark, first.benchmark
        ));
    }
    (first.simulated != column.simulated).then(|| {
        "mixes simulated and real models, which are never compared; choose the columns by `model`"
            .to_owned()
    })
}

async fn list_columns(conn: &mut PgConnection, run_id: Uuid) -> Result<Vec<Column>> {
    let columns = sqlx::query_as!(
        Column,
        r#"-- columns::list_columns
        select runs.id as run_id, runs.number as run_number, runs.state as "run_state: RunState", runs.benchmark_version_id,
               benchmarks.slug || '@' || benchmark_versions.number as "benchmark!", runs.item_count,
               run_prompts.position as prompt_position, run_models.position as model_position,
               prompts.slug || '@' || prompt_versions.number as "prompt!",
               providers.name || ':' || models.name as "model!", models.parameters,
               providers.kind in ('simulated', 'echo') as "simulated!"
        from runs
        join benchmark_versions on benchmark_versions.id = runs.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_id
        join run_prompts on run_prompts.run_id = runs.id
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join run_models on run_models.run_id = runs.id
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where runs.id = $1
        order by run_prompts.position, run_models.position"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    Ok(columns)
}

/// The recorded results of each column, by item.
pub(super) async fn load_tries(
    conn: &mut PgConnection,
    columns: &[Column],
) -> Result<Vec<Vec<Tried>>> {
    let mut run_ids: Vec<Uuid> = columns.iter().map(|column| column.run_id).collect();
    run_ids.sort_unstable();
    run_ids.dedup();
    let mut found = vec![Vec::new(); columns.len()];
    for run_id in run_ids {
        let of_run = |column: &&Column| column.run_id == run_id;
        let prompts: Vec<i16> = columns
            .iter()
            .filter(of_run)
            .map(|column| column.prompt_position)
            .collect();
        let models: Vec<i16> = columns
            .iter()
            .filter(of_run)
            .map(|column| column.model_position)
            .collect();
        for tried in load_tries_of_run(conn, run_id, &prompts, &models).await? {
            let index = columns.iter().position(|column| {
                column.run_id == run_id
                    && column.prompt_position == tried.prompt_position
                    && column.model_position == tried.model_position
            });
            if let Some(index) = index {
                found[index].push(tried);
            }
        }
    }
    Ok(found)
}

async fn load_tries_of_run(
    conn: &mut PgConnection,
    run_id: Uuid,
    prompts: &[i16],
    models: &[i16],
) -> Result<Vec<Tried>> {
    let tries = sqlx::query_as!(
        Tried,
        r#"-- columns::load_tries_of_run
        select prompt_position, model_position, item_position,
               count(*) as "evaluations!",
               count(*) filter (where state = 'error') as "errors!",
               count(score) as "scored!",
               count(*) filter (where passed) as "passed!",
               avg(score)::real as score,
               case when count(cost_microusd) = count(*) then sum(cost_microusd)::bigint end as cost_microusd,
               array_remove(array_agg(latency_ms), null) as "latencies_ms!"
        from evaluations
        join unnest($2::smallint[], $3::smallint[]) as wanted (prompt_position, model_position)
            using (prompt_position, model_position)
        where run_id = $1
        group by prompt_position, model_position, item_position
        order by item_position"#,
        run_id,
        prompts,
        models
    )
    .fetch_all(conn)
    .await?;
    Ok(tries)
}

/// The score of each item, by position.
pub(super) fn scores_by_item(tries: &[Tried], item_count: i32) -> Vec<Option<f32>> {
    let mut scores = vec![None; usize::try_from(item_count).unwrap_or(0)];
    for tried in tries {
        let position = usize::try_from(tried.item_position).ok();
        if let Some(slot) = position.and_then(|position| scores.get_mut(position)) {
            *slot = tried.score;
        }
    }
    scores
}
