//! A run summed up by columns, by the same code as its standings.

use std::collections::BTreeMap;

use sqlx::PgConnection;
use uuid::Uuid;

use super::{
    MeasuredColumn,
    errors::error_kinds,
    part_scores::{has_part_scores, part_scores},
};
use crate::{
    Result,
    leaderboards::{ColumnKey, Summary, summarise_run},
    runs::load_shape,
};

/// Number of evaluations that part scores of an open run are computed from: each of them has to be read.
const PART_SCORES_OF: i64 = 100_000;

/// Sums a run up. Of one that goes on, part scores are those of its first items.
pub(super) async fn measure(
    conn: &mut PgConnection,
    run_id: Uuid,
    goes_on: bool,
) -> Result<BTreeMap<ColumnKey, MeasuredColumn>> {
    let shape = load_shape(conn, run_id).await?;
    let summaries = summarise_run(conn, run_id, shape).await?;
    let mut columns: BTreeMap<ColumnKey, MeasuredColumn> = summaries
        .into_iter()
        .map(|(key, summary)| (key, measured(&summary, shape.repeats)))
        .collect();
    for (key, kind) in error_kinds(conn, run_id).await? {
        columns.entry(key).or_default().error_kinds.push(kind);
    }
    let per_item = (shape.evaluations() / i64::from(shape.items.max(1))).max(1);
    let items = if goes_on {
        i32::try_from(PART_SCORES_OF / per_item)
            .unwrap_or(i32::MAX)
            .max(1)
    } else {
        i32::MAX
    };
    if has_part_scores(conn, run_id).await? {
        for (key, part) in part_scores(conn, run_id, items).await? {
            columns.entry(key).or_default().part_scores.push(part);
        }
    }
    Ok(columns)
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
