//! Runs share the workers: a short one does not wait for a long one of somebody else, and nobody starves.

use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use std::time::Duration;

use opb_core::{
    auth::{CurrentUser, UserRole},
    runs::{Run, RunState, SubmitRun, find_run},
};
use serde_json::{Value, json};
use sqlx::PgConnection;

use crate::{
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
    stand_in,
};

fn models() -> Value {
    json!([{"model": "counted:any", "parameters": {"stream": false}}])
}

async fn submit(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    repeats: i32,
    priority: i16,
    limit: Option<i32>,
) -> Run {
    let request = SubmitRun {
        priority,
        limit,
        ..fixtures::request(models(), repeats)
    };
    submit_run(conn, owner, &request, None).await.unwrap()
}

/// Somebody else.
pub async fn another(conn: &mut PgConnection) -> CurrentUser {
    let id = sqlx::query_scalar(
        "insert into users (username, email, password_hash, role) values ('other', 'other@example.org', 'none', 'admin') returning id",
    )
    .fetch_one(conn)
    .await
    .unwrap();
    CurrentUser {
        id,
        username: "other".into(),
        // Only administrators may put a run before those of others.
        role: UserRole::Admin,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_run_does_not_wait_for_a_long_one_of_somebody_else() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let other = another(conn).await;
    stand_in::start(conn, Duration::from_millis(50), None).await;
    let settings = [
        "--concurrency",
        "4",
        "--shards",
        "4",
        "--allow-outbound",
        "127.0.0.1",
    ];
    let worker = RunningWorker::start(&db, &settings);
    // Three minutes of work, and every place taken by it.
    let long = submit(conn, &owner, 72, 0, None).await;
    wait_for(&db, &owner, long.id, |run| run.recorded > 100).await;
    let before = find_run(conn, Some(&owner), long.id).await.unwrap();
    let run = submit(conn, &other, 1, 0, Some(10)).await;
    let run = wait_for(&db, &other, run.id, |run| run.state.has_ended()).await;
    assert_eq!((run.state, run.recorded), (RunState::Completed, 20));
    let after = find_run(conn, Some(&owner), long.id).await.unwrap();
    assert!(!after.state.has_ended(), "{after:#?}");
    worker.stop().await;
    // Half of the places, once one has come free, and with room for what a busy machine does in between.
    let meanwhile = after.recorded - before.recorded;
    assert!(meanwhile < 2_000, "{meanwhile} beside 20 of the other");
}

#[tokio::test(flavor = "multi_thread")]
async fn priorities_count_and_nothing_starves() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let other = another(conn).await;
    stand_in::start(conn, Duration::from_millis(20), None).await;
    let low = submit(conn, &owner, 4, -2, None).await;
    let high = submit(conn, &other, 4, 1, None).await;
    let settings = [
        "--concurrency",
        "4",
        "--shards",
        "12",
        "--allow-outbound",
        "127.0.0.1",
    ];
    let worker = RunningWorker::start(&db, &settings);
    let high = wait_for(&db, &other, high.id, |run| run.state.has_ended()).await;
    let meanwhile: i64 = sqlx::query_scalar(
        "select count(*) from evaluations
         where run_id = $1 and recorded_at <= (select max(recorded_at) from evaluations where run_id = $2)",
    )
    .bind(low.id)
    .bind(high.id)
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    assert!(
        (1..high.planned / 2).contains(&meanwhile),
        "an eighth of the share, and not nothing: {meanwhile}"
    );
    let low = wait_for(&db, &owner, low.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    for run in [&low, &high] {
        assert_eq!((run.state, run.errors), (RunState::Completed, 0));
        assert_counted_once(&db, run).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_that_never_end_keep_no_place_from_somebody_else() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let other = another(conn).await;
    // No answer comes as long as the test lasts.
    let books = stand_in::start(conn, Duration::from_hours(1), None).await;
    let settings = [
        "--shards",
        "4",
        "--grace",
        "1",
        "--allow-outbound",
        "127.0.0.1",
    ];
    let worker = RunningWorker::start(&db, &settings);
    let mut slow = Vec::new();
    for _ in 0..20 {
        slow.push(submit(conn, &owner, 1, 0, None).await);
    }
    // Every place is taken: each shard has one call.
    while books.calls() < 4 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let request = SubmitRun {
        limit: Some(1),
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    let quick = submit_run(conn, &other, &request, None).await.unwrap();
    let quick = wait_for(&db, &other, quick.id, |run| run.state.has_ended()).await;
    assert_eq!((quick.state, quick.recorded), (RunState::Completed, 2));
    for run in slow {
        let run = find_run(conn, Some(&owner), run.id).await.unwrap();
        assert_eq!(run.recorded, 0, "{run:#?}");
    }
    worker.stop().await;
}
