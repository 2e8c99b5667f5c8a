//! The line before a limit of requests, tokens or dollars: one task takes slices for the waiting calls, assigns a start
//! time to each, and takes the next slice shortly before the last one.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use opb_core::{
    metrics::METRICS,
    models::{Slice, SliceWish, take_slice},
};
use tokio::{sync::oneshot, time::Instant};

use super::{Limit, Need, Passed, Used, lock, moment, slice_of};

/// Minimum interval between two slices: calls that arrive in between share the next one.
const PACE: Duration = Duration::from_millis(50);
/// How long before the last start time of a slice the next one is taken.
const LEAD: Duration = Duration::from_millis(250);
/// How long to wait before a retry if the database does not respond, or the daily budget is spent.
const DATABASE_PAUSE: Duration = Duration::from_millis(500);
const MONEY_PAUSE: Duration = Duration::from_secs(2);
/// Money is taken for this multiple of the waiting calls.
const MONEY_AHEAD: i64 = 4;

/// The waiting calls, and what was taken for them.
#[derive(Default)]
pub(super) struct Line {
    waiting: VecDeque<Waiter>,
    /// Whether a task serves them.
    served: bool,
    /// Money that was taken and is not assigned to a call.
    purse_microusd: i64,
    /// Money assigned to calls that are not settled yet.
    unsettled_microusd: i64,
    /// Tokens that calls used beyond their estimate since the last slice.
    more_tokens: i64,
    /// What blocks the line for a longer time.
    pub(super) obstacle: Option<String>,
}

struct Waiter {
    need: Need,
    passes: oneshot::Sender<(Instant, Passed)>,
}

impl Waiter {
    /// Assigns a start time. If the caller has stopped waiting, the time remains unused, and the money is returned.
    fn pass(self, limit: &Arc<Limit>, at: Instant) {
        let passed = Passed {
            limit: Arc::clone(limit),
            need: self.need,
            settled: false,
            counted: false,
        };
        drop(self.passes.send((at, passed)));
    }
}

/// The next step of the task.
enum Turn {
    /// No call waits.
    Rest,
    /// Take this much money first.
    Money(i64),
    /// Let these calls pass.
    Pass(Vec<Waiter>),
}

impl Limit {
    pub(super) fn join_line(
        self: &Arc<Self>,
        need: Need,
        passes: oneshot::Sender<(Instant, Passed)>,
    ) {
        let mut line = lock(&self.line);
        line.waiting.push_back(Waiter { need, passes });
        if !line.served {
            line.served = true;
            tokio::spawn(serve(Arc::clone(self)));
        }
    }

    pub(super) fn settle_line(&self, need: Need, used: Used) {
        let mut line = lock(&self.line);
        line.more_tokens += used.tokens.map_or(0, |tokens| tokens - need.tokens);
        // A call of unknown cost counts with its maximum.
        if need.microusd > 0 {
            line.purse_microusd += used.microusd.map_or(0, |cost| need.microusd - cost);
            line.unsettled_microusd -= need.microusd;
            drop(line);
            self.settled.notify_one();
        }
    }

    /// Returns money that no call waits for, also when the process stops.
    pub(crate) async fn give_back(&self) {
        let purse = {
            let mut line = lock(&self.line);
            if line.served || line.purse_microusd <= 0 {
                return;
            }
            std::mem::take(&mut line.purse_microusd)
        };
        let wish = SliceWish {
            microusd: -purse,
            ..SliceWish::default()
        };
        if self.take(wish).await.is_err() {
            lock(&self.line).purse_microusd += purse;
        }
    }

    async fn take(&self, wish: SliceWish) -> opb_core::Result<Option<Slice>> {
        let mut conn = self.pool.acquire().await?;
        let slice = take_slice(&mut conn, &self.key, wish).await?;
        let taken = |kind, count: i64| {
            METRICS
                .limits
                .taken
                .with_label_values(&[self.label.as_str(), kind])
                .inc_by(count.max(0).unsigned_abs());
        };
        taken("requests", wish.requests.into());
        taken("tokens", wish.tokens);
        taken("microusd", slice.as_ref().map_or(0, |slice| slice.microusd));
        Ok(slice)
    }

    /// Like `take`, with retries until the database responds.
    async fn take_some_time(&self, wish: SliceWish) -> Option<Slice> {
        loop {
            match self.take(wish).await {
                Ok(slice) => return slice,
                Err(error) => {
                    tracing::warn!(
                        %error,
                        "could not take a slice of the limits of {}, trying again",
                        self.subject()
                    );
                    tokio::time::sleep(DATABASE_PAUSE).await;
                }
            }
        }
    }

    fn turn(&self) -> Turn {
        let declared = lock(&self.declared).clone();
        let mut line = lock(&self.line);
        line.waiting.retain(|waiter| !waiter.passes.is_closed());
        let most = declared
            .requests_per_minute
            .map_or(usize::MAX, |per_minute| {
                slice_of(per_minute.into()) as usize
            });
        let most_tokens = declared
            .tokens_per_minute
            .map_or(i64::MAX, |per_minute| slice_of(per_minute).into());
        let is_paid = declared.daily_microusd.is_some();
        let (mut count, mut tokens, mut money) = (0, 0_i64, 0_i64);
        for waiter in line.waiting.iter().take(most) {
            let more = (
                tokens.saturating_add(waiter.need.tokens),
                money.saturating_add(waiter.need.microusd),
            );
            if count > 0 && more.0 > most_tokens || is_paid && more.1 > line.purse_microusd {
                break;
            }
            (tokens, money) = more;
            count += 1;
        }
        if count > 0 {
            let mut batch: Vec<Waiter> = line.waiting.drain(..count).collect();
            if is_paid {
                line.purse_microusd -= money;
                line.unsettled_microusd += money;
            } else {
                for waiter in &mut batch {
                    waiter.need.microusd = 0;
                }
            }
            return Turn::Pass(batch);
        }
        let Some(first) = line.waiting.front() else {
            line.served = false;
            line.obstacle = None;
            return Turn::Rest;
        };
        let wanted: i64 = line.waiting.iter().take(most).fold(0, |sum: i64, waiter| {
            sum.saturating_add(waiter.need.microusd)
        });
        let ahead = wanted.saturating_mul(MONEY_AHEAD).max(first.need.microusd);
        Turn::Money(ahead.saturating_sub(line.purse_microusd))
    }

    /// Takes money, and sets the obstacle if there is not enough for the first waiting call.
    async fn take_money(&self, wanted: i64) {
        let wish = SliceWish {
            microusd: wanted,
            ..SliceWish::default()
        };
        let slice = self.take_some_time(wish).await;
        let daily = slice.as_ref().and_then(|slice| slice.limits.daily_microusd);
        lock(&self.declared).daily_microusd = daily;
        let mut line = lock(&self.line);
        line.purse_microusd += slice.map_or(0, |slice| slice.microusd);
        // Calls in flight may return some of their money.
        let is_enough = daily.is_none()
            || line.unsettled_microusd > 0
            || line
                .waiting
                .front()
                .is_none_or(|first| first.need.microusd <= line.purse_microusd);
        line.obstacle = match daily {
            Some(daily) if !is_enough => Some(format!(
                "{} has reached its limit of {} a day; calls go on at midnight (UTC), or when an administrator raises it",
                self.subject(),
                opb_core::models::dollars(daily)
            )),
            _ => None,
        };
    }

    /// Whether there is enough money for the first waiting call.
    fn can_pay(&self) -> bool {
        if lock(&self.declared).daily_microusd.is_none() {
            return true;
        }
        let line = lock(&self.line);
        let first = line.waiting.front();
        first.is_none_or(|first| first.need.microusd <= line.purse_microusd)
    }

    /// Assigns a start time to each call of a batch, and returns the last one.
    async fn pass_batch(self: &Arc<Self>, batch: Vec<Waiter>) -> Option<Instant> {
        let declared = lock(&self.declared).clone();
        if declared.requests_per_minute.is_none() && declared.tokens_per_minute.is_none() {
            let now = Instant::now();
            for waiter in batch {
                waiter.pass(self, now);
            }
            return None;
        }
        let wish = SliceWish {
            requests: u32::try_from(batch.len()).unwrap_or(u32::MAX),
            tokens: batch.iter().map(|waiter| waiter.need.tokens).sum(),
            more_tokens: std::mem::take(&mut lock(&self.line).more_tokens),
            microusd: 0,
        };
        let slice = self.take_some_time(wish).await;
        let now = Instant::now();
        let (mut requests, mut tokens, mut last) = (0.0, 0.0, now);
        for waiter in batch {
            let at = |moments: Option<opb_core::models::Moments>, before: f64| {
                moments.map_or(0.0, |moments| {
                    moments.first_in_seconds + before * moments.step_seconds
                })
            };
            let in_seconds = slice.as_ref().map_or(0.0, |slice| {
                at(slice.requests, requests).max(at(slice.tokens, tokens))
            });
            requests += 1.0;
            #[expect(clippy::cast_precision_loss, reason = "a call has few tokens")]
            let used = waiter.need.tokens as f64;
            tokens += used;
            last = moment(now, in_seconds);
            waiter.pass(self, last);
        }
        Some(last)
    }
}

async fn serve(limit: Arc<Limit>) {
    loop {
        match limit.turn() {
            Turn::Rest => return,
            Turn::Money(wanted) => {
                limit.take_money(wanted).await;
                if !limit.can_pay() {
                    let settled = limit.settled.notified();
                    let _ = tokio::time::timeout(MONEY_PAUSE, settled).await;
                }
            }
            Turn::Pass(batch) => {
                if let Some(last) = limit.pass_batch(batch).await {
                    let again = last.checked_sub(LEAD).unwrap_or(last);
                    tokio::time::sleep_until(again.max(Instant::now() + PACE)).await;
                }
            }
        }
    }
}
