//! Jobs of runs that the queue has lost are enqueued again: the tables of runs are the truth, the queue is not.

use sqlx::{Connection as _, PgConnection};

use super::bells::tell;
use crate::{
    Result,
    queue::{self, Job},
};

/// Enqueues jobs of runs that nobody works on: those that are not cut into shards, those that wait to be finished, and
/// those whose last shard was closed by nobody. Returns how many.
pub(crate) async fn enqueue_lost_jobs(conn: &mut PgConnection) -> Result<u64> {
    let mut tx = conn.begin().await?;
    let runs = sqlx::query!(
        r#"-- lost_jobs::enqueue_lost_jobs
        select id, shards_open is null as "uncut!", state = 'finishing' as "finishing!"
        from runs
        where finished_at is null and (shards_open is null or shards_open = 0)
        for update skip locked"#
    )
    .fetch_all(&mut *tx)
    .await?;
    let mut enqueued = 0;
    for run in runs {
        let run_id = run.id;
        let job = if run.uncut {
            Job::Plan { run_id }
        } else {
            Job::Finish { run_id }
        };
        if queue::is_enqueued(&mut tx, job).await? {
            continue;
        }
        if !run.uncut && !run.finishing {
            sqlx::query!(
                "-- lost_jobs::enqueue_lost_jobs
                update runs set state = 'finishing' where id = $1",
                run_id
            )
            .execute(&mut *tx)
            .await?;
            tell(&mut tx, run_id).await?;
        }
        queue::enqueue(&mut tx, job).await?;
        enqueued += 1;
    }
    tx.commit().await?;
    Ok(enqueued)
}
