//! Saved searches of users.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::library::{self, NewSavedSearch, SavedSearch};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{AppState, body::Json, caller::Authenticated, parameters::Path, problem::Result};

/// The saved searches of the caller.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct SavedSearches {
    /// The searches, by name.
    items: Vec<SavedSearch>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_saved_searches, save_search))
        .routes(routes!(delete_saved_search))
}

/// Lists the caller's saved searches.
#[utoipa::path(
    get,
    path = "/api/v1/saved-searches",
    tag = "library",
    security(("bearer" = [])),
    responses((status = 200, description = "The searches", body = SavedSearches))
)]
async fn list_saved_searches(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<SavedSearches>> {
    let mut conn = state.conn().await?;
    let items = library::list_saved_searches(&mut conn, &user).await?;
    Ok(JsonResponse(SavedSearches { items }))
}

/// Saves a search, replacing one with the same name.
#[utoipa::path(
    post,
    path = "/api/v1/saved-searches",
    tag = "library",
    request_body = NewSavedSearch,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The saved search", body = SavedSearch),
        (status = 409, description = "The caller has too many saved searches", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn save_search(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewSavedSearch>,
) -> Result<(StatusCode, JsonResponse<SavedSearch>)> {
    let mut conn = state.conn().await?;
    let saved = library::save_search(&mut conn, &user, body).await?;
    Ok((StatusCode::CREATED, JsonResponse(saved)))
}

/// Deletes a saved search.
#[utoipa::path(
    delete,
    path = "/api/v1/saved-searches/{search}",
    tag = "library",
    params(("search" = Uuid, Path, description = "Id")),
    security(("bearer" = [])),
    responses((status = 204, description = "The search is deleted"))
)]
async fn delete_saved_search(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::delete_saved_search(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}
