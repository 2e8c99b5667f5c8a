//! Marks that people leave on the prompts of others, and take back when they may no longer see these.

use reqwest::Method;
use serde_json::json;

use crate::server::{Server, field, prompt, send, with_token};

#[tokio::test]
async fn what_is_ones_own_can_be_taken_back_from_a_narrowed_prompt() {
    let server = Server::start().await;
    let (ada, bob, eve) = (
        server.user("ada").await,
        server.user("bob").await,
        server.user("eve").await,
    );
    let mut shared = prompt("shared");
    shared["visibility"] = json!("public");
    let made = server.post("/api/v1/prompts", &ada, &shared).await;
    let id = field(&made.expect(201), "id");
    let put = async |path: &str, body| {
        let request = with_token(server.request(Method::PUT, path), &bob);
        let reply = send(request.json(&body)).await;
        assert!([200, 204].contains(&reply.status), "{path}: {}", reply.text);
    };
    let mark = async || {
        put("/api/v1/prompts/shared/vote", json!({"vote": "up"})).await;
        put("/api/v1/prompts/shared/favourite", json!({})).await;
    };
    mark().await;
    let said = json!({"body": "Not bad."});
    let comment = server
        .post("/api/v1/prompts/shared/comments", &bob, &said)
        .await;
    let comment = field(&comment.expect(201), "id");
    let wish = json!({"title": "Shorter", "version": {"body": {"kind": "text", "text": "Short."}}});
    let wish = server
        .post("/api/v1/prompts/shared/change-requests", &bob, &wish)
        .await;
    let wish = field(&wish.expect(201), "id");
    let narrow = async |word: &str| {
        let request = with_token(
            server.request(Method::PATCH, "/api/v1/prompts/shared"),
            &ada,
        );
        let reply = send(request.json(&json!({"visibility": word}))).await;
        reply.expect(200);
    };
    narrow("private").await;

    let take_back = async |token: &str, expect: u16| {
        for path in [
            "/api/v1/prompts/shared/vote".to_owned(),
            "/api/v1/prompts/shared/favourite".to_owned(),
            format!("/api/v1/comments/{comment}"),
        ] {
            let reply = send(with_token(server.request(Method::DELETE, &path), token)).await;
            assert_eq!(reply.status, expect, "{path}: {}", reply.text);
        }
    };
    let withdraw = format!("/api/v1/change-requests/{wish}/withdraw");
    take_back(&eve, 404).await;
    server
        .post(&withdraw, &eve, &json!({}))
        .await
        .expect_problem(404, "not_found", None);
    take_back(&bob, 204).await;
    let withdrawn = server.post(&withdraw, &bob, &json!({})).await.expect(200);
    assert_eq!(withdrawn["state"], "withdrawn");
    assert_eq!(withdrawn["prompt"], "(hidden)");
    // What is gone cannot be taken back again, and nothing else is seen of the prompt.
    take_back(&bob, 404).await;
    let seen = server.get("/api/v1/prompts/shared", &bob).await;
    seen.expect_problem(404, "not_found", None);

    narrow("public").await;
    let votes = server.get("/api/v1/prompts/shared/vote", &ada).await.text;
    assert!(votes.contains("\"up\":0"), "{votes}");
    mark().await;
    narrow("private").await;
    let by_id = format!("/api/v1/prompts/{id}/vote");
    let reply = send(with_token(server.request(Method::DELETE, &by_id), &bob)).await;
    assert_eq!(reply.status, 204, "{}", reply.text);
}
