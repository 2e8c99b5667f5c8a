//! Declared limits hold for all workers together.

use std::time::Duration;

use opb_core::{
    models::{ProviderLimits, list_limits, update_limits},
    runs::{RunState, find_run},
};
use opb_testing::{TestDatabase, fixtures};
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
