//! Providers and models.

use std::sync::Arc;

use opb_core::{
    models::{ProviderKind, ensure_provider},
    outbound::OutboundPolicy,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Reply, Server, run, send, with_token};

/// A server that allows providers on this machine.
async fn local_server() -> Server {
    Server::start_with(|settings| settings.outbound = Arc::new(OutboundPolicy::local())).await
}

async fn ask(server: &Server, method: Method, name: &str, token: &str, body: &Value) -> Reply {
    let path = format!("/api/v1/providers/{name}");
    send(with_token(server.request(method, &path), token).json(body)).await
}

#[tokio::test]
async fn administrators_add_providers_and_nobody_sees_a_credential() {
    let server = local_server().await;
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
    let secret =
        json!({"name": "a", "kind": "openai", "base_url": "http://a", "credential": "a\nb"});
    check(secret, "credential").await;
    check(json!({"name": "a", "kind": "magic"}), "kind").await;
    check(json!({"name": "a", "kind": "simulated", "url": "x"}), "url").await;
}

#[tokio::test]
async fn providers_inside_the_network_need_the_operators_word() {
    let server = Server::start().await;
    let admin = server.admin().await;
    for url in [
        "http://127.0.0.1:11434/v1",
        "http://2130706433/v1",
        "http://localhost/v1",
        "http://10.0.0.1/v1",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/v1",
        "http://metadata.google.internal/v1",
    ] {
        let body = json!({"name": "inside", "kind": "openai", "base_url": url});
        let reply = server.post("/api/v1/providers", &admin, &body).await;
        reply.expect_problem(422, "invalid", Some("base_url"));
        assert!(reply.text.contains("may not call"), "{}", reply.text);
    }
    let body =
        json!({"name": "outside", "kind": "openai", "base_url": "https://EXAMPLE.org:443/v1/"});
    let created = server.post("/api/v1/providers", &admin, &body).await;
    assert_eq!(created.expect(201)["base_url"], "https://example.org/v1");
    let change = json!({"base_url": "http://127.0.0.1/v1"});
    let moved = ask(&server, Method::PATCH, "outside", &admin, &change).await;
    moved.expect_problem(422, "invalid", Some("base_url"));
}

#[tokio::test]
async fn a_credential_does_not_follow_a_provider_to_another_host() {
    let server = local_server().await;
    let admin = server.admin().await;
    let body = json!({"name": "a", "kind": "openai", "base_url": "https://a.example/v1", "credential": "sk-0123456789abcdef"});
    server
        .post("/api/v1/providers", &admin, &body)
        .await
        .expect(201);
    let change = async |body: Value| ask(&server, Method::PATCH, "a", &admin, &body).await;
    for elsewhere in [
        "https://evil.example/v1",
        "http://a.example/v1",
        "https://a.example:8443/v1",
        "https://a.example.evil.example/v1",
    ] {
        let reply = change(json!({"base_url": elsewhere})).await;
        reply.expect_problem(422, "invalid", Some("credential"));
        assert!(
            reply
                .text
                .contains("key must be supplied again when the host changes"),
            "{}",
            reply.text
        );
    }
    let listed = server.get("/api/v1/providers", &admin).await.expect(200);
    assert_eq!(listed["items"][0]["base_url"], "https://a.example/v1");
    let moved = change(json!({"base_url": "https://A.example:443/v2/"}))
        .await
        .expect(200);
    assert_eq!(moved["base_url"], "https://a.example/v2");
    assert_eq!(moved["credential_hint"], "…cdef");
    let moved =
        change(json!({"base_url": "https://b.example/v1", "credential": "sk-another-secret-9876"}))
            .await
            .expect(200);
    assert_eq!(moved["credential_hint"], "…9876");
    let moved = change(json!({"base_url": "http://127.0.0.1/v1", "credential": null}))
        .await
        .expect(200);
    assert_eq!(moved["credential_hint"], Value::Null);
    let moved = change(json!({"base_url": "http://[::1]/v1"}))
        .await
        .expect(200);
    assert_eq!(moved["base_url"], "http://[::1]/v1");
    let user = server.user("ada").await;
    for (token, status, code) in [("", 401, "unauthenticated"), (&*user, 403, "forbidden")] {
        for method in [Method::PATCH, Method::DELETE] {
            let reply = ask(&server, method, "a", token, &json!({})).await;
            reply.expect_problem(status, code, None);
        }
    }
}

#[tokio::test]
async fn a_provider_goes_unless_runs_name_it() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.prepare_run(&admin).await;
    let removed = async |name: &str| ask(&server, Method::DELETE, name, &admin, &json!({})).await;
    let mut conn = server.database.pool.acquire().await.unwrap();
    let url = Some("https://example.org/v1");
    ensure_provider(&mut conn, "unused", ProviderKind::Openai, url)
        .await
        .unwrap();
    assert_eq!(removed("unused").await.status, 204);
    removed("unused")
        .await
        .expect_problem(404, "not_found", None);
    server
        .post("/api/v1/runs", &admin, &run())
        .await
        .expect(202);
    removed("simulated")
        .await
        .expect_problem(409, "conflict", None);
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

#[tokio::test]
async fn a_preset_knows_kind_and_address() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let add = async |body: Value| server.post("/api/v1/providers", &admin, &body).await;
    let groq = add(json!({"preset": "groq", "credential": "gsk-0123456789"})).await;
    let groq = groq.expect(201);
    assert_eq!(
        (&groq["name"], &groq["kind"]),
        (&json!("groq"), &json!("openai"))
    );
    assert_eq!(groq["base_url"], "https://api.groq.com/openai/v1");
    let claude = add(json!({"preset": "anthropic", "name": "claude"}))
        .await
        .expect(201);
    assert_eq!(
        (&claude["name"], &claude["kind"]),
        (&json!("claude"), &json!("anthropic"))
    );
    let presets = server.get("/api/v1/presets", "").await.expect(200);
    let names = presets
        .as_array()
        .unwrap()
        .iter()
        .map(|preset| &preset["name"]);
    assert!(names.clone().any(|name| name == "ollama"), "{presets}");
    for (body, path) in [
        (json!({"preset": "magic"}), "preset"),
        (json!({"preset": "groq", "kind": "anthropic"}), "kind"),
        (
            json!({"kind": "openai", "base_url": "https://a.example"}),
            "name",
        ),
        (json!({"name": "a"}), "kind"),
        // The operator has not allowed this machine.
        (json!({"preset": "ollama"}), "base_url"),
    ] {
        add(body).await.expect_problem(422, "invalid", Some(path));
    }
}

#[tokio::test]
async fn settings_are_checked_and_for_administrators_only() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let user = server.user("ada").await;
    let settings = json!({"request": {"q": "{{ prompt }}"}, "text": "/answer"});
    let body = json!({"name": "mine", "kind": "http", "base_url": "https://a.example/ask", "settings": settings});
    let created = server
        .post("/api/v1/providers", &admin, &body)
        .await
        .expect(201);
    assert_eq!(created["settings"]["request"], settings["request"]);
    let seen = server.get("/api/v1/providers", &user).await.expect(200);
    assert_eq!(seen["items"][0]["settings"], Value::Null);
    let change = json!({"settings": {"request": {"q": "always the same"}, "text": "/answer"}});
    let refused = ask(&server, Method::PATCH, "mine", &admin, &change).await;
    refused.expect_problem(422, "invalid", Some("settings.request"));
    let change = json!({"settings": {"request": ["{{ messages }}"], "text": "/answer"}});
    let changed = ask(&server, Method::PATCH, "mine", &admin, &change)
        .await
        .expect(200);
    assert_eq!(changed["settings"]["request"], json!(["{{ messages }}"]));
    assert_eq!(changed["base_url"], "https://a.example/ask");
    for (kind, credential) in [("bedrock", "ID::TOKEN"), ("echo", "useless")] {
        let mut body = json!({"name": "b", "kind": kind, "credential": credential});
        if kind == "bedrock" {
            body["settings"] = json!({"region": "eu-central-1"});
        }
        let refused = server.post("/api/v1/providers", &admin, &body).await;
        refused.expect_problem(422, "invalid", Some("credential"));
    }
}

#[tokio::test]
async fn prices_are_imported_listed_and_set() {
    let server = Server::start().await;
    let admin = server.admin().await;
    let user = server.user("ada").await;
    let body = json!({"preset": "groq"});
    server
        .post("/api/v1/providers", &admin, &body)
        .await
        .expect(201);
    let row = |input: Value| json!({"litellm_provider": "groq", "mode": "chat", "input_cost_per_token": input, "output_cost_per_token": 2e-6});
    let file = json!({
        "groq/a": row(json!(1e-6)), "groq/b": row(json!(5e-7)), "groq/wrong": row(json!(-1)),
        "other": {"litellm_provider": "azure"}, "nothing": 7,
    });
    let import = server
        .post("/api/v1/prices/import", &admin, &file)
        .await
        .expect(200);
    insta::assert_json_snapshot!(import);
    for wrong in [json!([]), json!("text"), json!(null)] {
        let refused = server.post("/api/v1/prices/import", &admin, &wrong).await;
        refused.expect(422);
    }
    let set = json!({"model": "a", "input_microusd_per_mtok": 3, "output_microusd_per_mtok": 4, "cached_input_microusd_per_mtok": 1});
    ask(&server, Method::PUT, "groq/prices", &admin, &set)
        .await
        .expect(200);
    let dear = json!({"model": "a", "input_microusd_per_mtok": 3, "output_microusd_per_mtok": 4, "cached_input_microusd_per_mtok": 5});
    let refused = ask(&server, Method::PUT, "groq/prices", &admin, &dear).await;
    refused.expect_problem(422, "invalid", Some("cached_input_microusd_per_mtok"));
    let first = server
        .get("/api/v1/prices?provider=groq&limit=1", &user)
        .await
        .expect(200);
    assert_eq!(
        (&first["items"][0]["model"], &first["items"][0]["source"]),
        (&json!("a"), &json!("hand"))
    );
    let next = first["next_cursor"].as_str().unwrap();
    let second = format!("/api/v1/prices?provider=groq&limit=1&cursor={next}");
    let second = server.get(&second, &user).await.expect(200);
    assert_eq!(
        (&second["items"][0]["model"], &second["items"][0]["source"]),
        (&json!("b"), &json!("litellm"))
    );
    let none = server
        .get("/api/v1/prices?provider=nobody", &user)
        .await
        .expect(200);
    assert_eq!(none["items"], json!([]));
}

#[tokio::test]
async fn administrators_declare_limits_and_remove_them() {
    let server = local_server().await;
    let admin = server.admin().await;
    let body = json!({"name": "local", "kind": "openai", "base_url": "http://127.0.0.1:9/v1"});
    server
        .post("/api/v1/providers", &admin, &body)
        .await
        .expect(201);
    let put = async |body: Value| ask(&server, Method::PUT, "local/limits", &admin, &body).await;
    let all =
        json!({"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrent_calls": 8});
    put(all).await.expect(200);
    let reply = put(json!({"model": "small", "daily_microusd": 5_000_000})).await;
    let expect = json!([
        {"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrent_calls": 8,
         "daily_microusd": null, "spent_today_microusd": 0},
        {"model": "small", "requests_per_minute": null, "tokens_per_minute": null, "concurrent_calls": null,
         "daily_microusd": 5_000_000, "spent_today_microusd": 0},
    ]);
    assert_eq!(reply.expect(200), expect);
    let limits = "/api/v1/providers/local/limits";
    assert_eq!(server.get(limits, &admin).await.expect(200), expect);
    assert_eq!(put(json!({})).await.expect(200), json!([expect[1]]));
    assert_eq!(put(json!({"model": "small"})).await.expect(200), json!([]));
    for (body, path) in [
        (json!({"requests_per_minute": 0}), "requests_per_minute"),
        (json!({"tokens_per_minute": -1}), "tokens_per_minute"),
        (json!({"concurrent_calls": 0}), "concurrent_calls"),
        (json!({"daily_microusd": -1}), "daily_microusd"),
        (json!({"model": "", "concurrent_calls": 1}), "model"),
    ] {
        put(body).await.expect_problem(422, "invalid", Some(path));
    }
    let gone = ask(&server, Method::PUT, "gone/limits", &admin, &json!({})).await;
    gone.expect_problem(404, "not_found", None);
}
