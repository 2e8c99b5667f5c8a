//! `opb benchmark`: lists, shows, changes and deletes benchmarks, and their interrupted imports.

use clap::{Args, Subcommand};
use opb_api::routes::imports::Imports;
use opb_core::{
    auth::Visibility,
    benchmarks::{Benchmark, BenchmarkChange},
    deletion::Deletion,
    paging::Page,
};
use uuid::Uuid;

use super::{import::Import, pick::pick, print, print_json, print_removed};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables, text,
};

/// The REST resource.
const PATH: &str = "/api/v1/benchmarks";

/// List, show, import, change and delete benchmarks
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
    SetVisibility(SetVisibility),
    Delete(DeleteBenchmark),
    Imports(ListImports),
    Abandon(AbandonImport),
}

/// List benchmarks, newest first
#[derive(Debug, Args)]
struct ListBenchmarks {
    /// Maximum number of benchmarks
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

/// Set who may see a benchmark; runs of it are never more visible
#[derive(Debug, Args)]
struct SetVisibility {
    /// The benchmark's slug
    #[arg(value_name = "BENCHMARK")]
    benchmark: String,
    /// Who may see it
    #[arg(value_name = "WHO", value_enum)]
    visibility: Visibility,
    #[command(flatten)]
    client: ClientSettings,
}

/// Delete a benchmark with all its versions, or one of its versions
///
/// A version that runs use is withdrawn instead: it accepts no more runs, and only the owners of those runs can read it.
#[derive(Debug, Args)]
struct DeleteBenchmark {
    /// The benchmark: `slug`, or `slug@2` for one of its versions
    #[arg(value_name = "BENCHMARK")]
    benchmark: String,
    #[command(flatten)]
    client: ClientSettings,
}

/// List your interrupted imports
///
/// What was sent counts as stored. The same `opb import` continues one; after a week without progress it is deleted.
#[derive(Debug, Args)]
struct ListImports {
    #[command(flatten)]
    client: ClientSettings,
}

/// Abandon an interrupted import and delete what was sent
#[derive(Debug, Args)]
struct AbandonImport {
    /// The import: its id, the end of its id, or `last`; see `opb benchmark imports`
    #[arg(value_name = "IMPORT")]
    import: String,
    #[command(flatten)]
    client: ClientSettings,
}

impl BenchmarkCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::List(command) => command.execute(json).await,
            Action::Show(command) => command.execute(json).await,
            Action::Import(command) => command.execute(json).await,
            Action::SetVisibility(command) => command.execute(json).await,
            Action::Delete(command) => command.execute(json).await,
            Action::Imports(command) => command.execute(json).await,
            Action::Abandon(command) => command.execute(json).await,
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

impl SetVisibility {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = format!("{PATH}/{}", segment(&self.benchmark));
        let change = BenchmarkChange {
            visibility: Some(self.visibility),
            ..BenchmarkChange::default()
        };
        let benchmark: Benchmark = self.client.connect()?.patch(&path, &change).await?;
        if json {
            print_json(&benchmark)?;
        } else {
            let visibility = text::visibility(benchmark.visibility);
            print(&format!("{} is {visibility}", text::plain(&benchmark.slug)))?;
        }
        Ok(Outcome::Done)
    }
}

impl ListImports {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let found: Imports = self.client.connect()?.get("/api/v1/imports").await?;
        if json {
            print_json(&found.imports)?;
        } else if found.imports.is_empty() {
            print("no import was interrupted")?;
        } else {
            print(&tables::imports(&found.imports))?;
        }
        Ok(Outcome::Done)
    }
}

impl DeleteBenchmark {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = match self.benchmark.split_once('@') {
            Some((slug, number)) => {
                format!("{PATH}/{}/versions/{}", segment(slug), segment(number))
            }
            None => format!("{PATH}/{}", segment(&self.benchmark)),
        };
        let deletion: Deletion = self.client.connect()?.delete_saying(&path).await?;
        if json {
            print_json(&deletion)?;
        } else {
            print(&text::deleted(&self.benchmark, deletion))?;
        }
        Ok(Outcome::Done)
    }
}

impl AbandonImport {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let found: Imports = client.get("/api/v1/imports").await?;
        let ids: Vec<Uuid> = found.imports.iter().map(|import| import.id).collect();
        let import = pick(&ids, &self.import, "import", "`opb benchmark imports`")?.to_string();
        client.delete(&format!("/api/v1/imports/{import}")).await?;
        print_removed("import", &import, json)?;
        Ok(Outcome::Done)
    }
}
