//! `opb cancel`, `opb pause`, `opb resume`, `opb retry`, `opb extend` and `opb rescore`: tell a run to end, to wait, to go
//! on, to make anew what failed, to grow, or to be scored by other scorers.

use clap::Args;
use opb_core::{
    auth::Visibility,
    runs::{ExtendRun, RescoreRun, Run, UpdateRun},
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    print, print_json,
    run::{model_requests, parse_parameter},
};
use crate::{client::ClientSettings, outcome::Outcome, tables, text};

/// Names the run that is told.
#[derive(Debug, Args)]
pub struct ControlRun {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: Uuid,
    #[command(flatten)]
    client: ClientSettings,
}

/// Let a paused run go on
#[derive(Debug, Args)]
pub struct ResumeRun {
    #[command(flatten)]
    control: ControlRun,
    /// Raise the run's budget to so many dollars before
    #[arg(long, env = "OPB_BUDGET", value_name = "DOLLARS", value_parser = text::parse_dollars)]
    budget: Option<i64>,
}

impl ResumeRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        if let Some(budget_microusd) = self.budget {
            let path = format!("/api/v1/runs/{}", self.control.run);
            let client = self.control.client.connect()?;
            let change = UpdateRun {
                budget_microusd: Some(budget_microusd),
                ..UpdateRun::default()
            };
            let _: Run = client.patch(&path, &change).await?;
        }
        self.control.execute("resume", json).await
    }
}

/// Extend a run that has ended by prompts, models, items or repeats; what is recorded is not called again
#[derive(Debug, Args)]
pub struct ExtendCommand {
    #[command(flatten)]
    control: ControlRun,
    /// Another prompt; may be repeated
    #[arg(long = "prompt", short, value_name = "SLUG", value_delimiter = ',')]
    prompts: Vec<String>,
    /// Another model; may be repeated
    #[arg(long = "model", short, value_name = "MODEL", value_delimiter = ',')]
    models: Vec<String>,
    /// A parameter that is sent with every call of the models that are named here; may be repeated
    #[arg(long = "param", value_name = "NAME=VALUE", value_parser = parse_parameter)]
    parameters: Vec<(String, Value)>,
    /// Ask the first so many items, not fewer than before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    limit: Option<i32>,
    /// How often each item is asked, not less often than before
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..=1000))]
    repeats: Option<i32>,
}

impl ExtendCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let body = ExtendRun {
            prompts: self.prompts,
            models: model_requests(&self.models, &self.parameters),
            limit: self.limit,
            repeats: self.repeats,
        };
        self.control.tell("extend", &body, json).await
    }
}

/// Score the answers of a run that has ended by another benchmark version, without calling a model
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
}

impl RescoreCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let body = RescoreRun {
            benchmark: self.benchmark,
            name: self.name,
            visibility: self.visibility,
        };
        self.control.tell("rescore", &body, json).await
    }
}

impl ControlRun {
    /// Sends the run what it is told: the last segment of an address, such as `pause`.
    pub async fn execute(self, what: &str, json: bool) -> anyhow::Result<Outcome> {
        self.tell(what, &json!({}), json).await
    }

    async fn tell(self, what: &str, body: &impl Serialize, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("/api/v1/runs/{}/{what}", self.run);
        let run: Run = self.client.connect()?.post(&path, body).await?;
        if json {
            print_json(&run)?;
        } else {
            print(&tables::run_summary(&run))?;
        }
        Ok(Outcome::Done)
    }
}
