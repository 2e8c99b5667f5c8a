//! A read replica: who is sent there, and what happens while it is away. Here it is a database with other content, so that
//! each answer tells where it comes from.

use std::time::Duration;

use opb_api::Replica;
use opb_testing::TestDatabase;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{
    mailbox::Mailbox,
    server::{Server, benchmark, prompt},
};

/// A server that reads another database as its replica.
async fn server_with_replica(url: &str) -> Server {
    let replica = Replica::open(&url.to_owned().into(), 2, CancellationToken::new()).await;
    let replica = replica.unwrap();
    Server::start_with(|settings| settings.replica = Some(replica)).await
}

/// A database with the user `grace`, her prompt `copied` with the tag `copied`, and her benchmark `copied`.
async fn other_content() -> TestDatabase {
    let server = Server::start().await;
    let grace = server.user("grace").await;
    let mut copied = prompt("copied");
    (copied["title"], copied["tags"]) = (json!("Copied"), json!(["copied"]));
    let made = server.post("/api/v1/prompts", &grace, &copied).await;
    made.expect(201);
    let benchmark = benchmark("copied");
    let made = server.post("/api/v1/benchmarks", &grace, &benchmark).await;
    made.expect(201);
    server.database.clone()
}

/// Whether somebody without a credential finds the replica's prompt.
async fn reads_the_replica(server: &Server) -> bool {
    let found = server.get("/api/v1/prompts", "").await.expect(200);
    found["items"] != json!([])
}

/// How many reads went to the primary instead, as the metrics tell.
async fn fallbacks(server: &Server) -> u32 {
    let metrics = server.get("/metrics", "").await.text;
    let mut lines = metrics.lines();
    let count = lines.find_map(|line| line.strip_prefix("opb_replica_fallbacks_total "));
    count.unwrap().parse().unwrap()
}

#[tokio::test]
async fn whoever_brings_no_credential_reads_the_replica() {
    let replica = other_content().await;
    let server = server_with_replica(replica.url()).await;
    let ada = server.user("ada").await;
    for path in [
        "/api/v1/leaderboards/copied",
        "/api/v1/leaderboards/copied/effects",
        "/api/v1/leaderboards/copied/history",
        "/api/v1/users/grace",
    ] {
        server.get(path, "").await.expect(200);
        let seen = server.get(path, &ada).await;
        assert_eq!(
            seen.status, 404,
            "{path}: who is logged in reads the primary"
        );
    }
    for path in [
        "/api/v1/prompts?q=copied",
        "/api/v1/prompts?sort=newest",
        "/api/v1/prompts/suggest?q=cop",
        "/api/v1/tags",
        "/api/v1/leaderboards/community",
    ] {
        let (anonymous, own) = (server.get(path, "").await, server.get(path, &ada).await);
        let told = [anonymous, own].map(|reply| reply.expect(200).to_string().contains("copied"));
        assert_eq!(told, [true, false], "{path}");
    }
    for path in ["/api/v1/leaderboards", "/api/v1/categories"] {
        server.get(path, "").await.expect(200);
    }
    // Everything else is read where it is written, by everybody.
    server
        .get("/api/v1/prompts/copied", "")
        .await
        .expect_problem(404, "not_found", None);
    server
        .get("/api/v1/users/ada", "")
        .await
        .expect_problem(404, "not_found", None);
    server.get("/api/v1/users/ada", &ada).await.expect(200);
}

#[tokio::test]
async fn a_replica_that_goes_away_is_left_out() {
    let replica = other_content().await;
    let server = server_with_replica(replica.url()).await;
    assert!(reads_the_replica(&server).await);
    assert_eq!(fallbacks(&server).await, 0);
    let name = sqlx::query_scalar("select current_database()::text");
    let name: String = name.fetch_one(&replica.pool).await.unwrap();
    // Not dropped: that would write out what all other tests have left in memory, and take its time.
    let close = format!("alter database {name} allow_connections false");
    let close = sqlx::query(sqlx::AssertSqlSafe(close));
    close.execute(&server.database.pool).await.unwrap();
    let end = "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = $1";
    let end = sqlx::query(end).bind(name);
    end.execute(&server.database.pool).await.unwrap();
    assert!(
        !reads_the_replica(&server).await,
        "the primary answers at once"
    );
    assert_eq!(fallbacks(&server).await, 1);
}

#[tokio::test]
async fn a_replica_that_nobody_can_reach_is_passed_over() {
    let nowhere = format!(
        "postgres://nobody@127.0.0.1:{}/none",
        Mailbox::closed().await
    );
    let server = server_with_replica(&nowhere).await;
    let ada = server.user("ada").await;
    let made = server.post("/api/v1/prompts", &ada, &prompt("plain")).await;
    made.expect(201);
    for _ in 0..10 {
        let found = server.get("/api/v1/prompts", "").await.expect(200);
        assert_eq!(found["items"][0]["slug"], "plain");
    }
    assert_eq!(fallbacks(&server).await, 10);
    server.get("/readyz", "").await.expect(200);
}

#[tokio::test]
async fn a_replica_is_used_as_soon_as_it_has_the_schema() {
    let replica = other_content().await;
    let newest = "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations) returning version";
    let newest: i64 = sqlx::query_scalar(newest)
        .fetch_one(&replica.pool)
        .await
        .unwrap();
    let server = server_with_replica(replica.url()).await;
    assert!(
        !reads_the_replica(&server).await,
        "it lags behind a migration"
    );
    let arrives =
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                   values ($1, '', true, '', 0)";
    sqlx::query(arrives)
        .bind(newest)
        .execute(&replica.pool)
        .await
        .unwrap();
    let used = async {
        while !reads_the_replica(&server).await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let used = tokio::time::timeout(Duration::from_secs(100), used).await;
    used.expect("it is looked at again");
}
