//! What somebody deletes is erased, as soon as nothing rests on it.

use opb_core::{
    housekeeping::mend,
    library::{delete_prompt, find_prompt},
    runs::{cancel_run, delete_run, pause_run},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;

async fn count(conn: &mut PgConnection, query: &'static str) -> i64 {
    sqlx::query_scalar(query).fetch_one(conn).await.unwrap()
}

#[tokio::test]
async fn a_deleted_prompt_is_erased_with_the_last_run_that_used_it() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    delete_prompt(conn, &owner, "plain").await.unwrap();
    mend(conn).await.unwrap();
    let texts = "select count(*) from prompt_versions";
    assert_eq!(count(conn, texts).await, 2, "a run rests on it");
    cancel_run(conn, &owner, run.id).await.unwrap();
    delete_run(conn, &owner, run.id).await.unwrap();
    let past = "update runs set finished_at = now() - interval '2 days', created_at = created_at - interval '3 days'";
    sqlx::query(past).execute(&mut **conn).await.unwrap();
    for _ in 0..3 {
        mend(conn).await.unwrap();
    }
    assert_eq!(count(conn, "select count(*) from runs").await, 0);
    assert_eq!(count(conn, texts).await, 1);
    assert_eq!(count(conn, "select count(*) from prompts").await, 1);
    find_prompt(conn, Some(&owner), "steps").await.unwrap();
}

#[tokio::test]
async fn the_private_prompts_of_a_deleted_user_go_when_no_run_uses_them() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    fixtures::library(conn, 3).await;
    for statement in [
        "update prompts set visibility = 'private' where slug = 'plain'",
        "update users
         set username = 'deleted-' || id, email = 'deleted-' || id || '@deleted.invalid', role = 'user',
             disabled_at = now(), deleted_at = now()",
    ] {
        sqlx::query(statement).execute(&mut **conn).await.unwrap();
    }
    mend(conn).await.unwrap();
    let left = "select count(*) from prompts where slug = 'steps'";
    assert_eq!(count(conn, left).await, 1, "what others see stays");
    assert_eq!(count(conn, "select count(*) from prompts").await, 1);
}

#[tokio::test]
async fn reasons_of_runs_name_nobody() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let paused = pause_run(conn, &owner, run.id).await.unwrap();
    assert_eq!(paused.state_reason, "paused by its owner");
    let cancelled = cancel_run(conn, &owner, run.id).await.unwrap();
    assert_eq!(cancelled.state_reason, "cancelled by its owner");
}
