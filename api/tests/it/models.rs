//! Providers and models.

use serde_json::{Value, json};

use crate::server::{Server, run};

#[tokio::test]
async fn administrators_add_providers_and_nobody_sees_a_credential() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let user = server.user("ada").await;
    let body = json!({"name": "local", "kind": "openai", "base_url": "http://127.0.0.1:9/v1", "credential": "sk-0123456789abcdef"});
    server
        .post("/api/v1/providers", &user, &body)
        .await
        .expect_problem(403, "forbidden", None);
    let created = server.post("/api/v1/providers", &admin, &body).await;
    assert_eq!(created.expect(201)["credential_hint"], "…cdef");
    server
        .post("/api/v1/providers", &admin, &body)
        .await
        .expect_problem(409, "conflict", None);
    let seen = server.get("/api/v1/providers", &admin).await;
    assert_eq!(
        seen.expect(200)["items"][0]["base_url"],
        "http://127.0.0.1:9/v1"
    );
    let seen_by_user = server.get("/api/v1/providers", &user).await;
    let provider = &seen_by_user.expect(200)["items"][0];
    assert_eq!(provider["name"], "local");
    assert_eq!(provider["base_url"], Value::Null);
    assert_eq!(provider["credential_hint"], Value::Null);
    for reply in [created, seen, seen_by_user] {
        assert!(!reply.text.contains("0123456789"), "{}", reply.text);
    }
    let anonymous = server.get("/api/v1/providers", "").await;
    anonymous.expect_problem(401, "unauthenticated", None);
}

#[tokio::test]
async fn wrong_providers_name_their_field() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let check = async |body: Value, path: &str| {
        let reply = server.post("/api/v1/providers", &admin, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check(
        json!({"name": "A", "kind": "openai", "base_url": "http://a"}),
        "name",
    )
    .await;
    check(json!({"name": "a", "kind": "openai"}), "base_url").await;
    check(
        json!({"name": "a", "kind": "openai", "base_url": "ftp://a"}),
        "base_url",
    )
    .await;
    check(json!({"name": "a", "kind": "magic"}), "kind").await;
    check(json!({"name": "a", "kind": "simulated", "url": "x"}), "url").await;
}

#[tokio::test]
async fn a_model_that_was_used_is_listed_with_its_price() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let models = server.get("/api/v1/models", "").await.expect(200);
    assert_eq!(models["items"][0]["model"], "simulated:strong");
    assert_eq!(models["items"][0]["simulated"], true);
    assert_eq!(models["items"][0]["input_microusd_per_mtok"], 150_000);
}
