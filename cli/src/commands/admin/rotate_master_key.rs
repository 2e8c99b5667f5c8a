//! `opb admin rotate-master-key`: seals every stored credential with a new key.
//!
//! A crash at any point is safe: first the new key is written to disk, then the database is changed in one transaction,
//! then the new key replaces the old one. Until that last step the command can be run again.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use opb_core::{database, mail, models, sealing::MasterKey, webhooks};
use opb_settings::{LogSettings, SecretSettings};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Serialize;
use serde_json::json;
use sqlx::PgPool;

use super::database::DatabaseSettings;
use crate::{
    commands::{print, print_json, up::start_log},
    data_folder::DataFolder,
    outcome::{BadUsage, Outcome},
    postgres::Cluster,
    text,
};

/// Replace the master key: seal every stored credential again, in one transaction
///
/// Stop every process of the bank first, and start them with the new key afterwards. Access tokens end; passwords and
/// API keys stay. When the command is interrupted, run it again.
#[derive(Debug, Args)]
pub struct RotateMasterKey {
    #[command(flatten)]
    database: DatabaseSettings,
    /// File for the new key, made if there is none; without it, the new key takes the place of the old one's file
    #[arg(
        long,
        env = "OPB_NEW_MASTER_KEY_FILE",
        value_name = "FILE",
        help_heading = "Secrets"
    )]
    new_master_key_file: Option<PathBuf>,
    #[command(flatten)]
    secrets: SecretSettings,
    #[command(flatten)]
    log: LogSettings,
}

impl RotateMasterKey {
    pub async fn execute(self, json: bool) -> anyhow::Result<Outcome> {
        start_log(&self.log)?;
        let folder = DataFolder::new(self.database.data.as_deref());
        let old_file = match (&self.secrets.master_key, &self.secrets.master_key_file) {
            (Some(_), _) => None,
            (None, Some(file)) => Some(file.clone()),
            (None, None) => Some(folder.master_key_file()),
        };
        let (new_file, replaces) = match (&self.new_master_key_file, &old_file) {
            (Some(file), _) => (file.clone(), false),
            (None, Some(old)) => (old.with_extension("next"), true),
            (None, None) => {
                let message = "the old key comes from a setting, so name a file for the new one with --new-master-key-file";
                return Err(BadUsage(message.to_owned()).into());
            }
        };
        let old = match (&self.secrets.master_key, &old_file) {
            (Some(text), _) => MasterKey::parse(text)?,
            (None, Some(file)) if file.exists() => MasterKey::load_or_create(file)?,
            (None, file) => {
                let file = file.as_ref().map(|file| file.display().to_string());
                let message = format!(
                    "there is no master key at {}; name the bank with --data or its key with --master-key-file",
                    file.unwrap_or_default()
                );
                return Err(BadUsage(message).into());
            }
        };
        let address = self
            .database
            .database_url
            .as_ref()
            .filter(|address| !address.expose_secret().is_empty());
        let changed = if let Some(address) = address {
            let new = MasterKey::load_or_create(&new_file)?;
            reseal(address, &old, &new).await?
        } else {
            let folder = folder.create()?;
            let _lock = folder.lock()?;
            let new = MasterKey::load_or_create(&new_file)?;
            let cluster = Cluster::start(folder.path()).await?;
            let resealed = reseal(cluster.database_url(), &old, &new).await;
            cluster.stop().await?;
            resealed?
        };
        let mut kept_in = new_file;
        if let (true, Some(old_file)) = (replaces, old_file) {
            std::fs::rename(&kept_in, &old_file).with_context(|| {
                format!(
                    "the new key is in {} and could not replace {}",
                    kept_in.display(),
                    old_file.display()
                )
            })?;
            kept_in = old_file;
        }
        if json {
            print_json(&json!({"resealed": changed, "master_key_file": kept_in}))?;
        } else {
            print(&format!(
                "sealed again: {}, {}, {}; the new key is in {}",
                counted(
                    changed.credentials,
                    "credential of providers",
                    "credentials of providers"
                ),
                counted(changed.mails, "waiting mail", "waiting mails"),
                counted(changed.webhooks, "webhook", "webhooks"),
                kept_in.display()
            ))?;
        }
        Ok(Outcome::Done)
    }
}

/// Number of secrets that were sealed with the new key, by their owner.
#[derive(Debug, Serialize)]
struct Resealed {
    credentials: usize,
    mails: usize,
    webhooks: usize,
}

fn counted(count: usize, one: &str, many: &str) -> String {
    text::many(i64::try_from(count).unwrap_or(i64::MAX), one, many)
}

async fn reseal(
    address: &SecretString,
    old: &MasterKey,
    new: &MasterKey,
) -> anyhow::Result<Resealed> {
    let pool: PgPool = database::connect(address, 2, "opb admin").await?;
    database::require_migrated(&pool).await?;
    let mut tx = pool.begin().await.context("the database does not answer")?;
    let changed = Resealed {
        credentials: models::reseal_credentials(&mut tx, old, new).await?,
        mails: mail::reseal_mails(&mut tx, old, new).await?,
        webhooks: webhooks::reseal_webhooks(&mut tx, old, new).await?,
    };
    tx.commit()
        .await
        .context("the database did not confirm the change; run the command again")?;
    pool.close().await;
    Ok(changed)
}
