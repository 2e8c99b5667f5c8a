//! A run as one HTML page that can be sent around: its own table, then each evaluation with question, answer and reasons.
//!
//! The page needs no other file and holds no script. Answers are other people's texts: they are escaped, and the page's own
//! policy forbids whatever might slip through.

use std::{fs::File, io::Write};

use opb_core::{
    models::model_label,
    run_columns::{RunColumn, RunColumns},
    runs::{Evaluation, EvaluationState, Run},
};
use serde_json::Value;

use super::{escape, for_each, reasons};
use crate::text;

const STYLE: &str = "
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --odd: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --odd: #d29922 } }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { text-align: left; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th.number, td.number { text-align: right }
details { border-bottom: 1px solid var(--line); padding: .3rem 0 }
summary { cursor: pointer; overflow-wrap: anywhere }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1rem; margin: .5rem 0 1rem 1.2rem }
dt { opacity: .7 } dd { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere }
.passed { color: var(--good) } .failed { color: var(--bad) } .error, .unscored { color: var(--odd) }
.note { opacity: .75 }
";

/// Writes the page: the run's own table, and the evaluations, an object a line from the file's start.
///
/// # Errors
/// The file cannot be read, a line is no evaluation, or the page cannot be written.
pub fn write(
    run: &Run,
    columns: &RunColumns,
    lines: &mut File,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let title = format!("Run #{} of {}", run.number, run.benchmark);
    write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n",
        title = escape(&title)
    )?;
    out.write_all(facts(run, columns).as_bytes())?;
    out.write_all(table(columns).as_bytes())?;
    writeln!(out, "<h2>Evaluations</h2>")?;
    let mut shown = 0_i64;
    for_each(lines, |evaluation| {
        shown += 1;
        out.write_all(details(&evaluation).as_bytes())?;
        Ok(())
    })?;
    let end = match shown {
        0 => "None of the run's evaluations is in this report.".to_owned(),
        _ if shown >= run.recorded => format!(
            "{}: all that were recorded when this was written.",
            text::counted(shown, "evaluation")
        ),
        _ => format!(
            "{} of {} that are recorded.",
            text::counted(shown, "evaluation"),
            text::count(run.recorded)
        ),
    };
    writeln!(out, "<p class=\"note\">{end}</p>\n</body>\n</html>")?;
    Ok(out.flush()?)
}

/// What must be known before the numbers are read.
fn facts(run: &Run, columns: &RunColumns) -> String {
    let mut facts = vec![format!(
        "{}, {}, intervals at {:.0} %.",
        run.created_at.format("%Y-%m-%d %H:%M UTC"),
        text::counted(run.recorded, "recorded evaluation"),
        columns.confidence * 100.0
    )];
    if run.simulated {
        facts.push(
            "SIMULATED: no model was called; these numbers say nothing about any real model."
                .to_owned(),
        );
    }
    if !columns.state.has_ended() {
        facts.push("The run has not ended, and the numbers will change.".to_owned());
    }
    facts.extend(columns.notice.clone());
    let facts = facts
        .iter()
        .map(|fact| format!("<p class=\"note\">{}</p>\n", escape(fact)));
    facts.collect()
}

/// The run's own table, the best column first.
fn table(found: &RunColumns) -> String {
    let score = |column: &RunColumn| column.measured.figures.as_ref().map_or(-1.0, |it| it.score);
    let mut columns: Vec<&RunColumn> = found.columns.iter().collect();
    columns.sort_by(|a, b| score(b).total_cmp(&score(a)));
    let rows = columns.into_iter().map(|column| {
        let measured = &column.measured;
        let figures = measured.figures.as_ref();
        let cost = match (measured.cost_microusd, measured.evaluations) {
            (_, 0) => "-".to_owned(),
            (Some(cost), _) => text::dollars(cost),
            (None, _) => "unknown".to_owned(),
        };
        let score = figures.map_or_else(
            || "-".to_owned(),
            |it| text::score(it.score, it.score_low, it.score_high),
        );
        let numbers = [
            score,
            format!(
                "{}/{}",
                text::count(measured.passed),
                text::count(measured.passed + measured.failed)
            ),
            text::count(measured.errors),
            cost,
            text::millis(figures.and_then(|it| it.latency_p50_ms)),
            text::millis(figures.and_then(|it| it.latency_p95_ms)),
        ];
        let numbers =
            numbers.map(|number| format!("<td class=\"number\">{}</td>", escape(&number)));
        format!(
            "<tr><td>{}</td><td>{}</td>{}</tr>\n",
            escape(&column.prompt),
            escape(&model_label(&column.model, &column.parameters)),
            numbers.concat()
        )
    });
    let heads = ["score", "passed", "errors", "cost", "p50 ms", "p95 ms"];
    let heads = heads.map(|head| format!("<th class=\"number\">{head}</th>"));
    format!(
        "<div class=\"wide\"><table>\n<thead><tr><th>prompt</th><th>model</th>{}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>\n",
        heads.concat(),
        rows.collect::<String>()
    )
}

/// An evaluation on a line that opens.
fn details(evaluation: &Evaluation) -> String {
    let (class, verdict) = match evaluation.state {
        EvaluationState::Passed => ("passed", "passed"),
        EvaluationState::Failed => ("failed", "failed"),
        EvaluationState::Error => ("error", "error"),
        EvaluationState::Unscored => ("unscored", "not scored"),
    };
    let repeat = match evaluation.repeat {
        0 => String::new(),
        repeat => format!(", repeat {}", repeat + 1),
    };
    let mut entries = Vec::new();
    for (name, value) in evaluation.vars.as_object().into_iter().flatten() {
        entries.push((name.clone(), shown(value)));
    }
    if let Some(expected) = &evaluation.expected {
        entries.push(("expected".to_owned(), shown(expected)));
    }
    if let Some(output) = &evaluation.output {
        entries.push(("answer".to_owned(), output.clone()));
    }
    match evaluation.state {
        EvaluationState::Failed => entries.push(("why".to_owned(), reasons(evaluation))),
        EvaluationState::Error => {
            let kind = evaluation.error_kind.as_deref().unwrap_or("error");
            let error = evaluation.error.as_deref().unwrap_or_default();
            entries.push(("why".to_owned(), format!("{kind}: {error}")));
        }
        EvaluationState::Passed | EvaluationState::Unscored => {}
    }
    let entries = entries
        .iter()
        .map(|(name, value)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(name), escape(value)));
    format!(
        "<details><summary><b class=\"{class}\">{verdict}</b> item {}{repeat}: {} on {}</summary>\n<dl>\n{}</dl></details>\n",
        escape(&evaluation.item),
        escape(&evaluation.prompt),
        escape(&model_label(&evaluation.model, &evaluation.parameters)),
        entries.collect::<String>()
    )
}

/// A text as it is, anything else as JSON.
fn shown(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
