//! Rescores the responses of an ended run with the scorers of another benchmark version, without calling a model.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Run, RunShape,
    check::MAX_EVALUATIONS,
    check::is_withdrawn,
    cut::cut,
    extend::load_shape,
    find_readable_run, find_run,
    retry::require_ended,
    visibility::{foreign_answers, load_parts},
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    benchmarks::{BenchmarkVersion, resolve_benchmark},
    quotas::count_run,
    texts,
};

/// A request to rescore a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescoreRun {
    /// `slug` or `slug@number` of the benchmark version with the scorers; without a number, the newest. Its items are
    /// matched with those of the run by their own id and their variables.
    pub benchmark: String,
    /// A name for the new run.
    #[serde(default)]
    pub name: String,
    /// Who may see the new run, not wider than the benchmark and the prompts; always private if the responses are from
    /// another user's run. If absent: the server's default, or narrower if one of these is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Submits a run that rescores the responses of an ended run. It calls no model and spends nothing; an item without a
/// response is recorded as an error. `default` is the visibility if the request has none.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`] if the run has not ended or was cancelled, [`Error::Invalid`] if the
/// benchmark does not exist or has no item in common with the run, or the name is invalid, [`Error::QuotaExceeded`].
pub async fn rescore_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &RescoreRun,
    default: Visibility,
) -> Result<Run> {
    texts::check_line("name", &request.name, 0..=200)?;
    let mut tx = conn.begin().await?;
    let source = find_source(&mut tx, user, run_id).await?;
    let benchmark = find_benchmark(&mut tx, user, &request.benchmark).await?;
    let prompts = sqlx::query_scalar!(
        "-- rescore::rescore_run
        select prompt_version_id from run_prompts where run_id = $1",
        run_id
    )
    .fetch_all(&mut *tx)
    .await?;
    let parts = load_parts(&mut tx, user, benchmark.id, &prompts).await?;
    let is_foreign = holds_answers_of_others(&mut tx, user, run_id).await?;
    if is_foreign
        && request
            .visibility
            .is_some_and(|wanted| wanted > Visibility::Private)
    {
        return Err(foreign_answers());
    }
    let default = if is_foreign {
        Visibility::Private
    } else {
        default.min(source.visibility)
    };
    let visibility = parts.choose(request.visibility, default)?;
    let shape = RunShape {
        items: benchmark.item_count,
        ..load_shape(&mut tx, run_id).await?
    };
    let planned = shape.evaluations();
    if planned > MAX_EVALUATIONS {
        let message = format!("makes {planned} evaluations; the maximum is {MAX_EVALUATIONS}");
        return Err(Error::invalid("benchmark", message));
    }
    let new_id = Uuid::now_v7();
    let inserted = sqlx::query!(
        "-- rescore::rescore_run
        insert into runs (id, owner_id, name, benchmark_version_id, seed, repeats, item_count, visibility,
                          planned, cache, answers_of, foreign_answers, settled)
        select $1, $2, $3, $4, seed, repeats, $5, $6, $7, false, id, $9, settled
        from runs
        where id = $8
          and exists (select from items as asked
                      join items as answered on answered.key = asked.key and answered.vars = asked.vars
                      where asked.benchmark_version_id = $4 and answered.benchmark_version_id = runs.benchmark_version_id)",
        new_id,
        user.id,
        request.name,
        benchmark.id,
        shape.items,
        visibility as Visibility,
        planned,
        run_id,
        is_foreign
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        let message = format!(
            "has no item in common with {}: items match if their ids and variables are equal",
            source.benchmark
        );
        return Err(Error::invalid("benchmark", message));
    }
    copy_columns(&mut tx, run_id, new_id).await?;
    cut(&mut tx, new_id, shape).await?;
    count_run(&mut tx, user, new_id, planned).await?;
    let run = find_run(&mut tx, Some(user), new_id).await?;
    tx.commit().await?;
    tracing::info!(
        run.id = %new_id,
        run.answers_of = %run_id,
        run.planned = planned,
        "run {new_id} was submitted to rescore the responses of run {run_id}"
    );
    Ok(run)
}

/// Gives a new run the prompts and models of another, and its settled columns.
async fn copy_columns(conn: &mut PgConnection, run_id: Uuid, new_id: Uuid) -> Result<()> {
    sqlx::query!(
        "-- rescore::copy_columns
        insert into run_prompts (run_id, position, prompt_version_id)
        select $1, position, prompt_version_id from run_prompts where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *conn)
    .await?;
    sqlx::query!(
        "-- rescore::copy_columns
        insert into run_models (run_id, position, model_id)
        select $1, position, model_id from run_models where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *conn)
    .await?;
    // Of a column that stopped early, only existing responses can be rescored; the other items are skipped.
    sqlx::query!(
        "-- rescore::copy_columns
        insert into settled_columns (run_id, prompt_position, model_position, from_item)
        select $1, prompt_position, model_position, 0 from settled_columns where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *conn)
    .await?;
    Ok(())
}

/// Finds the run with the responses: it has ended and is not pruned.
async fn find_source(conn: &mut PgConnection, user: &CurrentUser, run_id: Uuid) -> Result<Run> {
    let source = find_readable_run(conn, Some(user), run_id).await?;
    require_ended(source.state)?;
    if let Some(pruned_at) = source.pruned_at {
        return Err(Error::Conflict(format!(
            "the responses of the run were pruned on {}; submit it again",
            pruned_at.date_naive()
        )));
    }
    Ok(source)
}

/// Returns whether the responses of a run are from another user's run: the run itself, or the one that it rescored.
async fn holds_answers_of_others(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
) -> Result<bool> {
    let is_foreign = sqlx::query_scalar!(
        r#"-- rescore::holds_answers_of_others
        select foreign_answers or owner_id <> $2 as "is_foreign!" from runs where id = $1"#,
        run_id,
        user.id
    )
    .fetch_one(conn)
    .await?;
    Ok(is_foreign)
}

/// Finds the benchmark version with the scorers.
async fn find_benchmark(
    conn: &mut PgConnection,
    user: &CurrentUser,
    reference: &str,
) -> Result<BenchmarkVersion> {
    let benchmark = match resolve_benchmark(conn, Some(user), reference).await {
        Err(Error::NotFound(what)) => {
            return Err(Error::invalid("benchmark", format!("{what} was not found")));
        }
        other => other?,
    };
    if is_withdrawn(conn, benchmark.id).await? {
        let message = "was withdrawn by its owner and takes no more runs";
        return Err(Error::invalid("benchmark", message));
    }
    Ok(benchmark)
}
