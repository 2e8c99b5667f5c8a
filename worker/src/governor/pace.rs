//! The pace: what a provider announces of its limits slows calls down before it refuses them.
//!
//! While little is left of a limit, calls are spread over the time in which it comes back, the slower the less is left.
//! So processes that know nothing of each other come to share what comes back.

use std::time::Duration;

use tokio::time::Instant;

use crate::providers::{Announced, Left};

/// When less than this part of a limit is left, the pace slows down.
const LOW: f64 = 0.1;
/// No announcement holds for longer.
const LONGEST: Duration = Duration::from_mins(5);
/// Calls that may be on their way to their moment at once.
pub(super) const ENTERING: u32 = 8;

/// The moments at which calls may begin, if they are spread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    step: Duration,
    until: Instant,
    next: Instant,
}

impl Pace {
    /// The pace that an announcement asks for, after the one that holds. `tokens` is what a call uses, on average.
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
            next: earlier.map_or(now, |earlier| earlier.next.min(now + step)),
        })
    }

    pub(super) fn holds(&self, now: Instant) -> bool {
        now < self.until
    }

    /// The moment of the next call.
    pub(super) fn next(&mut self, now: Instant) -> Instant {
        let at = self.next.max(now);
        self.next = at + self.step;
        at
    }
}

/// The time from one call to the next while so much is left, and how long that holds. Nothing, while enough is left.
fn spread(left: Left, per_call: f64) -> Option<(Duration, Duration)> {
    let low = (left.limit * LOW).max(1.0);
    if left.remaining >= low || left.reset < Duration::from_millis(1) {
        return None;
    }
    let comes_back = (left.limit - left.remaining) / left.reset.as_secs_f64();
    let calls = comes_back / per_call.max(1.0) * ((left.remaining + 0.5) / low).min(1.0);
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
        check((600.0, 60.0, 54), 1.0, None);
        // 570 come back in 57 seconds, and half of what is low is left.
        check((600.0, 29.5, 57), 1.0, Some(57.0 / 570.5 * 2.0));
        // Nothing is left: a hundredth of what comes back, until some is.
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
        let now = Instant::now();
        let left = Left {
            limit: 600.0,
            remaining: 59.5,
            reset: Duration::from_secs(54),
        };
        let announced = Announced {
            requests: Some(left),
            tokens: None,
        };
        let mut pace = Pace::after(None, announced, 1.0, now).unwrap();
        assert!(pace.holds(now) && !pace.holds(now + Duration::from_secs(54)));
        let moments: Vec<_> = (0..3).map(|_| (pace.next(now) - now).as_millis()).collect();
        assert_eq!(moments, [0, 99, 199]);
        // What comes in does not push the next moment further and further away.
        let mut again = Pace::after(Some(pace), announced, 1.0, now).unwrap();
        assert_eq!((again.next(now) - now).as_millis(), 99);
        assert!(Pace::after(Some(pace), Announced::default(), 1.0, now).is_none());
    }
}
