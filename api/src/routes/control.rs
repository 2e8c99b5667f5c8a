//! What an owner may do to a run that was submitted, beside cancelling it, and what its owner may spend.

use axum::{Json as Answer, extract::State, http::StatusCode};
use opb_core::{
    Error, leaderboards,
    quotas::{Quotas, set_user_quotas},
    runs::{self, ExtendRun, RescoreRun, Run, RunReference, UpdateRun},
};
use serde::{Deserialize, Serialize};
use sqlx::Connection as _;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState, body::Json, caller::Authenticated, middleware, parameters::Path, problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(update_run))
        .routes(routes!(pause_run))
        .routes(routes!(resume_run))
        .routes(routes!(retry_run))
        .routes(routes!(extend_run))
        .routes(routes!(rescore_run))
        .routes(routes!(update_quota))
}

/// Changes who may see a run, at any time, or the budget of a run that has one. Boards follow the visibility. A run that
/// paused because its budget was used up is to be resumed then.
#[utoipa::path(
    patch,
    path = "/api/v1/runs/{run}",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    request_body = UpdateRun,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The changed run", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has no budget, or the caller may not spend as much", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<UpdateRun>,
) -> Result<Answer<Run>> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::update_run(&mut tx, &user, run, &body, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    if body.visibility.is_some() {
        leaderboards::renew_small_boards(&mut *state.conn().await?, run.id).await?;
    }
    Ok(Answer(run))
}

/// Pauses a run: no new call begins, calls that run are let finish and are recorded.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/pause",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The paused run", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run is paused, about to end, or has ended", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn pause_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<Answer<Run>> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    Ok(Answer(runs::pause_run(&mut conn, &user, run).await?))
}

/// Lets a paused run go on.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/resume",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The resumed run", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run is not paused, or the caller may not spend as much", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resume_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<Answer<Run>> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::resume_run(&mut tx, &user, run, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok(Answer(run))
}

/// Retries the failed evaluations of a run that has ended. What was spent on them stays spent.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/retry",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The run is in the queue again", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended, was cancelled, or has no errors; or the caller may not spend as much", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn retry_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<(StatusCode, Answer<Run>)> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::retry_run(&mut tx, &user, run, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok((StatusCode::ACCEPTED, Answer(run)))
}

/// Extends an ended run by prompts, models, items or repeats. What is recorded is not called again.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/extend",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    request_body = ExtendRun,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The run is in the queue again", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended, or was cancelled; or the caller may not spend as much", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn extend_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<ExtendRun>,
) -> Result<(StatusCode, Answer<Run>)> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::extend_run(&mut tx, &user, run, &body, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok((StatusCode::ACCEPTED, Answer(run)))
}

/// Scores the answers of an ended run by another benchmark version: a new run, which calls no model and spends nothing.
/// Items are the same when their own ids and their variables are; one without an answer is recorded as an error.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/rescore",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id or the end of its id, or `last` for your newest")),
    request_body = RescoreRun,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The new run", body = Run),
        (status = 409, description = "The run has not ended, or was cancelled", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn rescore_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<RescoreRun>,
) -> Result<(StatusCode, Answer<Run>)> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    let default = state.rules.default_visibility;
    let run = runs::rescore_run(&mut conn, &user, run, &body, default).await?;
    middleware::run_submitted(run.id);
    Ok((StatusCode::ACCEPTED, Answer(run)))
}

/// What a user may spend and take. What is absent is set to what holds for everybody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserQuota {
    /// Micro-dollars that the user's runs may cost in 24 hours; null is no bound for administrators, and the server's
    /// setting for others.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_microusd")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub daily_budget_microusd: Option<i64>,
    /// Evaluations on models that cost nothing that the user may ask for in 24 hours; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub free_evaluations: Option<i64>,
    /// Runs that the user may have open at once; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub open_runs: Option<i64>,
    /// Bytes of benchmarks, prompts and outputs that the user may store; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub stored_bytes: Option<i64>,
}

/// Sets what a user may spend of the operator's money, and take without paying. For administrators.
#[utoipa::path(
    put,
    path = "/api/v1/users/{username}/quota",
    tag = "operations",
    params(("username" = String, Path, description = "The user's name")),
    request_body = UserQuota,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The quota that is set", body = UserQuota),
        (status = 403, description = "The caller is no administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_quota(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(username): Path<String>,
    Json(body): Json<UserQuota>,
) -> Result<Answer<UserQuota>> {
    let mut conn = state.conn().await?;
    let mut tx = conn.begin().await.map_err(Error::Database)?;
    runs::set_quota(&mut tx, &user, &username, body.daily_budget_microusd).await?;
    let quotas = Quotas {
        free_evaluations: body.free_evaluations,
        open_runs: body.open_runs,
        stored_bytes: body.stored_bytes,
    };
    set_user_quotas(&mut tx, &user, &username, &quotas).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok(Answer(body))
}
