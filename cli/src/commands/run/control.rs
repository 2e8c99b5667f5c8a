//! Telling a run to wait, to go on, to end, to retry what failed, to grow, or to be scored by other scorers; and following
//! one that goes on.

use clap::Args;
use opb_core::{
    auth::Visibility,
    runs::{ExtendRun, RescoreRun, Run, UpdateRun},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{RunName, follow_to_end, model_requests, parse_parameter, print, print_json};
use crate::{
    client::{Client, ClientSettings},
    outcome::Outcome,
    tables, text,
};

/// Names the run that is told.
#[derive(Debug, Args)]
pub struct ControlRun {
    /// The run: its number, its id or the end of its id, or `last`
    #[arg(value_name = "RUN")]
    run: RunName,
    #[command(flatten)]
    client: ClientSettings,
}

/// What follows when a run goes on.
#[derive(Debug, Args)]
pub struct Waiting {
    /// Return at once, without following the run
    #[arg(long)]
    no_wait: bool,
}

/// Follow a run until it ends, with the exit codes of `opb run`
#[derive(Debug, Args)]
pub struct WatchRun {
    #[command(flatten)]
    control: ControlRun,
}

impl WatchRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let (client, run) = self.control.find().await?;
        follow_to_end(&client, &run, json).await
    }
}

/// Resume a paused run
#[derive(Debug, Args)]
pub struct ResumeRun {
    #[command(flatten)]
    control: ControlRun,
    /// New maximum spend of the run in dollars
    #[arg(long, env = "OPB_BUDGET", value_name = "DOLLARS", value_parser = text::parse_dollars)]
    budget: Option<i64>,
    #[command(flatten)]
    waiting: Waiting,
}

impl ResumeRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        if let Some(budget_microusd) = self.budget {
            let client = self.control.client.connect()?;
            let path = self.control.run.path();
            let change = UpdateRun {
                budget_microusd: Some(budget_microusd),
                ..UpdateRun::default()
            };
            let _: Run = client.patch(&path, &change).await?;
        }
        self.control
            .tell_and_follow("resume", &json!({}), &self.waiting, json)
            .await
    }
}

/// Retry the failed evaluations of a run that has ended
#[derive(Debug, Args)]
pub struct RetryRun {
    #[command(flatten)]
    control: ControlRun,
    #[command(flatten)]
    waiting: Waiting,
}

impl RetryRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        self.control
            .tell_and_follow("retry", &json!({}), &self.waiting, json)
            .await
    }
}

/// Add prompts, models, items or repeats to a run that has ended; recorded evaluations are not called again
#[derive(Debug, Args)]
pub struct ExtendCommand {
    #[command(flatten)]
    control: ControlRun,
    /// Another prompt; may be repeated
    #[arg(long = "prompt", short, value_name = "SLUG", value_delimiter = ',')]
    prompts: Vec<String>,
    /// Another model; may be repeated. Without --param it takes the parameters of the run's model of the same name
    #[arg(long = "model", short, value_name = "MODEL", value_delimiter = ',')]
    models: Vec<String>,
    /// A parameter that is sent with every call of the models that are named here; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, Value)>,
    /// Number of items, counted from the first; not fewer than before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    limit: Option<i32>,
    /// Number of times each item is asked; not fewer than before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    repeats: Option<i32>,
    #[command(flatten)]
    waiting: Waiting,
}

impl ExtendCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let body = ExtendRun {
            prompts: self.prompts,
            models: model_requests(&self.models, &self.parameters),
            limit: self.limit,
            repeats: self.repeats,
        };
        self.control
            .tell_and_follow("extend", &body, &self.waiting, json)
            .await
    }
}

/// Score the answers of a run that has ended with the scorers of another benchmark version, without calling a model
#[derive(Debug, Args)]
pub struct RescoreCommand {
    #[command(flatten)]
    control: ControlRun,
    /// The benchmark version with the scorers; without a number, the newest
    #[arg(long, value_name = "SLUG[@NUMBER]")]
    benchmark: String,
    /// A name to recognise the new run by
    #[arg(long, value_name = "TEXT", default_value = "")]
    name: String,
    /// Who may see the new run; not wider than the benchmark and the prompts
    #[arg(long, value_enum, value_name = "WHO")]
    visibility: Option<Visibility>,
    #[command(flatten)]
    waiting: Waiting,
}

impl RescoreCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let body = RescoreRun {
            benchmark: self.benchmark,
            name: self.name,
            visibility: self.visibility,
        };
        self.control
            .tell_and_follow("rescore", &body, &self.waiting, json)
            .await
    }
}

/// Delete a run that has ended, with its results
#[derive(Debug, Args)]
pub struct DeleteRun {
    #[command(flatten)]
    control: ControlRun,
}

impl DeleteRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let (client, run) = self.control.find().await?;
        client.delete(&format!("/api/v1/runs/{}", run.id)).await?;
        if json {
            print_json(&json!({"deleted": run.id, "number": run.number}))?;
        } else {
            print(&format!("deleted run #{}", run.number))?;
        }
        Ok(Outcome::Done)
    }
}

impl ControlRun {
    /// Sends the run what it is told, the last segment of an address such as `pause`, and says where the run stands.
    pub async fn execute(self, what: &str, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let run = self.tell(&client, what, &json!({})).await?;
        if json {
            print_json(&run)?;
        } else {
            print(&tables::run_summary(&run))?;
        }
        Ok(Outcome::Done)
    }

    /// As [`Self::execute`], for what makes a run go on.
    async fn tell_and_follow(
        self,
        what: &str,
        body: &impl Serialize,
        waiting: &Waiting,
        json: bool,
    ) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let run = self.tell(&client, what, body).await?;
        if !waiting.no_wait {
            return follow_to_end(&client, &run, json).await;
        }
        if json {
            print_json(&run)?;
        } else {
            let summary = tables::run_summary(&run);
            print(&format!(
                "{summary}\nfollow it with: opb run watch {}",
                run.number
            ))?;
        }
        Ok(Outcome::Done)
    }

    async fn tell(
        &self,
        client: &Client,
        what: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<Run> {
        client
            .post(&format!("{}/{what}", self.run.path()), body)
            .await
    }

    async fn find(self) -> anyhow::Result<(Client, Run)> {
        let client = self.client.connect()?;
        let run = client.get(&self.run.path()).await?;
        Ok((client, run))
    }
}
