//! Imports of prompts under way: one of each user, and few together.

use std::{sync::Arc, time::Duration};

use serde_json::json;

use crate::server::{Reply, Server, field};

const IMPORT: &str = "/api/v1/prompts/import";

#[tokio::test]
async fn one_user_does_not_keep_others_from_importing() {
    let server = Server::start_with(|settings| settings.request_timeout_seconds = 600).await;
    let server = Arc::new(server);
    let mut tokens = Vec::new();
    for name in ["ada", "bob", "cleo"] {
        tokens.push(server.user(name).await);
    }
    let prompt =
        json!({"slug": "a", "title": "A", "versions": [{"body": {"kind": "text", "text": "a"}}]});
    let body = json!({"dry_run": true, "source": {"format": "json", "prompts": [prompt]}});
    let import = |token: &str| {
        let (server, token, body) = (Arc::clone(&server), token.to_owned(), body.clone());
        tokio::spawn(async move { server.post(IMPORT, &token, &body).await })
    };
    let mut locking = server.database.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *locking)
        .await
        .unwrap();
    sqlx::query("lock table prompts in access exclusive mode")
        .execute(&mut *locking)
        .await
        .unwrap();
    let mut under_way = Vec::new();
    for (before, token) in (0..).zip(&tokens[..2]) {
        under_way.push(import(token));
        while blocked(&server).await <= before {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let refused: Reply = import(token).await.unwrap();
        refused.expect_problem(429, "import_under_way", None);
        assert_eq!(refused.header("retry-after"), "1");
    }
    // Both places are taken: another user is told so instead of waiting without end.
    let refused = import(&tokens[2]).await.unwrap();
    refused.expect_problem(503, "busy", None);
    locking.rollback().await.unwrap();
    for import in under_way {
        assert_eq!(import.await.unwrap().expect(200)["created"], 1);
    }
    let report = import(&tokens[0]).await.unwrap().expect(200);
    assert_eq!(field(&report["rows"][0], "outcome"), "created", "{report}");
}

/// How many statements wait for a lock.
async fn blocked(server: &Server) -> i64 {
    let count =
        "select count(*) from pg_locks where not granted and relation = 'prompts'::regclass";
    sqlx::query_scalar(count)
        .fetch_one(&server.database.pool)
        .await
        .unwrap()
}
