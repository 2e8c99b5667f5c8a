//! Webhooks: addresses that are told what happens.

use axum::{Json as Answer, extract::State, http::StatusCode};
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

/// The webhooks of the caller.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Webhooks {
    /// Newest first.
    pub items: Vec<Webhook>,
}

/// A webhook to make.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateWebhook {
    /// 1 to 100 characters.
    pub name: String,
    /// Where messages are posted; stored sealed, and but for its host never shown again.
    #[serde(with = "secret")]
    #[schema(value_type = String)]
    pub url: SecretString,
    /// What the body of a message looks like; `standard` when absent.
    #[serde(default)]
    pub format: WebhookFormat,
    /// What it is told about.
    pub events: Vec<WebhookEvent>,
}

/// What to change about a webhook; what is absent stays.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeWebhook {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// Where messages are posted.
    #[serde(default, with = "secret::optional")]
    #[schema(value_type = Option<String>)]
    pub url: Option<SecretString>,
    /// What the body of a message looks like.
    pub format: Option<WebhookFormat>,
    /// What it is told about.
    pub events: Option<Vec<WebhookEvent>>,
    /// True lets it work again, false stops it.
    pub enabled: Option<bool>,
}

/// A new webhook, with its secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct CreatedWebhook {
    /// The webhook.
    #[serde(flatten)]
    pub webhook: Webhook,
    /// What messages are signed with; it is shown here and never again.
    pub secret: String,
}

/// A new secret.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct WebhookSecret {
    /// What messages are signed with from now on; it is shown here and never again.
    pub secret: String,
}

/// How the attempts of a message ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Attempts {
    /// In order.
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

/// The webhooks of the caller, newest first.
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
) -> Result<Answer<Webhooks>> {
    let mut conn = state.conn().await?;
    let items = webhooks::list_webhooks(&mut conn, &user).await?;
    Ok(Answer(Webhooks { items }))
}

/// Makes a webhook. Its secret is shown in this answer and never again.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks",
    tag = "webhooks",
    request_body = CreateWebhook,
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The webhook and its secret", body = CreatedWebhook),
        (status = 409, description = "The caller has too many", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn create_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Json(body): Json<CreateWebhook>,
) -> Result<(StatusCode, Answer<CreatedWebhook>)> {
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
        Answer(CreatedWebhook { webhook, secret }),
    ))
}

/// A webhook.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 200, description = "The webhook", body = Webhook))
)]
async fn get_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<Answer<Webhook>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let webhook = webhooks::find_webhook(&mut conn, &user, id).await?;
    Ok(Answer(webhook))
}

/// Changes a webhook, or lets one work again that was disabled.
#[utoipa::path(
    patch,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's")),
    request_body = ChangeWebhook,
    security(("bearer" = [])),
    responses((status = 200, description = "The webhook", body = Webhook))
)]
async fn update_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
    Json(body): Json<ChangeWebhook>,
) -> Result<Answer<Webhook>> {
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
    Ok(Answer(changed.await?))
}

/// Deletes a webhook with all its messages.
#[utoipa::path(
    delete,
    path = "/api/v1/webhooks/{webhook}",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 204, description = "It is gone"))
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

/// Signs the messages of a webhook with another secret from now on.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/secret",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses((status = 200, description = "The new secret", body = WebhookSecret))
)]
async fn rotate_webhook_secret(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<Answer<WebhookSecret>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let secret = webhooks::rotate_secret(&mut conn, &user, &state.master_key, id).await?;
    let secret = secret.expose_secret().to_owned();
    Ok(Answer(WebhookSecret { secret }))
}

/// Sends a message that shows whether messages arrive.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/test",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The message, which is on its way", body = Delivery),
        (status = 409, description = "The webhook is disabled", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn test_webhook(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
) -> Result<(StatusCode, Answer<Delivery>)> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let delivery = webhooks::test_webhook(&mut conn, &user, id).await?;
    Ok((StatusCode::ACCEPTED, Answer(delivery)))
}

/// The messages of a webhook and what became of them, newest first; they are kept for thirty days.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}/deliveries",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's"), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of messages", body = Page<Delivery>))
)]
async fn list_deliveries(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path(webhook): Path<String>,
    Query(query): Query<PageQuery>,
) -> Result<Answer<Page<Delivery>>> {
    let (before, limit) = query.by_id()?;
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let page = webhooks::list_deliveries(&mut conn, &user, id, before, limit).await?;
    Ok(Answer(page))
}

/// How the attempts of a message ended.
#[utoipa::path(
    get,
    path = "/api/v1/webhooks/{webhook}/deliveries/{delivery}/attempts",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's"), ("delivery" = Uuid, Path, description = "Id")),
    security(("bearer" = [])),
    responses((status = 200, description = "The attempts", body = Attempts))
)]
async fn list_attempts(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(webhook, delivery): Path2<String, Uuid>,
) -> Result<Answer<Attempts>> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let items = webhooks::list_attempts(&mut conn, &user, id, delivery).await?;
    Ok(Answer(Attempts { items }))
}

/// Sends a message once more, at once, with the same id.
#[utoipa::path(
    post,
    path = "/api/v1/webhooks/{webhook}/deliveries/{delivery}/replay",
    tag = "webhooks",
    params(("webhook" = String, Path, description = "Id, or the name of one of the caller's"), ("delivery" = Uuid, Path, description = "Id")),
    security(("bearer" = [])),
    responses(
        (status = 202, description = "The message, which is on its way", body = Delivery),
        (status = 409, description = "The webhook is disabled", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn replay_delivery(
    State(state): State<AppState>,
    Authenticated(user): Authenticated,
    Path2(webhook, delivery): Path2<String, Uuid>,
) -> Result<(StatusCode, Answer<Delivery>)> {
    let mut conn = state.conn().await?;
    let id = webhooks::name_webhook(&mut conn, &user, &webhook).await?;
    let delivery = webhooks::replay_delivery(&mut conn, &user, id, delivery).await?;
    Ok((StatusCode::ACCEPTED, Answer(delivery)))
}
