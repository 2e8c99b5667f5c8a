//! Detects a lasting step in the scores of successive runs, after as few runs as the noise allows.

use serde::{Deserialize, Serialize};

/// No step is reported within this number of runs: the noise is not known yet.
pub const LEARNING_RUNS: usize = 5;
/// Number of step sizes to look for: the smallest one, and its doublings.
const SIZES: u32 = 5;

/// The direction of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The scores got worse.
    Down,
    /// The scores got better.
    Up,
}

/// A step in a series of runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The index of the first run after it, from 0.
    pub at: usize,
    /// The mean of the runs before it.
    pub before: f64,
    /// The mean of the runs after it.
    pub after: f64,
    /// The strength of the evidence: without a step it reaches A once in A runs or more, on average.
    pub evidence: f64,
}

/// Looks for a step of at least `smallest`; without a step, a false alarm comes on average at most once in
/// `false_alarm_runs` runs.
///
/// `runs` holds the scores of one column's items in the order of the runs. Only items with a score in every run count,
/// so that failed items do not look like a step. Call it after every run; after a step, start a new series.
///
/// The Shiryaev–Roberts statistic, the sum over all possible change times of the likelihood ratio of "changed then" to
/// "never": Shiryaev (1963), Roberts (1966); Pollak (1985), "Optimal detection of a change in distribution", Annals of
/// Statistics 13, for its near optimality. The ratios are those of the runs' means, which are normal by the number of
/// items, without their unknown level (the maximal invariant). Each ratio is therefore a martingale without an estimate
/// of the level, and so is the statistic less the number of runs; for any threshold A, the mean time to a false alarm
/// is at least A runs. The statistic is averaged over step sizes. The noise is the larger of that of the items between
/// runs and that between neighbouring runs, and at least half an item.
#[must_use]
pub fn find_step(
    runs: &[Vec<Option<f32>>],
    direction: Direction,
    smallest: f64,
    false_alarm_runs: f64,
) -> Option<Step> {
    let shared = shared_items(runs);
    if runs.len() <= LEARNING_RUNS || shared.is_empty() {
        return None;
    }
    let means: Vec<f64> = runs
        .iter()
        .map(|run| mean(shared.iter().map(|item| score(run, *item))))
        .collect();
    let variance = variance_of_means(runs, &shared, &means);
    let step = strongest(&means, variance, direction, smallest);
    let size = match direction {
        Direction::Down => step.before - step.after,
        Direction::Up => step.after - step.before,
    };
    (step.evidence >= false_alarm_runs && size >= smallest).then_some(step)
}

/// The statistic, and the most likely change time.
fn strongest(means: &[f64], variance: f64, direction: Direction, smallest: f64) -> Step {
    let whole = mean(means.iter().copied());
    let count = number(means.len());
    let mut evidence = 0.0;
    let mut loudest = (f64::NEG_INFINITY, 1);
    let mut after_sum = 0.0;
    for at in (1..means.len()).rev() {
        after_sum += means[at] - whole;
        let after = number(means.len() - at);
        // The sum of the residuals after the change time, divided by the noise variance.
        let fall = match direction {
            Direction::Down => -after_sum / variance,
            Direction::Up => after_sum / variance,
        };
        let information = after * (count - after) / count / variance;
        let ratios = (0..SIZES).map(|doubled| {
            let size = smallest * f64::from(1 << doubled);
            (size * fall - size * size * information / 2.0).exp()
        });
        evidence += ratios.sum::<f64>() / f64::from(SIZES);
        let fit = fall.max(0.0).powi(2) / information;
        if fit > loudest.0 {
            loudest = (fit, at);
        }
    }
    let at = loudest.1;
    Step {
        at,
        before: mean(means[..at].iter().copied()),
        after: mean(means[at..].iter().copied()),
        evidence,
    }
}

/// The variance of a run's mean around its level.
fn variance_of_means(runs: &[Vec<Option<f32>>], items: &[usize], means: &[f64]) -> f64 {
    let (count, size) = (number(runs.len()), number(items.len()));
    let of_items: f64 = items
        .iter()
        .map(|item| {
            let middle = mean(runs.iter().map(|run| score(run, *item)));
            let squares = runs.iter().map(|run| (score(run, *item) - middle).powi(2));
            squares.sum::<f64>() / (count - 1.0)
        })
        .sum();
    // A step affects only one of these differences.
    let of_neighbours: f64 = means
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).powi(2))
        .sum();
    (of_items / (size * size))
        .max(of_neighbours / (2.0 * (count - 1.0)))
        .max((0.5 / size).powi(2))
}

/// The items with a score in every run.
fn shared_items(runs: &[Vec<Option<f32>>]) -> Vec<usize> {
    let most = runs.iter().map(Vec::len).min().unwrap_or(0);
    (0..most)
        .filter(|item| {
            runs.iter()
                .all(|run| run[*item].is_some_and(f32::is_finite))
        })
        .collect()
}

fn score(run: &[Option<f32>], item: usize) -> f64 {
    run.get(item).copied().flatten().map_or(0.0, f64::from)
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0.0), |(sum, count), value| (sum + value, count + 1.0));
    if count > 0.0 { sum / count } else { 0.0 }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn number(count: usize) -> f64 {
    count as f64
}
