//! A run as a JUnit report: each evaluation is a test case of the class `prompt model`.

use std::{fmt::Write as _, fs::File, io::Write};

use opb_core::{
    models::model_label,
    runs::{Evaluation, EvaluationState, Run},
};

use super::{escape, for_each, reasons};

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
    // A run without all of its results must not look like a success.
    let missing = run.planned - run.skipped - run.recorded;
    let is_incomplete = missing > 0 || !run.state.has_ended();
    total.tests += u64::from(is_incomplete);
    total.errors += u64::from(is_incomplete);
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
    if is_incomplete {
        let message = format!("{missing} of {} evaluations have no result", run.planned);
        writeln!(
            out,
            "<testcase classname=\"run\" name=\"is complete\" time=\"0.000\"><error type=\"incomplete\" message=\"{message}\"/></testcase>"
        )?;
    }
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

fn seconds(milliseconds: i64) -> String {
    format!("{}.{:03}", milliseconds / 1000, milliseconds % 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_become_seconds() {
        assert_eq!(seconds(61_007), "61.007");
    }
}
