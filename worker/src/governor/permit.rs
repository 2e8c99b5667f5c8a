//! A permit for one call, and what the governor learns when the call ends.

use std::{sync::Arc, time::Duration};

use opb_core::metrics::METRICS;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Governor, NEWEST, bound::Ticket};
use crate::{
    limits::{Passed, Used},
    providers::CallErrorKind,
};

tokio::task_local! {
    /// The call of this task.
    static CALL: Ticket;
}

/// The call of this task, if any.
pub(super) fn present_call() -> Option<Ticket> {
    CALL.try_with(|ticket| *ticket).ok()
}

/// A permit for one call. Dropping it says nothing about the provider.
pub(crate) struct Permit {
    governor: Arc<Governor>,
    is_probe: bool,
    /// Set once the call has started.
    ticket: Option<Ticket>,
    has_answered: bool,
    pub(super) passed: Vec<Passed>,
    pub(super) whole: Option<OwnedSemaphorePermit>,
}

/// A failed call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) kind: CallErrorKind,
    /// The pause requested by the provider.
    pub(crate) pause: Option<Duration>,
    /// Whether it was the evaluation's first attempt.
    pub(crate) is_first: bool,
}

impl Permit {
    pub(super) fn new(governor: Arc<Governor>, is_probe: bool) -> Self {
        Self {
            governor,
            is_probe,
            ticket: None,
            has_answered: false,
            passed: Vec::new(),
            whole: None,
        }
    }

    /// Starts the call, so that the next one may enter.
    pub(super) fn begin(&mut self) {
        // Without limits, no call waits for another one to enter.
        let is_anybody_waiting = {
            let mut state = self.governor.lock();
            state.entering -= 1;
            let now = self.now();
            self.ticket = Some(state.bound.began(now));
            let is_bounded = state.pace.is_some() || !state.limits.is_empty();
            is_bounded && !state.queue.is_empty()
        };
        self.count_running(1);
        if is_anybody_waiting {
            self.governor.dispatch();
        }
    }

    /// Makes the call within a scope that lets the governor notice the start of its response.
    pub(crate) async fn watch<F: Future>(&self, calling: F) -> F::Output {
        match self.ticket {
            Some(ticket) => CALL.scope(ticket, calling).await,
            None => calling.await,
        }
    }

    /// The call succeeded.
    pub(crate) fn succeeded(mut self, output_tokens: Option<i32>, used: Used) {
        self.settle(used);
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        self.answered(&mut state);
        if let Some(tokens) = output_tokens {
            state.output_tokens += (f64::from(tokens) - state.output_tokens) * NEWEST;
        }
        if let Some(ticket) = self.ticket {
            let tokens = output_tokens.map(f64::from);
            state.bound.answered(ticket, self.now(), tokens);
        }
        governor.publish_number(&mut state);
    }

    /// The provider refused the call because of overload: fewer calls may be in flight, and none starts during `pause`
    /// or our own backoff, whichever is longer; the backoff grows with each further refusal. If refusals are by chance, other
    /// calls continue, and the pause is returned, which is then for this call alone.
    pub(crate) fn refused(mut self, pause: Option<Duration>) -> Duration {
        self.settle(Used {
            tokens: Some(0),
            microusd: Some(0),
        });
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        self.answered(&mut state);
        let alone = match self.note_refused(&mut state) {
            Some(ours) => {
                hold_back(&mut state, pause, ours);
                Duration::ZERO
            }
            None => pause.unwrap_or_default(),
        };
        governor.publish_number(&mut state);
        alone
    }

    /// The call failed. Returns whether the provider is down, so that the failure does not count as an attempt of the
    /// evaluation.
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
            if let (CallErrorKind::Unfinished, Some(ticket)) = (kind, self.ticket) {
                state.bound.timed_out(ticket);
                governor.publish_number(&mut state);
            }
            return false;
        }
        let was_down = state.breaker.down_since().is_some();
        let now = Instant::now();
        state.last_failure = kind;
        state.breaker.failed(now, failure.is_first, self.is_probe);
        let is_down = state.breaker.down_since().is_some();
        if kind.is_overload() {
            // Failures of a provider that is down reveal nothing about its capacity.
            let ours = match self.ticket {
                Some(_) if is_down => Some(Duration::ZERO),
                Some(ticket) if kind == CallErrorKind::Timeout => {
                    state.bound.timed_out(ticket);
                    Some(Duration::ZERO)
                }
                _ => self.note_refused(&mut state),
            };
            if let Some(ours) = ours {
                hold_back(&mut state, failure.pause, ours);
            }
            governor.publish_number(&mut state);
        }
        if is_down && !was_down {
            tracing::warn!(
                provider.model = governor.subject,
                "{} does not respond, its calls are stopped",
                governor.subject
            );
            governor.publish_breaker(true);
        }
        // The probe's own evaluation may be what makes the provider fail.
        is_down && (kind.is_blameless() || !self.is_probe)
    }

    fn answered(&self, state: &mut super::State) {
        if state.breaker.down_since().is_some() {
            tracing::info!(
                provider.model = self.governor.subject,
                "{} responds again, its calls continue",
                self.governor.subject
            );
            self.governor.publish_breaker(false);
            // Its capacity while it went down says little about its capacity now.
            state.bound.reopen();
        }
        state.breaker.answered();
    }

    /// The call was refused because of overload. Returns how long no other call should start; `None` if other calls have
    /// nothing to do with it.
    fn note_refused(&self, state: &mut super::State) -> Option<Duration> {
        match self.ticket {
            Some(ticket) => state.bound.refused(ticket, self.now()),
            None => Some(Duration::ZERO),
        }
    }

    /// The time in the bound's terms.
    fn now(&self) -> Duration {
        Instant::now() - self.governor.started
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

/// Delays the start of calls by the provider's requested pause or our own backoff, whichever is longer.
fn hold_back(state: &mut super::State, pause: Option<Duration>, ours: Duration) {
    let until = Instant::now() + pause.unwrap_or_default().max(ours);
    let earlier = state.paused_until.unwrap_or(until);
    state.paused_until = Some(earlier.max(until));
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.ticket.is_some() {
            self.count_running(-1);
            if !self.has_answered {
                // It was cancelled, and may be charged for.
                self.settle(Used {
                    tokens: None,
                    microusd: None,
                });
            }
        }
        {
            let mut state = self.governor.lock();
            state.held -= 1;
            match self.ticket {
                Some(ticket) => state.bound.gone(ticket),
                None => state.entering -= 1,
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
