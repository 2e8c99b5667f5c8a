//! A run summed up by columns for its own table, by the same code as its standings.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    blocks::{Blocks, ColumnKey},
    summary::Summary,
};
use crate::{
    Result,
    runs::{MeasuredColumn, RunShape},
};

/// Every column of a run that has an evaluation, as far as the run has come.
pub(crate) async fn measure_run(
    conn: &mut PgConnection,
    run_id: Uuid,
    shape: RunShape,
) -> Result<BTreeMap<ColumnKey, MeasuredColumn>> {
    let columns = Blocks::of(run_id, shape).load(conn, true).await?;
    let measured = columns
        .into_iter()
        .map(|(key, summary)| (key, measured(&summary, shape.repeats)));
    Ok(measured.collect())
}

fn measured(summary: &Summary, repeats: i16) -> MeasuredColumn {
    let column = MeasuredColumn {
        evaluations: summary.evaluations,
        passed: summary.passed,
        failed: summary.scored - summary.passed,
        errors: summary.errors,
        cost_microusd: summary.total_cost_microusd(),
        ..MeasuredColumn::default()
    };
    let Some(figures) = summary.figures(repeats) else {
        return column;
    };
    let pass = &figures.cost_per_pass;
    let pass_interval = pass.and_then(|pass| pass.interval);
    MeasuredColumn {
        items: i64::try_from(figures.items).unwrap_or(i64::MAX),
        score: Some(figures.score),
        score_low: Some(figures.interval.low),
        score_high: Some(figures.interval.high),
        interval_method: Some(figures.interval_method.to_owned()),
        pass_rate: figures.pass_rate,
        cost_per_pass_microusd: pass.map(|pass| pass.value),
        cost_per_pass_low_microusd: pass_interval.map(|interval| interval.low),
        cost_per_pass_high_microusd: pass_interval.map(|interval| interval.high),
        latency_p50_ms: figures.latency_ms[0],
        latency_p95_ms: figures.latency_ms[1],
        first_token_p50_ms: figures.first_token_p50_ms,
        output_tokens_per_second: figures.output_tokens_per_second,
        ..column
    }
}
