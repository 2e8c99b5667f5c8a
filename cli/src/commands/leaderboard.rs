//! `opb leaderboard`: the standings of a benchmark.

use clap::Args;
use opb_core::leaderboards::Leaderboard;

use super::{print, print_json};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables,
};

/// Print the leaderboard of a benchmark: ranks, scores with their intervals, costs and latencies
#[derive(Debug, Args)]
pub struct ShowLeaderboard {
    /// The benchmark: `slug`, or `slug@2` for one of its versions
    #[arg(value_name = "BENCHMARK")]
    benchmark: String,
    /// Show the standings of simulated models
    #[arg(long, conflicts_with = "real")]
    simulated: bool,
    /// Show the standings of real models; without either, those come if there are any
    #[arg(long)]
    real: bool,
    #[command(flatten)]
    client: ClientSettings,
}

impl ShowLeaderboard {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let query = match (self.simulated, self.real) {
            (true, _) => "?simulated=true",
            (_, true) => "?simulated=false",
            _ => "",
        };
        let path = format!("/api/v1/leaderboards/{}{query}", segment(&self.benchmark));
        let leaderboard: Leaderboard = self.client.connect()?.get(&path).await?;
        if json {
            print_json(&leaderboard)?;
        } else {
            print(&tables::leaderboard(&leaderboard))?;
        }
        Ok(Outcome::Done)
    }
}
