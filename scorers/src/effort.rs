//! The cost of preparing scorers, counted in steps so that it is the same on every machine.

use std::cell::Cell;

use super::MAX_PATTERN_BYTES;

/// The size limits, in bytes, that are tried in turn when a regular expression is compiled, and the measured cost of
/// each attempt in steps.
pub(super) const PATTERN_SIZES: [(usize, u64); 5] = [
    (MAX_PATTERN_BYTES / 256, 2_000),
    (MAX_PATTERN_BYTES / 64, 6_000),
    (MAX_PATTERN_BYTES / 16, 18_000),
    (MAX_PATTERN_BYTES / 4, 54_000),
    (MAX_PATTERN_BYTES, 162_000),
];

/// A counter of work. A statement or an expression of a template is one step, and so are 64 bytes that it creates or
/// reads. Ten million steps take about a second.
#[derive(Debug)]
pub struct Effort {
    steps: Cell<u64>,
    most: u64,
}

impl Effort {
    /// Allows `most` steps. Steps beyond that are still counted; the caller checks [`Self::is_used_up`] and stops.
    #[must_use]
    pub fn within(most: u64) -> Self {
        Self {
            steps: Cell::new(0),
            most,
        }
    }

    /// Whether more steps were counted than allowed.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.steps.get() > self.most
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Adds steps.
    pub(super) fn add(&self, steps: u64) {
        self.steps.set(self.steps.get().saturating_add(steps));
    }

    /// Adds the cost of a regular expression that does not depend on its compiled size: adjacent repetitions are
    /// examined in pairs.
    pub(super) fn add_pattern(&self, length: usize) {
        self.add((length * length / 6) as u64);
    }
}

impl Default for Effort {
    /// Unlimited.
    fn default() -> Self {
        Self::within(u64::MAX)
    }
}
