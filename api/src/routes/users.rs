//! Accounts of other users, for administrators. Changing them needs a login, so that a stolen API key cannot create
//! administrators.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    auth::{self, Account, AccountChange, UserRole},
    paging::Page,
    user_deletion,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, LoggedIn},
    client::Client,
    paging::{PageQuery, check_limit},
    parameters::{Path, Query},
    problem::{ApiError, Result},
};

/// An update of an account; absent fields stay unchanged.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// The new role.
    #[serde(default)]
    pub role: Option<UserRole>,
    /// Whether the account is disabled: its sessions end, and its API keys do not work meanwhile.
    #[serde(default)]
    pub disabled: Option<bool>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(change_user, delete_user))
}

/// Lists all users, newest first. For administrators.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of users", body = Page<Account>),
        (status = 403, description = "The caller is not an administrator", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_users(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Account>>> {
    let before = query.cursor.as_deref().map(str::parse::<i64>).transpose();
    let before = before.map_err(|_| ApiError::invalid("cursor", "is not a cursor of this list"))?;
    let limit = check_limit(query.limit)?;
    let mut conn = state.conn().await?;
    let page = auth::list_accounts(&mut conn, &user, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Changes a user's role, or disables or enables their account, at once. For administrators.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{username}",
    tag = "operations",
    params(("username" = String, Path, description = "Name of the user")),
    request_body = ChangeUser,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account", body = Account),
        (status = 403, description = "The caller is not an administrator, or the credential is an API key", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The user is the last administrator, or the program's own user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn change_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(username): Path<String>,
    Json(body): Json<ChangeUser>,
) -> Result<JsonResponse<Account>> {
    let change = AccountChange {
        role: body.role,
        disabled: body.disabled,
    };
    let mut conn = state.conn().await?;
    let account = auth::change_account(&mut conn, &user, &username, change, &origin).await?;
    Ok(JsonResponse(account))
}

/// Deletes a user's account, like the user's own deletion of it. For administrators.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{username}",
    tag = "operations",
    params(("username" = String, Path, description = "Name of the user")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The account is deleted"),
        (status = 403, description = "The caller is not an administrator, or the credential is an API key", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The user is the last administrator, or the program's own user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn delete_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(username): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    user_deletion::delete_user(&mut conn, &user, &username, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
