//! A read replica: serves requests without a credential, and is bypassed while it cannot be reached.
//!
//! Its data may lag behind, so clients that could miss their own writes never read from it. It is checked every few
//! seconds, so that a request knows at once whether to use it and waits at most a second.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use opb_core::{database, metrics::METRICS};
use secrecy::SecretString;
use sqlx::{PgPool, Postgres, pool::PoolConnection};
use tokio_util::sync::CancellationToken;

/// Timeout of a check.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// Pause between two checks.
const PAUSE: Duration = Duration::from_secs(2);

/// A read replica.
#[derive(Debug, Clone)]
pub struct Replica {
    pool: PgPool,
    is_usable: Arc<AtomicBool>,
}

impl Replica {
    /// Checks the replica now and every few seconds until `stop` is cancelled, through a separate connection;
    /// `connections` are opened for requests. An unreachable replica is not an error.
    ///
    /// # Errors
    /// The address is invalid.
    pub async fn open(
        url: &SecretString,
        connections: u32,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let pool = database::connect_replica(url, connections, "opb-api replica")
            .context("--read-database-url (OPB_READ_DATABASE_URL)")?;
        let eye = database::connect_lazily(url, "opb-api replica watch")?;
        let replica = Self {
            pool,
            is_usable: Arc::default(),
        };
        let is_there = replica.look(&eye).await;
        if !is_there {
            tracing::warn!("the read replica cannot be used; the primary is read instead");
        }
        let watching = replica.clone();
        tokio::spawn(async move { stop.run_until_cancelled(watching.watch(&eye)).await });
        Ok(replica)
    }

    /// A connection to the replica; `None` while it cannot be used.
    pub(crate) async fn conn(&self) -> Option<PoolConnection<Postgres>> {
        if self.is_usable.load(Ordering::Relaxed) {
            match self.pool.acquire().await {
                Ok(conn) => return Some(conn),
                // All connections may be in use; the periodic check finds out whether more is wrong.
                Err(error) => tracing::debug!(%error, "no connection of the read replica is free"),
            }
        }
        METRICS.count_replica_fallback();
        None
    }

    async fn watch(&self, eye: &PgPool) {
        loop {
            tokio::time::sleep(PAUSE).await;
            let was_usable = self.is_usable.load(Ordering::Relaxed);
            match (was_usable, self.look(eye).await) {
                (true, false) => {
                    tracing::warn!("the read replica cannot be used; the primary is read instead");
                }
                (false, true) => tracing::info!("the read replica is used again"),
                _ => {}
            }
        }
    }

    /// Whether the replica answers in time and has the schema of this program.
    async fn look(&self, eye: &PgPool) -> bool {
        let asked = async {
            let mut conn = eye.acquire().await?;
            database::is_migrated(&mut conn).await
        };
        let answer = tokio::time::timeout(LOOK_TIME, asked).await;
        let is_usable = matches!(answer, Ok(Ok(true)));
        self.is_usable.store(is_usable, Ordering::Relaxed);
        is_usable
    }
}
