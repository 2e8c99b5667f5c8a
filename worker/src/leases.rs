//! The leases that this worker holds. One task renews them all; a lease that is lost stops its work.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use opb_core::runs::{ShardLease, renew_lease};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::Worker;

/// The leases that are held, by shard.
#[derive(Default)]
pub(crate) struct Leases(Mutex<HashMap<Uuid, Held>>);

struct Held {
    lease: ShardLease,
    lost: CancellationToken,
}

impl Leases {
    /// Keeps a lease renewed until the guard is dropped.
    pub(crate) fn hold(self: &Leases, lease: ShardLease) -> LeaseGuard<'_> {
        let lost = CancellationToken::new();
        let held = Held {
            lease,
            lost: lost.clone(),
        };
        self.lock().insert(lease.shard_id, held);
        LeaseGuard {
            leases: self,
            lease,
            lost,
        }
    }

    fn all(&self) -> Vec<ShardLease> {
        self.lock().values().map(|held| held.lease).collect()
    }

    fn lose_all_but(&self, asked: &[ShardLease], kept: &[Uuid]) {
        let held = self.lock();
        for lease in asked.iter().filter(|lease| !kept.contains(&lease.shard_id)) {
            // The shard may have been claimed again meanwhile: only the lease that was asked about is lost.
            if let Some(held) = held
                .get(&lease.shard_id)
                .filter(|held| held.lease == *lease)
            {
                tracing::warn!(shard.id = %lease.shard_id, "a lease was lost, its work stops");
                held.lost.cancel();
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Uuid, Held>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease that is being renewed.
pub(crate) struct LeaseGuard<'a> {
    leases: &'a Leases,
    pub(crate) lease: ShardLease,
    /// Cancelled when the lease is lost.
    pub(crate) lost: CancellationToken,
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

/// Renews every lease three times before it would run out, until `stop`.
pub(crate) async fn renew_for_ever(worker: Arc<Worker>, stop: CancellationToken) {
    let interval = (worker.settings.lease_duration() / 3).min(Duration::from_secs(5));
    while stop
        .run_until_cancelled(tokio::time::sleep(interval))
        .await
        .is_some()
    {
        let leases = worker.leases.all();
        if leases.is_empty() {
            continue;
        }
        let renewed = async {
            let mut conn = worker.pool.acquire().await?;
            renew_lease(&mut conn, &leases, worker.settings.lease_duration()).await
        };
        match renewed.await {
            Ok(kept) => worker.leases.lose_all_but(&leases, &kept),
            // Nothing is lost yet: the next round tries again, and the fence guards what is written.
            Err(error) => tracing::warn!(%error, "leases could not be renewed"),
        }
    }
}
