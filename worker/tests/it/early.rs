//! Runs that stop early, with real workers: fewer calls, the same order, and every evaluation accounted for.

use opb_core::{
    auth::{CurrentUser, Visibility},
    leaderboards::{BoardFilter, load_leaderboard},
    metrics::METRICS,
    runs::{RescoreRun, Run, RunState, SubmitRun, cancel_run, pause_run, rescore_run},
};
use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{resume_run, submit_run},
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    harness::{RunningWorker, wait_for},
    killed::WorkerProcess,
};

/// One prompt on these models.
async fn submit(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    models: Value,
    stop_early: bool,
) -> Run {
    let request = SubmitRun {
        prompts: vec!["plain".into()],
        stop_early,
        cache: false,
        ..fixtures::request(models, 1)
    };
    submit_run(conn, owner, &request, None).await.unwrap()
}

/// So far apart that their order shows soon.
fn far_apart() -> Value {
    json!([{"model": "simulated:weak", "parameters": {"latency": false}},
           {"model": "simulated:strong", "parameters": {"latency": false}}])
}

/// How many calls were made in this process.
fn calls() -> u64 {
    METRICS.calls.with_label_values(&["simulated", "ok"]).get()
}

/// The models of the board, best first.
async fn order(conn: &mut PgConnection) -> Vec<String> {
    let board = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    let standings = board.standings.into_iter();
    standings.map(|standing| standing.model).collect()
}

/// The counters of a run say what its rows say, and what is not recorded is skipped.
async fn assert_accounted(db: &TestDatabase, run: &Run) {
    let rows: (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where passed), count(error_kind), coalesce(sum(cost_microusd), 0)::bigint
         from evaluations where run_id = $1",
    )
    .bind(run.id)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    let counted = (run.recorded, run.passed, run.errors, run.cost_microusd);
    assert_eq!(rows, counted);
    assert_eq!(run.recorded + run.skipped, run.planned, "{run:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_stops_early_calls_less_and_finds_the_same_order() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2_000).await;
    let worker = RunningWorker::start(&db, &["--shards", "8"]);
    let run = submit(conn, &owner, far_apart(), true).await;
    let early = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!((early.state, early.settled), (RunState::Completed, 2));
    assert_accounted(&db, &early).await;
    assert_eq!(calls(), early.recorded.unsigned_abs());
    // How many calls are in flight when the order is decided depends on the machine.
    assert!(early.skipped > 0, "{early:#?}");
    assert!(
        early.state_reason.starts_with("decided after "),
        "{}",
        early.state_reason
    );
    let order_early = order(conn).await;

    let request = RescoreRun {
        benchmark: fixtures::BENCHMARK.into(),
        name: String::new(),
        visibility: Some(Visibility::Private),
    };
    let run = rescore_run(conn, &owner, early.id, &request, Visibility::Public)
        .await
        .unwrap();
    let again = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_accounted(&db, &again).await;
    assert_eq!(
        (again.recorded, again.passed, again.errors, calls()),
        (
            early.recorded,
            early.passed,
            0,
            early.recorded.unsigned_abs()
        ),
        "what was not asked has no answer, and is no error"
    );

    let run = submit(conn, &owner, far_apart(), false).await;
    let full = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((full.recorded, full.skipped), (4_000, 0));
    assert_eq!(order_early, order(conn).await);
    assert_eq!(order_early, ["simulated:strong", "simulated:weak"]);
}

/// Two names of one model answer alike, so nobody is better; the weak one is told from both.
#[tokio::test(flavor = "multi_thread")]
async fn equal_columns_are_asked_to_the_end() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1_000).await;
    let worker = RunningWorker::start(&db, &["--shards", "4"]);
    let models = json!([{"model": "simulated:strong", "parameters": {"latency": false}},
                        {"model": "simulated:strong", "parameters": {"latency": false, "temperature": 0}},
                        {"model": "simulated:weak", "parameters": {"latency": false}}]);
    let run = submit(conn, &owner, models, true).await;
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.settled), (RunState::Completed, 1));
    assert_accounted(&db, &run).await;
    let asked: Vec<i64> = sqlx::query_scalar(
        "select count(*) from evaluations where run_id = $1 group by model_position order by model_position",
    )
    .bind(run.id)
    .fetch_all(&mut **conn)
    .await
    .unwrap();
    assert!(
        asked[..2] == [1_000, 1_000] && asked[2] < 1_000,
        "{asked:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_and_a_pause_lose_nothing_of_it() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    // Long enough that the shards of the killed worker come back long before its end.
    let owner = fixtures::library(conn, 10_000).await;
    let models = json!(["simulated:weak", "simulated:strong"]);
    let run = submit(conn, &owner, models, true).await;
    let worker = WorkerProcess::start(&db, &["--shards", "4"]);
    wait_for(&db, &owner, run.id, |run| run.recorded >= 50).await;
    worker.kill();
    let worker = RunningWorker::start(&db, &["--shards", "4"]);
    wait_for(&db, &owner, run.id, |run| run.settled > 0).await;
    {
        // On a connection of its own: what a refused transaction locks is free when its connection is given back.
        let mut other = db.pool.acquire().await.unwrap();
        // The run may be over already: then there is nothing to pause.
        if pause_run(&mut other, &owner, run.id).await.is_ok() {
            resume_run(&mut other, &owner, run.id).await.unwrap();
        }
    }
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.settled), (RunState::Completed, 2));
    assert!(run.skipped > 0, "{run:#?}");
    assert_accounted(&db, &run).await;
    assert_eq!(order(conn).await, ["simulated:strong", "simulated:weak"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_is_settled_and_a_cancelled_run_stays_cancelled() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1_000).await;
    let models = json!([{"model": "simulated:weak", "parameters": {"latency": false, "max_tokens": 60}},
                        {"model": "simulated:strong", "parameters": {"latency": false, "max_tokens": 60}}]);
    let request = SubmitRun {
        budget_microusd: Some(10_000_000),
        prompts: vec!["plain".into()],
        stop_early: true,
        cache: false,
        ..fixtures::request(models, 1)
    };
    let run = submit_run(conn, &owner, &request, None).await.unwrap();
    let worker = RunningWorker::start(&db, &["--shards", "4"]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!((run.state, run.settled), (RunState::Completed, 2));
    assert_accounted(&db, &run).await;
    assert_eq!(
        (
            run.reserved_microusd,
            run.unaccounted_microusd,
            run.spend_microusd
        ),
        (0, 0, run.cost_microusd)
    );

    let models = json!(["simulated:weak", "simulated:strong"]);
    let run = submit(conn, &owner, models, true).await;
    wait_for(&db, &owner, run.id, |run| run.recorded > 0).await;
    let cancelled = cancel_run(conn, &owner, run.id).await.unwrap();
    wait_for(&db, &owner, run.id, |_| METRICS.shards_running.get() == 0).await;
    worker.stop().await;
    let after = wait_for(&db, &owner, run.id, |_| true).await;
    assert_eq!(
        (after.state, after.recorded, after.skipped, after.settled),
        (
            RunState::Cancelled,
            cancelled.recorded,
            cancelled.skipped,
            cancelled.settled
        )
    );
    assert!(after.recorded + after.skipped < after.planned);
}
