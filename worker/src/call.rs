//! Calling a model with retries. This is the only file that repeats a call; the HTTP client below never does.
//!
//! Waiting because the provider says "not so fast" is not an attempt: it costs time and nothing else.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use opb_core::metrics::{METRICS, ModelLabels};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    governor::Governor,
    providers::{CallError, CallErrorKind, Completion, CompletionRequest, Provider},
};

/// The longest wait that a provider may ask for at once.
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// The pause after "not so fast" when the provider names none; it doubles up to a bound.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// An evaluation that waited and retried for so long is given up.
const MAX_TOTAL: Duration = Duration::from_mins(30);

/// How a call ended, and how many attempts it took.
pub(crate) struct Called {
    /// The completion, or the last failure. Nothing when `halt` came before either.
    pub(crate) result: Option<Result<Completion, CallError>>,
    /// Calls that were made and counted.
    pub(crate) attempts: u32,
    /// True when an attempt failed that the provider may want to be paid for all the same.
    pub(crate) may_be_paid: bool,
}

/// Calls a model until it answers, the failure is final, or the attempts are used up.
/// Once `halt` comes no further call begins; a call that runs is let finish.
pub(crate) async fn call(
    provider: &dyn Provider,
    governor: &Arc<Governor>,
    labels: &ModelLabels,
    request: &CompletionRequest<'_>,
    max_attempts: u32,
    halt: &CancellationToken,
) -> Called {
    let started = Instant::now();
    let mut backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(20))
        .without_max_times()
        .with_jitter()
        .build();
    let mut attempts = 0;
    let mut waits = 0;
    let mut may_be_paid = false;
    let ended = |result, attempts, may_be_paid| Called {
        result,
        attempts,
        may_be_paid,
    };
    loop {
        let Some(permit) = halt.run_until_cancelled(governor.acquire()).await else {
            return ended(None, attempts, may_be_paid);
        };
        let began = Instant::now();
        let result = provider.complete(request, attempts + waits).await;
        observe(labels, &result, began.elapsed());
        let error = match result {
            Ok(completion) => {
                permit.succeeded();
                return ended(Some(Ok(completion)), attempts + 1, may_be_paid);
            }
            Err(error) => error,
        };
        let gives_up = started.elapsed() > MAX_TOTAL;
        match error.kind {
            CallErrorKind::RateLimit if !gives_up => {
                waits += 1;
                count_retry(labels, error.kind);
                let doubled = FIRST_PAUSE * 2_u32.pow(waits.min(7));
                permit.overloaded(Some(error.retry_after.unwrap_or(doubled).min(MAX_PAUSE)));
            }
            kind => {
                attempts += 1;
                may_be_paid |= kind.may_be_paid();
                // A provider that keeps silent usually has more to do than it can.
                if matches!(kind, CallErrorKind::Overloaded | CallErrorKind::Timeout) {
                    permit.overloaded(error.retry_after.map(|pause| pause.min(MAX_PAUSE)));
                } else {
                    drop(permit);
                }
                if !kind.may_pass() || attempts >= max_attempts || gives_up {
                    return ended(Some(Err(error)), attempts, may_be_paid);
                }
                count_retry(labels, kind);
                let delay = backoff.next().unwrap_or_default();
                let delay = error
                    .retry_after
                    .map_or(delay, |pause| pause.clamp(delay, MAX_PAUSE));
                let slept = halt.run_until_cancelled(tokio::time::sleep(delay)).await;
                if slept.is_none() {
                    return ended(None, attempts, may_be_paid);
                }
            }
        }
    }
}

fn count_retry(labels: &ModelLabels, kind: CallErrorKind) {
    METRICS
        .retries
        .with_label_values(&[labels.provider(), kind.name()])
        .inc();
}

fn observe(labels: &ModelLabels, result: &Result<Completion, CallError>, duration: Duration) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(error) => error.kind.name(),
    };
    METRICS
        .calls
        .with_label_values(&[labels.provider(), outcome])
        .inc();
    METRICS
        .call_duration
        .with_label_values(&labels.both())
        .observe(duration.as_secs_f64());
    if let Ok(Completion {
        first_token_after: Some(first),
        ..
    }) = result
    {
        METRICS
            .first_token
            .with_label_values(&labels.both())
            .observe(first.as_secs_f64());
    }
}
