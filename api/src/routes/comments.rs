//! Comments on prompts and their moderation.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    community::{self, Comment, Moderation, NewComment, NewReport, ReportedComment},
    paging::Page,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
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

/// The new text of a comment.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UpdateComment {
    /// Markdown, 1 to 10,000 characters.
    pub body: String,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_comments, create_comment))
        .routes(routes!(update_comment, delete_comment))
        .routes(routes!(list_replies))
        .routes(routes!(report_comment))
        .routes(routes!(moderate_comment))
        .routes(routes!(list_reported_comments))
}

/// Lists the comments on a prompt, newest first; replies are listed separately.
#[utoipa::path(
    get,
    path = "/api/v1/prompts/{prompt}/comments",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of comments", body = Page<Comment>))
)]
async fn list_comments(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Comment>>> {
    let (before, limit) = query.by_id()?;
    let loaded = {
        let mut conn = state.conn().await?;
        community::list_comments(&mut conn, viewer.as_ref(), &prompt, before, limit).await?
    };
    let page = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(page))
}

/// Adds a comment to a prompt, or a reply to one of its comments.
#[utoipa::path(
    post,
    path = "/api/v1/prompts/{prompt}/comments",
    tag = "community",
    params(("prompt" = String, Path, description = "Slug or id")),
    request_body = NewComment,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new comment", body = Comment),
        (status = 429, description = "Too many comments in a short time", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(prompt): Path<String>,
    Json(body): Json<NewComment>,
) -> Result<(StatusCode, JsonResponse<Comment>)> {
    let loaded = {
        let mut conn = state.conn().await?;
        community::create_comment(&mut conn, &user, &prompt, body).await?
    };
    let comment = state.computing.finish(asker, loaded).await?;
    Ok((StatusCode::CREATED, JsonResponse(comment)))
}

/// Changes the text of the caller's own comment.
#[utoipa::path(
    patch,
    path = "/api/v1/comments/{comment}",
    tag = "community",
    params(("comment" = Uuid, Path, description = "Id of the comment")),
    request_body = UpdateComment,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The updated comment", body = Comment),
        (status = 403, description = "The comment belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn update_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(id): Path<Uuid>,
    Json(body): Json<UpdateComment>,
) -> Result<JsonResponse<Comment>> {
    let loaded = {
        let mut conn = state.conn().await?;
        community::update_comment(&mut conn, &user, id, &body.body).await?
    };
    let comment = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(comment))
}

/// Deletes the caller's own comment.
///
/// Its text is erased; an empty comment stays in its place while it has replies.
#[utoipa::path(
    delete,
    path = "/api/v1/comments/{comment}",
    tag = "community",
    params(("comment" = Uuid, Path, description = "Id of the comment")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The comment is deleted"),
        (status = 403, description = "The comment belongs to another user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::delete_comment(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the replies to a comment, oldest first.
#[utoipa::path(
    get,
    path = "/api/v1/comments/{comment}/replies",
    tag = "community",
    params(("comment" = Uuid, Path, description = "Id of the comment"), PageQuery),
    security((), ("bearer" = [])),
    responses((status = 200, description = "A page of replies", body = Page<Comment>))
)]
async fn list_replies(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    Turn(asker): Turn,
    Path(id): Path<Uuid>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Comment>>> {
    let (after, limit) = query.by_id()?;
    let loaded = {
        let mut conn = state.conn().await?;
        community::list_replies(&mut conn, viewer.as_ref(), id, after, limit).await?
    };
    let page = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(page))
}

/// Reports a comment to the moderators.
#[utoipa::path(
    post,
    path = "/api/v1/comments/{comment}/reports",
    tag = "community",
    params(("comment" = Uuid, Path, description = "Id of the comment")),
    request_body = NewReport,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The comment is reported"),
        (status = 403, description = "It is the caller's own comment", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many reports", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn report_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(id): Path<Uuid>,
    Json(body): Json<NewReport>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    community::report_comment(&mut conn, &user, id, &body).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Hides a comment with a reason, or shows it again. For moderators.
///
/// Either decision closes the open reports of the comment.
#[utoipa::path(
    put,
    path = "/api/v1/comments/{comment}/moderation",
    tag = "community",
    params(("comment" = Uuid, Path, description = "Id of the comment")),
    request_body = Moderation,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The comment as moderators see it", body = Comment),
        (status = 403, description = "The caller is not a moderator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn moderate_comment(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Turn(asker): Turn,
    Path(id): Path<Uuid>,
    Json(body): Json<Moderation>,
) -> Result<JsonResponse<Comment>> {
    let loaded = {
        let mut conn = state.conn().await?;
        community::moderate_comment(&mut conn, &user, id, &body).await?
    };
    let comment = state.computing.finish(asker, loaded).await?;
    Ok(JsonResponse(comment))
}

/// Lists the comments with open reports, oldest first. For moderators.
#[utoipa::path(
    get,
    path = "/api/v1/comments/reported",
    tag = "community",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of reported comments", body = Page<ReportedComment>),
        (status = 403, description = "The caller is not a moderator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_reported_comments(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<ReportedComment>>> {
    let (after, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let page = community::list_reported_comments(&mut conn, &user, after, limit).await?;
    Ok(JsonResponse(page))
}
