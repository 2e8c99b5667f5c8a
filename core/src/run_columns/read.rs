//! Showing the table of a run: as it was kept, or as far as the run has come.

use std::collections::BTreeMap;

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use super::{MeasuredColumn, RunColumn, RunColumns, keep::load_kept, measure::measure};
use crate::{
    Error, Result,
    leaderboards::{CONFIDENCE, ColumnKey},
    paging::fitting_in,
    runs::Run,
};

/// Maximum size of the columns in an answer, in bytes of JSON.
const MAX_BYTES: usize = 4 << 20;

/// The columns of a run that were kept when it ended. None while it goes on, and for a moment after it was cancelled: then
/// [`measure_run_columns`] finds them. Who may see the run is for the caller to ask.
///
/// # Errors
/// The database does not answer.
pub async fn kept_run_columns(conn: &mut PgConnection, run: &Run) -> Result<Option<RunColumns>> {
    let kept = load_kept(conn, run.id).await?;
    if kept.is_empty() && run.recorded > 0 {
        return Ok(None);
    }
    describe(conn, run, kept).await.map(Some)
}

/// The columns of a run as far as it has come, summed up from its evaluations. That takes Postgres seconds for a large run:
/// the caller has a turn ([`Computing::turn`](crate::computing::Computing::turn)). Who may see the run is for the caller to ask.
///
/// # Errors
/// The database does not answer.
pub async fn measure_run_columns(conn: &mut PgConnection, run: &Run) -> Result<RunColumns> {
    // One picture of the run for all that is read: what is summed up meanwhile would be missed or counted twice.
    let mut tx = conn.begin().await?;
    sqlx::query!("set transaction isolation level repeatable read")
        .execute(&mut *tx)
        .await?;
    let measured = measure(&mut tx, run.id, !run.state.has_ended()).await?;
    tx.commit().await?;
    describe(conn, run, measured).await
}

/// Every column of a run, with what was measured of it.
async fn describe(
    conn: &mut PgConnection,
    run: &Run,
    mut measured: BTreeMap<ColumnKey, MeasuredColumn>,
) -> Result<RunColumns> {
    let (repeats, items, settled) = facts(conn, run.id).await?;
    let simulated = simulated_models(conn, run.id).await?;
    let mut columns = Vec::with_capacity(run.prompts.len() * run.models.len());
    for (prompt_position, prompt) in (0..).zip(&run.prompts) {
        for (index, (model_position, model)) in (0..).zip(&run.models).enumerate() {
            let key = (prompt_position, model_position);
            columns.push(RunColumn {
                prompt_position,
                prompt: prompt.clone(),
                model_position,
                model: model.clone(),
                parameters: run.parameters.get(index).cloned().unwrap_or_default(),
                simulated: simulated.get(index).copied().unwrap_or_default(),
                planned: i64::from(repeats) * i64::from(items),
                settled: settled.contains(&key),
                measured: measured.remove(&key).unwrap_or_default(),
            });
        }
    }
    let found = columns.len();
    columns.truncate(fitting_in(&columns, MAX_BYTES));
    let notice = (columns.len() < found).then(|| format!(
        "only the first {} of {found} columns fit into one answer; export the evaluations of the run to see the others",
        columns.len()
    ));
    Ok(RunColumns {
        run_id: run.id,
        number: run.number,
        state: run.state,
        confidence: CONFIDENCE,
        notice,
        columns,
    })
}

/// Repeats, items, and the columns that are settled.
async fn facts(conn: &mut PgConnection, run_id: Uuid) -> Result<(i16, i32, Vec<ColumnKey>)> {
    let run = sqlx::query!(
        "-- run_columns::facts
        select repeats, item_count from runs where id = $1",
        run_id
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::NotFound(format!("the run `{run_id}`")))?;
    let settled = sqlx::query!(
        "-- run_columns::facts
        select prompt_position, model_position from settled_columns where run_id = $1",
        run_id
    )
    .fetch_all(conn)
    .await?;
    let settled = settled
        .into_iter()
        .map(|row| (row.prompt_position, row.model_position));
    Ok((run.repeats, run.item_count, settled.collect()))
}

/// Which models of a run are simulated, by position.
async fn simulated_models(conn: &mut PgConnection, run_id: Uuid) -> Result<Vec<bool>> {
    let simulated = sqlx::query_scalar!(
        r#"-- run_columns::simulated_models
        select providers.kind in ('simulated', 'echo') as "simulated!"
        from run_models
        join models on models.id = model_id
        join providers on providers.id = provider_id
        where run_id = $1
        order by position"#,
        run_id
    )
    .fetch_all(conn)
    .await?;
    Ok(simulated)
}
