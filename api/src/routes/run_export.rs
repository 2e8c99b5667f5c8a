//! Export of a run's evaluations as one file of any length. No database connection is held while the client reads.

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header::{CONTENT_DISPOSITION, CONTENT_TYPE},
    response::IntoResponse,
};
use futures::stream;
use opb_core::{
    Error,
    runs::{self, Evaluation, EvaluationFilter, EvaluationKey, EvaluationState, Run, RunReference},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AppState,
    caller::{Turn, Viewer, Watch},
    parameters::{Path, Query},
    problem::Result,
    seats::Seat,
};

/// Number of evaluations that are read at once, if their texts are short; bounds the memory of an export of any
/// length.
const BATCH: i64 = 500;

/// The header row of a CSV file.
const HEADINGS: [&str; 24] = [
    "run",
    "item",
    "repeat",
    "prompt",
    "model",
    "parameters",
    "state",
    "score",
    "vars",
    "expected",
    "output",
    "scores",
    "finish_reason",
    "error_kind",
    "error",
    "attempts",
    "latency_ms",
    "first_token_ms",
    "input_tokens",
    "output_tokens",
    "reasoning_tokens",
    "cost_microusd",
    "cached",
    "recorded_at",
];

/// Filter and format of a run's evaluations. All conditions must hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunExportQuery {
    /// `jsonl`, the default: one object per line, as in the list of evaluations; or `csv`: a table with a header row.
    #[serde(default)]
    #[param(inline, required = false)]
    format: RunExportFormat,
    /// Only evaluations in this state.
    #[param(inline)]
    state: Option<EvaluationState>,
    /// Only evaluations of the item with this id.
    item: Option<String>,
    /// Only evaluations of this prompt of the run: `slug` or `slug@number`.
    prompt: Option<String>,
    /// Only evaluations of this model of the run: `provider:name`, or with its parameters as in `local:small
    /// temperature=0`.
    model: Option<String>,
    /// Only evaluations with this kind of error, such as `timeout`.
    error_kind: Option<String>,
}

/// The format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RunExportFormat {
    /// One object per line.
    #[default]
    Jsonl,
    /// A table.
    Csv,
}

pub(crate) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(export_run))
}

/// Exports all evaluations of a run as a file.
///
/// Evaluations that are recorded during the export may be missing. In a CSV file, text that a spreadsheet would read
/// as a formula (beginning with `=`, `+`, `-`, `@`, a tab or a line break) is prefixed with `'`.
#[utoipa::path(
    get,
    path = "/api/v1/runs/{run}/export",
    tag = "runs",
    params(("run" = String, Path, description = "The run: its number, its id, the end of its id, or `last` for the caller's newest run"), RunExportQuery),
    security((), ("bearer" = [])),
    responses(
        (status = 200, description = "The evaluations, item by item", body = String, content_type = "application/x-ndjson"),
        (status = 403, description = "The run is the caller's own, but its benchmark or a prompt is no longer visible to them", body = crate::Problem, content_type = "application/problem+json"),
        (status = 429, description = "The caller has too many live streams and exports", body = crate::Problem, content_type = "application/problem+json")
    )
)]
async fn export_run(
    State(state): State<AppState>,
    Viewer(viewer): Viewer,
    watch: Watch,
    Turn(asker): Turn,
    Path(run): Path<RunReference>,
    Query(query): Query<RunExportQuery>,
) -> Result<impl IntoResponse> {
    let seat = state.seats.take(asker)?;
    let run = {
        let mut conn = state.conn().await?;
        runs::resolve_readable_run(&mut conn, viewer.as_ref(), &run).await?
    };
    let (extension, content_type) = match query.format {
        RunExportFormat::Jsonl => ("jsonl", "application/x-ndjson"),
        RunExportFormat::Csv => ("csv", "text/csv; charset=utf-8"),
    };
    let disposition = format!(
        "attachment; filename=\"opb-run-{}.{extension}\"",
        run.number
    );
    let mut export = Export {
        state,
        watch,
        run,
        format: query.format,
        filter: EvaluationFilter {
            state: query.state,
            item: query.item,
            prompt: query.prompt,
            model: query.model,
            error_kind: query.error_kind,
        },
        next: Next::Page(None),
        _seat: seat,
    };
    // The first piece is read before the status is sent, so that a filter that matches nothing of the run is refused.
    let first = export.piece().await?;
    let pieces = stream::try_unfold((Some(first), export), |(first, mut export)| async move {
        let piece = match first {
            Some(first) => first,
            None => export.piece().await.map_err(std::io::Error::other)?,
        };
        Ok::<_, std::io::Error>(piece.map(|piece| (piece, (None, export))))
    });
    let headers = [
        (CONTENT_TYPE, content_type.to_owned()),
        (CONTENT_DISPOSITION, disposition),
    ];
    Ok((headers, Body::from_stream(pieces)))
}

/// An export in progress.
struct Export {
    state: AppState,
    watch: Watch,
    run: Run,
    format: RunExportFormat,
    filter: EvaluationFilter,
    next: Next,
    _seat: Seat,
}

enum Next {
    /// The page after this evaluation.
    Page(Option<EvaluationKey>),
    Done,
}

impl Export {
    /// The next piece of the file; `None` after the last.
    async fn piece(&mut self) -> opb_core::Result<Option<Bytes>> {
        let Next::Page(after) = self.next else {
            return Ok(None);
        };
        // A user who has logged out or may no longer read the run gets no more data.
        let viewer = self.watch.viewer(&self.state).await?;
        let page = {
            let mut conn = self.state.pool.acquire().await?;
            self.run = runs::find_readable_run(&mut conn, viewer.as_ref(), self.run.id).await?;
            runs::list_evaluations(&mut conn, &self.run, &self.filter, after, BATCH).await?
        };
        self.next = page.next.map_or(Next::Done, |next| Next::Page(Some(next)));
        let mut piece = String::new();
        if self.format == RunExportFormat::Csv && after.is_none() {
            line(
                &mut piece,
                HEADINGS.iter().map(|heading| (*heading).to_owned()),
            );
        }
        for evaluation in &page.evaluations {
            match self.format {
                RunExportFormat::Jsonl => {
                    piece.push_str(&json(evaluation)?);
                    piece.push('\n');
                }
                RunExportFormat::Csv => {
                    line(&mut piece, cells(self.run.number, evaluation)?.into_iter());
                }
            }
        }
        Ok(Some(piece.into()))
    }
}

fn cells(run: i64, evaluation: &Evaluation) -> opb_core::Result<[String; HEADINGS.len()]> {
    let number = |number: Option<i64>| number.map(|number| number.to_string()).unwrap_or_default();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    Ok([
        run.to_string(),
        evaluation.item.clone(),
        evaluation.repeat.to_string(),
        evaluation.prompt.clone(),
        evaluation.model.clone(),
        json(&evaluation.parameters)?,
        word(&evaluation.state),
        evaluation
            .score
            .map(|score| score.to_string())
            .unwrap_or_default(),
        json(&evaluation.vars)?,
        match &evaluation.expected {
            None => String::new(),
            Some(Value::String(expected)) => expected.clone(),
            Some(expected) => json(expected)?,
        },
        text(&evaluation.output),
        evaluation
            .scores
            .as_ref()
            .map(json)
            .transpose()?
            .unwrap_or_default(),
        text(&evaluation.finish_reason),
        text(&evaluation.error_kind),
        text(&evaluation.error),
        evaluation.attempts.to_string(),
        number(evaluation.latency_ms.map(i64::from)),
        number(evaluation.first_token_ms.map(i64::from)),
        number(evaluation.input_tokens.map(i64::from)),
        number(evaluation.output_tokens.map(i64::from)),
        number(evaluation.reasoning_tokens.map(i64::from)),
        number(evaluation.cost_microusd),
        evaluation.cached.to_string(),
        evaluation.recorded_at.to_rfc3339(),
    ])
}

/// Writes a row of CSV (RFC 4180).
fn line(file: &mut String, cells: impl Iterator<Item = String>) {
    for (index, cell) in cells.enumerate() {
        if index > 0 {
            file.push(',');
        }
        // A model's output must not become a formula in the reader's spreadsheet.
        let is_formula =
            cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\n']) && !is_plain_number(&cell);
        let quoted = cell.contains([',', '"', '\n', '\r']);
        if quoted {
            file.push('"');
        }
        if is_formula {
            file.push('\'');
        }
        if quoted {
            file.push_str(&cell.replace('"', "\"\""));
            file.push('"');
        } else {
            file.push_str(&cell);
        }
    }
    file.push_str("\r\n");
}

/// True for `-0.5` and `-1e-3`, which no spreadsheet evaluates; not for `-1+1`.
fn is_plain_number(cell: &str) -> bool {
    let digits = cell.strip_prefix(['-', '+']).unwrap_or(cell);
    digits.starts_with(|first: char| first.is_ascii_digit()) && digits.parse::<f64>().is_ok()
}

fn json(value: &impl Serialize) -> opb_core::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| Error::Internal(format!("a result does not serialise: {error}")))
}

/// The value of an enum as in JSON.
fn word(value: &impl Serialize) -> String {
    let value = serde_json::to_value(value).ok();
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_quoted_and_no_formulas() {
        let check = |cell: &str, expect: &str| {
            let mut file = String::new();
            line(&mut file, ["a".to_owned(), cell.to_owned()].into_iter());
            assert_eq!(file, format!("a,{expect}\r\n"), "{cell:?}");
        };
        check("plain", "plain");
        check("", "");
        check("one, two", "\"one, two\"");
        check("say \"a\"", "\"say \"\"a\"\"\"");
        check("two\nlines", "\"two\nlines\"");
        check("=1+1", "'=1+1");
        check("@SUM(A1)", "'@SUM(A1)");
        for number in ["-5", "+5", "-0.5", "-1e-3", "-1E+6", "-00.50"] {
            check(number, number);
        }
        for formula in [
            "-", "-A1", "-1+1", "-1e", "-1-1e3", "--1", "-.5", "-inf", "-nan", "-1 ",
        ] {
            check(formula, &format!("'{formula}"));
        }
        check("+5,-5", "\"'+5,-5\"");
        check("\t=1", "'\t=1");
        check("\r=1", "\"'\r=1\"");
        check("5-1", "5-1");
    }
}
