//! Forks of prompts, and transfers of prompts to other users.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::{
    library::{self, NewFork, Prompt, Transfer},
    paging::Page,
};
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
        .routes(routes!(list_prompt_forks, fork_prompt))
        .routes(routes!(offer_prompt, withdraw_prompt_offer))
        .routes(routes!(accept_prompt))
}

/// Lists the forks of a prompt that are visible to the caller, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/forks",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of prompts", body = Page<Prompt>))
)]
async fn list_prompt_forks(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Prompt>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = library::list_forks(&mut conn, viewer.as_ref(), &prompt, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Forks a prompt: creates a prompt of the caller that starts with one of its versions.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/forks",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewFork,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The fork", body = Prompt, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The slug is taken", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn fork_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
    Json(body): Json<NewFork>,
) -> Result<impl IntoResponse> {
    let mut conn = state.conn().await?;
    let fork = library::fork_prompt(
        &mut conn,
        &user,
        &prompt,
        body,
        state.rules.default_visibility,
    )
    .await?;
    let address = format!("/api/v1/prompts/{}", fork.slug);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(fork),
    ))
}

/// Offers a prompt to another user, who may then read and accept it.
#[utoipa::path(
    put,
    path = "/api/v1/prompts/{prompt}/transfer",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = Transfer,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The prompt is offered"),
        (status = 403, description = "The prompt belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn offer_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
    Json(body): Json<Transfer>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::offer_transfer(&mut conn, &user, &prompt, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Withdraws an offer of a prompt, or declines it.
#[utoipa::path(
    delete,
    path = "/api/v1/prompts/{prompt}/transfer",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The offer is removed"),
        (status = 403, description = "The caller neither made nor received the offer", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn withdraw_prompt_offer(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    library::withdraw_transfer(&mut conn, &user, &prompt).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Accepts a prompt that was offered to the caller, who becomes its owner.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/transfer/accept",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The prompt, now owned by the caller", body = Prompt),
        (status = 403, description = "The prompt was not offered to the caller", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn accept_prompt(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(prompt): Path<String>,
) -> Result<JsonResponse<Prompt>> {
    let mut conn = state.conn().await?;
    let prompt = library::accept_transfer(&mut conn, &user, &prompt).await?;
    Ok(JsonResponse(prompt))
}
