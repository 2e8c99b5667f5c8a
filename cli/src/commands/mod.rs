//! The subcommands, one file each. Each starts the runtime that it needs, after the command line is parsed.

mod admin;
mod alert;
mod benchmark;
mod compare;
mod completions;
mod demo;
mod doctor;
mod health;
mod import;
mod key;
mod leaderboard;
mod login;
mod migrate;
mod model;
mod pick;
mod postgres;
mod price;
mod prompt;
mod provider;
mod run;
mod schedule;
mod secret;
mod simulate;
mod up;
mod webhook;

use std::{fmt::Display, io::Write as _};

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use opb_settings::FileSettings;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    outcome::{EXIT_CODES, Outcome},
    tables,
};

/// Measures prompts on models and says which is best, how sure that is, and what it costs.
#[derive(Debug, Parser)]
#[command(name = "opb", version, after_help = EXIT_CODES, arg_required_else_help = true)]
pub struct Program {
    #[command(flatten)]
    file: FileSettings,
    /// Print JSON for programs instead of text for people, errors included
    #[arg(long, global = true, help_heading = "Global options")]
    json: bool,
    /// Show every column of a table, however wide; always on where the output is not a terminal
    #[arg(long, global = true, help_heading = "Global options")]
    wide: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Up(Box<up::Up>),
    Demo(Box<demo::Demo>),
    Run(Box<run::RunCommand>),
    Leaderboard(Box<leaderboard::LeaderboardCommand>),
    Compare(compare::CompareColumns),
    #[command(alias = "benchmarks")]
    Benchmark(benchmark::BenchmarkCommand),
    #[command(alias = "prompts")]
    Prompt(Box<prompt::PromptCommand>),
    #[command(alias = "models")]
    Model(model::ModelCommand),
    #[command(alias = "providers")]
    Provider(provider::ProviderCommand),
    #[command(alias = "prices")]
    Price(price::PriceCommand),
    #[command(alias = "schedules")]
    Schedule(Box<schedule::ScheduleCommand>),
    #[command(alias = "alerts")]
    Alert(Box<alert::AlertCommand>),
    #[command(alias = "webhooks")]
    Webhook(Box<webhook::WebhookCommand>),
    Import(import::Import),
    Login(login::LogIn),
    Logout(login::LogOut),
    Whoami(login::WhoAmI),
    Key(Box<key::KeyCommand>),
    Simulate(simulate::Simulate),
    Migrate(migrate::Migrate),
    Admin(admin::Admin),
    Doctor(Box<doctor::Doctor>),
    Health(health::Health),
    Completions(completions::Completions),
    Postgres(postgres::WithPostgres),
    // Former names of the subcommands of `run`.
    #[command(hide = true)]
    Runs(run::list::ListRuns),
    #[command(hide = true)]
    Cancel(run::control::ControlRun),
    #[command(hide = true)]
    Pause(run::control::ControlRun),
    #[command(hide = true)]
    Resume(run::control::ResumeRun),
    #[command(hide = true)]
    Retry(run::control::RetryRun),
    #[command(hide = true)]
    Extend(run::control::ExtendCommand),
    #[command(hide = true)]
    Rescore(run::control::RescoreCommand),
}

impl Program {
    /// Whether output and errors are JSON.
    pub fn json(&self) -> bool {
        self.json
    }
}

/// Runs the command.
///
/// # Errors
/// The error, as text for the user.
pub fn execute(program: Program) -> anyhow::Result<Outcome> {
    let json = program.json;
    if program.wide {
        tables::layout::show_wide();
    }
    match program.command {
        Command::Up(command) => with_threads(command.execute(json)),
        Command::Demo(command) => with_threads(command.execute(json)),
        Command::Run(command) => alone(command.execute(json)),
        Command::Leaderboard(command) => alone(command.execute(json)),
        Command::Compare(command) => alone(command.execute(json)),
        Command::Runs(command) => alone(command.execute(json)),
        Command::Cancel(command) => alone(command.execute("cancel", json)),
        Command::Pause(command) => alone(command.execute("pause", json)),
        Command::Resume(command) => alone(command.execute(json)),
        Command::Retry(command) => alone(command.execute(json)),
        Command::Extend(command) => alone(command.execute(json)),
        Command::Rescore(command) => alone(command.execute(json)),
        Command::Benchmark(command) => alone(command.execute(json)),
        Command::Prompt(command) => alone(command.execute(json)),
        Command::Model(command) => alone(command.execute(json)),
        Command::Provider(command) => alone(command.execute(json)),
        Command::Price(command) => alone(command.execute(json)),
        Command::Schedule(command) => alone(command.execute(json)),
        Command::Alert(command) => alone(command.execute(json)),
        Command::Webhook(command) => alone(command.execute(json)),
        Command::Import(command) => alone(command.execute(json)),
        Command::Login(command) => alone(command.execute(json)),
        Command::Logout(command) => alone(command.execute(json)),
        Command::Whoami(command) => alone(command.execute(json)),
        Command::Key(command) => alone(command.execute(json)),
        Command::Simulate(command) => with_threads(command.execute(json)),
        Command::Admin(command) => alone(command.execute(json)),
        Command::Migrate(command) => alone(command.execute(json)),
        Command::Doctor(command) => alone(command.execute(json, program.file.config)),
        Command::Health(command) => alone(command.execute(json)),
        Command::Completions(command) => command.execute(),
        Command::Postgres(command) => alone(command.execute()),
    }
}

/// Runs a command that serves, on all cores.
fn with_threads<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(work);
    // Blocking work on another thread must not keep the process alive.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    result
}

/// Runs a command that mostly waits, on this thread.
fn alone<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the runtime cannot start")?;
    let result = runtime.block_on(work);
    runtime.shutdown_background();
    result
}

/// Parses a value of an enum by its REST name; dashes and underscores are equivalent, and errors use the words of the
/// help.
fn parse_word<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.replace('-', "_").into()).map_err(|error| {
        let message = error.to_string();
        let words = message.split_once("expected one of ");
        let Some((_, words)) = words else {
            return message;
        };
        format!("expected {}", words.replace('`', "").replace('_', "-"))
    })
}

/// Prints that something was removed.
fn print_removed(noun: &str, name: &str, json: bool) -> anyhow::Result<()> {
    if json {
        print_json(&serde_json::json!({"removed": name}))
    } else {
        print(&format!("removed {noun} {}", crate::text::plain(name)))
    }
}

/// Prints a line on standard output.
fn print(text: &(impl Display + ?Sized)) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Prints JSON on standard output.
fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    print(&serde_json::to_string_pretty(value)?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Program;

    /// A longer line would be wrapped by the terminal, in the middle of a table or of a command to copy.
    #[test]
    fn help_fits_80_columns() {
        let mut root = Program::command().term_width(80);
        root.build();
        let mut commands = vec![root];
        while let Some(mut command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let name = command.get_name().to_owned();
            let help = command.render_long_help().to_string();
            for line in help.lines() {
                assert!(line.chars().count() <= 80, "{name}: {line}");
            }
        }
    }

    /// Words that nobody would say aloud to a user.
    #[test]
    fn help_is_in_plain_words() {
        let mut root = Program::command();
        root.build();
        let mut commands = vec![root];
        while let Some(mut command) = commands.pop() {
            commands.extend(command.get_subcommands().cloned());
            let help = command.render_long_help().to_string().to_lowercase();
            let words: Vec<&str> = help.split(|letter: char| !letter.is_alphabetic()).collect();
            for word in ["whoever", "somebody", "nobody", "anew", "heed", "bears"] {
                let name = command.get_name();
                assert!(!words.contains(&word), "{name}: {word}");
            }
            for phrase in ["so many", "the most ", "is let ", "without it:"] {
                assert!(!help.contains(phrase), "{phrase}: {help}");
            }
        }
    }
}
