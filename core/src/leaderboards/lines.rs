//! Reading the standings of a board, final and provisional ones.

use chrono::{DateTime, Utc};
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{BoardFilter, Standing};
use crate::{FieldError, Result, auth::CurrentUser, stats::FrontierPlace};

/// A standing with what its rank is read off.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// Nothing for a provisional one.
    pub(super) id: Option<i64>,
    pub(super) prompt_version_id: Uuid,
    pub(super) model_id: Uuid,
    /// Ids of the standings that are surely better.
    pub(super) worse_than: Vec<i64>,
    /// Ids of the standings that are surely worse; of a provisional one only.
    pub(super) better_than: Vec<i64>,
    pub(super) standing: Standing,
}

/// The final and the provisional standings of a board that the filter lets through, best first. Those of prompts that the
/// viewer may not find are left out.
pub(super) async fn load_lines(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark_version_id: Uuid,
    simulated: bool,
    filter: &BoardFilter,
) -> Result<(Vec<Line>, Vec<Line>)> {
    let rows = sqlx::query_as!(
        Row,
        r#"-- lines::load_lines
        with recursive wanted_categories as (
            select slug from categories where slug = $6
            union
            select categories.slug from categories join wanted_categories on categories.parent = wanted_categories.slug
        ), lines as (
            select id, benchmark_version_id, prompt_version_id, model_id, run_id, simulated, items, evaluations, errors,
                   score, score_low, score_high, pass_rate, interval_method, worse_than, '{}'::bigint[] as better_than,
                   runs, trend, trend_low, trend_high,
                   cost_per_1000_microusd, cost_per_1000_low_microusd, cost_per_1000_high_microusd,
                   cost_per_pass_microusd, cost_per_pass_low_microusd, cost_per_pass_high_microusd,
                   latency_p50_ms, latency_p50_low_ms, latency_p50_high_ms,
                   latency_p95_ms, latency_p95_low_ms, latency_p95_high_ms,
                   first_token_p50_ms, output_tokens_per_second, updated_at
            from standings
            where benchmark_version_id = $1 and simulated = $2
            union all
            select null, benchmark_version_id, prompt_version_id, model_id, run_id, simulated, items, evaluations, errors,
                   score, score_low, score_high, pass_rate, interval_method, worse_than, better_than,
                   0, null, null, null,
                   cost_per_1000_microusd, cost_per_1000_low_microusd, cost_per_1000_high_microusd,
                   cost_per_pass_microusd, cost_per_pass_low_microusd, cost_per_pass_high_microusd,
                   latency_p50_ms, latency_p50_low_ms, latency_p50_high_ms,
                   latency_p95_ms, latency_p95_low_ms, latency_p95_high_ms,
                   first_token_p50_ms, output_tokens_per_second, updated_at
            from provisional_standings
            where benchmark_version_id = $1 and simulated = $2
        )
        select lines.id, prompt_version_id as "prompt_version_id!", lines.model_id as "model_id!",
               worse_than as "worse_than!", better_than as "better_than!",
               prompts.slug || '@' || prompt_versions.number as "prompt!",
               providers.name || ':' || models.name as "model!", models.parameters,
               simulated as "simulated!", users.role in ('admin', 'moderator') and not simulated as "verified!",
               score as "score!", score_low as "score_low!", score_high as "score_high!",
               interval_method as "interval_method!", pass_rate, items as "items!", evaluations as "evaluations!",
               lines.errors as "errors!", lines.runs as "runs!", trend, trend_low, trend_high,
               cost_per_1000_microusd, cost_per_1000_low_microusd, cost_per_1000_high_microusd,
               cost_per_pass_microusd, cost_per_pass_low_microusd, cost_per_pass_high_microusd,
               latency_p50_ms, latency_p50_low_ms, latency_p50_high_ms,
               latency_p95_ms, latency_p95_low_ms, latency_p95_high_ms,
               first_token_p50_ms, output_tokens_per_second, run_id as "run_id!", lines.updated_at as "updated_at!"
        from lines
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = model_id
        join providers on providers.id = provider_id
        join runs on runs.id = run_id
        join users on users.id = runs.owner_id
        where (prompts.visibility = 'public' or prompts.owner_id = $3 or $4) and prompts.deleted_at is null
          and (lines.id is not null or runs.finished_at is null)
          and ($6::text is null or prompts.category in (select slug from wanted_categories))
          and ($7::text is null
               or lower(models.name) ~ $7 or lower(providers.name || ':' || models.name) ~ $7)
          and ($8::bigint is null or cost_per_1000_microusd <= $8)
          and ($9::float8 is null or latency_p95_ms <= $9)
          and ($10::timestamptz is null or lines.updated_at >= $10)
          and (not $5 or (users.role in ('admin', 'moderator') and not simulated))
        order by score desc, 6, 7, lines.model_id, run_id"#,
        benchmark_version_id,
        simulated,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin),
        filter.verified,
        filter.category,
        filter.family.as_deref().map(family_pattern),
        filter.max_cost_per_1000_microusd,
        filter.max_latency_p95_ms,
        filter.since
    )
    .fetch_all(conn)
    .await?;
    let lines = rows.into_iter().map(Line::from);
    Ok(lines.partition(|line| line.id.is_some()))
}

/// A row of the query below.
struct Row {
    id: Option<i64>,
    prompt_version_id: Uuid,
    model_id: Uuid,
    worse_than: Vec<i64>,
    better_than: Vec<i64>,
    prompt: String,
    model: String,
    parameters: Value,
    simulated: bool,
    verified: bool,
    score: f64,
    score_low: f64,
    score_high: f64,
    interval_method: String,
    pass_rate: Option<f64>,
    items: i32,
    evaluations: i64,
    errors: i64,
    runs: i32,
    trend: Option<f64>,
    trend_low: Option<f64>,
    trend_high: Option<f64>,
    cost_per_1000_microusd: Option<i64>,
    cost_per_1000_low_microusd: Option<i64>,
    cost_per_1000_high_microusd: Option<i64>,
    cost_per_pass_microusd: Option<f64>,
    cost_per_pass_low_microusd: Option<f64>,
    cost_per_pass_high_microusd: Option<f64>,
    latency_p50_ms: Option<f64>,
    latency_p50_low_ms: Option<f64>,
    latency_p50_high_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    latency_p95_low_ms: Option<f64>,
    latency_p95_high_ms: Option<f64>,
    first_token_p50_ms: Option<f64>,
    output_tokens_per_second: Option<f64>,
    run_id: Uuid,
    updated_at: DateTime<Utc>,
}

impl From<Row> for Line {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            prompt_version_id: row.prompt_version_id,
            model_id: row.model_id,
            worse_than: row.worse_than,
            better_than: row.better_than,
            standing: Standing {
                rank_low: 0,
                rank_high: 0,
                tie_group: 0,
                frontier: FrontierPlace::On,
                prompt: row.prompt,
                model: row.model,
                parameters: row.parameters,
                simulated: row.simulated,
                verified: row.verified,
                score: row.score,
                score_low: row.score_low,
                score_high: row.score_high,
                interval_method: row.interval_method,
                pass_rate: row.pass_rate,
                items: row.items,
                evaluations: row.evaluations,
                errors: row.errors,
                runs: row.runs,
                trend: row.trend,
                trend_low: row.trend_low,
                trend_high: row.trend_high,
                cost_per_1000_microusd: row.cost_per_1000_microusd,
                cost_per_1000_low_microusd: row.cost_per_1000_low_microusd,
                cost_per_1000_high_microusd: row.cost_per_1000_high_microusd,
                cost_per_pass_microusd: row.cost_per_pass_microusd,
                cost_per_pass_low_microusd: row.cost_per_pass_low_microusd,
                cost_per_pass_high_microusd: row.cost_per_pass_high_microusd,
                latency_p50_ms: row.latency_p50_ms,
                latency_p50_low_ms: row.latency_p50_low_ms,
                latency_p50_high_ms: row.latency_p50_high_ms,
                latency_p95_ms: row.latency_p95_ms,
                latency_p95_low_ms: row.latency_p95_low_ms,
                latency_p95_high_ms: row.latency_p95_high_ms,
                first_token_p50_ms: row.first_token_p50_ms,
                output_tokens_per_second: row.output_tokens_per_second,
                run_id: row.run_id,
                updated_at: row.updated_at,
            },
        }
    }
}

/// What is wrong with a family that no model can have.
pub(super) fn check_family(family: Option<&str>) -> Option<FieldError> {
    let family = family?.trim();
    let message = "must be the beginning of a model's name, 1 to 200 characters";
    (family.is_empty() || family.chars().count() > 200).then(|| FieldError::new("family", message))
}

/// A pattern for names that begin with a family: `gpt-5` begins `gpt-5-mini` and not `gpt-55`.
pub(super) fn family_pattern(family: &str) -> String {
    let mut pattern = String::from("^");
    for character in family.to_lowercase().chars() {
        if !character.is_alphanumeric() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str("($|[^a-z0-9])");
    pattern
}
