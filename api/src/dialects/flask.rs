//! The dialect of the older Flask service: five paths at the root.

use axum::{
    extract::State,
    http::{StatusCode, request::Parts},
    response::Response,
};
use chrono::{DateTime, Utc};
use opb_core::{
    Error, FieldError,
    auth::{self, Caller, EMAIL_TAKEN, NewUser, Rotation, USERNAME_TAKEN},
};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Trouble, answer, text};
use crate::{
    AppState,
    body::LenientJson,
    caller::{authenticate, bearer, check_scope},
    client::Client,
    parameters::Query,
    problem::Result,
};

/// The paths of this dialect.
pub(super) const PATHS: [&str; 5] = ["/register", "/login", "/refresh", "/protected", "/users"];
/// Maximum number of users in one response.
const MAX_USERS: i64 = 1000;

/// The body of a registration.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FlaskRegistration {
    #[schema(value_type = String)]
    username: Option<Value>,
    #[schema(value_type = String)]
    email: Option<Value>,
    #[schema(value_type = String, format = Password)]
    password: Option<Value>,
    #[schema(value_type = String, format = Password)]
    confirm_password: Option<Value>,
}

/// The body of a login.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FlaskLogin {
    #[schema(value_type = String)]
    email: Option<Value>,
    #[schema(value_type = String, format = Password)]
    password: Option<Value>,
}

/// The body of a refresh.
#[derive(Deserialize, ToSchema)]
pub(crate) struct FlaskRefresh {
    #[schema(value_type = String)]
    refresh_token: Option<Value>,
}

/// The page of the list of users.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct AfterUser {
    /// The id of the last user of the previous page.
    after: Option<i64>,
}

/// The tokens of a new user.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlaskRegistered {
    message: &'static str,
    access_token: String,
    refresh_token: String,
}

/// The tokens and the user of a login.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlaskLoggedIn {
    message: &'static str,
    access_token: String,
    refresh_token: String,
    user: FlaskUser,
}

/// The new access token.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlaskAccess {
    access_token: String,
}

/// A user.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlaskUser {
    id: i64,
    username: String,
    email: String,
    date_created: DateTime<Utc>,
}

/// A confirmation, or why a request was refused.
#[derive(Serialize, ToSchema)]
pub(crate) struct FlaskMessage {
    message: String,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(register_flask_user))
        .routes(routes!(login_flask_user))
        .routes(routes!(refresh_flask_token))
        .routes(routes!(get_flask_protected))
        .routes(routes!(list_flask_users))
}

/// Registers a user.
#[utoipa::path(
    post,
    path = "/register",
    tag = "inherited",
    request_body = FlaskRegistration,
    responses(
        (status = 201, description = "The tokens of the new user", body = FlaskRegistered),
        (status = 400, description = "Fields are missing or invalid", body = FlaskMessage, example = json!({"message": "Missing required fields"})),
        (status = 500, description = "The database does not answer", body = FlaskMessage, example = json!({"message": "Database error occurred. Please try again."}))
    )
)]
async fn register_flask_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<FlaskRegistration>,
) -> Result<Response> {
    auth::check_registration(&state.accounts, None).await?;
    let fields = (
        text(body.username.as_ref()),
        text(body.email.as_ref()),
        text(body.password.as_ref()),
        text(body.confirm_password.as_ref()),
    );
    let (Some(username), Some(email), Some(password), Some(confirmed)) = fields else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "Missing required fields"));
    };
    if password != confirmed {
        return Ok(refuse(StatusCode::BAD_REQUEST, "Passwords do not match"));
    }
    let new = NewUser {
        username: username.into(),
        email: email.into(),
        password: password.into(),
        invitation: None,
    };
    match auth::register(&state.accounts, new, &origin).await {
        Ok((_, tokens)) => {
            let registered = FlaskRegistered {
                message: "User created successfully",
                access_token: tokens.access_token.expose_secret().to_owned(),
                refresh_token: tokens.refresh_token.expose_secret().to_owned(),
            };
            Ok(answer(StatusCode::CREATED, registered))
        }
        Err(Error::Invalid(fields)) => Ok(refuse(StatusCode::BAD_REQUEST, explain(&fields))),
        Err(error) => Err(error.into()),
    }
}

/// Logs a user in.
#[utoipa::path(
    post,
    path = "/login",
    tag = "inherited",
    request_body = FlaskLogin,
    responses(
        (status = 200, description = "The tokens and the user", body = FlaskLoggedIn),
        (status = 400, description = "Fields are missing", body = FlaskMessage, example = json!({"message": "Missing email or password"})),
        (status = 401, description = "The email address or the password is wrong", body = FlaskMessage, example = json!({"message": "Invalid email or password"})),
        (status = 500, description = "The database does not answer", body = FlaskMessage, example = json!({"message": "An error occurred"}))
    )
)]
async fn login_flask_user(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<FlaskLogin>,
) -> Result<Response> {
    let fields = (text(body.email.as_ref()), text(body.password.as_ref()));
    let (Some(email), Some(password)) = fields else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "Missing email or password"));
    };
    match auth::login(&state.accounts, email, password.into(), &origin).await {
        Ok((user, tokens)) => {
            let logged_in = FlaskLoggedIn {
                message: "Login successful",
                access_token: tokens.access_token.expose_secret().to_owned(),
                refresh_token: tokens.refresh_token.expose_secret().to_owned(),
                user: FlaskUser {
                    id: user.id,
                    username: user.username,
                    email: user.email,
                    date_created: user.created_at,
                },
            };
            Ok(answer(StatusCode::OK, logged_in))
        }
        Err(Error::Unauthenticated(_)) => Ok(refuse(
            StatusCode::UNAUTHORIZED,
            "Invalid email or password",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Exchanges a refresh token for an access token; the refresh token stays valid.
#[utoipa::path(
    post,
    path = "/refresh",
    tag = "inherited",
    request_body = FlaskRefresh,
    responses(
        (status = 200, description = "The new access token", body = FlaskAccess),
        (status = 400, description = "The token is missing", body = FlaskMessage, example = json!({"message": "Missing refresh token"})),
        (status = 401, description = "The refresh token is not valid", body = FlaskMessage, example = json!({"message": "Invalid or expired refresh token"})),
        (status = 404, description = "The token is genuine, but its user was deleted", body = FlaskMessage, example = json!({"message": "User not found"}))
    )
)]
async fn refresh_flask_token(
    State(state): State<AppState>,
    Client(origin): Client,
    LenientJson(body): LenientJson<FlaskRefresh>,
) -> Result<Response> {
    let Some(token) = text(body.refresh_token.as_ref()) else {
        return Ok(refuse(StatusCode::BAD_REQUEST, "Missing refresh token"));
    };
    match auth::refresh(&state.accounts, token, Rotation::Keep, &origin).await {
        Ok(tokens) => {
            let access_token = tokens.access_token.expose_secret().to_owned();
            Ok(answer(StatusCode::OK, FlaskAccess { access_token }))
        }
        Err(Error::UserGone) => Ok(refuse(StatusCode::NOT_FOUND, "User not found")),
        Err(Error::Unauthenticated(_)) => Ok(refuse(
            StatusCode::UNAUTHORIZED,
            "Invalid or expired refresh token",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Greets the user of the credential.
#[utoipa::path(
    get,
    path = "/protected",
    tag = "inherited",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A greeting", body = FlaskMessage, example = json!({"message": "Hello, ada. This is a protected route."})),
        (status = 401, description = "The credential is missing or invalid", body = FlaskMessage, example = json!({"message": "Token is missing!"})),
        (status = 404, description = "The token is genuine, but its user was deleted", body = FlaskMessage, example = json!({"message": "User not found"}))
    )
)]
async fn get_flask_protected(State(state): State<AppState>, parts: Parts) -> Result<Response> {
    Ok(match find_caller(&state, &parts).await? {
        Ok(caller) => {
            let name = caller.user.username;
            let message = format!("Hello, {name}. This is a protected route.");
            answer(StatusCode::OK, FlaskMessage { message })
        }
        Err(refusal) => refusal,
    })
}

/// Lists users by id, at most 1000: all users for administrators, for others only themselves. Passwords are never
/// shown.
#[utoipa::path(
    get,
    path = "/users",
    tag = "inherited",
    params(AfterUser),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The users", body = Vec<FlaskUser>),
        (status = 401, description = "The credential is missing or invalid", body = FlaskMessage, example = json!({"message": "Token is missing!"})),
        (status = 404, description = "The token is genuine, but its user was deleted", body = FlaskMessage, example = json!({"message": "User not found"}))
    )
)]
async fn list_flask_users(
    State(state): State<AppState>,
    Query(query): Query<AfterUser>,
    parts: Parts,
) -> Result<Response> {
    let caller = match find_caller(&state, &parts).await? {
        Ok(caller) => caller,
        Err(refusal) => return Ok(refusal),
    };
    let mut conn = state.conn().await?;
    let after = query.after.unwrap_or(0);
    let users = auth::list_users(&mut conn, &caller.user, after, MAX_USERS).await?;
    let users = users.into_iter().map(|user| FlaskUser {
        id: user.id,
        username: user.username,
        email: user.email,
        date_created: user.created_at,
    });
    Ok(answer(StatusCode::OK, users.collect::<Vec<_>>()))
}

/// The caller, or an error response in this dialect.
async fn find_caller(state: &AppState, parts: &Parts) -> Result<Result<Caller, Response>> {
    let Some(credential) = bearer(parts)? else {
        return Ok(Err(refuse(StatusCode::UNAUTHORIZED, "Token is missing!")));
    };
    match authenticate(state, credential).await {
        Ok(caller) => {
            check_scope(parts, &caller)?;
            Ok(Ok(caller))
        }
        Err(Error::UserGone) => Ok(Err(refuse(StatusCode::NOT_FOUND, "User not found"))),
        Err(Error::Unauthenticated(_)) => {
            let message = "Token is invalid or expired!";
            Ok(Err(refuse(StatusCode::UNAUTHORIZED, message)))
        }
        Err(error) => Err(error.into()),
    }
}

fn refuse(status: StatusCode, message: impl Into<String>) -> Response {
    let message = message.into();
    answer(status, FlaskMessage { message })
}

/// The errors of a registration as one sentence; this dialect has no place for more.
fn explain(fields: &[FieldError]) -> String {
    let has = |message: &str| fields.iter().any(|field| field.message == message);
    if has(EMAIL_TAKEN) {
        return "Email already registered. Please try with different email.".into();
    }
    if has(USERNAME_TAKEN) {
        return "Username already registered. Please try with different username.".into();
    }
    fields
        .first()
        .map_or_else(String::new, |field| match field.path.as_str() {
            "" => format!("The request {}", field.message),
            path => format!("The field {path} {}", field.message),
        })
}

/// Writes an error as the older service did.
pub(super) fn spell(trouble: &Trouble) -> (StatusCode, Value) {
    let Trouble { problem, path, .. } = trouble;
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let (status, message) = match (status, problem.code.as_str()) {
        // This dialect has no 503 for an unreachable database.
        (_, "unavailable" | "internal") => {
            let message = match *path {
                "/register" => "Database error occurred. Please try again.",
                _ => "An error occurred",
            };
            (StatusCode::INTERNAL_SERVER_ERROR, message.into())
        }
        (StatusCode::UNPROCESSABLE_ENTITY, _) => {
            (StatusCode::BAD_REQUEST, explain(&problem.errors))
        }
        (_, "malformed_json") => (status, "The request body is not valid JSON".into()),
        (_, "invitation_needed") => (status, "Registration is by invitation".into()),
        (_, "registration_closed") => (status, "Registration is disabled".into()),
        (StatusCode::UNAUTHORIZED, _) => (status, "Token is invalid or expired!".into()),
        (StatusCode::METHOD_NOT_ALLOWED, _) => (status, "Method not allowed".into()),
        (StatusCode::PAYLOAD_TOO_LARGE, _) => (status, "Request body is too large".into()),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, _) => {
            (status, "Content-Type must be application/json".into())
        }
        (StatusCode::TOO_MANY_REQUESTS, _) => {
            (status, "Too many attempts. Please try again later.".into())
        }
        (StatusCode::REQUEST_TIMEOUT, _) => (status, "Request body took too long".into()),
        (StatusCode::SERVICE_UNAVAILABLE, _) => (
            status,
            "Service unavailable. Please try again later.".into(),
        ),
        _ => (status, problem.detail.clone()),
    };
    (status, json!({"message": message}))
}
