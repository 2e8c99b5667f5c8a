//! Publishing and reading benchmarks.

use serde_json::{Value, json};

use crate::server::{Server, benchmark};

#[tokio::test]
async fn a_benchmark_is_published_and_read() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let published = server
        .post("/api/v1/benchmarks", &token, &benchmark("sums"))
        .await;
    let version = published.expect(201);
    assert_eq!(published.header("location"), "/api/v1/benchmarks/sums");
    assert_eq!(version["number"], 1);
    assert_eq!(version["item_count"], 3);
    let again = server
        .post("/api/v1/benchmarks", &token, &benchmark("sums"))
        .await
        .expect(201);
    assert_eq!(again["id"], version["id"], "the same content adds nothing");
    let mut changed = benchmark("sums");
    changed["items"].as_array_mut().unwrap().pop();
    let second = server
        .post("/api/v1/benchmarks", &token, &changed)
        .await
        .expect(201);
    assert_eq!(second["number"], 2);
    let found = server.get("/api/v1/benchmarks/sums", "").await.expect(200);
    assert_eq!(found["latest_version"], 2);
    let page = server.get("/api/v1/benchmarks", "").await.expect(200);
    assert_eq!(page["items"], json!([found]));
    let bob = server.user("bob").await;
    server
        .post("/api/v1/benchmarks", &bob, &benchmark("sums"))
        .await
        .expect_problem(409, "conflict", None);
}

#[tokio::test]
async fn items_are_read_in_pieces() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server
        .post("/api/v1/benchmarks", &token, &benchmark("sums"))
        .await
        .expect(201);
    let check = async |query: &str, ids: &[&str], next: Option<i64>| {
        let path = format!("/api/v1/benchmarks/sums@1/items{query}");
        let items = server.get(&path, "").await.expect(200);
        assert_eq!(items["benchmark"], "sums@1");
        assert_eq!(items["item_count"], 3);
        let found: Vec<&Value> = items["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| &item["id"])
            .collect();
        assert_eq!(found, ids, "{query}");
        assert_eq!(items["next_first"].as_i64(), next, "{query}");
    };
    check("", &["a", "b", "c"], None).await;
    check("?limit=2", &["a", "b"], Some(2)).await;
    check("?first=2&limit=2", &["c"], None).await;
    check("?first=1&limit=1", &["b"], Some(2)).await;
    check("?first=3", &[], None).await;
    for (query, path) in [
        ("?first=-1", "first"),
        ("?first=x", "first"),
        ("?limit=0", "limit"),
    ] {
        let reply = server
            .get(&format!("/api/v1/benchmarks/sums/items{query}"), "")
            .await;
        reply.expect_problem(422, "invalid", Some(path));
    }
}
