//! API keys: created and revoked by users who logged in, used by programs.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use chrono::{DateTime, Utc};
use opb_core::{
    auth::{self, ApiKey, ApiKeyScope, NewApiKey},
    paging::Page,
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::{LoggedIn, SentKey},
    client::Client,
    paging::PageQuery,
    parameters::{Path, Query},
    problem::Result,
    secret,
};

/// A new API key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateApiKey {
    /// Name of the key: 1 to 100 characters.
    pub name: String,
    /// Scopes of the key.
    pub scopes: Vec<ApiKeyScope>,
    /// When it expires; never when absent.
    #[serde(default, deserialize_with = "opb_core::bounds::optional_time")]
    pub expires_at: Option<DateTime<Utc>>,
}

/// A new API key. It is shown only in this response.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedApiKey {
    /// The metadata of the key.
    #[serde(flatten)]
    pub api_key: ApiKey,
    /// The key, to be sent as `authorization: Bearer …`.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub key: SecretString,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_api_keys, create_api_key))
        .routes(routes!(revoke_current_api_key))
        .routes(routes!(revoke_api_key))
}

/// Lists the caller's API keys that are not revoked, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/api-keys",
    tag = "auth",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "A page of keys", body = Page<ApiKey>),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn list_api_keys(
    State(state): State<AppState>,
    LoggedIn { user, .. }: LoggedIn,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<ApiKey>>> {
    let mut conn = state.conn().await?;
    let keys = auth::list_api_keys(&mut conn, &user).await?;
    Ok(JsonResponse(query.cut(keys, |key| key.id.to_string())?))
}

/// Creates an API key.
///
/// The key is shown only in this response; the server stores a hash.
#[utoipa::path(
    post,
    path = "/api/v1/api-keys",
    tag = "auth",
    request_body = CreateApiKey,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The new key", body = CreatedApiKey),
        (status = 403, description = "An API key cannot do this, or the caller may not grant the scope", body = crate::Problem, content_type = "application/problem+json"),
        (status = 409, description = "The caller has too many keys", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_api_key(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Json(body): Json<CreateApiKey>,
) -> Result<(StatusCode, JsonResponse<CreatedApiKey>)> {
    let new = NewApiKey {
        name: body.name,
        scopes: body.scopes,
        expires_at: body.expires_at,
    };
    let mut conn = state.conn().await?;
    let (api_key, key) = auth::create_scoped_api_key(&mut conn, &user, new, &origin).await?;
    let created = CreatedApiKey { api_key, key };
    Ok((StatusCode::CREATED, JsonResponse(created)))
}

/// Revokes the API key that the request is sent with, whatever its scopes are.
///
/// Programs use it to end a key that they no longer need.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/current",
    tag = "auth",
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 403, description = "The request was not sent with an API key", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn revoke_current_api_key(
    State(state): State<AppState>,
    Client(origin): Client,
    SentKey(key): SentKey,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::revoke_current_api_key(&mut conn, key.expose_secret(), &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Revokes an API key at once.
#[utoipa::path(
    delete,
    path = "/api/v1/api-keys/{api_key}",
    tag = "auth",
    params(("api_key" = Uuid, Path, description = "Id of the key")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "The key is revoked"),
        (status = 403, description = "An API key cannot do this", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn revoke_api_key(
    State(state): State<AppState>,
    Client(origin): Client,
    LoggedIn { user, .. }: LoggedIn,
    Path(id): Path<Uuid>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    auth::revoke_api_key(&mut conn, &user, id, &origin).await?;
    Ok(StatusCode::NO_CONTENT)
}
