//! Order: which columns have their place among the others, while more items are still to come.

use crate::ConfidenceSequence;

/// Says of each open column whether its place among all columns is decided: whether it is told apart from every other.
/// `open` holds the columns whose place was not decided before, item by item and in one order, nothing where an item has
/// no score; `columns` says how many there are in all. Scores lie between 0 and 1.
///
/// Two columns are told apart when a [`ConfidenceSequence`] of their differences on shared items excludes zero. Each of
/// the `columns · (columns − 1) / 2` pairs gets an equal part of what the confidence leaves (Bonferroni), and a sequence
/// is right at all times at once (Waudby-Smith & Ramdas 2024). So this may be asked after any number of items, any number
/// of times and for any reason; with the given confidence no pair of equal columns is ever told apart, and no pair is
/// put in the wrong order. It holds when the items come in an order that says nothing about which column is better.
///
/// Dropping the settled columns from what is asked (an elimination by confidence bounds, as of Even-Dar et al.
/// 2006, JMLR 7) needs no correction, since every interval holds at every time, also when nothing more comes.
#[must_use]
pub fn settled<S: AsRef<[Option<f32>]>>(open: &[S], columns: usize, confidence: f64) -> Vec<bool> {
    if columns < 2 {
        return vec![false; open.len()]; // There is nothing to be told apart from.
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

/// The confidence of each pair, so that all of them together have the one that is given.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn pair_confidence(columns: usize, confidence: f64) -> f64 {
    let pairs = columns * (columns - 1) / 2;
    1.0 - (1.0 - confidence) / pairs as f64
}

/// Items that only one of the two has a score for do not count, as in every comparison of columns.
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
