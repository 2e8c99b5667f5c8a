//! Tables of webhooks, their messages and how attempts ended.

use opb_core::webhooks::{Attempt, Delivery, DeliveryState, Webhook, WebhookEvent};

use super::{align_right, table};
use crate::text;

/// Webhooks, one a line.
pub fn webhooks(webhooks: &[Webhook]) -> String {
    let mut table = table(&["webhook", "name", "host", "events", "now"]);
    for webhook in webhooks {
        table.add_row(vec![
            webhook.id.to_string(),
            text::plain(&webhook.name),
            text::plain(&webhook.host),
            events(webhook),
            now(webhook),
        ]);
    }
    table.to_string()
}

/// A webhook and what became of its messages.
pub fn webhook(webhook: &Webhook, deliveries: &[Delivery]) -> String {
    let mut lines = vec![
        format!(
            "webhook {} {}: {} is told of {}",
            webhook.id,
            text::plain(&webhook.name),
            text::plain(&webhook.host),
            events(webhook)
        ),
        now(webhook),
    ];
    if !deliveries.is_empty() {
        let mut table = table(&[
            "message", "written", "event", "state", "attempts", "summary",
        ]);
        for delivery in deliveries {
            table.add_row(vec![
                delivery.id.to_string(),
                text::time(delivery.created_at),
                delivery.event.word().to_owned(),
                state(delivery),
                delivery.attempts.to_string(),
                text::plain(&delivery.summary),
            ]);
        }
        align_right(&mut table, &[4]);
        lines.push(table.to_string());
    }
    lines.join("\n")
}

/// How the attempts of a message ended.
pub fn attempts(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "not tried yet".to_owned();
    }
    let mut table = table(&["attempt", "ended", "status", "ms", "error"]);
    for attempt in attempts {
        table.add_row(vec![
            attempt.number.to_string(),
            text::time(attempt.ended_at),
            attempt.status.map(|it| it.to_string()).unwrap_or_default(),
            attempt
                .duration_ms
                .map(|it| it.to_string())
                .unwrap_or_default(),
            attempt
                .error
                .as_deref()
                .map(text::plain)
                .unwrap_or_default(),
        ]);
    }
    align_right(&mut table, &[0, 2, 3]);
    table.to_string()
}

fn events(webhook: &Webhook) -> String {
    let words = webhook
        .events
        .iter()
        .map(|event| WebhookEvent::word(*event));
    words.collect::<Vec<_>>().join(", ")
}

fn now(webhook: &Webhook) -> String {
    match (webhook.disabled_at, webhook.failing_since) {
        (Some(since), _) => format!(
            "off since {}: {}",
            text::time(since),
            text::plain(&webhook.disabled_reason)
        ),
        (None, Some(since)) => {
            let failures = webhook.failures;
            format!("failing since {}: {failures} attempts", text::time(since))
        }
        (None, None) => "works".to_owned(),
    }
}

fn state(delivery: &Delivery) -> String {
    match (delivery.state, delivery.next_attempt_at) {
        (DeliveryState::Waiting, Some(next)) => format!("waiting until {}", text::time(next)),
        (DeliveryState::Waiting, None) => "waiting".to_owned(),
        (DeliveryState::Delivered, _) => "delivered".to_owned(),
        (DeliveryState::Failed, _) => "failed".to_owned(),
    }
}
