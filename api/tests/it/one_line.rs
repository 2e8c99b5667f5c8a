//! Names and titles are one line of characters that are seen, wherever they are written (L14), and no name of a model
//! takes a part of an address away (L11).

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, benchmark, prompt, run, send, with_token};

const ODD: [&str; 9] = [
    "a\u{1b}[31mred",
    "a\u{7}",
    "a\r\nb",
    "a\tb",
    "a\u{85}b",
    "a\u{202e}b",
    "a\u{200b}b",
    "a\u{2066}b",
    "\u{feff}a",
];

fn with(mut body: Value, pointer: &str, text: &str) -> Value {
    *body.pointer_mut(pointer).unwrap() = json!(text);
    body
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one table")]
async fn no_name_holds_what_is_not_seen() {
    let server = Server::start().await;
    let user = server.user("eve").await;
    let admin = server.admin().await;
    server.prepare_run(&user).await;
    let mut named_run = run();
    named_run["name"] = json!("a");
    let mut titled = prompt("other");
    titled["attribution"] = json!("a");
    let schedule = json!({"name": "a", "cron": "0 3 * * *", "time_zone": "UTC", "request": run()});
    let webhook =
        json!({"name": "a", "url": "https://hooks.example.org", "events": ["run.finished"]});
    for (token, method, path, body, pointer, field) in [
        (
            &user,
            Method::POST,
            "/api/v1/prompts",
            titled.clone(),
            "/title",
            "title",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/prompts",
            titled,
            "/attribution",
            "attribution",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/collections",
            json!({"title": "a"}),
            "/title",
            "title",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/runs",
            named_run,
            "/name",
            "name",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/benchmarks",
            benchmark("other"),
            "/title",
            "title",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/benchmarks",
            benchmark("other"),
            "/items/0/id",
            "items[0].id",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/schedules",
            schedule,
            "/name",
            "name",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/webhooks",
            webhook,
            "/name",
            "name",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/saved-searches",
            json!({"name": "a", "query": {}}),
            "/name",
            "name",
        ),
        (
            &user,
            Method::POST,
            "/api/v1/api-keys",
            json!({"name": "a", "scopes": ["runs:read"]}),
            "/name",
            "name",
        ),
        (
            &admin,
            Method::PUT,
            "/api/v1/categories/odd",
            json!({"title": "a"}),
            "/title",
            "title",
        ),
    ] {
        for odd in ODD {
            let body = with(body.clone(), pointer, odd);
            let request = with_token(server.request(method.clone(), path), token).json(&body);
            let reply = send(request).await;
            assert_eq!(
                reply.status, 422,
                "{path} {pointer} {odd:?}: {}",
                reply.text
            );
            reply.expect_problem(422, "invalid", Some(field));
        }
    }
    // A longer text keeps its lines and tabs, and nothing else that controls.
    let described = |text: &str| json!({"title": "a", "description": text});
    let post = async |body: Value| server.post("/api/v1/collections", &user, &body).await;
    post(described("one\ntwo\r\n\tthree")).await.expect(201);
    for odd in ["\u{1b}[2J", "a\u{7}", "a\rb"] {
        post(described(odd))
            .await
            .expect_problem(422, "invalid", Some("description"));
    }
}

#[tokio::test]
async fn no_name_of_a_model_is_a_step_of_a_path() {
    let server = Server::start().await;
    let admin = server.admin().await;
    server.prepare_run(&admin).await;
    let provider = json!({"name": "az", "kind": "azure_openai", "base_url": "https://example.org", "credential": "x"});
    server
        .post("/api/v1/providers", &admin, &provider)
        .await
        .expect(201);
    for name in [
        ".",
        "..",
        "a/../b",
        "../../admin",
        "a/./b",
        "..\\x",
        "a\nb",
        "a\u{202e}b",
    ] {
        let mut body = run();
        body["models"] = json!([format!("az:{name}")]);
        body["budget_microusd"] = json!(1_000_000);
        let reply = server.post("/api/v1/runs", &admin, &body).await;
        assert_eq!(reply.status, 422, "{name:?}: {}", reply.text);
        reply.expect_problem(422, "invalid", Some("models[0]"));
    }
}
