//! A provider that is down for a while: runs wait, say so, lose nothing and go on by themselves.

use std::time::Duration;

use opb_core::{
    models::{ProviderChange, answered_among, list_providers, mark_answered, update_provider},
    outbound::OutboundPolicy,
    runs::{RunState, find_run, list_evaluations},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    harness::{RunningWorker, master_key, wait_for},
    runs::assert_counted_once,
    stand_in,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_waits_for_a_provider_that_is_down_and_records_no_error() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let books = stand_in::start(conn, Duration::from_millis(20), None).await;
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let settings = ["--concurrency", "8", "--allow-outbound", "127.0.0.1"];
    let worker = RunningWorker::start(&db, &settings);
    wait_for(&db, &owner, run.id, |run| run.recorded > 20).await;
    books.go_down();
    let waiting = wait_for(&db, &owner, run.id, |run| run.waiting_reason.is_some()).await;
    let reason = waiting.waiting_reason.clone().unwrap();
    assert!(reason.contains("counted:any has not answered"), "{reason}");
    assert!(!waiting.state.has_ended(), "{waiting:#?}");
    // Longer than five attempts take, and with few calls.
    let (calls, recorded) = (books.calls(), waiting.recorded);
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(6)
        || books.calls() == calls && began.elapsed() < Duration::from_mins(10)
    {
        let run = find_run(conn, Some(&owner), run.id).await.unwrap();
        assert_eq!((run.errors, run.recorded), (0, recorded));
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let tried = books.calls() - calls;
    assert!(
        (1..=8).contains(&tried),
        "{tried} calls were made meanwhile"
    );
    books.come_back();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.errors, run.waiting_reason.as_deref()),
        (RunState::Completed, 0, None)
    );
    assert_counted_once(&db, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_fails_at_once_where_nobody_listens() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 40).await;
    stand_in::start(conn, Duration::ZERO, None).await;
    // Nobody listens there; a credential is not at stake.
    let nowhere = ProviderChange {
        base_url: Some("http://127.0.0.1:1/v1".into()),
        ..ProviderChange::default()
    };
    move_counted(conn, nowhere).await;
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    // No patience is needed where nobody listens: the first refusal is the last.
    let settings = ["--allow-outbound", "127.0.0.1"];
    let worker = RunningWorker::start(&db, &settings);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Failed, 80));
    assert!(run.state_reason.contains("`connect`"), "{run:#?}");
    let errors = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter {
            state: Some(opb_core::runs::EvaluationState::Error),
            ..Default::default()
        },
        None,
        100,
    )
    .await
    .unwrap()
    .evaluations;
    for evaluation in errors {
        assert_eq!(evaluation.error_kind.as_deref(), Some("connect"));
        let error = evaluation.error.unwrap();
        assert!(error.contains("opb provider check"), "{error}");
        assert_eq!(evaluation.attempts, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_answered_another_worker_is_waited_for_until_its_address_changes() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let books = stand_in::start(conn, Duration::from_millis(20), None).await;
    let id = list_providers(conn, &owner).await.unwrap();
    let id = id.iter().find(|found| found.name == "counted").unwrap().id;
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let settings = [
        "--concurrency=8",
        "--first-patience=0",
        "--allow-outbound=127.0.0.1",
    ];
    // Even "too much for everybody" is an answer, and one worker's word to all.
    books.go_down();
    let first = RunningWorker::start(&db, &settings);
    wait_for(&db, &owner, run.id, |run| run.waiting_reason.is_some()).await;
    while answered_among(conn, &[id]).await.unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    first.stop().await;
    books.hang_up();
    let second = RunningWorker::start(&db, &settings);
    let began = tokio::time::Instant::now();
    while began.elapsed() < Duration::from_secs(6) {
        let run = find_run(conn, Some(&owner), run.id).await.unwrap();
        assert_eq!((run.errors, run.recorded), (0, 0), "{run:#?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    books.come_back();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    second.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));

    let elsewhere = ProviderChange {
        base_url: Some("http://127.0.0.1:1/v1".into()),
        ..ProviderChange::default()
    };
    move_counted(conn, elsewhere).await;
    assert!(answered_among(conn, &[id]).await.unwrap().is_empty());
    mark_answered(conn, &[id]).await.unwrap();
    move_counted(conn, ProviderChange::default()).await;
    assert_eq!(answered_among(conn, &[id]).await.unwrap(), [id]);
}

async fn move_counted(conn: &mut PgConnection, change: ProviderChange) {
    let policy = OutboundPolicy::local();
    update_provider(
        conn,
        &fixtures::administrator(),
        &master_key(),
        &policy,
        "counted",
        change,
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_when_patience_does() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 40).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    books.go_down();
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let settings = ["--patience", "0", "--allow-outbound", "127.0.0.1"];
    let worker = RunningWorker::start(&db, &settings);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Failed, 80));
    assert!(
        run.state_reason.contains("`overloaded`"),
        "{}",
        run.state_reason
    );
    assert!(books.calls() < 5 * 80, "calls stopped: {}", books.calls());
    assert_counted_once(&db, &run).await;
}
