//! Housekeeping mends what crashes leave behind, and a run always ends.

use std::time::Duration;

use opb_core::runs::{Mended, RunState, claim_shard, find_run, finish_run, finish_shard, mend};
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
        claim_shard(conn, shard, "doomed", LEASE)
            .await
            .unwrap()
            .unwrap();
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

#[tokio::test]
async fn lost_queue_rows_come_back() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let waiting = async |conn: &mut PgConnection| -> i64 {
        let sql = "select count(*) from apalis.jobs where status = 'Pending'";
        sqlx::query_scalar(sql).fetch_one(conn).await.unwrap()
    };
    assert_eq!(waiting(conn).await, 6);
    assert_eq!(
        mend(conn).await.unwrap(),
        Mended::default(),
        "nothing is wrong yet"
    );

    sqlx::query("delete from apalis.jobs")
        .execute(&mut **conn)
        .await
        .unwrap();
    sqlx::query("update shards set enqueued_at = now() - interval '1 hour'")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert_eq!(mend(conn).await.unwrap().requeued, 6);
    assert_eq!(waiting(conn).await, 6);
    assert_eq!(mend(conn).await.unwrap().requeued, 0);

    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards")
        .fetch_all(&mut **conn)
        .await
        .unwrap();
    for shard in shards {
        let lease = claim_shard(conn, shard, "w", LEASE).await.unwrap().unwrap();
        assert!(finish_shard(conn, &lease, 0).await.unwrap());
    }
    assert_eq!(
        waiting(conn).await,
        7,
        "the finishing was enqueued with the last shard"
    );
    sqlx::query("delete from apalis.jobs")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert_eq!(
        mend(conn).await.unwrap().requeued,
        1,
        "the finishing comes back, too"
    );
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
