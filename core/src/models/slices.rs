//! Slices of a provider's limits, which workers take for the next moments.
//!
//! A limit on requests per minute is a timeline of moments, one for each request, and a row stores up to which moment
//! the timeline has been given out. Taking a slice advances that point: the moments in between belong to one worker,
//! which starts its calls at them. So the calls of the whole cluster are spread evenly over any number of workers, no
//! call needs a database query of its own, and the slice of a dead worker simply passes.
//! (This is the generic cell rate algorithm, ITU-T I.371, where the worker gets the cell's time.)
//!
//! Tokens have a timeline of their own. They are estimated when a slice is taken; the difference from the actual use is
//! reported with the next slice. Money is taken in the same way, and unused money is returned.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use sqlx::{Connection as _, PgConnection};

use super::{LimitKey, ProviderLimits};
use crate::Result;

/// The fraction of a limit that is given out. The rest absorbs calls that arrive early or late, however a provider
/// counts its minutes.
const SHARE: f64 = 0.98;
/// Unused moments of the last second may still be used, so that a worker that asks slightly late loses none.
const LOOKBACK_SECONDS: f64 = 1.0;

/// The demand of a worker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SliceWish {
    /// Number of calls to make.
    pub requests: u32,
    /// Estimated number of tokens of these calls.
    pub tokens: i64,
    /// Tokens that earlier calls used beyond their estimate; negative if they used fewer.
    pub more_tokens: i64,
    /// Maximum cost of the calls in micro-dollars; negative to return money.
    pub microusd: i64,
}

/// A slice given to a worker. Offsets are seconds from the moment of the response, and may be slightly negative.
#[derive(Debug, Clone, PartialEq)]
pub struct Slice {
    /// The current limits.
    pub limits: ProviderLimits,
    /// Moments on the timeline of requests, under a limit on requests.
    pub requests: Option<Moments>,
    /// Moments on the timeline of tokens, under a limit on tokens.
    pub tokens: Option<Moments>,
    /// Micro-dollars that may be spent; the full demand unless the day's limit is near.
    pub microusd: i64,
}

/// Evenly spaced moments on a timeline.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// The first moment, in seconds from now.
    pub first_in_seconds: f64,
    /// The interval between moments, in seconds.
    pub step_seconds: f64,
}

/// The part of a limit that has been given out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Given {
    requests_until: Option<DateTime<Utc>>,
    tokens_until: Option<DateTime<Utc>>,
    spent_on: Option<NaiveDate>,
    spent_microusd: i64,
}

/// Takes a slice of the limits of a provider or a model. `None` if no limits are declared any more.
///
/// # Errors
/// The database does not respond; nothing is taken then.
pub async fn take_slice(
    conn: &mut PgConnection,
    key: &LimitKey,
    wish: SliceWish,
) -> Result<Option<Slice>> {
    let mut tx = conn.begin().await?;
    let row = sqlx::query!(
        r#"-- slices::take_slice (read)
        select requests_per_minute, tokens_per_minute, concurrent_calls, daily_microusd,
               requests_until, tokens_until, spent_on, spent_microusd, clock_timestamp() as "now!"
        from provider_limits
        where provider_id = $1 and model_name = $2
        for update"#,
        key.provider_id,
        key.model.as_deref().unwrap_or_default()
    )
    .fetch_optional(&mut *tx)
    .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let limits = ProviderLimits {
        model: key.model.clone(),
        requests_per_minute: row.requests_per_minute,
        tokens_per_minute: row.tokens_per_minute,
        concurrent_calls: row.concurrent_calls,
        daily_microusd: row.daily_microusd,
        call_timeout_seconds: None,
    };
    let given = Given {
        requests_until: row.requests_until,
        tokens_until: row.tokens_until,
        spent_on: row.spent_on,
        spent_microusd: row.spent_microusd,
    };
    let (slice, given) = cut(limits, given, wish, row.now);
    sqlx::query!(
        "-- slices::take_slice (write)
        update provider_limits
        set requests_until = $3, tokens_until = $4, spent_on = $5, spent_microusd = $6
        where provider_id = $1 and model_name = $2",
        key.provider_id,
        key.model.as_deref().unwrap_or_default(),
        given.requests_until,
        given.tokens_until,
        given.spent_on,
        given.spent_microusd
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(Some(slice))
}

/// Number of requests, or tokens, that a limit per minute allows in this many seconds.
#[must_use]
pub fn passing(per_minute: i64, seconds: f64) -> f64 {
    seconds / step_seconds(per_minute)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "limits are far smaller than 2^53"
)]
fn step_seconds(per_minute: i64) -> f64 {
    60.0 / (per_minute as f64 * SHARE)
}

/// Cuts a slice; returns it with what has been given out afterwards.
fn cut(
    limits: ProviderLimits,
    given: Given,
    wish: SliceWish,
    now: DateTime<Utc>,
) -> (Slice, Given) {
    let line = |per_minute: Option<i64>, until: Option<DateTime<Utc>>, ahead: i64, wanted: i64| {
        let step = step_seconds(per_minute?);
        let earliest = now - seconds(LOOKBACK_SECONDS);
        let first = until.map_or(earliest, |until| until.max(earliest)) + many(step, ahead);
        let first_in_seconds = (first - now).as_seconds_f64();
        let moments = Moments {
            first_in_seconds,
            step_seconds: step,
        };
        Some((moments, first + many(step, wanted)))
    };
    let requests_per_minute = limits.requests_per_minute.map(i64::from);
    let requests = line(
        requests_per_minute,
        given.requests_until,
        0,
        wish.requests.into(),
    );
    let tokens = line(
        limits.tokens_per_minute,
        given.tokens_until,
        wish.more_tokens,
        wish.tokens,
    );
    let today = now.date_naive();
    let spent = if given.spent_on == Some(today) {
        given.spent_microusd
    } else {
        0
    };
    let left = limits
        .daily_microusd
        .map_or(i64::MAX, |daily| (daily - spent).max(0));
    let microusd = wish.microusd.min(left);
    let slice = Slice {
        limits,
        requests: requests.map(|(moments, _)| moments),
        tokens: tokens.map(|(moments, _)| moments),
        microusd,
    };
    let given = Given {
        requests_until: requests.map(|(_, until)| until),
        tokens_until: tokens.map(|(_, until)| until),
        spent_on: Some(today),
        spent_microusd: spent.saturating_add(microusd).max(0),
    };
    (slice, given)
}

fn seconds(seconds: f64) -> TimeDelta {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "bounded to a century of microseconds"
    )]
    let microseconds = (seconds * 1e6).clamp(-3e15, 3e15) as i64;
    TimeDelta::microseconds(microseconds)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts are far smaller than 2^53"
)]
fn many(step_seconds: f64, count: i64) -> TimeDelta {
    seconds(step_seconds * count as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn limits(requests: Option<i32>, tokens: Option<i64>, daily: Option<i64>) -> ProviderLimits {
        ProviderLimits {
            requests_per_minute: requests,
            tokens_per_minute: tokens,
            daily_microusd: daily,
            ..ProviderLimits::default()
        }
    }

    #[test]
    fn slices_follow_each_other_without_a_gap() {
        let wish = SliceWish {
            requests: 4,
            ..SliceWish::default()
        };
        let step = 60.0 / (600.0 * 0.98);
        let mut given = Given::default();
        for number in 0..20 {
            let (slice, next) = cut(limits(Some(600), None, None), given, wish, at(0));
            given = next;
            let moments = slice.requests.unwrap();
            // Microseconds are rounded once per slice.
            let expect = -1.0 + f64::from(number) * 4.0 * step;
            assert!((moments.first_in_seconds - expect).abs() < 1e-4, "{number}");
            assert!((moments.step_seconds - step).abs() < 1e-9);
        }
        let (late, _) = cut(limits(Some(600), None, None), given, wish, at(100));
        let first = late.requests.unwrap().first_in_seconds;
        assert!(
            (first + 1.0).abs() < 1e-9,
            "time that passed unused is lost but for a second"
        );
    }

    #[test]
    fn no_minute_holds_more_than_the_limit() {
        // After a long silence, a worker gets the moments of the last second at once, and then the steady rate.
        let wish = SliceWish {
            requests: 10_000,
            ..SliceWish::default()
        };
        for limit in [1, 60, 600, 60_000] {
            let (slice, _) = cut(
                limits(Some(limit), None, None),
                Given::default(),
                wish,
                at(0),
            );
            let moments = slice.requests.unwrap();
            // Moments in the past are used at once, so the first minute counts them.
            let in_a_minute = (60.0 - moments.first_in_seconds) / moments.step_seconds;
            assert!(in_a_minute <= f64::from(limit), "{limit}: {in_a_minute}");
        }
    }

    #[test]
    fn tokens_that_were_estimated_wrongly_move_the_line() {
        let step = 60.0 / (6_000.0 * 0.98);
        for (more_tokens, expect) in [(0, 0.0), (98, 98.0 * step), (-49, -49.0 * step)] {
            let given = Given {
                tokens_until: Some(at(10)),
                ..Given::default()
            };
            let wish = SliceWish {
                requests: 1,
                tokens: 100,
                more_tokens,
                microusd: 0,
            };
            let (slice, next) = cut(limits(None, Some(6_000), None), given, wish, at(0));
            let first = slice.tokens.unwrap().first_in_seconds;
            assert!(
                (first - 10.0 - expect).abs() < 1e-4,
                "{more_tokens}: {first}"
            );
            let until = (next.tokens_until.unwrap() - at(0)).as_seconds_f64();
            assert!((until - 10.0 - expect - 100.0 * step).abs() < 1e-4);
            assert_eq!(slice.requests, None);
        }
    }

    #[test]
    fn money_is_given_up_to_the_limit_of_the_day() {
        let today = Some(at(0).date_naive());
        let yesterday = Some(at(-86_400).date_naive());
        for (spent_on, spent, wanted, expect, left_spent) in [
            (today, 0, 30, 30, 30),
            (today, 90, 30, 10, 100),
            (today, 100, 30, 0, 100),
            (today, 120, 30, 0, 120),
            (yesterday, 100, 30, 30, 30),
            (today, 90, -40, -40, 50),
            (yesterday, 90, -40, -40, 0),
            (None, 0, 30, 30, 30),
        ] {
            let given = Given {
                spent_on,
                spent_microusd: spent,
                ..Given::default()
            };
            let wish = SliceWish {
                microusd: wanted,
                ..SliceWish::default()
            };
            let (slice, next) = cut(limits(None, None, Some(100)), given, wish, at(0));
            assert_eq!(
                (slice.microusd, next.spent_microusd),
                (expect, left_spent),
                "{spent} spent on {spent_on:?}, {wanted} wanted"
            );
        }
    }
}
