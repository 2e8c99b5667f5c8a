//! By prompt and by model: what each does, with the other averaged out.
//!
//! The additive model of [`crate::stats::two_way`] is fitted item by item, with the same weights for every item, so that
//! an effect has as many observations as there are items, and two effects are compared on the same items.

mod split;

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use self::split::split;
use super::{
    BoardFilter, BoardKind, CONFIDENCE,
    audience::Audience,
    renew::Board,
    standing::{Line, load_lines},
};
use crate::{Error, Result, auth::CurrentUser, benchmarks::resolve_benchmark, computing::Loaded};

/// A benchmark version's standings, split into what the prompt does and what the model does.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaderboardEffects {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// Whose runs the standings are made of: those that everybody may read, or your own.
    pub board: BoardKind,
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
    /// The score to expect with the other one average, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// By how much it lies above the grand mean; where the table has gaps, more than scores can differ.
    pub effect: f64,
    /// How many standings it is seen in.
    pub standings: i32,
}

/// Loads the standings of a board, or a selection of them, that are to be split.
///
/// # Errors
/// [`Error::NotFound`] when there is no such benchmark, [`Error::Invalid`] for a filter that makes no sense.
pub async fn load_effects(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    filter: &BoardFilter,
) -> Result<Loaded<LeaderboardEffects>> {
    filter.check()?;
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let audience = Audience::choose(conn, viewer, filter.board, Some(version.id)).await?;
    let simulated = filter.wants_simulated(conn, version.id, audience).await?;
    let board = Board {
        benchmark_version_id: version.id,
        simulated,
        audience,
    };
    let (lines, _) = load_lines(conn, viewer, board, version.item_count, filter).await?;
    let scores = load_item_scores(conn, &lines).await?;
    let empty = LeaderboardEffects {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        board: audience.kind(),
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
    Ok(Loaded::new(move || Ok(split(empty, &lines, &scores))))
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
