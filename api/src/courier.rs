//! The courier: takes messages for webhooks from the outbox and posts them, signed as Standard Webhooks asks.
//!
//! Each webhook has one message on its way at a time, and many webhooks have theirs at once; an answer's body is never
//! read. Addresses are guarded like every address that somebody has set. It logs neither address nor message.

use std::{sync::Arc, time::Duration, time::Instant};

use anyhow::Context as _;
use clap::Args;
use opb_core::{
    doorbell::{Doorbell, rung},
    metrics::METRICS,
    outbound::OutboundPolicy,
    sealing::MasterKey,
    webhooks::{self, Answer, DueDelivery, WebhookFormat},
};
use opb_outbound::SystemLookup;
use reqwest::header::CONTENT_TYPE;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sqlx::PgPool;
use standardwebhooks::{
    HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook,
};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use url::Url;

/// How many webhooks are told something at once.
const LANES: usize = 64;
/// How often the outbox is looked at without a ring of the doorbell.
const POLL: Duration = Duration::from_secs(1);

/// How webhooks are told.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookSettings {
    /// Seconds until a webhook that does not answer counts as failed
    #[arg(long, env = "OPB_WEBHOOK_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub webhook_timeout_seconds: u64,
}

/// Carries messages.
pub(crate) struct Courier {
    http: reqwest::Client,
    policy: Arc<OutboundPolicy>,
    pool: PgPool,
    master_key: Arc<MasterKey>,
}

impl Courier {
    /// A courier that connects where the policy allows it.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub(crate) fn new(
        settings: &WebhookSettings,
        policy: &Arc<OutboundPolicy>,
        pool: PgPool,
        master_key: Arc<MasterKey>,
    ) -> anyhow::Result<Self> {
        let http = opb_outbound::guarded(Arc::clone(policy), Arc::new(SystemLookup))
            .timeout(Duration::from_secs(settings.webhook_timeout_seconds))
            .build()
            .context("the HTTP client for webhooks cannot start")?;
        Ok(Self {
            http,
            policy: Arc::clone(policy),
            pool,
            master_key,
        })
    }

    /// Carries messages until `stop` is cancelled; what is on its way then gets there.
    pub(crate) async fn carry(self, doorbell: Doorbell, stop: CancellationToken) {
        let mut rings = doorbell.subscribe();
        let courier = Arc::new(self);
        let mut under_way = JoinSet::new();
        while !stop.is_cancelled() {
            match courier.take(LANES - under_way.len()).await {
                Ok(due) => {
                    for delivery in due {
                        let courier = Arc::clone(&courier);
                        under_way.spawn(async move { courier.attempt(delivery).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(error = ?error, "the outbox of webhooks cannot be read, trying again");
                }
            }
            // The end of an attempt makes room, and the next message of its webhook may wait already.
            tokio::select! {
                () = stop.cancelled() => {}
                () = rung(&mut rings, webhooks::DOORBELL) => {}
                Some(_) = under_way.join_next() => {}
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn take(&self, room: usize) -> opb_core::Result<Vec<DueDelivery>> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut conn = self.pool.acquire().await?;
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        webhooks::take_due(&mut conn, &self.master_key, limit).await
    }

    async fn attempt(&self, delivery: DueDelivery) {
        let began = Instant::now();
        // No connection to the database is held while the receiver thinks.
        let answer = self.send(&delivery).await;
        let noted = async {
            let mut conn = self.pool.acquire().await?;
            webhooks::note_attempt(&mut conn, &delivery, answer, began.elapsed()).await
        };
        let outcome = match answer {
            Answer::Status(200..=299) => "ok",
            Answer::Status(_) => "refused",
            Answer::Nothing => "no_answer",
            Answer::Refused(_) => "not_sent",
        };
        let outcomes = &METRICS.time.webhook_attempts;
        outcomes.with_label_values(&[outcome]).inc();
        match noted.await {
            Ok(()) => {
                tracing::info!(delivery.id = %delivery.id, delivery.event = delivery.event.word(), delivery.attempt, outcome, "a webhook was told");
            }
            // It is tried again: the message arrives twice, which its id tells the receiver.
            Err(error) => {
                tracing::warn!(delivery.id = %delivery.id, error = ?error, "how a webhook was told could not be noted");
            }
        }
    }

    async fn send(&self, delivery: &DueDelivery) -> Answer {
        let (Ok(url), Ok(secret)) = (&delivery.url, &delivery.secret) else {
            return Answer::Refused("the webhook opens with no master key of this server");
        };
        let Ok(url) = Url::parse(url.expose_secret()) else {
            return Answer::Refused("the address is not a URL");
        };
        // An address that is written as numbers never comes to the resolver.
        if !self.policy.allows_host(&url) {
            return Answer::Refused("the address is one that this server may not call");
        }
        let body = body(delivery).to_string();
        let id = delivery.id.to_string();
        // Of the attempt, not of the message: receivers refuse what seems to be replayed by a stranger.
        let timestamp = chrono::Utc::now().timestamp();
        let signed = Webhook::new(secret.expose_secret())
            .and_then(|webhook| webhook.sign(&id, timestamp, body.as_bytes()));
        let Ok(signature) = signed else {
            return Answer::Refused("the secret is not one");
        };
        let request = self
            .http
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        match request.send().await {
            Ok(response) => Answer::Status(response.status().as_u16()),
            Err(_) => Answer::Nothing,
        }
    }
}

/// What is posted.
fn body(delivery: &DueDelivery) -> Value {
    match delivery.format {
        WebhookFormat::Standard => json!({
            "type": delivery.event,
            "timestamp": delivery.created_at,
            "data": delivery.data,
        }),
        WebhookFormat::Slack => json!({"text": slack_text(&delivery.summary)}),
    }
}

/// Slack reads these three as marks of its own; names that people chose must not mention channels or hide links.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
