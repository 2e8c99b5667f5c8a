//! Workers that stop or are cut off in the middle of a run.

use opb_core::runs::{RunState, cancel_run};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;

use crate::{
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_stops_hands_its_work_back() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 150).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    for _ in 0..3 {
        let worker = RunningWorker::start(&db, &["--concurrency", "4", "--grace", "0"]);
        let before = run.recorded;
        wait_for(&db, &owner, run.id, |run| run.recorded > before).await;
        worker.stop().await;
    }
    let crashes: i64 = sqlx::query_scalar("select coalesce(sum(crashes), 0) from shards")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(crashes, 0, "stopping is no crash");
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));
    assert_counted_once(&db, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_stops_its_calls() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 150).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let worker = RunningWorker::start(&db, &["--concurrency", "2", "--lease", "3"]);
    wait_for(&db, &owner, run.id, |run| run.recorded > 0).await;
    let cancelled = cancel_run(conn, &owner, run.id).await.unwrap();
    wait_for(&db, &owner, run.id, |_| {
        opb_core::metrics::METRICS.shards_running.get() == 0
    })
    .await;
    worker.stop().await;
    let after = opb_core::runs::find_run(conn, Some(&owner), run.id)
        .await
        .unwrap();
    assert_eq!(
        (after.state, after.recorded),
        (RunState::Cancelled, cancelled.recorded)
    );
    assert!(after.recorded < after.planned);
}
