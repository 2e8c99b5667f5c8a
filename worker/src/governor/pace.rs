//! Pacing: slows calls down when a provider's headers announce that little of a limit remains, before it refuses them.
//!
//! While little of a limit remains, calls are spread over the time until it is replenished, more slowly the less
//! remains. So processes that do not coordinate converge to sharing it.

use std::time::Duration;

use tokio::time::Instant;

use crate::providers::{Announced, Left};

/// Below this fraction of a limit, calls start more slowly than the limit is replenished.
const LOW: f64 = 0.1;
/// Maximum time for which an announcement is valid.
const LONGEST: Duration = Duration::from_mins(5);
/// Maximum number of calls that wait for their start time at once.
pub(super) const ENTERING: u32 = 8;
/// Interval at which a waiting call checks whether its start time has changed.
pub(super) const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The start times of calls while they are paced.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    step: Duration,
    until: Instant,
    /// When the latest call was due.
    latest: Option<Instant>,
}

impl Pace {
    /// Updates the pace after an announcement. `tokens` is the average number of tokens per call.
    pub(super) fn after(
        earlier: Option<Self>,
        announced: Announced,
        tokens: f64,
        now: Instant,
    ) -> Option<Self> {
        let requests = announced.requests.and_then(|left| spread(left, 1.0));
        let tokens = announced.tokens.and_then(|left| spread(left, tokens));
        let (step, reset) = [requests, tokens].into_iter().flatten().max()?;
        Some(Self {
            step,
            until: now + reset.min(LONGEST),
            latest: earlier.and_then(|earlier| earlier.latest),
        })
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.until
    }

    /// Starts a call.
    ///
    /// # Errors
    /// It is too early; contains the time to try again, unless another announcement comes first.
    pub(super) fn begin(&mut self, now: Instant) -> Result<(), Instant> {
        let due = self.latest.map_or(now, |latest| latest + self.step);
        if due > now {
            return Err(due);
        }
        // A slightly late call does not delay others, and idle time is not saved up.
        let earliest = now.checked_sub(self.step).unwrap_or(now);
        self.latest = Some(due.max(earliest));
        Ok(())
    }
}

/// The time between calls while this much remains, and how long that is valid; `None` if enough remains.
///
/// At the threshold, calls start as fast as the limit is replenished, below it more slowly, and up to twice the
/// threshold faster: without this transition, all waiting calls would start at once at the threshold.
fn spread(left: Left, per_call: f64) -> Option<(Duration, Duration)> {
    let low = (left.limit * LOW).max(1.0);
    if left.remaining >= left.limit.min(2.0 * low) || left.reset < Duration::from_millis(1) {
        return None;
    }
    let comes_back = (left.limit - left.remaining) / left.reset.as_secs_f64();
    let calls = comes_back / per_call.max(1.0) * (left.remaining + 0.5) / low;
    let step = Duration::try_from_secs_f64(1.0 / calls).unwrap_or(LONGEST);
    Some((step.min(LONGEST), left.reset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_spread_while_little_is_left() {
        let check = |(limit, remaining, reset): (f64, f64, u64), per_call, expect: Option<f64>| {
            let left = Left {
                limit,
                remaining,
                reset: Duration::from_secs(reset),
            };
            let step = spread(left, per_call).map(|(step, _)| step.as_secs_f64());
            match (step, expect) {
                (Some(step), Some(expect)) => {
                    assert!(
                        (step - expect).abs() < 1e-6,
                        "{left:?}: {step}, not {expect}"
                    );
                }
                (step, expect) => assert_eq!(step, expect, "{left:?}"),
            }
        };
        check((600.0, 600.0, 0), 1.0, None);
        // All of it remains, however little that is.
        check((1.0, 1.0, 60), 1.0, None);
        check((600.0, 120.0, 48), 1.0, None);
        // Ten per second are replenished: nearly twice as many, and as many.
        check((600.0, 119.0, 48), 1.0, Some(48.0 / 481.0 / 119.5 * 60.0));
        check((600.0, 59.5, 54), 1.0, Some(54.0 / 540.5));
        // 570 are replenished in 57 seconds, and half of the threshold remains.
        check((600.0, 29.5, 57), 1.0, Some(57.0 / 570.5 * 2.0));
        // Nothing remains: a hundredth of what is replenished, until some is.
        check((600.0, 0.0, 60), 1.0, Some(0.1 * 120.0));
        check((3.0, 0.0, 60), 1.0, Some(20.0 * 2.0));
        check(
            (60_000.0, 5_999.5, 54),
            1_000.0,
            Some(54.0 / 54_000.5 * 1_000.0),
        );
        check((600.0, 0.0, 0), 1.0, None);
    }

    #[tokio::test(start_paused = true)]
    async fn moments_follow_the_pace() {
        let start = Instant::now();
        let after_ms = |ms| start + Duration::from_millis(ms);
        let announced = |remaining| Announced {
            requests: Some(Left {
                limit: 600.0,
                remaining,
                reset: Duration::from_secs(54),
            }),
            tokens: None,
        };
        // How many milliseconds too early a call is.
        let early_ms = |pace: &mut Pace, ms| {
            let early = pace.begin(after_ms(ms)).err();
            early.map(|due| (due - after_ms(ms)).as_millis())
        };
        let mut pace = Pace::after(None, announced(59.5), 1.0, start).unwrap();
        assert!(pace.holds(start) && !pace.holds(after_ms(54_000)));
        // The call after 110 ms is late and does not delay the next one.
        for (ms, expect) in [
            (0, None),
            (0, Some(99)),
            (90, Some(9)),
            (110, None),
            (150, Some(49)),
        ] {
            assert_eq!(early_ms(&mut pace, ms), expect, "after {ms} ms");
        }
        // Neither do announcements; and if less remains, waiting calls wait longer.
        let mut again = Pace::after(Some(pace), announced(59.5), 1.0, start).unwrap();
        assert_eq!(early_ms(&mut again, 150), Some(49));
        let mut slower = Pace::after(Some(pace), announced(29.5), 1.0, start).unwrap();
        assert_eq!(early_ms(&mut slower, 150), Some(139));
        // After a long idle time nothing was saved up: one more call, not a hundred.
        let later = [10_000; 3].map(|ms| early_ms(&mut again, ms));
        assert_eq!(later, [None, None, Some(99)]);
        assert!(Pace::after(Some(pace), Announced::default(), 1.0, start).is_none());
    }
}
