//! Housekeeping: finds what crashes left behind and mends it, and forgets what has had its time. Safe to run anywhere, any
//! number of times, at once.
//!
//! Each room knows what of its own to mend or to forget; here stands only in which order.

use sqlx::PgConnection;

use crate::{Result, auth, benchmarks, library, mail, processes, queue, runs, schedules, webhooks};

/// What a round of housekeeping mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mended {
    /// Leases that ran out.
    pub expired_leases: u64,
    /// Shards that were cut into single evaluations.
    pub split_shards: u64,
    /// Evaluations that were given up.
    pub poisoned_evaluations: u64,
    /// Jobs of runs that were missing in the queue.
    pub requeued: u64,
    /// Runs whose owner has no room for what they would record, or may no longer see a part of them.
    pub paused_runs: u64,
    /// Jobs that are over and were deleted.
    pub deleted_jobs: u64,
    /// Sessions, throttles and audit entries that have had their time.
    pub deleted_account_rows: u64,
    /// Mails that ended long enough ago.
    pub deleted_mails: u64,
    /// Ticks of schedules that were settled long ago.
    pub deleted_firings: u64,
    /// Messages to webhooks that ended long enough ago.
    pub deleted_deliveries: u64,
}

/// Mends what it finds.
///
/// # Errors
/// The database does not answer; what was mended so far stays mended.
pub async fn mend(conn: &mut PgConnection) -> Result<Mended> {
    let rescued = runs::rescue_expired_leases(conn).await?;
    let mut mended = Mended {
        expired_leases: rescued.expired_leases,
        split_shards: rescued.split_shards,
        poisoned_evaluations: rescued.poisoned_evaluations,
        ..Mended::default()
    };
    mended.requeued = runs::enqueue_lost_jobs(conn).await?;
    mended.paused_runs = runs::pause_overfull(conn).await? + runs::pause_hidden(conn).await?;
    mended.deleted_jobs = queue::delete_finished(conn).await?;
    mended.deleted_account_rows = auth::delete_expired(conn).await?;
    mended.deleted_mails = mail::delete_old(conn).await?;
    mended.deleted_deliveries = webhooks::delete_old(conn).await?;
    mended.deleted_firings = schedules::delete_old_firings(conn).await?;
    benchmarks::expire_imports(conn).await?;
    if !runs::erase_deleted_runs(conn).await? {
        // Runs rest on versions, so they go first.
        benchmarks::erase_deleted(conn).await?;
        library::erase_withdrawn(conn).await?;
    }
    processes::delete_gone(conn).await?;
    Ok(mended)
}
