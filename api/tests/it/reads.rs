//! Reads that are polled.

use reqwest::Method;

use crate::server::{Server, run, send, with_token};

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let run = format!("/api/v1/runs/{}", run["id"].as_str().unwrap());
    let ask = async |path: &str, tag: &str| {
        let request = server.request(Method::GET, path);
        send(request.header("if-none-match", tag)).await
    };
    for path in [&run, "/api/v1/leaderboards/sums", "/api/openapi.json"] {
        let fresh = server.get(path, "").await;
        fresh.expect(200);
        let tag = fresh.header("etag");
        assert!(tag.starts_with('"') && tag.len() > 10, "{path}: {tag}");
        assert_eq!(fresh.header("cache-control"), "no-cache");
        for known in [
            tag.to_owned(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            let known = ask(path, &known).await;
            assert_eq!((known.status, known.text.as_str()), (304, ""), "{path}");
            assert_eq!(known.header("etag"), tag);
        }
        ask(path, "\"x\"").await.expect(200);
    }
    let before = server.get(&run, "").await;
    let cancel = server.request(Method::POST, &format!("{run}/cancel"));
    send(with_token(cancel, &token)).await.expect(200);
    let after = ask(&run, before.header("etag")).await;
    assert_eq!(after.expect(200)["state"], "cancelled");
}

#[tokio::test]
async fn a_leaderboard_without_standings_is_empty() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    for (query, simulated) in [("", false), ("?simulated=true", true)] {
        let path = format!("/api/v1/leaderboards/sums{query}");
        let leaderboard = server.get(&path, "").await.expect(200);
        assert_eq!(leaderboard["benchmark"], "sums@1");
        assert_eq!(leaderboard["item_count"], 3);
        assert_eq!(leaderboard["simulated"], simulated);
        assert_eq!(leaderboard["standings"].as_array().unwrap().len(), 0);
    }
}

#[tokio::test]
async fn every_answer_has_careful_headers() {
    let server = Server::start().await;
    let check = async |path: &str, cache: &str| {
        let reply = server.get(path, "").await;
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("cache-control"), cache, "{path}");
        let id = uuid::Uuid::parse_str(reply.header("x-request-id")).unwrap();
        assert_eq!(id.get_version_num(), 7, "{path}");
    };
    check("/api/v1/prompts", "no-store").await;
    check("/api/v1/me", "no-store").await;
    check("/api/v1/nothing", "no-store").await;
    check("/api/openapi.json", "no-cache").await;
    check("/healthz", "").await;
    let foreign = server
        .request(Method::GET, "/healthz")
        .header("x-request-id", "mine");
    assert_ne!(send(foreign).await.header("x-request-id"), "mine");
}
