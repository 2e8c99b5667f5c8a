//! Tables of schedules and their ticks. Times are shown on the wall clock of the schedule's zone.

use opb_core::schedules::{Firing, Schedule};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// Schedules, one a line.
pub fn schedules(schedules: &[Schedule]) -> Report {
    let mut table = Table::new([
        Column::name("name", 12),
        Column::new("cron").optional(4),
        Column::new("next"),
        Column::new("last tick").optional(5),
        Column::name("benchmark", 12).optional(3),
        Column::new("time zone").optional(2),
        Column::new("id").optional(1),
    ]);
    for schedule in schedules {
        let next = match (schedule.paused_at, schedule.next_times.first()) {
            (Some(_), _) => "paused".to_owned(),
            (None, Some(next)) => text::time_in(*next, &schedule.time_zone),
            (None, None) => "never".to_owned(),
        };
        let last = schedule.last_firing.as_ref();
        table.add_row([
            text::plain(&schedule.name).into(),
            text::plain(&schedule.cron).into(),
            next.into(),
            last.map_or("", |firing| firing.state.word()).into(),
            text::plain(&schedule.request.benchmark).into(),
            text::plain(&schedule.time_zone).into(),
            schedule.id.to_string().into(),
        ]);
    }
    table.into()
}

/// A schedule, when it is due, and what became of its ticks.
pub fn schedule(schedule: &Schedule, firings: &[Firing]) -> Report {
    let zone = schedule.time_zone.as_str();
    let mut report = Report::of(format!(
        "schedule {}: {} in {} (id {})",
        text::plain(&schedule.name),
        text::plain(&schedule.cron),
        text::plain(zone),
        schedule.id
    ));
    if schedule.paused_at.is_some() {
        report.line("paused");
    }
    for time in &schedule.next_times {
        report.line(format!("next: {}", text::time_in(*time, zone)));
    }
    let mut table = Table::new([
        Column::new("due"),
        Column::new("state"),
        Column::right("missed before").optional(1),
        Column::new("run").optional(3),
        Column::prose("reason", 20).optional(2),
    ]);
    for firing in firings {
        table.add_row([
            text::time_in(firing.due_at, zone).into(),
            firing.state.word().into(),
            text::none_or_count(firing.missed.into()),
            firing
                .run_id
                .map(|id| id.to_string())
                .unwrap_or_default()
                .into(),
            text::plain(&firing.reason).into(),
        ]);
    }
    report.table(table);
    report
}
