//! Claims: as long as there is room, this worker claims the shard that is owed most and works on it.
//!
//! One loop: a place, a claim, the work. When nothing waits it sleeps until the doorbell rings; it polls besides, since a
//! ring can be lost and the pause after a crash ends without one.

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

/// How often it looks for a shard when no bell rings.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// What claims are made with.
pub(crate) struct Claims {
    pub(crate) ctx: Arc<ShardContext>,
    pub(crate) doorbell: Doorbell,
    /// How many shards are worked on at most.
    pub(crate) places: usize,
    /// For how long a shard is claimed; the lease is renewed long before.
    pub(crate) lease: Duration,
    /// The work on shards; also of those that have given their place away.
    pub(crate) under_way: TaskTracker,
}

/// Claims shards and works on them until the worker stops. Shards in flight then go on beside.
pub(crate) async fn claim_for_ever(claims: Claims) {
    let places = Arc::new(Semaphore::new(claims.places));
    let stop = claims.ctx.stop.clone();
    let mut rings = claims.doorbell.subscribe();
    let mut place = None;
    while !stop.is_cancelled() {
        // What rang before is seen by the claim that comes now.
        while rings.try_recv().is_ok() {}
        if place.is_none() {
            let free = Arc::clone(&places).acquire_owned();
            place = stop.run_until_cancelled(free).await.and_then(Result::ok);
            continue;
        }
        // Never cut off: a lease that is claimed and not known would have to run out.
        match claim(&claims).await {
            Ok(Some(lease)) => {
                let work = work(Arc::clone(&claims.ctx), lease, place.take());
                claims.under_way.spawn(work);
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no shard could be claimed, trying again"),
        }
        // A time-out and a ring say the same: look again.
        let wait = tokio::time::timeout(POLL_INTERVAL, rung(&mut rings, WORKERS_DOORBELL));
        stop.run_until_cancelled(wait).await;
    }
}

async fn claim(claims: &Claims) -> opb_core::Result<Option<ShardLease>> {
    let mut conn = claims.ctx.pool.acquire().await?;
    let name = std::process::id().to_string();
    claim_shard(&mut conn, &name, claims.lease).await
}

/// Works on a shard. Its place is free when it is done, handed back or left, or has given its place to another; then the
/// calls in flight end beside.
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
        // Housekeeping makes it available again when its lease has run out.
        Ok(Err(error)) => {
            tracing::error!(shard.id = %lease.shard_id, error = format!("{error:#}"), "the shard {} was left", lease.shard_id);
        }
        Err(_) => {
            tracing::error!(shard.id = %lease.shard_id, "the work on the shard {} panicked", lease.shard_id);
        }
    }
}
