//! Submitting, listing and cancelling runs.

use std::collections::HashSet;

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Reply, Server, run, send, with_token};

#[tokio::test]
async fn a_run_is_planned_and_queued() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let reply = server.post("/api/v1/runs", &token, &run()).await;
    let run = reply.expect(202);
    let id = run["id"].as_str().unwrap();
    assert_eq!(reply.header("location"), format!("/api/v1/runs/{id}"));
    assert_eq!(run["state"], "queued");
    assert_eq!(run["planned"], 6, "3 items, twice");
    assert_eq!(run["recorded"], 0);
    assert_eq!(run["benchmark"], "sums@1");
    assert_eq!(run["prompts"], json!(["plain@1"]));
    assert_eq!(run["models"], json!(["simulated:strong"]));
    assert_eq!(run["simulated"], true);
    let found = server
        .get(&format!("/api/v1/runs/{id}"), "")
        .await
        .expect(200);
    assert_eq!(found, run);
    let listed = server.get("/api/v1/runs", "").await.expect(200);
    assert_eq!(listed["items"], json!([run]));
    let evaluations = server
        .get(&format!("/api/v1/runs/{id}/evaluations"), "")
        .await
        .expect(200);
    assert_eq!(evaluations["items"], json!([]));
    let queued: i64 = sqlx::query_scalar("select sum(size) from shards where run_id = $1")
        .bind(Uuid::parse_str(id).unwrap())
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    assert_eq!(queued, 6, "the shards hold every evaluation");
}

#[tokio::test]
async fn an_idempotency_key_makes_one_run() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&token).await;
    let first = submit(&server, &token, "key-1", &run()).await.expect(202);
    let again = submit(&server, &token, "key-1", &run()).await.expect(202);
    assert_eq!(again["id"], first["id"]);
    let other_key = submit(&server, &token, "key-2", &run()).await.expect(202);
    assert_ne!(other_key["id"], first["id"]);
    let other_user = submit(&server, &bob, "key-1", &run()).await.expect(202);
    assert_ne!(other_user["id"], first["id"]);
    let mut other = run();
    other["repeats"] = json!(3);
    submit(&server, &token, "key-1", &other)
        .await
        .expect_problem(409, "conflict", None);
    for wrong in ["", "with space", &"x".repeat(256)] {
        let reply = submit(&server, &token, wrong, &run()).await;
        reply.expect_problem(422, "invalid", Some("idempotency-key"));
    }
}

#[tokio::test]
async fn twenty_equal_submissions_at_once_make_one_run() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let body = run();
    let replies = join_all((0..20).map(|_| submit(&server, &token, "once", &body))).await;
    let ids: HashSet<String> = replies
        .iter()
        .map(|reply| reply.expect(202)["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 1, "{ids:?}");
    let listed = server.get("/api/v1/runs", "").await.expect(200);
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_run_is_cancelled_once_and_by_its_owner() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let bob = server.user("bob").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let path = format!("/api/v1/runs/{}/cancel", run["id"].as_str().unwrap());
    let cancel =
        async |token: &str| send(with_token(server.request(Method::POST, &path), token)).await;
    cancel("")
        .await
        .expect_problem(401, "unauthenticated", None);
    cancel(&bob).await.expect_problem(403, "forbidden", None);
    let cancelled = cancel(&token).await.expect(200);
    assert_eq!(cancelled["state"], "cancelled");
    assert_ne!(cancelled["finished_at"], Value::Null);
    cancel(&token).await.expect_problem(409, "conflict", None);
}

async fn submit(server: &Server, token: &str, key: &str, body: &Value) -> Reply {
    let request = with_token(server.request(Method::POST, "/api/v1/runs"), token);
    send(request.header("idempotency-key", key).json(body)).await
}
