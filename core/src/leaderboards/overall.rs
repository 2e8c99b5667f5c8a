//! Across benchmarks: one order over all of them, by two methods that the answer names.
//!
//! Only the newest version of a benchmark counts, and only entries that were measured on enough of them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{CONFIDENCE, standing::family_pattern};
use crate::{
    Error, Result,
    auth::CurrentUser,
    stats::{self, EffectWeights, Measured},
};

/// What is shown: the normal distribution's half width at 95 %, by which the intervals of standings become standard errors.
const Z: f64 = 1.959_963_984_540_054;
/// The most entries that are compared with each other.
const MOST_ENTRIES: usize = 1_000;

/// What an entry is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverallBy {
    /// A prompt version on a model.
    #[default]
    Column,
    /// A prompt version, with the models averaged by the two-way model.
    Prompt,
    /// A model, with the prompts averaged by the two-way model.
    Model,
}

/// Which entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OverallFilter {
    /// What an entry is; `column` when absent.
    #[serde(default)]
    #[param(inline, required = false)]
    pub by: OverallBy,
    /// Simulated models, or real ones; when absent, the real ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Only what an administrator or a moderator measured on real models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub verified: bool,
    /// How the names of models begin, up to the end of a word: `gpt-5` or `openai:gpt-5`, upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The share of the benchmarks that an entry must have been measured on, 0 to 1; 0.5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 1)]
    pub min_coverage: Option<f64>,
}

/// An order over all benchmarks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallLeaderboard {
    /// How it came about.
    pub method: OverallMethod,
    /// True when these are simulated models.
    pub simulated: bool,
    /// The level of all intervals and comparisons.
    pub confidence: f64,
    /// `slug@number` of the benchmark versions that count, by name.
    pub benchmarks: Vec<String>,
    /// How many entries were measured on too few benchmarks, and are left out.
    pub left_out: usize,
    /// Best first, by the normalised mean.
    pub entries: Vec<OverallEntry>,
}

/// How an order over all benchmarks came about.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallMethod {
    /// What an entry is.
    pub by: OverallBy,
    /// What the normalised mean is.
    pub normalised_mean: String,
    /// What the mean win rate is.
    pub mean_win_rate: String,
    /// How ranks and intervals were found.
    pub ranks: String,
    /// Which entries count.
    pub completeness: String,
    /// The share of the benchmarks that an entry must have been measured on.
    pub min_coverage: f64,
}

/// One line of the order over all benchmarks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallEntry {
    /// One more than the number of entries that are surely better.
    pub rank_low: i32,
    /// The number of entries less those that are surely worse.
    pub rank_high: i32,
    /// Entries of one group cannot be told apart from the group's best.
    pub tie_group: i32,
    /// `slug@number` of the prompt version; absent for a model.
    pub prompt: Option<String>,
    /// `provider:name` of the model; absent for a prompt.
    pub model: Option<String>,
    /// The model's parameters; absent for a prompt.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// On how many of the benchmarks it was measured.
    pub benchmarks: usize,
    /// The mean over its benchmarks of scores that are stretched so that guessing is 0 and perfection is 1.
    pub normalised_mean: f64,
    /// Lower bound of the normalised mean's interval.
    pub normalised_low: f64,
    /// Upper bound of the normalised mean's interval.
    pub normalised_high: f64,
    /// How often it beats another entry, averaged over the benchmarks; absent where it met nobody.
    pub mean_win_rate: Option<f64>,
    /// Its score on each of the benchmarks, in their order; null where it was not measured.
    pub scores: Vec<Option<f64>>,
}

/// A standing, as far as it counts here.
struct Cell {
    benchmark_version_id: Uuid,
    benchmark: String,
    floor: f64,
    prompt_version_id: Uuid,
    prompt: String,
    model_id: Uuid,
    model: String,
    parameters: serde_json::Value,
    score: f64,
    score_low: f64,
    score_high: f64,
}

/// What an entry is called: the ids keep apart what has one name.
type EntryKey = (Option<Uuid>, Option<Uuid>);

/// Reads the order over the newest versions of all benchmarks that the viewer may find.
///
/// # Errors
/// [`Error::Invalid`] for a filter that makes no sense or lets too many entries through.
pub async fn read_overall(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    filter: &OverallFilter,
) -> Result<OverallLeaderboard> {
    let min_coverage = filter.min_coverage.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&min_coverage) {
        return Err(Error::invalid("min_coverage", "must be between 0 and 1"));
    }
    if filter.verified && filter.simulated == Some(true) {
        let message = "excludes simulated models; leave `simulated` out, or say `false`";
        return Err(Error::invalid("verified", message));
    }
    let simulated = match filter.simulated {
        Some(simulated) => simulated,
        None if filter.verified => false,
        None => only_simulated_anywhere(conn).await?,
    };
    let cells = load_cells(conn, viewer, simulated, filter).await?;
    let method = method(filter.by, min_coverage);
    tokio::task::spawn_blocking(move || order(&cells, method, simulated))
        .await
        .map_err(|_| Error::Internal("the order broke off".into()))?
}

fn method(by: OverallBy, min_coverage: f64) -> OverallMethod {
    OverallMethod {
        by,
        normalised_mean: "mean over the benchmarks of (score - floor) / (1 - floor), at least 0; \
                          the floor is what guessing scores, `source.floor` of the benchmark, or 0"
            .into(),
        mean_win_rate: "mean over the benchmarks of the share of other entries with a lower score, equal ones half".into(),
        ranks: "pairs are compared on the benchmarks of both by a z-test of the normalised mean, adjusted by \
                Benjamini and Hochberg"
            .into(),
        completeness: "entries that were measured on at least the share `min_coverage` of the benchmarks, and on two if \
                       there are as many"
            .into(),
        min_coverage,
    }
}

fn order(cells: &[Cell], method: OverallMethod, simulated: bool) -> Result<OverallLeaderboard> {
    let mut boards: BTreeMap<(&str, Uuid), Vec<&Cell>> = BTreeMap::new();
    for cell in cells {
        let board = boards.entry((&cell.benchmark, cell.benchmark_version_id));
        board.or_default().push(cell);
    }
    let measured: Vec<BTreeMap<EntryKey, (Measured, &Cell)>> = boards
        .values()
        .map(|board| entries_of(board, method.by))
        .collect();
    let mut seen: BTreeMap<EntryKey, (usize, &Cell)> = BTreeMap::new();
    for (key, (_, cell)) in measured.iter().flatten() {
        seen.entry(*key).or_insert((0, *cell)).0 += 1;
    }
    let least = least_benchmarks(boards.len(), method.min_coverage);
    let all = seen.len();
    seen.retain(|_, (count, _)| *count >= least);
    if seen.len() > MOST_ENTRIES {
        let message = format!(
            "{} entries are too many to compare; choose at most {MOST_ENTRIES} by `family`, `min_coverage` or `by`",
            seen.len()
        );
        return Err(Error::invalid("", message));
    }
    let keys: Vec<EntryKey> = seen.keys().copied().collect();
    let table: Vec<Vec<Option<Measured>>> = measured
        .iter()
        .map(|board| keys.iter().map(|key| Some(board.get(key)?.0)).collect())
        .collect();
    let floors: Vec<f64> = boards.values().map(|board| board[0].floor).collect();
    let mut entries = tabulate(&table, &floors);
    for (entry, (benchmarks, cell)) in entries.iter_mut().zip(seen.values()) {
        entry.benchmarks = *benchmarks;
        entry.prompt = (method.by != OverallBy::Model).then(|| cell.prompt.clone());
        entry.model = (method.by != OverallBy::Prompt).then(|| cell.model.clone());
        entry.parameters = (method.by != OverallBy::Prompt).then(|| cell.parameters.clone());
    }
    entries.sort_by(|a, b| {
        let names = |entry: &OverallEntry| (entry.prompt.clone(), entry.model.clone());
        let by_score = b.normalised_mean.total_cmp(&a.normalised_mean);
        by_score.then_with(|| names(a).cmp(&names(b)))
    });
    Ok(OverallLeaderboard {
        method,
        simulated,
        confidence: CONFIDENCE,
        benchmarks: boards.keys().map(|(name, _)| (*name).to_owned()).collect(),
        left_out: all - entries.len(),
        entries,
    })
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a count of benchmarks"
)]
fn least_benchmarks(benchmarks: usize, min_coverage: f64) -> usize {
    let share = (benchmarks as f64 * min_coverage - 1e-9).ceil().max(0.0) as usize;
    share.max(benchmarks.min(2))
}

/// The numbers of each entry; names are filled in later.
#[expect(clippy::cast_precision_loss, reason = "a count of benchmarks")]
fn tabulate(table: &[Vec<Option<Measured>>], floors: &[f64]) -> Vec<OverallEntry> {
    let scores: Vec<Vec<Option<f64>>> = table
        .iter()
        .map(|board| {
            board
                .iter()
                .map(|cell| cell.map(|cell| cell.score))
                .collect()
        })
        .collect();
    let stretched: Vec<Vec<Option<Measured>>> = table
        .iter()
        .zip(floors)
        .map(|(board, floor)| {
            let stretch = |cell: Measured| Measured {
                score: ((cell.score - floor) / (1.0 - floor)).max(0.0),
                error: cell.error / (1.0 - floor),
            };
            board.iter().map(|cell| cell.map(stretch)).collect()
        })
        .collect();
    let ranks = stats::ranks_across(&stretched, 1.0 - CONFIDENCE);
    let win_rates = stats::mean_win_rates(&scores);
    let means = stats::normalised_means(&scores, floors);
    let numbers = means.into_iter().zip(win_rates).zip(ranks).enumerate();
    numbers
        .map(|(at, ((mean, win_rate), rank))| {
            let own = stretched.iter().filter_map(|board| *board.get(at)?);
            let errors: Vec<f64> = own.map(|cell| cell.error.powi(2)).collect();
            let half = Z * errors.iter().sum::<f64>().sqrt() / errors.len() as f64;
            let mean = mean.unwrap_or(0.0);
            let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
            OverallEntry {
                rank_low: narrow(rank.rank_low),
                rank_high: narrow(rank.rank_high),
                tie_group: narrow(rank.tie_group),
                prompt: None,
                model: None,
                parameters: None,
                benchmarks: 0,
                normalised_mean: mean,
                normalised_low: (mean - half).max(0.0),
                normalised_high: (mean + half).min(1.0),
                mean_win_rate: win_rate,
                scores: scores.iter().map(|board| board[at]).collect(),
            }
        })
        .collect()
}

/// The entries of one board. Averaged ones are left out where the two-way model cannot compare them.
fn entries_of<'a>(board: &[&'a Cell], by: OverallBy) -> BTreeMap<EntryKey, (Measured, &'a Cell)> {
    let measured = |cell: &Cell| Measured {
        score: cell.score,
        error: (cell.score_high - cell.score_low) / (2.0 * Z),
    };
    if by == OverallBy::Column {
        return board
            .iter()
            .map(|cell| {
                (
                    (Some(cell.prompt_version_id), Some(cell.model_id)),
                    (measured(cell), *cell),
                )
            })
            .collect();
    }
    let index = |of: fn(&Cell) -> Uuid| -> Vec<Uuid> {
        let mut ids: Vec<Uuid> = board.iter().map(|cell| of(cell)).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let (prompts, models) = (
        index(|cell| cell.prompt_version_id),
        index(|cell| cell.model_id),
    );
    let at = |prompt: usize, model: usize| {
        board.iter().find(|cell| {
            cell.prompt_version_id == prompts[prompt] && cell.model_id == models[model]
        })
    };
    let present: Vec<Vec<bool>> = (0..prompts.len())
        .map(|prompt| {
            (0..models.len())
                .map(|model| at(prompt, model).is_some())
                .collect()
        })
        .collect();
    let Some(weights) = EffectWeights::of(&present) else {
        return BTreeMap::new();
    };
    let cells: Vec<&Cell> = weights
        .cells
        .iter()
        .filter_map(|(row, column)| at(*row, *column).copied())
        .collect();
    let values: Vec<f64> = cells.iter().map(|cell| cell.score).collect();
    let scores = spread(&weights, &values, by);
    // A weighted sum errs at most as much as its parts do when they all err the same way.
    let mut errors = vec![0.0; scores.len()];
    for (place, cell) in cells.iter().enumerate() {
        let mut unit = vec![0.0; cells.len()];
        unit[place] = 1.0;
        for (error, weight) in errors.iter_mut().zip(spread(&weights, &unit, by)) {
            *error += weight.abs() * measured(cell).error;
        }
    }
    let ids = if by == OverallBy::Prompt {
        &prompts
    } else {
        &models
    };
    let named = ids.iter().zip(scores.into_iter().zip(errors));
    named
        .filter_map(|(id, (score, error))| {
            let is_it = |cell: &&Cell| match by {
                OverallBy::Prompt => cell.prompt_version_id == *id,
                _ => cell.model_id == *id,
            };
            let cell = board.iter().copied().find(is_it)?;
            let key = match by {
                OverallBy::Prompt => (Some(*id), None),
                _ => (None, Some(*id)),
            };
            Some((key, (Measured { score, error }, cell)))
        })
        .collect()
}

/// What to expect of each prompt on an average model, or of each model with an average prompt.
fn spread(weights: &EffectWeights, values: &[f64], by: OverallBy) -> Vec<f64> {
    let (grand, prompts, models) = weights.apply(values);
    let effects = if by == OverallBy::Prompt {
        prompts
    } else {
        models
    };
    effects.into_iter().map(|effect| grand + effect).collect()
}

/// True when there are simulated standings and no real ones.
async fn only_simulated_anywhere(conn: &mut PgConnection) -> Result<bool> {
    let only = sqlx::query_scalar!(
        r#"-- overall::only_simulated_anywhere
        select not exists (select 1 from standings where not simulated)
               and exists (select 1 from standings) as "only!""#
    )
    .fetch_one(conn)
    .await?;
    Ok(only)
}

async fn load_cells(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    simulated: bool,
    filter: &OverallFilter,
) -> Result<Vec<Cell>> {
    let cells = sqlx::query_as!(
        Cell,
        r#"-- overall::load_cells
        select newest.id as "benchmark_version_id!", benchmarks.slug || '@' || newest.number as "benchmark!",
               newest.floor as "floor!", prompt_version_id,
               prompts.slug || '@' || prompt_versions.number as "prompt!", standings.model_id,
               providers.name || ':' || models.name as "model!", models.parameters, score, score_low, score_high
        from benchmarks
        join lateral (
            select id, number,
                   case when jsonb_typeof(source -> 'floor') = 'number'
                        then greatest(0, least(0.99, (source ->> 'floor')::float8)) else 0 end::float8 as floor
            from benchmark_versions where benchmark_id = benchmarks.id
            order by number desc limit 1) newest on true
        join standings on standings.benchmark_version_id = newest.id
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = standings.model_id
        join providers on providers.id = provider_id
        join runs on runs.id = run_id
        join users on users.id = runs.owner_id
        where simulated = $1
          and (benchmarks.visibility = 'public' or benchmarks.owner_id = $2)
          and (prompts.visibility = 'public' or prompts.owner_id = $2) and prompts.deleted_at is null
          and (not $3 or (users.role in ('admin', 'moderator') and not simulated))
          and ($4::text is null
               or lower(models.name) ~ $4 or lower(providers.name || ':' || models.name) ~ $4)"#,
        simulated,
        viewer.map(|user| user.id),
        filter.verified,
        filter.family.as_deref().map(family_pattern)
    )
    .fetch_all(conn)
    .await?;
    Ok(cells)
}
