//! Whether more at once are answered sooner together: what follows from the times of calls, and the tries that settle it.
//!
//! Throughput at concurrency n is n ÷ latency (Little, 1961). So where more at once are served side by side, times do not
//! depend on n, and a time that grows like n is a queue: the idea of TCP Vegas (Brakmo and Peterson, 1995), and the
//! number that is enough is throughput × time without a queue, as in BBR (Cardwell and others, 2016). Both take the
//! shortest time that was ever seen as the one without a queue, and so does Netflix' Gradient2 with a long average; answers
//! of language models differ too much for either.
//!
//! Here times are compared by the number beside which calls began (`levels`), and no conclusion is drawn from times
//! that changed while the number did not: it is tried with half as many. A queue makes those faster in proportion; answers
//! that have become longer stay as long as they are. In the same way twice as many are tried now and then, the more
//! rarely the more often that brought nothing.

use std::time::Duration;

use super::{
    bound::{Bound, Ticket},
    levels::{Level, Levels, Verdict},
};

/// Answers between two tries; three times as many after each that brought nothing, up to so often.
const BETWEEN_TRIES: u32 = 16;
const MOST_LENGTHENED: u32 = 2;
/// The same after a refusal, and time, since each further one costs a call and a pause; these double.
const AFTER_REFUSAL: u32 = 100;
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(20);
/// Answers that a try takes: as many as tell its mean from a queue's by so many standard errors, up to a bound.
const STANDARD_ERRORS: f64 = 3.0;
const DIFFERENCE: f64 = 0.28;
const MOST_ANSWERS: f64 = 24.0;
/// Once so many times as many came, most of them beside fewer calls, there is too little to do for the tried number.
const OF_ANY_NUMBER: u32 = 4;

/// What the number of calls does at present.
#[derive(Debug)]
pub(super) enum Phase {
    /// More and more, by time.
    Opening,
    /// It stays until the next try.
    Holding {
        answers_left: u32,
        until: Duration,
    },
    Trying(Try),
}

/// Another number is tried.
#[derive(Debug)]
pub(super) struct Try {
    /// The number before.
    from: f64,
    was_opening: bool,
    first: Ticket,
    answers_left: u32,
    /// The same with those to calls that began beside fewer.
    any_left: u32,
    before: Sample,
    tried: Sample,
}

/// What earlier tries have shown.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// How often the time between two of them was lengthened.
    lengthened: u32,
    /// How many more are tried where a refusal is the risk, less one.
    further: f64,
    /// Half as many have shown to be too few.
    is_least: bool,
    /// Calls before this one have nothing more to say: they waited in a queue that was seen already.
    decided: Ticket,
}

/// The times of calls, by the number beside which they began.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// Until the answer began.
    heads: Levels,
    /// Until it was complete, by its length.
    answers: Levels,
}

/// The same of one level.
#[derive(Debug, Clone, Copy, Default)]
struct Sample {
    heads: Level,
    answers: Level,
}

impl Bound {
    pub(super) fn note_head(&mut self, ticket: Ticket, number: f64, time: f64) {
        if ticket < self.tries.decided {
            return;
        }
        self.times.heads.add(number, time);
        match &mut self.phase {
            Phase::Trying(this) if ticket >= this.first => this.tried.heads.add(number, time),
            Phase::Trying(_) => {}
            Phase::Opening | Phase::Holding { .. } => self.weigh(number),
        }
    }

    pub(super) fn note_answer(&mut self, ticket: Ticket, number: f64, time: f64, now: Duration) {
        if ticket < self.tries.decided {
            return;
        }
        self.times.answers.add(number, time);
        match &mut self.phase {
            Phase::Opening => self.weigh(number),
            Phase::Holding { answers_left, .. } => {
                *answers_left = answers_left.saturating_sub(1);
                self.weigh(number);
                self.try_another(now);
            }
            Phase::Trying(this) => {
                if ticket < this.first {
                    return;
                }
                this.any_left = this.any_left.saturating_sub(1);
                if number < this.least_number(self.number) {
                    if this.any_left == 0 {
                        self.number = this.from;
                        self.phase = self.tries.hold();
                    }
                    return;
                }
                this.tried.answers.add(number, time);
                this.answers_left = this.answers_left.saturating_sub(1);
                if this.answers_left == 0 {
                    self.end_try(now);
                }
            }
        }
    }

    /// Draws conclusions from a new time of a call that began as one of `number`.
    fn weigh(&mut self, number: f64) {
        // A late answer to a call of the beginning says nothing about the number that was found since.
        if number < self.number / 4.0 {
            return;
        }
        let heads = self.times.heads.judge(number);
        match self.times.answers.judge(number) {
            Verdict::Elastic if heads <= Verdict::Unclear => {
                self.proven = self.proven.max(number);
            }
            Verdict::Elastic | Verdict::Unclear => {}
            Verdict::Suspicious => self.try_half(number),
            Verdict::Queueing => {
                let enough = self.times.answers.enough(number).unwrap_or(1.0).round();
                self.settle_at(self.number.min(enough.clamp(1.0, number)));
            }
        }
    }

    /// More than `number` have shown to be too many.
    pub(super) fn settle_at(&mut self, number: f64) {
        self.number = number;
        // What was measured before may be of another time.
        self.times = Times::default();
        self.tries.lengthened = 0;
        self.tries.is_least = self.number < 2.0;
        self.tries.decided = self.next;
        self.phase = self.tries.hold();
    }

    /// Tries half as many, since those that began as one of `number` took long.
    fn try_half(&mut self, number: f64) {
        if self.number >= 2.0 {
            let half = (self.number.min(number) / 2.0).floor();
            self.begin_try(half.max(1.0), self.times.at(number));
        }
    }

    /// Tries more or fewer once it is time.
    fn try_another(&mut self, now: Duration) {
        match self.phase {
            Phase::Holding {
                answers_left: 0,
                until,
            } if now >= until && self.has_room() => {}
            _ => return,
        }
        let is_at_ceiling = self.number >= self.ceiling;
        if !self.tries.is_least && !is_at_ceiling {
            self.try_half(self.number);
            return;
        }
        let more = if is_at_ceiling {
            self.number + 1.0 + self.tries.further
        } else {
            (self.number * 2.0).min(self.ceiling)
        };
        let more = self.at_most(more).floor();
        if more <= self.number.floor() {
            self.phase = self.tries.hold();
            return;
        }
        // One after the other: they may be refused.
        self.refusals.come_back(self.number, now);
        self.begin_try(more, self.times.at(self.number));
    }

    fn begin_try(&mut self, number: f64, before: Sample) {
        let errors = STANDARD_ERRORS * self.times.answers.scatter() / DIFFERENCE;
        // Few calls wait in line of each other for it.
        let needed = errors.powi(2).min(2.0 * number + 1.0);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a small number"
        )]
        let [answers_left, number_at_most] =
            [needed.clamp(1.0, MOST_ANSWERS).ceil(), number.ceil()].map(|number| number as u32);
        self.phase = Phase::Trying(Try {
            from: self.number,
            was_opening: matches!(self.phase, Phase::Opening),
            first: self.next,
            answers_left,
            any_left: OF_ANY_NUMBER * (answers_left + number_at_most),
            before,
            tried: Sample::default(),
        });
        self.number = number;
    }

    fn end_try(&mut self, now: Duration) {
        let at_once = Phase::Holding {
            answers_left: 0,
            until: now,
        };
        let Phase::Trying(this) = std::mem::replace(&mut self.phase, at_once) else {
            return;
        };
        let scatter = self.times.heads.scatter();
        self.times = Times::default();
        self.times.set(this.from, this.before);
        self.times.set(self.number, this.tried);
        if self.number < this.from {
            let is_better = this.before.is_queue_over(this.tried, scatter);
            self.end_with_fewer(&this, is_better);
        } else {
            let is_better = !this.tried.is_queue_over(this.before, scatter);
            self.end_with_more(&this, is_better, now);
        }
    }

    fn end_with_fewer(&mut self, this: &Try, is_better: bool) {
        self.tries.is_least = !is_better || self.number < 2.0;
        if is_better {
            self.proven = self.number;
            self.tries.lengthened = 0;
            self.phase = self.tries.hold();
            self.try_half(self.number);
            return;
        }
        self.number = this.from;
        self.phase = self.tries.hold();
        if this.was_opening {
            self.proven = self.proven.max(this.from);
            self.phase = Phase::Opening;
        }
    }

    fn end_with_more(&mut self, this: &Try, is_better: bool, now: Duration) {
        if is_better {
            self.proven = self.number;
            self.ceiling = self.ceiling.max(self.number);
            self.tries.further = 2.0 * self.tries.further + 1.0;
            self.tries.lengthened = 0;
            self.tries.is_least = true;
            self.try_another(now);
            return;
        }
        self.number = this.from;
        // The first time fewer are tried next: the number may have been too many before, too.
        self.tries.is_least = self.tries.lengthened > 0 || self.number < 2.0;
        self.tries.lengthen();
        self.tries.decided = self.next;
        self.phase = self.tries.hold();
    }
}

impl Try {
    /// Calls that began beside fewer say nothing about the tried number.
    fn least_number(&self, tried: f64) -> f64 {
        if tried > self.from {
            (self.from.floor() + 1.0).max(0.8 * tried)
        } else {
            tried / 2.0
        }
    }
}

impl Tries {
    /// Nothing was tried yet, and calls before this one have nothing to say.
    pub(super) fn from_then(ticket: Ticket) -> Self {
        Self {
            decided: ticket,
            ..Self::default()
        }
    }

    fn hold(&self) -> Phase {
        Phase::Holding {
            answers_left: BETWEEN_TRIES * 3_u32.pow(self.lengthened),
            until: Duration::ZERO,
        }
    }

    pub(super) fn hold_after_refusal(&mut self, now: Duration) -> Phase {
        self.further = 0.0;
        Phase::Holding {
            answers_left: AFTER_REFUSAL << self.lengthened,
            until: now + PAUSE_AFTER_REFUSAL * (1 << self.lengthened),
        }
    }

    /// A try that was refused brought nothing; any other refusal says that something has changed.
    pub(super) fn lengthen_after_refusal(&mut self, phase: &Phase) {
        match phase {
            Phase::Trying(_) => self.lengthen(),
            Phase::Opening | Phase::Holding { .. } => self.lengthened = 0,
        }
    }

    fn lengthen(&mut self) {
        self.further = 0.0;
        self.lengthened = (self.lengthened + 1).min(MOST_LENGTHENED);
    }
}

impl Times {
    /// The typical time until an answer began beside the fewest others, in seconds.
    pub(super) fn shortest_head(&self) -> Option<f64> {
        self.heads.shortest()
    }

    fn at(&self, number: f64) -> Sample {
        Sample {
            heads: self.heads.at(number),
            answers: self.answers.at(number),
        }
    }

    fn set(&mut self, number: f64, sample: Sample) {
        self.heads.set(number, sample.heads);
        self.answers.set(number, sample.answers);
    }
}

impl Sample {
    /// Answers took longer than beside fewer, or surely began later.
    fn is_queue_over(self, fewer: Self, scatter_of_heads: f64) -> bool {
        self.answers.is_queue_over(&fewer.answers)
            || self
                .heads
                .is_surely_queue_over(&fewer.heads, scatter_of_heads)
    }
}
