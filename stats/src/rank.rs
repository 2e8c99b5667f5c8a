//! Ranks as ranges: which ranks the data allow.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::paired::Shared;

/// One entry to be ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct RankEntry {
    /// The score that entries are ordered by, higher is better.
    pub score: f64,
    /// The score of each item, in the same order for all entries; `None` where an item has none.
    pub item_scores: Vec<Option<f32>>,
}

/// The possible ranks of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rank {
    /// The best possible rank: 1 + the number of entries that are significantly better.
    pub rank_low: usize,
    /// The worst possible rank: the number of entries − those that are significantly worse.
    pub rank_high: usize,
    /// The tie group, from 1 for the best; its members do not differ significantly from its best.
    pub tie_group: usize,
}

/// Which entries are significantly better than which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdicts {
    count: usize,
    surely_better: Vec<bool>,
}

impl Verdicts {
    /// Whether the first entry is significantly better than the second.
    #[must_use]
    pub fn says(&self, better: usize, worse: usize) -> bool {
        self.surely_better[better * self.count + worse]
    }
}

/// A pair whose difference may be significant.
struct Pair {
    p: f64,
    better: u32,
    worse: u32,
}

/// Compares every entry with every other one, except pairs in which both are before `newcomers`.
///
/// An entry is significantly better than another if it is better on the items that both have a score for and the paired
/// test ([`paired_difference`](crate::paired_difference)), adjusted over all compared pairs by
/// [`benjamini_hochberg`](crate::benjamini_hochberg), gives p below `alpha`.
///
/// The time grows with the pairs and the items; the memory, 16 bytes per pair, with the pairs whose p is below `alpha`
/// before the adjustment.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn verdicts(entries: &[RankEntry], newcomers: usize, alpha: f64) -> Verdicts {
    let count = entries.len();
    let (mut compared, mut pairs) = (0_usize, Vec::new());
    for (i, a) in (0_u32..).zip(entries) {
        let others = (0_u32..).zip(entries);
        for (j, b) in others.skip(newcomers.max(i as usize + 1)) {
            compared += 1;
            let shared = Shared::of(&a.item_scores, &b.item_scores);
            let p = shared.p_value();
            // The adjustment only ever raises p.
            if p < alpha {
                let a_is_better = shared.moments.mean > 0.0;
                let (better, worse) = if a_is_better { (i, j) } else { (j, i) };
                pairs.push(Pair { p, better, worse });
            }
        }
    }
    pairs.sort_unstable_by(|a, b| a.p.total_cmp(&b.p));
    // The adjusted p of a pair is the minimum of its own and of all that follow, so the pairs up to the last one below
    // alpha are significant.
    let below = (1_usize..)
        .zip(&pairs)
        .filter(|(rank, pair)| pair.p * compared as f64 / (*rank as f64) < alpha);
    let sure = below.last().map_or(0, |(rank, _)| rank);
    let mut surely_better = vec![false; count * count];
    for Pair { better, worse, .. } in &pairs[..sure] {
        surely_better[*better as usize * count + *worse as usize] = true;
    }
    Verdicts {
        count,
        surely_better,
    }
}

/// Ranks entries, in the order given, by their [`verdicts`] and [`place`].
#[must_use]
pub fn rank(entries: &[RankEntry], alpha: f64) -> Vec<Rank> {
    let verdicts = verdicts(entries, 0, alpha);
    let scores: Vec<f64> = entries.iter().map(|entry| entry.score).collect();
    place(&scores, |better, worse| verdicts.says(better, worse))
}

/// Gives entries their ranges of ranks and their tie groups, in the order given, from the verdict on each pair.
///
/// The range of ranks follows Mogstad, Romano, Shaikh & Wilhelm (2024), "Inference for ranks", Review of Economic
/// Studies 91. It may be called for any selection of the compared entries.
///
/// Tie groups go down the entries by score: an entry belongs to the current group as long as the group's first, best
/// entry is not significantly better; otherwise it starts the next group.
/// "Not significantly different" is not transitive, so members of two neighbouring groups may also overlap; the ranges
/// show it.
#[must_use]
pub fn place(scores: &[f64], surely_better: impl Fn(usize, usize) -> bool) -> Vec<Rank> {
    let count = scores.len();
    let rank_of = |at| Rank {
        rank_low: 1 + (0..count).filter(|other| surely_better(*other, at)).count(),
        rank_high: count - (0..count).filter(|other| surely_better(at, *other)).count(),
        tie_group: 0,
    };
    let mut ranks: Vec<Rank> = (0..count).map(rank_of).collect();
    let mut order: Vec<usize> = (0..count).collect();
    // Best first; NaN scores come last.
    let key = |at: usize| {
        if scores[at].is_nan() {
            f64::NEG_INFINITY
        } else {
            scores[at]
        }
    };
    order.sort_by(|&i, &j| key(j).total_cmp(&key(i)));
    let (mut group, mut best) = (0, None);
    for at in order {
        if best.is_none_or(|best: usize| surely_better(best, at)) {
            (group, best) = (group + 1, Some(at));
        }
        ranks[at].tie_group = group;
    }
    ranks
}
