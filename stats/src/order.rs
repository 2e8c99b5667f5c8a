//! Early stopping: which columns have a decided place among the others while items are still to come.

use crate::ConfidenceSequence;

/// For each open column, whether its place among all columns is decided, that is, whether it is separated from every
/// other.
/// `open` holds the scores of the undecided columns, in one order of items, `None` where an item has no score;
/// `columns` is the number of all columns. Scores lie between 0 and 1.
///
/// Two columns are separated when a [`ConfidenceSequence`] of their differences on shared items excludes zero. Each of
/// the `columns · (columns − 1) / 2` pairs gets an equal share of the error probability (Bonferroni), and a sequence is
/// valid at all times at once (Waudby-Smith & Ramdas 2024). So this may be called after any number of items, any number
/// of times and for any reason: with the given confidence, no pair of equal columns is ever separated, and no pair is
/// put in the wrong order. This holds if the order of the items says nothing about which column is better.
///
/// Dropping settled columns (an elimination by confidence bounds, as in Even-Dar et al. 2006, JMLR 7) needs no
/// correction, since every interval holds at every time, including the last.
#[must_use]
pub fn settled<S: AsRef<[Option<f32>]>>(open: &[S], columns: usize, confidence: f64) -> Vec<bool> {
    if columns < 2 {
        return vec![false; open.len()]; // There is no other column.
    }
    let level = pair_confidence(columns, confidence);
    let mut settled = vec![true; open.len()];
    for (at, one) in open.iter().enumerate() {
        for (next, other) in open.iter().enumerate().skip(at + 1) {
            if (settled[at] || settled[next]) && !told_apart(one.as_ref(), other.as_ref(), level) {
                settled[at] = false;
                settled[next] = false;
            }
        }
    }
    settled
}

/// The confidence of each pair, so that all pairs together have the given confidence.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn pair_confidence(columns: usize, confidence: f64) -> f64 {
    let pairs = columns * (columns - 1) / 2;
    1.0 - (1.0 - confidence) / pairs as f64
}

/// Whether two columns are separated. Items that only one of them has a score for are ignored, as in every comparison.
fn told_apart(one: &[Option<f32>], other: &[Option<f32>], confidence: f64) -> bool {
    let mut sequence = ConfidenceSequence::new(-1.0, 1.0, confidence);
    one.iter().zip(other).any(|(one, other)| {
        let (Some(one), Some(other)) = (one, other) else {
            return false;
        };
        sequence.observe(f64::from(*one) - f64::from(*other));
        sequence.excludes(0.0)
    })
}
