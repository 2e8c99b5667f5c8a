//! Stores the results of runs: points, from which boards are built, and provisional standings of open runs.

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{Figures, refresh::MeasuredRun, summary::Summary};
use crate::Result;

/// A prompt version, a model, and whether it is simulated.
type Column = (Uuid, Uuid, bool);

/// Stores or updates the result of a column of the run, with everything that its standing shows.
pub(super) async fn point(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    (prompt_version_id, model_id, simulated): Column,
    summary: &Summary,
    figures: &Figures,
) -> Result<()> {
    let planned = i64::from(run.shape.items) * i64::from(run.shape.repeats);
    sqlx::query!(
        "-- write::point
        insert into standing_points (run_id, benchmark_version_id, prompt_version_id, model_id, simulated, evaluations,
            errors, item_scores, figures, stopped_early)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (run_id, prompt_version_id, model_id) do update
        set evaluations = excluded.evaluations, errors = excluded.errors, item_scores = excluded.item_scores,
            figures = excluded.figures, stopped_early = excluded.stopped_early, measured_at = now()",
        run.id,
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        simulated,
        summary.sums.evaluations,
        summary.sums.errors,
        &summary.item_scores as _,
        Json(figures) as _,
        summary.sums.evaluations < planned
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// Stores the progress of a column of an open run.
pub(super) async fn provisional(
    tx: &mut PgConnection,
    run: &MeasuredRun,
    (prompt_version_id, model_id, simulated): Column,
    summary: &Summary,
    figures: &Figures,
) -> Result<()> {
    sqlx::query!(
        "-- write::provisional
        insert into provisional_standings (run_id, benchmark_version_id, prompt_version_id, model_id, simulated,
            evaluations, errors, item_scores, figures)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        on conflict (run_id, prompt_version_id, model_id) do update
        set evaluations = excluded.evaluations, errors = excluded.errors, item_scores = excluded.item_scores,
            figures = excluded.figures, updated_at = now()",
        run.id,
        run.benchmark_version_id,
        prompt_version_id,
        model_id,
        simulated,
        summary.sums.evaluations,
        summary.sums.errors,
        &summary.item_scores as _,
        Json(figures) as _
    )
    .execute(tx)
    .await?;
    Ok(())
}
