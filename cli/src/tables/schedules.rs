//! Tables of schedules and their ticks.

use opb_core::schedules::{Firing, Schedule};

use super::table;
use crate::text;

/// Schedules, one a line.
pub fn schedules(schedules: &[Schedule]) -> String {
    let mut table = table(&["schedule", "name", "cron", "time zone", "next", "last tick"]);
    for schedule in schedules {
        let next = match (schedule.paused_at, schedule.next_times.first()) {
            (Some(_), _) => "paused".to_owned(),
            (None, Some(next)) => text::time(*next),
            (None, None) => "never".to_owned(),
        };
        let last = schedule.last_firing.as_ref();
        table.add_row(vec![
            schedule.id.to_string(),
            text::plain(&schedule.name),
            text::plain(&schedule.cron),
            text::plain(&schedule.time_zone),
            next,
            last.map(|firing| firing.state.word().to_owned())
                .unwrap_or_default(),
        ]);
    }
    table.to_string()
}

/// A schedule, when it is due, and what became of its ticks.
pub fn schedule(schedule: &Schedule, firings: &[Firing]) -> String {
    let mut lines = vec![format!(
        "schedule {} {}: {} in {}",
        schedule.id,
        text::plain(&schedule.name),
        text::plain(&schedule.cron),
        text::plain(&schedule.time_zone)
    )];
    if schedule.paused_at.is_some() {
        lines.push("paused".to_owned());
    }
    let next = schedule.next_times.iter();
    lines.extend(next.map(|time| format!("next: {}", text::time(*time))));
    if !firings.is_empty() {
        let mut table = table(&["due", "state", "missed before", "run", "reason"]);
        for firing in firings {
            table.add_row(vec![
                text::time(firing.due_at),
                firing.state.word().to_owned(),
                firing.missed.to_string(),
                firing.run_id.map(|id| id.to_string()).unwrap_or_default(),
                text::plain(&firing.reason),
            ]);
        }
        lines.push(table.to_string());
    }
    lines.join("\n")
}
