//! Claims shards while this worker has capacity, and works on them.
//!
//! One loop: wait for a free slot, claim, work. Without claimable shards, it sleeps until a notification; it also
//! polls, since a notification can be lost, and the delay after a crash ends without one.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use opb_core::{
    doorbell::{Doorbell, rung},
    metrics::METRICS,
    runs::{ShardLease, WORKERS_DOORBELL, claim_shard},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::shard::{self, ShardContext};

/// Polling interval without notifications.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The dependencies of claiming.
pub(crate) struct Claims {
    pub(crate) ctx: Arc<ShardContext>,
    pub(crate) doorbell: Doorbell,
    /// Maximum number of shards worked on concurrently.
    pub(crate) places: usize,
    /// Duration of a lease; it is renewed long before it expires.
    pub(crate) lease: Duration,
    /// The tasks that work on shards, including those that have given up their slot.
    pub(crate) under_way: TaskTracker,
}

/// Claims shards and works on them until the worker stops. Tasks of claimed shards continue in the background.
pub(crate) async fn claim_for_ever(claims: Claims) {
    let places = Arc::new(Semaphore::new(claims.places));
    let stop = claims.ctx.stop.clone();
    let mut rings = claims.doorbell.subscribe();
    let mut place = None;
    while !stop.is_cancelled() {
        // Earlier notifications are covered by the claim that follows.
        while rings.try_recv().is_ok() {}
        if place.is_none() {
            let free = Arc::clone(&places).acquire_owned();
            place = stop.run_until_cancelled(free).await.and_then(Result::ok);
            continue;
        }
        // Not cancelled: a lease that is claimed but not known here would have to expire.
        match claim(&claims).await {
            Ok(Some(lease)) => {
                let work = work(Arc::clone(&claims.ctx), lease, place.take());
                claims.under_way.spawn(work);
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "could not claim a shard, trying again"),
        }
        // A timeout and a notification have the same effect: try again.
        let wait = tokio::time::timeout(POLL_INTERVAL, rung(&mut rings, WORKERS_DOORBELL));
        stop.run_until_cancelled(wait).await;
    }
}

async fn claim(claims: &Claims) -> opb_core::Result<Option<ShardLease>> {
    let mut conn = claims.ctx.pool.acquire().await?;
    let name = std::process::id().to_string();
    claim_shard(&mut conn, &name, claims.lease).await
}

/// Works on a shard. Its slot is released when the shard is done, returned or abandoned, or gives up its slot while
/// calls in flight finish.
async fn work(ctx: Arc<ShardContext>, lease: ShardLease, place: Option<OwnedSemaphorePermit>) {
    let leaves = CancellationToken::new();
    METRICS.shards_running.inc();
    let carried_out = AssertUnwindSafe(shard::carry_out(&ctx, lease, leaves.clone()));
    let mut carried_out = std::pin::pin!(carried_out.catch_unwind());
    let ended = tokio::select! {
        ended = &mut carried_out => ended,
        () = leaves.cancelled() => {
            drop(place);
            carried_out.await
        }
    };
    METRICS.shards_running.dec();
    match ended {
        Ok(Ok(())) => {}
        // Housekeeping makes it claimable again when its lease has expired.
        Ok(Err(error)) => {
            tracing::error!(
                shard.id = %lease.shard_id,
                error = format!("{error:#}"),
                "could not finish shard {}",
                lease.shard_id
            );
        }
        Err(_) => {
            tracing::error!(
                shard.id = %lease.shard_id,
                "the work on shard {} panicked",
                lease.shard_id
            );
        }
    }
}
