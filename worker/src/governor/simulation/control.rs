//! What decides how many calls run at once, as the simulator asks it; and the one that knows the provider.

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

/// How long a call that was refused waits first, as in `crate::call`.
const FIRST_RETURN: Duration = Duration::from_millis(500);
/// Tokens of an answer, on average.
pub(super) const TOKENS: f64 = 250.0;

/// Whether one more call may begin; if not, when to ask again unless a call ends before.
pub(super) type Answer = Result<(), Option<Duration>>;

/// One worker's control.
pub(super) trait Control {
    /// In the queue, beside the `held` calls that run or are about to.
    fn admits(&mut self, now: Duration, held: u32) -> Answer;
    /// One may begin, and does so once those have been let go that may as well.
    fn granted(&mut self, _now: Duration) {}
    /// How many may be about to begin at once.
    fn entering(&self, now: Duration) -> u32;
    /// Whether one that was let go may begin; if not, when to ask again.
    fn passes(&mut self, now: Duration) -> Result<(), Duration>;
    fn began(&mut self, now: Duration) -> Ticket;
    fn heard(&mut self, ticket: Ticket, now: Duration);
    fn answered(&mut self, ticket: Ticket, now: Duration, tokens: f64);
    /// `refusals` of this evaluation so far.
    fn refused(&mut self, ticket: Ticket, now: Duration, wish: Option<Duration>, refusals: u32);
    /// A call was not answered in time.
    fn timed_out(&mut self, ticket: Ticket, now: Duration);
    fn announced(&mut self, remaining: Remaining, by_token: bool, now: Duration);
    /// How long a call waits that was refused so often, before it asks for a place again.
    fn returns_after(&self, _refusals: u32) -> Duration {
        Duration::ZERO
    }
    /// The provider is another one now.
    fn told(&mut self, _kind: Kind) {}
}

/// What governors share: the pause that a refusal brings, and the pace of announced limits.
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

    /// As `Governor::next` has it.
    pub(super) fn entering(&self, now: Duration) -> u32 {
        let instant = self.start + now;
        let holds = self.pace.is_some_and(|pace| pace.holds(instant));
        if holds { ENTERING } else { u32::MAX }
    }

    /// Whether none may begin at present; until when then.
    pub(super) fn wait(&self, now: Duration) -> Answer {
        if now < self.paused_until {
            Err(Some(self.paused_until))
        } else {
            Ok(())
        }
    }

    /// A call that may begin as far as these are concerned begins, as `Governor::too_early` has it.
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

/// Today's.
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
        let pause = self.bound.refused(ticket, now);
        self.brakes.pause(now + pause.max(wish.unwrap_or_default()));
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

/// Knows the provider, and keeps to its part of what is allowed.
pub(super) struct Ideal {
    max: usize,
    workers: usize,
    limit: usize,
    /// So many may begin at once, and then one after so many seconds.
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
            Kind::Elastic | Kind::Batching(_) => self.max,
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
