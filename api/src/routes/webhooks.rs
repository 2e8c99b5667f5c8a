//! Webhooks: addresses to which events are posted.

use axum::{Json as JsonResponse, extract::State, http::StatusCode};
use opb_core::{
    auth::UserRole,
    paging::Page,
    webhooks::{
        self, Attempt, Delivery, NewWebhook, UpdateWebhook, Webhook, WebhookEvent, WebhookFormat,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};
use uuid::Uuid;

use crate::{
    AppState,
    body::Json,
    caller::Authenticated,
    paging::PageQuery,
    parameters::{Path, Path2, Query},
    problem::Result,
    secret,
};

/// The caller's webhooks.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// The webhooks, newest first.
    pub items: Vec<Webhook>,
}

/// A new webhook.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// Name: 1 to 100 characters.
    pub name: String,
    /// The address to which messages are posted; stored encrypted, and never shown again except for its host.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub url: SecretString,
    /// Format of the messages; `standard` when absent.
    #[serde(default)]
    pub format: WebhookFormat,
    /// The events that are posted.
    pub events: Vec<WebhookEvent>,
}

/// An update of a webhook; absent fields stay unchanged.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// Name: 1 to 100 characters.
    pub name: Option<String>,
    /// The address to which messages are posted.
    #[serde(default, with = "secret::optional")]
    #[schema(value_type = Option<String>)]
    pub url: Option<SecretString>,
    /// Format of the messages.
    pub format: Option<WebhookFormat>,
    /// The events that are posted.
    pub events: Option<Vec<WebhookEvent>>,
    /// True enables the webhook, false disables it.
    pub enabled: Option<bool>,
}

/// A new webhook, with its secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CreatedWebhook {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// The key with which messages are signed; shown only in this response.
    pub secret: String,
}

/// A new secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct WebhookSecret {
    /// The key with which messages are signed from now on; shown only in this response.
    pub secret: String,
}

/// The attempts to deliver a message.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempts {
    /// The attempts, in order.
    pub items: Vec<Attempt>,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list_webhooks, create_webhook))
        .routes(routes!(get_webhook, update_webhook, delete_webhook))
        .routes(routes!(rotate_webhook_secret))
        .routes(routes!(test_webhook))
        .routes(routes!(list_deliveries))
        .routes(routes!(list_attempts))
        .routes(routes!(replay_delivery))
}

/// Lists the caller's webhooks, newest first.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    security(("bearer" = [])),
    responses((status = 200, description = "The webhooks", body = Webhooks))
)]
async fn list_webhooks(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
) -> Result<JsonResponse<Webhooks>> {
    let mut conn = state.conn().await?;
    let items = webhooks::list_webhooks(&mut conn, &user).await?;
    Ok(JsonResponse(Webhooks { items }))
}

/// Creates a webhook. Its secret is shown only in this response.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    request_body = CreateWebhook,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The webhook and its secret", body = CreatedWebhook),
        (status = 409, description = "The caller has too many webhooks", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<CreateWebhook>,
) -> Result<(StatusCode, JsonResponse<CreatedWebhook>)> {
    let new = NewWebhook {
        name: body.name,
        url: body.url,
        format: body.format,
        events: body.events,
    };
    let outbound = state.webhooks.of(user.role == UserRole::Admin);
    let mut conn = state.conn().await?;
    let made = webhooks::create_webhook(&mut conn, &user, &state.master_key, outbound, &new);
    let (webhook, secret) = made.await?;
    let secret = secret.expose_secret().to_owned();
    Ok((
        StatusCode::CREATED,
        JsonResponse(CreatedWebhook { webhook, secret }),
    ))
}

/// Returns a webhook.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 200, description = "The webhook", body = Webhook))
)]
async fn get_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<JsonResponse<Webhook>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let webhook = webhooks::find_webhook(&mut conn, &user, id).await?;
    Ok(JsonResponse(webhook))
}

/// Updates a webhook, or enables one that was disabled.
#[utoipa::path(
    patch,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own")),
    request_body = ChangeWebhook,
    security(("bearer" = [])),
    responses((status = 200, description = "The webhook", body = Webhook))
)]
async fn update_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
    Json(body): Json<ChangeWebhook>,
) -> Result<JsonResponse<Webhook>> {
    let change = UpdateWebhook {
        name: body.name,
        url: body.url,
        format: body.format,
        events: body.events,
        enabled: body.enabled,
    };
    let outbound = state.webhooks.of(user.role == UserRole::Admin);
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let changed =
        webhooks::update_webhook(&mut conn, &user, &state.master_key, outbound, id, &change);
    Ok(JsonResponse(changed.await?))
}

/// Deletes a webhook with all its messages.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 204, description = "The webhook is deleted"))
)]
async fn delete_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<StatusCode> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    webhooks::delete_webhook(&mut conn, &user, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Replaces the secret with which messages of a webhook are signed.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/secret",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses((status = 200, description = "The new secret", body = WebhookSecret))
)]
async fn rotate_webhook_secret(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<JsonResponse<WebhookSecret>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let secret = webhooks::rotate_secret(&mut conn, &user, &state.master_key, id).await?;
    let secret = secret.expose_secret().to_owned();
    Ok(JsonResponse(WebhookSecret { secret }))
}

/// Sends a test message to a webhook.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/test",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The message, which is being sent", body = Delivery),
        (status = 409, description = "The webhook is disabled", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn test_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<(StatusCode, JsonResponse<Delivery>)> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let delivery = webhooks::test_webhook(&mut conn, &user, id).await?;
    Ok((StatusCode::ACCEPTED, JsonResponse(delivery)))
}

/// Lists the messages of a webhook with their outcomes, newest first; they are kept for 30 days.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}/deliveries",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of messages", body = Page<Delivery>))
)]
async fn list_deliveries(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<JsonResponse<Page<Delivery>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let page = webhooks::list_deliveries(&mut conn, &user, id, before, limit).await?;
    Ok(JsonResponse(page))
}

/// Lists the attempts to deliver a message.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}/deliveries/{delivery}/attempts",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own"), ("delivery" = Uuid, Path, description = "Id")),
    security(("bearer" = [])),
    responses((status = 200, description = "The attempts", body = Attempts))
)]
async fn list_attempts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(webhook, delivery): Path2<String, Uuid>,
) -> Result<JsonResponse<Attempts>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let items = webhooks::list_attempts(&mut conn, &user, id, delivery).await?;
    Ok(JsonResponse(Attempts { items }))
}

/// Sends a message again at once, with the same id.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/deliveries/{delivery}/replay",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or name among the caller's own"), ("delivery" = Uuid, Path, description = "Id")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The message, which is being sent", body = Delivery),
        (status = 409, description = "The webhook is disabled", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn replay_delivery(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(webhook, delivery): Path2<String, Uuid>,
) -> Result<(StatusCode, JsonResponse<Delivery>)> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let delivery = webhooks::replay_delivery(&mut conn, &user, id, delivery).await?;
    Ok((StatusCode::ACCEPTED, JsonResponse(delivery)))
}
