//! By prompt and by model: what each does, with the other averaged out.
//!
//! The additive model of [`crate::stats::two_way`] is fitted item by item, with the same weights for every item, so that
//! an effect has as many observations as there are items, and two effects are compared on the same items.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{
    BoardFilter, CONFIDENCE,
    standing::{Line, load_lines},
};
use crate::{
    Error, Result,
    auth::CurrentUser,
    benchmarks::resolve_benchmark,
    stats::{self, EffectWeights, RankEntry},
};

/// The most standings that are split; the arithmetic grows with their number and that of the items.
const MOST_CELLS: usize = 2_000;

/// A benchmark version's standings, split into what the prompt does and what the model does.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaderboardEffects {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// How many items the version has.
    pub item_count: i32,
    /// True when these are simulated models.
    pub simulated: bool,
    /// The level of all intervals and comparisons.
    pub confidence: f64,
    /// How the two are split: `two_way`.
    pub method: String,
    /// Items that every standing has a score for; only they count here.
    pub items: i32,
    /// The mean over all prompts and models; absent when the standings cannot be split.
    pub grand_mean: Option<f64>,
    /// The share of what the standings differ by that the two effects explain; the rest is how prompts and models suit
    /// each other.
    pub explained: Option<f64>,
    /// Why the standings cannot be split, if so.
    pub reason: Option<String>,
    /// The prompt versions, best first, models averaged.
    pub prompts: Vec<Effect>,
    /// The models, best first, prompts averaged.
    pub models: Vec<Effect>,
}

/// What a prompt version does on an average model, or a model with an average prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Effect {
    /// One more than the number of those that are surely better.
    pub rank_low: i32,
    /// Their number less those that are surely worse.
    pub rank_high: i32,
    /// Those of one group cannot be told apart from the group's best.
    pub tie_group: i32,
    /// `slug@number` of the prompt version, or `provider:name` of the model.
    pub name: String,
    /// The model's parameters; absent for a prompt version.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// The score to expect with the other one average. It can lie outside of 0 to 1 where the table has gaps.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// By how much it lies above the grand mean.
    pub effect: f64,
    /// How many standings it is seen in.
    pub standings: i32,
}

/// A table of standings: prompts down, models across.
struct Table {
    prompts: Vec<(Uuid, String)>,
    models: Vec<(Uuid, String, serde_json::Value)>,
    /// The index of the line that each cell holds.
    cells: Vec<Vec<Option<usize>>>,
}

/// Splits the standings of a board, or a selection of them.
///
/// # Errors
/// [`Error::NotFound`] when there is no such benchmark, [`Error::Invalid`] for a filter that makes no sense or lets too
/// many standings through.
pub async fn read_effects(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    filter: &BoardFilter,
) -> Result<LeaderboardEffects> {
    filter.check()?;
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let simulated = filter.wants_simulated(conn, version.id).await?;
    let (lines, _) = load_lines(conn, viewer, version.id, simulated, filter).await?;
    if lines.len() > MOST_CELLS {
        let message = format!(
            "{} standings are too many to split; choose at most {MOST_CELLS} by `category`, `family` or `since`",
            lines.len()
        );
        return Err(Error::invalid("", message));
    }
    let scores = load_item_scores(conn, &lines).await?;
    let empty = LeaderboardEffects {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        item_count: version.item_count,
        simulated,
        confidence: CONFIDENCE,
        method: "two_way".into(),
        items: 0,
        grand_mean: None,
        explained: None,
        reason: None,
        prompts: Vec::new(),
        models: Vec::new(),
    };
    tokio::task::spawn_blocking(move || split(empty, &lines, &scores))
        .await
        .map_err(|_| Error::Internal("the effects broke off".into()))
}

fn split(
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
        let complete = order.iter().zip(&mut values).all(|(line, value)| {
            scores[*line][item].is_some_and(|score| {
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
                .map(|line| line.map(|line| lines[line].standing.score))
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
            by_prompt,
            grand_mean,
            prompt_names,
            &counts(&|cell| cell.0, rows),
        ),
        models: effects(
            by_model,
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
    item_scores: Vec<Vec<Option<f64>>>,
    grand_mean: f64,
    names: impl Iterator<Item = (String, Option<serde_json::Value>)>,
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
                // A single item has no spread: then nothing is known but that scores lie between 0 and 1.
                let interval = if sample.len() < 2 {
                    stats::Interval {
                        low: 0.0,
                        high: 1.0,
                    }
                } else {
                    stats::mean_interval(sample, CONFIDENCE)
                };
                let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
                Effect {
                    rank_low: narrow(rank.rank_low),
                    rank_high: narrow(rank.rank_high),
                    tie_group: narrow(rank.tie_group),
                    name,
                    parameters,
                    score: entry.score,
                    score_low: interval.low,
                    score_high: interval.high,
                    effect: entry.score - grand_mean,
                    standings: *standings,
                }
            },
        )
        .collect();
    effects.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
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

/// The item scores of the lines, in their order.
async fn load_item_scores(
    conn: &mut PgConnection,
    lines: &[Line],
) -> Result<Vec<Vec<Option<f32>>>> {
    let ids: Vec<i64> = lines.iter().filter_map(|line| line.id).collect();
    let scores = sqlx::query_scalar!(
        r#"-- effects::load_item_scores
        select item_scores as "item_scores: Vec<Option<f32>>"
        from unnest($1::bigint[]) with ordinality as wanted (id, place)
        join standings on standings.id = wanted.id
        order by place"#,
        &ids
    )
    .fetch_all(conn)
    .await?;
    if scores.len() < lines.len() {
        return Err(Error::Busy);
    }
    Ok(scores)
}

#[expect(clippy::cast_precision_loss, reason = "a count of items")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// A single, in which what rounding left of 0 and 1 is 0 and 1 again: these are compared by an exact test.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a mean of singles fits a single"
)]
fn narrow(score: f64) -> f32 {
    ((score * 1e9).round() / 1e9) as f32
}
