//! The circuit breaker: if a model does not respond at all, calls stop, and one probe at a time checks whether it is
//! back.
//!
//! It opens when several evaluations failed and none succeeded for a while. A single evaluation that makes a provider
//! fail must not open it, so failures of few evaluations never do.

use std::time::Duration;

use tokio::time::Instant;

/// The breaker opens after this many consecutive failures …
const FAILURES: u32 = 5;
/// … of this many evaluations …
const EVALUATIONS: u32 = 3;
/// … without a success for this long.
const SILENCE: Duration = Duration::from_secs(2);
/// Failures further apart than this are unrelated.
const WINDOW: Duration = Duration::from_mins(5);
/// The delays between probes.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The state of the breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// Failures since the last success.
    failures: u32,
    /// Evaluations whose first attempt is among them.
    evaluations: u32,
    first_failure: Option<Instant>,
    last_failure: Option<Instant>,
    pause: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    Closed,
    /// No calls before this time.
    Open(Instant),
    /// A probe is in flight.
    HalfOpen,
}

/// Whether another call may start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Admission {
    Call,
    /// As a probe whether the provider is back.
    Probe,
    /// Not before this time, or before the probe has ended.
    Wait(Option<Instant>),
}

impl Breaker {
    pub(super) fn new() -> Self {
        Self {
            state: State::Closed,
            failures: 0,
            evaluations: 0,
            first_failure: None,
            last_failure: None,
            pause: FIRST_PAUSE,
        }
    }

    pub(super) fn admission(&self, now: Instant) -> Admission {
        match self.state {
            State::Closed => Admission::Call,
            State::Open(until) if until <= now => Admission::Probe,
            State::Open(until) => Admission::Wait(Some(until)),
            State::HalfOpen => Admission::Wait(None),
        }
    }

    /// A probe starts.
    pub(super) fn probe(&mut self) {
        self.state = State::HalfOpen;
    }

    /// The time of the first failure, while calls are stopped.
    pub(super) fn down_since(&self) -> Option<Instant> {
        match self.state {
            State::Closed => None,
            State::Open(_) | State::HalfOpen => self.first_failure,
        }
    }

    /// The provider responded in any way.
    pub(super) fn answered(&mut self) {
        *self = Self::new();
    }

    /// A call failed in the way of a provider that is down. `is_first`: it was the first attempt of its evaluation.
    pub(super) fn failed(&mut self, now: Instant, is_first: bool, is_probe: bool) {
        match self.state {
            State::Closed => {
                if self.last_failure.is_some_and(|last| now - last > WINDOW) {
                    *self = Self::new();
                }
                let first = *self.first_failure.get_or_insert(now);
                self.last_failure = Some(now);
                self.failures += 1;
                self.evaluations += u32::from(is_first);
                if self.failures >= FAILURES
                    && self.evaluations >= EVALUATIONS
                    && now - first >= SILENCE
                {
                    self.state = State::Open(now + self.pause);
                }
            }
            State::HalfOpen if is_probe => {
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                self.state = State::Open(now + self.pause);
            }
            // It started before the breaker opened.
            State::Open(_) | State::HalfOpen => {}
        }
    }

    /// The probe was dropped without a result: another may start at once.
    pub(super) fn abandoned(&mut self, now: Instant) {
        if self.state == State::HalfOpen {
            self.state = State::Open(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(breaker: &mut Breaker, failures: &[(u64, bool)]) -> Instant {
        let start = Instant::now();
        for (milliseconds, is_first) in failures {
            breaker.failed(
                start + Duration::from_millis(*milliseconds),
                *is_first,
                false,
            );
        }
        start
    }

    #[tokio::test]
    async fn opens_when_several_evaluations_fail_for_a_while() {
        let at_once: Vec<_> = (0..100).map(|number| (number, true)).collect();
        let one_evaluation: Vec<_> = (0..100).map(|number| (number * 500, number == 0)).collect();
        let slowly = [
            (0, true),
            (240_000, true),
            (480_000, true),
            (720_000, true),
            (960_000, true),
        ];
        let apart: Vec<_> = (0..10).map(|number| (number * 301_000, true)).collect();
        for (failures, opens) in [
            (
                &[
                    (0, true),
                    (0, true),
                    (0, true),
                    (500, false),
                    (2_000, false),
                ][..],
                true,
            ),
            (
                &[
                    (0, true),
                    (0, true),
                    (0, true),
                    (500, false),
                    (1_999, false),
                ],
                false,
            ),
            (&[(0, true), (0, true), (0, true), (2_000, false)], false),
            (
                &[
                    (0, true),
                    (0, true),
                    (500, false),
                    (1_000, false),
                    (3_000, false),
                ],
                false,
            ),
            (&at_once, false),
            (&one_evaluation, false),
            (&slowly, true),
            (&apart, false),
        ] {
            let mut breaker = Breaker::new();
            after(&mut breaker, failures);
            assert_eq!(breaker.down_since().is_some(), opens, "{failures:?}");
        }
    }

    #[tokio::test]
    async fn one_call_tries_after_longer_and_longer_pauses() {
        let mut breaker = Breaker::new();
        let start = after(
            &mut breaker,
            &[(0, true), (0, true), (0, true), (0, true), (2_000, true)],
        );
        let mut now = start + SILENCE;
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            let until = now + Duration::from_secs(seconds);
            assert_eq!(breaker.admission(now), Admission::Wait(Some(until)));
            assert_eq!(breaker.admission(until), Admission::Probe);
            breaker.probe();
            assert_eq!(
                breaker.admission(until),
                Admission::Wait(None),
                "one at a time"
            );
            breaker.failed(until, true, false);
            assert_eq!(
                breaker.admission(until),
                Admission::Wait(None),
                "a late one says nothing"
            );
            breaker.failed(until, true, true);
            now = until;
        }
        assert_eq!(breaker.down_since(), Some(start));
        let until = now + LONGEST_PAUSE;
        breaker.probe();
        breaker.abandoned(until);
        assert_eq!(
            breaker.admission(until),
            Admission::Probe,
            "another may try"
        );
        breaker.answered();
        assert_eq!(
            (breaker.admission(until), breaker.down_since()),
            (Admission::Call, None)
        );
    }
}
