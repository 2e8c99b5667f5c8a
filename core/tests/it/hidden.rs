//! Runs whose benchmark or prompt is taken from their owner while they go on.

use opb_core::{
    Error,
    auth::{CurrentUser, UserRole},
    housekeeping::mend,
    runs::{self, RunState, cancel_run, find_run},
};
use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{self, resume_run},
};
use serde_json::json;
use sqlx::PgConnection;

async fn other(conn: &mut PgConnection) -> CurrentUser {
    let insert =
        "insert into users (username, email) values ('bob', 'bob@example.org') returning id";
    CurrentUser {
        id: sqlx::query_scalar(insert).fetch_one(conn).await.unwrap(),
        username: "bob".into(),
        role: UserRole::User,
    }
}

async fn set(conn: &mut PgConnection, statement: &'static str) {
    sqlx::query(statement).execute(conn).await.unwrap();
}

#[tokio::test]
async fn a_run_stops_when_its_owner_may_no_longer_see_a_part() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let ada = fixtures::library(conn, 3).await;
    let bob = other(conn).await;
    let own = fixtures::submit(conn, &ada, json!(["simulated:strong"]), 1).await;
    let run = fixtures::submit(conn, &bob, json!(["simulated:strong"]), 1).await;
    mend(conn).await.unwrap();
    assert_eq!(
        find_run(conn, Some(&bob), run.id).await.unwrap().state,
        RunState::Queued
    );
    for (narrow, widen) in [
        (
            "update prompts set visibility = 'private' where slug = 'plain'",
            "update prompts set visibility = 'public'",
        ),
        (
            "update benchmarks set visibility = 'private'",
            "update benchmarks set visibility = 'unlisted'",
        ),
        (
            "update prompts set visibility = 'private', deleted_at = now() where slug = 'plain'",
            "update prompts set visibility = 'public', deleted_at = null",
        ),
    ] {
        set(conn, narrow).await;
        assert_eq!(mend(conn).await.unwrap().paused_runs, 1, "{narrow}");
        let paused = find_run(conn, Some(&bob), run.id).await.unwrap();
        assert_eq!(paused.state, RunState::Paused, "{narrow}");
        assert!(
            paused.state_reason.contains("may no longer see"),
            "{}",
            paused.state_reason
        );
        assert_eq!(mend(conn).await.unwrap().paused_runs, 0, "{narrow}");
        for user in [&bob, &ada] {
            let refused = resume_run(conn, user, run.id).await.unwrap_err();
            assert!(matches!(refused, Error::Conflict(_)), "{refused}");
        }
        let state = find_run(conn, Some(&ada), own.id).await.unwrap().state;
        assert_eq!(state, RunState::Queued, "its owner owns the parts");
        set(conn, widen).await;
        let resumed = resume_run(conn, &bob, run.id).await.unwrap();
        assert_eq!(resumed.state, RunState::Queued);
    }
    set(conn, "update prompts set visibility = 'private'").await;
    mend(conn).await.unwrap();
    let cancelled = cancel_run(conn, &bob, run.id).await.unwrap();
    assert!(cancelled.state.has_ended());
}

#[tokio::test]
async fn an_ended_run_does_not_go_on_for_an_administrator_either() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let ada = fixtures::library(conn, 3).await;
    let bob = other(conn).await;
    let run = fixtures::submit(conn, &bob, json!(["simulated:strong"]), 1).await;
    set(
        conn,
        "update runs set state = 'completed', shards_open = 0, finished_at = now()",
    )
    .await;
    set(conn, "update prompts set visibility = 'private'").await;
    assert!(ada.is_admin());
    let retried = without_rules::retry_run(conn, &ada, run.id).await;
    let more = runs::ExtendRun {
        repeats: Some(2),
        ..runs::ExtendRun::default()
    };
    let extended = without_rules::extend_run(conn, &ada, run.id, &more).await;
    for refused in [retried, extended] {
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("may no longer see"), "{refused}");
    }
}
