//! Other people's accounts, for administrators. Changing them needs a login: a stolen API key makes no administrators.

use axum::{Json as Answer, extract::State, http::StatusCode};
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
    problem::{Refusal, Result},
};

/// What changes about somebody's account; what is absent stays.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeUser {
    /// The new role.
    #[serde(default)]
    pub role: Option<UserRole>,
    /// Whether the user is kept out; that ends their sessions, and their API keys do not work meanwhile.
    #[serde(default)]
    pub disabled: Option<bool>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_users))
        .routes(routes!(change_user, delete_user))
}

/// All users, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "operations",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of users", body = Page<Account>),
        (status = 403, description = "Only administrators look after accounts", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_users(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Account>>> {
    let before = query.cursor.as_deref().map(str::parse::<i64>).transpose();
    let before = before.map_err(|_| Refusal::invalid("cursor", "is not a cursor of this list"))?;
    let limit = check_limit(query.limit)?;
    let mut conn = state.conn().await?;
    let page = auth::list_accounts(&mut conn, &user, before, limit).await?;
    Ok(Answer(page))
}

/// Changes somebody's role, or disables or enables their account. Takes effect at once.
#[utoipa::path(
    patch,
    path = "/api/v1/users/{username}",
    tag = "operations",
    params(("username" = String, Path, description = "Name of the user")),
    request_body = ChangeUser,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The account", body = Account),
        (status = 403, description = "Only administrators look after accounts, and not with an API key", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "This is the last administrator, or the program's own user", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn change_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(username): Path<String>,
    Json(body): Json<ChangeUser>,
) -> Result<Answer<Account>> {
    let change = AccountChange {
        role: body.role,
        disabled: body.disabled,
    };
    let mut conn = state.conn().await?;
    let account = auth::change_account(&mut conn, &user, &username, change, &origin).await?;
    Ok(Answer(account))
}

/// Deletes somebody's account, as if they had done it themselves.
#[utoipa::path(
    delete,
    path = "/api/v1/users/{username}",
    tag = "operations",
    params(("username" = String, Path, description = "Name of the user")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The account is deleted"),
        (status = 403, description = "Only administrators look after accounts, and not with an API key", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "This is the last administrator, or the program's own user", body = crate::Problem, content_type = "application/problem+json")
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
