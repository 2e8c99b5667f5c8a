//! Categories and tags.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::library::{self, Category, NewCategory, Tag};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::check_limit,
    parameters::{Path, Query},
    problem::Result,
};

/// The tree of categories.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Categories {
    /// The top-level categories, by title.
    items: Vec<Category>,
}

/// A filter of tags.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TagsQuery {
    /// Prefix of the tags.
    #[serde(default)]
    #[param(required = false)]
    q: String,
    /// Maximum number of tags to return; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

/// The most used tags.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Tags {
    /// The tags, most used first.
    items: Vec<Tag>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_categories))
        .routes(routes!(save_category, delete_category))
        .routes(routes!(list_tags))
}

/// Returns the tree of categories, with the number of public prompts in each.
#[utoipa::path(
    get,
    path = "/api/v1/categories",
    tag = "library",
    security((), ("bearer" = [])),
    responses((status = 200, description = "The tree", body = Categories))
)]
async fn list_categories(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
) -> Result<JsonResponse<Categories>> {
    let mut conn = state.conn_for(viewer.as_ref()).await?;
    let items = library::list_categories(&mut conn).await?;
    Ok(JsonResponse(Categories { items }))
}

/// Creates a category, or changes its title and place. For moderators.
#[utoipa::path(
    put,
    path = "/api/v1/categories/{category}",
    tag = "library",
    params(("category" = String, Path, description = "Slug")),
    request_body = NewCategory,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The category is saved"),
        (status = 403, description = "The caller is not a moderator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn save_category(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(category): Path<String>,
    Json(body): Json<NewCategory>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::save_category(&mut conn, &user, &category, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Deletes an empty category. For moderators.
#[utoipa::path(
    delete,
    path = "/api/v1/categories/{category}",
    tag = "library",
    params(("category" = String, Path, description = "Slug")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The category is deleted"),
        (status = 403, description = "The caller is not a moderator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "Prompts or categories belong to it", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_category(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(category): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::delete_category(&mut conn, &user, &category).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the most used tags, with the number of public prompts of each.
#[utoipa::path(
    get,
    path = "/api/v1/tags",
    tag = "library",
    params(TagsQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The tags", body = Tags))
)]
async fn list_tags(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<TagsQuery>,
) -> Result<JsonResponse<Tags>> {
    let limit = check_limit(query.limit)?;
    let mut conn = state.conn_for(viewer.as_ref()).await?;
    let items = library::list_tags(&mut conn, &query.q, limit).await?;
    Ok(JsonResponse(Tags { items }))
}
