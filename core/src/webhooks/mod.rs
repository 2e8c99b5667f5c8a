//! Webhooks: addresses that are notified of events about their owner's runs and alerts.
//!
//! `announce` writes messages in the transaction of the event, `outbox` hands them to the sender and keeps the log,
//! `manage` creates and changes webhooks. A message is delivered at least once. Nothing here knows how it is sent.

mod announce;
mod manage;
mod outbox;

use chrono::{DateTime, Utc};
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

pub(crate) use announce::{Message, announce, post, subscribers};
pub use manage::{
    create_webhook, delete_webhook, find_webhook, list_attempts, list_deliveries, list_webhooks,
    name_webhook, replay_delivery, reseal_webhooks, rotate_secret, test_webhook, update_webhook,
};
pub use outbox::{Answer, DueDelivery, delete_old, note_attempt, take_due};

/// The Postgres channel that is notified when a message was written.
pub const DOORBELL: &str = "opb_webhooks";

/// How long a webhook gets no other message while an attempt is in progress, in seconds; longer than any attempt.
pub const TURN_SECONDS: u32 = 60;

/// The events that webhooks can subscribe to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[sqlx(type_name = "webhook_event")]
pub enum WebhookEvent {
    /// A run has ended: completed, failed or cancelled.
    #[serde(rename = "run.finished")]
    #[sqlx(rename = "run.finished")]
    RunFinished,
    /// A run has paused because its budget is used up.
    #[serde(rename = "budget.exhausted")]
    #[sqlx(rename = "budget.exhausted")]
    BudgetExhausted,
    /// An alert has started to fire.
    #[serde(rename = "alert.firing")]
    #[sqlx(rename = "alert.firing")]
    AlertFiring,
    /// An alert was resolved.
    #[serde(rename = "alert.resolved")]
    #[sqlx(rename = "alert.resolved")]
    AlertResolved,
    /// The owner has requested a test message; every webhook gets it.
    #[serde(rename = "webhook.test")]
    #[sqlx(rename = "webhook.test")]
    WebhookTest,
}

impl WebhookEvent {
    /// The name in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::RunFinished => "run.finished",
            Self::BudgetExhausted => "budget.exhausted",
            Self::AlertFiring => "alert.firing",
            Self::AlertResolved => "alert.resolved",
            Self::WebhookTest => "webhook.test",
        }
    }
}

/// The format of a message's body.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "webhook_format", rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"type", "timestamp", "data"}`, as Standard Webhooks recommends.
    #[default]
    Standard,
    /// `{"text"}`, for incoming webhooks of Slack and compatible services.
    Slack,
}

/// An address that is notified of events.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// The webhook's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Scheme and host of its address; the rest can be a secret and is never shown.
    pub host: String,
    /// The format of a message's body.
    pub format: WebhookFormat,
    /// The events that it is subscribed to.
    pub events: Vec<WebhookEvent>,
    /// Number of failed attempts since the last successful one.
    pub failures: i32,
    /// Since when every attempt has failed; null if the last one succeeded.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was disabled; null if it is enabled.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why it was disabled.
    pub disabled_reason: String,
    /// When it was created.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A webhook to create.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// 1 to 100 characters.
    pub name: String,
    /// The URL that messages are posted to.
    pub url: SecretString,
    /// The format of a message's body.
    pub format: WebhookFormat,
    /// The events to subscribe to.
    pub events: Vec<WebhookEvent>,
}

/// Changes of a webhook; absent fields stay as they are.
#[derive(Debug, Clone, Default)]
pub struct UpdateWebhook {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// The URL that messages are posted to.
    pub url: Option<SecretString>,
    /// The format of a message's body.
    pub format: Option<WebhookFormat>,
    /// The events to subscribe to.
    pub events: Option<Vec<WebhookEvent>>,
    /// True enables the webhook, false disables it.
    pub enabled: Option<bool>,
}

/// The state of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "delivery_state", rename_all = "snake_case")]
pub enum DeliveryState {
    /// An attempt is in progress or due.
    Waiting,
    /// The receiver has accepted it.
    Delivered,
    /// All attempts failed; it can be replayed.
    Failed,
}

/// A message to a webhook.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The message's id, which the receiver gets in `webhook-id`; the same at each attempt.
    pub id: Uuid,
    /// The event.
    pub event: WebhookEvent,
    /// The event as a sentence.
    pub summary: String,
    /// The subject of the event, as in the REST API.
    #[schema(value_type = Object)]
    pub data: Value,
    /// The state.
    pub state: DeliveryState,
    /// Number of attempts.
    pub attempts: i32,
    /// When the next attempt is due; null if there is none.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it was delivered or given up.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was created.
    pub created_at: DateTime<Utc>,
}

/// The result of an attempt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// The number, from 1.
    pub number: i32,
    /// The HTTP status of the response, if there was one, and if the receiver has a public address or the owner of the
    /// webhook is an administrator.
    pub status: Option<i16>,
    /// Why it failed; null if it succeeded.
    pub error: Option<String>,
    /// Its duration in milliseconds; null if the owner of the webhook may only know whether it failed.
    pub duration_ms: Option<i32>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}
