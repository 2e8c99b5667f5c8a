//! The right to make one call, and what is learned when it ends.

use std::{sync::Arc, time::Duration};

use opb_core::metrics::METRICS;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Governor, NEWEST};
use crate::{
    limits::{Passed, Used},
    providers::CallErrorKind,
};

/// The right to make one call. Dropping it says nothing about the provider.
pub(crate) struct Permit {
    governor: Arc<Governor>,
    round: u64,
    is_probe: bool,
    has_begun: bool,
    has_answered: bool,
    pub(super) passed: Vec<Passed>,
    pub(super) whole: Option<OwnedSemaphorePermit>,
}

/// How a call failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: CallErrorKind,
    /// How long the provider asks to wait.
    pub(crate) pause: Option<Duration>,
    /// It was the evaluation's first attempt.
    pub(crate) is_first: bool,
}

impl Permit {
    pub(super) fn new(governor: Arc<Governor>, round: u64, is_probe: bool) -> Self {
        Self {
            governor,
            round,
            is_probe,
            has_begun: false,
            has_answered: false,
            passed: Vec::new(),
            whole: None,
        }
    }

    /// The call begins: the next one may enter.
    pub(super) fn begin(&mut self) {
        self.has_begun = true;
        // Without limits no call waits for another one to enter.
        let is_anybody_waiting = {
            let mut state = self.governor.lock();
            state.entering -= 1;
            let is_bounded = state.pace.is_some() || !state.limits.is_empty();
            is_bounded && !state.queue.is_empty()
        };
        self.count_running(1);
        if is_anybody_waiting {
            self.governor.dispatch();
        }
    }

    /// The call went well: a little more may run.
    pub(crate) fn succeeded(mut self, output_tokens: Option<i32>, used: Used) {
        self.settle(used);
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        self.answered(&mut state);
        if let Some(tokens) = output_tokens {
            state.output_tokens += (f64::from(tokens) - state.output_tokens) * NEWEST;
        }
        if state.bound < governor.max {
            let more = if state.doubling {
                1.0
            } else {
                1.0 / state.bound
            };
            let bound = (state.bound + more).min(governor.max);
            governor.set_bound(&mut state, bound);
        }
    }

    /// The provider says that it is too much: half as many may run, and none before `pause` is over.
    pub(crate) fn refused(mut self, pause: Option<Duration>) {
        self.settle(Used {
            tokens: Some(0),
            microusd: Some(0),
        });
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        self.answered(&mut state);
        self.slow_down(&mut state, pause);
    }

    /// The call failed. True when that is the provider's trouble alone: it is down, and the evaluation has lost no
    /// attempt by it.
    pub(crate) fn failed(mut self, failure: Failure) -> bool {
        let kind = failure.kind;
        self.settle(Used {
            tokens: None,
            microusd: if kind.may_be_paid() { None } else { Some(0) },
        });
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        if !kind.is_silence() {
            self.answered(&mut state);
            return false;
        }
        let was_down = state.breaker.down_since().is_some();
        let now = Instant::now();
        state.last_failure = kind;
        state.breaker.failed(now, failure.is_first, self.is_probe);
        if kind.is_overload() {
            self.slow_down(&mut state, failure.pause);
        }
        let is_down = state.breaker.down_since().is_some();
        if is_down && !was_down {
            tracing::warn!(
                provider.model = governor.subject,
                "a model does not answer, its calls stop"
            );
            governor.publish_breaker(true);
        }
        // The call that tries whether the provider is back may itself be what it cannot stand.
        is_down && (kind.is_blameless() || !self.is_probe)
    }

    fn answered(&self, state: &mut super::State) {
        if state.breaker.down_since().is_some() {
            tracing::info!(
                provider.model = self.governor.subject,
                "a model answers again, its calls go on"
            );
            self.governor.publish_breaker(false);
            // What it bore before says little about what it bears now, and going up in steps of one takes long.
            state.doubling = true;
        }
        state.breaker.answered();
    }

    fn slow_down(&self, state: &mut super::State, pause: Option<Duration>) {
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
            let bound = (state.bound / 2.0).max(1.0);
            self.governor.set_bound(state, bound);
        }
    }

    fn settle(&mut self, used: Used) {
        for passed in &mut self.passed {
            passed.settle(used);
        }
    }

    fn count_running(&self, change: i64) {
        METRICS
            .calls_running
            .with_label_values(&self.governor.labels.both())
            .add(change);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.has_begun {
            self.count_running(-1);
            if !self.has_answered {
                // It was cut off, and may be paid for.
                self.settle(Used {
                    tokens: None,
                    microusd: None,
                });
            }
        }
        {
            let mut state = self.governor.lock();
            state.held -= 1;
            if !self.has_begun {
                state.entering -= 1;
            }
            if self.is_probe && !self.has_answered {
                state.breaker.abandoned(Instant::now());
            }
            if state.queue.is_empty() {
                return;
            }
        }
        self.governor.dispatch();
    }
}
