//! `opb run list`: the newest runs.

use clap::Args;
use opb_core::{paging::Page, runs::Run};

use super::{print, print_json};
use crate::{client::ClientSettings, outcome::Outcome, tables};

/// List runs, newest first
#[derive(Debug, Args)]
pub struct ListRuns {
    /// Maximum number of runs
    #[arg(long, env = "OPB_RUNS_LIMIT", value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    client: ClientSettings,
}

impl ListRuns {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let page: Page<Run> = self
            .client
            .connect()?
            .get(&format!("/api/v1/runs?limit={}", self.limit))
            .await?;
        if json {
            print_json(&page)?;
        } else if page.items.is_empty() {
            print("no runs yet")?;
        } else {
            print(&tables::runs(&page.items).to_string())?;
        }
        Ok(Outcome::Done)
    }
}
