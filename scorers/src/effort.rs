//! What it takes to prepare scorers, counted in steps so that it is the same on every machine.

use std::cell::Cell;

use super::MAX_PATTERN_BYTES;

/// The sizes of compiled regular expressions that are told apart, in bytes, and the steps that an attempt to stay below
/// each takes, as measured.
pub(super) const PATTERN_SIZES: [(usize, u64); 5] = [
    (MAX_PATTERN_BYTES / 256, 2_000),
    (MAX_PATTERN_BYTES / 64, 6_000),
    (MAX_PATTERN_BYTES / 16, 18_000),
    (MAX_PATTERN_BYTES / 4, 54_000),
    (MAX_PATTERN_BYTES, 162_000),
];

/// How much work was done: a statement or an expression of a template is a step, and so are 64 bytes that one makes or
/// looks at. Ten million steps take a second or so.
#[derive(Debug)]
pub struct Effort {
    steps: Cell<u64>,
    most: u64,
}

impl Effort {
    /// Work of at most so many steps; more is counted, and it is the caller who stops.
    #[must_use]
    pub fn within(most: u64) -> Self {
        Self {
            steps: Cell::new(0),
            most,
        }
    }

    /// Whether more was done than may be.
    #[must_use]
    pub fn is_used_up(&self) -> bool {
        self.steps.get() > self.most
    }

    #[cfg(test)]
    pub(super) fn steps(&self) -> u64 {
        self.steps.get()
    }

    /// Counts steps.
    pub(super) fn add(&self, steps: u64) {
        self.steps.set(self.steps.get().saturating_add(steps));
    }

    /// Counts what a regular expression takes whatever it compiles into: repetitions side by side are looked at in pairs.
    pub(super) fn add_pattern(&self, length: usize) {
        self.add((length * length / 6) as u64);
    }
}

impl Default for Effort {
    /// Work without a bound.
    fn default() -> Self {
        Self::within(u64::MAX)
    }
}
