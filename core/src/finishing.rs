//! Finishing: when the last shard is done, the run's standings are computed and the run ends. Of a run that was cancelled,
//! only its own table is kept.

use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::{
    Result, leaderboards, run_columns,
    runs::{RunState, announce_run, early_remark, tell},
    webhooks::WebhookEvent,
};

/// The characters of a message that a reason holds.
const MESSAGE_CHARACTERS: i32 = 300;

/// Ends a run whose shards are all done, or keeps what one that was cancelled has measured. Safe to call again; any other run
/// is left alone.
///
/// # Errors
/// The database does not answer; the run stays as it was and housekeeping calls again.
pub async fn finish_run(conn: &mut PgConnection, run_id: Uuid) -> Result<()> {
    let mut tx = conn.begin().await?;
    // Before the run is locked: whoever sums it up meanwhile has to look at its row.
    leaderboards::lock_progress(&mut tx, run_id).await?;
    let run = sqlx::query!(
        r#"-- finishing::finish_run
        select state as "state: RunState", planned, recorded, skipped, errors from runs
        where id = $1 and deleted_at is null
        for update"#,
        run_id
    )
    .fetch_optional(&mut *tx)
    .await?;
    let run = match run {
        Some(run) if run.state == RunState::Finishing => run,
        Some(run) if run.state == RunState::Cancelled => {
            run_columns::keep(&mut tx, run_id).await?;
            leaderboards::forget_progress(&mut tx, run_id).await?;
            tx.commit().await?;
            return Ok(());
        }
        _ => return Ok(()),
    };
    let missing = run.planned - run.recorded - run.skipped;
    let (state, reason) = if missing > 0 {
        (
            RunState::Failed,
            format!("{missing} of {} evaluations were lost", run.planned),
        )
    } else if run.errors > 0 && run.errors == run.recorded {
        let most = most_frequent_error(&mut tx, run_id).await?;
        (
            RunState::Failed,
            format!("every evaluation ended in an error, most often {most}"),
        )
    } else {
        let errors = (run.errors > 0).then(|| {
            format!(
                "{} of {} evaluations ended in an error",
                run.errors, run.recorded
            )
        });
        let remarks = [early_remark(&mut tx, run_id).await?, errors];
        let remarks: Vec<String> = remarks.into_iter().flatten().collect();
        (RunState::Completed, remarks.join("; "))
    };
    if state == RunState::Completed {
        leaderboards::update_standings(&mut tx, run_id).await?;
    }
    run_columns::keep(&mut tx, run_id).await?;
    leaderboards::forget_progress(&mut tx, run_id).await?;
    sqlx::query!(
        "-- finishing::finish_run
        update runs set state = $2, state_reason = $3, finished_at = now() where id = $1",
        run_id,
        state as RunState,
        reason
    )
    .execute(&mut *tx)
    .await?;
    tell(&mut tx, run_id).await?;
    announce_run(&mut tx, run_id, WebhookEvent::RunFinished).await?;
    tx.commit().await?;
    tracing::info!(run.id = %run_id, run.state = ?state, "run ended");
    Ok(())
}

/// The most frequent kind of error, how often it came, its most frequent message, and an item.
async fn most_frequent_error(tx: &mut PgConnection, run_id: Uuid) -> Result<String> {
    let found = sqlx::query!(
        r#"-- finishing::most_frequent_error
        with kinds as (
            select error_kind, count(*) as evaluations, sum(count(*)) over () as errors
            from evaluations
            where run_id = $1 and state = 'error'
            group by error_kind
            order by 2 desc, 1
            limit 1
        ), messages as (
            select left(coalesce(error, ''), $2) as message, count(*) as evaluations, min(item_position) as first_item
            from evaluations
            where run_id = $1 and state = 'error' and error_kind = (select error_kind from kinds)
            group by 1
            order by 2 desc, 3
            limit 1
        )
        select error_kind as "kind!", kinds.evaluations as "evaluations!", kinds.errors::bigint as "errors!",
               message as "message!", items.key as item
        from kinds, messages
        join runs on runs.id = $1
        join items on items.benchmark_version_id = runs.benchmark_version_id and items.position = first_item"#,
        run_id,
        MESSAGE_CHARACTERS
    )
    .fetch_optional(tx)
    .await?;
    Ok(found.map_or_else(String::new, |found| {
        let message = match found.message.as_str() {
            "" => String::new(),
            message => format!(": {message}"),
        };
        format!(
            "`{}` ({} of {}, such as item `{}`){message}",
            found.kind, found.evaluations, found.errors, found.item
        )
    }))
}
