//! Ranks within a selection of a board, from the comparisons made when the board was ranked. Pure, but quadratic in the
//! number of lines, so it must not run on a thread that serves other requests.

use std::collections::{HashMap, HashSet};

use super::{Figures, standing::Line};
use crate::stats::{self, Estimate, Interval, Offer, Rank};

/// Ranks the lines of a selection, from the comparisons made when the board was ranked.
pub(super) fn place_finals(lines: &mut [Line]) {
    let index: HashMap<i64, usize> = lines
        .iter()
        .enumerate()
        .filter_map(|(at, line)| Some((line.id?, at)))
        .collect();
    let count = lines.len();
    let mut better = vec![false; count * count];
    for (worse, line) in lines.iter().enumerate() {
        for id in &line.worse_than {
            if let Some(at) = index.get(id) {
                better[at * count + worse] = true;
            }
        }
    }
    let scores: Vec<f64> = lines
        .iter()
        .map(|line| line.standing.figures.score)
        .collect();
    let ranks = stats::place(&scores, |i, j| better[i * count + j]);
    let offers: Vec<Offer> = lines
        .iter()
        .map(|line| offer(&line.standing.figures))
        .collect();
    let places = stats::frontier(&offers);
    for ((line, rank), place) in lines.iter_mut().zip(ranks).zip(places) {
        line.standing.set_rank(rank);
        line.standing.frontier = place;
    }
}

/// Gives each provisional line the rank that it would have among the standings.
pub(super) fn place_provisional(finals: &[Line], lines: &mut [Line]) {
    let offers = finals
        .iter()
        .chain(&*lines)
        .map(|line| offer(&line.standing.figures));
    let places = stats::frontier(&offers.collect::<Vec<_>>());
    for (line, place) in lines.iter_mut().zip(&places[finals.len()..]) {
        let column = (line.prompt_version_id, line.model_id);
        let others = finals
            .iter()
            .filter(|other| (other.prompt_version_id, other.model_id) != column);
        let worse_than: HashSet<i64> = line.worse_than.iter().copied().collect();
        let better_than: HashSet<i64> = line.better_than.iter().copied().collect();
        let (mut better, mut worse, mut count) = (0, 0, 1);
        let mut groups = 1;
        for other in others {
            count += 1;
            let Some(id) = other.id else { continue };
            if worse_than.contains(&id) {
                better += 1;
                groups = groups.max(other.standing.tie_group + 1);
            }
            worse += usize::from(better_than.contains(&id));
        }
        line.standing.set_rank(Rank {
            rank_low: better + 1,
            rank_high: count - worse,
            tie_group: usize::try_from(groups).unwrap_or(1),
        });
        line.standing.frontier = *place;
    }
}

/// The score, cost and latency of a column, for the Pareto frontier.
#[expect(clippy::cast_precision_loss, reason = "money is far below 2⁵³")]
fn offer(figures: &Figures) -> Offer {
    let estimate = |value: f64, low: Option<f64>, high: Option<f64>| Estimate {
        value,
        interval: Interval {
            low: low.unwrap_or(0.0),
            high: high.unwrap_or(f64::INFINITY),
        },
    };
    Offer {
        quality: estimate(
            figures.score,
            Some(figures.score_low),
            Some(figures.score_high),
        ),
        cost: figures.cost_per_1000_microusd.map(|cost| {
            estimate(
                cost as f64,
                figures.cost_per_1000_low_microusd.map(|low| low as f64),
                figures.cost_per_1000_high_microusd.map(|high| high as f64),
            )
        }),
        latency: figures.latency_p50_ms.map(|latency| {
            estimate(
                latency,
                figures.latency_p50_low_ms,
                figures.latency_p50_high_ms,
            )
        }),
    }
}
