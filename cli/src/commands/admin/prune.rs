//! `opb admin prune`: deletes the model outputs of runs that ended long ago.

use clap::Args;
use opb_core::runs::{Prunable, next_prunable, prunable, prune_run};
use opb_settings::LogSettings;
use serde_json::json;

use super::database::{Database, DatabaseSettings};
use crate::{
    commands::{print, print_json, up::start_log},
    outcome::Outcome,
};

/// Delete the answers, and the reasons of scorers, of runs that ended long ago
///
/// Scores, costs and standings stay; such a run cannot be scored again. The bank may be serving.
#[derive(Debug, Args)]
pub struct Prune {
    /// Only runs that ended more than N days ago
    #[arg(long, value_name = "DAYS", value_parser = clap::value_parser!(i32).range(0..=36500))]
    older_than: i32,
    /// Say what would be deleted, and delete nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl Prune {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let database = self.database.open().await?;
        let pruned = self.prune(&database).await;
        database.close().await?;
        let found = pruned?;
        if json {
            print_json(&json!({"dry_run": self.dry_run, "forgotten": found}))?;
        } else {
            let done = if self.dry_run {
                "would delete"
            } else {
                "deleted"
            };
            print(&format!(
                "{done} the texts of {} runs with {} evaluations: {:.1} MB",
                found.runs,
                found.evaluations,
                megabytes(found.bytes)
            ))?;
        }
        Ok(Outcome::Done)
    }

    async fn prune(&self, database: &Database) -> anyhow::Result<Prunable> {
        let mut conn = database.pool.acquire().await?;
        let found = prunable(&mut conn, self.older_than).await?;
        while !self.dry_run
            && let Some(run_id) = next_prunable(&mut conn, self.older_than).await?
        {
            prune_run(&mut conn, run_id).await?;
        }
        Ok(found)
    }
}

#[expect(clippy::cast_precision_loss, reason = "it is shown with one digit")]
fn megabytes(bytes: i64) -> f64 {
    bytes as f64 / 1e6
}
