//! Tables of alerts and their history.

use chrono::Utc;
use opb_core::alerts::{Alert, AlertEvent, AlertKind, AlertState};

use super::table;
use crate::text;

/// Alerts, one a line.
pub fn alerts(alerts: &[Alert]) -> String {
    let mut table = table(&["alert", "name", "schedule", "fires when", "now"]);
    for alert in alerts {
        table.add_row(vec![
            alert.id.to_string(),
            text::plain(&alert.name),
            alert.schedule_id.to_string(),
            rule(alert),
            now(alert),
        ]);
    }
    table.to_string()
}

/// An alert, what fires now, and its history.
pub fn alert(alert: &Alert, events: &[AlertEvent]) -> String {
    let mut lines = vec![format!(
        "alert {} {}: {}, of schedule {}",
        alert.id,
        text::plain(&alert.name),
        rule(alert),
        alert.schedule_id
    )];
    lines.push(now(alert));
    lines.extend(alert.firing.iter().map(|subject| {
        format!(
            "since {}: {}: {}",
            text::time(subject.since),
            text::plain(&subject.label),
            text::plain(&subject.summary)
        )
    }));
    if !events.is_empty() {
        let mut table = table(&["when", "state", "what", "summary", "told", "run"]);
        for event in events {
            let state = match event.state {
                AlertState::Firing => "firing",
                AlertState::Resolved => "resolved",
            };
            table.add_row(vec![
                text::time(event.created_at),
                state.to_owned(),
                text::plain(&event.label),
                text::plain(&event.summary),
                if event.silenced { "no" } else { "yes" }.to_owned(),
                event.run_id.map(|id| id.to_string()).unwrap_or_default(),
            ]);
        }
        lines.push(table.to_string());
    }
    lines.join("\n")
}

/// When it fires, with the threshold in people's units.
fn rule(alert: &Alert) -> String {
    let threshold = alert.threshold;
    let percent = threshold * 100.0;
    match alert.kind {
        AlertKind::ScoreDrop => format!("the score drops by {percent:.1} points"),
        AlertKind::Cost => format!("a run costs more than ${:.2}", threshold / 1e6),
        AlertKind::Latency => format!("latency is above {threshold:.0} ms"),
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
