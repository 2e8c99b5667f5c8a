//! Detects queueing at the provider from the times of calls, and confirms it by trials with other numbers of calls.
//!
//! Throughput at concurrency n is n ÷ latency (Little, 1961). So where calls are served concurrently, times do not
//! depend on n, and a time that grows with n indicates a queue: the idea of TCP Vegas (Brakmo and Peterson, 1995). The
//! sufficient number is throughput × time without a queue, as in BBR (Cardwell and others, 2016). Both use the minimum
//! time ever measured as the time without a queue, and Netflix' Gradient2 a long-term average; the times of language
//! models vary too much for either.
//!
//! Here times are compared by the number of calls in flight at their start (`levels`), and no conclusion is drawn from
//! times that changed while the number did not: half the number is tried. If there is a queue, calls become faster in
//! proportion; if responses have become longer, they do not. Likewise, twice the number is tried from time to time,
//! less often the more often it brought nothing.

use std::time::Duration;

use super::{
    bound::{Bound, Ticket},
    levels::{Level, Levels, Verdict},
};

/// Responses between two trials; tripled after each one that brought nothing, up to this many times.
const BETWEEN_TRIES: u32 = 16;
const MOST_LENGTHENED: u32 = 2;
/// The same after a refusal, plus a time, since each further refusal costs a call and a pause; both double.
const AFTER_REFUSAL: u32 = 100;
const PAUSE_AFTER_REFUSAL: Duration = Duration::from_secs(20);
/// Responses per trial: enough to separate its mean from that of a queue by this many standard errors, up to a maximum.
const STANDARD_ERRORS: f64 = 3.0;
const DIFFERENCE: f64 = 0.28;
const MOST_ANSWERS: f64 = 24.0;
/// After this multiple of responses, most of them to calls that started beside fewer, there is too little work for the
/// trial.
const OF_ANY_NUMBER: u32 = 4;

/// The phase of the limit.
#[derive(Debug)]
pub(super) enum Phase {
    /// Opens over time.
    Opening,
    /// Constant until the next trial.
    Holding {
        answers_left: u32,
        until: Duration,
    },
    Trying(Try),
}

/// A trial of another limit.
#[derive(Debug)]
pub(super) struct Try {
    /// The limit before.
    from: f64,
    was_opening: bool,
    first: Ticket,
    answers_left: u32,
    /// The same, including responses to calls that started beside fewer.
    any_left: u32,
    before: Sample,
    tried: Sample,
}

/// The results of earlier trials.
#[derive(Debug, Default)]
pub(super) struct Tries {
    /// How many times the interval between trials was lengthened.
    lengthened: u32,
    /// How many more calls are tried where they may be refused, minus one.
    further: f64,
    /// Whether half the limit has proved too low.
    is_least: bool,
    /// Calls before this ticket are ignored: they waited in a queue that is already known.
    decided: Ticket,
}

/// The times of calls, by the number of calls in flight at their start.
#[derive(Debug, Clone, Default)]
pub(super) struct Times {
    /// Until the response started.
    heads: Levels,
    /// Until the response was complete, normalised by its length.
    answers: Levels,
}

/// The times of one level.
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

    /// Draws conclusions from a new time of a call that started as one of `number`.
    fn weigh(&mut self, number: f64) {
        if self.chance.is_trying() {
            return;
        }
        // A late response to an early call says nothing about the limit found since.
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

    /// More than `number` calls have proved too many.
    pub(super) fn settle_at(&mut self, number: f64) {
        self.number = number;
        // Earlier measurements may be outdated.
        self.times = Times::default();
        self.tries.lengthened = 0;
        self.tries.is_least = self.number < 2.0;
        self.tries.decided = self.next;
        self.phase = self.tries.hold();
    }

    /// Tries half the number, because calls that started as one of `number` took long.
    fn try_half(&mut self, number: f64) {
        if self.number >= 2.0 {
            let half = (self.number.min(number) / 2.0).floor();
            self.begin_try(half.max(1.0), self.times.at(number));
        }
    }

    /// Tries a higher or lower limit once it is time.
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
        // Gradually, since they may be refused.
        self.refusals.come_back(self.number, now);
        self.begin_try(more, self.times.at(self.number));
    }

    fn begin_try(&mut self, number: f64, before: Sample) {
        let errors = STANDARD_ERRORS * self.times.answers.scatter() / DIFFERENCE;
        // If there are few calls, they queue for each other sooner.
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
        // After the first such trial, a lower limit is tried next: the previous one may have been too high as well.
        self.tries.is_least = self.tries.lengthened > 0 || self.number < 2.0;
        self.tries.lengthen();
        self.tries.decided = self.next;
        self.phase = self.tries.hold();
    }
}

impl Try {
    /// The number before the try.
    pub(super) fn from(&self) -> f64 {
        self.from
    }

    /// No limit was known before the try.
    pub(super) fn was_opening(&self) -> bool {
        self.was_opening
    }

    /// Calls that started beside fewer say nothing about the tried limit.
    fn least_number(&self, tried: f64) -> f64 {
        if tried > self.from {
            (self.from.floor() + 1.0).max(0.8 * tried)
        } else {
            tried / 2.0
        }
    }
}

impl Tries {
    /// The initial state, with calls before this ticket ignored.
    pub(super) fn from_then(ticket: Ticket) -> Self {
        Self {
            decided: ticket,
            ..Self::default()
        }
    }

    pub(super) fn hold(&self) -> Phase {
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

    /// A refused trial brought nothing; any other refusal shows that something has changed.
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
    /// The typical time until a response started at the lowest measured number, in seconds.
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
    /// Whether responses took longer than at the lower level, or started significantly later.
    fn is_queue_over(self, fewer: Self, scatter_of_heads: f64) -> bool {
        self.answers.is_queue_over(&fewer.answers)
            || self
                .heads
                .is_surely_queue_over(&fewer.heads, scatter_of_heads)
    }
}
