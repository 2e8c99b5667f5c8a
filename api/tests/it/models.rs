//! Providers and models.

use std::sync::Arc;

use opb_core::{
    models::{ProviderKind, ensure_provider, load_shipped_prices},
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
    ask(&server, Method::PATCH, "groq/prices", &admin, &set)
        .await
        .expect(200);
    let dear = json!({"model": "a", "input_microusd_per_mtok": 3, "output_microusd_per_mtok": 4, "cached_input_microusd_per_mtok": 5});
    let refused = ask(&server, Method::PATCH, "groq/prices", &admin, &dear).await;
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
    let small =
        json!({"model": "small", "daily_microusd": 5_000_000, "call_timeout_seconds": 1200});
    let reply = put(small).await;
    let expect = json!([
        {"requests_per_minute": 600, "tokens_per_minute": 100_000, "concurrent_calls": 8,
         "daily_microusd": null, "call_timeout_seconds": null, "spent_today_microusd": 0},
        {"model": "small", "requests_per_minute": null, "tokens_per_minute": null, "concurrent_calls": null,
         "daily_microusd": 5_000_000, "call_timeout_seconds": 1200, "spent_today_microusd": 0},
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
        (json!({"call_timeout_seconds": 0}), "call_timeout_seconds"),
        (
            json!({"call_timeout_seconds": 86_401}),
            "call_timeout_seconds",
        ),
        (json!({"model": "", "concurrent_calls": 1}), "model"),
    ] {
        put(body).await.expect_problem(422, "invalid", Some(path));
    }
    let gone = ask(&server, Method::PUT, "gone/limits", &admin, &json!({})).await;
    gone.expect_problem(404, "not_found", None);
}

/// A12: what is absent stays, null removes, and a published price is what a change begins with.
#[tokio::test]
async fn a_price_keeps_what_a_change_does_not_name() {
    let server = local_server().await;
    let admin = server.admin().await;
    let preset = json!({"preset": "openai"});
    server
        .post("/api/v1/providers", &admin, &preset)
        .await
        .expect(201);
    let mut tx = server.database.pool.begin().await.unwrap();
    load_shipped_prices(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
    let change =
        async |body: Value| ask(&server, Method::PATCH, "openai/prices", &admin, &body).await;
    let name = "gpt-5-mini";
    let published = change(json!({"model": name, "output_microusd_per_mtok": 3_000_000}))
        .await
        .expect(200);
    assert_eq!(published["input_microusd_per_mtok"], 250_000, "{published}");
    assert_eq!(published["cached_input_microusd_per_mtok"], 25_000);
    assert_eq!(published["max_output_tokens"], 128_000);
    let body = json!({"model": name, "cached_input_microusd_per_mtok": null, "reasoning_microusd_per_mtok": 4_000_000});
    let changed = change(body).await.expect(200);
    assert_eq!(changed.get("cached_input_microusd_per_mtok"), None);
    assert_eq!(changed["reasoning_microusd_per_mtok"], 4_000_000);
    assert_eq!(changed["output_microusd_per_mtok"], 3_000_000);
    for (body, path) in [
        (json!({"model": "new"}), "input_microusd_per_mtok"),
        (
            json!({"model": "new", "input_microusd_per_mtok": 1}),
            "output_microusd_per_mtok",
        ),
        (
            json!({"model": name, "input_microusd_per_mtok": -1}),
            "input_microusd_per_mtok",
        ),
        (
            json!({"model": name, "cached_input_microusd_per_mtok": 900_000}),
            "cached_input_microusd_per_mtok",
        ),
    ] {
        change(body)
            .await
            .expect_problem(422, "invalid", Some(path));
    }
}

/// B8: whether models cost nothing is decided by address and credential, unless an administrator says otherwise.
#[tokio::test]
async fn a_server_of_ones_own_costs_nothing_unless_somebody_says_so() {
    let server = local_server().await;
    let admin = server.admin().await;
    let mut number = 0;
    let mut add = async |mut body: Value| {
        number += 1;
        body["name"] = json!(format!("p{number}"));
        if body.get("preset").is_none() {
            body["kind"] = json!("openai");
        }
        server
            .post("/api/v1/providers", &admin, &body)
            .await
            .expect(201)["free"]
            .clone()
    };
    for url in [
        "http://127.0.0.1:8081/v1",
        "http://localhost:8081/v1",
        "http://192.168.1.7/v1",
        "http://10.1.2.3:4000/v1",
    ] {
        assert_eq!(add(json!({"base_url": url})).await, true, "{url}");
        let gateway = json!({"base_url": url, "credential": "sk-0123456789"});
        assert_eq!(add(gateway).await, false, "{url} asks for a key");
        assert_eq!(add(json!({"base_url": url, "free": false})).await, false);
    }
    for url in ["https://api.example.org/v1", "http://8.8.8.8/v1"] {
        assert_eq!(add(json!({"base_url": url})).await, false, "{url}");
        assert_eq!(add(json!({"base_url": url, "free": true})).await, true);
    }
    assert_eq!(add(json!({"preset": "ollama"})).await, true);
    assert_eq!(add(json!({"preset": "openai"})).await, false);
    // A move to the public internet ends it; another path does not.
    let change = async |body: Value| {
        ask(&server, Method::PATCH, "p1", &admin, &body)
            .await
            .expect(200)["free"]
            .clone()
    };
    assert_eq!(
        change(json!({"base_url": "http://127.0.0.1:8081/v2"})).await,
        true
    );
    assert_eq!(
        change(json!({"base_url": "https://api.example.org/v1"})).await,
        false
    );
    assert_eq!(change(json!({"free": true})).await, true);
}

/// A6: the address of a provider is asked through the guard, and only for administrators.
#[tokio::test]
async fn a_check_says_what_is_at_an_address() {
    let server = local_server().await;
    let admin = server.admin().await;
    let user = server.user("ada").await;
    let itself = format!("{}/v1", server.address);
    let body = json!({"name": "itself", "kind": "openai", "base_url": itself});
    let refused = server.post("/api/v1/providers", &admin, &body).await;
    refused.expect_problem(422, "invalid", Some("base_url"));
    // Another bank is no provider, either.
    let other = Server::start().await;
    let url = format!("{}/v1", other.address);
    for (name, url) in [("other", url.as_str()), ("dead", "http://127.0.0.1:1/v1")] {
        let body = json!({"name": name, "kind": "openai", "base_url": url});
        server
            .post("/api/v1/providers", &admin, &body)
            .await
            .expect(201);
    }
    // What was allowed once may be forbidden now.
    server
        .sql("insert into providers (id, name, kind, base_url) values (gen_random_uuid(), 'inside', 'openai', 'http://169.254.169.254/v1')")
        .await;
    sqlx::query("insert into providers (id, name, kind, base_url) values (gen_random_uuid(), 'itself', 'openai', $1)")
        .bind(&itself)
        .execute(&server.database.pool)
        .await
        .unwrap();
    for (name, expect) in [
        ("itself", "not_allowed"),
        ("other", "not_a_provider"),
        ("dead", "unreachable"),
        ("inside", "not_allowed"),
    ] {
        let path = format!("/api/v1/providers/{name}/check");
        let found = server.post(&path, &admin, &json!({})).await.expect(200);
        assert_eq!(found["outcome"], expect, "{found}");
        server
            .post(&path, &user, &json!({}))
            .await
            .expect_problem(403, "forbidden", None);
    }
    let path = "/api/v1/providers/nobody/check";
    server
        .post(path, &admin, &json!({}))
        .await
        .expect_problem(404, "not_found", None);
}

/// A8: a run that waits because no worker lives says so, and administrators see who lives.
#[tokio::test]
async fn a_run_without_a_worker_says_so() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.prepare_run(&admin).await;
    let submitted = server.post("/api/v1/runs", &admin, &run()).await;
    let submitted = submitted.expect(202);
    let path = format!("/api/v1/runs/{}", submitted["id"].as_str().unwrap());
    let reason = async || {
        let run = server.get(&path, &admin).await.expect(200);
        run["waiting_reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(reason().await, "", "it has only just been submitted");
    server
        .sql("update runs set created_at = now() - interval '1 minute'")
        .await;
    assert!(
        reason()
            .await
            .starts_with("no worker has been heard of for 20 s")
    );
    server
        .sql("insert into processes (id, kind, version, host) values (gen_random_uuid(), 'worker', '9.9', 'here')")
        .await;
    assert_eq!(reason().await, "");
    let living = server.get("/api/v1/processes", &admin).await.expect(200);
    assert_eq!(living["items"][0]["version"], "9.9");
    server
        .sql("update processes set seen_at = now() - interval '21 seconds'")
        .await;
    assert!(reason().await.starts_with("no worker"));
    let living = server.get("/api/v1/processes", &admin).await.expect(200);
    assert_eq!(living["items"], json!([]));
}

/// A6: a model whose provider has no key is refused when it is submitted, once it is known that the workers have none.
#[tokio::test]
async fn a_model_without_a_key_is_refused() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.prepare_run(&admin).await;
    for preset in ["openai", "groq"] {
        let body = json!({"preset": preset});
        server
            .post("/api/v1/providers", &admin, &body)
            .await
            .expect(201);
    }
    let other = json!({"name": "mine", "preset": "openai"});
    server
        .post("/api/v1/providers", &admin, &other)
        .await
        .expect(201);
    let submit = async |model: &str| {
        let mut body = run();
        body["models"] = json!([model]);
        server.post("/api/v1/runs", &admin, &body).await
    };
    submit("openai:a").await.expect(202);
    let refused = submit("mine:a").await;
    refused.expect_problem(422, "invalid", Some("models[0]"));
    assert!(refused.text.contains("set-key mine"), "{}", refused.text);
    server
        .sql("insert into processes (id, kind, version, host, key_variables) values (gen_random_uuid(), 'worker', '1', 'here', '{GROQ_API_KEY}')")
        .await;
    submit("groq:a").await.expect(202);
    let refused = submit("openai:a").await;
    refused.expect_problem(422, "invalid", Some("models[0]"));
    assert!(refused.text.contains("OPENAI_API_KEY"), "{}", refused.text);
    // An estimate asks nobody.
    let mut body = run();
    body["models"] = json!(["openai:a"]);
    server
        .post("/api/v1/runs/estimate", &admin, &body)
        .await
        .expect(200);
}
