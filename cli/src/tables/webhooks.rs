//! Tables of webhooks, their messages and the attempts to send them.

use opb_core::webhooks::{Attempt, Delivery, DeliveryState, Webhook, WebhookEvent};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// A list of webhooks.
pub fn webhooks(webhooks: &[Webhook]) -> Report {
    let mut table = Table::new([
        Column::name("name", 12),
        Column::name("host", 14),
        Column::prose("events", 20).optional(2),
        Column::prose("now", 20),
        Column::new("id").optional(1),
    ]);
    for webhook in webhooks {
        table.add_row([
            text::plain(&webhook.name).into(),
            text::plain(&webhook.host).into(),
            events(webhook).into(),
            now(webhook).into(),
            webhook.id.to_string().into(),
        ]);
    }
    table.into()
}

/// A webhook and its messages.
pub fn webhook(webhook: &Webhook, deliveries: &[Delivery]) -> Report {
    let mut report = Report::of(format!(
        "webhook {}: sends {} to {} (id {})",
        text::plain(&webhook.name),
        events(webhook),
        text::plain(&webhook.host),
        webhook.id
    ));
    report.line(now(webhook));
    let mut table = Table::new([
        Column::new("message"),
        Column::new("state"),
        Column::new("event").optional(4),
        Column::new("written").optional(2),
        Column::right("attempts").optional(3),
        Column::prose("summary", 20).optional(1),
    ]);
    for delivery in deliveries {
        table.add_row([
            delivery.id.to_string().into(),
            state(delivery).into(),
            delivery.event.word().into(),
            text::time(delivery.created_at).into(),
            delivery.attempts.to_string().into(),
            text::plain(&delivery.summary).into(),
        ]);
    }
    report.table(table);
    report
}

/// The attempts to send a message.
pub fn attempts(attempts: &[Attempt]) -> Report {
    if attempts.is_empty() {
        return Report::of("not tried yet");
    }
    let mut table = Table::new([
        Column::right("attempt"),
        Column::new("ended").optional(1),
        Column::right("status"),
        Column::right("ms").optional(2),
        Column::prose("error", 30),
    ]);
    for attempt in attempts {
        let error = attempt.error.as_deref().map(text::plain);
        let status = attempt.status.map(|status| status.to_string());
        let duration = attempt.duration_ms.map(|millis| millis.to_string());
        table.add_row([
            attempt.number.to_string().into(),
            text::time(attempt.ended_at).into(),
            status.unwrap_or_default().into(),
            duration.unwrap_or_default().into(),
            error.unwrap_or_default().into(),
        ]);
    }
    table.into()
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
        (None, Some(since)) => format!(
            "failing since {}: {}",
            text::time(since),
            text::counted(webhook.failures, "attempt")
        ),
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
