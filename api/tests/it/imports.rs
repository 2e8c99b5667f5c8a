//! Sending a benchmark in parts over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, benchmark, field, send, with_token};

async fn put(server: &Server, token: &str, path: &str, kind: &str, lines: &str) -> Reply {
    let request = with_token(server.request(Method::PUT, path), token);
    send(request.header("content-type", kind).body(lines.to_owned())).await
}

fn lines(items: &Value) -> String {
    let items = items.as_array().unwrap().iter();
    let lines = items.map(Value::to_string).collect::<Vec<_>>();
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn a_benchmark_comes_in_parts() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let mut header = benchmark("sums");
    let items = header.as_object_mut().unwrap().remove("items").unwrap();
    let begun = server.post("/api/v1/imports", &token, &header).await;
    let import = begun.expect(201)["import"].clone();
    let address = format!("/api/v1/imports/{}", field(&import, "id"));
    assert_eq!(begun.header("location"), address);
    let part = format!("{address}/parts/1");
    let refused = put(&server, &token, &part, "application/json", &lines(&items)).await;
    refused.expect_problem(415, "unsupported_media_type", None);
    let refused = put(&server, &token, &part, "application/x-ndjson", "{\n").await;
    refused.expect_problem(422, "invalid", Some(""));
    let bob = server.user("bob").await;
    let foreign = put(&server, &bob, &part, "application/x-ndjson", &lines(&items)).await;
    foreign.expect_problem(404, "not_found", None);
    for _ in 0..2 {
        let come = put(
            &server,
            &token,
            &part,
            "application/x-ndjson",
            &lines(&items),
        )
        .await;
        let come = come.expect(200);
        assert_eq!(
            (&come["parts"], &come["item_count"]),
            (&json!(1), &json!(3))
        );
    }
    let listed = server.get("/api/v1/imports", &token).await.expect(200);
    assert_eq!(listed["imports"][0]["id"], import["id"]);
    let listed = server.get("/api/v1/imports", &bob).await.expect(200);
    assert_eq!(listed["imports"], json!([]));
    let publish = format!("{address}/publish");
    let early = server
        .post(&publish, &token, &json!({"item_count": 4}))
        .await;
    early.expect_problem(409, "conflict", None);
    let version = server
        .post(&publish, &token, &json!({"item_count": 3}))
        .await;
    assert_eq!(version.header("location"), "/api/v1/benchmarks/sums");
    let version = version.expect(201);
    assert_eq!(version["id"], import["id"]);
    server
        .get(&address, &token)
        .await
        .expect_problem(404, "not_found", None);
    // The same in one piece is the same.
    let again = server
        .post("/api/v1/benchmarks", &token, &benchmark("sums"))
        .await;
    assert_eq!(again.expect(201)["id"], version["id"]);
    // Who announces the content does not send it again.
    header["content_hash"] = version["content_hash"].clone();
    let known = server.post("/api/v1/imports", &token, &header).await;
    assert_eq!(known.expect(200)["version"]["id"], version["id"]);
}

/// What is announced as public takes its slug from the beginning; a part is bounded like every body.
#[tokio::test]
async fn an_import_is_refused_before_it_is_sent() {
    let server = Server::start_with(|settings| settings.body_limit_bytes = 1_000).await;
    let token = server.user("ada").await;
    server
        .post("/api/v1/benchmarks", &token, &benchmark("sums"))
        .await
        .expect(201);
    let bob = server.user("bob").await;
    let mut header = benchmark("sums");
    header.as_object_mut().unwrap().remove("items");
    let refused = server.post("/api/v1/imports", &bob, &header).await;
    refused.expect_problem(409, "conflict", None);
    let begun = server.post("/api/v1/imports", &token, &header).await;
    let id = field(&begun.expect(201)["import"], "id");
    let path = format!("/api/v1/imports/{id}/parts/1");
    let large = format!("{{\"id\": \"{}\"}}\n", "a".repeat(1_000));
    let refused = put(&server, &token, &path, "application/jsonl", &large).await;
    refused.expect_problem(413, "too_large", None);
}
