//! The estimate of a run, and its basis.

use opb_core::runs::{Basis, Estimate, Interval};

use super::{
    Report,
    layout::{Column, Table},
};
use crate::text;

/// The estimated needs of a run, and their basis.
pub fn estimate(estimate: &Estimate) -> Report {
    let evaluations = text::counted(estimate.evaluations, "evaluation");
    let mut report = Report::of(if estimate.stop_early {
        format!("{evaluations}, or fewer: the run stops when its order is decided")
    } else {
        evaluations
    });
    let mut table = Table::new([
        Column::new(""),
        Column::right("at least"),
        Column::right("expected"),
        Column::right("at most"),
    ]);
    let mut add = |name: &str, interval: Interval, show: fn(i64) -> String| {
        table.add_row([
            name.into(),
            show(interval.low).into(),
            show(interval.expected).into(),
            show(interval.high).into(),
        ]);
    };
    add("calls", estimate.calls, text::count);
    add("input tokens", estimate.input_tokens, text::count);
    add("output tokens", estimate.output_tokens, text::count);
    if let Some(cost) = estimate.cost_microusd {
        add("cost", cost, text::dollars);
    }
    add("seconds", estimate.seconds, text::count);
    report.table(table);
    if !estimate.unpriced.is_empty() {
        let models = text::plain(&estimate.unpriced.join(", "));
        report.line(format!(
            "The cost is unknown: no price is set for {models}."
        ));
    }
    let mut sources = Table::new([
        Column::name("prompt", 14),
        Column::name("model", 16),
        Column::prose("based on", 24),
    ]);
    for column in &estimate.columns {
        let witnesses = text::counted(column.witnesses, "recorded evaluation");
        let basis = match column.basis {
            Basis::SamePromptAndModel => witnesses,
            Basis::SameModel => format!("{witnesses} of other prompts"),
            Basis::RoughRule => "a rough rule: nothing is recorded yet".to_owned(),
        };
        sources.add_row([
            text::plain(&column.prompt).into(),
            text::plain(&column.model).into(),
            basis.into(),
        ]);
    }
    report.table(sources);
    report
}
