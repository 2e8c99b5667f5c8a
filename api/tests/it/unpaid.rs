//! Faults that are found before a call is paid: items that cannot be scored, and parameters that cannot be.

use serde_json::{Value, json};

use crate::server::{Server, run};

fn benchmark(slug: &str, scorers: &Value, items: &Value) -> Value {
    json!({"slug": slug, "title": "Sums", "scorers": scorers, "items": items})
}

#[tokio::test]
async fn an_item_that_cannot_be_scored_is_refused_with_its_id() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let good = json!({"id": "good", "vars": {"question": "1+1", "unit": "2"}, "expected": "2"});
    let check = async |scorer: Value, expected: Value, refusal: Option<&str>| {
        let mut odd = json!({"id": "odd-one", "vars": {"question": "1+1"}});
        if expected != json!("(absent)") {
            odd["expected"] = expected.clone();
        }
        let body = benchmark("sums", &json!([scorer]), &json!([good, odd]));
        let reply = server.post("/api/v1/benchmarks", &ada, &body).await;
        match refusal {
            None => assert_eq!(reply.status, 201, "{scorer} {expected}: {}", reply.text),
            Some(words) => {
                reply.expect_problem(422, "invalid", Some("items[1].expected"));
                assert!(
                    reply.text.contains("odd-one") && reply.text.contains(words),
                    "{scorer} {expected}: {}",
                    reply.text
                );
            }
        }
    };
    let absent = json!("(absent)");
    for kind in [
        "equals",
        "not-equals",
        "contains",
        "not-contains",
        "icontains",
        "not-icontains",
        "regex",
        "not-regex",
        "numeric",
        "not-numeric",
    ] {
        let scorer = json!({"type": kind});
        check(scorer.clone(), absent.clone(), Some("no expected value")).await;
        check(scorer, Value::Null, Some("no expected value")).await;
    }
    for kind in [
        "contains",
        "not-contains",
        "icontains",
        "not-icontains",
        "regex",
        "not-regex",
    ] {
        check(json!({"type": kind}), json!(""), Some("must not be empty")).await;
        check(
            json!({"type": kind}),
            json!(["2"]),
            Some("must be a string or a number"),
        )
        .await;
    }
    check(
        json!({"type": "numeric"}),
        json!("7 apples"),
        Some("must be a number"),
    )
    .await;
    check(
        json!({"type": "numeric"}),
        json!(true),
        Some("must be a number"),
    )
    .await;
    check(json!({"type": "numeric"}), json!("1,234.5"), None).await;
    check(
        json!({"type": "regex"}),
        json!("("),
        Some("not a usable regular expression"),
    )
    .await;
    check(
        json!({"type": "contains", "value": "{{ expected }}"}),
        absent.clone(),
        Some("cannot be rendered"),
    )
    .await;
    check(
        json!({"type": "contains", "value": "{{ unit }}"}),
        json!("2"),
        Some("cannot be rendered"),
    )
    .await;
    // What has a value of its own, or needs none, needs nothing of the item; an empty answer may be expected.
    check(
        json!({"type": "contains", "value": "2"}),
        absent.clone(),
        None,
    )
    .await;
    check(json!({"type": "is-json"}), absent.clone(), None).await;
    check(json!({"type": "equals"}), json!(""), None).await;
    check(json!({"type": "equals"}), json!(["2"]), None).await;
}

#[tokio::test]
async fn scorers_are_checked_wherever_they_are() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let good = json!({"id": "good", "vars": {"question": "1+1", "unit": "2"}, "expected": "2"});
    let empty = benchmark(
        "sums",
        &json!([{"type": "contains", "value": ""}]),
        &json!([good]),
    );
    let reply = server.post("/api/v1/benchmarks", &ada, &empty).await;
    reply.expect_problem(422, "invalid", Some("scorers[0]"));
    // An item's own scorers are what counts for it.
    let own = json!({"id": "own", "vars": {"question": "1+1"}, "scorers": [{"type": "numeric"}]});
    let body = benchmark("sums", &json!([]), &json!([own]));
    let reply = server.post("/api/v1/benchmarks", &ada, &body).await;
    reply.expect_problem(422, "invalid", Some("items[0].expected"));
}

#[tokio::test]
async fn a_run_on_items_that_were_published_under_older_rules_is_refused_before_it_is_paid() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let items = json!([
        {"id": "first", "vars": {"question": "1+1"}, "expected": "2"},
        {"id": "second", "vars": {"question": "1+1"}, "expected": "2"}
    ]);
    let body = benchmark("old", &json!([{"type": "icontains"}]), &items);
    server
        .post("/api/v1/benchmarks", &ada, &body)
        .await
        .expect(201);
    let mut request = run();
    (request["benchmark"], request["repeats"]) = (json!("old"), json!(1));
    let accepted = server.post("/api/v1/runs", &ada, &request).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
    // As if an earlier version of the server had published it.
    for statement in [
        "alter table benchmark_versions disable trigger benchmark_versions_immutable",
        "update benchmark_versions set item_rules = 0",
        "alter table benchmark_versions enable trigger benchmark_versions_immutable",
    ] {
        server.sql(statement).await;
    }
    let refused = server.post("/api/v1/runs", &ada, &request).await;
    refused.expect_problem(422, "invalid", Some("benchmark"));
    // The same content, which is checked now, is the same version.
    let again = server.post("/api/v1/benchmarks", &ada, &body).await;
    assert_eq!(again.expect(201)["number"], 1);
    let accepted = server.post("/api/v1/runs", &ada, &request).await;
    assert_eq!(accepted.status, 202, "{}", accepted.text);
}

#[tokio::test]
async fn parameters_of_impossible_types_are_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let mut request = run();
    for (name, value, status) in [
        ("max_tokens", json!("abc"), 422),
        ("max_tokens", json!(0), 422),
        ("temperature", json!("0"), 422),
        ("stop", json!(5), 422),
        ("max_tokens", json!(100), 202),
        ("temprature", json!(1), 422),
        ("fault_rate", json!(7), 422),
    ] {
        request["models"] = json!([{"model": "simulated:strong", "parameters": {name: value}}]);
        let reply = server.post("/api/v1/runs", &ada, &request).await;
        assert_eq!(reply.status, status, "{name} {value}: {}", reply.text);
        if status == 422 {
            reply.expect_problem(422, "invalid", Some("models[0]"));
            assert!(reply.text.contains(name), "{}", reply.text);
        }
    }
}

#[tokio::test]
async fn an_extension_by_name_takes_the_parameters_of_the_run() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let mut request = run();
    request["models"] = json!([{"model": "simulated:strong", "parameters": {"temperature": 0}}]);
    let submitted = server
        .post("/api/v1/runs", &ada, &request)
        .await
        .expect(202);
    assert_eq!(submitted["parameters"], json!([{"temperature": 0}]));
    server
        .sql("update runs set state = 'completed', shards_open = 0, finished_at = now()")
        .await;
    let path = format!("/api/v1/runs/{}/extend", submitted["number"]);
    // By its name it is the model that the run has already.
    let again = server
        .post(&path, &ada, &json!({"models": ["simulated:strong"]}))
        .await;
    again.expect_problem(422, "invalid", Some("models[0]"));
    assert!(again.text.contains("temperature=0"), "{}", again.text);
    let other = json!({"models": [{"model": "simulated:strong", "parameters": {}}]});
    let extended = server.post(&path, &ada, &other).await.expect(202);
    assert_eq!(extended["parameters"], json!([{"temperature": 0}, {}]));
}

#[tokio::test]
async fn a_budget_below_the_least_cost_of_a_call_is_refused() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let mut request = run();
    request["models"] = json!([{"model": "simulated:strong", "parameters": {"max_tokens": 1000}}]);
    let submit = async |request: &Value| server.post("/api/v1/runs", &ada, request).await;
    // 1,000 tokens of output, and 32 that the provider may add.
    let least = (1_000 * 600_000 + 32 * 150_000) / 1_000_000 + 1;
    for (budget, cache, status) in [
        (1, true, 422),
        (least - 10, true, 422),
        (0, false, 422),
        (least + 10, true, 202),
        // Without any money, what was answered before can still be taken.
        (0, true, 202),
    ] {
        (request["budget_microusd"], request["cache"]) = (json!(budget), json!(cache));
        let reply = submit(&request).await;
        assert_eq!(reply.status, status, "{budget}: {}", reply.text);
        if status == 422 {
            reply.expect_problem(422, "invalid", Some("budget_microusd"));
        }
    }
}
