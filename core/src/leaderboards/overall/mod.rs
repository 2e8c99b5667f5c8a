//! The ranking across all benchmarks, by two methods that the response names.
//!
//! Only the newest version of a benchmark counts, and only entries that were measured on enough benchmarks.

mod cells;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use self::cells::{Cell, EntryKey, entries_of, load_cells};
use super::{BoardKind, CONFIDENCE, audience::Audience};
use crate::{
    Error, Result,
    auth::CurrentUser,
    computing::Loaded,
    stats::{self, Measured},
};

/// The normal quantile of a 95 % interval, which converts half-widths of standings' intervals to standard errors.
const Z: f64 = 1.959_963_984_540_054;
/// Maximum number of entries that are compared with each other.
const MOST_ENTRIES: usize = 1_000;

/// The kinds of entries.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OverallBy {
    /// A prompt version on a model.
    #[default]
    Column,
    /// A prompt version, averaged over models by the two-way model.
    Prompt,
    /// A model, averaged over prompts by the two-way model.
    Model,
}

/// A selection of entries.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OverallFilter {
    /// The public boards, or those of your own runs; absent: your own if you have any results, else the public ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(inline)]
    pub board: Option<BoardKind>,
    /// The kind of entry; absent: `column`.
    #[serde(default)]
    #[param(inline, required = false)]
    pub by: OverallBy,
    /// Simulated or real models; absent: the real ones if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulated: Option<bool>,
    /// Only results that an administrator or a moderator measured on real models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[param(required = false)]
    pub verified: bool,
    /// A prefix of the names of models, up to the end of a word: `gpt-5` or `openai:gpt-5`, in upper or lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// The minimum share of benchmarks that an entry must have been measured on, 0 to 1; absent: 0.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 0, maximum = 1)]
    pub min_coverage: Option<f64>,
}

/// The ranking over all benchmarks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallLeaderboard {
    /// How it is computed.
    pub method: OverallMethod,
    /// The runs behind it: those that everybody may read, or your own.
    pub board: BoardKind,
    /// True if the models are simulated.
    pub simulated: bool,
    /// The confidence level of all intervals and comparisons.
    pub confidence: f64,
    /// `slug@number` of the benchmark versions that count, by name.
    pub benchmarks: Vec<String>,
    /// Number of entries that are left out because they were measured on too few benchmarks.
    pub left_out: usize,
    /// The entries, best normalised mean first.
    pub entries: Vec<OverallEntry>,
}

/// How the ranking over all benchmarks is computed.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallMethod {
    /// The kind of entry.
    pub by: OverallBy,
    /// The definition of the normalised mean.
    pub normalised_mean: String,
    /// The definition of the mean win rate.
    pub mean_win_rate: String,
    /// How ranks and intervals are computed.
    pub ranks: String,
    /// Which entries count.
    pub completeness: String,
    /// The minimum share of benchmarks that an entry must have been measured on.
    pub min_coverage: f64,
}

/// One line of the ranking over all benchmarks.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OverallEntry {
    /// One plus the number of entries that are significantly better.
    pub rank_low: i32,
    /// The number of entries minus those that are significantly worse.
    pub rank_high: i32,
    /// Entries of one group are not significantly different from the group's best.
    pub tie_group: i32,
    /// `slug@number` of the prompt version; absent for a model.
    pub prompt: Option<String>,
    /// `provider:name` of the model; absent for a prompt.
    pub model: Option<String>,
    /// The model's parameters; absent for a prompt.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// Number of benchmarks that it was measured on.
    pub benchmarks: usize,
    /// The mean over its benchmarks of scores rescaled so that guessing is 0 and a perfect score is 1.
    pub normalised_mean: f64,
    /// Lower bound of the normalised mean's interval.
    pub normalised_low: f64,
    /// Upper bound of the normalised mean's interval.
    pub normalised_high: f64,
    /// The share of other entries that it beats, averaged over the benchmarks; absent if there was no other entry.
    pub mean_win_rate: Option<f64>,
    /// Its score on each of the benchmarks, in order; null where it was not measured.
    pub scores: Vec<Option<f64>>,
}

/// Loads the data for the ranking over the newest versions of all benchmarks that the viewer may find.
///
/// # Errors
/// [`Error::Invalid`] for an invalid filter, or one that matches too many entries.
pub async fn load_overall(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    filter: &OverallFilter,
) -> Result<Loaded<OverallLeaderboard>> {
    let min_coverage = filter.min_coverage.unwrap_or(0.5);
    if !(0.0..=1.0).contains(&min_coverage) {
        return Err(Error::invalid("min_coverage", "must be between 0 and 1"));
    }
    if filter.verified && filter.simulated == Some(true) {
        let message = "excludes simulated models; leave `simulated` out, or say `false`";
        return Err(Error::invalid("verified", message));
    }
    let audience = Audience::choose(conn, viewer, filter.board, None).await?;
    let simulated = match filter.simulated {
        Some(simulated) => simulated,
        None if filter.verified => false,
        None => only_simulated_anywhere(conn, audience).await?,
    };
    let cells = load_cells(conn, viewer, audience, simulated, filter).await?;
    let method = method(filter.by, min_coverage);
    let board = audience.kind();
    Ok(Loaded::new(move || order(&cells, method, board, simulated)))
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

fn order(
    cells: &[Cell],
    method: OverallMethod,
    board: BoardKind,
    simulated: bool,
) -> Result<OverallLeaderboard> {
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
        board,
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

/// The numbers of each entry; names are added later.
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

/// True when there are simulated standings and no real ones.
async fn only_simulated_anywhere(conn: &mut PgConnection, audience: Audience) -> Result<bool> {
    let only = sqlx::query_scalar!(
        r#"-- overall::only_simulated_anywhere
        select coalesce(bool_and(simulated), false) as "only!"
        from standings
        where audience_id is not distinct from $1 and ($1::bigint is not null or is_public_run(run_id))"#,
        audience.id()
    )
    .fetch_one(conn)
    .await?;
    Ok(only)
}
