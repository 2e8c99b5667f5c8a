//! Votes on prompts.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::community::{self, Vote, VoteCount};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    parameters::Path,
    problem::Result,
};

/// A vote.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetVote {
    /// For or against.
    pub vote: Vote,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_vote, set_vote, delete_vote))
}

/// Returns the votes on a prompt, with the caller's own.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/vote",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The votes", body = VoteCount))
)]
async fn get_vote(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
) -> Result<JsonResponse<VoteCount>> {
    let mut conn = state.conn().await?;
    let votes = community::find_votes(&mut conn, viewer.as_ref(), &prompt).await?;
    Ok(JsonResponse(votes))
}

/// Votes on a prompt, or changes the caller's vote.
#[utoipa::path(
    put,
    path = "/api/v1/prompts/{prompt}/vote",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = SetVote,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The votes, the caller's included", body = VoteCount),
        (status = 403, description = "The prompt is the caller's own", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_vote(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
    Json(body): Json<SetVote>,
) -> Result<JsonResponse<VoteCount>> {
    let mut conn = state.conn().await?;
    let votes = community::set_vote(&mut conn, &user, &prompt, body.vote).await?;
    Ok(JsonResponse(votes))
}

/// Removes the caller's vote.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}/vote",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses((status = 204, description = "The caller has no vote on it"))
)]
async fn delete_vote(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::delete_vote(&mut conn, &user, &prompt).await?;
    Ok(StatusCode::NO_CONTENT)
}
