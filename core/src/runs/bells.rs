//! Notifications about runs, so that clients that follow a run and idle workers need not poll.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Result, doorbell::ring};

/// The Postgres notification channel for changes of runs; the payload is the run's id.
pub const DOORBELL: &str = "opb_runs";
/// The Postgres notification channel for shards that became claimable; no payload.
pub const WORKERS_DOORBELL: &str = "opb_workers";
/// The Postgres notification channel for runs that were paused or have ended, so that workers check their leases; the
/// payload is the run's id.
pub const RECALL_DOORBELL: &str = "opb_recalls";

/// Notifies the clients that follow a run of a change.
pub(crate) async fn tell(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    ring(conn, DOORBELL, &run_id.to_string()).await
}

/// Notifies the workers that shards can be claimed.
pub(super) async fn wake_workers(conn: &mut PgConnection) -> Result<()> {
    ring(conn, WORKERS_DOORBELL, "").await
}

/// Notifies the workers that a run was paused or has ended, so that they check their leases at once.
pub(super) async fn recall(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    ring(conn, RECALL_DOORBELL, &run_id.to_string()).await
}
