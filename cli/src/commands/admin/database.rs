//! The database of a bank, for the operator's commands, whether the bank is serving or not.

use std::path::PathBuf;

use clap::Args;
use opb_core::database;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

use crate::{
    data_folder::DataFolder,
    folder_lock::FolderLock,
    postgres::{self, Cluster},
};

/// The location of a bank's database.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// Folder of the bank; without it, the user's own
    #[arg(long, env = "OPB_DATA_DIR", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Address of the Postgres server of a bank that does not use an embedded one
    #[arg(long, env = "DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<SecretString>,
    /// File that holds the password for that server; it takes precedence over one in the address
    #[arg(long, env = "OPB_DATABASE_PASSWORD_FILE", value_name = "FILE")]
    pub database_password_file: Option<PathBuf>,
}

/// An open database; [`Database::close`] stops the server that was started for it.
pub struct Database {
    pub pool: PgPool,
    // The order matters: fields are dropped from the top, and the lock must outlive the server.
    cluster: Option<Cluster>,
    _lock: Option<FolderLock>,
}

impl DatabaseSettings {
    /// Opens the server at this address, or the embedded one of the data folder, which is started if no bank is
    /// serving.
    pub async fn open(&self) -> anyhow::Result<Database> {
        let address = self.database_url.as_ref();
        if let Some(address) = address.filter(|address| !address.expose_secret().is_empty()) {
            let password = self.database_password_file.as_deref();
            let address = opb_settings::with_password(address, password)?;
            return Database::connect(&address, None, None).await;
        }
        let folder = DataFolder::new(self.data.as_deref()).create()?;
        match folder.lock() {
            Ok(lock) => {
                let cluster = Cluster::start(folder.path()).await?;
                let address = cluster.database_url().clone();
                Database::connect(&address, Some(cluster), Some(lock)).await
            }
            Err(taken) => {
                match postgres::running_database_url(folder.path()) {
                    Some(address) => Database::connect(&address, None, None).await,
                    // The bank uses another server; only its operator knows the address.
                    None => Err(taken
                        .context("the bank's database is not here: name it with --database-url")),
                }
            }
        }
    }
}

impl Database {
    /// Closes the connections, and stops the server that was started for this command.
    pub async fn close(self) -> anyhow::Result<()> {
        self.pool.close().await;
        if let Some(cluster) = self.cluster {
            cluster.stop().await?;
        }
        Ok(())
    }

    async fn connect(
        address: &SecretString,
        cluster: Option<Cluster>,
        lock: Option<FolderLock>,
    ) -> anyhow::Result<Self> {
        let pool = database::connect(address, 2, "opb admin").await?;
        if cluster.is_some() {
            // A folder in its first use.
            database::migrate(&pool).await?;
        }
        database::require_migrated(&pool).await?;
        Ok(Self {
            pool,
            cluster,
            _lock: lock,
        })
    }
}
