//! A run by itself: its own table, why evaluations failed, and single evaluations with question, answer and reasons.

use opb_core::{
    run_columns::{ErrorKind, RunColumn, RunColumns, RunGroups},
    runs::{Evaluation, EvaluationState, Run, RunState},
};
use serde_json::Value;

use super::{
    layout::{Cell, Column, Report, Screen, Table, wrap},
    parameters::{self, Parameters},
};
use crate::text;

/// The width of the words before a text.
const LABEL: usize = 10;

/// The run's own table: one line for each prompt on each model, the best first, with part scores and errors below.
pub fn run_columns(run: &Run, found: &RunColumns) -> Report {
    let shared = Parameters::of(found.columns.iter().map(|column| Some(&column.parameters)));
    let mut report = Report::of(title(run, found.state, &shared));
    report.table(table(found, &shared));
    if let Some(notice) = &found.notice {
        report.line(format!("NOTE: {notice}"));
    }
    let parts = part_scores(found);
    if !parts.is_empty() {
        report.line("\nPart scores");
        report.table(parts);
    }
    if let Some(errors) = errors(found) {
        report.line(format!("\nErrors\n{errors}"));
    }
    report.line("");
    report
}

/// The run split by a key of its items' metadata: each group with its prompts and models, the best first.
pub fn run_groups(run: &Run, found: &RunGroups) -> Report {
    let columns = found.groups.iter().flat_map(|group| &group.columns);
    let shared = Parameters::of(columns.map(|column| Some(&column.parameters)));
    let mut report = Report::of(title(run, found.state, &shared));
    report.line(format!("By {}", text::plain(&found.by)));
    let mut table = Table::new([
        Column::name("group", 12),
        Column::name("prompt", 12),
        Column::name("model", 14),
        Column::prose("parameters", 12),
        Column::right("score"),
        Column::right("passed").optional(3),
        Column::right("errors").optional(2),
        Column::right("items").optional(1),
    ]);
    let mut own = shared.own.iter();
    for group in &found.groups {
        let name = group.value.as_deref().unwrap_or("(none)");
        let with_parameters = group.columns.iter().zip(&mut own);
        let mut columns: Vec<_> = with_parameters.collect();
        columns
            .sort_by(|(a, _), (b, _)| b.score.unwrap_or(-1.0).total_cmp(&a.score.unwrap_or(-1.0)));
        for (column, parameters) in columns {
            let scored = column.passed + column.failed;
            let score = column.score.zip(column.score_low.zip(column.score_high));
            table.add_row([
                text::plain(name).into(),
                text::plain(&column.prompt).into(),
                text::plain(&column.model).into(),
                parameters.as_str().into(),
                match score {
                    Some((score, (low, high))) => text::score(score, low, high).into(),
                    None => Cell::from("-"),
                },
                match scored {
                    0 => "-".into(),
                    _ => format!("{}/{}", text::count(column.passed), text::count(scored)).into(),
                },
                text::none_or_count(column.errors),
                text::count(group.items).into(),
            ]);
        }
    }
    report.table(table);
    if let Some(notice) = &found.notice {
        report.line(format!("NOTE: {notice}"));
    }
    report
}

/// What the tables of a run begin with.
fn title(run: &Run, state: RunState, parameters: &Parameters) -> String {
    format!(
        "\n{}{}, run #{}{}{}",
        if run.simulated { "SIMULATED " } else { "" },
        text::plain(&run.benchmark),
        run.number,
        parameters.title(),
        if state.has_ended() {
            ""
        } else {
            "; not ended, the numbers will change"
        }
    )
}

fn table(found: &RunColumns, parameters: &Parameters) -> Table {
    let mut table = Table::new([
        Column::name("prompt", 12),
        Column::name("model", 14),
        Column::prose("parameters", 12),
        Column::right("score"),
        Column::right("passed").optional(6),
        Column::right("done").optional(7),
        Column::right("errors").optional(8),
        Column::right("cost").optional(5),
        Column::right("$ / pass").optional(2),
        Column::right("p50 ms").optional(4),
        Column::right("p95 ms").optional(3),
        Column::right("reasoning tokens").optional(1),
        Column::new("settled").optional(1),
    ]);
    let mut columns: Vec<(usize, &RunColumn)> = found.columns.iter().enumerate().collect();
    let score = |column: &RunColumn| {
        let figures = column.measured.figures.as_ref();
        figures.map_or(-1.0, |figures| figures.score)
    };
    columns.sort_by(|(_, a), (_, b)| score(b).total_cmp(&score(a)));
    for (index, column) in columns {
        let measured = &column.measured;
        let figures = measured.figures.as_ref();
        let own = parameters.own.get(index).cloned().unwrap_or_default();
        let scored = measured.passed + measured.failed;
        table.add_row([
            text::plain(&column.prompt).into(),
            text::plain(&column.model).into(),
            own.into(),
            match figures {
                Some(it) => text::score(it.score, it.score_low, it.score_high).into(),
                None => Cell::from("-"),
            },
            match scored {
                0 => "-".into(),
                scored => {
                    format!("{}/{}", text::count(measured.passed), text::count(scored)).into()
                }
            },
            if measured.evaluations == column.planned {
                Cell::idle("all")
            } else {
                format!(
                    "{}/{}",
                    text::count(measured.evaluations),
                    text::count(column.planned)
                )
                .into()
            },
            text::none_or_count(measured.errors),
            match (measured.cost_microusd, measured.evaluations) {
                (_, 0) => "-".into(),
                (Some(cost), _) => text::dollars(cost).into(),
                (None, _) => "unknown".into(),
            },
            dollars(figures.and_then(|it| it.cost_per_pass_microusd)).into(),
            text::millis(figures.and_then(|it| it.latency_p50_ms)).into(),
            text::millis(figures.and_then(|it| it.latency_p95_ms)).into(),
            match figures.and_then(|it| it.reasoning_tokens_mean) {
                Some(mean) => format!("{mean:.0}").into(),
                None => "-".into(),
            },
            if column.settled { "settled" } else { "" }.into(),
        ]);
    }
    table
}

/// The part scores of each column, one metric a line.
fn part_scores(found: &RunColumns) -> Table {
    let mut table = Table::new([
        Column::name("metric", 12),
        Column::name("prompt", 12),
        Column::name("model", 14),
        Column::right("score"),
        Column::right("items").optional(1),
    ]);
    for column in &found.columns {
        for part in &column.measured.part_scores {
            table.add_row([
                text::plain(&part.metric).into(),
                text::plain(&column.prompt).into(),
                text::plain(&parameters::model(&column.model, Some(&column.parameters))).into(),
                text::score(part.score, part.score_low, part.score_high).into(),
                text::count(part.items).into(),
            ]);
        }
    }
    table
}

/// Each kind of error with its commonest message, the most frequent first.
fn errors(found: &RunColumns) -> Option<String> {
    let mut all: Vec<(&RunColumn, &ErrorKind)> = found
        .columns
        .iter()
        .flat_map(|column| {
            column
                .measured
                .error_kinds
                .iter()
                .map(move |kind| (column, kind))
        })
        .collect();
    all.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.evaluations));
    let shown = all.iter().take(5).map(|(column, kind)| {
        let model = parameters::model(&column.model, Some(&column.parameters));
        let head = format!(
            "{} × {}, {} on {}, such as item {}",
            text::count(kind.evaluations),
            text::plain(&kind.kind),
            text::plain(&column.prompt),
            model,
            text::plain(&kind.item)
        );
        let message = paragraph(&kind.message, 4);
        if kind.message.is_empty() {
            format!("  {head}")
        } else {
            format!("  {head}\n{message}")
        }
    });
    let mut lines: Vec<String> = shown.collect();
    if all.len() > lines.len() {
        lines.push(format!("  and {} more kinds", all.len() - lines.len()));
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// One evaluation whole: what was asked, answered and expected, and what each scorer said.
pub fn evaluation(evaluation: &Evaluation) -> String {
    let state = match evaluation.state {
        EvaluationState::Passed => "passed",
        EvaluationState::Failed => "FAILED",
        EvaluationState::Error => "ERROR",
        EvaluationState::Unscored => "not scored",
    };
    let repeat = match evaluation.repeat {
        0 => String::new(),
        repeat => format!(", repeat {}", repeat + 1),
    };
    let mut facts = Vec::new();
    if let Some(score) = evaluation.score {
        facts.push(format!("score {score}"));
    }
    if let Some(latency) = evaluation.latency_ms {
        facts.push(format!("{} ms", text::count(latency.into())));
    }
    if let Some(cost) = evaluation.cost_microusd {
        facts.push(text::dollars(cost));
    }
    if evaluation.attempts > 1 {
        facts.push(format!("{} attempts", evaluation.attempts));
    }
    if evaluation.cached {
        facts.push("from the cache".to_owned());
    }
    if let Some(reason) = evaluation
        .finish_reason
        .as_deref()
        .filter(|reason| *reason != "stop")
    {
        facts.push(format!("ended by {}", text::plain(reason)));
    }
    let head = format!(
        "{state}  item {}{repeat}: {} on {}",
        text::plain(&evaluation.item),
        text::plain(&evaluation.prompt),
        parameters::model(&evaluation.model, Some(&evaluation.parameters))
    );
    let mut lines = vec![wrap(&head, Screen::of_stdout().width)];
    if !facts.is_empty() {
        lines.push(format!("  {}", facts.join(", ")));
    }
    lines.push(labelled("asked", &asked(&evaluation.vars)));
    if let Some(expected) = &evaluation.expected {
        lines.push(labelled("expected", &shown(expected)));
    }
    if let Some(output) = &evaluation.output {
        lines.push(labelled(
            "answer",
            if output.is_empty() { "(empty)" } else { output },
        ));
    }
    for line in evaluation.scores.iter().flat_map(|scores| scores.iter()) {
        let verdict = match (line.outcome.as_str(), line.pass) {
            (_, Some(true)) => "passed",
            (_, Some(false)) => "failed",
            ("not_applicable", _) => "not applicable",
            _ => "error",
        };
        let metric = line.metric.as_ref().map(|metric| format!(" ({metric})"));
        lines.push(labelled(
            "scorer",
            &format!(
                "{}{} {verdict}: {}",
                line.scorer,
                metric.unwrap_or_default(),
                line.reason
            ),
        ));
    }
    if let Some(kind) = &evaluation.error_kind {
        let error = evaluation.error.as_deref().unwrap_or_default();
        lines.push(labelled("error", &format!("{kind}: {error}")));
    }
    lines.push(String::new());
    lines.join("\n")
}

/// The values of the variables: one alone without its name.
fn asked(vars: &Value) -> String {
    match vars.as_object() {
        Some(vars) if vars.len() == 1 => vars.values().map(shown).collect(),
        Some(vars) => {
            let lines = vars
                .iter()
                .map(|(name, value)| format!("{name}: {}", shown(value)));
            lines.collect::<Vec<_>>().join("\n")
        }
        None => shown(vars),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A text with a word before it; its further lines stand below its first.
fn labelled(label: &str, text: &str) -> String {
    let text = paragraph(text, LABEL + 2);
    format!("  {label:<LABEL$}{}", text.trim_start())
}

/// A text whose lines fit the terminal, moved to the right. Nothing in it steers the terminal.
fn paragraph(text: &str, indent: usize) -> String {
    let width = Screen::of_stdout().width;
    let width = width.map(|width| width.saturating_sub(indent).max(20));
    let space = " ".repeat(indent);
    let lines = text.lines().map(|line| {
        let line = wrap(&text::plain(line), width);
        line.split('\n')
            .map(|line| format!("{space}{line}"))
            .collect::<Vec<_>>()
            .join("\n")
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An amount of which a fraction of a micro-dollar matters to nobody.
#[expect(clippy::cast_possible_truncation, reason = "an amount of money")]
fn dollars(microusd: Option<f64>) -> String {
    microusd.map_or_else(|| "-".to_owned(), |cost| text::dollars(cost.round() as i64))
}
