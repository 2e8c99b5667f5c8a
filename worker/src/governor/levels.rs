//! Statistics of call times at different numbers of concurrent calls, and whether they indicate queueing at the server.
//!
//! Lengths of responses differ by a factor of ten, so a single slow call is never conclusive. Logarithms are averaged:
//! the geometric mean suits times that scatter by factors, and no single response moves it much.

use std::time::Duration;

/// Added to every time, in seconds: shorter queues do not matter, and connection setup is not a queue.
const NEGLIGIBLE: f64 = 0.02;
/// The scatter of logarithms assumed before any measurement, and its weight in calls.
const ASSUMED_SCATTER: f64 = 0.4;
const ASSUMED_WEIGHT: f64 = 2.0;
/// A mean covers approximately this many latest calls.
const LONGEST_MEMORY: f64 = 64.0;
/// Queueing is assumed if times grow with at least this power of the number: then doubling the number increases
/// throughput by less than a third.
const QUEUE_POWER: f64 = 0.6;
/// Levels whose numbers differ by less, as a logarithm, are not compared: a factor of 1.5 is 0.41.
const FAR_ENOUGH: f64 = 0.4;
/// Standard errors at which a growth of times is significant, and at which it justifies a trial if few calls are in
/// flight.
const SURE: f64 = 3.0;
const WORTH_A_TRY: f64 = 1.3;
const FEW: f64 = 4.0;

/// Mean times of calls that started at about the same number.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Level {
    weight: f64,
    log_number: f64,
    log_time: f64,
    variance: f64,
}

impl Level {
    /// Adds a call that started as one of `number` and took this many seconds (or seconds per token).
    pub(super) fn add(&mut self, number: f64, time: f64) {
        self.weight = (self.weight + 1.0).min(LONGEST_MEMORY);
        let part = 1.0 / self.weight;
        let difference = time.ln() - self.log_time;
        self.log_number += (number.ln() - self.log_number) * part;
        self.log_time += difference * part;
        self.variance = (1.0 - part) * (self.variance + part * difference * difference);
    }

    fn has_any(&self) -> bool {
        self.weight > 0.0
    }

    /// The growth of times over the lower level, and the growth if all of it were queueing; both as logarithms.
    fn growth_over(&self, lower: &Self) -> (f64, f64) {
        (
            self.log_time - lower.log_time,
            self.log_number - lower.log_number,
        )
    }

    /// Whether more calls than at the lower level only make each call slower. False if either level has no
    /// measurements.
    pub(super) fn is_queue_over(&self, lower: &Self) -> bool {
        let (growth, whole) = self.growth_over(lower);
        self.has_any() && lower.has_any() && whole > FAR_ENOUGH && growth > QUEUE_POWER * whole
    }

    /// The same, with statistical significance.
    pub(super) fn is_surely_queue_over(&self, lower: &Self, scatter: f64) -> bool {
        self.is_queue_over(lower) && self.growth_over(lower).0 > SURE * self.error(lower, scatter)
    }

    /// The standard error of the difference of two levels.
    fn error(&self, lower: &Self, scatter: f64) -> f64 {
        scatter * (1.0 / self.weight + 1.0 / lower.weight).sqrt()
    }
}

/// The assessment of the highest number that was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// As far as known, more concurrent calls are answered in the same time.
    Elastic,
    /// More concurrent calls may only be slower.
    Unclear,
    /// Queueing is more likely than not, and justifies a trial with fewer calls.
    Suspicious,
    /// More concurrent calls are only slower.
    Queueing,
}

/// Times by the number of calls in flight at the start, in powers of two.
#[derive(Debug, Clone, Default)]
pub(super) struct Levels {
    levels: [Level; 16],
}

impl Levels {
    /// Adds a call that started as one of `number`.
    pub(super) fn add(&mut self, number: f64, seconds: f64) {
        self.levels[index(number)].add(number, seconds);
    }

    /// Replaces the measurements at this number.
    pub(super) fn set(&mut self, number: f64, level: Level) {
        self.levels[index(number)] = level;
    }

    pub(super) fn at(&self, number: f64) -> Level {
        self.levels[index(number)]
    }

    /// The number of calls with the same throughput as `number` but without a queue (Little's law: throughput at that
    /// number times the time of a call without queueing).
    pub(super) fn enough(&self, number: f64) -> Option<f64> {
        let top = index(number);
        let highest = self.levels[top];
        let mut lower = self.levels[..top].iter().filter(|level| level.has_any());
        let lowest = lower.next()?;
        let (mut weight, mut sum) = (lowest.weight, lowest.weight * lowest.log_time);
        for level in lower.filter(|level| !level.is_queue_over(lowest)) {
            weight += level.weight;
            sum += level.weight * level.log_time;
        }
        Some((highest.log_number - highest.log_time + sum / weight).exp())
    }

    /// The typical time at the lowest measured number, in seconds.
    pub(super) fn shortest(&self) -> Option<f64> {
        let lowest = self.levels.iter().find(|level| level.has_any())?;
        Some(lowest.log_time.exp())
    }

    /// The scatter of single times within a level, as a standard deviation of logarithms.
    pub(super) fn scatter(&self) -> f64 {
        let weight: f64 = self.levels.iter().map(|level| level.weight).sum();
        let squares: f64 = self
            .levels
            .iter()
            .map(|level| level.weight * level.variance)
            .sum();
        let assumed = ASSUMED_WEIGHT * ASSUMED_SCATTER * ASSUMED_SCATTER;
        ((assumed + squares) / (ASSUMED_WEIGHT + weight)).sqrt()
    }

    /// Compares the level of `number` with every lower one.
    pub(super) fn judge(&self, number: f64) -> Verdict {
        let top = index(number);
        let highest = self.levels[top];
        if !highest.has_any() {
            return Verdict::Elastic;
        }
        let scatter = self.scatter();
        let lower = self.levels[..top].iter().filter(|level| level.has_any());
        lower
            .map(|level| {
                let (growth, _) = highest.growth_over(level);
                if !highest.is_queue_over(level) {
                    return Verdict::Elastic;
                }
                match growth / highest.error(level, scatter) {
                    sure if sure > SURE => Verdict::Queueing,
                    sure if sure > WORTH_A_TRY && number < FEW => Verdict::Suspicious,
                    _ => Verdict::Unclear,
                }
            })
            .max()
            .unwrap_or(Verdict::Elastic)
    }
}

/// Converts a time for comparisons, in seconds.
pub(super) fn felt(time: Duration) -> f64 {
    time.as_secs_f64() + NEGLIGIBLE
}

fn index(number: f64) -> usize {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the logarithm of a number of calls is small"
    )]
    let index = number.max(1.0).log2() as usize;
    index.min(15)
}
