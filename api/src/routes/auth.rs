//! Accounts: registering, logging in, who am I.

use axum::{Json as Answer, extract::State, http::StatusCode};
use chrono::Utc;
use opb_core::{
    Error,
    auth::{self, NewUser, TOKEN_LIFETIME, User},
};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState, Registration,
    body::Json,
    caller::Authenticated,
    problem::{Refusal, Result},
    secret,
};

/// What a registration needs.
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
}

/// What a login needs.
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

/// A user and a token that speaks for them.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// Who the token speaks for.
    pub user: User,
    /// Send it as `authorization: Bearer …`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub access_token: SecretString,
    /// Always `Bearer`.
    #[schema(example = "Bearer")]
    pub token_type: String,
    /// For how long the token works.
    pub expires_in_seconds: u64,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register_user))
        .routes(routes!(login_user))
        .routes(routes!(get_me))
}

/// Registers a user and logs them in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/register",
    tag = "auth",
    request_body = RegisterUser,
    responses(
        (status = 201, description = "The new user and a token", body = Session),
        (status = 403, description = "Registration is closed", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn register_user(
    State(state): State<AppState>,
    Json(body): Json<RegisterUser>,
) -> Result<(StatusCode, Answer<Session>)> {
    if state.registration == Registration::Closed {
        let error = Error::Forbidden("registration is closed on this server");
        return Err(Refusal::from(error).with_code("registration_closed"));
    }
    let new = NewUser {
        username: body.username,
        email: body.email,
        password: body.password,
    };
    let user = auth::register(&state.pool, &state.passwords, new).await?;
    Ok((StatusCode::CREATED, Answer(open_session(&state, user)?)))
}

/// Logs a user in.
#[utoipa::path(
    post,
    path = "/api/v1/auth/login",
    tag = "auth",
    request_body = LoginUser,
    responses(
        (status = 200, description = "The user and a token", body = Session),
        (status = 401, description = "The username or the password is wrong", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn login_user(
    State(state): State<AppState>,
    Json(body): Json<LoginUser>,
) -> Result<Answer<Session>> {
    let user = auth::login(&state.pool, &state.passwords, &body.username, body.password).await?;
    Ok(Answer(open_session(&state, user)?))
}

/// The user that the credential belongs to.
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
) -> Result<Answer<User>> {
    let mut conn = state.conn().await?;
    Ok(Answer(auth::find_user(&mut conn, user.id).await?))
}

fn open_session(state: &AppState, user: User) -> Result<Session> {
    Ok(Session {
        access_token: state.tokens.issue(user.id, Utc::now())?.into(),
        user,
        token_type: "Bearer".into(),
        expires_in_seconds: TOKEN_LIFETIME.as_secs(),
    })
}
