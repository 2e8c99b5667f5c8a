//! Workers that stop or are cut off in the middle of a run.

use std::time::{Duration, Instant};

use opb_core::runs::{RunState, cancel_run, find_run};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;

use crate::{
    harness::{RunningWorker, wait_for},
    killed::WorkerProcess,
    runs::assert_counted_once,
    stand_in,
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

/// The calls of `counted:any` take half a second: a grace of a minute lets them finish, that of 0 s hands them back.
#[tokio::test(flavor = "multi_thread")]
async fn sigterm_ends_a_worker_in_order() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let books = stand_in::start(conn, Duration::from_millis(500), None).await;
    let run = fixtures::submit(conn, &owner, json!(["counted:any"]), 1).await;
    for grace in ["60", "0"] {
        let settings = [
            "--concurrency",
            "16",
            "--grace",
            grace,
            "--allow-outbound",
            "127.0.0.1",
        ];
        let worker = WorkerProcess::start_with_lease(&db, "60", &settings);
        let before = books.calls();
        let told = Instant::now();
        wait_for(&db, &owner, run.id, |_| books.calls() >= before + 16).await;
        assert_eq!(worker.terminate(), Some(0), "after {:?}", told.elapsed());
        let run = find_run(conn, Some(&owner), run.id).await.unwrap();
        if grace == "60" {
            let calls = i64::try_from(books.calls()).unwrap();
            assert_eq!(run.recorded, calls, "every call that ran was let finish");
        }
        let held: i64 = sqlx::query_scalar(
            "select count(*) from shards where state = 'running' or crashes > 0",
        )
        .fetch_one(&mut **conn)
        .await
        .unwrap();
        assert_eq!(
            held, 0,
            "its shards are there for others, and no crash is counted"
        );
    }
    let worker = RunningWorker::start(&db, &["--allow-outbound", "127.0.0.1"]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.recorded, run.errors),
        (RunState::Completed, 120, 0)
    );
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
