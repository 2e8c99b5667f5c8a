//! What people write is data: it comes back letter by letter, declared as JSON, and nothing sniffs it for markup.

use reqwest::Method;
use serde_json::json;

use super::{ask, prompts};
use crate::server::{Reply, Server, field};

const ATTACKS: [&str; 8] = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[a](javascript:alert(1))",
    "![a](https://elsewhere.example/pixel.gif)",
    "\"><svg onload=alert(1)>",
    "</script><script>alert(1)</script>",
    "<iframe srcdoc=\"<script>alert(1)</script>\">",
    "\u{202e}<b>\u{2028}",
];

#[track_caller]
fn inert(reply: &Reply) {
    assert!(reply.status < 300, "{}", reply.text);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(
        reply.header("content-security-policy"),
        "default-src 'none'; frame-ancestors 'none'"
    );
}

/// Rendered Markdown holds no tag that was written as one, no picture, and no address that runs.
#[track_caller]
fn harmless(html: &str) {
    for tag in [
        "<script",
        "<img",
        "<svg",
        "<iframe",
        "<b>",
        "href=\"javascript",
    ] {
        assert!(!html.contains(tag), "{html}");
    }
}

#[tokio::test]
async fn markup_comes_back_as_it_was_written_and_inert() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let mona = server.user("mona").await;
    server
        .sql("update users set role = 'moderator' where username = 'mona'")
        .await;
    prompts(&server, &ada, &["plain"], "public").await;
    for attack in ATTACKS {
        let body = json!({"body": attack});
        let reply = server
            .post("/api/v1/prompts/plain/comments", &ada, &body)
            .await;
        inert(&reply);
        let comment = reply.json();
        assert_eq!(comment["body"], attack);
        harmless(comment["html"].as_str().unwrap());
        let id = field(&comment, "id");
        let report = json!({"reason": "abuse", "note": attack});
        let reports = format!("/api/v1/comments/{id}/reports");
        let reply = server.post(&reports, &mona, &report).await;
        assert_eq!(reply.status, 204, "{}", reply.text);
        let reply = server.get("/api/v1/comments/reported", &mona).await;
        inert(&reply);
        assert_eq!(reply.json()["items"][0]["notes"][0], attack);
        let decision = json!({"hidden": true, "reason": attack});
        let moderation = format!("/api/v1/comments/{id}/moderation");
        let reply = ask(&server, Method::PUT, &moderation, &mona, &decision).await;
        inert(&reply);
        assert_eq!(reply.json()["hidden_reason"], attack);
        let reply = server.get("/api/v1/prompts/plain/comments", "").await;
        inert(&reply);
        assert_eq!(reply.json()["items"][0]["hidden_reason"], attack);
        // The next attack is not slowed down.
        server
            .sql("update comments set created_at = created_at - interval '1 hour'")
            .await;

        // What stands in one line turns nothing around and breaks nothing; everything else may stand there.
        let line = attack.replace(['\u{202e}', '\u{2028}'], "");
        if line != attack {
            let collection = json!({"title": attack, "description": attack});
            let reply = server.post("/api/v1/collections", &ada, &collection).await;
            reply.expect_problem(422, "invalid", Some("title"));
            let profile = json!({"display_name": attack, "bio": attack, "is_public": true,
                "shows_activity": true, "shows_favourites": true});
            let reply = ask(&server, Method::PUT, "/api/v1/me/profile", &ada, &profile).await;
            reply.expect_problem(422, "invalid", Some("display_name"));
        }
        let collection = json!({"title": line, "description": attack});
        let reply = server.post("/api/v1/collections", &ada, &collection).await;
        inert(&reply);
        let reply = server.get("/api/v1/collections", "").await;
        inert(&reply);
        let found = &reply.json()["items"][0];
        assert_eq!(found["title"], line);
        assert_eq!(found["description"], attack);

        let profile = json!({"display_name": line, "bio": attack, "is_public": true,
            "shows_activity": true, "shows_favourites": true});
        let reply = ask(&server, Method::PUT, "/api/v1/me/profile", &ada, &profile).await;
        inert(&reply);
        let reply = server.get("/api/v1/users/ada", "").await;
        inert(&reply);
        let profile = reply.json();
        assert_eq!(profile["display_name"], line);
        assert_eq!(profile["bio"], attack);
        harmless(profile["bio_html"].as_str().unwrap());
        let initials = profile["avatar"]["initials"].as_str().unwrap();
        assert!(
            initials.chars().all(char::is_alphanumeric) && initials.len() <= 4,
            "{initials}"
        );
        inert(&server.get("/api/v1/me/export", &ada).await);
    }
}
