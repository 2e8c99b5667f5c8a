//! Summarises a run by columns for its own table, with the code that also computes its standings.

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

/// Every column of a run that has an evaluation so far.
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
    let sums = &summary.sums;
    MeasuredColumn {
        evaluations: sums.evaluations,
        passed: sums.passed,
        failed: sums.scored - sums.passed,
        errors: sums.errors,
        cost_microusd: summary.total_cost_microusd(),
        figures: summary.figures(repeats),
        ..MeasuredColumn::default()
    }
}
