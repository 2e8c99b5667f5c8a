//! The list of live workers and schedulers. Each reports every few seconds; one that is silent for longer counts as
//! gone.
//!
//! No result of a run depends on this; it only tells users what is missing.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, PgPool};
use tokio_util::sync::CancellationToken;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Result, auth::CurrentUser};

/// The interval of heartbeats.
const BEAT_INTERVAL: Duration = Duration::from_secs(5);

/// The kinds of processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "process_kind", rename_all = "snake_case")]
pub enum ProcessKind {
    /// It calls models, scores and records.
    Worker,
    /// It fires schedules and does housekeeping.
    Scheduler,
}

/// A worker or scheduler with a heartbeat in the last 20 seconds.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Process {
    /// The id that it chose when it started.
    pub id: Uuid,
    /// Its kind.
    pub kind: ProcessKind,
    /// The version of its program.
    #[schema(example = "0.1.0")]
    pub version: String,
    /// The name of its host or container.
    pub host: String,
    /// Names of environment variables with the operator's credentials in this process.
    pub key_variables: Vec<String>,
    /// The time of its first heartbeat.
    pub started_at: DateTime<Utc>,
    /// The time of its last heartbeat.
    pub seen_at: DateTime<Utc>,
}

/// The heartbeat of a process.
#[derive(Debug, Clone)]
pub struct Pulse {
    id: Uuid,
    kind: ProcessKind,
    version: String,
    host: String,
    key_variables: Vec<String>,
}

impl Pulse {
    /// The heartbeat of this process, with its kind and version. `key_variables` are the names of its environment
    /// variables with credentials.
    #[must_use]
    pub fn new(kind: ProcessKind, version: &str, key_variables: Vec<String>) -> Self {
        Self {
            id: Uuid::now_v7(),
            kind,
            version: version.to_owned(),
            host: host_name(),
            key_variables,
        }
    }

    /// Sends a heartbeat at once and every few seconds until `stop` is cancelled, and then removes the process from the
    /// list.
    pub async fn beat_for_ever(self, pool: PgPool, stop: CancellationToken) {
        loop {
            if let Err(error) = self.beat(&pool).await {
                tracing::warn!(%error, "could not send the heartbeat of this process, trying again");
            }
            let pause = tokio::time::sleep(BEAT_INTERVAL);
            if stop.run_until_cancelled(pause).await.is_none() {
                break;
            }
        }
        if let Err(error) = self.leave(&pool).await {
            tracing::debug!(%error, "could not remove this process from the list of processes");
        }
    }

    async fn beat(&self, pool: &PgPool) -> Result<()> {
        let mut conn = pool.acquire().await?;
        sqlx::query!(
            "-- processes::beat
            insert into processes (id, kind, version, host, key_variables)
            values ($1, $2, $3, $4, $5)
            on conflict (id) do update set seen_at = now()",
            self.id,
            self.kind as ProcessKind,
            self.version,
            self.host,
            &self.key_variables
        )
        .execute(&mut *conn)
        .await?;
        Ok(())
    }

    async fn leave(&self, pool: &PgPool) -> Result<()> {
        let mut conn = pool.acquire().await?;
        sqlx::query!(
            "-- processes::leave
            delete from processes where id = $1",
            self.id
        )
        .execute(&mut *conn)
        .await?;
        Ok(())
    }
}

/// The live workers and schedulers, oldest first; at most a thousand.
///
/// # Errors
/// [`Error::Forbidden`](crate::Error::Forbidden) for everybody but administrators; the database does not respond.
pub async fn list_processes(conn: &mut PgConnection, user: &CurrentUser) -> Result<Vec<Process>> {
    user.require_admin("only administrators can see processes")?;
    let processes = sqlx::query_as!(
        Process,
        r#"-- processes::list_processes
        select id, kind as "kind: ProcessKind", version, host, key_variables, started_at, seen_at
        from processes
        where seen_at > now() - interval '20 seconds'
        order by id
        limit 1000"#
    )
    .fetch_all(conn)
    .await?;
    Ok(processes)
}

/// Whether a live worker has this environment variable with an operator's credential; `None` if no worker is alive.
///
/// # Errors
/// The database does not respond.
pub async fn worker_has_key(conn: &mut PgConnection, variable: &str) -> Result<Option<bool>> {
    let has = sqlx::query_scalar!(
        "-- processes::worker_has_key
        select bool_or($1 = any(key_variables)) from processes
        where kind = 'worker' and seen_at > now() - interval '20 seconds'",
        variable
    )
    .fetch_one(conn)
    .await?;
    Ok(has)
}

/// Deletes processes without a heartbeat for an hour; returns their number.
///
/// # Errors
/// The database does not respond.
pub async fn delete_gone(conn: &mut PgConnection) -> Result<u64> {
    let deleted = sqlx::query!(
        "-- processes::delete_gone
        delete from processes where seen_at < now() - interval '1 hour'"
    )
    .execute(conn)
    .await?;
    Ok(deleted.rows_affected())
}

/// The name of this host, if the system reports it.
fn host_name() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname"));
    let name = name.unwrap_or_default();
    let name: String = name.trim().chars().take(255).collect();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name
    }
}
