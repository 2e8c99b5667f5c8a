//! Answers that are the same for everybody who may have them: made once, and kept for a moment. Who may have one is asked
//! before.
//!
//! An answer is never older than two seconds, and usually made anew as soon as a standing changes, because the doorbell
//! rings; what a read replica lags behind comes on top. Answers that differ by who asks are never kept here.

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
    problem::{Refusal, Result},
};

/// No answer is given that is older.
const OLDEST: Duration = Duration::from_secs(2);
/// An answer that is older is made anew, while the old one is given.
const FRESH: Duration = Duration::from_secs(1);
/// The memory that kept answers may take.
const MOST_BYTES: u64 = 64 << 20;

/// The answers that are kept.
#[derive(Clone)]
pub(crate) struct Answers(Cache<String, Arc<Answer>>);

struct Answer {
    tagged: Tagged,
    made_at: Instant,
    /// True as soon as somebody makes the next one.
    aging: AtomicBool,
}

impl Answers {
    /// Keeps answers until the process stops.
    pub(crate) fn new(doorbell: &Doorbell, stop: CancellationToken) -> Self {
        let cache: Cache<String, Arc<Answer>> = Cache::builder()
            .time_to_live(OLDEST)
            .max_capacity(MOST_BYTES)
            .weigher(|key: &String, answer: &Arc<Answer>| {
                let size = key.len() + answer.tagged.size_bytes();
                u32::try_from(size).unwrap_or(u32::MAX)
            })
            .build();
        let answers = Self(cache);
        let listening = answers.clone();
        let rings = doorbell.subscribe();
        tokio::spawn(async move { stop.run_until_cancelled(listening.listen(rings)).await });
        answers
    }

    /// The kept answer of this name, or a new one. However many ask for it at once, it is made once.
    pub(crate) async fn get<M>(
        &self,
        name: String,
        make: impl Fn() -> M + Send + Sync + 'static,
    ) -> Result<Tagged>
    where
        M: Future<Output = Result<Tagged>> + Send,
    {
        let answer = self.0.try_get_with_by_ref(&name, made(make()));
        let answer = answer
            .await
            .map_err(|refusal: Arc<Refusal>| (*refusal).clone())?;
        if answer.made_at.elapsed() > FRESH && !answer.aging.swap(true, Ordering::Relaxed) {
            let kept = self.0.clone();
            tokio::spawn(async move {
                // If it fails, the next one who asks after the old answer is gone hears why.
                if let Ok(next) = made(make()).await {
                    kept.insert(name, next).await;
                }
            });
        }
        Ok(answer.tagged.clone())
    }

    /// Forgets all answers whenever a board changes.
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

async fn made(making: impl Future<Output = Result<Tagged>>) -> Result<Arc<Answer>> {
    // Its age counts from when the tables were read, not from when it was ready.
    let made_at = Instant::now();
    Ok(Arc::new(Answer {
        tagged: making.await?,
        made_at,
        aging: AtomicBool::new(false),
    }))
}
