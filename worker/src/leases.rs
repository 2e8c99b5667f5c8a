//! The leases that this worker holds. One task renews them all; a lease that is lost stops its work, and a paused run
//! lets no new call begin.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opb_core::{
    doorbell::{Doorbell, rung},
    runs::{HeldLease, RECALL_DOORBELL, ShardLease, renew_lease},
};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// The leases that are held, by shard.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<Uuid, HeldShard>>);

struct HeldShard {
    lease: ShardLease,
    lost: CancellationToken,
    halt: CancellationToken,
    leaves: CancellationToken,
}

impl Leases {
    /// Keeps a lease renewed until the guard is dropped. `stop` is the worker's; `leaves` is cancelled when the shard gives
    /// its place to another.
    pub(crate) fn hold(
        &self,
        lease: ShardLease,
        stop: &CancellationToken,
        leaves: CancellationToken,
    ) -> LeaseGuard<'_> {
        let lost = CancellationToken::new();
        let halt = stop.child_token();
        let held = HeldShard {
            lease,
            lost: lost.clone(),
            halt: halt.clone(),
            leaves,
        };
        self.lock().insert(lease.shard_id, held);
        LeaseGuard {
            leases: self,
            lease,
            lost,
            halt,
        }
    }

    /// The runs of the shards that are being worked on, once for each shard; those that are being handed back are not
    /// counted.
    pub(crate) fn at_work(&self) -> Vec<Uuid> {
        let held = self.lock();
        let at_work = held.values().filter(|held| !held.halt.is_cancelled());
        at_work.map(|held| held.lease.run_id).collect()
    }

    /// Hands one shard of a run back as soon as the calls that run have ended. Its place is free at once: a call may take
    /// minutes, and the run that gets the place shall not wait for it.
    pub(crate) fn give_way(&self, run_id: Uuid) {
        let held = self.lock();
        let of_run = |held: &&HeldShard| held.lease.run_id == run_id && !held.halt.is_cancelled();
        if let Some(held) = held.values().find(of_run) {
            held.halt.cancel();
            held.leaves.cancel();
        }
    }

    /// The runs of the shards that gave their place away and whose calls have not ended yet, once for each shard.
    pub(crate) fn leaving(&self) -> Vec<Uuid> {
        let held = self.lock();
        let leaving = held.values().filter(|held| held.leaves.is_cancelled());
        leaving.map(|held| held.lease.run_id).collect()
    }

    fn all(&self) -> Vec<ShardLease> {
        self.lock().values().map(|held| held.lease).collect()
    }

    /// Stops the work of leases that were lost, and new calls of those whose run is paused.
    fn apply(&self, asked: &[ShardLease], kept: &[HeldLease]) {
        let held = self.lock();
        for lease in asked {
            // The shard may have been claimed again meanwhile: the answer is about the lease that was asked about.
            let Some(held) = held
                .get(&lease.shard_id)
                .filter(|held| held.lease == *lease)
            else {
                continue;
            };
            match kept.iter().find(|kept| kept.shard_id == lease.shard_id) {
                None => {
                    tracing::warn!(shard.id = %lease.shard_id, "a lease was lost, its work stops");
                    held.lost.cancel();
                }
                Some(kept) if kept.paused => held.halt.cancel(),
                Some(_) => {}
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, HeldShard>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease that is being renewed.
pub(crate) struct LeaseGuard<'a> {
    leases: &'a Leases,
    pub(crate) lease: ShardLease,
    /// Cancelled when the lease is lost.
    pub(crate) lost: CancellationToken,
    /// Cancelled when no new call may begin: the run is paused, or the worker stops.
    pub(crate) halt: CancellationToken,
}

impl Drop for LeaseGuard<'_> {
    fn drop(&mut self) {
        let mut held = self.leases.lock();
        if held
            .get(&self.lease.shard_id)
            .is_some_and(|held| held.lease == self.lease)
        {
            held.remove(&self.lease.shard_id);
        }
    }
}

/// Renews every lease three times before it would run out after `duration`, and whenever a run is recalled, until `stop`.
pub(crate) async fn renew_for_ever(
    leases: Arc<Leases>,
    pool: PgPool,
    duration: Duration,
    doorbell: Doorbell,
    stop: CancellationToken,
) {
    let interval = (duration / 3).min(Duration::from_secs(5));
    let mut rings = doorbell.subscribe();
    loop {
        // A time-out and a ring say the same: look after the leases.
        let wait = tokio::time::timeout(interval, rung(&mut rings, RECALL_DOORBELL));
        if stop.run_until_cancelled(wait).await.is_none() {
            return;
        }
        let held = leases.all();
        if held.is_empty() {
            continue;
        }
        let renewed = async {
            let mut conn = pool.acquire().await?;
            renew_lease(&mut conn, &held, duration).await
        };
        match renewed.await {
            Ok(kept) => leases.apply(&held, &kept),
            // Nothing is lost yet: the next round tries again, and the fence guards what is written.
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }
}
