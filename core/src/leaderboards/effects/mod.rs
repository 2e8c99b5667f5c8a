//! Effects of prompts and of models: the score of each, averaged over the other.
//!
//! The additive model of [`crate::stats::two_way`] is fitted item by item, with the same weights for every item, so
//! that an effect has as many observations as there are items, and two effects are compared on the same items.

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

/// The standings of a benchmark version, split into the effects of prompts and of models.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct LeaderboardEffects {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// The runs behind the standings: those that everybody may read, or your own.
    pub board: BoardKind,
    /// Number of items of the version.
    pub item_count: i32,
    /// True if the models are simulated.
    pub simulated: bool,
    /// The confidence level of all intervals and comparisons.
    pub confidence: f64,
    /// The method: `two_way`.
    pub method: String,
    /// Number of items for which every standing has a score; only these are used.
    pub items: i32,
    /// The mean over all prompts and models; absent if the standings cannot be split.
    pub grand_mean: Option<f64>,
    /// The share of the variation between standings that the two effects explain; the rest is interaction between
    /// prompts and models.
    pub explained: Option<f64>,
    /// Why the standings cannot be split, if they cannot.
    pub reason: Option<String>,
    /// The prompt versions, best first, averaged over models.
    pub prompts: Vec<Effect>,
    /// The models, best first, averaged over prompts.
    pub models: Vec<Effect>,
}

/// The score of a prompt version on an average model, or of a model with an average prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Effect {
    /// One plus the number of entries that are significantly better.
    pub rank_low: i32,
    /// The number of entries minus those that are significantly worse.
    pub rank_high: i32,
    /// Entries of one group are not significantly different from the group's best.
    pub tie_group: i32,
    /// `slug@number` of the prompt version, or `provider:name` of the model.
    pub name: String,
    /// The model's parameters; absent for a prompt version.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// The expected score with an average counterpart, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// The difference from the grand mean; in a table with gaps it may exceed the range of scores.
    pub effect: f64,
    /// Number of standings that it appears in.
    pub standings: i32,
}

/// Loads the standings of a board, or a selection of them, for splitting into effects.
///
/// # Errors
/// [`Error::NotFound`] if there is no such benchmark, [`Error::Invalid`] for an invalid filter.
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

/// The item scores of the lines, in order.
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
