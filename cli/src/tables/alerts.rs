//! Tables of alerts and their history.

use chrono::Utc;
use opb_core::alerts::{Alert, AlertEvent, AlertKind, AlertState};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// A list of alerts.
pub fn alerts(alerts: &[Alert]) -> Report {
    let mut table = Table::new([
        Column::name("name", 12),
        Column::name("schedule", 12).optional(3),
        Column::prose("fires when", 24).optional(2),
        Column::new("now"),
        Column::new("id").optional(1),
    ]);
    for alert in alerts {
        table.add_row([
            text::plain(&alert.name).into(),
            text::plain(&alert.schedule).into(),
            rule(alert).into(),
            now(alert).into(),
            alert.id.to_string().into(),
        ]);
    }
    table.into()
}

/// An alert, what fires now, and its history.
pub fn alert(alert: &Alert, events: &[AlertEvent]) -> Report {
    let mut report = Report::of(format!(
        "alert {} on schedule {}: {} (id {})",
        text::plain(&alert.name),
        text::plain(&alert.schedule),
        rule(alert),
        alert.id
    ));
    report.line(now(alert));
    for subject in alert.firing.iter() {
        report.line(format!(
            "since {}: {}: {}",
            text::time(subject.since),
            text::plain(&subject.label),
            text::plain(&subject.summary)
        ));
    }
    let mut table = Table::new([
        Column::new("when"),
        Column::new("state"),
        Column::name("what", 16),
        Column::prose("summary", 24),
        Column::new("sent").optional(2),
        Column::new("run").optional(1),
    ]);
    for event in events {
        let state = match event.state {
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        };
        table.add_row([
            text::time(event.created_at).into(),
            state.into(),
            text::plain(&event.label).into(),
            text::plain(&event.summary).into(),
            if event.silenced { "no" } else { "yes" }.into(),
            event
                .run_id
                .map(|id| id.to_string())
                .unwrap_or_default()
                .into(),
        ]);
    }
    report.table(table);
    report
}

/// The condition of the alert, with the threshold in people's units.
fn rule(alert: &Alert) -> String {
    let threshold = alert.threshold;
    let percent = threshold * 100.0;
    match alert.kind {
        AlertKind::ScoreDrop => format!("the score drops by {percent:.1} points"),
        AlertKind::Cost => format!("a run costs more than {}", text::small_dollars(threshold)),
        AlertKind::Latency => format!("p95 latency is above {threshold:.0} ms"),
        AlertKind::FailureRate => format!("more than {percent:.1} % end in an error"),
        AlertKind::Budget => format!("{percent:.1} % of the budget is spent"),
    }
}

fn now(alert: &Alert) -> String {
    let state = match alert.firing.len() {
        0 => "quiet".to_owned(),
        count => format!("firing: {count}"),
    };
    match alert.silenced_until {
        Some(until) if until > Utc::now() => {
            format!("{state}, silent until {}", text::time(until))
        }
        _ => state,
    }
}
