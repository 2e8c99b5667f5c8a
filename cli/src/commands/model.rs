//! `opb model`: models in use.

use clap::{Args, Subcommand};
use opb_core::{models::Model, paging::Page};

use super::{print, print_json};
use crate::{
    client::{ClientSettings, segment},
    outcome::Outcome,
    tables,
};

/// List models
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct ModelCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    List(ListModels),
}

/// List the models that were used so far, with their parameters and prices
#[derive(Debug, Args)]
struct ListModels {
    #[command(flatten)]
    client: ClientSettings,
}

impl ModelCommand {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        let Action::List(command) = self.action;
        let client = command.client.connect()?;
        let mut models: Vec<Model> = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/api/v1/models?limit=100{cursor}");
            let page: Page<Model> = client.get(&path).await?;
            models.extend(page.items);
            let Some(next) = page.next_cursor else {
                break;
            };
            cursor = format!("&cursor={}", segment(&next));
        }
        if json {
            print_json(&models)?;
        } else if models.is_empty() {
            print("no models were used yet; a run names them as provider:name")?;
        } else {
            print(&tables::models(&models))?;
        }
        Ok(Outcome::Done)
    }
}
