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
use tokio_util::sync::CancellationToken;

use crate::{Worker, shard};

/// How often it looks for a shard when no bell rings.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Claims shards and works on them until the worker stops. What is under way then goes on beside.
pub(crate) async fn claim_for_ever(worker: Arc<Worker>, doorbell: Doorbell) {
    let places = Arc::new(Semaphore::new(worker.capacity()));
    let mut rings = doorbell.subscribe();
    let mut place = None;
    while !worker.stop.is_cancelled() {
        // What rang before is seen by the claim that comes now.
        while rings.try_recv().is_ok() {}
        if place.is_none() {
            let free = Arc::clone(&places).acquire_owned();
            place = worker
                .stop
                .run_until_cancelled(free)
                .await
                .and_then(Result::ok);
            continue;
        }
        // Never cut off: a lease that is claimed and not known would have to run out.
        match claim(&worker).await {
            Ok(Some(lease)) => {
                let work = work(Arc::clone(&worker), lease, place.take());
                worker.under_way.spawn(work);
                continue;
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "no shard could be claimed, trying again"),
        }
        // A time-out and a ring say the same: look again.
        let wait = tokio::time::timeout(POLL_INTERVAL, rung(&mut rings, WORKERS_DOORBELL));
        worker.stop.run_until_cancelled(wait).await;
    }
}

async fn claim(worker: &Worker) -> opb_core::Result<Option<ShardLease>> {
    let mut conn = worker.pool.acquire().await?;
    let name = std::process::id().to_string();
    claim_shard(&mut conn, &name, worker.settings.lease_duration()).await
}

/// Works on a shard. Its place is free when it is done, handed back or left, or has given its place to another; then the
/// calls in flight end beside.
async fn work(worker: Arc<Worker>, lease: ShardLease, place: Option<OwnedSemaphorePermit>) {
    let leaves = CancellationToken::new();
    METRICS.shards_running.inc();
    let carried_out = AssertUnwindSafe(shard::carry_out(&worker, lease, leaves.clone()));
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
