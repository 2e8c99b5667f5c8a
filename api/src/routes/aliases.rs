//! Aliases of prompt versions, and their history.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    library::{self, Alias, AliasChange, SetAlias},
    paging::Page,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Path2, Query},
    problem::Result,
};

/// The aliases of a prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Aliases {
    /// `latest` first, then by name.
    items: Vec<Alias>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_prompt_aliases))
        .routes(routes!(list_prompt_alias_changes))
        .routes(routes!(set_prompt_alias, delete_prompt_alias))
}

/// Lists the aliases of a prompt: `latest`, and those that its owner set.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/aliases",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The aliases", body = Aliases))
)]
async fn list_prompt_aliases(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
) -> Result<JsonResponse<Aliases>> {
    let mut conn = state.conn().await?;
    let items = library::list_aliases(&mut conn, viewer.as_ref(), &prompt).await?;
    Ok(JsonResponse(Aliases { items }))
}

/// Lists all moves of a prompt's aliases, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/alias-changes",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of moves", body = Page<AliasChange>))
)]
async fn list_prompt_alias_changes(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<AliasChange>>> {
    let (before, limit) = query.by_number()?;
    let mut conn = state.conn().await?;
    let page =
        library::list_alias_changes(&mut conn, viewer.as_ref(), &prompt, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Points an alias at a version; creates the alias if it is new.
#[utoipa::path(
    put,
    path = "/api/v1/prompts/{prompt}/aliases/{alias}",
    tag = "library",
    params(
        ("prompt" = String, Path, description = "Slug or id"),
        ("alias" = String, Path, description = "A name such as `production`")
    ),
    request_body = SetAlias,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The alias", body = Alias),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The prompt is archived", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn set_prompt_alias(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(prompt, alias): Path2<String, String>,
    Json(body): Json<SetAlias>,
) -> Result<JsonResponse<Alias>> {
    let mut conn = state.conn().await?;
    let alias = library::set_alias(&mut conn, &user, &prompt, &alias, &body).await?;
    Ok(JsonResponse(alias))
}

/// Deletes an alias.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}/aliases/{alias}",
    tag = "library",
    params(
        ("prompt" = String, Path, description = "Slug or id"),
        ("alias" = String, Path, description = "A name such as `production`")
    ),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The alias is deleted"),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The prompt is archived", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_prompt_alias(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(prompt, alias): Path2<String, String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::remove_alias(&mut conn, &user, &prompt, &alias).await?;
    Ok(StatusCode::NO_CONTENT)
}
