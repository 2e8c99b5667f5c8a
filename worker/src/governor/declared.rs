//! The limits that administrators declare, kept up to date.

use std::{sync::Arc, time::Duration};

use opb_core::models::load_limits;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::Governors;

/// How often the limits are read.
const REFRESH: Duration = Duration::from_secs(5);

/// Applies the declared limits, and gives back what no call needs, until `stop`.
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
            tracing::warn!(%error, "the limits of providers could not be read");
        }
        give_back(&governors).await;
    }
    give_back(&governors).await;
}

/// Applies the limits that are declared now.
///
/// # Errors
/// The database does not answer.
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
