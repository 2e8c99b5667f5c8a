//! Writing standings: final ones, provisional ones, and the points of their courses.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    refresh::MeasuredRun,
    summary::{Figures, Summary},
};
use crate::{Result, stats};

/// A prompt version, a model, and whether it is simulated.
type Column = (Uuid, Uuid, bool);

/// Adds the run's point to the column's course, or corrects it.
pub(super) async fn point(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    (prompt_version_id, model_id, simulated): Column,
    summary: &Summary,
    figures: &Figures,
) -> Result<()> {
    sqlx::query!(
        "-- write::point
        insert into standing_points (run_id, benchmark_version_id, prompt_version_id, model_id, simulated, items,
            evaluations, errors, score, score_low, score_high, cost_per_1000_microusd, latency_p50_ms, latency_p95_ms,
            item_scores)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)
        on conflict (run_id, prompt_version_id, model_id) do update
        set items = excluded.items, evaluations = excluded.evaluations, errors = excluded.errors,
            score = excluded.score, score_low = excluded.score_low, score_high = excluded.score_high,
            cost_per_1000_microusd = excluded.cost_per_1000_microusd, latency_p50_ms = excluded.latency_p50_ms,
            latency_p95_ms = excluded.latency_p95_ms, item_scores = excluded.item_scores, measured_at = now()",
        run.id,
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        simulated,
        count(figures.items),
        summary.evaluations,
        summary.errors,
        figures.score,
        figures.interval.low,
        figures.interval.high,
        figures.cost_per_1000_microusd,
        figures.latency_ms[0],
        figures.latency_ms[1],
        &summary.item_scores as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Puts a column on its board. A run of fewer items does not replace one of more. The run's point is there already.
pub(super) async fn standing(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    column: Column,
    summary: &Summary,
    figures: &Figures,
) -> Result<()> {
    let (prompt_version_id, model_id, simulated) = column;
    let (runs, trend) = trend(tx, run, column, summary).await?;
    let interval = trend.and_then(|trend| trend.interval);
    let interval = interval.map(|interval| interval.within(-1.0, 1.0));
    let pass = &figures.cost_per_pass;
    let pass_interval = pass.and_then(|pass| pass.interval);
    let [p50, p95] = figures.latency_intervals;
    sqlx::query!(
        "-- write::standing
        insert into standings (benchmark_version_id, prompt_version_id, model_id, run_id, simulated, items, evaluations,
            errors, score, score_low, score_high, pass_rate, interval_method, item_scores, rank_low, rank_high, tie_group,
            cost_per_1000_microusd, latency_p50_ms, latency_p95_ms, first_token_p50_ms, output_tokens_per_second,
            cost_per_1000_low_microusd, cost_per_1000_high_microusd, cost_per_pass_microusd, cost_per_pass_low_microusd,
            cost_per_pass_high_microusd, latency_p50_low_ms, latency_p50_high_ms, latency_p95_low_ms, latency_p95_high_ms,
            runs, trend, trend_low, trend_high, stopped_early)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, 0, 0, $15, $16, $17, $18, $19,
            $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33)
        on conflict (benchmark_version_id, prompt_version_id, model_id) do update
        set run_id = excluded.run_id, items = excluded.items, evaluations = excluded.evaluations, errors = excluded.errors,
            score = excluded.score, score_low = excluded.score_low, score_high = excluded.score_high,
            pass_rate = excluded.pass_rate, interval_method = excluded.interval_method,
            item_scores = excluded.item_scores, cost_per_1000_microusd = excluded.cost_per_1000_microusd,
            latency_p50_ms = excluded.latency_p50_ms, latency_p95_ms = excluded.latency_p95_ms,
            first_token_p50_ms = excluded.first_token_p50_ms,
            output_tokens_per_second = excluded.output_tokens_per_second,
            cost_per_1000_low_microusd = excluded.cost_per_1000_low_microusd,
            cost_per_1000_high_microusd = excluded.cost_per_1000_high_microusd,
            cost_per_pass_microusd = excluded.cost_per_pass_microusd,
            cost_per_pass_low_microusd = excluded.cost_per_pass_low_microusd,
            cost_per_pass_high_microusd = excluded.cost_per_pass_high_microusd,
            latency_p50_low_ms = excluded.latency_p50_low_ms, latency_p50_high_ms = excluded.latency_p50_high_ms,
            latency_p95_low_ms = excluded.latency_p95_low_ms, latency_p95_high_ms = excluded.latency_p95_high_ms,
            runs = excluded.runs, trend = excluded.trend, trend_low = excluded.trend_low,
            trend_high = excluded.trend_high, stopped_early = excluded.stopped_early, updated_at = now()
        where standings.items <= excluded.items",
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        run.id,
        simulated,
        count(figures.items),
        summary.evaluations,
        summary.errors,
        figures.score,
        figures.interval.low,
        figures.interval.high,
        figures.pass_rate,
        figures.interval_method,
        &summary.item_scores as _,
        figures.cost_per_1000_microusd,
        figures.latency_ms[0],
        figures.latency_ms[1],
        figures.first_token_p50_ms,
        figures.output_tokens_per_second,
        figures.cost_per_1000_interval.map(|(low, _)| low),
        figures.cost_per_1000_interval.map(|(_, high)| high),
        pass.map(|pass| pass.value),
        pass_interval.map(|interval| interval.low),
        pass_interval.map(|interval| interval.high),
        p50.low,
        p50.high,
        p95.low,
        p95.high,
        runs,
        trend.map(|trend| trend.difference),
        interval.map(|interval| interval.low),
        interval.map(|interval| interval.high),
        summary.evaluations < i64::from(run.shape.items) * i64::from(run.shape.repeats)
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Shows how far a column of an open run has come.
pub(super) async fn provisional(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    (prompt_version_id, model_id, simulated): Column,
    summary: &Summary,
    figures: &Figures,
) -> Result<()> {
    let pass = &figures.cost_per_pass;
    let pass_interval = pass.and_then(|pass| pass.interval);
    let [p50, p95] = figures.latency_intervals;
    sqlx::query!(
        "-- write::provisional
        insert into provisional_standings (run_id, benchmark_version_id, prompt_version_id, model_id, simulated, items,
            evaluations, errors, score, score_low, score_high, pass_rate, interval_method, item_scores,
            cost_per_1000_microusd, cost_per_1000_low_microusd, cost_per_1000_high_microusd,
            cost_per_pass_microusd, cost_per_pass_low_microusd, cost_per_pass_high_microusd,
            latency_p50_ms, latency_p50_low_ms, latency_p50_high_ms, latency_p95_ms, latency_p95_low_ms,
            latency_p95_high_ms, first_token_p50_ms, output_tokens_per_second)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28)
        on conflict (run_id, prompt_version_id, model_id) do update
        set items = excluded.items, evaluations = excluded.evaluations, errors = excluded.errors,
            score = excluded.score, score_low = excluded.score_low, score_high = excluded.score_high,
            pass_rate = excluded.pass_rate, interval_method = excluded.interval_method, item_scores = excluded.item_scores,
            cost_per_1000_microusd = excluded.cost_per_1000_microusd,
            cost_per_1000_low_microusd = excluded.cost_per_1000_low_microusd,
            cost_per_1000_high_microusd = excluded.cost_per_1000_high_microusd,
            cost_per_pass_microusd = excluded.cost_per_pass_microusd,
            cost_per_pass_low_microusd = excluded.cost_per_pass_low_microusd,
            cost_per_pass_high_microusd = excluded.cost_per_pass_high_microusd,
            latency_p50_ms = excluded.latency_p50_ms, latency_p50_low_ms = excluded.latency_p50_low_ms,
            latency_p50_high_ms = excluded.latency_p50_high_ms, latency_p95_ms = excluded.latency_p95_ms,
            latency_p95_low_ms = excluded.latency_p95_low_ms, latency_p95_high_ms = excluded.latency_p95_high_ms,
            first_token_p50_ms = excluded.first_token_p50_ms,
            output_tokens_per_second = excluded.output_tokens_per_second, updated_at = now()",
        run.id,
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        simulated,
        count(figures.items),
        summary.evaluations,
        summary.errors,
        figures.score,
        figures.interval.low,
        figures.interval.high,
        figures.pass_rate,
        figures.interval_method,
        &summary.item_scores as _,
        figures.cost_per_1000_microusd,
        figures.cost_per_1000_interval.map(|(low, _)| low),
        figures.cost_per_1000_interval.map(|(_, high)| high),
        pass.map(|pass| pass.value),
        pass_interval.map(|interval| interval.low),
        pass_interval.map(|interval| interval.high),
        figures.latency_ms[0],
        p50.low,
        p50.high,
        figures.latency_ms[1],
        p95.low,
        p95.high,
        figures.first_token_p50_ms,
        figures.output_tokens_per_second
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// How many runs the column has, and by how much this one differs from the one before.
async fn trend(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    (prompt_version_id, model_id, _): Column,
    summary: &Summary,
) -> Result<(i32, Option<stats::PairedDifference>)> {
    let before = sqlx::query!(
        r#"-- write::trend
        select item_scores as "item_scores: Vec<Option<f32>>", count(*) over () as "points!"
        from standing_points
        where benchmark_version_id = $1 and prompt_version_id = $2 and model_id = $3 and run_id <> $4
        order by measured_at desc
        limit 1"#,
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        run.id
    )
    .fetch_optional(tx)
    .await?;
    let Some(before) = before else {
        return Ok((1, None));
    };
    let trend = stats::paired_difference(&summary.item_scores, &before.item_scores);
    let runs = i32::try_from(before.points + 1).unwrap_or(i32::MAX);
    Ok((runs, (trend.shared_items > 0).then_some(trend)))
}

fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}
