//! The dialect of the older Django service: everything below `/api/auth/`, with and without a trailing slash.

use std::collections::BTreeMap;

use axum::{
    extract::State,
    http::{StatusCode, request::Parts},
    response::Response,
    routing::{get, post},
};
use opb_core::{
    Error, FieldError,
    auth::{self, EMAIL_INVALID, NewUser, Rotation, USERNAME_TAKEN},
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Trouble, answer, text};
use crate::{
    AppState,
    body::LenientJson,
    caller::{authenticate, bearer, check_scope},
    client::Client,
    problem::Result,
};

const REQUIRED: &str = "This field is required.";

/// The body of a registration.
#[derive(Deserialize, ToSchema)]
pub(crate) struct DjangoRegistration {
    #[schema(value_type = String)]
    username: Option<Value>,
    #[schema(value_type = String)]
    email: Option<Value>,
    #[schema(value_type = String, format = Password)]
    password: Option<Value>,
}

/// The body of a login.
#[derive(Deserialize, ToSchema)]
pub(crate) struct DjangoLogin {
    #[schema(value_type = String)]
    username: Option<Value>,
    #[schema(value_type = String, format = Password)]
    password: Option<Value>,
}

/// The body of a refresh.
#[derive(Deserialize, ToSchema)]
pub(crate) struct DjangoRefresh {
    #[schema(value_type = String)]
    refresh: Option<Value>,
}

/// The tokens of a login.
#[derive(Serialize, ToSchema)]
pub(crate) struct DjangoTokens {
    refresh: String,
    access: String,
}

/// The new access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct DjangoAccess {
    access: String,
}

/// A confirmation.
#[derive(Serialize, ToSchema)]
pub(crate) struct DjangoMessage {
    message: &'static str,
}

/// Why a login was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct DjangoLoginError {
    error: &'static str,
}

/// Why a request was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct DjangoDetail {
    detail: &'static str,
}

/// What is wrong with each invalid field.
#[derive(Default, Serialize, ToSchema)]
pub(crate) struct DjangoFieldErrors(BTreeMap<String, Vec<String>>);

/// Why a request was refused: errors of its fields, or of the request itself.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
pub(crate) enum DjangoRefusal {
    /// An error of the request itself.
    Detail(DjangoDetail),
    /// Errors of its fields.
    Fields(DjangoFieldErrors),
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register_django_user))
        .routes(routes!(login_django_user))
        .routes(routes!(refresh_django_token))
        .routes(routes!(get_django_protected))
        // Both spellings are served: a redirect would lose the body of a POST.
        .route("/api/auth/register", post(register_django_user))
        .route("/api/auth/login", post(login_django_user))
        .route("/api/auth/token/refresh", post(refresh_django_token))
        .route("/api/auth/protected", get(get_django_protected))
}

/// Registers a user.
#[utoipa::path(
    post,
    path = "/api/auth/register/",
    tag = "inherited",
    request_body = DjangoRegistration,
    responses(
        (status = 201, description = "The user is registered", body = DjangoMessage, example = json!({"message": "User registered successfully"})),
        (status = 400, description = "Fields are missing or invalid", body = DjangoRefusal, example = json!({"username": ["This field is required."], "email": ["Enter a valid email address."]}))
    )
)]
async fn register_django_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<DjangoRegistration>,
) -> Result<Response> {
    auth::check_registration(&state.accounts, None).await?;
    let field = |field: &Option<Value>| text(field.as_ref()).unwrap_or_default().to_owned();
    let (username, email, password) = (
        field(&body.username),
        field(&body.email),
        field(&body.password),
    );
    let mut errors = DjangoFieldErrors::default();
    errors.add_unreadable("username", body.username.as_ref());
    errors.add_unreadable("email", body.email.as_ref());
    errors.add_unreadable("password", body.password.as_ref());
    if !errors.0.is_empty() {
        errors.add(auth::check_new_user(&username, &email));
        return Ok(answer(StatusCode::BAD_REQUEST, errors));
    }
    let new = NewUser {
        username,
        email,
        password: password.into(),
        invitation: None,
    };
    match auth::register(&state.accounts, new, &origin).await {
        Ok(_) => {
            let message = "User registered successfully";
            Ok(answer(StatusCode::CREATED, DjangoMessage { message }))
        }
        Err(Error::Invalid(fields)) => {
            errors.add(fields);
            Ok(answer(StatusCode::BAD_REQUEST, errors))
        }
        Err(error) => Err(error.into()),
    }
}

/// Logs a user in.
#[utoipa::path(
    post,
    path = "/api/auth/login/",
    tag = "inherited",
    request_body = DjangoLogin,
    responses(
        (status = 200, description = "The tokens", body = DjangoTokens),
        (status = 400, description = "Fields are missing or invalid", body = DjangoRefusal, example = json!({"username": ["This field is required."]})),
        (status = 401, description = "The username or the password is wrong", body = DjangoLoginError, example = json!({"error": "Invalid credentials"}))
    )
)]
async fn login_django_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<DjangoLogin>,
) -> Result<Response> {
    let mut errors = DjangoFieldErrors::default();
    errors.add_unreadable("username", body.username.as_ref());
    errors.add_unreadable("password", body.password.as_ref());
    let fields = (text(body.username.as_ref()), text(body.password.as_ref()));
    let (Some(username), Some(password)) = fields else {
        return Ok(answer(StatusCode::BAD_REQUEST, errors));
    };
    match auth::login(&state.accounts, username, password.into(), &origin).await {
        Ok((_, tokens)) => {
            let tokens = DjangoTokens {
                refresh: tokens.refresh_token.expose_secret().to_owned(),
                access: tokens.access_token.expose_secret().to_owned(),
            };
            Ok(answer(StatusCode::OK, tokens))
        }
        Err(Error::Unauthenticated(_)) => {
            let error = "Invalid credentials";
            Ok(answer(StatusCode::UNAUTHORIZED, DjangoLoginError { error }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Exchanges a refresh token for an access token; the refresh token stays valid.
#[utoipa::path(
    post,
    path = "/api/auth/token/refresh/",
    tag = "inherited",
    request_body = DjangoRefresh,
    responses(
        (status = 200, description = "The new access token", body = DjangoAccess),
        (status = 400, description = "The field is missing or invalid", body = DjangoRefusal, example = json!({"refresh": ["This field is required."]})),
        (status = 401, description = "The refresh token is not valid", body = DjangoDetail, example = json!({"detail": "Token is invalid or expired"}))
    )
)]
async fn refresh_django_token(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<DjangoRefresh>,
) -> Result<Response> {
    let mut errors = DjangoFieldErrors::default();
    errors.add_unreadable("refresh", body.refresh.as_ref());
    let Some(token) = text(body.refresh.as_ref()) else {
        return Ok(answer(StatusCode::BAD_REQUEST, errors));
    };
    match auth::refresh(&state.accounts, token, Rotation::Keep, &origin).await {
        Ok(tokens) => {
            let access = tokens.access_token.expose_secret().to_owned();
            Ok(answer(StatusCode::OK, DjangoAccess { access }))
        }
        Err(Error::Unauthenticated(_) | Error::UserGone) => {
            let detail = "Token is invalid or expired";
            Ok(answer(StatusCode::UNAUTHORIZED, DjangoDetail { detail }))
        }
        Err(error) => Err(error.into()),
    }
}

/// Checks that the credential is valid.
#[utoipa::path(
    get,
    path = "/api/auth/protected/",
    tag = "inherited",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The credential is valid", body = DjangoMessage, example = json!({"message": "You are authenticated!"})),
        (status = 401, description = "The credential is missing or invalid", body = DjangoDetail, example = json!({"detail": "Authentication credentials were not provided."}))
    )
)]
async fn get_django_protected(State(state): State<AppState>, parts: Parts) -> Result<Response> {
    if let Some(credential) = bearer(&parts)? {
        match authenticate(&state, credential).await {
            Ok(caller) => {
                check_scope(&parts, &caller)?;
                let message = "You are authenticated!";
                return Ok(answer(StatusCode::OK, DjangoMessage { message }));
            }
            Err(Error::Unauthenticated(_) | Error::UserGone) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let detail = "Authentication credentials were not provided.";
    Ok(answer(StatusCode::UNAUTHORIZED, DjangoDetail { detail }))
}

impl DjangoFieldErrors {
    /// Adds the error of a field that is not a non-empty string.
    fn add_unreadable(&mut self, name: &str, field: Option<&Value>) {
        let message = match field {
            None => REQUIRED,
            Some(Value::String(text)) if text.is_empty() => "This field may not be blank.",
            Some(Value::String(_)) => return,
            Some(_) => "Not a valid string.",
        };
        self.0.insert(name.into(), vec![message.into()]);
    }

    /// Adds the errors that the domain found; a field that was not readable keeps its first message.
    fn add(&mut self, fields: Vec<FieldError>) {
        for FieldError { path, message } in fields {
            let message = match message.as_str() {
                EMAIL_INVALID => "Enter a valid email address.".into(),
                USERNAME_TAKEN => "A user with that username already exists.".into(),
                other if path.is_empty() => format!("The request {other}."),
                other => format!("This field {other}."),
            };
            let name = if path.is_empty() {
                "non_field_errors".into()
            } else {
                path
            };
            self.0.entry(name).or_insert_with(|| vec![message]);
        }
    }
}

/// Writes an error as Django REST framework does.
pub(super) fn spell(trouble: &Trouble) -> (StatusCode, Value) {
    let Trouble {
        problem,
        method,
        retry_after,
        ..
    } = trouble;
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let detail = match (status, problem.code.as_str()) {
        (StatusCode::UNPROCESSABLE_ENTITY, _) => {
            let mut errors = DjangoFieldErrors::default();
            errors.add(problem.errors.clone());
            return (StatusCode::BAD_REQUEST, json!(errors));
        }
        (_, "malformed_json") => "JSON parse error".into(),
        (_, "invitation_needed") => "Registration is by invitation.".into(),
        (_, "registration_closed") => "Registration is disabled.".into(),
        (StatusCode::UNAUTHORIZED, _) => "Authentication credentials were not provided.".into(),
        (StatusCode::NOT_FOUND, _) => "Not found.".into(),
        (StatusCode::METHOD_NOT_ALLOWED, _) => format!("Method \"{method}\" not allowed."),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => "Request body is too large.".into(),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => "Unsupported media type in request.".into(),
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            format!("Request was throttled. Expected available in {retry_after} seconds.")
        }
        (StatusCode::REQUEST_TIMEOUT, _) => "Request body took too long.".into(),
        (StatusCode::SERVICE_UNAVAILABLE, _) => {
            "Service temporarily unavailable, try again later.".into()
        }
        (StatusCode::INTERNAL_SERVER_ERROR, _) => "A server error occurred.".into(),
        _ => problem.detail.clone(),
    };
    (status, json!({"detail": detail}))
}
