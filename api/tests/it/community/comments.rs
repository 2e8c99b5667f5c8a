//! Comments, answers, reports and moderation.

use reqwest::Method;
use serde_json::{Value, json};

use super::{all_pages, ask, column, prompts};
use crate::server::{Server, field};

const COMMENTS: &str = "/api/v1/prompts/plain/comments";

async fn comment(server: &Server, token: &str, body: &str, reply_to: Option<&str>) -> String {
    let body = json!({"body": body, "reply_to": reply_to});
    field(&server.post(COMMENTS, token, &body).await.expect(201), "id")
}

async fn moderator(server: &Server) -> String {
    let token = server.user("mona").await;
    server
        .sql("update users set role = 'moderator' where username = 'mona'")
        .await;
    token
}

#[tokio::test]
async fn comments_are_written_answered_changed_and_deleted() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain", "other"], "public").await;
    let first = comment(&server, &bob, "Works *well*.", None).await;
    let second = comment(&server, &ada, "Thanks.", None).await;
    let third = comment(&server, &bob, "Now with a `model`.", None).await;
    let answer = comment(&server, &ada, "With which one?", Some(&first)).await;
    let later = comment(&server, &bob, "With yours.", Some(&first)).await;
    assert_eq!(
        all_pages(&server, COMMENTS, "", "id").await,
        [third.clone(), second, first.clone()]
    );
    let replies = format!("/api/v1/comments/{first}/replies");
    assert_eq!(
        all_pages(&server, &replies, "", "id").await,
        [answer.clone(), later]
    );
    // One level: an answer is not answered, and nothing is answered from elsewhere.
    let nested = json!({"body": "x", "reply_to": answer});
    server
        .post(COMMENTS, &ada, &nested)
        .await
        .expect_problem(422, "invalid", Some("reply_to"));
    let elsewhere = json!({"body": "x", "reply_to": first});
    server
        .post("/api/v1/prompts/other/comments", &ada, &elsewhere)
        .await
        .expect_problem(422, "invalid", Some("reply_to"));

    let path = format!("/api/v1/comments/{first}");
    let text = json!({"body": "Works **very** well."});
    let changed = ask(&server, Method::PATCH, &path, &bob, &text).await;
    let changed = changed.expect(200);
    assert_eq!(changed["body"], "Works **very** well.");
    assert!(changed["edited_at"].is_string());
    for method in [Method::PATCH, Method::DELETE] {
        ask(&server, method, &path, &ada, &text)
            .await
            .expect_problem(403, "forbidden", None);
    }
    // A deleted comment with answers keeps its place, without text and name; one without is gone.
    for id in [&first, &third] {
        let path = format!("/api/v1/comments/{id}");
        let reply = ask(&server, Method::DELETE, &path, &bob, &Value::Null).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
    let page = server.get(COMMENTS, "").await.expect(200);
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let tombstone = &page["items"][1];
    assert_eq!(tombstone["id"], first);
    assert_eq!(tombstone["deleted"], true);
    assert_eq!(
        (&tombstone["body"], &tombstone["author"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(tombstone["replies"], 2);
    let gone = format!("/api/v1/comments/{third}/replies");
    server
        .get(&gone, "")
        .await
        .expect_problem(404, "not_found", None);
    for body in ["", "  \n", &"x".repeat(10_001)] {
        server
            .post(COMMENTS, &ada, &json!({"body": body}))
            .await
            .expect_problem(422, "invalid", Some("body"));
    }
}

#[tokio::test]
async fn reported_comments_are_hidden_or_shown_by_moderators() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let mona = moderator(&server).await;
    prompts(&server, &ada, &["plain"], "public").await;
    let id = comment(&server, &bob, "Buy my prompts!", None).await;
    let reports = format!("/api/v1/comments/{id}/reports");
    let report = json!({"reason": "spam", "note": "third time today"});
    for _ in 0..2 {
        let reply = server.post(&reports, &ada, &report).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
    }
    server
        .post(&reports, &bob, &report)
        .await
        .expect_problem(403, "forbidden", None);
    let queue = "/api/v1/comments/reported";
    server
        .get(queue, &ada)
        .await
        .expect_problem(403, "forbidden", None);
    let page = server.get(queue, &mona).await.expect(200);
    let reported = &page["items"][0];
    assert_eq!(reported["id"], id);
    assert_eq!(reported["body"], "Buy my prompts!");
    assert_eq!(reported["reports"], 1);
    assert_eq!(reported["reasons"], json!(["spam"]));
    assert_eq!(reported["notes"], json!(["third time today"]));

    let moderation = format!("/api/v1/comments/{id}/moderation");
    let hide = json!({"hidden": true, "reason": "advertising"});
    ask(&server, Method::PUT, &moderation, &ada, &hide)
        .await
        .expect_problem(403, "forbidden", None);
    ask(
        &server,
        Method::PUT,
        &moderation,
        &mona,
        &json!({"hidden": true}),
    )
    .await
    .expect_problem(422, "invalid", Some("reason"));
    ask(&server, Method::PUT, &moderation, &mona, &hide)
        .await
        .expect(200);
    assert!(
        column(&server.get(queue, &mona).await.expect(200), "id").is_empty(),
        "the decision closes the reports"
    );
    let seen = async |token: &str| {
        let page = server.get(COMMENTS, token).await.expect(200);
        let comment = &page["items"][0];
        (comment["body"].clone(), comment["hidden_reason"].clone())
    };
    let reason = json!("advertising");
    let text = json!("Buy my prompts!");
    assert_eq!(seen("").await, (Value::Null, reason.clone()));
    assert_eq!(seen(&ada).await, (Value::Null, reason.clone()));
    assert_eq!(seen(&bob).await, (text.clone(), reason.clone()));
    assert_eq!(seen(&mona).await, (text.clone(), reason));
    ask(
        &server,
        Method::PUT,
        &moderation,
        &mona,
        &json!({"hidden": false}),
    )
    .await
    .expect(200);
    assert_eq!(seen("").await, (text, Value::Null));
    // Not even a moderator changes what somebody said.
    let path = format!("/api/v1/comments/{id}");
    ask(&server, Method::PATCH, &path, &mona, &json!({"body": "x"}))
        .await
        .expect_problem(403, "forbidden", None);
}

#[tokio::test]
async fn nobody_writes_faster_than_people_do() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain"], "public").await;
    let body = json!({"body": "again"});
    let requests = (0..20).map(|_| server.post(COMMENTS, &ada, &body));
    let replies = futures::future::join_all(requests).await;
    let created = replies.iter().filter(|reply| reply.status == 201).count();
    assert_eq!(created, 6, "also when they come all at once");
    let refused = replies.iter().find(|reply| reply.status != 201).unwrap();
    refused.expect_problem(429, "too_many_attempts", None);
    assert_eq!(refused.header("retry-after"), "60");
    comment(&server, &bob, "Others are not slowed down.", None).await;
    server
        .sql("update comments set created_at = created_at - interval '2 minutes'")
        .await;
    comment(&server, &ada, "A minute later it goes on.", None).await;
}

#[tokio::test]
async fn who_leaves_takes_their_words_along() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    prompts(&server, &ada, &["plain"], "public").await;
    let question = comment(&server, &bob, "A question of Bob's", None).await;
    comment(&server, &bob, "A remark of Bob's", None).await;
    comment(&server, &ada, "An answer of Ada's", Some(&question)).await;
    for (method, path, body) in [
        (
            Method::PUT,
            "/api/v1/prompts/plain/vote",
            json!({"vote": "up"}),
        ),
        (Method::PUT, "/api/v1/prompts/plain/favourite", Value::Null),
        (
            Method::POST,
            "/api/v1/collections",
            json!({"title": "Bob's best"}),
        ),
        (
            Method::DELETE,
            "/api/v1/me",
            json!({"current_password": "correct horse"}),
        ),
    ] {
        let reply = ask(&server, method, path, &bob, &body).await;
        assert!(reply.status < 300, "{path}: {}", reply.text);
    }
    let board = server.get("/api/v1/leaderboards/community", "").await;
    let ranked = &board.expect(200)["items"][0];
    assert_eq!(
        (&ranked["up"], &ranked["favourites"]),
        (&json!(0), &json!(0))
    );
    let collections = server.get("/api/v1/collections", "").await.expect(200);
    assert_eq!(collections["items"], json!([]));
    server
        .get("/api/v1/users/bob", "")
        .await
        .expect_problem(404, "not_found", None);
    let page = server.get(COMMENTS, "").await;
    assert!(!page.text.contains("Bob"), "{}", page.text);
    let page = page.expect(200);
    assert_eq!(column(&page, "id"), std::slice::from_ref(&question));
    let replies = format!("/api/v1/comments/{question}/replies");
    let replies = server.get(&replies, "").await.expect(200);
    assert_eq!(column(&replies, "body"), ["An answer of Ada's"]);
}
