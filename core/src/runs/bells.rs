//! The bells of runs: whoever follows a run, and workers that could take a shard, need not poll to learn of it.

use sqlx::PgConnection;
use uuid::Uuid;

use crate::{Result, doorbell::ring};

/// The channel on which Postgres tells that a run moved; the payload is the run's id.
pub const DOORBELL: &str = "opb_runs";
/// The channel on which Postgres tells that shards can be claimed.
pub const WORKERS_DOORBELL: &str = "opb_workers";
/// The channel on which Postgres tells that a run was paused or has ended, so that its leases are worth a look; the payload
/// is the run's id.
pub const RECALL_DOORBELL: &str = "opb_recalls";

/// Tells whoever follows a run that it moved.
pub(crate) async fn tell(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    ring(conn, DOORBELL, &run_id.to_string()).await
}

/// Tells the workers that shards can be claimed.
pub(super) async fn wake_workers(conn: &mut PgConnection) -> Result<()> {
    ring(conn, WORKERS_DOORBELL, "").await
}

/// Tells the workers that a run was paused or has ended, so that they look after their leases at once.
pub(super) async fn recall(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    ring(conn, RECALL_DOORBELL, &run_id.to_string()).await
}
