//! Runs, one a line, and how one ended.

use opb_core::runs::Run;

use super::{
    Report,
    layout::{Column, Table},
};
use crate::{progress, text};

/// The runs of a page.
pub fn runs(runs: &[Run]) -> Report {
    let mut table = Table::new([
        Column::new("run"),
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
            run.id.to_string().into(),
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

/// One line about how a run ended.
pub fn run_summary(run: &Run) -> String {
    let reason = if run.state_reason.is_empty() {
        String::new()
    } else {
        format!(" ({})", text::plain(&run.state_reason))
    };
    let simulated = if run.simulated { "SIMULATED, " } else { "" };
    let seconds = run
        .started_at
        .zip(run.finished_at)
        .map(|(start, end)| (end - start).as_seconds_f64());
    let took = seconds
        .map(|seconds| format!(" in {seconds:.1} s"))
        .unwrap_or_default();
    format!(
        "{simulated}run {} {}{reason}: {} of {}{took}, {}, {}, {}",
        run.id,
        progress::state_name(run.state),
        text::count(run.recorded),
        text::counted(run.planned, "evaluation"),
        text::counted(run.errors, "error"),
        text::many(run.retries, "retry", "retries"),
        text::run_cost(run)
    )
}
