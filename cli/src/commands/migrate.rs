//! `opb migrate`: prepares a database for the processes that serve from it.

use anyhow::Context as _;
use clap::Args;
use opb_core::database;
use opb_settings::{DatabaseSettings, LogSettings};
use serde_json::json;

use super::{print, print_json, up::start_log};
use crate::{outcome::Outcome, packs};

/// Bring a database up to date: schema, built-in providers, benchmarks and prompts
///
/// Safe to run twice and from several machines at once. `opb up` does it by itself.
#[derive(Debug, Args)]
pub struct Migrate {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl Migrate {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let pool = database::connect(
            &self.database.address()?,
            self.database.database_connections,
            "opb migrate",
        )
        .await?;
        database::migrate(&pool).await?;
        let mut conn = pool
            .acquire()
            .await
            .context("the database does not answer")?;
        opb_worker::seed_providers(&mut conn).await?;
        packs::load_built_in(&mut conn).await?;
        if json {
            print_json(&json!({"migrated": true}))?;
        } else {
            print("the database is up to date")?;
        }
        Ok(Outcome::Done)
    }
}
