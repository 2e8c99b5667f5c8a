//! Scoring again: the answers of an ended run under the scorers of another benchmark version, without calling a model.

use serde::{Deserialize, Serialize};
use sqlx::{Connection as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    Run, RunShape, check::MAX_EVALUATIONS, check::is_withdrawn, cut::cut, extend::shape,
    find_readable_run, find_run, retry::require_ended, visibility::load_parts,
};
use crate::{
    Error, Result,
    auth::{CurrentUser, Visibility},
    benchmarks::{BenchmarkVersion, resolve_benchmark},
    quotas::count_run,
    texts,
};

/// What the answers of a run are scored by.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RescoreRun {
    /// `slug` or `slug@number` of the benchmark version with the scorers; without a number, the newest. Its items are
    /// found in the run by their own id and their variables.
    pub benchmark: String,
    /// A name to recognise the new run by.
    #[serde(default)]
    pub name: String,
    /// Who may see the new run, not wider than the benchmark and the prompts, nor than the old run if that is somebody
    /// else's. When absent, the server's default, or narrower if one of these is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
}

/// Submits a run that scores the answers of an ended one. It calls no model and spends nothing; an item without an
/// answer is recorded as an error. `default` is the visibility where the request says nothing.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Conflict`] when the run has not ended or was cancelled, [`Error::Invalid`] when the
/// benchmark is not known, shares no item with the run, or the name is wrong, [`Error::QuotaExceeded`].
pub async fn rescore_run(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    request: &RescoreRun,
    default: Visibility,
) -> Result<Run> {
    texts::check_line("name", &request.name, 0..=200)?;
    let mut tx = conn.begin().await?;
    let source = find_source(&mut tx, user, run_id, request.visibility).await?;
    let benchmark = find_benchmark(&mut tx, user, &request.benchmark).await?;
    let prompts = sqlx::query_scalar!(
        "-- rescore::rescore_run
        select prompt_version_id from run_prompts where run_id = $1",
        run_id
    )
    .fetch_all(&mut *tx)
    .await?;
    let parts = load_parts(&mut tx, user, benchmark.id, &prompts).await?;
    let default = default.min(source.visibility);
    let visibility = parts.choose(request.visibility, default)?;
    let shape = RunShape {
        items: benchmark.item_count,
        ..shape(&mut tx, run_id).await?
    };
    let planned = shape.evaluations();
    if planned > MAX_EVALUATIONS {
        let message = format!("makes {planned} evaluations, the most is {MAX_EVALUATIONS}");
        return Err(Error::invalid("benchmark", message));
    }
    let new_id = Uuid::now_v7();
    let inserted = sqlx::query!(
        "-- rescore::rescore_run
        insert into runs (id, owner_id, name, benchmark_version_id, seed, repeats, item_count, visibility,
                          planned, cache, answers_of, settled)
        select $1, $2, $3, $4, seed, repeats, $5, $6, $7, false, coalesce(answers_of, id), settled
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
        run_id
    )
    .execute(&mut *tx)
    .await?;
    if inserted.rows_affected() == 0 {
        let message = format!(
            "has no item of {}: items are the same when their ids and variables are",
            source.benchmark
        );
        return Err(Error::invalid("benchmark", message));
    }
    sqlx::query!(
        "-- rescore::rescore_run
        insert into run_prompts (run_id, position, prompt_version_id)
        select $1, position, prompt_version_id from run_prompts where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "-- rescore::rescore_run
        insert into run_models (run_id, position, model_id)
        select $1, position, model_id from run_models where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *tx)
    .await?;
    // Of a column that stopped early only the answers that there are can be scored; no other item has been asked.
    sqlx::query!(
        "-- rescore::rescore_run
        insert into settled_columns (run_id, prompt_position, model_position, from_item)
        select $1, prompt_position, model_position, 0 from settled_columns where run_id = $2",
        new_id,
        run_id
    )
    .execute(&mut *tx)
    .await?;
    cut(&mut tx, new_id, shape).await?;
    count_run(&mut tx, user, new_id, planned).await?;
    let run = find_run(&mut tx, Some(user), new_id).await?;
    tx.commit().await?;
    tracing::info!(run.id = %new_id, run.answers_of = %run_id, run.planned = planned, "answers are scored again");
    Ok(run)
}

/// The run with the answers: it has ended, has them still, and `wanted` shows them to nobody who may not see them.
async fn find_source(
    conn: &mut PgConnection,
    user: &CurrentUser,
    run_id: Uuid,
    wanted: Option<Visibility>,
) -> Result<Run> {
    let source = find_readable_run(conn, Some(user), run_id).await?;
    require_ended(source.state)?;
    if let Some(pruned_at) = source.pruned_at {
        return Err(Error::Conflict(format!(
            "the answers of the run were forgotten on {}; submit it again",
            pruned_at.date_naive()
        )));
    }
    let bound = if source.owner == user.username {
        Visibility::Public
    } else {
        source.visibility
    };
    if wanted.is_some_and(|wanted| wanted > bound) {
        let message = "must not be wider than that of the run: the answers are somebody else's";
        return Err(Error::invalid("visibility", message));
    }
    Ok(source)
}

/// The benchmark version with the scorers.
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
