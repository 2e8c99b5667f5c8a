//! Confidence sequences: intervals that stay valid when checked after every result, for early stopping and drift
//! alarms.

use serde::{Deserialize, Serialize};

use crate::Interval;

/// Maximum bet: the method needs bets below 1, and its authors recommend a half.
const LARGEST_BET: f64 = 0.5;

/// An interval of the mean that is valid at all times at once, however often it is checked and whenever checking stops.
///
/// The empirical-Bernstein sequence with predictable bets of Waudby-Smith & Ramdas (2024), "Estimating means of bounded
/// random variables by betting", JRSS B 86, theorem 2 with equations 14 and 15, and the running intersection. The
/// values must lie between two known bounds, and each must have the same mean given those before.
/// For paired differences the bounds are −1 and 1; an interval that excludes zero is the alarm.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ConfidenceSequence {
    low: f64,
    high: f64,
    alpha: f64,
    count: f64,
    /// Sum of the values, scaled to 0 to 1; starts at ½.
    sum: f64,
    /// Sum of their squared distances from the mean at that time; starts at ¼.
    squares: f64,
    bets: f64,
    weighted: f64,
    spread: f64,
    /// The best bounds so far, scaled to 0 to 1.
    best_low: f64,
    best_high: f64,
}

impl ConfidenceSequence {
    /// An empty sequence for values between the bounds, at a confidence such as 0.95.
    #[must_use]
    pub fn new(low: f64, high: f64, confidence: f64) -> Self {
        Self {
            low,
            high,
            alpha: 1.0 - confidence,
            count: 0.0,
            sum: 0.5,
            squares: 0.25,
            bets: 0.0,
            weighted: 0.0,
            spread: 0.0,
            best_low: 0.0,
            best_high: 1.0,
        }
    }

    /// Adds the next value; values outside the bounds are clamped.
    pub fn observe(&mut self, value: f64) {
        if !value.is_finite() {
            return;
        }
        let x = ((value - self.low) / (self.high - self.low)).clamp(0.0, 1.0);
        // The bet and the guess must not depend on the new value.
        let (guess, variance) = (
            self.sum / (self.count + 1.0),
            self.squares / (self.count + 1.0),
        );
        self.count += 1.0;
        let evidence = 2.0 * (2.0 / self.alpha).ln();
        let bet = (evidence / (variance * self.count * (1.0 + self.count).ln()))
            .sqrt()
            .min(LARGEST_BET);
        self.bets += bet;
        self.weighted += bet * x;
        // v · ψ with v = 4 (x − guess)² and ψ = (−ln(1 − bet) − bet) / 4
        self.spread += (x - guess).powi(2) * (-(-bet).ln_1p() - bet);
        self.sum += x;
        self.squares += (x - self.sum / (self.count + 1.0)).powi(2);
        let centre = self.weighted / self.bets;
        let half = ((2.0 / self.alpha).ln() + self.spread) / self.bets;
        self.best_low = self.best_low.max(centre - half);
        self.best_high = self.best_high.min(centre + half);
    }

    /// The interval of the mean, given all values so far.
    ///
    /// If the bounds ever cross, which means that the mean has changed, the interval lies between the crossed bounds.
    #[must_use]
    pub fn interval(&self) -> Interval {
        let unscaled = |share: f64| self.low + share * (self.high - self.low);
        let (low, high) = (self.best_low, self.best_high);
        let (low, high) = (low.min(high), low.max(high));
        Interval {
            low: unscaled(low),
            high: unscaled(high),
        }
    }

    /// Whether a mean of this value is ruled out.
    #[must_use]
    pub fn excludes(&self, value: f64) -> bool {
        let share = (value - self.low) / (self.high - self.low);
        share < self.best_low || share > self.best_high
    }
}
