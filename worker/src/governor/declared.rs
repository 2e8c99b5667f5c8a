//! Keeps the limits that administrators declare up to date.

use std::{sync::Arc, time::Duration};

use opb_core::models::load_limits;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::Governors;

/// Refresh interval of the limits.
const REFRESH: Duration = Duration::from_secs(5);

/// Applies the declared limits and returns unused slices, until `stop`.
pub(crate) async fn refresh_limits_until(
    pool: PgPool,
    governors: Arc<Governors>,
    stop: CancellationToken,
) {
    while stop
        .run_until_cancelled(tokio::time::sleep(REFRESH))
        .await
        .is_some()
    {
        if let Err(error) = refresh_limits(&pool, &governors).await {
            tracing::warn!(%error, "could not load the limits of providers");
        }
        give_back(&governors).await;
    }
    give_back(&governors).await;
}

/// Applies the currently declared limits.
///
/// # Errors
/// The database does not respond.
pub(crate) async fn refresh_limits(pool: &PgPool, governors: &Governors) -> opb_core::Result<()> {
    let mut conn = pool.acquire().await?;
    governors.declare(load_limits(&mut conn).await?);
    Ok(())
}

async fn give_back(governors: &Governors) {
    for limit in governors.limits() {
        limit.give_back().await;
    }
}
