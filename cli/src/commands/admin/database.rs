//! The database of a bank, for commands of its operator: the bank may be serving meanwhile or not.

use std::path::Path;

use opb_core::database;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::PgPool;

use crate::{
    data_folder::{BankLock, DataFolder},
    postgres::{self, Cluster},
};

/// An open database; [`Database::close`] stops what was started for it.
pub struct Database {
    pub pool: PgPool,
    // The order matters: fields are dropped from the top, and the lock must outlive the server.
    cluster: Option<Cluster>,
    _lock: Option<BankLock>,
}

impl Database {
    /// Opens the server of this address, or the embedded one of the data folder, which is started if nobody serves.
    pub async fn open(data: Option<&Path>, address: Option<&SecretString>) -> anyhow::Result<Self> {
        let address = address.filter(|address| !address.expose_secret().is_empty());
        if let Some(address) = address {
            return Self::connect(address, None, None).await;
        }
        let folder = DataFolder::new(data).create()?;
        match folder.lock() {
            Ok(lock) => {
                let cluster = Cluster::start(folder.path()).await?;
                let address = cluster.database_url().clone();
                Self::connect(&address, Some(cluster), Some(lock)).await
            }
            Err(taken) => {
                match postgres::running_database_url(folder.path()) {
                    Some(address) => Self::connect(&address, None, None).await,
                    // A bank without a server of its own; only its operator knows where it is.
                    None => Err(taken
                        .context("the bank's database is not here: name it with --database-url")),
                }
            }
        }
    }

    /// Closes the connections, and stops the server that was started for this.
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
        lock: Option<BankLock>,
    ) -> anyhow::Result<Self> {
        let pool = database::connect(address, 2, "opb admin").await?;
        if cluster.is_some() {
            // A folder that is used for the first time.
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
