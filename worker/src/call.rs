//! Calls a model with retries. This is the only file that retries a call; the HTTP client below never does.
//!
//! Waiting because the provider limits the rate, or is down, does not count as an attempt: it only costs time.

use std::{sync::Arc, time::Duration};

use backon::{BackoffBuilder as _, ExponentialBuilder};
use opb_core::{
    metrics::{METRICS, ModelLabels},
    models::Price,
};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    time::Instant,
};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::{
    governor::{CallSize, Caller, Down, Failure, Governor, Permit},
    limits::Used,
    providers::{CallError, CallErrorKind, Completion, CompletionRequest, Provider},
    traces::{self, ModelNames},
};

/// Maximum `Retry-After` that is honoured.
const MAX_PAUSE: Duration = Duration::from_hours(1);
/// Delay of an evaluation after a rate limit, whatever the provider requests; doubled each time, up to a bound.
const FIRST_REFUSED_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_REFUSED_PAUSE: Duration = Duration::from_secs(32);
/// An evaluation that has been rate limited for this long is given up.
const MAX_TOTAL: Duration = Duration::from_hours(4);

/// How long a call may keep a place of its run while the governor holds it back. Shorter waits are usual, and a permit that is
/// given back for want of a place would waste its moment.
const PLACE_PATIENCE: Duration = Duration::from_secs(1);

/// The result of a call with its retries.
pub(crate) struct CallOutcome {
    /// The completion, or the last failure. `None` if `halt` came before either.
    pub(crate) result: Option<Result<Completion, CallError>>,
    /// Number of counted attempts.
    pub(crate) attempts: u32,
    /// Whether an attempt failed that the provider may still charge for.
    pub(crate) may_be_paid: bool,
}

/// What to call, and under which rules.
pub(crate) struct Calls<'a> {
    pub(crate) provider: &'a dyn Provider,
    pub(crate) governor: &'a Arc<Governor>,
    /// What bounds the calls of the run.
    pub(crate) places: Option<&'a Semaphore>,
    pub(crate) labels: &'a ModelLabels,
    pub(crate) names: &'a ModelNames,
    pub(crate) caller: Caller,
    /// The expected size of the call; only computed under declared limits.
    pub(crate) size: &'a (dyn Fn() -> CallSize + Sync),
    pub(crate) price: Option<Price>,
    /// Maximum number of attempts.
    pub(crate) max_attempts: u32,
    /// Once cancelled, no further call starts; calls in flight finish as usual.
    pub(crate) halt: &'a CancellationToken,
}

impl Calls<'_> {
    /// Waits until a call may begin: until the run has a place for it, and the governor lets it. A call that the governor holds
    /// back for longer takes no place, which calls of another model of the provider may use.
    async fn acquire(&self) -> (Option<SemaphorePermit<'_>>, Result<Permit, Down>) {
        let governed = || self.governor.acquire(self.caller, self.size);
        let Some(places) = self.places else {
            return (None, governed().await);
        };
        loop {
            // The semaphore is never closed.
            let place = places.acquire().await.ok();
            if let Ok(permit) = tokio::time::timeout(PLACE_PATIENCE, governed()).await {
                return (place, permit);
            }
            drop(place);
            let permit = governed().await;
            match places.try_acquire() {
                Ok(place) => return (Some(place), permit),
                Err(_) if permit.is_err() => return (None, permit),
                // Another call took the place meanwhile.
                Err(_) => {}
            }
        }
    }
}

/// Calls a model until it responds, the failure is final, or the attempts are used up.
pub(crate) async fn call(calls: Calls<'_>, request: &CompletionRequest<'_>) -> CallOutcome {
    let Calls { labels, halt, .. } = calls;
    let mut backoff = ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(200))
        .with_max_delay(Duration::from_secs(20))
        .without_max_times()
        .with_jitter()
        .build();
    let mut refused_backoff = ExponentialBuilder::default()
        .with_min_delay(FIRST_REFUSED_PAUSE)
        .with_max_delay(LONGEST_REFUSED_PAUSE)
        .without_max_times()
        .with_jitter()
        .build();
    let mut attempts = 0;
    let mut waits = 0;
    let mut refused_since: Option<Instant> = None;
    let mut may_be_paid = false;
    let mut last_error = None;
    let ended = |result, attempts, may_be_paid| CallOutcome {
        result,
        attempts,
        may_be_paid,
    };
    loop {
        let (place, permit) = match halt.run_until_cancelled(calls.acquire()).await {
            None => return ended(None, attempts, may_be_paid),
            Some((place, Ok(permit))) => (place, permit),
            Some((_, Err(down))) => {
                let error = match last_error {
                    Some(CallError { kind, message, .. }) => {
                        CallError::new(kind, format!("{message}; {down}"))
                    }
                    None => CallError::new(down.kind, down.to_string()),
                };
                return ended(Some(Err(error)), attempts, may_be_paid);
            }
        };
        let began = Instant::now();
        let attempt = attempts + waits;
        let span = traces::begin_call(calls.names, attempt);
        let completing = calls.provider.complete(request, attempt);
        let result = permit.watch(completing.instrument(span.clone())).await;
        drop(place);
        traces::end_call(span, &result);
        let duration = result
            .as_ref()
            .map_or_else(|_| began.elapsed(), |completion| completion.latency);
        observe(labels, &result, duration);
        let error = match result {
            Ok(completion) => {
                permit.succeeded(completion.output_tokens, used(&completion, calls.price));
                return ended(Some(Ok(completion)), attempts + 1, may_be_paid);
            }
            Err(error) => error,
        };
        may_be_paid |= error.kind.may_be_paid();
        let pause = error.retry_after.map(|pause| pause.min(MAX_PAUSE));
        let gives_up = refused_since.is_some_and(|since| since.elapsed() > MAX_TOTAL);
        if error.kind == CallErrorKind::RateLimit && !gives_up {
            refused_since.get_or_insert(began);
            waits += 1;
            count_retry(labels, error.kind);
            let alone = permit.refused(pause);
            // Usually the governor delays all calls as long as the provider requests; other evaluations take this one's
            // place meanwhile.
            let delay = refused_backoff.next().unwrap_or_default().max(alone);
            let slept = halt.run_until_cancelled(tokio::time::sleep(delay)).await;
            if slept.is_none() {
                return ended(None, attempts, may_be_paid);
            }
            continue;
        }
        let is_down = permit.failed(Failure {
            kind: error.kind,
            pause,
            is_first: attempts + waits == 0,
        });
        if is_down {
            // The governor delays it.
            waits += 1;
            count_retry(labels, error.kind);
            last_error = Some(error);
            continue;
        }
        attempts += 1;
        if !error.kind.may_pass() || attempts >= calls.max_attempts || gives_up {
            return ended(Some(Err(error)), attempts, may_be_paid);
        }
        count_retry(labels, error.kind);
        let delay = backoff.next().unwrap_or_default();
        let delay = pause.map_or(delay, |pause| pause.max(delay));
        let slept = halt.run_until_cancelled(tokio::time::sleep(delay)).await;
        if slept.is_none() {
            return ended(None, attempts, may_be_paid);
        }
        last_error = Some(error);
    }
}

/// The actual usage of a call, for declared limits.
fn used(completion: &Completion, price: Option<Price>) -> Used {
    let counted = completion.input_tokens.zip(completion.output_tokens);
    let cost = price.map_or(Some(0), |price| completion.cost_microusd(price));
    Used {
        tokens: counted.map(|(input, output)| i64::from(input) + i64::from(output)),
        microusd: cost,
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
