//! Whose shard is next, and what waiting runs say.

use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{resume_run, submit_run},
};
use std::time::Duration;

use opb_core::{
    Error,
    auth::{CurrentUser, UserRole},
    runs::{
        Run, SubmitRun, claim_shard, find_run, finish_shard, pause_run, report_waiting,
        run_to_give_way,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(30);

async fn another(conn: &mut PgConnection, role: UserRole) -> CurrentUser {
    let id = sqlx::query_scalar(
        "insert into users (username, email) values ('other', 'other@example.org') returning id",
    )
    .fetch_one(conn)
    .await
    .unwrap();
    CurrentUser {
        id,
        username: "other".into(),
        role,
    }
}

async fn submit(conn: &mut PgConnection, owner: &CurrentUser, priority: i16) -> Run {
    let request = SubmitRun {
        priority,
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    let run = submit_run(conn, owner, &request, None).await.unwrap();
    fixtures::cut_finely(conn, run.id).await;
    run
}

/// How many of the next claims each run gets.
async fn claims(conn: &mut PgConnection, count: usize, runs: [Uuid; 2]) -> [usize; 2] {
    let mut got = [0; 2];
    for _ in 0..count {
        let lease = claim_shard(conn, "w", LEASE).await.unwrap().unwrap();
        let index = runs.iter().position(|run| *run == lease.run_id).unwrap();
        got[index] += 1;
    }
    got
}

#[tokio::test]
async fn owners_are_owed_equal_shares_and_priorities_double_them() {
    for (priority, expect, long_gives_way) in
        [(0, [6, 6], false), (1, [6, 6], true), (-1, [8, 4], false)]
    {
        let db = TestDatabase::new().await;
        let conn = &mut db.pool.acquire().await.unwrap();
        let owner = fixtures::library(conn, 10).await;
        let other = another(conn, UserRole::Admin).await;
        let long = submit(conn, &owner, 0).await;
        let alone = claims(conn, 6, [long.id, long.id]).await;
        assert_eq!(alone, [6, 0], "alone it gets all");
        let short = submit(conn, &other, priority).await;
        let [more, short_got] = claims(conn, 6, [long.id, short.id]).await;
        assert_eq!([6 + more, short_got], expect, "{priority}");
        let way = run_to_give_way(conn, &[long.id, short.id], &[])
            .await
            .unwrap();
        assert_eq!(way, long_gives_way.then_some(long.id), "{priority}");
    }
}

#[tokio::test]
async fn paused_runs_are_passed_over_and_everything_is_claimed_once() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 5).await;
    let [one, other] = [submit(conn, &owner, 0).await, submit(conn, &owner, 5).await];
    pause_run(conn, &owner, other.id).await.unwrap();
    assert_eq!(claims(conn, 5, [one.id, other.id]).await, [5, 0]);
    resume_run(conn, &owner, other.id).await.unwrap();
    // Many at once, as workers do.
    let claimed = (0..20).map(|_| {
        let pool = db.pool.clone();
        async move {
            let mut conn = pool.acquire().await.unwrap();
            claim_shard(&mut conn, "w", LEASE).await.unwrap()
        }
    });
    let claimed = futures::future::join_all(claimed).await;
    let leases: Vec<_> = claimed.into_iter().flatten().collect();
    // Whoever finds all waiting shards locked by others goes away empty; the next round takes the rest.
    let mut shards: Vec<Uuid> = leases.iter().map(|lease| lease.shard_id).collect();
    while let Some(lease) = claim_shard(conn, "w", LEASE).await.unwrap() {
        shards.push(lease.shard_id);
    }
    shards.sort_unstable();
    shards.dedup();
    assert_eq!(shards.len(), 15);
    for lease in &leases {
        assert!(finish_shard(conn, lease).await.unwrap());
    }
}

#[tokio::test]
async fn only_administrators_put_a_run_before_those_of_others() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    fixtures::library(conn, 1).await;
    let user = another(conn, UserRole::User).await;
    let request = |priority| SubmitRun {
        priority,
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    for (priority, accepted) in [(-6, false), (-5, true), (0, true), (1, false)] {
        match submit_run(conn, &user, &request(priority), None).await {
            Ok(run) => assert!(accepted && run.priority == priority),
            Err(Error::Invalid(fields)) => {
                assert!(!accepted);
                assert_eq!(fields[0].path, "priority");
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test]
async fn a_run_says_what_it_waits_for_until_nobody_says_it_any_more() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let run = submit(conn, &owner, 0).await;
    assert_eq!(run.waiting_reason, None);
    for reason in ["one reason", "another one"] {
        let waiting = [(run.id, reason.to_owned())];
        report_waiting(conn, &waiting).await.unwrap();
        let seen = find_run(conn, Some(&owner), run.id).await.unwrap();
        assert_eq!(
            seen.waiting_reason.as_deref(),
            Some("one reason"),
            "while it is fresh, nobody has to say it again"
        );
    }
    sqlx::query("update runs set waiting_until = now()")
        .execute(&mut **conn)
        .await
        .unwrap();
    let seen = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(seen.waiting_reason, None);
}
