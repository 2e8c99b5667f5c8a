//! Runs that are paused in the middle: nothing is called meanwhile, nothing is lost, nothing is doubled.

use opb_testing::{TestDatabase, fixtures, without_rules::resume_run};
use std::time::Duration;

use opb_core::{
    metrics::METRICS,
    runs::{RunState, cancel_run, find_run, pause_run},
};
use serde_json::json;

use crate::{
    harness::{RunningWorker, wait_for},
    killed::totals,
    runs::assert_counted_once,
};

/// How many calls were made in this process, whatever their outcome.
fn calls() -> u64 {
    METRICS.calls.with_label_values(&["simulated", "ok"]).get()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_calls_nothing_and_resumes_without_loss() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 150).await;
    let undisturbed = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let workers = [(); 2].map(|()| RunningWorker::start(&db, &["--concurrency", "8"]));
    let undisturbed = wait_for(&db, &owner, undisturbed.id, |run| run.state.has_ended()).await;

    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    wait_for(&db, &owner, run.id, |run| run.recorded > 20).await;
    let paused = pause_run(conn, &owner, run.id).await.unwrap();
    assert_eq!(paused.state, RunState::Paused);
    assert!(paused.state_reason.starts_with("paused by "));
    // Calls take 100 ms or so; the bell stops new ones at once, and the shards are handed back.
    let bound = Duration::from_mins(2);
    tokio::time::timeout(bound, async {
        while METRICS.shards_running.get() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("every shard is handed back soon after the pause");
    let (called, recorded) = (
        calls(),
        find_run(conn, Some(&owner), run.id).await.unwrap().recorded,
    );
    for _ in 0..20 {
        wait_for(&db, &owner, run.id, |_| true).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let still = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(
        (still.state, still.recorded, calls()),
        (RunState::Paused, recorded, called)
    );
    assert!(still.recorded < still.planned);
    let crashes: i64 = sqlx::query_scalar("select coalesce(sum(crashes), 0) from shards")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(crashes, 0);

    resume_run(conn, &owner, run.id).await.unwrap();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(
        (run.state, run.state_reason.as_str()),
        (RunState::Completed, "")
    );
    assert_counted_once(&db, &run).await;
    assert_eq!(totals(&run), totals(&undisturbed));
    assert_eq!(
        run.spend_microusd, run.cost_microusd,
        "nothing was paid twice"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_run_can_be_cancelled_and_a_cancelled_one_not_resumed() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    pause_run(conn, &owner, run.id).await.unwrap();
    assert!(
        pause_run(conn, &owner, run.id).await.is_err(),
        "it is paused"
    );
    let resumed = resume_run(conn, &owner, run.id).await.unwrap();
    assert_eq!(resumed.state, RunState::Queued, "it has not begun");
    pause_run(conn, &owner, run.id).await.unwrap();
    let cancelled = cancel_run(conn, &owner, run.id).await.unwrap();
    assert_eq!(cancelled.state, RunState::Cancelled);
    assert!(resume_run(conn, &owner, run.id).await.is_err());
    assert!(pause_run(conn, &owner, run.id).await.is_err());
}
