//! A run as a JUnit report: each evaluation is a test case of the class `prompt model`.

use std::{
    fmt::Write as _,
    fs::File,
    io::{BufReader, Seek as _, Write},
};

use anyhow::Context as _;
use opb_core::{
    models::model_label,
    runs::{Evaluation, EvaluationState, Run},
};

use crate::files::read_line_bounded;

/// The longest line of an evaluation.
const MAX_LINE_BYTES: u64 = 256 << 20;

/// Writes the evaluations, an object a line from the file's start, as one suite.
///
/// # Errors
/// The file cannot be read again, a line is no evaluation, or the report cannot be written.
pub fn write(run: &Run, lines: &mut File, out: &mut impl Write) -> anyhow::Result<()> {
    let mut total = Total::default();
    for_each(lines, |evaluation| {
        total.add(&evaluation);
        Ok(())
    })?;
    let name = format!("run #{} of {}", run.number, run.benchmark);
    writeln!(out, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>")?;
    writeln!(out, "<testsuites>")?;
    writeln!(
        out,
        "<testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\" timestamp=\"{}\">",
        escape(&name),
        total.tests,
        total.failures,
        total.errors,
        total.skipped,
        seconds(total.latency_ms),
        run.created_at.format("%Y-%m-%dT%H:%M:%S"),
    )?;
    for_each(lines, |evaluation| {
        out.write_all(case(&evaluation).as_bytes())?;
        Ok(())
    })?;
    writeln!(out, "</testsuite>\n</testsuites>")?;
    Ok(out.flush()?)
}

#[derive(Default)]
struct Total {
    tests: u64,
    failures: u64,
    errors: u64,
    skipped: u64,
    latency_ms: i64,
}

impl Total {
    fn add(&mut self, evaluation: &Evaluation) {
        self.tests += 1;
        self.latency_ms += i64::from(evaluation.latency_ms.unwrap_or(0));
        match evaluation.state {
            EvaluationState::Passed => {}
            EvaluationState::Failed => self.failures += 1,
            EvaluationState::Error => self.errors += 1,
            EvaluationState::Unscored => self.skipped += 1,
        }
    }
}

fn for_each(
    lines: &mut File,
    mut take: impl FnMut(Evaluation) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    lines.rewind()?;
    let mut lines = BufReader::new(lines);
    loop {
        let line = read_line_bounded(&mut lines, MAX_LINE_BYTES);
        let line = line.context("an evaluation of the server cannot be read")?;
        if line.is_empty() {
            return Ok(());
        }
        let evaluation = serde_json::from_str(&line);
        take(evaluation.context("the server's answer was not understood")?)?;
    }
}

fn case(evaluation: &Evaluation) -> String {
    let class = format!(
        "{} {}",
        evaluation.prompt,
        model_label(&evaluation.model, &evaluation.parameters)
    );
    let name = match evaluation.repeat {
        0 => evaluation.item.clone(),
        repeat => format!("{} (repeat {})", evaluation.item, repeat + 1),
    };
    let mut case = format!(
        "<testcase classname=\"{}\" name=\"{}\" time=\"{}\"",
        escape(&class),
        escape(&name),
        seconds(i64::from(evaluation.latency_ms.unwrap_or(0)))
    );
    let (element, kind, message) = match evaluation.state {
        EvaluationState::Passed => {
            case.push_str("/>\n");
            return case;
        }
        EvaluationState::Unscored => {
            case.push_str("><skipped message=\"no scorer judges it\"/></testcase>\n");
            return case;
        }
        EvaluationState::Failed => ("failure", "score", reasons(evaluation)),
        EvaluationState::Error => (
            "error",
            evaluation.error_kind.as_deref().unwrap_or("error"),
            evaluation.error.clone().unwrap_or_default(),
        ),
    };
    let output = evaluation.output.as_deref().unwrap_or_default();
    // Writing into a text never fails.
    let _ = writeln!(
        case,
        "><{element} type=\"{}\" message=\"{}\">{}</{element}></testcase>",
        escape(kind),
        escape(&message),
        escape(output)
    );
    case
}

/// Why the answer did not pass, as its scorers say.
fn reasons(evaluation: &Evaluation) -> String {
    let scores = evaluation.scores.iter().flat_map(|scores| scores.iter());
    let failed = scores.filter(|score| score.pass == Some(false));
    let reasons: Vec<&str> = failed.map(|score| score.reason.as_str()).collect();
    if reasons.is_empty() {
        return format!("score {:.3}", evaluation.score.unwrap_or_default());
    }
    reasons.join("; ")
}

fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

/// A text in an attribute or an element. What XML cannot hold is replaced.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            letter => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_fit_into_xml() {
        assert_eq!(
            escape("a<b>&\"c\"\u{1b}[1m\n\u{ffff}é"),
            "a&lt;b&gt;&amp;&quot;c&quot;\u{fffd}[1m&#10;\u{fffd}é"
        );
        assert_eq!(seconds(61_007), "61.007");
    }
}
