//! Refusals by chance: a provider that has too much to do for all its users refuses some calls however few we make.
//!
//! Fewer or slower calls do not help then, and would only slow the run down. So once calls are paced and refusals still come,
//! four times as many calls four times as fast are tried, and then four times as many again, up to the maximum: others may
//! share the limit, and our part of the load be small. If the load is the reason, most of them are refused sooner or later,
//! and everything is as before; if about as many are accepted as before, refusals are by chance. (Loss that is not
//! congestion, as in BBR: Cardwell and others, 2016.) From then on a refused call waits alone, until clearly more are
//! refused.
//!
//! Refusals arrive sooner than responses, so fractions are of calls in the order in which they started, never of outcomes
//! in the order in which they arrived.

use std::{collections::VecDeque, ops::Range, time::Duration};

use super::{
    bound::{Bound, Ticket},
    tries::Phase,
};

/// Refusals of paced calls, soon after one another, before faster calls are tried; four times as many after each trial that
/// failed, up to this often.
const BEFORE_TRIAL: u32 = 2;
const MOST_LENGTHENED: u32 = 5;
/// Calls that decide one step of a trial, and the factor of a step.
const CALLS: u32 = 12;
const FACTOR: f64 = 4.0;
/// This fraction of the calls that were accepted before is enough in a trial. If the load was the reason, a quarter is.
const STILL_ACCEPTED: f64 = 0.75;
/// Refusals are by chance no longer once this factor and this fraction more are refused than before.
const MORE: f64 = 1.5;
const AND_MORE: f64 = 0.05;
/// A trial is worth it if at least this many of the last calls were refused, and at most this fraction: more are no chance.
const LEAST_REFUSED: usize = 2;
const MOST_REFUSED: f64 = 0.25;
/// The number of calls that the fraction of refused ones is of.
const WINDOW: u64 = 96;

/// What is known about refusals that do not depend on our load.
#[derive(Debug)]
pub(super) struct Chance {
    /// The refused calls among the last ones.
    refused: VecDeque<Ticket>,
    /// Refusals until the next trial.
    refusals_left: u32,
    lengthened: u32,
    state: State,
}

#[derive(Debug)]
enum State {
    Unknown,
    Trial(Trial),
    /// Refusals are by chance since this call, and this fraction of calls is accepted.
    Proven {
        accepted: f64,
        since: Ticket,
    },
}

/// More and faster calls are tried.
#[derive(Debug)]
struct Trial {
    /// The limit and the pace before.
    number: f64,
    pace: f64,
    /// The fraction of calls accepted before.
    accepted_before: f64,
    step: u32,
    /// The calls of the step, and how many of them were accepted, or refused or without an answer.
    calls: Range<Ticket>,
    accepted: u32,
    failed: u32,
}

/// The outcome of a call, as far as it is of interest here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CallEnd {
    Accepted,
    Refused,
    /// It was cancelled, or failed otherwise.
    Unknown,
}

impl Default for Chance {
    fn default() -> Self {
        Self {
            refused: VecDeque::new(),
            refusals_left: BEFORE_TRIAL,
            lengthened: 0,
            state: State::Unknown,
        }
    }
}

impl Chance {
    /// Notes how a call ended; all calls before `next` have started. Returns whether a refusal is no reason for fewer or
    /// slower calls.
    fn note(&mut self, ticket: Ticket, end: CallEnd, next: Ticket) -> bool {
        if end == CallEnd::Refused {
            self.refused.push_back(ticket);
        }
        while self
            .refused
            .front()
            .is_some_and(|first| first + WINDOW < next)
        {
            self.refused.pop_front();
        }
        match &mut self.state {
            State::Unknown => false,
            State::Trial(trial) => {
                if trial.calls.contains(&ticket) {
                    trial.accepted += u32::from(end == CallEnd::Accepted);
                    trial.failed += u32::from(end != CallEnd::Accepted);
                }
                true
            }
            State::Proven { accepted, since } => {
                let is_enough = *since + WINDOW <= next;
                let most = MORE * (1.0 - *accepted) + AND_MORE;
                if is_enough && 1.0 - self.accepted(next) > most {
                    self.wait_longer();
                    return false;
                }
                true
            }
        }
    }

    /// The fraction of the last calls that was accepted.
    #[expect(clippy::cast_precision_loss, reason = "the window is small")]
    fn accepted(&self, next: Ticket) -> f64 {
        1.0 - self.refused.len() as f64 / WINDOW.min(next.max(1)) as f64
    }

    /// Whether more and faster calls are being tried: then nothing else changes their number.
    pub(super) fn is_trying(&self) -> bool {
        matches!(self.state, State::Trial(_))
    }

    /// The limit before the trial, if there is one now.
    pub(super) fn number_before(&self) -> Option<f64> {
        match &self.state {
            State::Trial(trial) => Some(trial.number),
            State::Unknown | State::Proven { .. } => None,
        }
    }

    fn wait_longer(&mut self) {
        self.lengthened = (self.lengthened + 1).min(MOST_LENGTHENED);
        self.refusals_left = BEFORE_TRIAL * 4_u32.pow(self.lengthened);
        self.state = State::Unknown;
    }
}

impl Bound {
    /// Notes how a call ended. Returns whether its refusal is no reason for fewer or slower calls.
    pub(super) fn note_end(&mut self, ticket: Ticket, end: CallEnd) -> bool {
        let is_no_reason = self.chance.note(ticket, end, self.next);
        self.end_step();
        is_no_reason
    }

    /// Calls are paced, and one was refused soon after another: tries more and faster ones if that has happened often.
    pub(super) fn refused_at_pace(&mut self, pace: f64) {
        let accepted_before = self.chance.accepted(self.next);
        if self.chance.refused.len() < LEAST_REFUSED || 1.0 - accepted_before > MOST_REFUSED {
            return;
        }
        self.chance.refusals_left = self.chance.refusals_left.saturating_sub(1);
        if self.chance.refusals_left == 0 && matches!(self.chance.state, State::Unknown) {
            self.begin_step(self.number, pace, accepted_before, 0);
        }
    }

    fn begin_step(&mut self, number: f64, pace: f64, accepted_before: f64, step: u32) {
        let factor = FACTOR.powi(step.cast_signed() + 1);
        self.number = self.at_most(factor * number);
        self.refusals.set_pace(factor * pace);
        // Nothing else changes the number meanwhile.
        self.phase = Phase::Holding {
            answers_left: u32::MAX,
            until: Duration::MAX,
        };
        self.chance.state = State::Trial(Trial {
            number,
            pace,
            accepted_before,
            step,
            calls: self.next..self.next + u64::from(CALLS),
            accepted: 0,
            failed: 0,
        });
    }

    /// Ends the step of a trial once it is decided.
    fn end_step(&mut self) {
        let State::Trial(trial) = &self.chance.state else {
            return;
        };
        let least = STILL_ACCEPTED * trial.accepted_before * f64::from(CALLS);
        let (number, pace) = (trial.number, trial.pace);
        let (accepted_before, step) = (trial.accepted_before, trial.step);
        let is_over = trial.accepted + trial.failed >= CALLS;
        if f64::from(CALLS - trial.failed.min(CALLS)) < least {
            self.number = number;
            self.refusals.set_pace(pace);
            self.phase = self.tries.hold();
            self.chance.wait_longer();
        } else if is_over && self.has_room() {
            self.begin_step(number, pace, accepted_before, step + 1);
        } else if is_over {
            self.chance.state = State::Proven {
                accepted: accepted_before,
                since: self.next,
            };
            self.refusals.forget(self.next);
            self.ceiling = f64::INFINITY;
            self.proven = self.number;
            self.phase = Phase::Opening;
        }
    }
}
