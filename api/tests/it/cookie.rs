//! The session of the web page, in a cookie.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, field, send};

const PATH: &str = "/api/v1/auth/cookie";

/// The next access token, as the bank's own page asks for it.
async fn next(server: &Server, cookie: &str, body: Value) -> Reply {
    let request = server.request(Method::POST, PATH);
    let request = request.header("sec-fetch-site", "same-origin").json(&body);
    send(if cookie.is_empty() {
        request
    } else {
        request.header("cookie", format!("theme=dark; {cookie}"))
    })
    .await
}

/// The cookie that an answer sets, as a browser would send it back.
fn cookie(reply: &Reply) -> String {
    let set = reply.header("set-cookie");
    set.split(';').next().unwrap().to_owned()
}

#[tokio::test]
async fn a_page_keeps_its_session_in_a_cookie() {
    let server = Server::start().await;
    let refresh_token = field(&server.register("ada").await, "refresh_token");
    let first = next(&server, "", json!({"refresh_token": refresh_token})).await;
    let token = field(&first.expect(200), "access_token");
    assert!(server.knows(&token).await);
    assert!(first.json().get("refresh_token").is_none());
    let set = first.header("set-cookie");
    assert!(set.starts_with("opb-session="), "{set}");
    for part in [
        "; Path=/",
        "; HttpOnly",
        "; SameSite=Strict",
        "; Max-Age=2592000",
    ] {
        assert!(set.contains(part), "{set}");
    }
    assert!(!set.contains("Secure") && !set.contains("Domain"), "{set}");
    let second = next(&server, &cookie(&first), json!({})).await;
    let token = field(&second.expect(200), "access_token");
    assert_ne!(cookie(&first), cookie(&second));
    // A cookie is good for nothing else, and never stands in for a token.
    for path in ["/api/v1/me", "/protected", "/api/auth/protected/"] {
        let request = server.request(Method::GET, path);
        let reply = send(request.header("cookie", cookie(&second))).await;
        assert_eq!(reply.status, 401, "{path}");
    }
    let request = server.request(Method::DELETE, PATH);
    let request = request.header("sec-fetch-site", "same-origin");
    let reply = send(request.header("cookie", cookie(&second))).await;
    assert_eq!(reply.status, 204);
    assert!(reply.header("set-cookie").contains("Max-Age=0"));
    assert!(!server.knows(&token).await, "the session has ended");
    let reply = next(&server, &cookie(&second), json!({})).await;
    reply.expect_problem(401, "unauthenticated", None);
    assert!(reply.header("set-cookie").contains("Max-Age=0"));
}

#[tokio::test]
async fn other_pages_cannot_use_the_cookie() {
    let server = Server::start().await;
    let refresh_token = field(&server.register("ada").await, "refresh_token");
    let first = next(&server, "", json!({"refresh_token": refresh_token})).await;
    let (own, cookie) = (server.address.clone(), cookie(&first));
    let ask = async |method: Method, headers: &[(&str, &str)], kind: &str, body: &'static str| {
        let mut request = server.request(method, PATH).header("cookie", &cookie);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        send(request.header("content-type", kind).body(body)).await
    };
    let json = "application/json";
    for method in [Method::POST, Method::DELETE] {
        for headers in [
            &[][..],
            &[("origin", "https://evil.example.org")],
            &[("origin", "null")],
            &[("sec-fetch-site", "cross-site")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("sec-fetch-site", "cross-site"), ("origin", &own)],
        ] {
            ask(method.clone(), headers, json, "{}")
                .await
                .expect_problem(403, "foreign_origin", None);
        }
    }
    for kind in [
        "application/x-www-form-urlencoded",
        "text/plain",
        "multipart/form-data; boundary=x",
    ] {
        ask(Method::POST, &[("origin", &own)], kind, "{}")
            .await
            .expect_problem(415, "unsupported_media_type", None);
    }
    ask(
        Method::POST,
        &[("origin", &own), ("authorization", "Bearer x")],
        json,
        "{}",
    )
    .await
    .expect_problem(400, "two_credentials", None);
    ask(
        Method::POST,
        &[("origin", &own), ("cookie", &cookie)],
        json,
        "{}",
    )
    .await
    .expect_problem(400, "two_credentials", None);
    ask(Method::POST, &[("origin", &own)], json, "{}")
        .await
        .expect(200);
    // Logging in takes JSON only, too: no form of another page can log its visitor in.
    let request = server.request(Method::POST, "/api/v1/auth/login");
    let form = request.header("content-type", "text/plain");
    let body = r#"{"username":"ada","password":"correct horse"}"#;
    send(form.body(body))
        .await
        .expect_problem(415, "unsupported_media_type", None);
}

#[tokio::test]
async fn over_tls_the_cookie_is_secure_and_without_it_only_local() {
    let server = Server::start_with(|settings| settings.behind_tls = true).await;
    let refresh_token = field(&server.register("ada").await, "refresh_token");
    let reply = next(&server, "", json!({"refresh_token": refresh_token})).await;
    reply.expect(200);
    let set = reply.header("set-cookie");
    assert!(
        set.starts_with("__Host-opb-session=") && set.ends_with("; Secure"),
        "{set}"
    );
    let plain = cookie(&reply).replace("__Host-", "");
    let reply = next(&server, &plain, json!({})).await;
    reply.expect_problem(401, "unauthenticated", None);

    let server =
        Server::start_with(|settings| settings.allow_hosts = vec!["bank.example.org".into()]).await;
    let request = server.request(Method::POST, PATH).json(&json!({}));
    let request = request.header("sec-fetch-site", "same-origin");
    let reply = send(request.header("host", "bank.example.org")).await;
    reply.expect_problem(403, "tls_needed", None);
}
