//! How a command ends: its error message, and the exit code for scripts.

use std::{ffi::OsString, process::ExitCode};

use opb_core::FieldError;
use serde::Serialize;

use crate::client::RejectedRequest;

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run`, the run completed
  1    failed: no server answers, the server cannot serve now, a check failed,
       or an import was accepted in part only
  2    refused: an unknown option, a bad value, a file that is missing or wrong,
       or a request that the server refuses
  3    the run ended, but failed or was cancelled
  4    the run is paused, by a user or because its budget is used up
  5    the run completed, but a column scored less than --fail-under asks for
  130  interrupted by Ctrl-C; a run that was submitted goes on

With --json, an error is one JSON object on standard error: title, detail,
status (of the server's answer), errors (path and message of each wrong field)
and exit_code.

Settings come from the command line, the environment (the names are in each
--help) and a TOML file (--config), in this order.";

/// How a command ended that did its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Success.
    Done,
    /// A check failed; the problems were printed.
    ChecksFailed,
    /// The awaited run failed or was cancelled.
    RunFailed,
    /// The awaited run is paused.
    RunPaused,
    /// The awaited run completed, and a column scored less than --fail-under.
    BelowThreshold,
    /// The user interrupted the wait.
    Interrupted,
    /// Another program was run, and ended with this code.
    Code(u8),
}

/// An error that the user can fix by changing the command line, or a file that it names.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

/// An import failed after a part was accepted; never reported as bad usage.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct PartialImport(pub String);

/// An error as JSON, with the members of RFC 9457.
#[derive(Debug, Serialize)]
struct Problem<'a> {
    title: &'a str,
    detail: String,
    /// The HTTP status, if a server answered.
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<u16>,
    errors: &'a [FieldError],
    exit_code: u8,
}

/// Prints the error on standard error, and returns the exit code.
pub fn exit_code(result: anyhow::Result<Outcome>, json: bool) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::ChecksFailed) => ExitCode::from(1),
        Ok(Outcome::RunFailed) => ExitCode::from(3),
        Ok(Outcome::RunPaused) => ExitCode::from(4),
        Ok(Outcome::BelowThreshold) => ExitCode::from(5),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        // The reader of our output has closed it, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            let problem = problem(&error);
            problem.print(json);
            ExitCode::from(problem.exit_code)
        }
    }
}

/// Prints an error of the command line, and returns the exit code.
pub fn refuse(error: &clap::Error, words: &[OsString]) -> ExitCode {
    if opb_settings::is_help(error) {
        // Requested help is a success; a command without its subcommand is not.
        let _ = error.print();
        return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
    }
    let text = opb_settings::explain(error);
    let problem = Problem {
        title: "Bad usage",
        detail: text.strip_prefix("error: ").unwrap_or(&text).to_owned(),
        status: None,
        errors: &[],
        exit_code: 2,
    };
    problem.print(wants_json(words));
    ExitCode::from(2)
}

fn problem(error: &anyhow::Error) -> Problem<'_> {
    let detail = format!("{error:#}");
    if let Some(refused) = error.downcast_ref::<RejectedRequest>() {
        return Problem {
            title: &refused.title,
            detail,
            status: Some(refused.status),
            errors: &refused.errors,
            exit_code: if refused.is_final() && !error.is::<PartialImport>() {
                2
            } else {
                1
            },
        };
    }
    let (title, exit_code) = if error.is::<BadUsage>() {
        ("Bad usage", 2)
    } else {
        ("Failed", 1)
    };
    Problem {
        title,
        detail,
        status: None,
        errors: &[],
        exit_code,
    }
}

impl Problem<'_> {
    fn print(&self, json: bool) {
        match serde_json::to_string(self).ok().filter(|_| json) {
            Some(json) => eprintln!("{json}"),
            None => eprintln!("error: {}", self.detail),
        }
    }
}

/// Whether the arguments ask for JSON, even if they are not a valid command line.
fn wants_json(words: &[OsString]) -> bool {
    words
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word == "--json")
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
