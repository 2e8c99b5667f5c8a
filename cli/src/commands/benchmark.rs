//! `opb benchmark`: the benchmarks that there are.

use clap::{Args, Subcommand};
use opb_core::{benchmarks::Benchmark, library::Page};

use super::{import::Import, print, print_json};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables,
};

/// The REST resource.
const PATH: &str = "/api/v1/benchmarks";

/// List, show and import benchmarks
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct BenchmarkCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListBenchmarks),
    Show(ShowBenchmark),
    Import(Import),
}

/// List benchmarks, newest first
#[derive(Debug, Args)]
struct ListBenchmarks {
    /// Number of benchmarks
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    #[command(flatten)]
    client: ClientSettings,
}

/// Show a benchmark
#[derive(Debug, Args)]
struct ShowBenchmark {
    /// The benchmark's slug
    #[arg(value_name = "BENCHMARK")]
    benchmark: String,
    #[command(flatten)]
    client: ClientSettings,
}

impl BenchmarkCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::List(command) => command.execute(json).await,
            Action::Show(command) => command.execute(json).await,
            Action::Import(command) => command.execute(json).await,
        }
    }
}

impl ListBenchmarks {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("{PATH}?limit={}", self.limit);
        let page: Page<Benchmark> = self.client.connect()?.get(&path).await?;
        if json {
            print_json(&page)?;
        } else if page.items.is_empty() {
            print("no benchmarks yet")?;
        } else {
            print(&tables::benchmarks(&page.items))?;
        }
        Ok(Outcome::Done)
    }
}

impl ShowBenchmark {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("{PATH}/{}", segment(&self.benchmark));
        let benchmark: Benchmark = self.client.connect()?.get(&path).await?;
        if json {
            print_json(&benchmark)?;
        } else {
            print(&tables::benchmark(&benchmark))?;
        }
        Ok(Outcome::Done)
    }
}
