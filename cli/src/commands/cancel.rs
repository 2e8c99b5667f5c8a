//! `opb cancel`: ends a run.

use clap::Args;
use opb_core::runs::Run;
use serde_json::json;
use uuid::Uuid;

use super::{print, print_json};
use crate::{client::ClientSettings, outcome::Outcome, tables};

/// Cancel a run; what is recorded stays
#[derive(Debug, Args)]
pub struct CancelRun {
    /// The run's id
    #[arg(value_name = "RUN")]
    run: Uuid,
    #[command(flatten)]
    client: ClientSettings,
}

impl CancelRun {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("/api/v1/runs/{}/cancel", self.run);
        let run: Run = self.client.connect()?.post(&path, &json!({})).await?;
        if json {
            print_json(&run)?;
        } else {
            print(&tables::run_summary(&run))?;
        }
        Ok(Outcome::Done)
    }
}
