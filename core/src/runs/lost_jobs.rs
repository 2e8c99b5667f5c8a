//! Enqueues jobs of runs again that the queue has lost: the tables of runs are the truth, the queue is not.

use sqlx::{Connection as _, PgConnection};

use super::bells::tell;
use crate::{
    Result,
    queue::{self, Job},
};

/// Enqueues missing jobs of runs: of those not divided into shards yet, those waiting to be finished, and those whose
/// shards have all ended without the run being finished. Returns the number of jobs.
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
