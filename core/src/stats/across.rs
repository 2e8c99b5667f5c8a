//! One number over several benchmarks whose scores do not compare.

/// How often each entry beats another, averaged over the benchmarks that it took part in; nothing where it met nobody.
///
/// The mean win rate of Liang et al. (2023), "Holistic evaluation of language models", TMLR: on each benchmark the share of the
/// other entries with a lower score, an equal score counting half. `scores[benchmark][entry]`.
/// It depends on who else took part: an entry can fall because another joined.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
pub fn mean_win_rates(scores: &[Vec<Option<f64>>]) -> Vec<Option<f64>> {
    let rate = |benchmark: &[Option<f64>], entry: usize| {
        let own = (*benchmark.get(entry)?)?;
        let others = benchmark.iter().enumerate().filter(|(at, _)| *at != entry);
        let others: Vec<f64> = others.filter_map(|(_, score)| *score).collect();
        let beaten = others.iter().filter(|score| **score < own).count();
        let worse = others.iter().filter(|score| **score > own).count();
        let points = 0.5 * (others.len() + beaten - worse) as f64;
        (!others.is_empty()).then(|| points / others.len() as f64)
    };
    means(scores, rate)
}

/// The mean of scores that are stretched so that guessing is 0 and perfection is 1; nothing where an entry has no score.
///
/// The normalisation of the Open LLM Leaderboard 2 (Fourrier et al. 2024): `(score − floor) / (1 − floor)`, below the floor 0,
/// with the floor that guessing reaches on each benchmark. `scores[benchmark][entry]`.
#[must_use]
pub fn normalised_means(scores: &[Vec<Option<f64>>], floors: &[f64]) -> Vec<Option<f64>> {
    let stretched: Vec<Vec<Option<f64>>> = scores
        .iter()
        .zip(floors)
        .map(|(benchmark, floor)| {
            let stretch = |score: f64| ((score - floor) / (1.0 - floor)).max(0.0);
            benchmark.iter().map(|score| score.map(stretch)).collect()
        })
        .collect();
    means(&stretched, |benchmark, entry| *benchmark.get(entry)?)
}

/// The mean over benchmarks of what each says about an entry.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2⁵³")]
fn means(
    scores: &[Vec<Option<f64>>],
    value: impl Fn(&[Option<f64>], usize) -> Option<f64>,
) -> Vec<Option<f64>> {
    let entries = scores.iter().map(Vec::len).max().unwrap_or(0);
    let mean = |entry| {
        let values: Vec<f64> = scores
            .iter()
            .filter_map(|benchmark| value(benchmark, entry))
            .collect();
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    (0..entries).map(mean).collect()
}
