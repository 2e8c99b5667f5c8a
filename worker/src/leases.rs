//! The leases held by this worker. A single task renews them; a lost lease aborts its work, and a paused run starts no
//! new calls.

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

/// The leases held, by shard.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<Uuid, HeldShard>>);

struct HeldShard {
    lease: ShardLease,
    lost: CancellationToken,
    halt: CancellationToken,
    leaves: CancellationToken,
}

impl Leases {
    /// Keeps a lease renewed until the guard is dropped. `stop` is the worker's token; `leaves` is cancelled when the
    /// shard gives up its slot.
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

    /// Returns the runs of the shards being worked on, once per shard, without those being returned.
    pub(crate) fn at_work(&self) -> Vec<Uuid> {
        let held = self.lock();
        let at_work = held.values().filter(|held| !held.halt.is_cancelled());
        at_work.map(|held| held.lease.run_id).collect()
    }

    /// Returns one shard of a run as soon as its calls in flight have ended. Its slot is free at once: a call may take
    /// minutes, and the run that gets the slot should not wait for it.
    pub(crate) fn give_way(&self, run_id: Uuid) {
        let held = self.lock();
        let of_run = |held: &&HeldShard| held.lease.run_id == run_id && !held.halt.is_cancelled();
        if let Some(held) = held.values().find(of_run) {
            held.halt.cancel();
            held.leaves.cancel();
        }
    }

    /// Returns the runs of the shards that have given up their slot but still have calls in flight, once per shard.
    pub(crate) fn leaving(&self) -> Vec<Uuid> {
        let held = self.lock();
        let leaving = held.values().filter(|held| held.leaves.is_cancelled());
        leaving.map(|held| held.lease.run_id).collect()
    }

    fn all(&self) -> Vec<ShardLease> {
        self.lock().values().map(|held| held.lease).collect()
    }

    /// Aborts the work of lost leases, and prevents new calls of those whose run is paused.
    fn apply(&self, asked: &[ShardLease], kept: &[HeldLease]) {
        let held = self.lock();
        for lease in asked {
            // The shard may have been claimed again meanwhile: the result is about the lease that was renewed.
            let Some(held) = held
                .get(&lease.shard_id)
                .filter(|held| held.lease == *lease)
            else {
                continue;
            };
            match kept.iter().find(|kept| kept.shard_id == lease.shard_id) {
                None => {
                    tracing::warn!(
                        shard.id = %lease.shard_id,
                        "the lease of shard {} was lost, its work is aborted",
                        lease.shard_id
                    );
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

/// A lease that is kept renewed.
pub(crate) struct LeaseGuard<'a> {
    leases: &'a Leases,
    pub(crate) lease: ShardLease,
    /// Cancelled when the lease is lost.
    pub(crate) lost: CancellationToken,
    /// Cancelled when no new calls may start: the run is paused, or the worker stops.
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

/// Renews all leases three times within `duration`, at least every five seconds, and whenever a run is paused or has
/// ended, until `stop`.
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
        // A timeout and a notification have the same effect: renew the leases.
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
            // Nothing is lost yet: the next round tries again, and the fence protects writes.
            Err(error) => tracing::warn!(%error, "could not renew leases"),
        }
    }
}
