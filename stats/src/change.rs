//! Change points: when a standing's score over time took a step.

use crate::quantiles;

/// Minimum length of a segment: one odd value is an outlier, not a change.
const SHORTEST: usize = 2;
/// Minimum penalty of a step, in units of a known error's square.
const LEAST_PENALTY: f64 = 8.5;

/// The positions at which the mean changes, in order; `errors` are the values' standard errors, if they are known.
///
/// Penalised least squares, each value weighted by its precision, minimised exactly by PELT: Killick, Fearnhead &
/// Eckley (2012), "Optimal detection of changepoints with a linear computational cost", JASA 107.
/// The penalty of a step is 3 · ln n, the leading term of the modified criterion of Zhang & Siegmund (2007), Biometrics
/// 63, and at least 8.5, without which short series raise more than one false alarm in twenty. Segments are at least
/// two values long. If errors are unknown, all are taken to be the robust spread of neighbouring values: their median
/// absolute difference / (0.6745 · √2).
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn change_points(values: &[f64], errors: Option<&[f64]>) -> Vec<usize> {
    let spread = neighbouring_spread(values);
    let weight = |at: usize| {
        let error = errors
            .and_then(|errors| errors.get(at))
            .map_or(spread, |error| *error);
        // If nothing ever varies, any difference is a step.
        error.max(1e-9).powi(-2)
    };
    let penalty = (3.0 * (values.len() as f64).ln()).max(LEAST_PENALTY);
    segment(values, weight, penalty)
}

/// Minimises the cost of the segments and their penalties; returns the start of each segment but the first.
fn segment(values: &[f64], weight: impl Fn(usize) -> f64, penalty: f64) -> Vec<usize> {
    let sums = Sums::of(values, weight);
    let count = values.len();
    let mut best = vec![f64::INFINITY; count + 1];
    let mut begins = vec![0; count + 1];
    best[0] = -penalty;
    let mut starts: Vec<usize> = Vec::new();
    for end in SHORTEST..=count {
        starts.push(end - SHORTEST);
        for &start in &starts {
            let cost = best[start] + sums.cost(start, end) + penalty;
            if cost < best[end] {
                (best[end], begins[end]) = (cost, start);
            }
        }
        // PELT's pruning: for no later end can these starts be optimal again.
        starts.retain(|&start| best[start] + sums.cost(start, end) <= best[end]);
    }
    let mut found = Vec::new();
    let mut at = begins[count];
    while at > 0 {
        found.push(at);
        at = begins[at];
    }
    found.reverse();
    found
}

/// Prefix sums of weights, weighted values and weighted squares.
struct Sums(Vec<[f64; 3]>);

impl Sums {
    fn of(values: &[f64], weight: impl Fn(usize) -> f64) -> Self {
        // Relative to the first value, so that squares of large numbers do not cancel.
        let origin = values.first().copied().unwrap_or_default();
        let mut sums = vec![[0.0; 3]];
        let mut sum = [0.0; 3];
        for (at, value) in values.iter().enumerate() {
            let (weight, off) = (weight(at), value - origin);
            sum = [
                sum[0] + weight,
                sum[1] + weight * off,
                sum[2] + weight * off * off,
            ];
            sums.push(sum);
        }
        Self(sums)
    }

    /// The weighted sum of squared distances of a segment's values from their mean.
    fn cost(&self, start: usize, end: usize) -> f64 {
        let [weight, sum, squares] = std::array::from_fn(|at| self.0[end][at] - self.0[start][at]);
        (squares - sum * sum / weight).max(0.0)
    }
}

fn neighbouring_spread(values: &[f64]) -> f64 {
    let steps: Vec<f64> = values
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).abs())
        .collect();
    quantiles(&steps, [0.5]).map_or(0.0, |[median]| {
        median / (0.674_489_750_196_081_7 * std::f64::consts::SQRT_2)
    })
}
