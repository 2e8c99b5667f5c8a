//! `opb cancel`, `opb pause` and `opb resume`: tell a run to end, to wait, or to go on.

use clap::Args;
use opb_core::runs::Run;
use serde_json::json;
use uuid::Uuid;

use super::{print, print_json};
use crate::{client::ClientSettings, outcome::Outcome, tables};

/// Names the run that is told.
#[derive(Debug, Args)]
pub struct ControlRun {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: Uuid,
    #[command(flatten)]
    client: ClientSettings,
}

impl ControlRun {
    /// Sends the run what it is told: the last segment of an address, such as `pause`.
    pub async fn execute(self, what: &str, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("/api/v1/runs/{}/{what}", self.run);
        let run: Run = self.client.connect()?.post(&path, &json!({})).await?;
        if json {
            print_json(&run)?;
        } else {
            print(&tables::run_summary(&run))?;
        }
        Ok(Outcome::Done)
    }
}
