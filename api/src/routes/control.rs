//! What an owner may do to a run that was submitted, beside cancelling it.

use axum::{Json as Answer, extract::State};
use opb_core::runs::{self, Run};
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{AppState, caller::Authenticated, parameters::Path, problem::Result};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(pause_run))
        .routes(routes!(resume_run))
}

/// Pauses a run: no new call begins, calls that run are let finish and are recorded.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/pause",
    tag = "runs",
    params(("run" = Uuid, Path, description = "The run's id")),
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
    Path(run): Path<Uuid>,
) -> Result<Answer<Run>> {
    let mut conn = state.conn().await?;
    Ok(Answer(runs::pause_run(&mut conn, &user, run).await?))
}

/// Lets a paused run go on.
#[utoipa::path(
    post,
    path = "/api/v1/runs/{run}/resume",
    tag = "runs",
    params(("run" = Uuid, Path, description = "The run's id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The resumed run", body = Run),
        (status = 403, description = "The run belongs to somebody else", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The run is not paused", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn resume_run(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(run): Path<Uuid>,
) -> Result<Answer<Run>> {
    let mut conn = state.conn().await?;
    Ok(Answer(runs::resume_run(&mut conn, &user, run).await?))
}
