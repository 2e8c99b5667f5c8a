//! The caller's own sessions, usage and account deletion.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    auth::{self, SessionEntry},
    paging::Page,
    quotas::{self, Usage},
    user_deletion,
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, LoggedIn},
    client::Client,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
    secret,
};

/// The deletion of the caller's account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeleteMe {
    /// The current password, for confirmation.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub current_password: SecretString,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(delete_me))
        .routes(routes!(list_sessions))
        .routes(routes!(revoke_session))
        .routes(routes!(get_usage))
}

/// Returns the caller's usage and limits: free evaluations, open runs, stored bytes.
#[utoipa::path(
    get,
    path = "/api/v1/me/usage",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "The usage and its limits", body = Usage))
)]
async fn get_usage(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<Usage>> {
    let mut conn = state.conn().await?;
    Ok(JsonResponse(quotas::find_usage(&mut conn, &user).await?))
}

/// Deletes the caller's account. All sessions and API keys end at once, and private data is erased.
///
/// Data that others use stays, under the name `deleted-…`: public and unlisted prompts, benchmarks and runs, and
/// everything from which a result that others can see was computed.
#[utoipa::path(
    delete,
    path = "/api/v1/me",
    tag = "auth",
    request_body = DeleteMe,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The account is deleted"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The caller is the last administrator", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong passwords", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_me(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Json(body): Json<DeleteMe>,
) -> Result<StatusCode> {
    user_deletion::delete_me(&state.accounts, &user, body.current_password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the caller's open sessions, most recently used first.
#[utoipa::path(
    get,
    path = "/api/v1/me/sessions",
    tag = "auth",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of sessions", body = Page<SessionEntry>),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_sessions(
    State(state): State<AppState>,
    LoggedIn { user, session_id }: LoggedIn,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<SessionEntry>>> {
    let mut conn = state.conn().await?;
    let sessions = auth::list_sessions(&mut conn, &user, session_id).await?;
    Ok(JsonResponse(
        query.cut(sessions, |session| session.id.to_string())?,
    ))
}

/// Ends one of the caller's sessions; its tokens stop working at once.
#[utoipa::path(
    delete,
    path = "/api/v1/me/sessions/{session}",
    tag = "auth",
    params(("session" = Uuid, Path, description = "Id of the session")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn revoke_session(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::end_session(&mut conn, &user, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
