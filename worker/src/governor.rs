//! The governor: how many calls to a provider run at once. It finds the number by itself.
//!
//! Additive increase, multiplicative decrease: the limit doubles with every round of calls until the provider first
//! says that it is too much, then grows by one a round; "too much" halves it, once for all calls of one round.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use opb_core::metrics::METRICS;
use tokio::{sync::Notify, time::Instant};

/// Where the limit starts.
const FIRST_LIMIT: f64 = 16.0;

/// One governor for each provider, by name.
pub(crate) struct Governors {
    max: u32,
    by_provider: Mutex<HashMap<String, Arc<Governor>>>,
}

impl Governors {
    /// Governors that never allow more than `max` calls each.
    pub(crate) fn new(max: u32) -> Self {
        Self {
            max,
            by_provider: Mutex::default(),
        }
    }

    /// The governor of a provider.
    pub(crate) fn of(&self, provider: &str) -> Arc<Governor> {
        let mut governors = self
            .by_provider
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(governor) = governors.get(provider) {
            return Arc::clone(governor);
        }
        let governor = Arc::new(Governor::new(provider, self.max));
        governors.insert(provider.to_owned(), Arc::clone(&governor));
        governor
    }
}

/// Bounds the calls to one provider.
pub(crate) struct Governor {
    /// The label of its metrics.
    provider: String,
    max: f64,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    limit: f64,
    running: u32,
    doubling: bool,
    /// Counts decreases: a call that began before the last one says nothing new.
    round: u64,
    paused_until: Option<Instant>,
}

/// The right to make one call. Dropping it says nothing about the provider.
pub(crate) struct Permit {
    governor: Arc<Governor>,
    round: u64,
}

impl Governor {
    fn new(provider: &str, max: u32) -> Self {
        let max = f64::from(max);
        let limit = FIRST_LIMIT.min(max);
        let governor = Self {
            provider: METRICS.providers.label(provider).to_owned(),
            max,
            state: Mutex::new(State {
                limit,
                running: 0,
                doubling: true,
                round: 0,
                paused_until: None,
            }),
            freed: Notify::new(),
        };
        governor.publish(&governor.lock());
        governor
    }

    /// Waits until one more call may run.
    pub(crate) async fn acquire(self: &Arc<Self>) -> Permit {
        loop {
            let freed = self.freed.notified();
            let paused_until = {
                let mut state = self.lock();
                let now = Instant::now();
                let paused_until = state.paused_until.filter(|until| *until > now);
                if paused_until.is_none() && f64::from(state.running) < state.limit.floor() {
                    state.running += 1;
                    METRICS
                        .calls_running
                        .with_label_values(&[&self.provider])
                        .set(state.running.into());
                    return Permit {
                        governor: Arc::clone(self),
                        round: state.round,
                    };
                }
                paused_until
            };
            match paused_until {
                Some(until) => tokio::time::sleep_until(until).await,
                None => freed.await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, state: &State) {
        #[expect(clippy::cast_possible_truncation, reason = "limits are small numbers")]
        METRICS
            .call_limit
            .with_label_values(&[&self.provider])
            .set(state.limit as i64);
    }
}

impl Permit {
    /// The call went well: a little more may run.
    pub(crate) fn succeeded(self) {
        let mut state = self.governor.lock();
        if state.limit >= self.governor.max {
            return;
        }
        state.limit += if state.doubling {
            1.0
        } else {
            1.0 / state.limit
        };
        state.limit = state.limit.min(self.governor.max);
        self.governor.publish(&state);
        drop(state);
        // One permit more than the one that this call gives back.
        self.governor.freed.notify_one();
    }

    /// The provider says that it is too much: half as many may run, and none before `pause` is over.
    pub(crate) fn overloaded(self, pause: Option<Duration>) {
        let mut state = self.governor.lock();
        if let Some(pause) = pause {
            let until = Instant::now() + pause;
            state.paused_until = Some(
                state
                    .paused_until
                    .map_or(until, |earlier| earlier.max(until)),
            );
        }
        if state.round == self.round {
            state.round += 1;
            state.doubling = false;
            state.limit = (state.limit / 2.0).max(1.0);
            self.governor.publish(&state);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.governor.lock();
        state.running -= 1;
        METRICS
            .calls_running
            .with_label_values(&[&self.governor.provider])
            .set(state.running.into());
        drop(state);
        self.governor.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(governor: &Governor) -> f64 {
        governor.lock().limit
    }

    #[tokio::test]
    async fn grows_fast_then_slowly_and_halves_once_a_round() {
        let governor = Governors::new(1000).of("test");
        for _ in 0..16 {
            governor.acquire().await.succeeded();
        }
        assert!((limit(&governor) - 32.0).abs() < 1e-9);
        let first = governor.acquire().await;
        let second = governor.acquire().await;
        first.overloaded(None);
        second.overloaded(None);
        assert!(
            (limit(&governor) - 16.0).abs() < 1e-9,
            "two calls of one round halve once"
        );
        governor.acquire().await.succeeded();
        assert!((limit(&governor) - 16.0625).abs() < 1e-9);
        for _ in 0..10 {
            governor.acquire().await.overloaded(None);
        }
        assert!((limit(&governor) - 1.0).abs() < 1e-9, "never below one");
    }

    #[tokio::test]
    async fn never_more_than_the_limit_and_every_waiter_comes() {
        let governor = Governors::new(4).of("test");
        let peak = Arc::new(Mutex::new((0_u32, 0_u32)));
        let calls = (0..200).map(|number| {
            let (governor, peak) = (Arc::clone(&governor), Arc::clone(&peak));
            tokio::spawn(async move {
                let permit = governor.acquire().await;
                {
                    let mut peak = peak.lock().unwrap();
                    peak.0 += 1;
                    peak.1 = peak.1.max(peak.0);
                }
                tokio::task::yield_now().await;
                peak.lock().unwrap().0 -= 1;
                if number % 3 == 0 {
                    permit.succeeded();
                } else {
                    drop(permit);
                }
            })
        });
        futures::future::join_all(calls).await;
        assert_eq!(*peak.lock().unwrap(), (0, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_every_call() {
        let governor = Governors::new(4).of("test");
        governor
            .acquire()
            .await
            .overloaded(Some(Duration::from_secs(30)));
        let before = Instant::now();
        drop(governor.acquire().await);
        assert!(before.elapsed() >= Duration::from_secs(30));
    }
}
