//! Writing what runs measured: points, of which boards are made, and provisional standings of open runs.

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    refresh::MeasuredRun,
    summary::{Figures, Summary},
};
use crate::Result;

/// A prompt version, a model, and whether it is simulated.
type Column = (Uuid, Uuid, bool);

/// Keeps what the run measured of a column, or corrects it: everything that a standing of it would show.
pub(super) async fn point(
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
        "-- write::point
        insert into standing_points (run_id, benchmark_version_id, prompt_version_id, model_id, simulated, items,
            evaluations, errors, score, score_low, score_high, pass_rate, interval_method, item_scores,
            cost_per_1000_microusd, cost_per_1000_low_microusd, cost_per_1000_high_microusd,
            cost_per_pass_microusd, cost_per_pass_low_microusd, cost_per_pass_high_microusd,
            latency_p50_ms, latency_p50_low_ms, latency_p50_high_ms, latency_p95_ms, latency_p95_low_ms,
            latency_p95_high_ms, first_token_p50_ms, output_tokens_per_second, stopped_early)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23,
            $24, $25, $26, $27, $28, $29)
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
            output_tokens_per_second = excluded.output_tokens_per_second, stopped_early = excluded.stopped_early,
            measured_at = now()",
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
        figures.output_tokens_per_second,
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

fn count(items: usize) -> i32 {
    i32::try_from(items).unwrap_or(i32::MAX)
}
