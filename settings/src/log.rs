//! The log of a process, and its last line.

use std::{io::IsTerminal as _, process::ExitCode};

use clap::{Args, ValueEnum};
use tracing::Subscriber;
use tracing_subscriber::{
    EnvFilter, Layer, Registry, fmt, layer::SubscriberExt as _, registry::LookupSpan,
    util::SubscriberInitExt as _,
};

/// What a process says while it works.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Logging")]
pub struct LogSettings {
    /// What is logged: error, warn, info, debug, trace, or per module as in `opb_worker=debug,info`
    #[arg(long, env = "OPB_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(
        long,
        env = "OPB_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line, for machines.
    Json,
}

impl LogSettings {
    /// Starts logging to standard error.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start(&self) -> anyhow::Result<()> {
        self.start_beside(None)
    }

    /// Starts logging to standard error beside something else that hears of spans and events.
    ///
    /// # Errors
    /// The filter does not parse.
    pub fn start_beside(&self, other: Option<Listener>) -> anyhow::Result<()> {
        // Libraries log much at `info`, which hides our own lines; a user can still name their modules. A level that is
        // lower than `warn` applies to them, too.
        let mut directives = self.log.split(',').map(str::trim);
        let level = directives.rfind(|it| !it.contains('='));
        let (library, noisy) = match level.unwrap_or_default().to_ascii_lowercase().as_str() {
            "off" => ("off", "off"),
            "error" => ("error", "error"),
            _ => ("warn", "error"),
        };
        // Exported spans are not log lines; without an exporter they are disabled and cost nothing.
        let filter = EnvFilter::try_new(format!(
            "{EXPORTED_SPANS}=off,apalis={library},apalis_core={library},sqlx={library},sqlx::pool::acquire={noisy},sqlx::postgres::notice={noisy},{}",
            self.log
        ))
        .map_err(|error| anyhow::anyhow!("--log: {error}"))?;
        // A second start in one process (tests, `opb up`) keeps the first.
        let _ = match other {
            // Without another listener the filter is everybody's: what it refuses is not even made.
            None => tracing_subscriber::registry()
                .with(filter)
                .with(self.lines())
                .try_init(),
            Some(other) => tracing_subscriber::registry()
                .with(other)
                .with(self.lines().with_filter(filter))
                .try_init(),
        };
        Ok(())
    }

    fn lines<S>(&self) -> Box<dyn Layer<S> + Send + Sync>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal());
        match self.log_format {
            LogFormat::Text => lines.with_target(false).boxed(),
            LogFormat::Json => lines.json().boxed(),
        }
    }
}

/// What hears of spans and events beside the log.
pub type Listener = Box<dyn Layer<Registry> + Send + Sync>;

/// The target of spans that are exported as traces. The log never shows them, and nothing else is exported.
pub const EXPORTED_SPANS: &str = "opb_traces";

/// How a program ends that serves: an error is one line on standard error, in the form of the log.
#[must_use]
pub fn exit_code(result: &anyhow::Result<()>, format: LogFormat) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    eprintln!("{}", last_line(&format!("{error:#}"), format));
    ExitCode::FAILURE
}

/// What ends a program, in one line.
pub(crate) fn last_line(text: &str, format: LogFormat) -> String {
    let text = text.replace(['\r', '\n'], " ");
    match format {
        LogFormat::Text => format!("error: {text}"),
        LogFormat::Json => serde_json::json!({
            "timestamp": chrono::Utc::now().to_rfc3339_opts(chrono::SecondsFormat::Micros, true),
            "level": "ERROR",
            "fields": {"message": text},
            "target": env!("CARGO_CRATE_NAME"),
        })
        .to_string(),
    }
}
