//! Sends webhook messages: takes due messages from the outbox and posts them, signed as Standard Webhooks specifies.
//!
//! Each webhook has at most one message in flight, each owner a few, and many owners are served at once. Response
//! bodies are never read. Addresses are checked against the outbound policy. Neither addresses nor messages are
//! logged.

use std::{sync::Arc, time::Duration, time::Instant};

use anyhow::Context as _;
use clap::Args;
use opb_core::{
    doorbell::{Doorbell, rung},
    metrics::METRICS,
    outbound::{AllowList, OutboundPolicy},
    sealing::MasterKey,
    webhooks::{self, Answer, DueDelivery, WebhookFormat},
};
use opb_outbound::{Guarded, Lookup, SystemLookup};
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

/// Maximum number of messages in flight.
const LANES: usize = 64;
/// How often the outbox is polled when the doorbell does not ring.
const POLL: Duration = Duration::from_secs(1);

/// Settings of webhooks.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhooks")]
pub struct WebhookSettings {
    /// Seconds until a webhook that does not answer counts as failed
    #[arg(long, env = "OPB_WEBHOOK_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=30))]
    pub webhook_timeout_seconds: u64,
    /// Hosts and ranges, besides the public internet, that any user's webhooks may address, as in
    /// `chat.lan,10.1.2.3`; webhooks of administrators may also address what providers may
    #[arg(long, env = "OPB_ALLOW_WEBHOOKS", value_name = "HOST|RANGE,…")]
    pub allow_webhooks: Vec<AllowList>,
}

/// The outbound policies of webhooks, by owner.
#[derive(Debug, Clone)]
pub(crate) struct WebhookPolicies {
    /// For ordinary users: they must not reach the network around the server.
    users: Arc<OutboundPolicy>,
    /// For administrators, who may use addresses of providers as well.
    administrators: Arc<OutboundPolicy>,
}

impl WebhookPolicies {
    /// `providers` is the policy for addresses that administrators configure.
    pub(crate) fn new(settings: &WebhookSettings, providers: &OutboundPolicy) -> Self {
        let lists = &settings.allow_webhooks;
        Self {
            users: Arc::new(providers.for_everybody(lists, "--allow-webhooks")),
            administrators: Arc::new(providers.and(lists)),
        }
    }

    /// The policy for the webhooks of an administrator, or of an ordinary user.
    pub(crate) fn of(&self, is_admin: bool) -> &Arc<OutboundPolicy> {
        if is_admin {
            &self.administrators
        } else {
            &self.users
        }
    }
}

/// Sends the messages.
pub(crate) struct WebhookSender {
    policies: WebhookPolicies,
    users: Guarded,
    administrators: Guarded,
    /// Timeout of an attempt.
    patience: Duration,
    pool: PgPool,
    master_key: Arc<MasterKey>,
}

impl WebhookSender {
    /// A sender that connects where the policies allow it.
    ///
    /// # Errors
    /// The TLS roots of the system cannot be read.
    pub(crate) fn new(
        settings: &WebhookSettings,
        policies: WebhookPolicies,
        pool: PgPool,
        master_key: Arc<MasterKey>,
    ) -> anyhow::Result<Self> {
        let patience = Duration::from_secs(settings.webhook_timeout_seconds);
        let lookup: Arc<dyn Lookup> = Arc::new(SystemLookup);
        let guarded = |is_admin| {
            let policy = Arc::clone(policies.of(is_admin));
            Guarded::new(policy, &lookup, |builder| builder.timeout(patience))
                .context("the HTTP client for webhooks cannot start")
        };
        Ok(Self {
            users: guarded(false)?,
            administrators: guarded(true)?,
            policies,
            patience,
            pool,
            master_key,
        })
    }

    /// Sends messages until `stop` is cancelled; messages in flight are then finished.
    pub(crate) async fn carry(self, doorbell: Doorbell, stop: CancellationToken) {
        let mut rings = doorbell.subscribe();
        let webhook_sender = Arc::new(self);
        let mut under_way = JoinSet::new();
        // The owner of each message in flight.
        let mut owners: Vec<i64> = Vec::new();
        while !stop.is_cancelled() {
            match webhook_sender.take(&owners, LANES - under_way.len()).await {
                Ok(due) => {
                    for delivery in due {
                        let webhook_sender = Arc::clone(&webhook_sender);
                        let owner_id = delivery.owner_id;
                        owners.push(owner_id);
                        under_way.spawn(async move {
                            webhook_sender.attempt(delivery).await;
                            owner_id
                        });
                    }
                }
                Err(error) => {
                    tracing::warn!(error = ?error, "could not read the outbox of webhooks; trying again");
                }
            }
            // A finished attempt frees a place, and the next message of its webhook may already be due.
            tokio::select! {
                () = stop.cancelled() => {}
                () = rung(&mut rings, webhooks::DOORBELL) => {}
                Some(ended) = under_way.join_next() => match ended {
                    Ok(owner_id) => leave(&mut owners, owner_id),
                    // A panicked task does not tell its owner, so all places are released; for a moment there may be
                    // more than allowed.
                    Err(_) => owners.clear(),
                },
                () = tokio::time::sleep(POLL) => {}
            }
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn take(&self, under_way: &[i64], room: usize) -> opb_core::Result<Vec<DueDelivery>> {
        if room == 0 {
            return Ok(Vec::new());
        }
        let mut conn = self.pool.acquire().await?;
        let limit = i64::try_from(room).unwrap_or(i64::MAX);
        webhooks::take_due(&mut conn, &self.master_key, under_way, limit).await
    }

    async fn attempt(&self, delivery: DueDelivery) {
        let began = Instant::now();
        // No database connection is held while the receiver answers.
        let answer = self.send(&delivery).await;
        let outcome = match answer {
            Answer::Status(200..=299) | Answer::Delivered => "ok",
            Answer::Status(_) => "refused",
            Answer::Nothing | Answer::Undelivered => "no_answer",
            Answer::Refused(_) => "not_sent",
        };
        let took = match answer {
            Answer::Status(_) | Answer::Nothing => Some(began.elapsed()),
            Answer::Refused(_) | Answer::Delivered => None,
            Answer::Undelivered => {
                // A closed port fails at once and a filtered one late: both are recorded after the full timeout, so
                // that the owner cannot tell them apart.
                tokio::time::sleep_until((began + self.patience).into()).await;
                None
            }
        };
        let noted = async {
            let mut conn = self.pool.acquire().await?;
            webhooks::note_attempt(&mut conn, &delivery, answer, took).await
        };
        let outcomes = &METRICS.time.webhook_attempts;
        outcomes.with_label_values(&[outcome]).inc();
        match noted.await {
            Ok(()) => {
                tracing::info!(
                    delivery.id = %delivery.id,
                    delivery.event = delivery.event.word(),
                    delivery.attempt,
                    outcome,
                    "webhook delivery {} was attempted: {outcome}",
                    delivery.id
                );
            }
            // The message is sent again; its id tells the receiver that it is a duplicate.
            Err(error) => {
                tracing::warn!(
                    delivery.id = %delivery.id,
                    error = ?error,
                    "could not record the outcome of webhook delivery {}; it will be sent again",
                    delivery.id
                );
            }
        }
    }

    async fn send(&self, delivery: &DueDelivery) -> Answer {
        let (Ok(url), Ok(secret)) = (&delivery.url, &delivery.secret) else {
            return Answer::Refused(
                "the webhook's secrets cannot be decrypted with a master key of this server",
            );
        };
        let Ok(url) = Url::parse(url.expose_secret()) else {
            return Answer::Refused("the webhook's address is not a valid URL");
        };
        let guarded = if delivery.by_admin {
            &self.administrators
        } else {
            &self.users
        };
        let Ok(client) = guarded.client(&url) else {
            return Answer::Refused("the webhook's address is one that this server may not call");
        };
        let body = body(delivery).to_string();
        let id = delivery.id.to_string();
        // The time of the attempt, not of the message: receivers refuse old timestamps as replays.
        let timestamp = chrono::Utc::now().timestamp();
        let signed = Webhook::new(secret.expose_secret())
            .and_then(|webhook| webhook.sign(&id, timestamp, body.as_bytes()));
        let Ok(signature) = signed else {
            return Answer::Refused("the webhook's secret is invalid");
        };
        let request = client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header(HEADER_WEBHOOK_ID, id)
            .header(HEADER_WEBHOOK_TIMESTAMP, timestamp)
            .header(HEADER_WEBHOOK_SIGNATURE, signature)
            .body(body);
        let (status, peer) = match request.send().await {
            Ok(response) => (Some(response.status()), response.remote_addr()),
            Err(_) => (None, None),
        };
        // A user must not learn which services listen inside the network. Where no inside address is allowed, every
        // connection went to the public internet.
        let is_public = peer.is_some_and(|peer| OutboundPolicy::is_public(peer.ip()))
            || !self.policies.of(false).allows_more();
        match status {
            _ if !delivery.by_admin && !is_public => {
                if status.is_some_and(|status| status.is_success()) {
                    Answer::Delivered
                } else {
                    Answer::Undelivered
                }
            }
            Some(status) => Answer::Status(status.as_u16()),
            None => Answer::Nothing,
        }
    }
}

/// Releases a place of an owner.
fn leave(owners: &mut Vec<i64>, owner_id: i64) {
    if let Some(place) = owners.iter().position(|owner| *owner == owner_id) {
        owners.swap_remove(place);
    }
}

/// The body of the message.
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

/// Escapes the three characters that Slack treats as markup: names chosen by users must not mention channels or hide
/// links.
fn slack_text(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}
