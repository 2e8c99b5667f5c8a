//! Refreshing of leaderboards: rebuilds boards when the runs that they may show have changed, and updates the
//! standings of open runs, so that little is left to do when a run ends. Any number of schedulers may do it at once:
//! each skips the runs that another one is working on.

use std::time::Duration;

use opb_core::leaderboards::{self, Shown};
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Refreshes every few seconds until `stop` is cancelled. After a database error it tries again.
pub(crate) async fn refresh(pool: PgPool, interval: Duration, stop: CancellationToken) {
    let mut shown = Shown::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let refreshed = async {
            let mut conn = pool.acquire().await?;
            leaderboards::renew_stale_boards(&mut conn).await?;
            leaderboards::refresh_open_runs(&mut conn, &mut shown).await
        };
        if let Err(error) = refreshed.await {
            tracing::warn!(error = ?error, "could not refresh standings; trying again");
        }
    }
}
