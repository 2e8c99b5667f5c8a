//! Drift: whether later measurements of the same thing differ from the first.

use rand::{SeedableRng as _, rngs::Xoshiro256PlusPlus};

use crate::bootstrap::below;
use crate::{ConfidenceSequence, Interval};

/// The difference of a measurement from the first.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Drift {
    /// The mean difference on the shared items.
    pub difference: f64,
    /// The interval of the difference, valid over all measurements together and at any time.
    pub interval: Interval,
    /// The number of items that both have a score for.
    pub shared_items: usize,
    /// Whether the interval excludes zero.
    pub drifted: bool,
}

/// Compares measurements, in the order in which they were made, each with the score of the first on the same items.
/// Scores lie between 0 and 1. It may be called again with each new measurement; earlier results stay the same.
///
/// Each gets a [`ConfidenceSequence`] over its items at the level `1 − α / (k (k + 1))` for the `k`-th comparison.
/// These shares of α sum to α over any number of comparisons, so by the union bound a model that never changes is ever
/// reported as drifted with a probability of at most α. Items are shuffled with a fixed seed: a sequence needs values
/// with the same mean given those before, and the items of a file are often sorted by subject.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn drifts<S: AsRef<[Option<f32>]>>(pairs: &[(S, S)], confidence: f64) -> Vec<Drift> {
    let drift = |(at, (first, later)): (usize, &(S, S))| {
        let both = first.as_ref().iter().zip(later.as_ref());
        let mut differences: Vec<f64> = both
            .filter_map(|(first, later)| Some(f64::from((*later)?) - f64::from((*first)?)))
            .collect();
        shuffle(&mut differences);
        let place = at as f64 + 1.0;
        let level = 1.0 - (1.0 - confidence) / (place * (place + 1.0));
        let mut sequence = ConfidenceSequence::new(-1.0, 1.0, level);
        for value in &differences {
            sequence.observe(*value);
        }
        let items = differences.len();
        Drift {
            difference: differences.iter().sum::<f64>() / items.max(1) as f64,
            interval: sequence.interval(),
            shared_items: items,
            drifted: sequence.excludes(0.0),
        }
    };
    pairs.iter().enumerate().map(drift).collect()
}

/// Fisher and Yates, as in Durstenfeld (1964), "Algorithm 235: Random permutation", Communications of the ACM 7.
fn shuffle(values: &mut [f64]) {
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(0);
    for last in (1..values.len()).rev() {
        values.swap(last, below(&mut chance, last + 1));
    }
}
