//! Every wrong input has its answer: the right status, and the path of the field.

use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, benchmark, prompt, run, send, with_token};

/// `value` with the field at this JSON pointer replaced.
fn with(mut value: Value, pointer: &str, field: Value) -> Value {
    if let Some(place) = value.pointer_mut(pointer) {
        *place = field;
    } else {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        value.pointer_mut(parent).unwrap()[name] = field;
    }
    value
}

#[tokio::test]
async fn wrong_runs() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let other = json!({"slug": "other", "title": "Other", "body": {"kind": "text", "text": "{{ context }}"}});
    server
        .post("/api/v1/prompts", &token, &other)
        .await
        .expect(201);
    let check = async |pointer: &str, field: Value, path: &str| {
        let body = with(run(), pointer, field);
        let reply = server.post("/api/v1/runs", &token, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check("/benchmark", json!("nothing"), "benchmark").await;
    check("/benchmark", json!("sums@9"), "benchmark").await;
    check("/benchmark", json!("a\0b"), "benchmark").await;
    check("/prompts/0", json!("nothing"), "prompts[0]").await;
    check("/prompts/0", json!("plain@9"), "prompts[0]").await;
    check("/prompts/0", json!("other"), "prompts[0]").await;
    check("/prompts", json!(["plain", "plain@1"]), "prompts[1]").await;
    check("/prompts", json!([]), "prompts").await;
    check("/prompts", json!("plain"), "prompts").await;
    check("/models/0", json!("simulated:unknown"), "models[0]").await;
    check("/models/0", json!("nowhere:strong"), "models[0]").await;
    check("/models/0", json!("strong"), "models[0]").await;
    check("/models/0", json!("simulated:a\0b"), "models[0]").await;
    check("/models/0", json!(7), "models[0]").await;
    check("/models", json!([]), "models").await;
    check("/repeats", json!(-1), "repeats").await;
    check("/repeats", json!(0), "repeats").await;
    check("/repeats", json!(1001), "repeats").await;
    check("/repeats", json!(1.5), "repeats").await;
    check("/repeats", json!("2"), "repeats").await;
    check("/repeats", json!(99_999_999_999_u64), "repeats").await;
    check("/limit", json!(0), "limit").await;
    check("/name", json!("x".repeat(201)), "name").await;
    check("/visibility", json!("secret"), "visibility").await;
    check("/repeat", json!(2), "repeat").await;
    let long = with(run(), "/benchmark", json!("ü".repeat(1_000_000)));
    let reply = server.post("/api/v1/runs", &token, &long).await;
    reply.expect_problem(422, "invalid", Some("benchmark"));
    assert!(reply.text.len() < 10_000, "{} bytes", reply.text.len());
    let mut lacking = run();
    lacking.as_object_mut().unwrap().remove("prompts");
    let reply = server.post("/api/v1/runs", &token, &lacking).await;
    reply.expect_problem(422, "invalid", Some("prompts"));
}

#[tokio::test]
async fn wrong_benchmarks() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let check = async |pointer: &str, field: Value, path: &str| {
        let body = with(benchmark("sums"), pointer, field);
        let reply = server.post("/api/v1/benchmarks", &token, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check("/items", json!([]), "items").await;
    check("/items/1/id", json!("a"), "items[1].id").await;
    check("/items/1/id", json!(""), "items[1].id").await;
    check("/items/1/id", json!("b\0"), "items[1].id").await;
    check(
        "/items/2/vars/question",
        json!("\0"),
        "items[2].vars.question",
    )
    .await;
    check("/items/2/expected", json!(["\0"]), "items[2].expected[0]").await;
    check("/items/0/variables", json!({}), "items[0].variables").await;
    check(
        "/scorers/0/type",
        json!("no-such-scorer"),
        "scorers[0].type",
    )
    .await;
    check("/slug", json!("Not A Slug"), "slug").await;
    check("/title", json!("  "), "title").await;
    check("/title", json!(null), "title").await;
    let deep = format!("{{\"source\": {{\"a\": {}", "[".repeat(100_000));
    let request = with_token(server.request(Method::POST, "/api/v1/benchmarks"), &token);
    let request = request.header("content-type", "application/json");
    let reply = send(request.body(deep)).await;
    let path = format!("source.a{}", "[0]".repeat(64));
    let path = format!("{}…", &path[..200]);
    reply.expect_problem(400, "malformed_json", Some(&path));
}

#[tokio::test]
async fn wrong_prompts() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let check = async |pointer: &str, field: Value, path: &str| {
        let body = with(prompt("plain"), pointer, field);
        let reply = server.post("/api/v1/prompts", &token, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    check("/body/text", json!("{{ question"), "body.text").await;
    check("/body/text", json!("{% for %}"), "body.text").await;
    check("/body/text", json!("a\0b"), "body.text").await;
    check("/body/kind", json!("poem"), "body.kind").await;
    check("/slug", json!("-"), "slug").await;
    check("/title", json!(""), "title").await;
    check("/description", json!("x".repeat(20_001)), "description").await;
    check("/tags", json!(["<b>"]), "tags[0]").await;
    check("/tag", json!("a"), "tag").await;
}

#[tokio::test]
async fn wrong_bodies() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let check = async |kind: &str, body: String, status: u16, code: &str, path: Option<&str>| {
        let request = with_token(server.request(Method::POST, "/api/v1/prompts"), &token);
        let request = match kind {
            "" => request,
            kind => request.header("content-type", kind),
        };
        let reply = send(request.body(body)).await;
        reply.expect_problem(status, code, path);
        reply
    };
    let json = "application/json";
    let good = prompt("plain").to_string();
    check(
        "text/plain",
        good.clone(),
        415,
        "unsupported_media_type",
        None,
    )
    .await;
    check("", good.clone(), 415, "unsupported_media_type", None).await;
    check(json, String::new(), 400, "malformed_json", Some("")).await;
    let syntax = check(
        json,
        "{\n  \"title\": oops}".into(),
        400,
        "malformed_json",
        Some("title"),
    )
    .await;
    assert!(syntax.text.contains("line 2, column"), "{}", syntax.text);
    check(json, format!("{good}x"), 400, "malformed_json", Some("")).await;
    check(json, "[".repeat(100_000), 422, "invalid", Some("")).await;
    check(
        json,
        r#"[null, "T", "", "public"]"#.into(),
        422,
        "invalid",
        Some(""),
    )
    .await;
    check(json, "[]".into(), 422, "invalid", Some("")).await;
    check(json, "null".into(), 422, "invalid", Some("")).await;
    let twice = r#"{"title": "a", "title": "b"}"#;
    check(json, twice.into(), 422, "invalid", Some("title")).await;
    // What could not be kept as it was sent is refused, at any depth.
    let default = |value: &str| {
        format!(
            r#"{{"slug": "a", "title": "A", "body": {{"kind": "text", "text": "x"}}, "variables": [{{"name": "a", "type": "object", "default": {value}}}]}}"#
        )
    };
    for (value, path) in [
        ("18446744073709551617", "variables[0].default"),
        (
            r#"{"b": [1, 3.14159265358979323846]}"#,
            "variables[0].default.b[1]",
        ),
        (r#"{"b": {"c": 1, "c": 2}}"#, "variables[0].default.b.c"),
    ] {
        check(json, default(value), 422, "invalid", Some(path)).await;
    }
    let large = format!("{{\"title\": \"{}\"}}", "x".repeat(10 * 1024 * 1024));
    check(json, large, 413, "too_large", None).await;
    let charset = "application/json; charset=utf-8";
    let request = with_token(server.request(Method::POST, "/api/v1/prompts"), &token);
    // An editor of Windows may have saved the body (F24).
    let body = format!("\u{feff}{good}");
    let reply = send(request.header("content-type", charset).body(body)).await;
    reply.expect(201);
}

#[tokio::test]
async fn wrong_parameters() {
    let server = Server::start().await;
    let nil = "00000000-0000-0000-0000-000000000000";
    let check = async |path: &str, status: u16, code: &str, field: Option<&str>| {
        let reply = server.get(path, "").await;
        reply.expect_problem(status, code, field);
    };
    for list in ["prompts", "benchmarks", "runs", "models"] {
        let list = format!("/api/v1/{list}");
        check(
            &format!("{list}?cursor=nonsense"),
            422,
            "invalid",
            Some("cursor"),
        )
        .await;
        check(
            &format!("{list}?cursor=%00"),
            422,
            "invalid",
            Some("cursor"),
        )
        .await;
        check(&format!("{list}?limit=0"), 422, "invalid", Some("limit")).await;
        check(&format!("{list}?limit=101"), 422, "invalid", Some("limit")).await;
        check(&format!("{list}?limit=many"), 422, "invalid", Some("limit")).await;
        check(
            &format!("{list}?limit=1&limit=2"),
            422,
            "invalid",
            Some("limit"),
        )
        .await;
        check(&format!("{list}?page=2"), 422, "invalid", Some("page")).await;
    }
    let evaluations = format!("/api/v1/runs/{nil}/evaluations");
    check(
        &format!("{evaluations}?cursor=nonsense"),
        422,
        "invalid",
        Some("cursor"),
    )
    .await;
    check(
        &format!("{evaluations}?state=maybe"),
        422,
        "invalid",
        Some("state"),
    )
    .await;
    check(
        "/api/v1/leaderboards/sums?simulated=maybe",
        422,
        "invalid",
        Some("simulated"),
    )
    .await;
    check("/api/v1/runs/not-an-id", 422, "invalid", Some("run")).await;
    check("/api/v1/runs/%00", 422, "invalid", Some("run")).await;
    check("/api/v1/prompts/%00", 422, "invalid", Some("prompt")).await;
    check("/api/v1/prompts/%ff", 422, "invalid", Some("")).await;
    check("/api/v1/prompts/nothing", 404, "not_found", None).await;
    check("/api/v1/benchmarks/nothing", 404, "not_found", None).await;
    check("/api/v1/benchmarks/nothing/items", 404, "not_found", None).await;
    check("/api/v1/leaderboards/nothing", 404, "not_found", None).await;
    check(&format!("/api/v1/runs/{nil}"), 404, "not_found", None).await;
    check("/api/v1/nothing", 404, "no_route", None).await;
    check("/nothing", 404, "no_route", None).await;
    let wrong_method = send(server.request(Method::DELETE, "/api/v1/prompts")).await;
    wrong_method.expect_problem(405, "method_not_allowed", None);
    assert_eq!(wrong_method.header("allow"), "GET,HEAD,POST");
}
