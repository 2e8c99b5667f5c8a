//! The Pareto frontier: entries that no other entry beats on quality, cost and latency at once.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Interval;

/// A number with its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Estimate {
    /// The number.
    pub value: f64,
    /// Its interval; one point if the number is known exactly.
    pub interval: Interval,
}

/// The coordinates of an entry; an unknown one can neither win nor lose.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offer {
    /// Higher is better.
    pub quality: Estimate,
    /// Lower is better.
    pub cost: Option<Estimate>,
    /// Lower is better.
    pub latency: Option<Estimate>,
}

/// The place of an entry relative to the frontier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrontierPlace {
    /// By the estimates, no other entry is at least as good on everything and better on something.
    On,
    /// Another entry is, but not certainly.
    Perhaps,
    /// Another entry certainly is: the intervals do not even touch.
    Off,
}

/// The place of each entry relative to the frontier, in the order given.
///
/// Pareto dominance as in Kung, Luccio & Preparata (1975), "On finding the maxima of a set of vectors", Journal of the
/// ACM 22; `Off` requires that even the worst ends of the better entry's intervals dominate the best ends of the
/// other's.
#[must_use]
pub fn frontier(offers: &[Offer]) -> Vec<FrontierPlace> {
    let beaten = |own: &Offer, view: fn(&Estimate, bool) -> f64| {
        offers.iter().any(|other| dominates(other, own, view))
    };
    let place = |own: &Offer| {
        if beaten(own, |estimate, better| {
            // The better entry at its worst, the other at its best; costs and latencies are negated in `axes`.
            if better {
                estimate.interval.low
            } else {
                estimate.interval.high
            }
        }) {
            FrontierPlace::Off
        } else if beaten(own, |estimate, _| estimate.value) {
            FrontierPlace::Perhaps
        } else {
            FrontierPlace::On
        }
    };
    offers.iter().map(place).collect()
}

/// Whether `a` is at least as good on every axis and better on one; both must have the same known axes.
fn dominates(a: &Offer, b: &Offer, view: fn(&Estimate, bool) -> f64) -> bool {
    let mut better = false;
    for (a, b) in a.axes().iter().zip(b.axes()) {
        let (Some(a), Some(b)) = (a, b) else {
            if a.is_some() || b.is_some() {
                return false;
            }
            continue;
        };
        let (a, b) = (view(a, true), view(&b, false));
        if a < b {
            return false;
        }
        better |= a > b;
    }
    better
}

impl Offer {
    /// The axes, negated where necessary so that higher is better.
    fn axes(&self) -> [Option<Estimate>; 3] {
        let turned = |estimate: Estimate| Estimate {
            value: -estimate.value,
            interval: Interval {
                low: -estimate.interval.high,
                high: -estimate.interval.low,
            },
        };
        [
            Some(self.quality),
            self.cost.map(turned),
            self.latency.map(turned),
        ]
    }
}
