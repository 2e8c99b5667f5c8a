//! Work by strangers is bounded: what is computed, answered, imported, asked for and stored, and how large a number may be.

use std::{fs, path::Path};

use opb_core::{
    models::{self, NewProvider, Price, ProviderKind},
    outbound::OutboundPolicy,
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::server::{Server, benchmark, master_key, prompt, run, send, with_token};

/// The most bytes that an answer has whose parts are bounded: a page, with what stands around its entries.
const MOST_BYTES: usize = 1024 * 1024 + 64 * 1024;

/// The sources below a folder, by their path.
fn sources(folder: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.to_str().unwrap().to_owned();
        if path.is_dir() {
            sources(&name, found);
        } else if Path::new(&name)
            .extension()
            .is_some_and(|kind| kind == "rs")
        {
            let text = fs::read_to_string(&path).unwrap();
            let text = text.split("#[cfg(test)]").next().unwrap().to_owned();
            found.push((name, text));
        }
    }
}

#[test]
fn h2_nothing_is_rendered_compared_or_checked_while_a_connection_is_held() {
    // Functions of core that hold a connection; those that may parse a template all the same, and why.
    let excused = [
        // Only what comes with the program, when it starts.
        "ensure_prompt",
        // One parse of at most 64 KiB, without rendering.
        "missing_variable",
    ];
    let mut core = Vec::new();
    sources("../core/src", &mut core);
    let computes = [
        ".checked()",
        "lint(",
        "to_html(",
        "preview(",
        "render(",
        ".compile(",
        "TextDiff",
        "content_hash(",
        "read_source(",
        ".compare(",
        "place_finals(",
        "place_provisional(",
        "stats::compare(",
        "stats::frontier(",
        "stats::place(",
        "stats::rank(",
    ];
    // What ranks a board compares away from the thread, in a transaction that keeps others from the board.
    let is_away = |body: &str, at: usize| body[..at].contains("away(");
    for (path, text) in &core {
        for function in text.split("async fn ").skip(1) {
            let (head, body) = function.split_once('{').unwrap_or((function, ""));
            let body = body.split("\n}\n").next().unwrap_or(body);
            let name = head.split(['(', '<']).next().unwrap();
            if !head.contains("PgConnection") || excused.contains(&name) {
                continue;
            }
            for call in computes {
                let found = body.find(call).filter(|at| !is_away(body, *at));
                assert!(
                    found.is_none(),
                    "{path}: {name} holds a connection and calls {call}"
                );
            }
        }
    }
    // Handlers compute in a closure that they hand to the turns.
    let mut routes = Vec::new();
    sources("src/routes", &mut routes);
    let computes = [
        ".checked()",
        "library::preview(",
        "PromptDetail::of(",
        "read_source(",
        ".compare(",
        ".estimate()",
    ];
    for (path, text) in &routes {
        for (at, line) in text.lines().enumerate() {
            for call in computes.iter().filter(|call| line.contains(**call)) {
                assert!(
                    line.contains("||"),
                    "{path}:{}: {call} is called on the thread of the request",
                    at + 1
                );
            }
        }
        assert!(!text.contains("spawn_blocking"), "{path}: without a turn");
        assert!(!text.contains(".compute()"), "{path}: without a turn");
        // What keeps Postgres busy for long begins with a turn, too.
        let long = text.find("measure_run_columns(");
        let turn = text.find("statistics.turn(");
        assert!(
            long.is_none() || turn.is_some_and(|turn| Some(turn) < long),
            "{path}: measures without a turn"
        );
    }
}

#[tokio::test]
async fn h2_differences_and_previews_are_bounded_in_bytes() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let prompt = |text: &str| json!({"slug": "large", "title": "Large", "visibility": "public", "body": {"kind": "text", "text": text}});
    server
        .post("/api/v1/prompts", &token, &prompt("{{ a }}"))
        .await
        .expect(201);
    let second = json!({"body": {"kind": "text", "text": "{{ b }}"}});
    server
        .post("/api/v1/prompts/large/versions", &token, &second)
        .await
        .expect(201);
    let diff = async |a: String, b: String| {
        let body = json!({"from": "1", "to": "2", "variables": {"a": a, "b": b}});
        server
            .post("/api/v1/prompts/large/diff", &token, &body)
            .await
    };
    // 500,000 lines of one letter each were an answer of 47 MB.
    let reply = diff("a\n".repeat(500_000), "b\n".repeat(500_000)).await;
    reply.expect_problem(422, "invalid", Some("variables"));
    let reply = diff("a".repeat(900_000), "b".into()).await;
    reply.expect_problem(422, "invalid", Some("variables"));
    // What is the same on both sides is no part of the answer.
    let same = "the same\n".repeat(50_000);
    let reply = diff(format!("{same}a\n"), format!("{same}b\n")).await;
    let found = reply.expect(200);
    assert_eq!(
        found["rendered"][0]["lines"].as_array().unwrap().len(),
        5,
        "{found}"
    );
    let render = json!({"version": "1", "variables": {"a": "\u{1}".repeat(100_000)}});
    let reply = server
        .post("/api/v1/prompts/large/render", &token, &render)
        .await;
    reply.expect_problem(422, "invalid", Some("variables"));
    let render = json!({"version": "1", "variables": {"a": "a".repeat(100_000)}});
    server
        .post("/api/v1/prompts/large/render", &token, &render)
        .await
        .expect(200);
}

#[tokio::test]
async fn h2_l3_a_page_ends_at_its_bytes() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let mut large = benchmark("large");
    let item = |at: usize| json!({"id": at.to_string(), "vars": {"question": "x".repeat(300_000)}, "expected": "1"});
    large["items"] = (0..20).map(item).collect();
    large["visibility"] = json!("public");
    server
        .post("/api/v1/benchmarks", &token, &large)
        .await
        .expect(201);
    let mut first = 0;
    let mut pages = 0;
    loop {
        let path = format!("/api/v1/benchmarks/large@1/items?limit=100&first={first}");
        let reply = server.get(&path, &token).await;
        assert!(reply.text.len() <= MOST_BYTES, "{}", reply.text.len());
        pages += 1;
        match reply.expect(200)["next_first"].as_i64() {
            Some(next) => first = next,
            None => break,
        }
    }
    assert_eq!(pages, 7, "three items a page");
    let text = |number: usize| json!({"body": {"kind": "text", "text": format!("{number}{}", "y".repeat(60_000))}});
    let prompt = json!({"slug": "long", "title": "Long", "body": text(0)["body"]});
    server
        .post("/api/v1/prompts", &token, &prompt)
        .await
        .expect(201);
    for number in 1..24 {
        server
            .post("/api/v1/prompts/long/versions", &token, &text(number))
            .await
            .expect(201);
    }
    let reply = server
        .get("/api/v1/prompts/long/versions?limit=100", &token)
        .await;
    assert!(reply.text.len() <= MOST_BYTES, "{}", reply.text.len());
    let page = reply.expect(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = server
        .get(
            &format!("/api/v1/prompts/long/versions?limit=100&cursor={cursor}"),
            &token,
        )
        .await;
    let both = page["items"].as_array().unwrap().len()
        + rest.expect(200)["items"].as_array().unwrap().len();
    assert_eq!(both, 24);
}

#[tokio::test]
async fn h3_imports_stop_at_their_limit_while_they_read() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let check = async |source: Value| {
        let body = json!({"dry_run": true, "source": source});
        let reply = server.post("/api/v1/prompts/import", &token, &body).await;
        reply.expect_problem(422, "invalid", Some("source"));
    };
    // Names of so many rows with one title took a core for hours.
    let content = format!("act,prompt\n{}", "a,b\n".repeat(1_500_000));
    check(json!({"format": "prompts-chat-csv", "content": content})).await;
    let row = json!({"title": "a", "versions": []});
    check(json!({"format": "json", "prompts": vec![row; 200_000]})).await;
    let file = |at: usize| json!({"path": format!("{at}.md"), "text": ""});
    check(json!({"format": "files", "files": (0..100_000).map(file).collect::<Vec<_>>()})).await;
    let version = json!({"body": {"kind": "text", "text": ""}});
    let row = json!({"title": "a", "versions": vec![version; 100_000]});
    check(json!({"format": "json", "prompts": [row]})).await;
    // A thousand of one title are imported, each by a name of its own.
    let content = format!("act,prompt\n{}", "a,b\n".repeat(1_000));
    let body =
        json!({"dry_run": true, "source": {"format": "prompts-chat-csv", "content": content}});
    let report = server.import_slowly(&token, &body).await;
    assert_eq!(report["rows"].as_array().unwrap().len(), 1_000);
    let last = report["rows"][999]["slug"].as_str().unwrap();
    assert!(last.ends_with("-999"), "{last}");
    // Placeholders with a default each were compared with each other, three times over.
    let placeholders: Vec<String> = (0..20_000).map(|at| format!("${{a:{at}}}")).collect();
    let content = format!("act,prompt\na,\"{}\"\n", placeholders.concat());
    let body =
        json!({"dry_run": true, "source": {"format": "prompts-chat-csv", "content": content}});
    let report = server
        .post("/api/v1/prompts/import", &token, &body)
        .await
        .expect(200);
    assert_eq!(report["refused"], 1);
}

#[tokio::test]
async fn bodies_that_are_compressed_are_refused() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    for (encoding, status) in [("gzip", 415), ("identity, br", 415), ("identity", 201)] {
        let request = with_token(server.request(Method::POST, "/api/v1/prompts"), &token);
        let request = request.header("content-encoding", encoding);
        let reply = send(request.json(&prompt(&format!("p{status}")))).await;
        assert_eq!(reply.status, status, "{encoding}: {}", reply.text);
    }
}

#[tokio::test]
async fn markdown_makes_no_more_html_than_its_bound() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    // Ten thousand characters were a table of 18 MB.
    let wide = format!(
        "{}|\n{}|\n{}",
        "|a".repeat(1_900),
        "|-".repeat(1_900),
        "a\n".repeat(900)
    );
    let prompt = json!({"slug": "wide", "title": "Wide", "description": wide, "visibility": "public", "body": {"kind": "text", "text": "a"}});
    let reply = server.post("/api/v1/prompts", &token, &prompt).await;
    reply.expect(201);
    assert!(reply.text.len() < 300_000, "{}", reply.text.len());
    for _ in 0..3 {
        let reply = server
            .post(
                "/api/v1/prompts/wide/comments",
                &token,
                &json!({"body": wide}),
            )
            .await;
        reply.expect(201);
        assert!(reply.text.len() < 300_000, "{}", reply.text.len());
    }
    let reply = server.get("/api/v1/prompts/wide/comments", "").await;
    reply.expect(200);
    assert!(reply.text.len() <= MOST_BYTES, "{}", reply.text.len());
}

#[tokio::test]
async fn counts_hold_for_requests_that_come_at_once() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    // Two below each bound, then five at once.
    let at_once = async |path: &str, most: usize, body: &dyn Fn(usize) -> Value| {
        for number in 0..most - 2 {
            server.post(path, &token, &body(number)).await.expect(201);
        }
        let bodies: Vec<Value> = (most..most + 5).map(body).collect();
        let posts = bodies.iter().map(|body| server.post(path, &token, body));
        let made = futures::future::join_all(posts).await;
        let made = made.iter().filter(|reply| reply.status == 201).count();
        assert_eq!(made, 2, "{path}");
    };
    at_once(
        "/api/v1/saved-searches",
        100,
        &|number| json!({"name": format!("{number}"), "query": {"q": "a"}}),
    )
    .await;
    at_once(
        "/api/v1/api-keys",
        100,
        &|number| json!({"name": format!("{number}"), "scopes": ["runs:read"]}),
    )
    .await;
    at_once("/api/v1/webhooks", 20, &|number| {
        json!({"name": format!("{number}"), "url": "https://example.org/", "events": ["run.finished"]})
    })
    .await;
}

#[tokio::test]
async fn an_owner_has_one_thing_of_a_name() {
    type Named<'a> = &'a dyn Fn(&str) -> Value;

    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let schedule = |name: &str| json!({"name": name, "cron": "0 3 * * *", "request": run()});
    let hook = |name: &str| json!({"name": name, "url": "https://example.org/", "events": ["run.finished"]});
    let alert = |name: &str| json!({"name": name, "schedule": "nightly", "kind": "failure_rate", "threshold": 0.5});
    let key = |name: &str| json!({"name": name, "scopes": ["runs:read"]});
    let things: [(&str, Named); 4] = [
        ("schedules", &schedule),
        ("webhooks", &hook),
        ("alerts", &alert),
        ("api-keys", &key),
    ];
    for (things, body) in things {
        let path = format!("/api/v1/{things}");
        server
            .post(&path, &token, &body("nightly"))
            .await
            .expect(201);
        let again = server.post(&path, &token, &body("nightly")).await;
        again.expect_problem(409, "conflict", None);
        assert!(
            again.text.contains("called `nightly` already"),
            "{}",
            again.text
        );
        let made = server.post(&path, &token, &body("other")).await.expect(201);
        if things != "api-keys" {
            let id = made["id"]
                .as_str()
                .or(made["webhook"]["id"].as_str())
                .unwrap();
            let request = server.request(Method::PATCH, &format!("{path}/{id}"));
            let renamed = send(with_token(request, &token).json(&json!({"name": "nightly"}))).await;
            renamed.expect_problem(409, "conflict", None);
        }
    }
    // Another owner may take any name.
    let other = server.user("bob").await;
    server
        .post("/api/v1/webhooks", &other, &hook("nightly"))
        .await
        .expect(201);
    // A revoked key leaves its name to the next one, and so does one that has expired.
    server
        .sql("update api_keys set expires_at = now() - interval '1 day' where name = 'other'")
        .await;
    server
        .post("/api/v1/api-keys", &token, &key("other"))
        .await
        .expect(201);
}

#[tokio::test]
async fn l1_l13_numbers_and_times_out_of_range_are_refused() {
    let server = Server::start().await;
    let (token, admin) = (server.user("ada").await, server.admin().await);
    server.prepare_run(&token).await;
    let submit = |change: Value| {
        let mut body = run();
        body.as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        body
    };
    for extreme in [i64::MAX, i64::MIN, 1_000_000_000_000_001, -1] {
        let body = submit(json!({"budget_microusd": extreme}));
        for path in ["/api/v1/runs", "/api/v1/runs/estimate"] {
            let reply = server.post(path, &token, &body).await;
            reply.expect_problem(422, "invalid", Some("budget_microusd"));
        }
    }
    for _ in 0..2 {
        let bounded = json!({"model": "simulated:strong", "parameters": {"max_tokens": 10}});
        let body =
            submit(json!({"budget_microusd": 1_000_000_000_000_000_i64, "models": [bounded]}));
        server.post("/api/v1/runs", &token, &body).await.expect(202);
    }
    // Letters that do not compress: an entry of an index has at most 2,704 bytes.
    let letters = |count: usize| -> String {
        let mut state = 1_u64;
        let mut letter = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            char::from(b'a' + u8::try_from((state >> 33) & 15).unwrap())
        };
        (0..count).map(|_| letter()).collect()
    };
    let models = |size: usize| json!({"models": [{"model": "simulated:strong", "parameters": {"faults": [letters(size)]}}]});
    server
        .post("/api/v1/runs", &token, &submit(models(8_000)))
        .await
        .expect(202);
    let reply = server
        .post("/api/v1/runs", &token, &submit(models(20_000)))
        .await;
    reply.expect_problem(422, "invalid", Some("models[0].parameters"));
    for time in [
        "-262143-01-01T00:00:00Z",
        "+262142-12-31T23:59:59Z",
        "1900-01-01T00:00:00Z",
    ] {
        let key = json!({"name": "k", "scopes": ["runs:read"], "expires_at": time});
        let reply = server.post("/api/v1/api-keys", &token, &key).await;
        reply.expect_problem(422, "invalid", Some("expires_at"));
        let path = format!("/api/v1/alerts/{}/silence", uuid::Uuid::nil());
        let request = with_token(server.request(Method::PUT, &path), &token);
        let reply = send(request.json(&json!({"until": time}))).await;
        reply.expect_problem(422, "invalid", Some("until"));
        let path = format!(
            "/api/v1/schedules/{}/firings?cursor={}",
            uuid::Uuid::nil(),
            time.replace('+', "%2B")
        );
        let status = server.get(&path, &token).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    let quota = json!({"daily_budget_microusd": i64::MAX, "stored_bytes": i64::MIN});
    let request = with_token(
        server.request(Method::PUT, "/api/v1/users/ada/quota"),
        &admin,
    );
    send(request.json(&quota)).await.expect(422);
}

/// Every operation of the document is asked with the extremes of every number and time that its body or its address may
/// hold; whatever it answers, it does not fall over.
#[tokio::test]
async fn l1_no_operation_falls_over_extremes() {
    let server = Server::start().await;
    let (token, admin) = (server.user("ada").await, server.admin().await);
    server.prepare_run(&token).await;
    let document = server.get("/api/openapi.json", "").await.expect(200);
    let mut asked = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let Ok(method) = Method::from_bytes(method.to_uppercase().as_bytes()) else {
                continue;
            };
            // These would end the sessions that the test needs, or follow a stream.
            if path.contains("/auth/")
                || path.ends_with("/events")
                || (method == Method::DELETE && path == "/api/v1/me")
            {
                continue;
            }
            let address = fill(path);
            for (query, body) in extremes(&document, operation) {
                for token in [&token, &admin] {
                    let request = with_token(
                        server.request(method.clone(), &format!("{address}{query}")),
                        token,
                    );
                    let request = match &body {
                        Some(body) => request.json(body),
                        None => request,
                    };
                    let reply = send(request).await;
                    assert!(
                        reply.status < 500,
                        "{method} {address}{query} {body:?}: {}",
                        reply.text
                    );
                    asked += 1;
                }
            }
        }
    }
    assert!(asked > 300, "{asked}");
}

/// An address with a thing in every place that takes one.
fn fill(path: &str) -> String {
    let mut filled = path.to_owned();
    for (place, thing) in [
        ("{prompt}", "plain"),
        ("{benchmark}", "sums"),
        ("{username}", "ada"),
        ("{provider}", "simulated"),
        ("{version}", "1"),
    ] {
        filled = filled.replace(place, thing);
    }
    while let (Some(start), Some(end)) = (filled.find('{'), filled.find('}')) {
        filled.replace_range(start..=end, "01a229f4-a15c-7000-8000-000000000000");
    }
    filled
}

/// Queries and bodies, each with one number or time at an extreme and the rest as the document's schema wants it.
fn extremes(document: &Value, operation: &Value) -> Vec<(String, Option<Value>)> {
    let schema = operation.pointer("/requestBody/content/application~1json/schema");
    let base = schema.map(|schema| sample(document, schema, 0));
    let mut asked = Vec::new();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        if parameter["in"] == "query" {
            for extreme in values(document, &parameter["schema"]) {
                let text = extreme
                    .as_str()
                    .map_or_else(|| extreme.to_string(), str::to_owned);
                let text = text.replace('+', "%2B");
                asked.push((
                    format!("?{}={text}", parameter["name"].as_str().unwrap()),
                    base.clone(),
                ));
            }
        }
    }
    if let (Some(schema), Some(base)) = (schema, &base) {
        let schema = resolve(document, schema);
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            for extreme in values(document, property) {
                let mut body = base.clone();
                body[name] = extreme;
                asked.push((String::new(), Some(body)));
            }
        }
    }
    asked
}

/// The extremes of a number or a time; none of anything else.
fn values(document: &Value, schema: &Value) -> Vec<Value> {
    let schema = resolve(document, schema);
    let is = |kind: &str| match &schema["type"] {
        Value::Array(kinds) => kinds.iter().any(|known| known == kind),
        known => known == kind,
    };
    if is("integer") {
        return vec![
            json!(i64::MAX),
            json!(i64::MIN),
            json!(i32::MAX),
            json!(i32::MIN),
            json!(i16::MAX),
            json!(u64::MAX),
            json!(0),
            json!(-1),
        ];
    }
    if is("number") {
        return vec![
            json!(f64::MAX),
            json!(f64::MIN),
            json!(f64::MIN_POSITIVE),
            json!(-0.0),
        ];
    }
    if schema["format"] == "date-time" {
        let times = [
            "-262143-01-01T00:00:00Z",
            "+262142-12-31T23:59:59Z",
            "0001-01-01T00:00:00Z",
            "9999-12-31T23:59:59Z",
        ];
        return times.iter().map(|time| json!(time)).collect();
    }
    Vec::new()
}

fn resolve<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    if let Some(path) = schema["$ref"].as_str() {
        return resolve(
            document,
            document.pointer(path.trim_start_matches('#')).unwrap(),
        );
    }
    for choice in ["oneOf", "anyOf", "allOf"] {
        let choices = schema[choice].as_array().into_iter().flatten();
        if let Some(first) = choices.clone().find(|choice| choice["type"] != "null") {
            return resolve(document, first);
        }
    }
    schema
}

/// A value of a schema: what is required, as its example says or as small as can be.
fn sample(document: &Value, schema: &Value, depth: usize) -> Value {
    let schema = resolve(document, schema);
    if let Some(example) = schema
        .get("example")
        .or_else(|| schema.pointer("/examples/0"))
    {
        return example.clone();
    }
    if let Some(known) = schema["enum"].as_array() {
        return known[0].clone();
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.iter().find_map(Value::as_str).unwrap_or(""),
        kind => kind.as_str().unwrap_or(""),
    };
    match kind {
        "string" => match schema["format"].as_str() {
            Some("uuid") => json!("01a229f4-a15c-7000-8000-000000000000"),
            Some("date-time") => json!("2030-01-01T00:00:00Z"),
            _ => json!("sums"),
        },
        "integer" | "number" => json!(1),
        "boolean" => json!(false),
        "array" if depth < 6 => json!([sample(document, &schema["items"], depth + 1)]),
        "array" => json!([]),
        _ => {
            let mut object = json!({});
            let required = schema["required"].as_array().into_iter().flatten();
            for name in required.filter_map(Value::as_str).filter(|_| depth < 6) {
                object[name] = sample(document, &schema["properties"][name], depth + 1);
            }
            object
        }
    }
}

#[tokio::test]
async fn m2_free_work_and_storage_have_quotas() {
    let server = Server::start().await;
    let (token, admin) = (server.user("ada").await, server.admin().await);
    server.prepare_run(&token).await;
    let usage = server.get("/api/v1/me/usage", &token).await.expect(200);
    assert_eq!(
        usage["free_evaluations"],
        json!({"used": 0, "allowed": 200_000})
    );
    assert_eq!(usage["open_runs"], json!({"used": 0, "allowed": 50}));
    assert!(
        usage["stored_bytes"]["used"].as_i64().unwrap() > 100,
        "{usage}"
    );
    let unbounded = server.get("/api/v1/me/usage", &admin).await.expect(200);
    assert!(
        unbounded["open_runs"].get("allowed").is_none(),
        "{unbounded}"
    );
    let quota = async |quota: Value| {
        let request = with_token(
            server.request(Method::PUT, "/api/v1/users/ada/quota"),
            &admin,
        );
        send(request.json(&quota)).await.expect(200);
    };
    // Three items asked twice under one prompt are six evaluations; two submissions at once cannot both have the rest.
    quota(json!({"free_evaluations": 7})).await;
    let (body, path) = (run(), "/api/v1/runs");
    let (one, other) = tokio::join!(
        server.post(path, &token, &body),
        server.post(path, &token, &body)
    );
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409], "{} {}", one.text, other.text);
    let refused = if one.status == 409 { one } else { other };
    refused.expect_problem(409, "quota_exceeded", None);
    assert!(
        refused.text.contains("7 free evaluations"),
        "{}",
        refused.text
    );
    let usage = server.get("/api/v1/me/usage", &token).await.expect(200);
    assert_eq!(usage["free_evaluations"], json!({"used": 6, "allowed": 7}));
    quota(json!({"open_runs": 1})).await;
    let refused = server.post(path, &token, &body).await;
    refused.expect_problem(409, "quota_exceeded", None);
    quota(json!({"open_runs": 2})).await;
    server.post(path, &token, &body).await.expect(202);
    // Neither benchmarks, prompts, versions nor imports take more room than there is.
    quota(json!({"stored_bytes": usage["stored_bytes"]["used"].as_i64().unwrap() + 10})).await;
    let refuse = async |path: &str, body: Value| {
        let reply = server.post(path, &token, &body).await;
        reply.expect_problem(409, "quota_exceeded", None);
    };
    refuse("/api/v1/benchmarks", benchmark("more")).await;
    let text = json!({"kind": "text", "text": "more than ten bytes"});
    refuse("/api/v1/prompts", json!({"title": "More", "body": text})).await;
    refuse("/api/v1/prompts/plain/versions", json!({"body": text})).await;
    refuse("/api/v1/prompts/plain/forks", json!({"slug": "forked"})).await;
    let row = json!({"title": "More", "versions": [{"body": text}]});
    let import = json!({"source": {"format": "json", "prompts": [row]}});
    let report = server
        .post("/api/v1/prompts/import", &token, &import)
        .await
        .expect(200);
    assert_eq!(
        (&report["refused"], &report["created"]),
        (&json!(1), &json!(0)),
        "{report}"
    );
    // Nothing stays of what was refused.
    let found = server.get("/api/v1/benchmarks/more", &token).await;
    found.expect_problem(404, "not_found", None);
    // Runs that have begun stop, and go on only when there is room.
    quota(json!({"stored_bytes": 1})).await;
    let mut conn = server.database.pool.acquire().await.unwrap();
    let mended = opb_core::housekeeping::mend(&mut conn).await.unwrap();
    assert_eq!(mended.paused_runs, 2, "{mended:?}");
    drop(conn);
    let last = server.get("/api/v1/runs/last", &token).await.expect(200);
    assert_eq!(last["state"], "paused", "{last}");
    let reason = last["state_reason"].as_str().unwrap();
    assert!(reason.contains("the quota of 1 stored bytes"), "{reason}");
    let resume = "/api/v1/runs/last/resume";
    let refused = server.post(resume, &token, &json!(null)).await;
    refused.expect_problem(409, "quota_exceeded", None);
    quota(json!({})).await;
    server.post(resume, &token, &json!(null)).await.expect(200);
}

#[tokio::test]
async fn m4_under_a_budget_only_parameters_of_known_cost_are_sent() {
    let server = Server::start().await;
    let (token, admin) = (server.user("ada").await, server.admin().await);
    server.prepare_run(&token).await;
    let provider = NewProvider {
        name: "real".into(),
        kind: ProviderKind::Openai,
        base_url: Some("http://127.0.0.1:1/v1".into()),
        settings: serde_json::Map::new(),
        credential: None,
        free: Some(false),
    };
    let mut conn = server.database.pool.acquire().await.unwrap();
    let made = models::create_provider(
        &mut conn,
        &opb_testing::fixtures::administrator(),
        &master_key(),
        &OutboundPolicy::local(),
        provider,
    )
    .await;
    models::set_price(&mut conn, made.unwrap().id, "any", Price::new(1, 1))
        .await
        .unwrap();
    drop(conn);
    let request = with_token(
        server.request(Method::PUT, "/api/v1/users/ada/quota"),
        &admin,
    );
    send(request.json(&json!({"daily_budget_microusd": 1_000_000})))
        .await
        .expect(200);
    let body = |parameters: Value| {
        let mut parameters = parameters;
        parameters["max_tokens"] = json!(10);
        let mut body = run();
        body["models"] = json!([{"model": "real:any", "parameters": parameters}]);
        body["budget_microusd"] = json!(1_000);
        body
    };
    for (parameters, path) in [
        (json!({"best_of": 100}), "best_of"),
        (json!({"service_tier": "priority"}), "service_tier"),
        (json!({"web_search_options": {}}), "web_search_options"),
        (json!({"tools": [{"type": "web_search"}]}), "tools[0]"),
        (json!({"extra_body": {"best_of": 2}}), "extra_body"),
        (json!({"base_url": "http://elsewhere"}), "base_url"),
    ] {
        let path = format!("models[0].parameters.{path}");
        let reply = server
            .post("/api/v1/runs", &token, &body(parameters.clone()))
            .await;
        reply.expect_problem(422, "invalid", Some(&path));
        let schedule =
            json!({"name": "nightly", "cron": "0 3 * * *", "request": body(parameters.clone())});
        let reply = server.post("/api/v1/schedules", &token, &schedule).await;
        assert_eq!(reply.status, 422, "{}", reply.text);
        // An administrator may, and is told what the bound does not know.
        let estimate = server
            .post("/api/v1/runs/estimate", &admin, &body(parameters))
            .await
            .expect(200);
        assert_eq!(
            estimate["unbounded"].as_array().unwrap().len(),
            1,
            "{estimate}"
        );
    }
    let usual =
        json!({"temperature": 0, "tools": [{"type": "function", "function": {"name": "a"}}]});
    server
        .post("/api/v1/runs", &token, &body(usual))
        .await
        .expect(202);
}
