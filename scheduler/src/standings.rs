//! Making boards anew when what they may show has changed, and summing open runs up while they go on: their standings are
//! shown as far as they have come, and little is left to do when they end. Any number of schedulers may do it at once; a run that one is busy with is left alone by the others.

use std::time::Duration;

use opb_core::leaderboards::{self, Shown};
use sqlx::PgPool;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Refreshes every few seconds until `stop` is cancelled. Passing trouble with the database is waited out.
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
            tracing::warn!(error = ?error, "standings could not be refreshed, trying again");
        }
    }
}
