//! Change requests: versions that users propose for prompts of other users.

use axum::{
    Json as JsonResponse,
    extract::State,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
};
use opb_core::{
    library::{
        self, ChangeRequest, ChangeRequestComment, ChangeRequestState, Decision, NewChangeRequest,
        NewChangeRequestComment, SavedVersion,
    },
    paging::Page,
};
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, Turn, Viewer},
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
};

/// A filter of a prompt's change requests.
#[derive(Debug, Clone, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangeRequestsQuery {
    /// Only change requests in this state; all when absent.
    #[param(inline)]
    state: Option<ChangeRequestState>,
    /// `next_cursor` of the previous page; absent for the first page.
    cursor: Option<String>,
    /// Maximum number of entries to return; 50 when absent.
    #[param(minimum = 1, maximum = 100)]
    limit: Option<i64>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_change_requests, create_change_request))
        .routes(routes!(get_change_request))
        .routes(routes!(accept_change_request))
        .routes(routes!(decline_change_request))
        .routes(routes!(withdraw_change_request))
        .routes(routes!(
            list_change_request_comments,
            create_change_request_comment
        ))
}

/// Lists the change requests of a prompt, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/change-requests",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id"), ChangeRequestsQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of change requests", body = Page<ChangeRequest>))
)]
async fn list_change_requests(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(prompt): Path<String>,
    Query(query): Query<ChangeRequestsQuery>,
) -> Result<JsonResponse<Page<ChangeRequest>>> {
    let page = PageQuery {
        cursor: query.cursor,
        limit: query.limit,
    };
    let (before, limit) = page.by_id()?;
    let mut conn = state.conn().await?;
    let page = library::list_change_requests(
        &mut conn,
        viewer.as_ref(),
        &prompt,
        query.state,
        before,
        limit,
    )
    .await?;
    Ok(JsonResponse(page))
}

/// Proposes a version for a prompt.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/change-requests",
    tag = "contributions",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewChangeRequest,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The change request", body = ChangeRequest, headers(("location" = String, description = "Its address"))),
        (status = 409, description = "The prompt is archived, or a version already has this content", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many change requests in a short time", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_change_request(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<NewChangeRequest>,
) -> Result<impl IntoResponse> {
    let checked = state.computing.run(asker, move || body.checked()).await??;
    let mut conn = state.conn().await?;
    let request = library::create_change_request(&mut conn, &user, &prompt, checked).await?;
    let address = format!("/api/v1/change-requests/{}", request.id);
    Ok((
        StatusCode::CREATED,
        [(LOCATION, address)],
        JsonResponse(request),
    ))
}

/// Returns a change request.
#[utoipa::path(
    get,
    path = "/api/v1/change-requests/{change_request}",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id")),
    security((), ("bearer" = [])),
    responses((status = 200, description = "The change request", body = ChangeRequest))
)]
async fn get_change_request(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Path(id): Path<Uuid>,
) -> Result<JsonResponse<ChangeRequest>> {
    let mut conn = state.conn().await?;
    let request = library::find_change_request(&mut conn, viewer.as_ref(), id).await?;
    Ok(JsonResponse(request))
}

/// Accepts a change request: its content becomes the newest version of the prompt, with its author as the version's
/// author.
#[utoipa::path(
    post,
    path = "/api/v1/change-requests/{change_request}/accept",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id")),
    request_body = Decision,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The new version", body = SavedVersion),
        (status = 403, description = "The caller is not the owner of the prompt", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The change request is already closed", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn accept_change_request(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<Decision>,
) -> Result<JsonResponse<SavedVersion>> {
    let mut conn = state.conn().await?;
    let decided = library::accept_change_request(&mut conn, &user, id, &body).await?;
    Ok(JsonResponse(decided))
}

/// Declines a change request.
#[utoipa::path(
    post,
    path = "/api/v1/change-requests/{change_request}/decline",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id")),
    request_body = Decision,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The declined request", body = ChangeRequest),
        (status = 403, description = "The caller is not the owner of the prompt", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The change request is already closed", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn decline_change_request(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<Decision>,
) -> Result<JsonResponse<ChangeRequest>> {
    let mut conn = state.conn().await?;
    let decided = library::decline_change_request(&mut conn, &user, id, &body).await?;
    Ok(JsonResponse(decided))
}

/// Withdraws the caller's own change request.
#[utoipa::path(
    post,
    path = "/api/v1/change-requests/{change_request}/withdraw",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id")),
    request_body = Decision,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The withdrawn request", body = ChangeRequest),
        (status = 403, description = "The caller is not the author of the request", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The change request is already closed", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn withdraw_change_request(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<Decision>,
) -> Result<JsonResponse<ChangeRequest>> {
    let mut conn = state.conn().await?;
    let decided = library::withdraw_change_request(&mut conn, &user, id, &body).await?;
    Ok(JsonResponse(decided))
}

/// Lists the comments on a change request, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/change-requests/{change_request}/comments",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of comments", body = Page<ChangeRequestComment>))
)]
async fn list_change_request_comments(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(id): Path<Uuid>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<ChangeRequestComment>>> {
    let (after, limit) = query.by_id()?;
    let loaded = {
        let mut conn = state.conn().await?;
        library::list_change_request_comments(&mut conn, viewer.as_ref(), id, after, limit).await?
    };
    let page = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(page))
}

/// Adds a comment to a change request.
#[utoipa::path(
    post,
    path = "/api/v1/change-requests/{change_request}/comments",
    tag = "contributions",
    params(("change_request" = Uuid, Path, description = "Id")),
    request_body = NewChangeRequestComment,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The comment", body = ChangeRequestComment),
        (status = 429, description = "Too many comments in a short time", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_change_request_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(id): Path<Uuid>,
    Json(body): Json<NewChangeRequestComment>,
) -> Result<(StatusCode, JsonResponse<ChangeRequestComment>)> {
    let loaded = {
        let mut conn = state.conn().await?;
        library::add_change_request_comment(&mut conn, &user, id, &body).await?
    };
    let comment = state.computing.finish(asker, loaded).await?;
    Ok((StatusCode::CREATED, JsonResponse(comment)))
}
