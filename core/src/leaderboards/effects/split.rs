//! Splits a table of standings into effects, item by item. Pure.

use serde_json::Value;
use uuid::Uuid;

use super::{Effect, LeaderboardEffects};
use crate::{
    leaderboards::{CONFIDENCE, standing::Line},
    stats::{self, EffectWeights, RankEntry},
};

/// A table of standings: one row per prompt, one column per model.
struct Table {
    prompts: Vec<(Uuid, String)>,
    models: Vec<(Uuid, String, Value)>,
    /// The index of the line in each cell.
    cells: Vec<Vec<Option<usize>>>,
}

/// Splits the lines by the scores of their items; the error says why they cannot be split.
pub(super) fn split(
    empty: LeaderboardEffects,
    lines: &[Line],
    scores: &[Vec<Option<f32>>],
) -> LeaderboardEffects {
    let refuse = |reason: &str| LeaderboardEffects {
        reason: Some(reason.to_owned()),
        ..empty.clone()
    };
    if lines.is_empty() {
        return refuse("there are no standings");
    }
    let table = Table::of(lines);
    let present: Vec<Vec<bool>> = table
        .cells
        .iter()
        .map(|row| row.iter().map(Option::is_some).collect())
        .collect();
    let Some(weights) = EffectWeights::of(&present) else {
        return refuse(
            "the standings fall into parts that share no prompt and no model; measure one prompt on the models of both",
        );
    };
    let order: Vec<usize> = weights
        .cells
        .iter()
        .filter_map(|(row, column)| table.cells[*row][*column])
        .collect();
    let (rows, columns) = (table.prompts.len(), table.models.len());
    let items = scores.iter().map(Vec::len).min().unwrap_or(0);
    let (mut by_prompt, mut by_model) = (
        vec![vec![None; items]; rows],
        vec![vec![None; items]; columns],
    );
    let (mut shared, mut grand_sum) = (0, 0.0);
    let mut values = vec![0.0; order.len()];
    for item in 0..items {
        let scores_of = |line: usize| scores[line].get(item).copied().flatten();
        let complete = order.iter().zip(&mut values).all(|(line, value)| {
            scores_of(*line).is_some_and(|score| {
                *value = f64::from(score);
                true
            })
        });
        if !complete {
            continue;
        }
        let (grand, prompts, models) = weights.apply(&values);
        shared += 1;
        grand_sum += grand;
        put(&mut by_prompt, item, grand, &prompts);
        put(&mut by_model, item, grand, &models);
    }
    if shared == 0 {
        return refuse(
            "no item has a score in every standing; choose standings by `since` or `family`",
        );
    }
    let grand_mean = grand_sum / f64::from(shared);
    let means: Vec<Vec<Option<f64>>> = table
        .cells
        .iter()
        .map(|row| {
            row.iter()
                .map(|line| line.map(|line| lines[line].standing.figures.score))
                .collect()
        })
        .collect();
    let counts = |of: &dyn Fn(&(usize, usize)) -> usize, size: usize| {
        let mut counts = vec![0; size];
        weights.cells.iter().for_each(|cell| counts[of(cell)] += 1);
        counts
    };
    let prompt_names = table.prompts.iter().map(|(_, name)| (name.clone(), None));
    let model_names = table.models.iter();
    let model_names =
        model_names.map(|(_, name, parameters)| (name.clone(), Some(parameters.clone())));
    LeaderboardEffects {
        items: shared,
        grand_mean: Some(grand_mean),
        explained: stats::two_way(&means).and_then(|fitted| fitted.explained),
        prompts: effects(
            &by_prompt,
            grand_mean,
            prompt_names,
            &counts(&|cell| cell.0, rows),
        ),
        models: effects(
            &by_model,
            grand_mean,
            model_names,
            &counts(&|cell| cell.1, columns),
        ),
        ..empty
    }
}

fn put(entries: &mut [Vec<Option<f64>>], item: usize, grand: f64, effects: &[f64]) {
    for (entry, effect) in entries.iter_mut().zip(effects) {
        entry[item] = Some(grand + effect);
    }
}

fn effects(
    item_scores: &[Vec<Option<f64>>],
    grand_mean: f64,
    names: impl Iterator<Item = (String, Option<Value>)>,
    counts: &[i32],
) -> Vec<Effect> {
    let samples: Vec<Vec<f64>> = item_scores
        .iter()
        .map(|scores| scores.iter().filter_map(|score| *score).collect())
        .collect();
    let entries: Vec<RankEntry> = item_scores
        .iter()
        .zip(&samples)
        .map(|(scores, sample)| RankEntry {
            score: mean(sample),
            item_scores: scores.iter().map(|score| score.map(narrow)).collect(),
        })
        .collect();
    let ranks = stats::rank(&entries, 1.0 - CONFIDENCE);
    let mut effects: Vec<Effect> = entries
        .iter()
        .zip(&samples)
        .zip(ranks)
        .zip(names.zip(counts))
        .map(
            |(((entry, sample), rank), ((name, parameters), standings))| {
                let interval = stats::score_interval(sample, CONFIDENCE);
                let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
                Effect {
                    rank_low: narrow(rank.rank_low),
                    rank_high: narrow(rank.rank_high),
                    tie_group: narrow(rank.tie_group),
                    name,
                    parameters,
                    score: entry.score.clamp(0.0, 1.0),
                    score_low: interval.low,
                    score_high: interval.high,
                    effect: entry.score - grand_mean,
                    standings: *standings,
                }
            },
        )
        .collect();
    effects.sort_by(|a, b| {
        b.effect
            .total_cmp(&a.effect)
            .then_with(|| a.name.cmp(&b.name))
    });
    effects
}

impl Table {
    fn of(lines: &[Line]) -> Self {
        let mut table = Self {
            prompts: Vec::new(),
            models: Vec::new(),
            cells: Vec::new(),
        };
        for line in lines {
            let standing = &line.standing;
            if !table
                .prompts
                .iter()
                .any(|(id, _)| *id == line.prompt_version_id)
            {
                table
                    .prompts
                    .push((line.prompt_version_id, standing.prompt.clone()));
            }
            if !table.models.iter().any(|(id, ..)| *id == line.model_id) {
                let model = (
                    line.model_id,
                    standing.model.clone(),
                    standing.parameters.clone(),
                );
                table.models.push(model);
            }
        }
        table.cells = vec![vec![None; table.models.len()]; table.prompts.len()];
        for (at, line) in lines.iter().enumerate() {
            let row = table
                .prompts
                .iter()
                .position(|(id, _)| *id == line.prompt_version_id);
            let column = table
                .models
                .iter()
                .position(|(id, ..)| *id == line.model_id);
            if let (Some(row), Some(column)) = (row, column) {
                table.cells[row][column] = Some(at);
            }
        }
        table
    }
}

#[expect(clippy::cast_precision_loss, reason = "a count of items")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Converts to single precision, which removes the rounding errors of 0 and 1: these scores are compared by an exact
/// test.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a mean of singles fits a single"
)]
fn narrow(score: f64) -> f32 {
    ((score * 1e9).round() / 1e9) as f32
}
