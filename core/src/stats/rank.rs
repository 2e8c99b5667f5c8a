//! Ranks as ranges: what the data can and cannot tell apart.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::stats::benjamini_hochberg;
use crate::stats::paired::Shared;

/// One entry to be ranked.
#[derive(Debug, Clone, PartialEq)]
pub struct RankEntry {
    /// The score that entries are ordered by, higher is better.
    pub score: f64,
    /// The score of each item, in the same order for all entries; nothing where an item has none.
    pub item_scores: Vec<Option<f32>>,
}

/// Where an entry may stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Rank {
    /// The best rank that is possible: 1 + the number of entries surely better.
    pub rank_low: usize,
    /// The worst rank that is possible: the number of entries − those surely worse.
    pub rank_high: usize,
    /// The tie group, from 1 for the best; its members cannot be told apart from its best.
    pub tie_group: usize,
}

/// Ranks entries, in the order given.
///
/// An entry is surely better than another if it is better on the items that both have a score for
/// and the paired test ([`paired_difference`](crate::stats::paired_difference)), adjusted over all
/// pairs by [`benjamini_hochberg`], gives p below `alpha`. The range of ranks follows Mogstad,
/// Romano, Shaikh & Wilhelm (2024), "Inference for ranks", Review of Economic Studies 91.
///
/// Tie groups walk down the entries by score: an entry belongs to the current group as long as
/// the group's first, best entry is not surely better; otherwise it begins the next group.
/// "Cannot be told apart" is not transitive, so members of two neighbouring groups may also overlap;
/// the ranges say so.
#[must_use]
pub fn rank(entries: &[RankEntry], alpha: f64) -> Vec<Rank> {
    let count = entries.len();
    let mut pairs = Vec::with_capacity(count * count.saturating_sub(1) / 2);
    for (i, a) in entries.iter().enumerate() {
        for (j, b) in entries.iter().enumerate().skip(i + 1) {
            let shared = Shared::of(&a.item_scores, &b.item_scores);
            let (better, worse) = if shared.moments.mean > 0.0 {
                (i, j)
            } else {
                (j, i)
            };
            pairs.push((better, worse, shared.p_value()));
        }
    }
    let p_values: Vec<f64> = pairs.iter().map(|(.., p)| *p).collect();
    let mut surely_better = vec![false; count * count];
    let mut ranks = vec![
        Rank {
            rank_low: 1,
            rank_high: count,
            tie_group: 0
        };
        count
    ];
    for ((better, worse, _), p) in pairs.iter().zip(benjamini_hochberg(&p_values)) {
        if p < alpha {
            surely_better[better * count + worse] = true;
            ranks[*worse].rank_low += 1;
            ranks[*better].rank_high -= 1;
        }
    }
    let mut order: Vec<usize> = (0..count).collect();
    // Best first; a score that is not a number comes last.
    let key = |at: usize| {
        if entries[at].score.is_nan() {
            f64::NEG_INFINITY
        } else {
            entries[at].score
        }
    };
    order.sort_by(|&i, &j| key(j).total_cmp(&key(i)));
    let (mut group, mut best) = (0, None);
    for at in order {
        if best.is_none_or(|best: usize| surely_better[best * count + at]) {
            (group, best) = (group + 1, Some(at));
        }
        ranks[at].tie_group = group;
    }
    ranks
}
