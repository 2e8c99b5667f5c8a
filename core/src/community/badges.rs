//! Badges for measured results. They are computed from the standings on each read, so they disappear when a better
//! prompt appears.

use serde::{Deserialize, Serialize};
use sqlx::PgConnection;
use utoipa::ToSchema;

use crate::Result;

/// Maximum number of badges shown.
const MOST_BADGES: i64 = 50;
/// Minimum number of measured prompts for a benchmark to award a ranking badge.
const FEWEST_PROMPTS: i64 = 3;

/// The kinds of badges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::Type)]
#[serde(rename_all = "snake_case")]
#[sqlx(type_name = "text", rename_all = "snake_case")]
pub enum BadgeKind {
    /// No other prompt is significantly better on the benchmark, of at least three prompts of at least two owners.
    Unbeaten,
    /// A prompt was measured with a real model on a public benchmark.
    Measured,
}

/// A badge for a measured result, on the newest version of a public benchmark, with a real model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Badge {
    /// Its kind.
    pub kind: BadgeKind,
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// Mean score, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's 95 % interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
}

/// The best badge of the user on each benchmark that a public prompt of theirs was measured on.
pub(super) async fn list_badges(conn: &mut PgConnection, user_id: i64) -> Result<Vec<Badge>> {
    let badges = sqlx::query_as!(
        Badge,
        r#"-- badges::list_badges
        select case when unbeaten then 'unbeaten' else 'measured' end as "kind!: BadgeKind",
               benchmarks.slug || '@' || benchmark_versions.number as "benchmark!",
               prompts.slug || '@' || prompt_versions.number as "prompt!",
               providers.name || ':' || models.name as "model!", score, score_low, score_high
        from (
            select distinct on (board.benchmark_version_id)
                   board.*, board.rank_low = 1 and (
                       select count(distinct rivals.id) >= $2 and count(distinct rivals.owner_id) >= 2
                       from standings others
                       join prompt_versions versions on versions.id = others.prompt_version_id
                       join prompts rivals on rivals.id = versions.prompt_id
                       where others.benchmark_version_id = board.benchmark_version_id
                         and not others.simulated and others.audience_id is null and is_public_run(others.run_id) and rivals.visibility = 'public' and rivals.deleted_at is null) as unbeaten
            from prompts mine
            join prompt_versions my_versions on my_versions.prompt_id = mine.id
            join standings board on board.prompt_version_id = my_versions.id
            where mine.owner_id = $1 and mine.visibility = 'public' and mine.deleted_at is null
              and not board.simulated and board.audience_id is null and is_public_run(board.run_id)
            order by board.benchmark_version_id, board.rank_low, board.score_low desc, board.prompt_version_id, board.model_id
        ) standing
        join benchmark_versions on benchmark_versions.id = standing.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        join prompt_versions on prompt_versions.id = standing.prompt_version_id
        join prompts on prompts.id = prompt_versions.prompt_id
        join models on models.id = standing.model_id
        join providers on providers.id = models.provider_id
        where benchmarks.visibility = 'public'
          and not exists (select 1 from benchmark_versions newer
                          where newer.benchmark_id = benchmarks.id and newer.withdrawn_at is null
                            and newer.number > benchmark_versions.number)
        order by unbeaten desc, benchmarks.slug
        limit $3"#,
        user_id,
        FEWEST_PROMPTS,
        MOST_BADGES
    )
    .fetch_all(conn)
    .await?;
    Ok(badges)
}
