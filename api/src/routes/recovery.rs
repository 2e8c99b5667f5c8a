//! Actions behind links in mails: setting a new password, verifying an email address.

use axum::{extract::State, http::StatusCode};
use opb_core::{Error, auth};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    body::Json,
    caller::LoggedIn,
    client::Client,
    problem::{ApiError, Result},
    secret,
};

/// A request for a link to reset the password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestPasswordReset {
    /// The email address of the account.
    pub email: String,
}

/// A new password.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmPasswordReset {
    /// The token of the link: the value of `#token=`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub token: SecretString,
    /// The new password: 8 to 128 characters, and not easy to guess.
    #[serde(with = "secret")]
    #[schema(value_type = String, format = Password)]
    pub password: SecretString,
}

/// A verification of an email address.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyEmail {
    /// The token of the link: the value of `#token=`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub token: SecretString,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(request_password_reset))
        .routes(routes!(confirm_password_reset))
        .routes(routes!(verify_email))
        .routes(routes!(request_email_verification))
}

/// Sends a link to reset the password, if an account has this address. The response is the same if none has.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password-reset",
    tag = "auth",
    request_body = RequestPasswordReset,
    responses(
        (status = 202, description = "If an account has this address, a link is being sent; it works once, for 30 minutes"),
        (status = 403, description = "This server sends no mail", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many requests for this email address or from this client", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn request_password_reset(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<RequestPasswordReset>,
) -> Result<StatusCode> {
    auth::request_password_reset(&state.accounts, &body.email, &origin)
        .await
        .map_err(name_missing_mail)?;
    Ok(StatusCode::ACCEPTED)
}

/// Sets a new password with the token of a link, and ends all sessions of the account.
#[utoipa::path(
    post,
    path = "/api/v1/auth/password-reset/confirm",
    tag = "auth",
    request_body = ConfirmPasswordReset,
    responses(
        (status = 204, description = "The password is changed; log in with it"),
        (status = 409, description = "The account has changed since the link was sent", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many wrong tokens from this address", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn confirm_password_reset(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<ConfirmPasswordReset>,
) -> Result<StatusCode> {
    let token = body.token.expose_secret();
    auth::reset_password(&state.accounts, token, body.password, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Verifies an email address with the token of a link that was sent to it.
#[utoipa::path(
    post,
    path = "/api/v1/auth/verify-email",
    tag = "auth",
    request_body = VerifyEmail,
    responses((status = 204, description = "The address is verified"))
)]
async fn verify_email(
    State(state): State<AppState>,
    Client(origin): Client,
    Json(body): Json<VerifyEmail>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::verify_email(&mut conn, body.token.expose_secret(), &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the caller another link to verify their email address.
#[utoipa::path(
    post,
    path = "/api/v1/me/email-verification",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 202, description = "A link is being sent; it works once, for 24 hours"),
        (status = 403, description = "This server sends no mail, or the credential is an API key", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The address is already verified", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "Too many mails", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn request_email_verification(
    State(state): State<AppState>,
    LoggedIn { user, .. }: LoggedIn,
) -> Result<StatusCode> {
    auth::request_email_verification(&state.accounts, &user)
        .await
        .map_err(name_missing_mail)?;
    Ok(StatusCode::ACCEPTED)
}

fn name_missing_mail(error: Error) -> ApiError {
    let is_missing = matches!(error, Error::Forbidden(_));
    let refusal = ApiError::from(error);
    if is_missing {
        refusal.with_code("mail_not_set")
    } else {
        refusal
    }
}
