//! Accounts: registration, login, logout, and the caller's own user.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::auth::{self, NewUser, ProfileChange, Rotation, TOKEN_LIFETIME, Tokens, User};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::{Authenticated, LoggedIn},
    client::Client,
    problem::Result,
    secret,
};

/// A registration.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RegisterUser {
    /// 3 to 32 letters, digits, dots, dashes or underscores.
    pub username: String,
    /// An email address.
    pub email: String,
    /// 8 to 128 characters.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub password: SecretString,
    /// An invitation; needed where registration is by invitation.
    #[serde(
        default,
        with = "secret::optional",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<String>)]
    pub invitation: Option<SecretString>,
}

/// A login.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginUser {
    /// The username or the email address.
    pub username: String,
    /// The password.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub password: SecretString,
}

/// A refresh of a session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RefreshSession {
    /// The newest refresh token of the session.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub refresh_token: SecretString,
}

/// A change of the password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The current password.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub current_password: SecretString,
    /// 8 to 128 characters, and not easy to guess.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub new_password: SecretString,
}

/// An update of the caller's account; absent fields stay unchanged.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeMe {
    /// The current password, for confirmation.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub current_password: SecretString,
    /// The new username.
    #[serde(default)]
    pub username: Option<String>,
    /// The new email address.
    #[serde(default)]
    pub email: Option<String>,
}

/// A user and the tokens of a new session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The user.
    pub user: User,
    /// The tokens.
    #[serde(flatten)]
    pub tokens: SessionTokens,
}

/// The tokens of a session.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SessionTokens {
    /// The access token, to be sent as `authorization: Bearer …`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub access_token: SecretString,
    /// The refresh token, to be exchanged for the next tokens. It works once; using a replaced token ends the
    /// session.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub refresh_token: SecretString,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// Lifetime of the access token in seconds.
    pub expires_in_seconds: u64,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register_user))
        .routes(routes!(login_user))
        .routes(routes!(refresh_session))
        .routes(routes!(logout_session))
        .routes(routes!(logout_user))
        .routes(routes!(get_me, change_me))
        .routes(routes!(change_password))
}

/// Registers a user and logs them in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/register",
    tag = "auth",
    request_body = RegisterUser,
    responses(
        (status = 201, description = "The new user and their tokens", body = Session),
        (status = 403, description = "Registration is closed, or by invitation", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many registrations from this address", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn register_user(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<RegisterUser>,
) -> Result<(StatusCode, JsonResponse<Session>)> {
    let new = NewUser {
        username: body.username,
        email: body.email,
        password: body.password,
        invitation: body.invitation,
    };
    let (user, tokens) = auth::register(&state.accounts, new, &origin).await?;
    let tokens = tokens.into();
    Ok((StatusCode::CREATED, JsonResponse(Session { user, tokens })))
}

/// Logs a user in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    request_body = LoginUser,
    responses(
        (status = 200, description = "The user and their tokens", body = Session),
        (status = 401, description = "The username or the password is wrong", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many failed logins of this account or from this address", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn login_user(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<LoginUser>,
) -> Result<JsonResponse<Session>> {
    let (user, tokens) =
        auth::login(&state.accounts, &body.username, body.password, &origin).await?;
    let tokens = tokens.into();
    Ok(JsonResponse(Session { user, tokens }))
}

/// Exchanges a refresh token for new tokens.
#[utoipa::path(
    post,
    path = "/api/v1/auth/refresh",
    tag = "auth",
    request_body = RefreshSession,
    responses(
        (status = 200, description = "The new tokens", body = SessionTokens),
        (status = 401, description = "The refresh token is invalid, expired, replaced or revoked", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn refresh_session(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<RefreshSession>,
) -> Result<JsonResponse<SessionTokens>> {
    let token = body.refresh_token.expose_secret();
    let tokens = auth::refresh(&state.accounts, token, Rotation::Rotate, &origin).await?;
    Ok(JsonResponse(tokens.into()))
}

/// Ends the session of the access token; its tokens stop working at once.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The session has ended"),
        (status = 403, description = "An API key has no session", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn logout_session(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, session_id }: LoggedIn,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::log_out(&mut conn, &user, session_id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ends all sessions of the user; API keys keep working.
#[utoipa::path(
    post,
    path = "/api/v1/auth/logout-all",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "All sessions have ended"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn logout_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::log_out_everywhere(&mut conn, &user, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Returns the user that the credential belongs to.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    tag = "auth",
    security(("bearer" = [])),
    responses((status = 200, description = "The user", body = User))
)]
async fn get_me(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<User>> {
    let mut conn = state.conn().await?;
    Ok(JsonResponse(auth::find_user(&mut conn, user.id).await?))
}

/// Updates the caller's username or email address.
#[utoipa::path(
    patch,
    path = "/api/v1/me",
    tag = "auth",
    request_body = ChangeMe,
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user", body = User),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong passwords", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn change_me(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Json(body): Json<ChangeMe>,
) -> Result<JsonResponse<User>> {
    let change = ProfileChange {
        current_password: body.current_password,
        username: body.username,
        email: body.email,
    };
    let user = auth::change_profile(&state.accounts, &user, change, &origin).await?;
    Ok(JsonResponse(user))
}

/// Changes the caller's password and ends all their other sessions.
#[utoipa::path(
    post,
    path = "/api/v1/me/password",
    tag = "auth",
    request_body = ChangePassword,
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The password is changed"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong passwords", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn change_password(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, session_id }: LoggedIn,
    Json(body): Json<ChangePassword>,
) -> Result<StatusCode> {
    let passwords = (body.current_password, body.new_password);
    auth::change_password(&state.accounts, &user, session_id, passwords, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<Tokens> for SessionTokens {
    fn from(tokens: Tokens) -> Self {
        Self {
            access_token: tokens.access_token,
            refresh_token: tokens.refresh_token,
            token_type: "Bearer".into(),
            expires_in_seconds: TOKEN_LIFETIME.as_secs(),
        }
    }
}
