//! `opb admin`: commands for the operator, on the machine that holds the keys.

mod create;
mod database;
mod prune;
mod reset_link;
mod rotate_master_key;

use clap::{Args, Subcommand};

use crate::outcome::Outcome;

/// Administer a bank, on the machine that holds its keys
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Admin {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    Create(Box<create::CreateAdmin>),
    Prune(Box<prune::Prune>),
    ResetLink(Box<reset_link::ResetLink>),
    RotateMasterKey(Box<rotate_master_key::RotateMasterKey>),
}

impl Admin {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        match self.action {
            Action::Create(command) => command.execute(json).await,
            Action::Prune(command) => command.execute(json).await,
            Action::ResetLink(command) => command.execute(json).await,
            Action::RotateMasterKey(command) => command.execute(json).await,
        }
    }
}
