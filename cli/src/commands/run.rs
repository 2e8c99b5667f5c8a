//! `opb run`: submits a run, shows its progress and its result; the subcommands inspect and change runs.

pub mod control;
mod end;
mod export;
pub mod list;
mod name;
mod report;
mod show;
mod visibility;

use clap::{Args, Subcommand};
use opb_core::{
    auth::Visibility,
    leaderboards::Leaderboard,
    models::ModelRequest,
    runs::{Estimate, Run, SubmitRun},
};
use serde_json::{Map, Value, json};

use super::{print, print_json};
use crate::{
    client::{Client, ClientSettings, follow_run, segment},
    outcome::Outcome,
    progress::Progress,
    tables, text,
};

pub use end::{Gate, follow_to_end};
pub use name::RunName;

/// Run a benchmark with prompts on models and print the result; or list, show and control runs
#[derive(Debug, Args)]
#[command(
    subcommand_negates_reqs = true,
    arg_required_else_help = true,
    override_usage = "opb run --benchmark <SLUG> --prompt <SLUG> --model <MODEL> [OPTIONS]\n       opb run <COMMAND>",
    after_help = "RUN is a run's number (`128`), its id, the last four or more characters of\n\
    its id, or `last` for your newest.\n\n\
    Examples:\n  opb run -b first-steps -p step-by-step -p number-only -m simulated:strong\n  \
    opb run show last --failed\n  opb run watch 128\n\n\
    Exit codes: 0 completed, 1 something went wrong, 2 bad usage, 3 the run failed\n\
    or was cancelled, 4 the run is paused, 5 a column scored less than --fail-under,\n\
    130 interrupted by Ctrl-C (the run goes on)."
)]
pub struct RunCommand {
    #[command(subcommand)]
    command: Option<RunSubcommand>,
    #[command(flatten)]
    start: StartRun,
}

#[derive(Debug, Subcommand)]
enum RunSubcommand {
    List(list::ListRuns),
    Show(show::ShowRun),
    Watch(control::WatchRun),
    Export(export::ExportRun),
    /// Pause a run; calls in flight finish and are counted
    Pause(control::ControlRun),
    Resume(control::ResumeRun),
    /// Cancel a run; what is recorded stays
    Cancel(control::ControlRun),
    Retry(control::RetryRun),
    Extend(control::ExtendCommand),
    Rescore(control::RescoreCommand),
    SetVisibility(visibility::SetVisibility),
    Delete(control::DeleteRun),
}

/// Starting a run.
#[derive(Debug, Args)]
struct StartRun {
    #[command(flatten)]
    request: RequestOptions,
    /// Estimate calls, tokens, cost and time, and submit nothing
    #[arg(long)]
    estimate: bool,
    /// Return as soon as the run is submitted
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    gate: Gate,
    #[command(flatten)]
    client: ClientSettings,
}

/// What to run.
#[derive(Debug, Args)]
pub struct RequestOptions {
    // Required unless a subcommand is given.
    /// The benchmark: `slug`, or `slug@2` for one of its versions
    #[arg(
        long,
        short,
        env = "OPB_BENCHMARK",
        value_name = "SLUG",
        required = true
    )]
    benchmark: Option<String>,
    /// A prompt: `slug`, or `slug@2` or `slug@production` for one of its versions; may be repeated
    #[arg(
        long = "prompt",
        short,
        env = "OPB_PROMPTS",
        value_name = "SLUG",
        required = true,
        value_delimiter = ','
    )]
    prompts: Vec<String>,
    /// A model, `provider:name` such as `simulated:strong`; may be repeated
    #[arg(
        long = "model",
        short,
        env = "OPB_MODELS",
        value_name = "MODEL",
        required = true,
        value_delimiter = ','
    )]
    models: Vec<String>,
    /// Number of times each item is asked
    #[arg(long, env = "OPB_REPEATS", value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1000))]
    repeats: i32,
    /// Maximum number of items, counted from the first
    #[arg(long, env = "OPB_LIMIT", value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    limit: Option<i32>,
    /// Maximum spend in dollars, such as 1.50; then the run pauses
    #[arg(long, env = "OPB_BUDGET", value_name = "DOLLARS", value_parser = text::parse_dollars)]
    budget: Option<i64>,
    /// -5 to 5: each step doubles the run's share of the workers; above 0 for administrators only
    #[arg(long, env = "OPB_PRIORITY", value_name = "N", default_value_t = 0, allow_negative_numbers = true, value_parser = clap::value_parser!(i16).range(-5..=5))]
    priority: i16,
    /// Bypass the response cache, for reading and writing
    #[arg(long, env = "OPB_NO_CACHE")]
    no_cache: bool,
    /// Stop evaluating a column (a prompt on a model) as soon as its place among the others is certain
    #[arg(long, env = "OPB_STOP_EARLY")]
    stop_early: bool,
    /// Number of concurrent calls to each provider, per worker process; without it, workers find the number themselves
    #[arg(long, env = "OPB_RUN_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(i32).range(1..=10_000))]
    concurrency: Option<i32>,
    /// Seed that makes the answers of simulated models, and of models that accept a seed, repeatable
    #[arg(
        long,
        env = "OPB_SEED",
        value_name = "N",
        default_value_t = 0,
        allow_negative_numbers = true
    )]
    seed: i64,
    /// A name to recognise the run by
    #[arg(long, env = "OPB_RUN_NAME", value_name = "TEXT", default_value = "")]
    name: String,
    /// Who may see the run; not wider than its benchmark and its prompts
    #[arg(long, env = "OPB_RUN_VISIBILITY", value_enum, value_name = "WHO")]
    visibility: Option<Visibility>,
    /// A parameter that is sent with every call, such as `temperature=0`; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, Value)>,
}

impl RunCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.command {
            None => self.start.execute(json).await,
            Some(RunSubcommand::List(command)) => command.execute(json).await,
            Some(RunSubcommand::Show(command)) => command.execute(json).await,
            Some(RunSubcommand::Watch(command)) => command.execute(json).await,
            Some(RunSubcommand::Export(command)) => command.execute(json).await,
            Some(RunSubcommand::Pause(command)) => command.execute("pause", json).await,
            Some(RunSubcommand::Resume(command)) => command.execute(json).await,
            Some(RunSubcommand::Cancel(command)) => command.execute("cancel", json).await,
            Some(RunSubcommand::Retry(command)) => command.execute(json).await,
            Some(RunSubcommand::Extend(command)) => command.execute(json).await,
            Some(RunSubcommand::Rescore(command)) => command.execute(json).await,
            Some(RunSubcommand::SetVisibility(command)) => command.execute(json).await,
            Some(RunSubcommand::Delete(command)) => command.execute(json).await,
        }
    }
}

impl StartRun {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let request = self.request.request();
        if self.estimate {
            let estimate: Estimate = client.post("/api/v1/runs/estimate", &request).await?;
            if json {
                print_json(&estimate)?;
            } else {
                print(&tables::estimate(&estimate))?;
            }
            return Ok(Outcome::Done);
        }
        let run = submit(&client, &request).await?;
        if !self.no_wait {
            let outcome = follow_to_end(&client, &run, json).await?;
            return self.gate.check(&client, &run, outcome).await;
        }
        if json {
            print_json(&run)?;
        } else {
            print(&format!(
                "submitted run #{number} with {}\nfollow it with: opb run watch {number}",
                text::counted(run.planned, "evaluation"),
                number = run.number
            ))?;
        }
        Ok(Outcome::Done)
    }
}

impl RequestOptions {
    /// The request of the run.
    pub fn request(&self) -> SubmitRun {
        SubmitRun {
            benchmark: self.benchmark.clone().unwrap_or_default(),
            prompts: self.prompts.clone(),
            models: model_requests(&self.models, &self.parameters),
            repeats: self.repeats,
            limit: self.limit,
            budget_microusd: self.budget,
            priority: self.priority,
            cache: !self.no_cache,
            stop_early: self.stop_early,
            concurrency: self.concurrency,
            seed: self.seed,
            name: self.name.clone(),
            visibility: self.visibility,
        }
    }
}

/// The models of a request, each with these parameters.
pub fn model_requests(models: &[String], parameters: &[(String, Value)]) -> Vec<ModelRequest> {
    let parameters: Map<String, Value> = parameters.iter().cloned().collect();
    let model = |name: &String| {
        if parameters.is_empty() {
            return ModelRequest::Name(name.clone());
        }
        // The type of this form is private to its crate; its JSON is public.
        let form = json!({"model": name, "parameters": parameters});
        serde_json::from_value(form).unwrap_or_else(|_| ModelRequest::Name(name.clone()))
    };
    models.iter().map(model).collect()
}

/// Submits a run.
pub async fn submit(client: &Client, request: &SubmitRun) -> anyhow::Result<Run> {
    client.post_once("/api/v1/runs", request).await
}

/// Shows the progress of a run until it ends.
pub async fn follow(client: &Client, run: &Run, quiet: bool) -> anyhow::Result<Run> {
    let mut progress = Progress::new(run, quiet);
    let ended = follow_run(client, run.id, |run| progress.show(run)).await;
    progress.finish();
    ended
}

/// The standings of this run.
pub async fn leaderboard_of(
    client: &Client,
    run: &Run,
    simulated: bool,
) -> anyhow::Result<Leaderboard> {
    let path = format!(
        "/api/v1/leaderboards/{}?simulated={simulated}&board=own",
        segment(&run.benchmark)
    );
    let mut leaderboard: Leaderboard = client.get(&path).await?;
    leaderboard
        .standings
        .retain(|standing| standing.run_id == run.id);
    leaderboard.provisional.clear();
    Ok(leaderboard)
}

/// Parses `name=value`; a value that is not JSON is text.
pub fn parse_parameter(text: &str) -> Result<(String, Value), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
            Ok((name.to_owned(), value))
        }
        _ => Err("expected NAME=VALUE, such as temperature=0".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_json_or_text() {
        for (text, name, value) in [
            ("temperature=0", "temperature", json!(0)),
            ("stop=[\"a\"]", "stop", json!(["a"])),
            ("reasoning_effort=low", "reasoning_effort", json!("low")),
            ("a=b=c", "a", json!("b=c")),
        ] {
            assert_eq!(parse_parameter(text), Ok((name.to_owned(), value)));
        }
        for text in ["temperature", "=1", ""] {
            assert!(parse_parameter(text).is_err(), "{text}");
        }
    }
}
