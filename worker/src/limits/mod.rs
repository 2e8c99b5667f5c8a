//! Declared limits of a provider or a model, as this process keeps them: it takes slices of them from the database, a
//! few a second whatever the number of calls, and lets its calls pass at the moments that it got.
//!
//! A call passes `line` first, where it waits for its moment and its money, and then `share`, where it waits until
//! fewer calls run. While the database does not answer, nothing passes.

mod line;
mod share;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opb_core::{
    metrics::METRICS,
    models::{LimitKey, LoadedLimits, ProviderLimits, passing},
};
use sqlx::PgPool;
use tokio::{
    sync::{Notify, oneshot},
    time::Instant,
};
use uuid::Uuid;

use self::{line::Line, share::Share};

/// Length of a slice: how many seconds of calls are taken at once.
const SLICE_SECONDS: f64 = 0.5;
/// Calls that may wait in a line at once where only tokens, money or concurrent calls are limited.
const ENTERING: u32 = 64;

/// What a call takes of a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Tokens, by estimate.
    pub(crate) tokens: i64,
    /// Maximum cost, in micro-dollars; 0 when unknown.
    pub(crate) microusd: i64,
}

/// What a call took in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Tokens, if they were counted.
    pub(crate) tokens: Option<i64>,
    /// Micro-dollars; none when it may have been paid for and the cost is unknown.
    pub(crate) microusd: Option<i64>,
}

/// The limits of one provider or one model, in this process.
pub(crate) struct Limit {
    pub(crate) key: LimitKey,
    /// The provider's name as a label of metrics.
    label: String,
    worker_id: Uuid,
    pool: PgPool,
    declared: Mutex<ProviderLimits>,
    line: Mutex<Line>,
    share: Mutex<Share>,
    /// A call has told what it cost.
    settled: Notify,
}

impl Limit {
    pub(crate) fn new(loaded: LoadedLimits, worker_id: Uuid, pool: PgPool) -> Self {
        Self {
            key: loaded.key,
            label: METRICS.providers.label(&loaded.provider).to_owned(),
            worker_id,
            pool,
            declared: Mutex::new(loaded.limits),
            line: Mutex::default(),
            share: Mutex::default(),
            settled: Notify::new(),
        }
    }

    /// What is declared now.
    pub(crate) fn declare(&self, declared: ProviderLimits) {
        *lock(&self.declared) = declared;
    }

    /// Waits until one more call may begin.
    pub(crate) async fn pass(self: &Arc<Self>, need: Need) -> Passed {
        let declared = lock(&self.declared).clone();
        let mut promise = None;
        if declared.requests_per_minute.is_some()
            || declared.tokens_per_minute.is_some()
            || declared.daily_microusd.is_some()
        {
            let (moment, promised) = self.wait_in_line(need).await;
            promise = Some(promised);
            tokio::time::sleep_until(moment).await;
        }
        let mut call = promise.unwrap_or_else(|| Passed {
            limit: Arc::clone(self),
            need,
            settled: true,
            counted: false,
        });
        if declared.concurrent_calls.is_some() {
            call.counted = self.enter_share().await;
        }
        call
    }

    async fn wait_in_line(self: &Arc<Self>, need: Need) -> (Instant, Passed) {
        let (waiter, passes) = oneshot::channel();
        self.join_line(need, waiter);
        match passes.await {
            Ok(through) => through,
            // The task that serves the line ended with the process.
            Err(_) => std::future::pending().await,
        }
    }

    /// How many calls may be on their way through at once: enough to keep the line busy, and few enough that another
    /// owner's call does not wait behind many.
    pub(crate) fn entering(&self) -> u32 {
        match lock(&self.declared).requests_per_minute {
            Some(per_minute) => (2 * slice_of(per_minute.into())).max(4),
            None => ENTERING,
        }
    }

    /// What stands in the way for longer, in words.
    pub(crate) fn obstacle(&self) -> Option<String> {
        lock(&self.line).obstacle.clone()
    }

    /// What its limits apply to, in words.
    fn subject(&self) -> String {
        match &self.key.model {
            Some(model) => format!("the model {}:{model}", self.label),
            None => format!("the provider {}", self.label),
        }
    }
}

/// Size of a slice of a limit per minute, at least one.
fn slice_of(per_minute: i64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floats saturate when they become integers"
    )]
    let whole = passing(per_minute, SLICE_SECONDS) as u32;
    whole.max(1)
}

/// A call that has passed. What it took is settled, and its place is free when this is dropped.
pub(crate) struct Passed {
    limit: Arc<Limit>,
    need: Need,
    settled: bool,
    counted: bool,
}

impl Passed {
    /// Tells what the call really took.
    pub(crate) fn settle(&mut self, used: Used) {
        if !self.settled {
            self.settled = true;
            self.limit.settle_line(self.need, used);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // A call that never began costs nothing.
        self.settle(Used {
            tokens: None,
            microusd: Some(0),
        });
        if self.counted {
            self.limit.leave_share();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The moment `seconds` after `now`; moments in the past are now.
fn moment(now: Instant, seconds: f64) -> Instant {
    let wait = Duration::try_from_secs_f64(seconds.max(0.0));
    now + wait.unwrap_or(Duration::from_hours(24))
}
