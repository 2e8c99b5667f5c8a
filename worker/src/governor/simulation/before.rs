//! The previous algorithm for the limit of concurrent calls, as a baseline: additive increase, multiplicative decrease
//! (Chiu and Jain, 1989) from 16, doubling each round trip until the first refusal.

use std::time::Duration;

use super::{
    super::bound::Ticket,
    control::{Answer, Brakes, Control},
    provider::Remaining,
};

const FIRST_PAUSE: Duration = Duration::from_millis(500);

pub(super) struct Before {
    max: f64,
    bound: f64,
    doubling: bool,
    /// A ticket is the round in which its call started.
    round: u64,
    brakes: Brakes,
}

impl Before {
    pub(super) fn new(max: f64) -> Self {
        Self {
            max,
            bound: max.min(16.0),
            doubling: true,
            round: 0,
            brakes: Brakes::new(),
        }
    }

    fn halve(&mut self, ticket: Ticket) {
        if ticket == self.round {
            self.round += 1;
            self.doubling = false;
            self.bound = (self.bound / 2.0).max(1.0);
        }
    }
}

impl Control for Before {
    fn admits(&mut self, now: Duration, held: u32) -> Answer {
        self.brakes.wait(now)?;
        if f64::from(held) >= self.bound.floor() {
            return Err(None);
        }
        Ok(())
    }

    fn entering(&self, now: Duration) -> u32 {
        self.brakes.entering(now)
    }

    fn passes(&mut self, now: Duration) -> Result<(), Duration> {
        self.brakes.pass(now)
    }

    fn began(&mut self, _now: Duration) -> Ticket {
        self.round
    }

    fn heard(&mut self, _ticket: Ticket, _now: Duration) {}

    fn answered(&mut self, _ticket: Ticket, _now: Duration, tokens: f64) {
        self.brakes.used(tokens);
        let more = if self.doubling { 1.0 } else { 1.0 / self.bound };
        self.bound = (self.bound + more).min(self.max);
    }

    fn refused(&mut self, ticket: Ticket, now: Duration, wish: Option<Duration>, refusals: u32) {
        let doubled = FIRST_PAUSE * 2_u32.pow(refusals.min(7));
        self.brakes
            .pause(now + wish.map_or(doubled, |wish| wish.max(doubled)));
        self.halve(ticket);
    }

    fn timed_out(&mut self, ticket: Ticket, now: Duration) {
        self.brakes.pause(now + FIRST_PAUSE);
        self.halve(ticket);
    }

    fn announced(&mut self, remaining: Remaining, by_token: bool, now: Duration) {
        self.brakes.announced(remaining, by_token, now);
    }
}
