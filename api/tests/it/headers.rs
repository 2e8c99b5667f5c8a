//! What browsers are told.

use reqwest::Method;

use crate::server::{Reply, Server, send};

const DATA: &str = "default-src 'none'; frame-ancestors 'none'";

#[tokio::test]
async fn every_answer_is_hardened() {
    let server = Server::start().await;
    for path in [
        "/api/v1/prompts",
        "/api/v1/prompts/nothing",
        "/api/v1/providers",
        "/api/openapi.json",
        "/nothing",
        "/healthz",
        "/metrics",
    ] {
        let reply = server.get(path, "").await;
        assert_eq!(reply.header("content-security-policy"), DATA, "{path}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(reply.header("x-frame-options"), "DENY", "{path}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert!(reply.header("permissions-policy").contains("camera=()"));
        assert!(!reply.headers.contains_key("strict-transport-security"));
        assert!(!reply.headers.contains_key("access-control-allow-origin"));
    }
    let page = server.get("/api/docs/", "").await;
    let policy = page.header("content-security-policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-eval"));
    assert!(
        !page.text.contains("<script>"),
        "no script stands in the page itself"
    );
}

#[tokio::test]
async fn browsers_keep_to_tls_when_the_operator_says_so() {
    let server = Server::start_with(|settings| settings.behind_tls = true).await;
    let reply = server.get("/api/v1/prompts", "").await;
    assert!(
        reply
            .header("strict-transport-security")
            .starts_with("max-age=31536000")
    );
}

async fn preflight(server: &Server, origin: &str) -> Reply {
    let request = server
        .request(Method::OPTIONS, "/api/v1/prompts")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header(
            "access-control-request-headers",
            "authorization,content-type",
        );
    send(request).await
}

#[tokio::test]
async fn other_origins_are_let_in_by_setting_only() {
    let closed = Server::start().await;
    let reply = preflight(&closed, "https://bank.example.org").await;
    assert_eq!(reply.status, 405);
    assert!(!reply.headers.contains_key("access-control-allow-origin"));

    let open = Server::start_with(|settings| {
        settings.cors_origins = vec!["https://bank.example.org".parse().unwrap()];
    })
    .await;
    let reply = preflight(&open, "https://bank.example.org").await;
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://bank.example.org"
    );
    assert!(
        !reply
            .headers
            .contains_key("access-control-allow-credentials")
    );
    for stranger in [
        "https://evil.example.org",
        "null",
        "http://bank.example.org",
    ] {
        let reply = preflight(&open, stranger).await;
        assert!(
            !reply.headers.contains_key("access-control-allow-origin"),
            "{stranger}"
        );
    }
    let request = open
        .request(Method::GET, "/api/v1/prompts")
        .header("origin", "https://bank.example.org");
    let reply = send(request).await;
    assert_eq!(reply.status, 200);
    assert_eq!(
        reply.header("access-control-allow-origin"),
        "https://bank.example.org"
    );
    assert_eq!(reply.header("content-security-policy"), DATA);
}
