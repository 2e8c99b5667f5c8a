//! The library: prompts and their versions.

use axum::{
    Json as Answer,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::library::{self, NewPrompt, NewPromptVersion, Page, Prompt, PromptVersion};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_prompts, create_prompt))
        .routes(routes!(get_prompt))
        .routes(routes!(list_prompt_versions, create_prompt_version))
}

/// The prompts that the caller may find, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts",
    tag = "library",
    params(PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = Page<Prompt>))
)]
async fn list_prompts(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Prompt>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = library::list_prompts(&mut conn, viewer.as_ref(), before, limit).await?;
    Ok(Answer(page))
}

/// Adds a prompt with its first version.
#[utoipa::path(
    post,
    path = "/api/v1/prompts",
    tag = "library",
    request_body = NewPrompt,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new prompt", body = Prompt, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The slug is taken", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<NewPrompt>,
) -> Result<impl IntoResponse> {
    let mut conn = state.conn().await?;
    let (prompt, _) = library::create_prompt(&mut conn, &user, body).await?;
    let address = format!("/api/v1/prompts/{}", prompt.slug);
    Ok((StatusCode::CREATED, [(LOCATION, address)], Answer(prompt)))
}

/// A prompt.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The prompt", body = Prompt))
)]
async fn get_prompt(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
) -> Result<Answer<Prompt>> {
    let mut conn = state.conn().await?;
    let prompt = library::find_prompt(&mut conn, viewer.as_ref(), &prompt).await?;
    Ok(Answer(prompt))
}

/// The versions of a prompt, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of versions", body = Page<PromptVersion>))
)]
async fn list_prompt_versions(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<PromptVersion>>> {
    let mut conn = state.conn().await?;
    let versions = library::list_versions(&mut conn, viewer.as_ref(), &prompt).await?;
    Ok(Answer(
        query.cut(versions, |version| version.number.to_string())?,
    ))
}

/// Adds a version to a prompt. Content that a version has already adds nothing, and answers with that version.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/versions",
    tag = "library",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewPromptVersion,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The version that holds the content", body = PromptVersion),
        (status = 403, description = "The prompt belongs to somebody else", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_prompt_version(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
    Json(body): Json<NewPromptVersion>,
) -> Result<(StatusCode, Answer<PromptVersion>)> {
    let mut conn = state.conn().await?;
    let version = library::add_version(&mut conn, &user, &prompt, body).await?;
    Ok((StatusCode::CREATED, Answer(version)))
}
