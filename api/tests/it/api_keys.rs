//! API keys: shown once, held to their scopes, revoked at once. And the audit log.

use serde_json::{Value, json};

use crate::server::{Server, benchmark, field, prompt, run, send, with_token};

async fn make(server: &Server, token: &str, scopes: &[&str]) -> Value {
    let name = format!("laptop {}", uuid::Uuid::now_v7());
    let body = json!({"name": name, "scopes": scopes});
    server
        .post("/api/v1/api-keys", token, &body)
        .await
        .expect(201)
}

async fn delete(server: &Server, token: &str, id: &str) -> u16 {
    let path = format!("/api/v1/api-keys/{id}");
    send(with_token(
        server.request(reqwest::Method::DELETE, &path),
        token,
    ))
    .await
    .status
}

#[tokio::test]
async fn a_key_is_shown_once_and_revoked_at_once() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let made = make(&server, &ada, &["runs:read", "prompts:read", "runs:read"]).await;
    let (key, id) = (field(&made, "key"), field(&made, "id"));
    assert!(key.starts_with("opb_") && key.len() > 40);
    assert_eq!(made["scopes"], json!(["prompts:read", "runs:read"]));
    assert!(key.starts_with(made["prefix"].as_str().unwrap()));
    let list = server.get("/api/v1/api-keys", &ada).await;
    assert_eq!(list.expect(200)["items"][0]["id"], made["id"]);
    assert!(!list.text.contains(&key), "the key is shown again");
    assert_eq!(list.json()["items"][0]["last_used_at"], Value::Null);
    assert!(server.knows(&key).await);
    let list = server.get("/api/v1/api-keys", &ada).await.expect(200);
    assert!(list["items"][0]["last_used_at"].is_string());
    let others = server.get("/api/v1/api-keys", &bob).await.expect(200);
    assert_eq!(others["items"], json!([]));
    assert_eq!(delete(&server, &bob, &id).await, 404, "somebody else's key");
    assert_eq!(delete(&server, &ada, &id).await, 204);
    assert_eq!(delete(&server, &ada, &id).await, 404);
    assert!(!server.knows(&key).await);
}

#[tokio::test]
async fn wrong_keys_are_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let key = field(&make(&server, &ada, &["prompts:read"]).await, "key");
    let cut = &key[..key.len() - 1];
    let other = key.replacen("opb_", "abc_", 1);
    for wrong in [cut, &other, "opb_", &format!("{key}x")] {
        server
            .get("/api/v1/me", wrong)
            .await
            .expect_problem(401, "unauthenticated", None);
    }
    let in_address = format!("/api/v1/me?api_key={key}");
    assert_eq!(server.get(&in_address, "").await.status, 401);
    server
        .sql("update api_keys set expires_at = now() - interval '1 second'")
        .await;
    assert!(!server.knows(&key).await, "an expired key");
    server.sql("update api_keys set expires_at = null").await;
    assert!(server.knows(&key).await);
    server.sql("update users set disabled_at = now()").await;
    assert!(!server.knows(&key).await, "a disabled user's key");
}

#[tokio::test]
async fn a_key_is_held_to_its_scopes() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let calls: [(&str, &str, Value, &str); 7] = [
        ("GET", "/api/v1/prompts", Value::Null, "prompts:read"),
        (
            "GET",
            "/api/v1/benchmarks/sums",
            Value::Null,
            "prompts:read",
        ),
        ("POST", "/api/v1/prompts", prompt("new"), "prompts:write"),
        (
            "POST",
            "/api/v1/benchmarks",
            benchmark("new"),
            "prompts:write",
        ),
        ("GET", "/api/v1/runs", Value::Null, "runs:read"),
        ("GET", "/api/v1/models", Value::Null, "runs:read"),
        ("POST", "/api/v1/runs", run(), "runs:write"),
    ];
    for scope in ["prompts:read", "prompts:write", "runs:read", "runs:write"] {
        let key = field(&make(&server, &ada, &[scope]).await, "key");
        for (method, path, body, needed) in &calls {
            let reply = match *method {
                "GET" => server.get(path, &key).await,
                _ => server.post(path, &key, body).await,
            };
            // Who may write may read the same things.
            let read = needed.replace(":read", ":write");
            if *needed == scope || read == scope {
                assert!(
                    reply.status < 300,
                    "{scope} {method} {path}: {}",
                    reply.text
                );
            } else {
                reply.expect_problem(403, "scope_missing", None);
                assert!(
                    reply.text.contains(&format!("`{needed}`")),
                    "{}",
                    reply.text
                );
            }
        }
    }
}

#[tokio::test]
async fn a_key_cannot_do_what_needs_a_login() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let ada = server.user("ada").await;
    let key = field(&make(&server, &ada, &["prompts:read"]).await, "key");
    for key in [admin, key] {
        let new = json!({"name": "stronger", "scopes": ["admin"]});
        let passwords =
            json!({"current_password": "correct horse", "new_password": "battery staple"});
        let check = async |path: &str, body: &Value| {
            let reply = server.post(path, &key, body).await;
            reply.expect_problem(403, "login_needed", None);
        };
        check("/api/v1/api-keys", &new).await;
        check("/api/v1/me/password", &passwords).await;
        check("/api/v1/auth/logout", &json!({})).await;
        check("/api/v1/auth/logout-all", &json!({})).await;
        let list = server.get("/api/v1/api-keys", &key).await;
        list.expect_problem(403, "login_needed", None);
    }
}

#[tokio::test]
async fn only_administrators_make_keys_for_administration() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let new = json!({"name": "mine", "scopes": ["admin"]});
    server
        .post("/api/v1/api-keys", &ada, &new)
        .await
        .expect_problem(403, "forbidden", None);
    let plain = field(&make(&server, &ada, &["runs:read"]).await, "key");
    server
        .sql("update users set role = 'admin' where username = 'ada'")
        .await;
    let strong = server
        .post("/api/v1/api-keys", &ada, &new)
        .await
        .expect(201);
    assert_eq!(
        server
            .get("/api/v1/audit", &field(&strong, "key"))
            .await
            .status,
        200
    );
    // An administrator's key without the scope is a plain user's.
    assert_eq!(server.get("/api/v1/audit", &plain).await.status, 403);
    assert_eq!(server.get("/users", &plain).await.status, 403);
}

#[tokio::test]
async fn wrong_wishes_name_their_field() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let check = async |body: Value, path: &str| {
        let reply = server.post("/api/v1/api-keys", &ada, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check(json!({"name": "", "scopes": ["runs:read"]}), "name").await;
    check(json!({"name": "a", "scopes": []}), "scopes").await;
    check(json!({"name": "a", "scopes": ["everything"]}), "scopes[0]").await;
    check(
        json!({"name": "a", "scopes": ["runs:read"], "expires_at": "2020-01-01T00:00:00Z"}),
        "expires_at",
    )
    .await;
    check(
        json!({"name": "a", "scopes": ["runs:read"], "user_id": 1}),
        "user_id",
    )
    .await;
}

#[tokio::test]
async fn the_audit_log_tells_administrators_what_happened() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.log_in("ada").await;
    let wrong = json!({"username": "ada", "password": "a secret word"});
    server
        .post("/api/v1/auth/login", "", &wrong)
        .await
        .expect_problem(401, "unauthenticated", None);
    let made = make(&server, &ada, &["runs:read"]).await;
    assert_eq!(
        delete(&server, &ada, made["id"].as_str().unwrap()).await,
        204
    );
    let passwords = json!({"current_password": "correct horse", "new_password": "battery staple"});
    assert_eq!(
        server
            .post("/api/v1/me/password", &ada, &passwords)
            .await
            .status,
        204
    );
    server
        .get("/api/v1/audit", &ada)
        .await
        .expect_problem(403, "forbidden", None);
    let admin = server.admin().await;
    let log = server.get("/api/v1/audit", &admin).await;
    let entries = log.expect(200)["items"].as_array().unwrap().clone();
    let events: Vec<&str> = entries
        .iter()
        .map(|entry| entry["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        events,
        [
            "password_changed",
            "api_key_revoked",
            "api_key_created",
            "login_failed",
            "logged_in",
            "registered"
        ]
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry["username"] == "ada" && entry["address"] == "127.0.0.1")
    );
    assert_eq!(entries[2]["subject"], made["id"]);
    for secret in [
        "a secret word",
        "correct horse",
        "battery staple",
        made["key"].as_str().unwrap(),
    ] {
        assert!(!log.text.contains(secret), "{secret} leaks");
    }
    let page = server
        .get("/api/v1/audit?limit=4", &admin)
        .await
        .expect(200);
    let next = format!(
        "/api/v1/audit?limit=4&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    let page = server.get(&next, &admin).await.expect(200);
    assert_eq!(
        (
            page["items"].as_array().unwrap().len(),
            &page["next_cursor"]
        ),
        (2, &Value::Null)
    );
    server
        .get("/api/v1/audit?cursor=x", &admin)
        .await
        .expect_problem(422, "invalid", Some("cursor"));
}

/// A program that is done with its key ends it, whatever the key may do; a login has none to end.
#[tokio::test]
async fn a_key_ends_itself() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let key = field(&make(&server, &ada, &["runs:read"]).await, "key");
    let path = "/api/v1/api-keys/current";
    let end = async |credential: &str| {
        send(with_token(
            server.request(reqwest::Method::DELETE, path),
            credential,
        ))
        .await
    };
    end(&ada).await.expect_problem(403, "forbidden", None);
    assert_eq!(end(&key).await.status, 204);
    assert!(!server.knows(&key).await);
    end(&key).await.expect_problem(401, "unauthenticated", None);
    assert!(server.knows(&ada).await);
}
