//! Prompts of the library, and search.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::library::{
    self, NewPrompt, PromptChange, PromptDetail, PromptPage, PromptQuery, Suggestion,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    parameters::{Path, Query},
    problem::Result,
};

/// The text of a search field.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SuggestQuery {
    /// Words, the last of which may be incomplete.
    q: String,
}

/// Prompts that match the text typed so far.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct Suggestions {
    /// The prompts, newest first.
    items: Vec<Suggestion>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_prompts, create_prompt))
        .routes(routes!(suggest_prompts))
        .routes(routes!(get_prompt, update_prompt, delete_prompt))
}

/// Lists the prompts that are visible to the caller, filtered, searched and sorted.
#[utoipa::path(
    get,
    path = "/api/v1/prompts",
    tag = "library",
    params(PromptQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = PromptPage))
)]
async fn list_prompts(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<PromptQuery>,
) -> Result<JsonResponse<PromptPage>> {
    let _turn = state.searches.acquire().await;
    let mut conn = state.conn_for(viewer.as_ref()).await?;
    let page = library::list_prompts(&mut conn, &state.estimates, viewer.as_ref(), &query).await?;
    Ok(JsonResponse(page))
}

/// Suggests prompts while a user types.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/suggest",
    tag = "library",
    params(SuggestQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "At most 8 prompts", body = Suggestions))
)]
async fn suggest_prompts(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<SuggestQuery>,
) -> Result<JsonResponse<Suggestions>> {
    let _turn = state.searches.acquire().await;
    let mut conn = state.conn_for(viewer.as_ref()).await?;
    let items = library::suggest_prompts(&mut conn, viewer.as_ref(), &query.q).await?;
    Ok(JsonResponse(Suggestions { items }))
}

/// Creates a prompt with its first version.
///
/// Warnings are part of the response; a prompt with errors is refused.
#[utoipa::path(
    post,
    path = "/api/v1/prompts",
    tag = "library",
    request_body = NewPrompt,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new prompt", body = PromptDetail, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The slug is taken", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Json(mut body): Json<NewPrompt>,
) -> Result<impl IntoResponse> {
    body.visibility
        .get_or_insert(state.rules.default_visibility);
    let checked = state.computing.run(asker, move || body.checked()).await??;
    let (prompt, version) = {
        let mut conn = state.conn().await?;
        library::create_prompt(&mut conn, &user, checked).await?
    };
    let address = format!("/api/v1/prompts/{}", prompt.slug);
    let detail = state
        .computing
        .run(asker, || PromptDetail::of(prompt, version))
        .await?;
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(detail),
    ))
}

/// Returns a prompt with its newest version.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The prompt", body = PromptDetail))
)]
async fn get_prompt(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
) -> Result<JsonResponse<PromptDetail>> {
    let (prompt, version) = {
        let mut conn = state.conn().await?;
        library::find_newest(&mut conn, viewer.as_ref(), &prompt).await?
    };
    let describing = || PromptDetail::of(prompt, version);
    Ok(JsonResponse(state.computing.run(asker, describing).await?))
}

/// Updates the description and settings of a prompt, and archives or restores it.
#[utoipa::path(
    patch,
    path = "/api/v1/prompts/{prompt}",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = PromptChange,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated prompt", body = PromptDetail),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The prompt is visible to others, and its slug is taken among the prompts that they can see", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<PromptChange>,
) -> Result<JsonResponse<PromptDetail>> {
    let (prompt, version) = {
        let mut conn = state.conn().await?;
        let prompt = library::change_prompt(&mut conn, &user, &prompt, body).await?;
        library::find_newest(&mut conn, Some(&user), &prompt.id.to_string()).await?
    };
    let describing = || PromptDetail::of(prompt, version);
    Ok(JsonResponse(state.computing.run(asker, describing).await?))
}

/// Deletes a prompt. Results that used it keep their versions.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The prompt is deleted"),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::delete_prompt(&mut conn, &user, &prompt).await?;
    Ok(StatusCode::NO_CONTENT)
}
