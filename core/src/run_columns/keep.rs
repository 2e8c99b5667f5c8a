//! Keeping the table of a run when it ends.

use std::collections::BTreeMap;

use sqlx::{PgConnection, types::Json};
use uuid::Uuid;

use super::{MeasuredColumn, measure::measure};
use crate::{Result, leaderboards::ColumnKey};

/// Keeps the columns of a run that is about to end, or was cancelled, for good. The caller has locked the run.
pub(crate) async fn keep(tx: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let columns = measure(tx, run_id, false).await?;
    let prompts: Vec<i16> = columns.keys().map(|(prompt, _)| *prompt).collect();
    let models: Vec<i16> = columns.keys().map(|(_, model)| *model).collect();
    let measured: Vec<Json<&MeasuredColumn>> = columns.values().map(Json).collect();
    sqlx::query!(
        "-- run_columns::keep
        insert into run_columns (run_id, prompt_position, model_position, measured)
        select $1, * from unnest($2::smallint[], $3::smallint[], $4::jsonb[])
        on conflict (run_id, prompt_position, model_position) do update set measured = excluded.measured",
        run_id,
        &prompts,
        &models,
        measured as _
    )
    .execute(tx)
    .await?;
    Ok(())
}

/// What was kept of a run; nothing of one that goes on.
pub(super) async fn load_kept(
    conn: &mut PgConnection,
    run_id: Uuid,
) -> Result<BTreeMap<ColumnKey, MeasuredColumn>> {
    let rows = sqlx::query!(
        r#"-- run_columns::load_kept
        select prompt_position, model_position, measured as "measured: Json<MeasuredColumn>"
        from run_columns where run_id = $1"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    let keyed = rows
        .into_iter()
        .map(|row| ((row.prompt_position, row.model_position), row.measured.0));
    Ok(keyed.collect())
}
