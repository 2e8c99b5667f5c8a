//! Leaderboards: standings are computed when a run completes, and only read when a page asks for them.
//!
//! A standing is one prompt version on one model. Its score is the mean of the scored evaluations; evaluations that
//! ended in an error are counted beside it, because a provider's failure says nothing about the quality of a prompt.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sqlx::{Acquire as _, PgConnection};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    Error, Result,
    auth::CurrentUser,
    benchmarks::resolve_benchmark,
    stats::{self, RankEntry},
};

/// All intervals and comparisons are made at this level.
pub(crate) const CONFIDENCE: f64 = 0.95;

/// A benchmark version's standings.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Leaderboard {
    /// `slug@number` of the benchmark version.
    pub benchmark: String,
    /// How many items the version has.
    pub item_count: i32,
    /// True when these are the standings of simulated models.
    pub simulated: bool,
    /// The level of all intervals and comparisons.
    pub confidence: f64,
    /// Best first.
    pub standings: Vec<Standing>,
}

/// One line of a leaderboard.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Standing {
    /// One more than the number of standings that are surely better.
    pub rank_low: i32,
    /// The number of standings less those that are surely worse.
    pub rank_high: i32,
    /// Standings of one group cannot be told apart from the group's best.
    pub tie_group: i32,
    /// `slug@number` of the prompt version.
    pub prompt: String,
    /// `provider:name` of the model.
    pub model: String,
    /// What is sent along with every call.
    #[schema(value_type = Object)]
    pub parameters: serde_json::Value,
    /// True when the answers are simulated.
    pub simulated: bool,
    /// Mean of the scored evaluations, 0 to 1.
    pub score: f64,
    /// Lower bound of the score's interval.
    pub score_low: f64,
    /// Upper bound of the score's interval.
    pub score_high: f64,
    /// How the interval was computed: `wilson`, `student` or `clustered`.
    pub interval_method: String,
    /// Share of the scored evaluations that passed.
    pub pass_rate: Option<f64>,
    /// Items with at least one score.
    pub items: i32,
    /// Evaluations, errors included.
    pub evaluations: i64,
    /// Evaluations that ended in an error.
    pub errors: i64,
    /// Micro-dollars for 1,000 evaluations, if the price is known.
    pub cost_per_1000_microusd: Option<i64>,
    /// Median latency in milliseconds.
    pub latency_p50_ms: Option<f64>,
    /// 95th percentile of the latency in milliseconds.
    pub latency_p95_ms: Option<f64>,
    /// Median time to the first piece of text in milliseconds.
    pub first_token_p50_ms: Option<f64>,
    /// Output tokens per second of latency.
    pub output_tokens_per_second: Option<f64>,
    /// The run that it comes from.
    pub run_id: Uuid,
    /// When it was computed.
    pub updated_at: DateTime<Utc>,
}

/// Reads a leaderboard. Real and simulated standings never mix; when the caller does not say which, the real ones
/// come if there are any. Prompts that the viewer may not find are left out.
///
/// # Errors
/// [`Error::NotFound`] when there is no such benchmark.
pub async fn read_leaderboard(
    conn: &mut PgConnection,
    viewer: Option<&CurrentUser>,
    benchmark: &str,
    simulated: Option<bool>,
) -> Result<Leaderboard> {
    let version = resolve_benchmark(conn, viewer, benchmark).await?;
    let simulated = match simulated {
        Some(simulated) => simulated,
        None => only_simulated(conn, version.id).await?,
    };
    let standings = sqlx::query_as!(
        Standing,
        r#"-- leaderboards::read_leaderboard
        select rank_low, rank_high, tie_group,
               prompts.slug || '@' || prompt_versions.number as "prompt!",
               providers.name || ':' || models.name as "model!", models.parameters,
               simulated, score, score_low, score_high, interval_method, pass_rate, items, evaluations, errors,
               cost_per_1000_microusd, latency_p50_ms, latency_p95_ms, first_token_p50_ms, output_tokens_per_second,
               run_id, standings.updated_at
        from standings
        join prompt_versions on prompt_versions.id = prompt_version_id
        join prompts on prompts.id = prompt_id
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where benchmark_version_id = $1 and simulated = $2
          and (prompts.visibility = 'public' or prompts.owner_id = $3 or $4)
        order by score desc, rank_low, 4, 5, models.id"#,
        version.id,
        simulated,
        viewer.map(|user| user.id),
        viewer.is_some_and(CurrentUser::is_admin)
    )
    .fetch_all(conn)
    .await?;
    Ok(Leaderboard {
        benchmark: format!("{}@{}", version.benchmark, version.number),
        item_count: version.item_count,
        simulated,
        confidence: CONFIDENCE,
        standings,
    })
}

/// True when a benchmark version has simulated standings and no real ones.
pub(crate) async fn only_simulated(
    conn: &mut PgConnection,
    benchmark_version_id: Uuid,
) -> Result<bool> {
    let only = sqlx::query_scalar!(
        r#"-- leaderboards::only_simulated
        select coalesce(bool_and(simulated), false) as "only!" from standings where benchmark_version_id = $1"#,
        benchmark_version_id
    )
    .fetch_one(conn)
    .await?;
    Ok(only)
}

/// Replaces the standings of a run's columns by those of the run, and ranks the benchmark version anew.
/// The caller's transaction ends the run.
pub(crate) async fn update_standings(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let mut tx = tx.begin().await?;
    let run = sqlx::query!(
        "-- leaderboards::update_standings
        select benchmark_version_id, item_count, repeats, visibility = 'public' as \"public!\" from runs where id = $1",
        run_id
    )
    .fetch_one(&mut *tx)
    .await?;
    if !run.public {
        return Ok(());
    }
    // Two runs of one benchmark version that end at once rank it one after the other.
    sqlx::query_scalar!(
        r#"-- leaderboards::update_standings
        select pg_advisory_xact_lock(hashtextextended($1, 0)) is null as "locked""#,
        run.benchmark_version_id.to_string()
    )
    .fetch_one(&mut *tx)
    .await?;
    for column in load_columns(&mut tx, run_id).await? {
        let item_scores = load_item_scores(&mut tx, run_id, &column, run.item_count).await?;
        if item_scores.iter().any(Option::is_some) {
            insert_standing(
                &mut tx,
                run_id,
                run.benchmark_version_id,
                run.repeats,
                &column,
                &item_scores,
            )
            .await?;
        }
    }
    for simulated in [false, true] {
        rank(&mut tx, run.benchmark_version_id, simulated).await?;
    }
    tx.commit().await?;
    Ok(())
}

/// One prompt version on one model, summed up over the run.
struct Column {
    prompt_position: i16,
    model_position: i16,
    prompt_version_id: Uuid,
    model_id: Uuid,
    simulated: bool,
    evaluations: i64,
    errors: i64,
    full_or_nothing: bool,
    pass_rate: Option<f64>,
    cost_microusd: Option<i64>,
    latency_p50_ms: Option<f64>,
    latency_p95_ms: Option<f64>,
    first_token_p50_ms: Option<f64>,
    output_tokens_per_second: Option<f64>,
}

async fn load_columns(tx: &mut PgConnection, run_id: Uuid) -> Result<Vec<Column>> {
    let columns = sqlx::query_as!(
        Column,
        r#"-- leaderboards::load_columns
        select prompt_position, model_position, prompt_version_id, model_id, providers.kind in ('simulated', 'echo') as "simulated!",
               count(*) as "evaluations!",
               count(*) filter (where evaluations.state = 'error') as "errors!",
               coalesce(bool_and(score in (0, 1)), true) as "full_or_nothing!",
               avg(passed::int)::float8 as pass_rate,
               (sum(cost_microusd) * 1000 / nullif(count(cost_microusd), 0))::bigint as cost_microusd,
               percentile_cont(0.5) within group (order by latency_ms) as latency_p50_ms,
               percentile_cont(0.95) within group (order by latency_ms) as latency_p95_ms,
               percentile_cont(0.5) within group (order by first_token_ms) as first_token_p50_ms,
               (sum(output_tokens) * 1000.0 / nullif(sum(latency_ms) filter (where output_tokens is not null), 0))::float8
                   as output_tokens_per_second
        from evaluations
        join run_prompts on run_prompts.run_id = evaluations.run_id and run_prompts.position = prompt_position
        join run_models on run_models.run_id = evaluations.run_id and run_models.position = model_position
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where evaluations.run_id = $1
        group by 1, 2, 3, 4, 5"#,
        run_id
    )
    .fetch_all(tx)
    .await?;
    Ok(columns)
}

/// The mean score of each item, by position.
async fn load_item_scores(
    tx: &mut PgConnection,
    run_id: Uuid,
    column: &Column,
    item_count: i32,
) -> Result<Vec<Option<f32>>> {
    let rows = sqlx::query!(
        r#"-- leaderboards::load_item_scores
        select item_position, avg(score)::real as "score!"
        from evaluations
        where run_id = $1 and prompt_position = $2 and model_position = $3 and score is not null
        group by item_position"#,
        run_id,
        column.prompt_position,
        column.model_position
    )
    .fetch_all(tx)
    .await?;
    let mut scores = vec![None; usize::try_from(item_count).unwrap_or(0)];
    for row in rows {
        let slot = usize::try_from(row.item_position)
            .ok()
            .and_then(|position| scores.get_mut(position));
        *slot.ok_or_else(|| Error::Internal("an item is outside of its benchmark".into()))? =
            Some(row.score);
    }
    Ok(scores)
}

async fn insert_standing(
    tx: &mut PgConnection,
    run_id: Uuid,
    benchmark_version_id: Uuid,
    repeats: i16,
    column: &Column,
    item_scores: &[Option<f32>],
) -> Result<()> {
    let values: Vec<f64> = item_scores
        .iter()
        .flatten()
        .map(|score| f64::from(*score))
        .collect();
    let score = stats::mean(&values);
    let (interval, method) = if repeats > 1 {
        // Repeats of one item are not independent: the items are the sample (cluster = item).
        (
            stats::mean_interval(&values, CONFIDENCE).within(0.0, 1.0),
            "clustered",
        )
    } else if column.full_or_nothing {
        let successes = values.iter().filter(|value| **value > 0.5).count();
        (
            stats::wilson(successes as u64, values.len() as u64, CONFIDENCE),
            "wilson",
        )
    } else {
        (
            stats::mean_interval(&values, CONFIDENCE).within(0.0, 1.0),
            "student",
        )
    };
    sqlx::query!(
        "-- leaderboards::insert_standing
        insert into standings (benchmark_version_id, prompt_version_id, model_id, run_id, simulated, items, evaluations,
            errors, score, score_low, score_high, pass_rate, interval_method, item_scores, rank_low, rank_high, tie_group,
            cost_per_1000_microusd, latency_p50_ms, latency_p95_ms, first_token_p50_ms, output_tokens_per_second)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, 0, $15, $16, $17, $18, $19)
        on conflict (benchmark_version_id, prompt_version_id, model_id) do update
        set run_id = excluded.run_id, items = excluded.items, evaluations = excluded.evaluations, errors = excluded.errors,
            score = excluded.score, score_low = excluded.score_low, score_high = excluded.score_high,
            pass_rate = excluded.pass_rate, interval_method = excluded.interval_method,
            item_scores = excluded.item_scores, cost_per_1000_microusd = excluded.cost_per_1000_microusd,
            latency_p50_ms = excluded.latency_p50_ms, latency_p95_ms = excluded.latency_p95_ms,
            first_token_p50_ms = excluded.first_token_p50_ms,
            output_tokens_per_second = excluded.output_tokens_per_second, updated_at = now()
        where standings.items <= excluded.items",
        benchmark_version_id,
        column.prompt_version_id,
        column.model_id,
        run_id,
        column.simulated,
        i32::try_from(values.len()).unwrap_or(i32::MAX),
        column.evaluations,
        column.errors,
        score,
        interval.low,
        interval.high,
        column.pass_rate,
        method,
        item_scores as _,
        column.cost_microusd,
        column.latency_p50_ms,
        column.latency_p95_ms,
        column.first_token_p50_ms,
        column.output_tokens_per_second
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Gives every standing of a benchmark version its range of ranks.
async fn rank(tx: &mut PgConnection, benchmark_version_id: Uuid, simulated: bool) -> Result<()> {
    let rows = sqlx::query!(
        r#"-- leaderboards::rank
        select prompt_version_id, model_id, score, item_scores as "item_scores: Vec<Option<f32>>"
        from standings
        where benchmark_version_id = $1 and simulated = $2
        order by score desc, prompt_version_id, model_id"#,
        benchmark_version_id,
        simulated
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut prompt_version_ids = Vec::new();
    let mut model_ids = Vec::new();
    let mut entries = Vec::new();
    for row in rows {
        prompt_version_ids.push(row.prompt_version_id);
        model_ids.push(row.model_id);
        entries.push(RankEntry {
            score: row.score,
            item_scores: row.item_scores,
        });
    }
    let ranks = stats::rank(&entries, 1.0 - CONFIDENCE);
    let narrow = |rank: usize| i32::try_from(rank).unwrap_or(i32::MAX);
    let lows: Vec<i32> = ranks.iter().map(|rank| narrow(rank.rank_low)).collect();
    let highs: Vec<i32> = ranks.iter().map(|rank| narrow(rank.rank_high)).collect();
    let groups: Vec<i32> = ranks.iter().map(|rank| narrow(rank.tie_group)).collect();
    sqlx::query!(
        "-- leaderboards::rank
        update standings
        set rank_low = ranked.low, rank_high = ranked.high, tie_group = ranked.tie_group
        from unnest($2::uuid[], $3::uuid[], $4::int[], $5::int[], $6::int[])
            as ranked (prompt_version_id, model_id, low, high, tie_group)
        where benchmark_version_id = $1
          and standings.prompt_version_id = ranked.prompt_version_id and standings.model_id = ranked.model_id",
        benchmark_version_id,
        &prompt_version_ids,
        &model_ids,
        &lows,
        &highs,
        &groups
    )
    .execute(tx)
    .await?;
    Ok(())
}
