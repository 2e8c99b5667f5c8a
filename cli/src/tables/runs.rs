//! A table of runs, and a one-line summary of a run.

use opb_core::runs::{Run, RunState};

use super::layout::{Column, Report, Screen, Table, wrap};
use crate::{progress, text};

/// The runs of a page.
pub fn runs(runs: &[Run]) -> Report {
    let mut table = Table::new([
        Column::right("run"),
        Column::new("state"),
        Column::name("benchmark", 14),
        Column::right("done").optional(7),
        Column::right("errors").optional(5),
        Column::right("cost").optional(6),
        Column::new("created").optional(4),
        Column::right("prompts × models").optional(2),
        Column::new("simulated").optional(1),
        Column::name("name", 12).optional(3),
    ]);
    for run in runs {
        table.add_row([
            format!("#{}", run.number).into(),
            progress::state_name(run.state).into(),
            text::plain(&run.benchmark).into(),
            format!("{}/{}", text::count(run.recorded), text::count(run.planned)).into(),
            text::none_or_count(run.errors),
            text::run_cost(run).into(),
            text::time(run.created_at).into(),
            format!("{} × {}", run.prompts.len(), run.models.len()).into(),
            if run.simulated { "simulated" } else { "" }.into(),
            text::plain(&run.name).into(),
        ]);
    }
    table.into()
}

/// A one-line summary of a run: what it is, progress, duration and cost.
pub fn run_summary(run: &Run) -> String {
    let name = match run.name.as_str() {
        "" => String::new(),
        name => format!(" ({})", text::plain(name)),
    };
    let mut parts = vec![format!(
        "{} of {}",
        text::count(run.recorded),
        text::counted(run.planned, "evaluation")
    )];
    if let Some(finished_at) = run.finished_at {
        let seconds = (finished_at - run.active_since).as_seconds_f64();
        // The duration of a resumed run must not include the days before it was resumed.
        let resumed = (run.active_since - run.created_at).num_seconds() > 0;
        let since = if resumed { " since it was resumed" } else { "" };
        parts[0] = format!("{} in {}{since}", parts[0], text::duration(seconds));
    }
    if run.skipped > 0 {
        parts.push(format!("{} skipped", text::count(run.skipped)));
    }
    parts.push(text::counted(run.errors, "error"));
    if run.retries > 0 {
        parts.push(format!("{} repeated", text::counted(run.retries, "call")));
    }
    let cost = text::run_cost(run);
    // The prices of simulated models are made up, and nobody pays them.
    parts.push(if run.simulated && run.cost_microusd > 0 {
        format!("{cost} simulated")
    } else {
        cost
    });
    let simulated = if run.simulated { "SIMULATED " } else { "" };
    let mut line = format!(
        "{simulated}run #{}{name} {}: {}",
        run.number,
        progress::state_name(run.state),
        parts.join(", ")
    );
    if !run.state_reason.is_empty() {
        let separator = if run.state == RunState::Failed {
            "\n"
        } else {
            "; "
        };
        line.push_str(separator);
        line.push_str(&text::plain(&run.state_reason));
    }
    if let Some(reason) = &run.waiting_reason {
        line.push_str("\nwaiting: ");
        line.push_str(&text::plain(reason));
    }
    wrap(&line, Screen::of_stdout().width)
}
