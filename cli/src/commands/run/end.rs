//! Following a run to its end, and what is said then: its own table, its errors, and where it stands.

use clap::Args;
use opb_core::{
    models::model_label,
    run_columns::{RunColumn, RunColumns},
    runs::{Run, RunState},
};
use serde_json::Value;

use super::{follow, leaderboard_of, print, print_json};
use crate::{client::Client, outcome::Outcome, tables, text};

/// Shows the progress of a run until it ends or is paused, prints what it found, and says how the process ends.
/// Ctrl-C ends the showing and not the run.
pub async fn follow_to_end(client: &Client, run: &Run, json: bool) -> anyhow::Result<Outcome> {
    let run = tokio::select! {
        biased;
        interrupted = tokio::signal::ctrl_c() => {
            interrupted?;
            eprintln!(
                "\nrun #{0} goes on; follow it with `opb run watch {0}`, end it with `opb run cancel {0}`",
                run.number
            );
            return Ok(Outcome::Interrupted);
        }
        run = follow(client, run, json) => run?,
    };
    show_end(client, &run, json).await?;
    Ok(match run.state {
        RunState::Completed => Outcome::Done,
        RunState::Paused => Outcome::RunPaused,
        _ => Outcome::RunFailed,
    })
}

/// A gate for continuous integration.
#[derive(Debug, Args)]
pub struct Gate {
    /// End with exit code 5 when a column (a prompt on a model) scores less than this, 0 to 1, or has no score
    #[arg(long, env = "OPB_FAIL_UNDER", value_name = "SCORE", value_parser = parse_share)]
    pub fail_under: Option<f64>,
}

impl Gate {
    /// How a run ends that was followed to its end: one that completed may have scored too little.
    pub async fn check(
        &self,
        client: &Client,
        run: &Run,
        outcome: Outcome,
    ) -> anyhow::Result<Outcome> {
        let (Some(least), Outcome::Done) = (self.fail_under, outcome) else {
            return Ok(outcome);
        };
        let columns = columns_of(client, run).await?.columns;
        let score = |column: &RunColumn| {
            let figures = column.measured.figures.as_ref();
            figures.map(|figures| figures.score)
        };
        let under = columns
            .iter()
            .filter(|column| score(column).is_none_or(|score| score < least));
        let mut outcome = Outcome::Done;
        for column in under {
            let score =
                score(column).map_or_else(|| "no score".to_owned(), |score| format!("{score:.3}"));
            eprintln!(
                "under {least}: {} on {}: {score}",
                text::plain(&column.prompt),
                text::plain(&model_label(&column.model, &column.parameters))
            );
            outcome = Outcome::BelowThreshold;
        }
        Ok(outcome)
    }
}

fn parse_share(text: &str) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "expected a number from 0 to 1, such as 0.8".to_owned())
}

/// Prints what a run found so far, and how to go on.
pub async fn show_end(client: &Client, run: &Run, json: bool) -> anyhow::Result<()> {
    let columns = columns_of(client, run).await?;
    if json {
        return print_json(&with_columns(run, &columns)?);
    }
    print(&tables::run_summary(run))?;
    print(&tables::run_columns(run, &columns).to_string())?;
    if run.state == RunState::Completed
        && let Some(line) = place(client, run).await
    {
        print(&line)?;
    }
    match hints(run).as_str() {
        "" => Ok(()),
        hints => print(hints),
    }
}

/// The run's own table.
pub async fn columns_of(client: &Client, run: &Run) -> anyhow::Result<RunColumns> {
    client
        .get(&format!("/api/v1/runs/{}/columns", run.id))
        .await
}

/// The run with its columns, for programs.
pub fn with_columns(run: &Run, columns: &RunColumns) -> anyhow::Result<Value> {
    let mut value = serde_json::to_value(run)?;
    value["columns"] = serde_json::to_value(&columns.columns)?;
    Ok(value)
}

/// Where the run stands among others. It is an addition: where the board cannot be read, nothing is said.
async fn place(client: &Client, run: &Run) -> Option<String> {
    let mut ranks = Vec::new();
    for simulated in [false, true] {
        if simulated && !run.simulated {
            continue;
        }
        let leaderboard = leaderboard_of(client, run, simulated).await.ok()?;
        ranks.extend(leaderboard.standings);
    }
    let columns = run.prompts.len() * run.models.len();
    let (low, high) = (
        ranks.iter().map(|standing| standing.rank_low).min(),
        ranks.iter().map(|standing| standing.rank_high).max(),
    );
    let ranks = match (low, high, ranks.len()) {
        (Some(low), Some(high), shown) if shown == columns => {
            format!("rank {}", text::rank(low, high))
        }
        (Some(low), Some(high), shown) => format!(
            "rank {}, {shown} of {columns} columns (the others keep an earlier result on more items, or have no score)",
            text::rank(low, high)
        ),
        _ => "none of its columns (earlier results on more items stay there, and columns without a score have no place)".to_owned(),
    };
    Some(format!(
        "Leaderboard: {ranks}; see opb leaderboard {}{}",
        text::plain(&run.benchmark),
        if run.simulated { " --simulated" } else { "" }
    ))
}

/// What can be done next.
fn hints(run: &Run) -> String {
    let number = run.number;
    let mut hints = Vec::new();
    if run.errors > 0 {
        hints.push(format!("opb run show {number} --errors"));
    }
    let wrong = run.recorded - run.passed - run.errors;
    if wrong > 0 {
        hints.push(format!("opb run show {number} --failed"));
    } else if run.passed > 0 {
        hints.push(format!("opb run show {number} --limit 3"));
    }
    if run.repeats > 1 && run.state.has_ended() {
        hints.push(format!("opb compare {number}"));
    }
    match run.state {
        RunState::Paused if run.budget_microusd.is_some() => {
            hints.push(format!("opb run resume {number} [--budget DOLLARS]"));
        }
        RunState::Paused => hints.push(format!("opb run resume {number}")),
        RunState::Completed | RunState::Failed if run.errors > 0 => {
            hints.push(format!("opb run retry {number}"));
        }
        state if !state.has_ended() => hints.push(format!("opb run watch {number}")),
        _ => {}
    }
    if hints.is_empty() {
        return String::new();
    }
    format!("Next: {}", hints.join("  |  "))
}
