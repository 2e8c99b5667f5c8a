//! Tables of schedules and their ticks. Times are in the schedule's time zone.

use opb_core::{
    models::ModelRequest,
    runs::SubmitRun,
    schedules::{CatchUp, Firing, Schedule},
};
use serde_json::Value;

use super::{
    Report,
    layout::{Column, Table},
    parameters::model,
};
use crate::text;

/// A list of schedules.
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

/// A schedule: what it runs, when it is due, and the results of its ticks.
pub fn schedule(schedule: &Schedule, firings: &[Firing]) -> Report {
    let zone = schedule.time_zone.as_str();
    let mut report = Report::of(format!(
        "schedule {}: {} in {} (id {})",
        text::plain(&schedule.name),
        text::plain(&schedule.cron),
        text::plain(zone),
        schedule.id
    ));
    for line in request(&schedule.request) {
        report.line(line);
    }
    report.line(pace(schedule));
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

/// The request of each tick.
fn request(request: &SubmitRun) -> Vec<String> {
    let prompts: Vec<String> = request.prompts.iter().map(|it| text::plain(it)).collect();
    let models = request.models.iter().map(|request| match request {
        ModelRequest::Name(name) => model(name, None),
        ModelRequest::WithParameters(with) => {
            model(&with.model, Some(&Value::from(with.parameters.clone())))
        }
    });
    let models: Vec<String> = models.collect();
    let mut size = vec![match request.limit {
        Some(limit) => format!("the first {}", text::counted(limit, "item")),
        None => "all items".to_owned(),
    }];
    if request.repeats > 1 {
        size.push(text::counted(request.repeats, "repeat"));
    }
    size.push(match request.budget_microusd {
        Some(budget) => format!("budget {}", text::dollars(budget)),
        None => "no budget".to_owned(),
    });
    if request.priority != 0 {
        size.push(format!("priority {}", request.priority));
    }
    if let Some(calls) = request.concurrency {
        size.push(format!("{calls} concurrent calls to each provider"));
    }
    if !request.cache {
        size.push("without cached responses".to_owned());
    }
    if request.stop_early {
        size.push("stops early".to_owned());
    }
    let visibility = request.visibility.map(text::visibility);
    let mut lines = vec![
        format!("benchmark: {}", text::plain(&request.benchmark)),
        format!("prompts: {}", prompts.join(", ")),
        format!("models: {}", models.join(", ")),
        format!("each run: {}", size.join(", ")),
    ];
    lines.extend(visibility.map(|visibility| format!("visibility: {visibility}")));
    lines
}

/// How missed ticks are caught up, and how far ticks are delayed.
fn pace(schedule: &Schedule) -> String {
    let missed = match schedule.catch_up {
        CatchUp::Skip => "no run".to_owned(),
        CatchUp::Once => "one run for all".to_owned(),
        CatchUp::All => format!("a run for each, at most {}", schedule.catch_up_limit),
    };
    match schedule.jitter_seconds {
        0 => format!("after missed ticks: {missed}"),
        jitter => format!("after missed ticks: {missed}; each tick is delayed by up to {jitter} s"),
    }
}
