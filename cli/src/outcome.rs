//! How a command ends: what it says, and the exit code that scripts read.

use std::process::ExitCode;

use crate::client::Conflict;

/// The exit codes, as `--help` shows them.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done; for `run`, the run completed
  1    something went wrong: no server answers, a file cannot be read, a check failed
  2    bad usage: an unknown option, a bad value, a request that the server refuses
  3    the run ended, but failed or was cancelled
  4    the run is paused, by somebody or because its budget is used up
  130  interrupted by Ctrl-C; a run that was submitted goes on

Settings come from the command line, the environment (the names are in each --help)
and a TOML file (--config), in this order.";

/// How a command ended that could do its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All went well.
    Done,
    /// A check failed; what is wrong was printed.
    Faulty,
    /// The run that was waited for failed or was cancelled.
    RunFailed,
    /// The run that was waited for is paused.
    RunPaused,
    /// The user did not wait for the end.
    Interrupted,
    /// Another program ran, and ended with this code.
    Code(u8),
}

/// An error that the user mends by writing the command differently.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct BadUsage(pub String);

/// Prints what went wrong as one line on standard error, and says how the process ends.
pub fn exit_code(result: anyhow::Result<Outcome>) -> ExitCode {
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Faulty) => ExitCode::from(1),
        Ok(Outcome::RunFailed) => ExitCode::from(3),
        Ok(Outcome::RunPaused) => ExitCode::from(4),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Ok(Outcome::Code(code)) => ExitCode::from(code),
        // Whoever reads our output has had enough, as `head` has.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(if error.is::<BadUsage>() || error.is::<Conflict>() {
                2
            } else {
                1
            })
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
