//! Favourites: prompts that a user bookmarked.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    community::{self, RankedPrompt},
    paging::Page,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(set_favourite, delete_favourite))
        .routes(routes!(list_favourites))
}

/// Adds a prompt to the caller's favourites.
#[utoipa::path(
    put,
    path = "/api/v1/prompts/{prompt}/favourite",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses((status = 204, description = "The prompt is a favourite of the caller"))
)]
async fn set_favourite(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::set_favourite(&mut conn, &user, &prompt).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Removes a prompt from the caller's favourites.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}/favourite",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses((status = 204, description = "The prompt is not a favourite of the caller"))
)]
async fn delete_favourite(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::delete_favourite(&mut conn, &user, &prompt).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists a user's favourites, newest first: the caller's own, or those of a user who shows them.
#[utoipa::path(
    get,
    path = "/api/v1/users/{username}/favourites",
    tag = "community",
    params(("username" = String, Path, description = "Name of the user"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = Page<RankedPrompt>))
)]
async fn list_favourites(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(username): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<RankedPrompt>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page =
        community::list_favourites(&mut conn, viewer.as_ref(), &username, before, limit).await?;
    Ok(JsonResponse(page))
}
