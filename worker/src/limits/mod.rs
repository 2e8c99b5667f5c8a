//! Enforces the declared limits of a provider or a model in this process: takes slices of them from the database, a few
//! per second whatever the number of calls, and lets calls pass at the start times it was granted.
//!
//! A call passes `line` first, where it waits for its start time and its money, and then `share`, where it waits for
//! free capacity of concurrent calls. While the database does not respond, no calls pass.

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

/// Length of a slice, in seconds of calls.
const SLICE_SECONDS: f64 = 0.5;
/// Maximum number of calls in a line if only tokens, money or concurrent calls are limited.
const ENTERING: u32 = 64;

/// The need of a call under a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Need {
    /// Estimated number of tokens.
    pub(crate) tokens: i64,
    /// Maximum cost, in micro-dollars; 0 if unknown.
    pub(crate) microusd: i64,
}

/// The actual usage of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Used {
    /// Number of tokens, if counted.
    pub(crate) tokens: Option<i64>,
    /// Cost in micro-dollars; `None` if it may have been paid for and the cost is unknown.
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
    /// Notified when a call is settled.
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

    /// Replaces the declared limits.
    pub(crate) fn declare(&self, declared: ProviderLimits) {
        *lock(&self.declared) = declared;
    }

    /// Waits until another call may start.
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

    /// Maximum number of calls that pass the limits at once: enough to keep the line busy, and few enough that another
    /// owner's call does not wait behind many.
    pub(crate) fn entering(&self) -> u32 {
        match lock(&self.declared).requests_per_minute {
            Some(per_minute) => (2 * slice_of(per_minute.into())).max(4),
            None => ENTERING,
        }
    }

    /// Describes what blocks calls for a longer time, for users.
    pub(crate) fn obstacle(&self) -> Option<String> {
        lock(&self.line).obstacle.clone()
    }

    /// The scope of the limits, for messages.
    fn subject(&self) -> String {
        match &self.key.model {
            Some(model) => format!("the model {}:{model}", self.label),
            None => format!("the provider {}", self.label),
        }
    }
}

/// The size of a slice of a limit per minute, at least one.
fn slice_of(per_minute: i64) -> u32 {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "floats saturate when they become integers"
    )]
    let whole = passing(per_minute, SLICE_SECONDS) as u32;
    whole.max(1)
}

/// A call that has passed. When dropped, its usage is settled and its capacity is free.
pub(crate) struct Passed {
    limit: Arc<Limit>,
    need: Need,
    settled: bool,
    counted: bool,
}

impl Passed {
    /// Settles the actual usage of the call.
    pub(crate) fn settle(&mut self, used: Used) {
        if !self.settled {
            self.settled = true;
            self.limit.settle_line(self.need, used);
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        // A call that never started costs nothing.
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

/// The time `seconds` after `now`; times in the past become now.
fn moment(now: Instant, seconds: f64) -> Instant {
    let wait = Duration::try_from_secs_f64(seconds.max(0.0));
    now + wait.unwrap_or(Duration::from_hours(24))
}
