//! Housekeeping mends what crashes leave behind, and a run always ends.

use std::time::Duration;

use opb_core::{
    finishing::finish_run,
    housekeeping::{Mended, mend},
    runs::{RunState, cancel_run, claim_shard, find_run, finish_shard, plan_run},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(30);

/// Claims every claimable shard and lets its lease run out, as a worker that dies of each would.
async fn crash_all(conn: &mut PgConnection, run_id: Uuid) {
    sqlx::query("update shards set available_at = now() - interval '1 second' where run_id = $1")
        .bind(run_id)
        .execute(&mut *conn)
        .await
        .unwrap();
    let shards: Vec<Uuid> =
        sqlx::query_scalar("select id from shards where run_id = $1 and state = 'available'")
            .bind(run_id)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    for shard in shards {
        fixtures::claim(conn, shard).await.unwrap();
    }
    sqlx::query("update shards set lease_until = now() - interval '1 second' where run_id = $1 and state = 'running'")
        .bind(run_id)
        .execute(&mut *conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_poisoned_run_ends_with_every_evaluation_recorded_as_an_error() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 70).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    let mut total = Mended::default();
    for _ in 0..24 {
        crash_all(conn, run.id).await;
        let mended = mend(conn).await.unwrap();
        total.split_shards += mended.split_shards;
        total.poisoned_evaluations += mended.poisoned_evaluations;
    }
    assert_eq!(
        total.split_shards, 70,
        "every shard of two is cut into single evaluations"
    );
    assert_eq!(total.poisoned_evaluations, 140);
    finish_run(conn, run.id).await.unwrap();
    let run = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!((run.recorded, run.errors), (140, 140));
    assert_eq!(run.state, RunState::Failed);
    assert!(
        run.state_reason.contains("poisoned"),
        "{}",
        run.state_reason
    );
}

/// The jobs that wait.
async fn waiting_jobs(conn: &mut PgConnection) -> Vec<String> {
    let sql = "select convert_from(job, 'UTF8')::jsonb ->> 'job' from apalis.jobs where status = 'Pending'";
    sqlx::query_scalar(sql).fetch_all(conn).await.unwrap()
}

async fn lose_jobs(conn: &mut PgConnection) {
    sqlx::query("delete from apalis.jobs")
        .execute(conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_lost_finishing_comes_back() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    assert!(
        waiting_jobs(conn).await.is_empty(),
        "a small run needs no job"
    );
    while let Some(lease) = claim_shard(conn, "w", LEASE).await.unwrap() {
        assert!(finish_shard(conn, &lease).await.unwrap());
    }
    assert_eq!(
        waiting_jobs(conn).await,
        ["finish"],
        "enqueued with the end of the last shard"
    );
    assert_eq!(
        mend(conn).await.unwrap(),
        Mended::default(),
        "nothing is wrong yet"
    );
    lose_jobs(conn).await;
    for requeued in [1, 0] {
        assert_eq!(mend(conn).await.unwrap().requeued, requeued);
        assert_eq!(waiting_jobs(conn).await, ["finish"]);
    }
    finish_run(conn, run.id).await.unwrap();
    finish_run(conn, run.id).await.unwrap();
    let run = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(
        run.state,
        RunState::Failed,
        "its shards were done without a result"
    );
    assert_eq!(run.state_reason, "6 of 6 evaluations were lost");
}

#[tokio::test]
async fn a_large_run_is_cut_by_a_job_that_can_be_lost_and_come_twice() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 40).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 500).await;
    assert_eq!((run.planned, run.state), (40_000, RunState::Queued));
    let shards = async |conn: &mut PgConnection| -> (i64, i64) {
        let sql = "select count(*), coalesce(sum(size), 0)::bigint from shards where run_id = $1";
        let query = sqlx::query_as(sql).bind(run.id);
        query.fetch_one(conn).await.unwrap()
    };
    assert_eq!(shards(conn).await, (0, 0));
    assert_eq!(waiting_jobs(conn).await, ["plan"]);
    assert!(claim_shard(conn, "w", LEASE).await.unwrap().is_none());
    lose_jobs(conn).await;
    for requeued in [1, 0] {
        assert_eq!(mend(conn).await.unwrap().requeued, requeued);
        assert_eq!(waiting_jobs(conn).await, ["plan"]);
    }
    for _ in 0..2 {
        plan_run(conn, run.id).await.unwrap();
        assert_eq!(shards(conn).await, (80, 40_000));
    }
    lose_jobs(conn).await;
    assert_eq!(mend(conn).await.unwrap().requeued, 0, "it is cut");
    assert!(claim_shard(conn, "w", LEASE).await.unwrap().is_some());

    // A run that has ended meanwhile is left alone.
    let other = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 500).await;
    cancel_run(conn, &owner, other.id).await.unwrap();
    plan_run(conn, other.id).await.unwrap();
    let cut: i64 = sqlx::query_scalar("select count(*) from shards where run_id = $1")
        .bind(other.id)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(cut, 0);
}
