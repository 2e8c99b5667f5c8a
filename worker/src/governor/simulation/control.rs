//! The interface of a control of concurrent calls to the simulator, the current control, and one that knows the
//! provider.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    super::{
        bound::{Bound, Entry, Ticket},
        pace::{ENTERING, LOOK_AGAIN, Pace},
    },
    provider::{Kind, Remaining},
};
use crate::providers::{Announced, Left};

/// The first delay of a refused call, as in `crate::call`.
const FIRST_RETURN: Duration = Duration::from_millis(500);
/// Average output tokens of a call.
pub(super) const TOKENS: f64 = 250.0;

/// Whether another call may start; if not, when to ask again unless a call ends first.
pub(super) type Answer = Result<(), Option<Duration>>;

/// The control of one worker.
pub(super) trait Control {
    /// For the queue: `held` calls are in flight or about to start.
    fn admits(&mut self, now: Duration, held: u32) -> Answer;
    /// A call is about to start, after those granted before it.
    fn granted(&mut self, _now: Duration) {}
    /// Maximum number of calls that are about to start.
    fn entering(&self, now: Duration) -> u32;
    /// Whether a granted call may start; if not, when to ask again.
    fn passes(&mut self, now: Duration) -> Result<(), Duration>;
    fn began(&mut self, now: Duration) -> Ticket;
    fn heard(&mut self, ticket: Ticket, now: Duration);
    fn answered(&mut self, ticket: Ticket, now: Duration, tokens: f64);
    /// `refusals` of this evaluation so far.
    fn refused(&mut self, ticket: Ticket, now: Duration, wish: Option<Duration>, refusals: u32);
    /// A call timed out.
    fn timed_out(&mut self, ticket: Ticket, now: Duration);
    fn announced(&mut self, remaining: Remaining, by_token: bool, now: Duration);
    /// How long a call with this many refusals waits before it enters the queue again.
    fn returns_after(&self, _refusals: u32) -> Duration {
        Duration::ZERO
    }
    /// The provider has changed.
    fn told(&mut self, _kind: Kind) {}
}

/// The parts of a governor that do not depend on the limit: the pause after a refusal, and the pace of announced
/// limits.
pub(super) struct Brakes {
    start: Instant,
    pub(super) paused_until: Duration,
    pace: Option<Pace>,
    tokens: f64,
}

impl Brakes {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            paused_until: Duration::ZERO,
            pace: None,
            tokens: 256.0,
        }
    }

    /// Like in `Governor::next`.
    pub(super) fn entering(&self, now: Duration) -> u32 {
        let instant = self.start + now;
        let holds = self.pace.is_some_and(|pace| pace.holds(instant));
        if holds { ENTERING } else { u32::MAX }
    }

    /// Whether a pause prevents calls from starting; if so, until when.
    pub(super) fn wait(&self, now: Duration) -> Answer {
        if now < self.paused_until {
            Err(Some(self.paused_until))
        } else {
            Ok(())
        }
    }

    /// Starts a call unless a pause or the pace prevents it, like `Governor::too_early`.
    pub(super) fn pass(&mut self, now: Duration) -> Result<(), Duration> {
        let look_again = now + LOOK_AGAIN;
        if now < self.paused_until {
            return Err(self.paused_until.min(look_again));
        }
        let start = self.start;
        let instant = start + now;
        match self.pace.as_mut() {
            Some(pace) if pace.holds(instant) => pace
                .begin(instant)
                .map_err(|due| (due - start).min(look_again)),
            _ => Ok(()),
        }
    }

    pub(super) fn pause(&mut self, until: Duration) {
        self.paused_until = self.paused_until.max(until);
    }

    pub(super) fn used(&mut self, tokens: f64) {
        self.tokens += (tokens - self.tokens) * 0.05;
    }

    pub(super) fn announced(&mut self, remaining: Remaining, by_token: bool, now: Duration) {
        let left = Some(Left {
            limit: remaining.limit,
            remaining: remaining.left,
            reset: Duration::from_secs_f64(remaining.reset_seconds),
        });
        let announced = if by_token {
            Announced {
                requests: None,
                tokens: left,
            }
        } else {
            Announced {
                requests: left,
                tokens: None,
            }
        };
        self.pace = Pace::after(self.pace, announced, self.tokens, self.start + now);
    }
}

/// The current control.
pub(super) struct Today {
    bound: Bound,
    brakes: Brakes,
}

impl Today {
    pub(super) fn new(max: f64) -> Self {
        Self {
            bound: Bound::new(max),
            brakes: Brakes::new(),
        }
    }
}

impl Control for Today {
    fn admits(&mut self, now: Duration, held: u32) -> Answer {
        self.brakes.wait(now)?;
        match self.bound.admits(now, held) {
            Entry::Wait(until) => Err(until),
            Entry::Now => Ok(()),
        }
    }

    fn granted(&mut self, now: Duration) {
        self.bound.granted(now);
    }

    fn entering(&self, now: Duration) -> u32 {
        self.brakes.entering(now)
    }

    fn passes(&mut self, now: Duration) -> Result<(), Duration> {
        self.brakes.pass(now)
    }

    fn began(&mut self, now: Duration) -> Ticket {
        self.bound.began(now)
    }

    fn heard(&mut self, ticket: Ticket, now: Duration) {
        self.bound.heard(ticket, now);
    }

    fn answered(&mut self, ticket: Ticket, now: Duration, tokens: f64) {
        self.brakes.used(tokens);
        self.bound.answered(ticket, now, Some(tokens));
    }

    fn refused(&mut self, ticket: Ticket, now: Duration, wish: Option<Duration>, _refusals: u32) {
        if let Some(pause) = self.bound.refused(ticket, now) {
            self.brakes.pause(now + pause.max(wish.unwrap_or_default()));
        }
    }

    fn timed_out(&mut self, ticket: Ticket, _now: Duration) {
        self.bound.timed_out(ticket);
    }

    fn announced(&mut self, remaining: Remaining, by_token: bool, now: Duration) {
        self.bound.announced(remaining.left / remaining.limit);
        self.brakes.announced(remaining, by_token, now);
    }

    fn returns_after(&self, refusals: u32) -> Duration {
        FIRST_RETURN * 2_u32.pow(refusals.min(7) - 1)
    }
}

/// Knows the provider, and uses its part of the provider's capacity.
pub(super) struct Ideal {
    max: usize,
    workers: usize,
    limit: usize,
    /// This many calls may start at once, and then one per `step` seconds.
    burst: f64,
    step: f64,
    next: Duration,
}

impl Ideal {
    pub(super) fn new(max: f64, kind: Kind, workers: usize) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a small whole number"
        )]
        let mut ideal = Self {
            max: max as usize,
            workers,
            limit: 1,
            burst: 0.0,
            step: 0.0,
            next: Duration::ZERO,
        };
        ideal.told(kind);
        ideal
    }
}

impl Control for Ideal {
    fn admits(&mut self, now: Duration, held: u32) -> Answer {
        if now < self.next {
            return Err(Some(self.next));
        }
        if (held as usize) < self.limit {
            Ok(())
        } else {
            Err(None)
        }
    }

    fn granted(&mut self, now: Duration) {
        self.burst -= 1.0;
        if self.burst < 0.0 {
            self.next = self.next.max(now) + Duration::from_secs_f64(self.step);
        }
    }

    fn entering(&self, _now: Duration) -> u32 {
        u32::MAX
    }

    fn passes(&mut self, _now: Duration) -> Result<(), Duration> {
        Ok(())
    }

    fn began(&mut self, _now: Duration) -> Ticket {
        0
    }

    fn heard(&mut self, _ticket: Ticket, _now: Duration) {}
    fn answered(&mut self, _ticket: Ticket, _now: Duration, _tokens: f64) {}
    fn refused(&mut self, _: Ticket, now: Duration, _: Option<Duration>, _: u32) {
        self.next = now + Duration::from_millis(500);
    }
    fn timed_out(&mut self, _ticket: Ticket, _now: Duration) {}
    fn announced(&mut self, _remaining: Remaining, _by_token: bool, _now: Duration) {}

    #[expect(clippy::cast_precision_loss, reason = "there are few workers")]
    fn told(&mut self, kind: Kind) {
        let part = |whole: usize| (whole / self.workers).clamp(1, self.max);
        let workers = self.workers as f64;
        self.step = 0.0;
        self.limit = match kind {
            Kind::Elastic | Kind::Fickle(_) | Kind::Batching(_) => self.max,
            Kind::Refusing(most) => part(most),
            Kind::Slots { count, .. } => part(count),
            Kind::Bucket {
                rate,
                capacity,
                by_token,
                ..
            } => {
                let each = if by_token { TOKENS } else { 1.0 };
                self.burst = (capacity / each / workers).floor();
                self.step = each * workers / rate;
                self.max
            }
        };
    }
}
