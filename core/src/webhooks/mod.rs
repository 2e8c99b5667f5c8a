//! Webhooks: addresses that are told what happens to their owner's things.
//!
//! `announce` writes messages in the transaction of what they tell, `outbox` hands them to whoever carries them and keeps
//! the log, `manage` keeps the webhooks. A message is delivered at least once. Nothing here knows how it is sent.

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

/// The Postgres channel that rings when a message was written.
pub const DOORBELL: &str = "opb_webhooks";

/// How long nothing else is sent to a webhook while an attempt is under way; longer than any attempt.
pub const TURN_SECONDS: u32 = 60;

/// What webhooks are told about.
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
    /// An alert has begun to fire.
    #[serde(rename = "alert.firing")]
    #[sqlx(rename = "alert.firing")]
    AlertFiring,
    /// What an alert was about has passed.
    #[serde(rename = "alert.resolved")]
    #[sqlx(rename = "alert.resolved")]
    AlertResolved,
    /// The owner wants to see whether messages arrive; every webhook takes it.
    #[serde(rename = "webhook.test")]
    #[sqlx(rename = "webhook.test")]
    WebhookTest,
}

impl WebhookEvent {
    /// The word for it, as in JSON.
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

/// What the body of a message looks like.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type,
)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "webhook_format", rename_all = "snake_case")]
pub enum WebhookFormat {
    /// `{"type", "timestamp", "data"}`, as Standard Webhooks recommends.
    #[default]
    Standard,
    /// `{"text"}`, as Slack's incoming webhooks and those of its relatives take it.
    Slack,
}

/// An address that is told what happens.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Webhook {
    /// The webhook's id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Scheme and host of its address; the rest can be a secret and is never shown.
    pub host: String,
    /// What the body of a message looks like.
    pub format: WebhookFormat,
    /// What it is told about.
    pub events: Vec<WebhookEvent>,
    /// Attempts that failed since the last one that went well.
    pub failures: i32,
    /// Since when every attempt failed; null when the last one went well.
    pub failing_since: Option<DateTime<Utc>>,
    /// Since when nothing is sent any more; null while it works.
    pub disabled_at: Option<DateTime<Utc>>,
    /// Why.
    pub disabled_reason: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

/// A webhook to make.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// 1 to 100 characters.
    pub name: String,
    /// Where messages are posted.
    pub url: SecretString,
    /// What the body of a message looks like.
    pub format: WebhookFormat,
    /// What it is told about.
    pub events: Vec<WebhookEvent>,
}

/// What to change about a webhook; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct UpdateWebhook {
    /// 1 to 100 characters.
    pub name: Option<String>,
    /// Where messages are posted.
    pub url: Option<SecretString>,
    /// What the body of a message looks like.
    pub format: Option<WebhookFormat>,
    /// What it is told about.
    pub events: Option<Vec<WebhookEvent>>,
    /// True lets it work again, false stops it.
    pub enabled: Option<bool>,
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "delivery_state", rename_all = "snake_case")]
pub enum DeliveryState {
    /// It is or will be tried.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// It was given up; it can be replayed.
    Failed,
}

/// A message to a webhook.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Delivery {
    /// The message's id, which the receiver sees in `webhook-id`; the same at each attempt.
    pub id: Uuid,
    /// What it is about.
    pub event: WebhookEvent,
    /// The same in a sentence.
    pub summary: String,
    /// The thing that it is about, as REST shows it.
    #[schema(value_type = Object)]
    pub data: Value,
    /// What became of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: i32,
    /// When it is tried next; null when it has ended.
    pub next_attempt_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// When it was written.
    pub created_at: DateTime<Utc>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Counts from 1.
    pub number: i32,
    /// The HTTP status of the answer, if there was one, and the receiver is at a public address or the owner of the
    /// webhook is an administrator.
    pub status: Option<i16>,
    /// Why it failed; null when it did not.
    pub error: Option<String>,
    /// Milliseconds that it took; null where the owner of the webhook may not learn more than whether it failed.
    pub duration_ms: Option<i32>,
    /// When it ended.
    pub ended_at: DateTime<Utc>,
}
