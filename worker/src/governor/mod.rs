//! The governor: determines how many calls to a model are in flight, whose call is next, and when calls stop.
//!
//! The limit of concurrent calls comes from `bound`: it opens by time while nothing is refused, a little until the
//! first response starts and then further, stays below what was refused, and steps back where more calls only make each
//! slower. Calls wait in a queue that is fair to owners (`queue`), stop while the model does not respond at all
//! (`breaker`), slow down when the provider announces that little of its limits remains (`pace`), and pass the limits
//! that administrators have declared (`crate::limits`).

mod bound;
mod breaker;
mod chance;
mod declared;
mod levels;
mod models;
mod pace;
mod permit;
mod queue;
mod refusals;
#[cfg(test)]
mod simulation;
mod tries;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::Ordering},
    time::Duration,
};

use opb_core::{
    metrics::{METRICS, ModelLabels},
    models::{LearnedConcurrency, Price},
    runs::cost_bound_microusd,
};
use tokio::{sync::oneshot, time::Instant};

use self::{
    bound::{Bound, Entry},
    breaker::{Admission, Breaker},
    models::Shared,
    pace::Pace,
    queue::FairQueue,
};
pub(crate) use self::{
    declared::{refresh_limits, refresh_limits_until},
    models::{GovernorSettings, Governors},
    permit::{Failure, Permit},
    queue::Caller,
};
use crate::{
    limits::{Limit, Need},
    providers::{Announced, CallErrorKind, Left, ResponseObserver},
};

/// Average length of an input token, in bytes.
const BYTES_PER_TOKEN: i64 = 4;
/// Estimated output tokens of a call, until some were measured.
const FIRST_OUTPUT_TOKENS: f64 = 256.0;
/// The weight of the newest response in the moving average.
const NEWEST: f64 = 0.05;

/// Learned numbers that differ by at most one part in this many count as equal.
const NEARLY: i32 = 5;

/// The remedy for a provider that has never responded.
const MENDING: &str = ", and never before: correct its base URL (PATCH /api/v1/providers/NAME) or let the worker reach it, then retry the run";

/// The expected size of a call.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CallSize {
    /// Maximum number of input tokens: the bytes of its texts, plus the tokens of its images.
    pub(crate) request_tokens: usize,
    pub(crate) messages: usize,
    /// The price of its tokens, if known.
    pub(crate) price: Option<Price>,
    /// Maximum number of output tokens, if known.
    pub(crate) output_limit: Option<i64>,
}

/// The model has not responded for longer than a run waits.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("the provider has not answered for {} minutes{}", .duration.as_secs() / 60, .never_before.then_some(MENDING).unwrap_or_default())]
pub(crate) struct Down {
    duration: Duration,
    /// It has never responded.
    never_before: bool,
    /// The kind of the latest failure.
    pub(crate) kind: CallErrorKind,
}

/// Bounds the calls to one model.
pub(crate) struct Governor {
    /// `provider:model`, for messages.
    subject: String,
    labels: ModelLabels,
    /// The origin of the times passed to `bound`.
    started: Instant,
    patience: Duration,
    /// The same for a provider that has never responded.
    first_patience: Duration,
    state: Mutex<State>,
    /// State shared with the other models of its provider.
    provider: Arc<Shared>,
}

struct State {
    bound: Bound,
    /// The limit last published to the metrics.
    published: i64,
    /// Calls in flight or about to start.
    held: u32,
    /// The subset that waits for a limit or for its pace.
    entering: u32,
    paused_until: Option<Instant>,
    breaker: Breaker,
    last_failure: CallErrorKind,
    pace: Option<Pace>,
    /// What the database knows of `bound`.
    learned: Option<LearnedConcurrency>,
    /// The declared limits of the model and of its provider.
    limits: Vec<Arc<Limit>>,
    /// The declared time limit of a call.
    call_timeout: Option<Duration>,
    queue: FairQueue<Waiter>,
    /// When a timer will check the queue.
    alarm: Option<Instant>,
    /// The average length of responses, in tokens.
    output_tokens: f64,
}

type Waiter = oneshot::Sender<Result<Permit, Down>>;

/// Whether the next call in the queue may start.
enum Next {
    Goes {
        is_probe: bool,
    },
    /// Not before this time, or before a call ends.
    Waits(Option<Instant>),
    GivesUp(Down),
}

impl Governor {
    /// Waits until another call may start.
    ///
    /// # Errors
    /// The model has not responded for too long.
    pub(crate) async fn acquire(
        self: &Arc<Self>,
        caller: Caller,
        size: &(dyn Fn() -> CallSize + Sync),
    ) -> Result<Permit, Down> {
        let mut permit = self.enter(caller).await?;
        let (limits, output_tokens) = {
            let state = self.lock();
            (state.limits.clone(), state.output_tokens)
        };
        if !limits.is_empty() {
            let need = need(size(), output_tokens);
            let began = Instant::now();
            for limit in limits {
                permit.passed.push(limit.pass(need).await);
            }
            METRICS
                .limits
                .wait
                .with_label_values(&[self.labels.provider()])
                .observe(began.elapsed().as_secs_f64());
        }
        while let Some(moment) = self.too_early() {
            // New announcements may shorten or extend the wait.
            tokio::time::sleep_until(moment.min(Instant::now() + pace::LOOK_AGAIN)).await;
        }
        // The semaphore is never closed.
        permit.whole = Arc::clone(&self.provider.whole).acquire_owned().await.ok();
        permit.begin();
        Ok(permit)
    }

    /// Starts with the number of concurrent calls that a run asks for, or that earlier workers found.
    pub(crate) fn begin_with(&self, wanted: Option<i32>, learned: Option<LearnedConcurrency>) {
        let wanted = wanted.map(|calls| LearnedConcurrency {
            calls,
            is_limit: false,
        });
        let Some(number) = wanted.or(learned) else {
            return;
        };
        let mut state = self.lock();
        state.bound.begin_with(number);
        state.learned = state.learned.or(learned);
        self.publish_number(&mut state);
    }

    /// Returns the number of concurrent calls that was found, if it differs from the one returned last.
    fn take_learned(&self) -> Option<LearnedConcurrency> {
        let mut state = self.lock();
        let learned = state.bound.learned()?;
        let is_known = state.learned.is_some_and(|known| {
            known.is_limit == learned.is_limit
                && (known.calls - learned.calls).abs() <= known.calls / NEARLY
        });
        if is_known {
            return None;
        }
        state.learned = Some(learned);
        Some(learned)
    }

    /// Describes what keeps calls waiting for a longer time, for users.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let now = Instant::now();
        let state = self.lock();
        if let Some(since) = state.breaker.down_since() {
            let seconds = (now - since).as_secs();
            let subject = &self.subject;
            return Some(if self.provider.has_answered() {
                let limit = match state.last_failure {
                    CallErrorKind::Timeout => {
                        ", and its calls reached their time limit (opb provider limits --call-timeout)"
                    }
                    _ => "",
                };
                format!(
                    "{subject} has not answered for {seconds} s{limit}; it is tried again every few seconds"
                )
            } else {
                format!(
                    "{subject} has never answered, for {seconds} s now; its address may be wrong, and after {} minutes it is given up",
                    self.first_patience.as_secs() / 60
                )
            });
        }
        let pause = state
            .paused_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if pause > Duration::from_secs(5) {
            return Some(format!(
                "{} requested a pause, which lasts {} s more",
                self.subject,
                pause.as_secs()
            ));
        }
        state.limits.iter().find_map(|limit| limit.obstacle())
    }

    /// Applies these declared limits from now on.
    fn declare(self: &Arc<Self>, limits: Vec<Arc<Limit>>, call_timeout: Option<Duration>) {
        {
            let mut state = self.lock();
            state.limits = limits;
            state.call_timeout = call_timeout;
        }
        self.dispatch();
    }

    async fn enter(self: &Arc<Self>, caller: Caller) -> Result<Permit, Down> {
        let receiver = {
            let mut state = self.lock();
            let now = Instant::now();
            if state.queue.is_empty() {
                match self.next(&mut state, now) {
                    Next::Goes { is_probe } => return Ok(self.grant(&mut state, is_probe)),
                    Next::GivesUp(down) => return Err(down),
                    Next::Waits(until) => self.set_alarm(&mut state, until),
                }
            }
            let (waiter, receiver) = oneshot::channel();
            state.queue.push(caller, waiter);
            receiver
        };
        match receiver.await {
            Ok(answer) => answer,
            // The sender is dropped only when the process ends.
            Err(_) => std::future::pending().await,
        }
    }

    /// Starts as many waiting calls as allowed.
    fn dispatch(self: &Arc<Self>) {
        let mut going = Vec::new();
        {
            let mut state = self.lock();
            let now = Instant::now();
            while !state.queue.is_empty() {
                match self.next(&mut state, now) {
                    Next::Waits(until) => {
                        self.set_alarm(&mut state, until);
                        break;
                    }
                    Next::GivesUp(down) => {
                        if let Some(waiter) = state.queue.pop() {
                            going.push((waiter, Err(down)));
                        }
                    }
                    Next::Goes { is_probe } => match state.queue.pop() {
                        // Callers that stopped waiting are skipped.
                        Some(waiter) if waiter.is_closed() => {}
                        Some(waiter) => {
                            let permit = self.grant(&mut state, is_probe);
                            going.push((waiter, Ok(permit)));
                        }
                        None => break,
                    },
                }
            }
        }
        // Outside the lock: a permit that is not received is dropped and returns itself.
        for (waiter, answer) in going {
            drop(waiter.send(answer));
        }
    }

    fn next(&self, state: &mut State, now: Instant) -> Next {
        let is_probe = match state.breaker.admission(now) {
            Admission::Call => false,
            Admission::Probe => true,
            Admission::Wait(until) => {
                let down_for = state.breaker.down_since().map(|since| now - since);
                let has_answered = self.provider.has_answered();
                let patience = if has_answered {
                    self.patience
                } else {
                    self.first_patience
                };
                return match down_for.filter(|down_for| *down_for >= patience) {
                    Some(duration) => Next::GivesUp(Down {
                        duration,
                        never_before: !has_answered,
                        kind: state.last_failure,
                    }),
                    None => Next::Waits(until),
                };
            }
        };
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            return Next::Waits(Some(until));
        }
        let entering = state
            .limits
            .iter()
            .map(|limit| limit.entering())
            .chain(
                state
                    .pace
                    .filter(|pace| pace.holds(now))
                    .map(|_| pace::ENTERING),
            )
            .min()
            .unwrap_or(u32::MAX);
        if state.entering >= entering {
            return Next::Waits(None);
        }
        let entry = state.bound.admits(now - self.started, state.held);
        self.publish_number(state);
        match entry {
            Entry::Now => Next::Goes { is_probe },
            Entry::Wait(until) => Next::Waits(until.map(|until| self.started + until)),
        }
    }

    fn grant(self: &Arc<Self>, state: &mut State, is_probe: bool) -> Permit {
        if is_probe {
            state.breaker.probe();
        }
        state.bound.granted(Instant::now() - self.started);
        state.held += 1;
        state.entering += 1;
        Permit::new(Arc::clone(self), is_probe)
    }

    /// Checks the queue again when the next call may start by time alone.
    fn set_alarm(self: &Arc<Self>, state: &mut State, until: Option<Instant>) {
        let Some(until) = until.filter(|until| state.alarm.is_none_or(|alarm| *until < alarm))
        else {
            return;
        };
        state.alarm = Some(until);
        let governor = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep_until(until).await;
            {
                let mut state = governor.lock();
                if state.alarm == Some(until) {
                    state.alarm = None;
                }
            }
            governor.dispatch();
        });
    }

    /// Starts a call; returns the time to wait for if the provider has requested a pause, or little of its limits
    /// remains.
    fn too_early(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut state = self.lock();
        if let Some(until) = state.paused_until.filter(|until| *until > now) {
            return Some(until);
        }
        match state.pace.as_mut() {
            Some(pace) if pace.holds(now) => pace.begin(now).err(),
            _ => None,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish_breaker(&self, is_open: bool) {
        METRICS
            .limits
            .breaker_open
            .with_label_values(&self.labels.both())
            .set(is_open.into());
    }

    /// Publishes the limit of concurrent calls to the metrics.
    fn publish_number(&self, state: &mut State) {
        #[expect(clippy::cast_possible_truncation, reason = "bounds are small numbers")]
        let number = state.bound.number() as i64;
        let change = number - std::mem::replace(&mut state.published, number);
        if change != 0 {
            METRICS
                .call_limit
                .with_label_values(&self.labels.both())
                .add(change);
        }
    }
}

impl ResponseObserver for Governor {
    fn call_timeout(&self) -> Option<Duration> {
        self.lock().call_timeout
    }

    fn note_announced(&self, announced: Announced) {
        self.provider.has_answered.store(true, Ordering::Relaxed);
        let now = Instant::now();
        let mut state = self.lock();
        if announced == Announced::default() {
            state.bound.announced_nothing();
            return;
        }
        let tokens = state.output_tokens;
        state.pace = Pace::after(state.pace, announced, tokens, now);
        let parts = [announced.requests, announced.tokens].map(|left| left.map(Left::part));
        if let Some(part) = parts.into_iter().flatten().min_by(f64::total_cmp) {
            state.bound.announced(part);
        }
    }

    fn note_answering(self: Arc<Self>) {
        let Some(ticket) = permit::present_call() else {
            return;
        };
        let now = Instant::now() - self.started;
        let opens = {
            let mut state = self.lock();
            state.bound.heard(ticket, now) && !state.queue.is_empty()
        };
        // Otherwise the queue would not be checked before a call ends.
        if opens {
            self.dispatch();
        }
    }

    fn has_answered(&self) -> bool {
        self.provider.has_answered()
    }
}

/// The need of a call under declared limits.
fn need(size: CallSize, typical_output_tokens: f64) -> Need {
    let bytes = i64::try_from(size.request_tokens).unwrap_or(i64::MAX);
    #[expect(clippy::cast_possible_truncation, reason = "floats saturate")]
    let typical = typical_output_tokens.ceil() as i64;
    let output = size
        .output_limit
        .map_or(typical, |limit| limit.min(typical));
    let microusd = size.price.map_or(0, |price| {
        let output = size.output_limit.unwrap_or(typical);
        cost_bound_microusd(price, output, size.request_tokens, size.messages)
    });
    Need {
        tokens: (bytes / BYTES_PER_TOKEN).saturating_add(output),
        microusd,
    }
}

#[cfg(test)]
mod tests;
