//! Changes to submitted runs other than cancelling them, and the quotas of users.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
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

/// Changes the visibility of a run, or the budget of a run that has one.
///
/// Leaderboards follow the visibility. A run that was paused because its budget was used up does not continue by
/// itself: resume it.
#[utoipa::path(
    patch,
    path = "/api/v1/runs/{run}",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    request_body = UpdateRun,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated run", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has no budget, or the caller's quota does not allow the budget", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<UpdateRun>,
) -> Result<JsonResponse<Run>> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::update_run(&mut tx, &user, run, &body, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    if body.visibility.is_some() {
        leaderboards::renew_small_boards(&mut *state.conn().await?, run.id).await?;
    }
    Ok(JsonResponse(run))
}

/// Pauses a run: no new calls start; calls in flight finish and are recorded.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/pause",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The paused run", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run is paused, about to end, or has ended", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn pause_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<JsonResponse<Run>> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    Ok(JsonResponse(runs::pause_run(&mut conn, &user, run).await?))
}

/// Resumes a paused run.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/resume",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The resumed run", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run is not paused, or the caller's quota does not allow it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resume_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<JsonResponse<Run>> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::resume_run(&mut tx, &user, run, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok(JsonResponse(run))
}

/// Retries the failed evaluations of a run that has ended.
///
/// What was already spent on them stays counted.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/retry",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The run is queued again", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended, was cancelled, or has no errors; or the caller's quota does not allow it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn retry_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
) -> Result<(StatusCode, JsonResponse<Run>)> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::retry_run(&mut tx, &user, run, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok((StatusCode::ACCEPTED, JsonResponse(run)))
}

/// Adds prompts, models, items or repeats to a run that has ended. Recorded evaluations are not repeated.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/extend",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
    request_body = ExtendRun,
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The run is queued again", body = Run),
        (status = 403, description = "The run belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run has not ended, or was cancelled; or the caller's quota does not allow it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn extend_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<RunReference>,
    Json(body): Json<ExtendRun>,
) -> Result<(StatusCode, JsonResponse<Run>)> {
    let mut tx = state.pool.begin().await.map_err(Error::Database)?;
    let run = runs::resolve_run(&mut tx, Some(&user), &run).await?.id;
    let run = runs::extend_run(&mut tx, &user, run, &body, &state.rules).await?;
    tx.commit().await.map_err(Error::Database)?;
    Ok((StatusCode::ACCEPTED, JsonResponse(run)))
}

/// Scores the answers of an ended run with another benchmark version. Creates a new run, which calls no model and
/// costs nothing.
///
/// Items are matched by their own ids and their variables; an item without an answer is recorded as an error.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/rescore",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run")),
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
) -> Result<(StatusCode, JsonResponse<Run>)> {
    let mut conn = state.conn().await?;
    let run = runs::resolve_run(&mut conn, Some(&user), &run).await?.id;
    let default = state.rules.default_visibility;
    let run = runs::rescore_run(&mut conn, &user, run, &body, default).await?;
    middleware::run_submitted(run.id);
    Ok((StatusCode::ACCEPTED, JsonResponse(run)))
}

/// The quota of a user. Absent fields are reset to the server's defaults.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserQuota {
    /// Maximum cost of the user's runs in 24 hours, in micro-dollars; null means no limit for administrators, and the
    /// server's default for others.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_microusd")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub daily_budget_microusd: Option<i64>,
    /// Maximum number of evaluations on free models in 24 hours; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub free_evaluations: Option<i64>,
    /// Maximum number of open runs; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub open_runs: Option<i64>,
    /// Maximum number of stored bytes of benchmarks, prompts and outputs; null as above.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_count")]
    #[schema(minimum = 0, maximum = 1_000_000_000_000_000_i64)]
    pub stored_bytes: Option<i64>,
}

/// Sets the quota of a user: spending of the operator's money, and free use. For administrators.
#[utoipa::path(
    put,
    path = "/api/v1/users/{username}/quota",
    tag = "operations",
    params(("username" = String, Path, description = "The user's name")),
    request_body = UserQuota,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The new quota", body = UserQuota),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_quota(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(username): Path<String>,
    Json(body): Json<UserQuota>,
) -> Result<JsonResponse<UserQuota>> {
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
    Ok(JsonResponse(body))
}
