//! A cache of responses that are the same for every client that may read them. Access is checked before the cache is
//! asked.
//!
//! A cached response is dropped after two seconds, and usually replaced as soon as a standing changes, because the
//! doorbell rings; the lag of a read replica comes on top. Responses that differ by caller are never cached.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use moka::future::Cache;
use opb_core::{
    doorbell::{Doorbell, Ring},
    leaderboards,
};
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use crate::{
    etag::Tagged,
    problem::{ApiError, Result},
};

/// A response is dropped so long after it was computed.
const MAX_AGE: Duration = Duration::from_secs(2);
/// An older response is served once more while its replacement is computed.
const REFRESH_AFTER: Duration = Duration::from_secs(1);
/// Maximum memory of the cached responses.
const MAX_BYTES: u64 = 64 << 20;

/// The response cache.
#[derive(Clone)]
pub(crate) struct ResponseCache(Cache<String, Arc<CachedResponse>>);

struct CachedResponse {
    tagged: Tagged,
    made_at: Instant,
    /// True while a replacement is being computed.
    aging: AtomicBool,
}

impl ResponseCache {
    /// Creates a cache that follows the doorbell until `stop` is cancelled.
    pub(crate) fn new(doorbell: &Doorbell, stop: CancellationToken) -> Self {
        let cache: Cache<String, Arc<CachedResponse>> = Cache::builder()
            .time_to_live(MAX_AGE)
            .max_capacity(MAX_BYTES)
            .weigher(|key: &String, response: &Arc<CachedResponse>| {
                let size = key.len() + response.tagged.size_bytes();
                u32::try_from(size).unwrap_or(u32::MAX)
            })
            .build();
        let cache = Self(cache);
        let listening = cache.clone();
        let rings = doorbell.subscribe();
        tokio::spawn(async move { stop.run_until_cancelled(listening.listen(rings)).await });
        cache
    }

    /// The cached response of this name, or a new one. Concurrent requests for the same name compute it once.
    pub(crate) async fn get<M>(
        &self,
        name: String,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Tagged>
    where
        M: Future<Output = Result<Tagged>> + Send,
    {
        let response = self.0.try_get_with_by_ref(&name, made(make()));
        let response = response
            .await
            .map_err(|refusal: Arc<ApiError>| (*refusal).clone())?;
        if response.made_at.elapsed() > REFRESH_AFTER
            && !response.aging.swap(true, Ordering::Relaxed)
        {
            let kept = self.0.clone();
            tokio::spawn(async move {
                // If this fails, the entry expires and the next request gets the error.
                if let Ok(next) = made(make()).await {
                    kept.insert(name, next).await;
                }
            });
        }
        Ok(response.tagged.clone())
    }

    /// Empties the cache whenever a board changes.
    async fn listen(self, mut rings: Receiver<Ring>) {
        loop {
            match rings.recv().await {
                Ok(ring) if ring.channel != leaderboards::DOORBELL => {}
                Ok(_) | Err(RecvError::Lagged(_)) => self.0.invalidate_all(),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

async fn made(making: impl Future<Output = Result<Tagged>>) -> Result<Arc<CachedResponse>> {
    // The age counts from when the tables were read, not from when the response was ready.
    let made_at = Instant::now();
    Ok(Arc::new(CachedResponse {
        tagged: making.await?,
        made_at,
        aging: AtomicBool::new(false),
    }))
}
