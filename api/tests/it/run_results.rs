//! What a run found: names of runs, their evaluations, their own tables, and their export.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use crate::server::{Server, field, run, with_token};

/// A public run of `plain` on `simulated:strong`, without parameters and with temperature 0; nothing is recorded yet.
async fn submitted(server: &Server, token: &str) -> Value {
    server.prepare_run(token).await;
    let mut body = run();
    body["repeats"] = json!(1);
    body["visibility"] = json!("public");
    body["models"] = json!([
        "simulated:strong",
        {"model": "simulated:strong", "parameters": {"temperature": 0}}
    ]);
    server.post("/api/v1/runs", token, &body).await.expect(202)
}

/// Records for the first model: `a` passed, `b` failed and `c` timed out; for the second: all passed.
async fn record(server: &Server, run: &Value) {
    let scores = |pass: bool| {
        json!([{"scorer": "equals", "outcome": "scored", "score": f64::from(u8::from(pass)), "pass": pass,
                "reason": if pass { "the output equals the value" } else { "the output does not equal \"2\"" }}])
    };
    for (item, model, passed) in [
        (0, 0, Some(true)),
        (1, 0, Some(false)),
        (2, 0, None),
        (0, 1, Some(true)),
        (1, 1, Some(true)),
        (2, 1, Some(true)),
    ] {
        sqlx::query(
            "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed,
                 scores, output, error_kind, error, attempts, latency_ms, cost_microusd, output_tokens)
             values ($1, $2, 0, 0, $3, $4::evaluation_state, $5, $6, $7, $8, $9, $10, 1, 100, 10, 1)",
        )
        .bind(id(run))
        .bind(item)
        .bind(model)
        .bind(if passed.is_some() { "scored" } else { "error" })
        .bind(passed.map(|passed| f32::from(u8::from(passed))))
        .bind(passed)
        .bind(passed.map(scores))
        .bind(passed.map(|passed| if passed { "2" } else { "=1+2" }))
        .bind(passed.is_none().then_some("timeout"))
        .bind(passed.is_none().then_some("no answer in time"))
        .execute(&server.database.pool)
        .await
        .unwrap();
    }
    sqlx::query("update runs set state = 'running', started_at = now(), recorded = 6, passed = 4, errors = 1 where id = $1")
        .bind(id(run))
        .execute(&server.database.pool)
        .await
        .unwrap();
}

fn id(run: &Value) -> Uuid {
    run["id"].as_str().unwrap().parse().unwrap()
}

async fn sql(server: &Server, statement: String) {
    sqlx::query(AssertSqlSafe(statement))
        .execute(&server.database.pool)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_run_is_named_by_its_number_its_id_the_end_of_its_id_or_as_the_newest() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let run = submitted(&server, &ada).await;
    let id = run["id"].as_str().unwrap();
    let number = run["number"].as_i64().unwrap();
    let end = &id[id.len() - 6..];
    let names = [
        number.to_string(),
        format!("%23{number}"),
        id.to_owned(),
        id.replace('-', ""),
        end.to_owned(),
        end.to_uppercase(),
        id[4..].to_owned(),
        "last".to_owned(),
    ];
    for name in &names {
        for rest in ["", "/evaluations", "/columns", "/export"] {
            let reply = server
                .get(&format!("/api/v1/runs/{name}{rest}"), &ada)
                .await;
            assert_eq!(reply.status, 200, "{name}{rest}: {}", reply.text);
        }
        let found = server
            .get(&format!("/api/v1/runs/{name}"), &ada)
            .await
            .expect(200);
        assert_eq!(found["id"], id, "{name}");
    }
    // The newest run is the caller's own.
    server
        .get("/api/v1/runs/last", &bob)
        .await
        .expect_problem(404, "not_found", None);
    server
        .get("/api/v1/runs/last", "")
        .await
        .expect_problem(401, "unauthenticated", None);
    for (name, status) in [
        ("abc", 422),
        ("nothing", 422),
        ("%23", 422),
        ("999999", 404),
        ("00000000", 404),
    ] {
        let reply = server.get(&format!("/api/v1/runs/{name}"), &ada).await;
        assert_eq!(reply.status, status, "{name}: {}", reply.text);
    }
    // Everything that changes a run takes the same names, and so do comparisons.
    let compared = json!({"columns": [{"run": number}]});
    let compared = server
        .post("/api/v1/compare", "", &compared)
        .await
        .expect(200);
    assert_eq!(compared["columns"][0]["run_number"], number);
    let paused = server
        .post(&format!("/api/v1/runs/{end}/pause"), &ada, &json!({}))
        .await;
    assert_eq!(paused.expect(200)["state"], "paused");
    let cancelled = server
        .post(&format!("/api/v1/runs/{number}/cancel"), &ada, &json!({}))
        .await;
    assert_eq!(cancelled.expect(200)["state"], "cancelled");
}

#[tokio::test]
async fn the_end_of_several_ids_names_their_numbers_and_only_those_that_may_be_seen() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let bob = server.user("bob").await;
    let run = submitted(&server, &ada).await;
    let id = run["id"].as_str().unwrap();
    let twin = format!(
        "{}{}",
        if id.starts_with("01") { "02" } else { "01" },
        &id[2..]
    );
    sql(
        &server,
        format!(
            "insert into runs (id, owner_id, benchmark_version_id, repeats, item_count, planned, shards_open, visibility)
             select '{twin}', owner_id, benchmark_version_id, repeats, item_count, planned, 0, 'private' from runs"
        ),
    )
    .await;
    let path = format!("/api/v1/runs/{}", &id[id.len() - 8..]);
    let reply = server.get(&path, &ada).await;
    reply.expect_problem(422, "invalid", Some("run"));
    let first = run["number"].as_i64().unwrap();
    for number in [first, first + 1] {
        assert!(reply.text.contains(&format!("#{number}")), "{}", reply.text);
    }
    // The other run is private: for others there is only one.
    assert_eq!(server.get(&path, &bob).await.expect(200)["id"], id);
    let private = format!("/api/v1/runs/{}", first + 1);
    server
        .get(&private, &bob)
        .await
        .expect_problem(404, "not_found", None);
}

#[tokio::test]
async fn evaluations_say_what_was_asked_answered_and_expected_and_why_they_failed() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    record(&server, &run).await;
    let path = format!("/api/v1/runs/{}/evaluations", run["number"]);
    let check = async |filter: &str, expect: &[(&str, i64)]| {
        let page = server
            .get(&format!("{path}?{filter}"), "")
            .await
            .expect(200);
        let items = page["items"].as_array().unwrap();
        let found: Vec<(&str, i64)> = items
            .iter()
            .map(|item| {
                (
                    item["item"].as_str().unwrap(),
                    item["model_position"].as_i64().unwrap(),
                )
            })
            .collect();
        assert_eq!(found, expect, "{filter}");
    };
    check(
        "",
        &[("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)],
    )
    .await;
    check("state=passed", &[("a", 0), ("a", 1), ("b", 1), ("c", 1)]).await;
    check("state=failed", &[("b", 0)]).await;
    check("state=error", &[("c", 0)]).await;
    check("state=unscored", &[]).await;
    check("error_kind=timeout", &[("c", 0)]).await;
    check("error_kind=refused", &[]).await;
    check("error_kind=timeout&state=passed", &[]).await;
    check("item=b", &[("b", 0), ("b", 1)]).await;
    check("item=b&state=passed", &[("b", 1)]).await;
    check(
        "prompt=plain",
        &[("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)],
    )
    .await;
    check("prompt=plain@1&item=c", &[("c", 0), ("c", 1)]).await;
    check("model=simulated:strong&item=a", &[("a", 0), ("a", 1)]).await;
    check(
        "model=simulated:strong%20temperature=0",
        &[("a", 1), ("b", 1), ("c", 1)],
    )
    .await;
    for (filter, field) in [
        ("item=z", "item"),
        ("prompt=steps", "prompt"),
        ("prompt=plain@2", "prompt"),
        ("model=simulated:weak", "model"),
        ("state=wrong", "state"),
        ("errors_only=true", "errors_only"),
    ] {
        let reply = server.get(&format!("{path}?{filter}"), "").await;
        reply.expect_problem(422, "invalid", Some(field));
    }
    let failed = server
        .get(&format!("{path}?state=failed"), "")
        .await
        .expect(200);
    let failed = &failed["items"][0];
    assert_eq!(failed["prompt"], "plain@1");
    assert_eq!(failed["model"], "simulated:strong");
    assert_eq!(failed["parameters"], json!({}));
    assert_eq!(failed["vars"], json!({"question": "1+1"}));
    assert_eq!(failed["expected"], "2");
    assert_eq!(failed["output"], "=1+2");
    assert_eq!(
        failed["scores"][0]["reason"],
        "the output does not equal \"2\""
    );
}

#[tokio::test]
async fn a_page_of_evaluations_is_bounded_in_bytes() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    record(&server, &run).await;
    let pages = async || {
        let first = format!("/api/v1/runs/{}/evaluations?limit=100", run["number"]);
        let (mut path, mut sizes) = (first.clone(), Vec::new());
        loop {
            let page = server.get(&path, "").await.expect(200);
            sizes.push(page["items"].as_array().unwrap().len());
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("{first}&cursor={cursor}"),
                None => return sizes,
            }
        }
    };
    assert_eq!(pages().await, [6]);
    sql(
        &server,
        "update evaluations set output = repeat('x', 400000)".to_owned(),
    )
    .await;
    assert_eq!(pages().await, [3, 3]);
    // A single answer that is larger than a page comes whole.
    sql(
        &server,
        "update evaluations set output = repeat('x', 3000000)".to_owned(),
    )
    .await;
    assert_eq!(pages().await, [1, 1, 1, 1, 1, 1]);
}

#[tokio::test]
async fn a_run_has_a_table_of_its_own_however_it_stands() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    let path = format!("/api/v1/runs/{}/columns", run["number"]);
    let table = async || server.get(&path, "").await.expect(200);
    let empty = table().await;
    assert_eq!(empty["columns"].as_array().unwrap().len(), 2);
    assert_eq!(
        (
            &empty["columns"][0]["evaluations"],
            &empty["columns"][0]["score"]
        ),
        (&json!(0), &Value::Null)
    );
    record(&server, &run).await;
    let check = async |state: &str| {
        let found = table().await;
        assert_eq!(found["state"], state);
        let [first, second] = found["columns"].as_array().unwrap().as_slice() else {
            panic!("{found}");
        };
        assert_eq!(first["prompt"], "plain@1");
        assert_eq!(first["model"], "simulated:strong");
        assert_eq!(
            (&first["parameters"], &second["parameters"]),
            (&json!({}), &json!({"temperature": 0}))
        );
        let counts = |column: &Value| {
            ["planned", "evaluations", "passed", "failed", "errors"]
                .map(|name| column[name].as_i64().unwrap())
        };
        assert_eq!(counts(first), [3, 3, 1, 1, 1], "{state}");
        assert_eq!(counts(second), [3, 3, 3, 0, 0], "{state}");
        assert_eq!(
            (&first["score"], &first["pass_rate"]),
            (&json!(0.5), &json!(0.5)),
            "errors are left out"
        );
        assert!(
            first["score_low"].as_f64() < Some(0.5) && first["score_high"].as_f64() > Some(0.5)
        );
        assert_eq!(first["cost_microusd"], 30);
        let per_pass = first["cost_per_pass_microusd"].as_f64().unwrap();
        assert!((per_pass - 30.0).abs() < 1e-6, "{per_pass}");
        assert_eq!(first["latency_p50_ms"], json!(100.0));
        let timeout = json!([{"kind": "timeout", "evaluations": 1, "message": "no answer in time", "message_evaluations": 1, "item": "c"}]);
        assert_eq!(first["error_kinds"], timeout, "{state}");
        assert_eq!(second["error_kinds"], json!([]));
    };
    check("running").await;
    sql(
        &server,
        "update runs set state = 'paused', paused_for = 'request'".to_owned(),
    )
    .await;
    check("paused").await;
    sql(
        &server,
        "update runs set state = 'cancelled', finished_at = now()".to_owned(),
    )
    .await;
    check("cancelled").await;
    sql(
        &server,
        "update runs set state = 'finishing', finished_at = null".to_owned(),
    )
    .await;
    let mut conn = server.database.pool.acquire().await.unwrap();
    opb_core::finishing::finish_run(&mut conn, id(&run))
        .await
        .unwrap();
    check("completed").await;
    // What was kept at the end is shown, and nothing is summed up again.
    let kept: i64 = sqlx::query_scalar("select count(*) from run_columns")
        .fetch_one(&mut *conn)
        .await
        .unwrap();
    assert_eq!(kept, 2);
    sql(
        &server,
        "update evaluations set output = null, scores = null".to_owned(),
    )
    .await;
    check("completed").await;
    // Opened again it is another table.
    let path = format!("/api/v1/runs/{}/retry", run["number"]);
    server.post(&path, &ada, &json!({})).await.expect(202);
    let reopened = table().await;
    assert_eq!(
        (
            &reopened["columns"][0]["evaluations"],
            &reopened["columns"][0]["errors"]
        ),
        (&json!(2), &json!(0))
    );
}

#[tokio::test]
async fn part_scores_are_summed_up_by_their_metric_and_weights() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let scorer = |metric: &str, value: &str, weight: f64| json!({"type": "contains", "value": value, "metric": metric, "weight": weight});
    let item = |id: &str| json!({"id": id, "vars": {"question": "1+1"}});
    let benchmark = json!({
        "slug": "parts", "title": "Parts", "items": [item("a"), item("b")], "visibility": "public",
        "scorers": [scorer("name", "x", 3.0), scorer("name", "y", 1.0), scorer("city", "z", 0.0), {"type": "contains", "value": "2"}],
    });
    server
        .post("/api/v1/benchmarks", &ada, &benchmark)
        .await
        .expect(201);
    let mut body = run();
    (body["benchmark"], body["repeats"]) = (json!("parts"), json!(1));
    let run = server.post("/api/v1/runs", &ada, &body).await.expect(202);
    for (item, [x, y, z]) in [(0, [1, 0, 1]), (1, [1, 1, 0])] {
        let line = |metric: Option<&str>, score: i32| json!({"scorer": "contains", "metric": metric, "outcome": "scored", "score": score, "pass": score == 1, "reason": ""});
        let recorded = json!([
            line(Some("name"), x),
            line(Some("name"), y),
            line(Some("city"), z),
            line(None, 1)
        ]);
        sqlx::query(
            "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed, scores, attempts)
             values ($1, $2, 0, 0, 0, 'scored', 1, true, $3, 1)",
        )
        .bind(id(&run))
        .bind(item)
        .bind(recorded)
        .execute(&server.database.pool)
        .await
        .unwrap();
    }
    server.sql("update runs set recorded = 2").await;
    let path = format!("/api/v1/runs/{}/columns", run["number"]);
    let table = server.get(&path, &ada).await.expect(200);
    let parts = table["columns"][0]["part_scores"].as_array().unwrap();
    let found: Vec<(&str, f64, i64)> = parts
        .iter()
        .map(|part| {
            (
                part["metric"].as_str().unwrap(),
                part["score"].as_f64().unwrap(),
                part["items"].as_i64().unwrap(),
            )
        })
        .collect();
    // Of `name`, item a has 3 of 4 and item b all; `city` counts for nothing and is measured all the same.
    assert_eq!(found, [("city", 0.5, 2), ("name", 0.875, 2)]);
}

#[tokio::test]
async fn a_run_is_split_by_a_key_of_its_items_metadata() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    server.prepare_run(&ada).await;
    let item = |id: &str, metadata: Value| json!({"id": id, "vars": {"question": "1+1"}, "metadata": metadata});
    let benchmark = json!({
        "slug": "grouped", "title": "Grouped", "visibility": "public", "scorers": [{"type": "contains", "value": "2"}],
        "items": [
            item("a", json!({"level": "easy", "tags": ["x", "y", "x"], "year": 2024})),
            item("b", json!({"level": "hard", "tags": ["y"], "year": 2025})),
            item("c", json!({"level": "easy", "tags": []})),
            item("d", json!({})),
        ],
    });
    server
        .post("/api/v1/benchmarks", &ada, &benchmark)
        .await
        .expect(201);
    let mut body = run();
    (body["benchmark"], body["repeats"]) = (json!("grouped"), json!(2));
    body["visibility"] = json!("public");
    let run = server.post("/api/v1/runs", &ada, &body).await.expect(202);
    // Item `b` has an error beside a pass, `d` was not asked yet.
    for (item, repeat, passed) in [
        (0, 0, Some(true)),
        (0, 1, Some(false)),
        (1, 0, Some(true)),
        (1, 1, None),
        (2, 0, Some(true)),
        (2, 1, Some(true)),
    ] {
        sqlx::query(
            "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed,
                 error_kind, attempts)
             values ($1, $2, $3, 0, 0, $4::evaluation_state, $5, $6, $7, 1)",
        )
        .bind(id(&run))
        .bind(item)
        .bind(repeat)
        .bind(if passed.is_some() { "scored" } else { "error" })
        .bind(passed.map(|passed| f32::from(u8::from(passed))))
        .bind(passed)
        .bind(passed.is_none().then_some("timeout"))
        .execute(&server.database.pool)
        .await
        .unwrap();
    }
    server.sql("update runs set recorded = 6").await;
    let path = |by: &str| format!("/api/v1/runs/{}/groups?by={by}", run["number"]);
    let groups = async |by: &str| {
        let found = server.get(&path(by), "").await.expect(200);
        assert_eq!(found["by"], by);
        let groups = found["groups"].as_array().unwrap().iter().map(|group| {
            let columns = group["columns"].as_array().unwrap().iter();
            let columns: Vec<Value> = columns
                .map(|column| {
                    json!([
                        column["score"],
                        column["passed"],
                        column["failed"],
                        column["errors"],
                        column["scored_items"]
                    ])
                })
                .collect();
            json!([group["value"], group["items"], columns])
        });
        groups.collect::<Value>()
    };
    let none = json!([null, 1, []]);
    assert_eq!(
        groups("level").await,
        json!([
            ["easy", 2, [[0.75, 3, 1, 0, 2]]],
            ["hard", 1, [[1.0, 1, 0, 1, 1]]],
            none
        ])
    );
    // An item of several tags is in the group of each, and in none of them twice.
    assert_eq!(
        groups("tags").await,
        json!([
            ["y", 2, [[0.75, 2, 1, 1, 2]]],
            [null, 2, [[1.0, 2, 0, 0, 1]]],
            ["x", 1, [[0.5, 1, 1, 0, 1]]]
        ])
    );
    assert_eq!(
        groups("year").await[1],
        json!(["2024", 1, [[0.5, 1, 1, 0, 1]]])
    );
    let easy = server.get(&path("level"), "").await.expect(200)["groups"][0]["columns"][0].clone();
    let (low, high) = (easy["score_low"].as_f64(), easy["score_high"].as_f64());
    assert_eq!((low, high), (Some(0.0), Some(1.0)), "two items tell little");
    let unknown = server.get(&path("colour"), "").await;
    assert_eq!(unknown.status, 422, "{}", unknown.text);
    assert!(
        unknown
            .text
            .contains("no item of this run has a value under this key; keys of the items' metadata: level, tags, year"),
        "{}",
        unknown.text
    );
}

#[tokio::test]
async fn an_export_holds_every_evaluation_and_no_formulas() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    record(&server, &run).await;
    let number = &run["number"];
    let path = format!("/api/v1/runs/{number}/export");
    let reply = server.get(&path, "").await;
    assert_eq!(reply.status, 200);
    assert_eq!(reply.header("content-type"), "application/x-ndjson");
    assert_eq!(reply.header("x-content-type-options"), "nosniff");
    assert_eq!(
        reply.header("content-disposition"),
        format!("attachment; filename=\"opb-run-{number}.jsonl\"")
    );
    let exported: Vec<Value> = reply
        .text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let listed = server
        .get(&format!("/api/v1/runs/{number}/evaluations"), "")
        .await
        .expect(200);
    assert_eq!(json!(exported), listed["items"]);
    let table = server.get(&format!("{path}?format=csv"), "").await;
    assert_eq!(table.header("content-type"), "text/csv; charset=utf-8");
    assert_eq!(
        table.header("content-disposition"),
        format!("attachment; filename=\"opb-run-{number}.csv\"")
    );
    let lines: Vec<&str> = table.text.split("\r\n").collect();
    assert!(
        lines[0].starts_with("run,item,repeat,prompt,model,parameters,state,score,"),
        "{}",
        lines[0]
    );
    assert_eq!(
        lines.len(),
        8,
        "headings, six rows, and nothing after the last line end: {}",
        table.text
    );
    assert!(table.text.contains(",'=1+2,"), "{}", table.text);
    let failed = server.get(&format!("{path}?state=failed"), "").await;
    assert_eq!(failed.text.lines().count(), 1);
    // Nothing is no error, and what the run does not have is refused before the file begins.
    assert_eq!(
        server
            .get(&format!("{path}?error_kind=refused"), "")
            .await
            .text,
        ""
    );
    server
        .get(&format!("{path}?model=simulated:weak"), "")
        .await
        .expect_problem(422, "invalid", Some("model"));
    server
        .get(&format!("{path}?format=xml"), "")
        .await
        .expect_problem(422, "invalid", Some("format"));
}

#[tokio::test]
async fn an_export_of_many_pages_is_whole_and_holds_no_connection_while_its_reader_is_slow() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    record(&server, &run).await;
    sql(
        &server,
        "update evaluations set output = repeat('x', 8000000)".to_owned(),
    )
    .await;
    // Some connections are always held, such as that of the doorbell.
    let held = || server.database.pool.size() as usize - server.database.pool.num_idle();
    let mut usual = held();
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        usual = usual.min(held());
    }
    let path = format!("/api/v1/runs/{}/export", run["number"]);
    let response = with_token(server.request(Method::GET, &path), "")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    let mut pieces = response.bytes_stream();
    let mut length = pieces.next().await.unwrap().unwrap().len();
    // The reader rests: 48 MB do not fit into what the network holds.
    let deadline = Instant::now() + Duration::from_mins(5);
    while held() > usual {
        assert!(Instant::now() < deadline, "a connection is held");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    while let Some(piece) = pieces.next().await {
        length += piece.unwrap().len();
    }
    assert!(length > 48_000_000, "{length}");
}

/// An export is asked for once, and read for as long as its reader likes.
#[tokio::test]
async fn an_export_ends_with_its_credential() {
    let server = Server::start().await;
    let ada = server.user("ada").await;
    let run = submitted(&server, &ada).await;
    record(&server, &run).await;
    let large = "update evaluations set output = repeat('x', 8000000)";
    sql(&server, large.to_owned()).await;
    let key = json!({"name": "reads", "scopes": ["runs:read"]});
    let key = server.post("/api/v1/api-keys", &ada, &key).await;
    let key = field(&key.expect(201), "key");
    let path = format!("/api/v1/runs/{}/export", run["number"]);
    let mut exports = Vec::new();
    for token in [&ada, &key] {
        let request = with_token(server.request(Method::GET, &path), token);
        let mut pieces = request.send().await.unwrap().bytes_stream();
        pieces.next().await.unwrap().unwrap();
        exports.push(pieces);
    }
    sql(&server, "update users set disabled_at = now()".to_owned()).await;
    for pieces in exports {
        let faults = pieces.filter_map(|piece| async move { piece.err() });
        assert_eq!(faults.count().await, 1, "it breaks off");
    }
}
