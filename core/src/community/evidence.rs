//! Evidence: the measured results of each version of a prompt, and whether they are current.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{PgConnection, types::Json};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{Result, auth::CurrentUser, leaderboards::Figures, library::find_prompt};

/// A standing of a version of the prompt.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Evidence {
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// The number of the prompt version.
    pub version: i32,
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// The benchmark's title.
    pub benchmark_title: String,
    /// True if the benchmark has a newer version.
    pub stale: bool,
    /// `provider:name` of the model.
    pub model: String,
    /// The model's id, which distinguishes models with the same name and different parameters.
    pub model_id: Uuid,
    /// The parameters that are sent with every call.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// True if the model is simulated; real and simulated models are never in one list.
    pub simulated: bool,
    /// The best rank that the evidence allows on its leaderboard.
    pub rank_low: i32,
    /// The worst rank that the evidence allows.
    pub rank_high: i32,
    /// Number of evaluations, including errors.
    pub evaluations: i64,
    /// Number of evaluations that ended in an error.
    pub errors: i64,
    /// The measured figures.
    #[serde(flatten)]
    pub figures: Figures,
    /// The run that measured it.
    pub run_id: Uuid,
    /// When it was computed.
    pub measured_at: DateTime<Utc>,
}

/// A filter of evidence.
#[derive(Debug, Clone, Default)]
pub struct EvidenceFilter {
    /// Results of simulated models instead of real ones.
    pub simulated: bool,
    /// Only this version.
    pub version: Option<i32>,
    /// Only on this benchmark, by slug.
    pub benchmark: Option<String>,
    /// Leave out results on old versions of a benchmark.
    pub current_only: bool,
}

/// The standings of a prompt's versions on public boards: newest version first, then the highest lower bound of the
/// score. A board has one line for each prompt version and model, so the list is short; it is cut at 1,000.
///
/// # Errors
/// [`Error::NotFound`](crate::Error::NotFound), also for another user's private prompt.
pub async fn list_evidence(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    prompt: &str,
    filter: &EvidenceFilter,
) -> Result<Vec<Evidence>> {
    let prompt = find_prompt(conn, viewer, prompt).await?;
    let rows = sqlx::query!(
        r#"-- evidence::list_evidence
        select $2 || '@' || prompt_versions.number as "prompt!", prompt_versions.number as version,
               benchmarks.slug || '@' || benchmark_versions.number as "benchmark!", benchmarks.title as benchmark_title,
               benchmark_versions.number < newest.number as "stale!",
               providers.name || ':' || models.name as "model!", models.id as model_id, models.parameters, simulated,
               figures as "figures: Json<Figures>", rank_low, rank_high, evaluations, errors, run_id,
               standings.updated_at as measured_at
        from prompt_versions
        join standings on standings.prompt_version_id = prompt_versions.id
        join benchmark_versions on benchmark_versions.id = standings.benchmark_version_id
        join benchmarks on benchmarks.id = benchmark_versions.benchmark_id
        join lateral (select max(number) as number from benchmark_versions
                      where benchmark_id = benchmarks.id and withdrawn_at is null) newest on true
        join models on models.id = standings.model_id
        join providers on providers.id = models.provider_id
        where prompt_versions.prompt_id = $1
          and simulated = $3 and audience_id is null and is_public_run(run_id)
          and ($4::integer is null or prompt_versions.number = $4)
          and ($5::text is null or benchmarks.slug = $5)
          and (not $6 or benchmark_versions.number = newest.number)
        order by prompt_versions.number desc, score_low desc, 3, 6, models.id
        limit 1000"#,
        prompt.id,
        prompt.slug,
        filter.simulated,
        filter.version,
        filter.benchmark,
        filter.current_only
    )
    .fetch_all(conn)
    .await?;
    let evidence = rows.into_iter().map(|row| Evidence {
        prompt: row.prompt,
        version: row.version,
        benchmark: row.benchmark,
        benchmark_title: row.benchmark_title,
        stale: row.stale,
        model: row.model,
        model_id: row.model_id,
        parameters: row.parameters,
        simulated: row.simulated,
        rank_low: row.rank_low,
        rank_high: row.rank_high,
        evaluations: row.evaluations,
        errors: row.errors,
        figures: row.figures.0,
        run_id: row.run_id,
        measured_at: row.measured_at,
    });
    Ok(evidence.collect())
}
