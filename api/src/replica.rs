//! A read replica: answers those who bring no credential, and is left out while it cannot be reached.
//!
//! What it says may be a moment old, so nobody who could miss their own writes is ever sent there. It is looked at again
//! and again, so that a request learns at once whether to go there, and waits a second at the very most.

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

/// How long a replica that is looked at may take.
const LOOK_TIME: Duration = Duration::from_secs(1);
/// How long nobody looks after that.
const PAUSE: Duration = Duration::from_secs(2);

/// A read replica.
#[derive(Debug, Clone)]
pub struct Replica {
    pool: PgPool,
    is_usable: Arc<AtomicBool>,
}

impl Replica {
    /// Looks whether the replica is there, now and every few seconds until `stop` is cancelled, through a connection of
    /// its own; `connections` are opened for requests. A replica that is away is no error.
    ///
    /// # Errors
    /// The address does not parse.
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

    /// A connection to the replica; none while it cannot be used.
    pub(crate) async fn conn(&self) -> Option<PoolConnection<Postgres>> {
        if self.is_usable.load(Ordering::Relaxed) {
            match self.pool.acquire().await {
                Ok(conn) => return Some(conn),
                // All connections may be taken; whoever watches knows whether more is wrong.
                Err(error) => tracing::debug!(%error, "the read replica has no connection"),
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

    /// Whether the replica answers in time, and has the schema of this program.
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
