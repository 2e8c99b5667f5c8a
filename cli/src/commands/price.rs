//! `opb price`: prices of models.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use opb_core::{
    models::{CurrentPrice, PriceImport},
    paging::Page,
};
use serde_json::{Map, Value};

use super::{print, print_json};
use crate::{
    client::{ClientSettings, segment},
    files::{MAX_TEXT_BYTES, read_named},
    outcome::{BadUsage, Outcome},
    tables, text,
};

/// List what models cost, or import published prices
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct PriceCommand {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: ListPrices,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List what models cost
    List(ListPrices),
    Import(ImportPrices),
}

#[derive(Debug, Args)]
struct ListPrices {
    /// Only those of this provider
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    #[command(flatten)]
    client: ClientSettings,
}

/// Import published prices from a file of litellm's format; what was set by hand stays in force
#[derive(Debug, Args)]
struct ImportPrices {
    /// The file, such as `model_prices_and_context_window.json`
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    client: ClientSettings,
}

impl PriceCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Some(Action::List(command)) => command.execute(json).await,
            Some(Action::Import(command)) => command.execute(json).await,
            None => self.list.execute(json).await,
        }
    }
}

impl ListPrices {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let client = self.client.connect()?;
        let provider = self.provider.as_deref().map(segment);
        let provider = provider.map_or_else(String::new, |name| format!("&provider={name}"));
        let mut prices: Vec<CurrentPrice> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/prices?limit=100{provider}{cursor}");
            let page: Page<CurrentPrice> = client.get(&path).await?;
            prices.extend(page.items);
            let Some(next) = page.next_cursor else {
                break;
            };
            cursor = format!("&cursor={}", segment(&next));
        }
        if json {
            print_json(&prices)?;
        } else {
            print(&tables::prices(&prices))?;
        }
        Ok(Outcome::Done)
    }
}

impl ImportPrices {
    async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let path = self.file.display();
        let file = read_named(&self.file, MAX_TEXT_BYTES)
            .map_err(|error| BadUsage(format!("the file {error:#}")))?;
        let file: Map<String, Value> = serde_json::from_str(&file)
            .map_err(|error| BadUsage(format!("the file {path} is not a JSON object: {error}")))?;
        let client = self.client.connect()?;
        let report: PriceImport = client.post("/api/v1/prices/import", &file).await?;
        if json {
            print_json(&report)?;
        } else {
            print(&summary(&report))?;
        }
        Ok(if report.refused == 0 {
            Outcome::Done
        } else {
            Outcome::ChecksFailed
        })
    }
}

fn summary(report: &PriceImport) -> String {
    let mut lines = vec![format!(
        "{} new, {} changed, {} unchanged, {} refused; {} are of other providers or kinds of models",
        report.added, report.changed, report.unchanged, report.refused, report.left_out
    )];
    for row in &report.refused_rows {
        lines.push(format!(
            "refused {}: {}",
            text::plain(&row.model),
            text::plain(&row.reason)
        ));
    }
    lines.join("\n")
}
