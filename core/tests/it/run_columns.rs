//! A run's own table is summed up once when the run ends, also when it was cancelled.

use opb_core::{
    finishing::finish_run,
    queue::{Job, is_enqueued},
    run_columns::{kept_run_columns, measure_run_columns},
    runs::{EvaluationError, NewEvaluation, Settlement, cancel_run, find_run, load_work, record},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn what_a_cancelled_run_measured_is_kept() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let shard: Uuid = sqlx::query_scalar("select id from shards where run_id = $1 limit 1")
        .bind(run.id)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    let failed = |key| NewEvaluation::failed(key, EvaluationError::new("timeout", "slow"), 1);
    let batch: Vec<NewEvaluation> = work.keys(&lease).map(failed).collect();
    record(conn, &lease, &batch, Settlement::default())
        .await
        .unwrap();

    let open = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert!(kept_run_columns(conn, &open).await.unwrap().is_none());
    let cancelled = cancel_run(conn, &owner, run.id).await.unwrap();
    let job = Job::Finish { run_id: run.id };
    assert!(is_enqueued(conn, job).await.unwrap());
    let measured = measure_run_columns(conn, &cancelled).await.unwrap();
    assert!(kept_run_columns(conn, &cancelled).await.unwrap().is_none());

    // A job may be done twice.
    for _ in 0..2 {
        finish_run(conn, run.id).await.unwrap();
        let kept = kept_run_columns(conn, &cancelled).await.unwrap().unwrap();
        assert_eq!(json!(kept), json!(measured));
    }
    let errors: i64 = measured.columns.iter().map(|it| it.measured.errors).sum();
    assert_eq!(errors, i64::try_from(batch.len()).unwrap());
    let found = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(found.state, cancelled.state, "it stays cancelled");
}
