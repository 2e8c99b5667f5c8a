//! Declared limits hold for all workers together.

use std::time::Duration;

use opb_core::{
    models::{ProviderLimits, list_limits, update_limits},
    runs::{RunState, SubmitRun, find_run},
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;
use tokio::time::Instant;

use crate::{
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
    stand_in,
};

const SETTINGS: [&str; 4] = ["--shards", "4", "--allow-outbound", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_a_limit_of_requests() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let books = stand_in::start(conn, Duration::from_millis(5), None).await;
    let limits = ProviderLimits {
        requests_per_minute: Some(1_200),
        ..ProviderLimits::default()
    };
    update_limits(conn, &fixtures::administrator(), "counted", &limits)
        .await
        .unwrap();
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let began = Instant::now();
    let workers = [(); 3].map(|()| RunningWorker::start(&db, &SETTINGS));
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    let took = began.elapsed().as_secs_f64();
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!((run.state, books.calls()), (RunState::Completed, 200));
    // 200 calls at 19.6 a second, of which those of one second may come at once.
    assert!(took > 8.5, "{took} s");
    assert_counted_once(&db, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn three_workers_share_a_limit_of_concurrent_calls() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let books = stand_in::start(conn, Duration::from_millis(50), None).await;
    let limits = ProviderLimits {
        model: Some("any".into()),
        concurrent_calls: Some(5),
        ..ProviderLimits::default()
    };
    update_limits(conn, &fixtures::administrator(), "counted", &limits)
        .await
        .unwrap();
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let workers = [(); 3].map(|()| RunningWorker::start(&db, &SETTINGS));
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));
    let most = books.most_running();
    assert!((3..=5).contains(&most), "{most} calls ran at once");
    assert_counted_once(&db, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_stop_before_the_limit_of_the_day_and_go_on_when_it_is_raised() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let books = stand_in::start(conn, Duration::from_millis(5), None).await;
    let daily = |dollars: i64| ProviderLimits {
        daily_microusd: Some(dollars * 1_000_000),
        ..ProviderLimits::default()
    };
    update_limits(conn, &fixtures::administrator(), "counted", &daily(1))
        .await
        .unwrap();
    let models =
        json!([{"model": "counted:any", "parameters": {"stream": false, "max_tokens": 100}}]);
    let run = fixtures::submit(conn, &owner, models, 2).await;
    let worker = RunningWorker::start(&db, &SETTINGS);
    let run = wait_for(&db, &owner, run.id, |run| run.waiting_reason.is_some()).await;
    let reason = run.waiting_reason.clone().unwrap();
    assert!(reason.contains("limit of $1.00 a day"), "{reason}");
    assert!(
        books.billed_microusd() <= 1_000_000,
        "{}",
        books.billed_microusd()
    );
    assert!(
        books.billed_microusd() > 800_000,
        "{}",
        books.billed_microusd()
    );
    update_limits(conn, &fixtures::administrator(), "counted", &daily(100))
        .await
        .unwrap();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));
    let run = find_run(conn, Some(&owner), run.id).await.unwrap();
    let declared = list_limits(conn, &fixtures::administrator(), "counted")
        .await
        .unwrap();
    assert_eq!(
        (declared[0].spent_today_microusd, run.spend_microusd),
        (run.spend_microusd, books.billed_microusd()),
        "what was not spent came back"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_may_have_a_time_limit_of_its_own() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    // No answer comes as long as the test lasts, nor as long as the worker's own limit does.
    let _books = stand_in::start(conn, Duration::from_hours(1), None).await;
    for (model, seconds) in [(None, 3_600), (Some("any"), 1)] {
        let limits = ProviderLimits {
            model: model.map(str::to_owned),
            call_timeout_seconds: Some(seconds),
            ..ProviderLimits::default()
        };
        update_limits(conn, &fixtures::administrator(), "counted", &limits)
            .await
            .unwrap();
    }
    let run = fixtures::submit(conn, &owner, json!(["counted:any"]), 1).await;
    let settings = ["--call-timeout", "3600", "--max-attempts", "1"];
    let worker = RunningWorker::start(&db, &[&settings[..], &SETTINGS].concat());
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(run.state, RunState::Failed);
    let errors: Vec<(String, String)> = sqlx::query_as("select error_kind, error from evaluations")
        .fetch_all(&mut **conn)
        .await
        .unwrap();
    assert!(!errors.is_empty());
    for (kind, message) in errors {
        assert_eq!(kind, "timeout");
        assert!(
            message.contains("did not begin within 1 s") && message.contains("--call-timeout"),
            "{message}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_may_say_how_many_of_its_calls_run_at_once() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let books = stand_in::start(conn, Duration::from_millis(20), None).await;
    let request = SubmitRun {
        concurrency: Some(3),
        ..fixtures::request(json!(["counted:any", "counted:other"]), 1)
    };
    let run = submit_run(conn, &owner, &request, None).await.unwrap();
    let worker = RunningWorker::start(&db, &SETTINGS);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));
    assert_eq!((books.calls(), books.most_running()), (240, 3));
}
