//! The right to make one call, and what is learned when it ends.

use std::{sync::Arc, time::Duration};

use opb_core::metrics::METRICS;
use tokio::{sync::OwnedSemaphorePermit, time::Instant};

use super::{Governor, NEWEST, bound::Ticket};
use crate::{
    limits::{Passed, Used},
    providers::CallErrorKind,
};

tokio::task_local! {
    /// The call that this task is making.
    static CALL: Ticket;
}

/// The call that this task is making, if it is one.
pub(super) fn present_call() -> Option<Ticket> {
    CALL.try_with(|ticket| *ticket).ok()
}

/// The right to make one call. Dropping it says nothing about the provider.
pub(crate) struct Permit {
    governor: Arc<Governor>,
    is_probe: bool,
    /// Since the call has begun.
    ticket: Option<Ticket>,
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

    /// The call begins: the next one may enter.
    pub(super) fn begin(&mut self) {
        // Without limits no call waits for another one to enter.
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

    /// Makes the call, so that the governor hears when its answer begins.
    pub(crate) async fn watch<F: Future>(&self, calling: F) -> F::Output {
        match self.ticket {
            Some(ticket) => CALL.scope(ticket, calling).await,
            None => calling.await,
        }
    }

    /// The call went well.
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

    /// The provider says that it is too much: fewer may run, and none before `pause` is over, nor before our own caution,
    /// which grows with every refusal that follows.
    pub(crate) fn refused(mut self, pause: Option<Duration>) {
        self.settle(Used {
            tokens: Some(0),
            microusd: Some(0),
        });
        self.has_answered = true;
        let governor = Arc::clone(&self.governor);
        let mut state = governor.lock();
        self.answered(&mut state);
        let ours = self.note_refused(&mut state);
        hold_back(&mut state, pause, ours);
        governor.publish_number(&mut state);
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
        let is_down = state.breaker.down_since().is_some();
        if kind.is_overload() {
            // What a provider says that is down tells nothing of the number that it bears.
            let ours = match self.ticket {
                Some(_) if is_down => Duration::ZERO,
                Some(ticket) if kind == CallErrorKind::Timeout => {
                    state.bound.timed_out(ticket);
                    Duration::ZERO
                }
                _ => self.note_refused(&mut state),
            };
            hold_back(&mut state, failure.pause, ours);
            governor.publish_number(&mut state);
        }
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
            // What it bore while it went down says little about what it bears now.
            state.bound.reopen();
        }
        state.breaker.answered();
    }

    /// The call was too much. Returns for how long no other should begin.
    fn note_refused(&self, state: &mut super::State) -> Duration {
        match self.ticket {
            Some(ticket) => state.bound.refused(ticket, self.now()),
            None => Duration::ZERO,
        }
    }

    /// The time as the bound counts it.
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

/// No call begins for as long as the provider asks for, nor as our own caution does.
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
