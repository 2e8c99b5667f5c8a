//! Comparing columns, and reading the items that flipped.

use serde_json::{Value, json};

use crate::server::{Server, prompt};

/// A benchmark of forty items and a run of two prompts, of which `plain` passes every second item, and `steps` these
/// and three of four others. Returns the run's id.
async fn compared_run(server: &Server, token: &str) -> String {
    server.prepare_run(token).await;
    let steps = prompt("steps");
    let made = server.post("/api/v1/prompts", token, &steps).await;
    made.expect(201);
    let item = |number: usize| json!({"id": format!("item-{number}"), "vars": {"question": "1+1"}, "expected": "2"});
    let items: Vec<Value> = (0..40).map(item).collect();
    let benchmark = json!({"slug": "forty", "title": "Forty", "scorers": [{"type": "equals", "value": "2"}], "items": items});
    let published = server.post("/api/v1/benchmarks", token, &benchmark);
    published.await.expect(201);
    let run = submit(server, token, "forty", &["plain", "steps"]).await;
    server
        .sql(
            "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed,
                 output, attempts, latency_ms, cost_microusd)
             select runs.id, item, 0, prompt, 0, 'scored', answer.passed::int, answer.passed,
                 case when answer.passed then '2' else '3' end, 1,
                 100 + item, 10
             from runs, generate_series(0, 39) item, generate_series(0, 1) prompt,
                 lateral (select case prompt when 0 then item % 2 = 0 else item % 8 <> 7 end) as answer (passed)",
        )
        .await;
    run
}

async fn submit(server: &Server, token: &str, benchmark: &str, prompts: &[&str]) -> String {
    let body = json!({"benchmark": benchmark, "prompts": prompts, "models": ["simulated:strong"], "visibility": "private"});
    let run = server.post("/api/v1/runs", token, &body).await.expect(202);
    run["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_comparison_says_what_is_sure() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let run = compared_run(&server, &token).await;
    let body = json!({"columns": [{"run": run}]});
    let table = server.post("/api/v1/compare", &token, &body).await;
    let table = table.expect(200);
    insta::assert_json_snapshot!(table, {".columns[].run_id" => "[run]"});

    // The other way round it is the other way round, and no table is sure of what it was not asked.
    let turned = json!({
        "columns": [{"run": run, "prompt": "steps@1"}, {"run": run, "prompt": "plain", "model": "simulated:strong"}],
        "smallest_difference": 0.2,
    });
    let turned = server.post("/api/v1/compare", &token, &turned).await;
    let turned = turned.expect(200);
    let (first, turned) = (&table["comparisons"][0], &turned["comparisons"][0]);
    assert_eq!(first["verdict"], "better");
    assert_eq!(turned["verdict"], "worse");
    assert_eq!(turned["losses"], first["wins"]);
    let number = |value: &Value| value.as_f64().unwrap();
    let sum = number(&turned["difference"]) + number(&first["difference"]);
    assert!(sum.abs() < 1e-12, "{sum}");
}

#[tokio::test]
async fn flips_come_in_pages() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let run = compared_run(&server, &token).await;
    let ask = async |baseline: &str, candidate: &str, cursor: Option<&str>| {
        let mut body = json!({
            "baseline": {"run": run, "prompt": baseline},
            "candidate": {"run": run, "prompt": candidate},
            "limit": 6,
        });
        if let Some(cursor) = cursor {
            body["cursor"] = cursor.into();
        }
        let page = server.post("/api/v1/compare/flips", &token, &body).await;
        page.expect(200)
    };
    let mut found = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = ask("plain", "steps", cursor.as_deref()).await;
        for flip in page["items"].as_array().unwrap() {
            let item = flip["item_position"].as_i64().unwrap();
            assert_eq!(flip["item"], format!("item-{item}"));
            assert_eq!(flip["direction"], "gained");
            assert_eq!(
                (&flip["baseline_output"], &flip["candidate_output"]),
                (&"3".into(), &"2".into())
            );
            found.push(item);
        }
        match page["next_cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
        assert_eq!(found.len() % 6, 0, "only the last page is short");
    }
    let expect: Vec<i64> = (0..40)
        .filter(|item| item % 2 == 1 && item % 8 != 7)
        .collect();
    assert_eq!(found, expect);
    let turned = ask("steps", "plain", None).await;
    assert_eq!(turned["items"][0]["direction"], "lost");
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_by_field() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    let run = compared_run(&server, &token).await;
    let other = submit(&server, &token, "sums", &["plain"]).await;
    let check = async |body: Value, path: &str, message: &str| {
        let reply = server.post("/api/v1/compare", &token, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
        assert!(reply.text.contains(message), "{}", reply.text);
    };
    let column = |prompt: &str| json!({"run": run, "prompt": prompt});
    check(json!({"columns": []}), "columns", "2 to 30").await;
    check(
        json!({"columns": [column("plain")]}),
        "columns",
        "1 columns",
    )
    .await;
    // Before any of them is looked up.
    let missing = json!({"run": uuid::Uuid::nil()});
    check(
        json!({"columns": vec![missing; 31]}),
        "columns",
        "31 columns",
    )
    .await;
    // A column that is named twice is one column.
    check(
        json!({"columns": [column("plain"), column("plain@1")]}),
        "columns",
        "1 columns",
    )
    .await;
    check(
        json!({"columns": [column("plain"), column("nothing")]}),
        "columns[1].prompt",
        "plain@1, steps@1",
    )
    .await;
    check(
        json!({"columns": [{"run": run, "model": "a:b"}]}),
        "columns[0].model",
        "simulated:strong",
    )
    .await;
    check(
        json!({"columns": [{"run": run}, {"run": other}]}),
        "columns[1]",
        "forty@1",
    )
    .await;
    for smallest in [0.0, -0.5, 1.5] {
        let body = json!({"columns": [{"run": run}], "smallest_difference": smallest});
        check(body, "smallest_difference", "above 0").await;
    }
    let flips = async |baseline: Value, candidate: Value, path: &str| {
        let body = json!({"baseline": baseline, "candidate": candidate});
        let reply = server.post("/api/v1/compare/flips", &token, &body).await;
        reply.expect_problem(422, "invalid", Some(path));
    };
    flips(json!({"run": run}), column("steps"), "baseline").await;
    flips(column("plain"), column("nothing"), "candidate.prompt").await;
    flips(column("plain"), column("plain@1"), "candidate").await;
    flips(column("plain"), json!({"run": other}), "candidate").await;

    // A private run of somebody else is not there.
    let stranger = server.user("bob").await;
    let body = json!({"columns": [{"run": run}]});
    let reply = server.post("/api/v1/compare", &stranger, &body).await;
    reply.expect_problem(404, "not_found", None);
    let body = json!({"baseline": column("plain"), "candidate": column("steps")});
    let reply = server.post("/api/v1/compare/flips", &stranger, &body).await;
    reply.expect_problem(404, "not_found", None);
}
