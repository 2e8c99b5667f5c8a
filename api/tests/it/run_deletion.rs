//! Deletion of runs, benchmarks and versions: gone for everybody at once, except what results of others rest on.

use serde_json::json;

use crate::{
    boards::{measure, prepared, publish},
    run_visibility::delete,
    server::{Server, prompt},
};

const STRONG: [&str; 1] = ["simulated:strong"];

async fn count(server: &Server, query: &'static str) -> i64 {
    sqlx::query_scalar(query)
        .fetch_one(&server.database.pool)
        .await
        .unwrap()
}

/// What the schedulers do every few seconds.
async fn keep_house(server: &Server) {
    let mut conn = server.database.pool.acquire().await.unwrap();
    opb_core::housekeeping::mend(&mut conn).await.unwrap();
}

#[tokio::test]
async fn a_deleted_run_is_gone_and_what_it_spent_stays_counted() {
    let (server, ada) = prepared().await;
    publish(&server, &ada, "herd", 10, None).await;
    let first = measure(&server, &ada, "herd", &["plain"], &STRONG, |_, _, _| false).await;
    let second = measure(&server, &ada, "herd", &["plain"], &STRONG, |_, _, _| true).await;
    server.sql("update runs set spend_microusd = 700").await;
    let open = json!({"benchmark": "herd", "prompts": ["plain"], "models": STRONG});
    let open = server.post("/api/v1/runs", &ada, &open).await.expect(202);
    let open = format!("/api/v1/runs/{}", open["id"].as_str().unwrap());
    delete(&server, &open, &ada)
        .await
        .expect_problem(409, "conflict", None);
    server
        .post(&format!("{open}/cancel"), &ada, &json!({}))
        .await
        .expect(200);
    assert_eq!(delete(&server, &open, &ada).await.status, 204);

    let path = format!("/api/v1/runs/{second}");
    assert_eq!(delete(&server, &path, &ada).await.status, 204);
    let eve = server.user("eve").await;
    for token in [&eve, &ada] {
        assert_eq!(server.get(&path, token).await.status, 404);
        assert_eq!(
            server
                .get(&format!("{path}/evaluations"), token)
                .await
                .status,
            404
        );
        let runs = server.get("/api/v1/runs", token).await;
        assert!(!runs.text.contains(&second.to_string()));
        // The earlier result is back on both boards.
        let board = server
            .get("/api/v1/leaderboards/herd", token)
            .await
            .expect(200);
        assert_eq!(board["standings"][0]["run_id"], json!(first));
        assert_eq!(board["standings"][0]["runs"], 1);
    }
    assert_eq!(delete(&server, &path, &ada).await.status, 404);
    let evaluations = "select count(*) from evaluations";
    assert_eq!(count(&server, evaluations).await, 20);
    keep_house(&server).await;
    keep_house(&server).await;
    assert_eq!(count(&server, evaluations).await, 10);
    // The money counts for a day, and the row goes after that.
    let spent = "select sum(spend_microusd)::bigint from runs where finished_at > now() - interval '24 hours'";
    assert_eq!(count(&server, spent).await, 1400);
    server.sql("update runs set finished_at = now() - interval '25 hours' where deleted_at is not null").await;
    keep_house(&server).await;
    assert_eq!(count(&server, "select count(*) from runs").await, 1);
    let events = "select count(*) from audit_log where event = 'run_deleted'";
    assert_eq!(count(&server, events).await, 2);
}

#[tokio::test]
async fn a_deleted_benchmark_stays_readable_for_those_whose_results_rest_on_it() {
    let (server, ada) = prepared().await;
    let bob = server.user("bob").await;
    let eve = server.user("eve").await;
    publish(&server, &ada, "herd", 10, None).await;
    publish(&server, &ada, "unused", 10, None).await;
    let run = measure(&server, &bob, "herd", &["plain"], &STRONG, |_, _, _| true).await;
    for (slug, withdrawn) in [("herd", true), ("unused", false)] {
        let path = format!("/api/v1/benchmarks/{slug}");
        delete(&server, &path, &eve)
            .await
            .expect_problem(403, "forbidden", None);
        let deleted = delete(&server, &path, &ada).await.expect(200);
        assert_eq!(deleted["withdrawn"], withdrawn, "{slug}");
        for token in ["", &ada, &eve] {
            assert_eq!(server.get(&path, token).await.status, 404, "{slug}");
        }
    }
    keep_house(&server).await;
    let left = "select count(*) from benchmarks where deleted_at is not null";
    assert_eq!(count(&server, left).await, 1);
    // Bob's result is explained as before; nobody else reads it, and nobody runs on it.
    let path = format!("/api/v1/runs/{run}");
    let shown = server.get(&path, &bob).await.expect(200);
    assert_eq!(shown["parts_hidden"], false);
    let name = shown["benchmark"].as_str().unwrap();
    assert!(name.starts_with("herd-deleted-"), "{name}");
    let items = format!("/api/v1/benchmarks/{name}/items");
    assert_eq!(server.get(&items, &bob).await.status, 200);
    assert_eq!(
        server
            .get(&format!("{path}/evaluations"), &bob)
            .await
            .status,
        200
    );
    for token in ["", &eve] {
        assert_eq!(server.get(&items, token).await.status, 404);
        assert_eq!(server.get(&path, token).await.status, 404);
    }
    let again = json!({"benchmark": name, "prompts": ["plain"], "models": STRONG});
    let again = server.post("/api/v1/runs", &bob, &again).await;
    again.expect_problem(422, "invalid", Some("benchmark"));
    // The slug is free, and the old benchmark goes with the last result.
    publish(&server, &eve, "herd", 3, None).await;
    assert_eq!(delete(&server, &path, &bob).await.status, 204);
    server
        .sql("update runs set finished_at = now() - interval '25 hours'")
        .await;
    for _ in 0..3 {
        keep_house(&server).await;
    }
    assert_eq!(count(&server, left).await, 0);
}

#[tokio::test]
async fn versions_are_deleted_one_by_one() {
    let (server, ada) = prepared().await;
    let bob = server.user("bob").await;
    publish(&server, &ada, "herd", 10, None).await;
    publish(&server, &ada, "herd", 11, None).await;
    let run = measure(&server, &bob, "herd@1", &["plain@1"], &STRONG, |_, _, _| {
        true
    })
    .await;
    let version = |number: i32| format!("/api/v1/benchmarks/herd/versions/{number}");
    let deleted = delete(&server, &version(1), &ada).await.expect(200);
    assert_eq!(deleted["withdrawn"], true);
    delete(&server, &version(2), &ada)
        .await
        .expect_problem(409, "conflict", None);
    assert_eq!(
        server
            .get("/api/v1/benchmarks/herd@1/items", "")
            .await
            .status,
        404
    );
    assert_eq!(
        server
            .get("/api/v1/benchmarks/herd@1/items", &bob)
            .await
            .status,
        200
    );
    assert_eq!(
        server.get(&format!("/api/v1/runs/{run}"), "").await.status,
        404
    );
    // What is published again comes back.
    publish(&server, &ada, "herd", 10, None).await;
    assert_eq!(
        server
            .get("/api/v1/benchmarks/herd@1/items", "")
            .await
            .status,
        200
    );
    assert_eq!(
        server.get(&format!("/api/v1/runs/{run}"), "").await.status,
        200
    );

    let path = "/api/v1/prompts/plain/versions/1";
    delete(&server, path, &ada)
        .await
        .expect_problem(409, "conflict", None);
    let mut second = prompt("plain");
    second["body"]["text"] = json!("Second: {{ question }}");
    let version = json!({"body": second["body"]});
    let versions = "/api/v1/prompts/plain/versions";
    server.post(versions, &ada, &version).await.expect(201);
    assert_eq!(
        delete(&server, path, &ada).await.expect(200)["withdrawn"],
        true
    );
    assert_eq!(server.get(path, &ada).await.status, 404);
    assert_eq!(server.get(path, &bob).await.status, 200);
    let old = json!({"benchmark": "herd", "prompts": ["plain@1"], "models": STRONG});
    let old = server.post("/api/v1/runs", &bob, &old).await;
    old.expect_problem(422, "invalid", Some("prompts"));
}
