//! Leaderboards over HTTP: ranks, selections, effects, all benchmarks, and courses over time.

use std::time::Duration;

use opb_core::{
    finishing,
    runs::{self, Answer, EvaluationOutcome, NewEvaluation, RunShape, Settlement},
};
use opb_testing::fixtures;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Server, field, prompt};

/// A benchmark of so many items.
pub async fn publish(server: &Server, token: &str, slug: &str, items: usize, floor: Option<f64>) {
    let item = |number: usize| json!({"id": format!("item-{number}"), "vars": {"question": "1+1"}, "expected": "2"});
    let items: Vec<Value> = (0..items).map(item).collect();
    let mut body = json!({"slug": slug, "title": slug, "scorers": [{"type": "equals", "value": "2"}], "items": items});
    if let Some(floor) = floor {
        body["source"] = json!({ "floor": floor });
    }
    let published = server.post("/api/v1/benchmarks", token, &body).await;
    published.expect(201);
}

/// A public run of prompts on models, with answers as a worker would record them. `passes` is asked for the prompt, the
/// model and the item.
pub async fn measure(
    server: &Server,
    token: &str,
    benchmark: &str,
    prompts: &[&str],
    models: &[&str],
    passes: impl Fn(usize, usize, i32) -> bool,
) -> Uuid {
    let body = json!({"benchmark": benchmark, "prompts": prompts, "models": models, "repeats": 1});
    let run = server.post("/api/v1/runs", token, &body).await.expect(202);
    let id: Uuid = field(&run, "id").parse().unwrap();
    let mut conn = server.database.pool.acquire().await.unwrap();
    let (prompts, models) = (prompts.len(), models.len());
    let planned = run["planned"].as_i64().unwrap();
    let shape = RunShape {
        items: i32::try_from(planned).unwrap() / i32::try_from(prompts * models).unwrap(),
        repeats: 1,
        prompts: i16::try_from(prompts).unwrap(),
        models: i16::try_from(models).unwrap(),
    };
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards where run_id = $1")
        .bind(id)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    for shard in shards {
        let lease = fixtures::claim(&mut conn, shard);
        let lease = lease.await.unwrap();
        let first = lease.range.first_ordinal;
        let answers = (first..first + i64::from(lease.range.size)).map(|ordinal| {
            let key = shape.key(ordinal);
            let (prompt, model) = (usize::try_from(key.prompt), usize::try_from(key.model));
            let is_right = passes(prompt.unwrap(), model.unwrap(), key.item);
            NewEvaluation {
                key,
                outcome: EvaluationOutcome {
                    score: Some(f32::from(u8::from(is_right))),
                    passed: Some(is_right),
                    ..EvaluationOutcome::default()
                },
                answer: Some(Answer {
                    latency_ms: Some(100 * (1 + i32::from(key.model)) + key.item % 5),
                    output_tokens: Some(10),
                    cost_microusd: Some(10 * (1 + i64::from(key.model)) + i64::from(key.item % 3)),
                    ..Answer::default()
                }),
                attempts: 1,
                ..NewEvaluation::default()
            }
        });
        let batch: Vec<NewEvaluation> = answers.collect();
        let kept = runs::record(&mut conn, &lease, &batch, Settlement::default());
        kept.await.unwrap();
        runs::finish_shard(&mut conn, &lease).await.unwrap();
    }
    finishing::finish_run(&mut conn, id).await.unwrap();
    id
}

/// A server with the prompts `plain`, `steps` and `short`; the user's token.
pub async fn prepared() -> (Server, String) {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    server
        .sql(
            "insert into model_prices (provider_id, model_name, input_microusd_per_mtok, output_microusd_per_mtok)
             select id, model, 150000, 600000 from providers, unnest(array['balanced', 'weak']) as model",
        )
        .await;
    for slug in ["steps", "short"] {
        let mut body = prompt(slug);
        body["body"]["text"] = json!(format!("{slug}: {{{{ question }}}}"));
        server
            .post("/api/v1/prompts", &token, &body)
            .await
            .expect(201);
    }
    (server, token)
}

const MODELS: [&str; 3] = ["simulated:strong", "simulated:balanced", "simulated:weak"];

/// Three models that are equally good at different items, as three equal models are.
fn equals(_: usize, model: usize, item: i32) -> bool {
    let item = usize::try_from(item).unwrap();
    (item * 7 + model * 31) % 10 < 7
}

fn column(board: &Value, name: &str) -> Vec<Value> {
    let lines = board["standings"].as_array().unwrap().iter();
    lines.map(|line| line[name].clone()).collect()
}

#[tokio::test]
async fn three_equal_models_share_ranks_one_to_three() {
    let (server, token) = prepared().await;
    publish(&server, &token, "hundred", 100, None).await;
    measure(&server, &token, "hundred", &["plain"], &MODELS, equals).await;
    let board = server
        .get("/api/v1/leaderboards/hundred", "")
        .await
        .expect(200);
    assert_eq!(column(&board, "rank_low"), [1, 1, 1]);
    assert_eq!(column(&board, "rank_high"), [3, 3, 3]);
    assert_eq!(column(&board, "tie_group"), [1, 1, 1]);
    // Equally good, and one costs and takes less than the others.
    assert_eq!(column(&board, "score"), [0.7, 0.7, 0.7]);
    let cheapest = board["standings"].as_array().unwrap().iter();
    let mut cheapest = cheapest.filter(|line| line["frontier"] == "on");
    assert_eq!(cheapest.next().unwrap()["model"], "simulated:strong");
    assert!(cheapest.next().is_none());

    // One that is surely worse does not part the three.
    let worse = |prompt: usize, model: usize, item: i32| {
        prompt == 0 && equals(prompt, model, item) || item % 10 == 0
    };
    measure(
        &server,
        &token,
        "hundred",
        &["plain", "steps"],
        &MODELS[..1],
        worse,
    )
    .await;
    let token_board = server
        .get("/api/v1/leaderboards/hundred", &token)
        .await
        .expect(200);
    assert_eq!(column(&token_board, "rank_high")[3], 4);
    assert_eq!(column(&token_board, "rank_low")[3], 4);
    assert_eq!(column(&token_board, "tie_group"), [1, 1, 1, 2]);
}

/// A board of two prompts on three models: `steps` passes a fifth of the items more, the models differ as much.
async fn measured() -> (Server, String, Uuid) {
    let (server, token) = prepared().await;
    publish(&server, &token, "hundred", 100, None).await;
    let run = measure(
        &server,
        &token,
        "hundred",
        &["plain", "steps"],
        &MODELS,
        |prompt, model, item| {
            let level =
                30 + 20 * i32::try_from(prompt).unwrap() + 20 * (2 - i32::try_from(model).unwrap());
            item * 37 % 100 < level
        },
    );
    let run = run.await;
    (server, token, run)
}

#[tokio::test]
async fn a_board_shows_what_was_measured() {
    let (server, _, run) = measured().await;
    let board = server
        .get("/api/v1/leaderboards/hundred", "")
        .await
        .expect(200);
    assert_eq!(column(&board, "run_id"), vec![json!(run); 6]);
    insta::assert_json_snapshot!(board, {
        ".standings[].run_id" => "[run]", ".standings[].updated_at" => "[time]",
    });
}

#[tokio::test]
async fn a_selection_is_ranked_among_itself() {
    let (server, _, _) = measured().await;
    let ask = async |query: &str| {
        let path = format!("/api/v1/leaderboards/hundred?{query}");
        server.get(&path, "").await.expect(200)
    };
    let names = |board: &Value| {
        let lines = board["standings"].as_array().unwrap().iter();
        let names = lines.map(|line| {
            format!(
                "{} {} {}",
                line["rank_low"],
                field(line, "prompt"),
                field(line, "model")
            )
        });
        names.collect::<Vec<String>>()
    };
    let weak = ask("family=simulated:weak").await;
    assert_eq!(
        names(&weak),
        ["1 steps@1 simulated:weak", "2 plain@1 simulated:weak"]
    );
    assert_eq!(names(&ask("family=WEAK").await), names(&weak));
    assert!(
        names(&ask("family=wea").await).is_empty(),
        "not the end of a word"
    );
    assert_eq!(
        names(&ask("max_cost_per_1000_microusd=15000").await).len(),
        2
    );
    assert_eq!(names(&ask("max_latency_p95_ms=250").await).len(), 4);
    assert_eq!(names(&ask("since=2020-01-01T00:00:00Z").await).len(), 6);
    assert!(names(&ask("since=2999-01-01T00:00:00Z").await).is_empty());
    assert!(names(&ask("simulated=false").await).is_empty());
    assert!(
        names(&ask("verified=true").await).is_empty(),
        "nothing simulated is verified"
    );
    server.sql("update standings set simulated = false").await;
    let verified = "verified=true";
    assert!(
        names(&ask(verified).await).is_empty(),
        "ada is neither administrator nor moderator"
    );
    server
        .sql("update users set role = 'moderator' where username = 'ada'")
        .await;
    // Asked with a filter that nobody asked before, so that no kept answer comes.
    assert_eq!(names(&ask("verified=true&simulated=false").await).len(), 6);
    server
        .sql("update prompts set category = 'coding' where slug = 'steps'")
        .await;
    assert_eq!(names(&ask("category=coding").await).len(), 3);
    let above = "select parent from categories where slug = 'coding'";
    let above: Option<String> = sqlx::query_scalar(above)
        .fetch_one(&server.database.pool)
        .await
        .unwrap();
    if let Some(above) = above {
        assert_eq!(names(&ask(&format!("category={above}")).await).len(), 3);
    }
    for (query, path) in [
        ("family=", Some("family")),
        ("max_latency_p95_ms=-1", Some("max_latency_p95_ms")),
        (
            "max_cost_per_1000_microusd=-1",
            Some("max_cost_per_1000_microusd"),
        ),
        ("verified=true&simulated=true", Some("verified")),
    ] {
        let path_of = format!("/api/v1/leaderboards/hundred?{query}");
        server
            .get(&path_of, "")
            .await
            .expect_problem(422, "invalid", path);
    }
}

#[tokio::test]
async fn prompts_and_models_are_told_apart() {
    let (server, token, _) = measured().await;
    let path = "/api/v1/leaderboards/hundred/effects";
    let effects = server.get(path, "").await.expect(200);
    insta::assert_json_snapshot!(effects);
    // A prompt that was measured on the best model only is not better for it.
    measure(
        &server,
        &token,
        "hundred",
        &["short"],
        &MODELS[..1],
        |_, _, item| item * 37 % 100 < 60,
    )
    .await;
    let effects = server.get(path, &token).await.expect(200);
    let prompts = effects["prompts"].as_array().unwrap();
    let last = prompts.last().unwrap();
    assert_eq!(
        (last["name"].as_str(), last["standings"].as_i64()),
        (Some("short@1"), Some(1))
    );
    assert!(
        (last["score"].as_f64().unwrap() - 0.4).abs() < 1e-6,
        "{last}"
    );
    // Parts that share nothing cannot be compared, and the answer says so.
    server.sql("delete from standings where model_id in (select id from models where name = 'strong')
                and prompt_version_id not in (select prompt_versions.id from prompt_versions join prompts on prompts.id = prompt_id
                                              where slug = 'short')").await;
    let apart = server.get(path, &token).await.expect(200);
    assert!(field(&apart, "reason").contains("share no prompt"));
    assert_eq!(apart["prompts"], json!([]));
}

#[tokio::test]
async fn all_benchmarks_make_one_order() {
    let (server, token, _) = measured().await;
    publish(&server, &token, "guessed", 50, Some(0.5)).await;
    let level = |model: usize, item: i32| item * 17 % 50 < 45 - 10 * i32::try_from(model).unwrap();
    measure(
        &server,
        &token,
        "guessed",
        &["plain"],
        &MODELS,
        |_, model, item| level(model, item),
    )
    .await;
    let order = server.get("/api/v1/leaderboards", "").await.expect(200);
    insta::assert_json_snapshot!(order);
    assert_eq!(
        order["left_out"], 3,
        "`steps` was measured on one of two benchmarks"
    );
    let models = server
        .get("/api/v1/leaderboards?by=model", "")
        .await
        .expect(200);
    let first = &models["entries"][0];
    assert_eq!(
        (first["model"].as_str(), &first["prompt"]),
        (Some("simulated:strong"), &Value::Null)
    );
    assert_eq!(first["mean_win_rate"], 1.0);
    // A private benchmark counts for its owner alone.
    server
        .sql("update benchmarks set visibility = 'private' where slug = 'guessed'")
        .await;
    let own = server
        .get("/api/v1/leaderboards?min_coverage=1", &token)
        .await
        .expect(200);
    assert_eq!(own["benchmarks"].as_array().unwrap().len(), 2);
    let other = server.user("bob").await;
    let others = server
        .get("/api/v1/leaderboards?min_coverage=1", &other)
        .await
        .expect(200);
    assert_eq!(others["benchmarks"], json!(["hundred@1"]));
    let wrong = server.get("/api/v1/leaderboards?min_coverage=2", "").await;
    wrong.expect_problem(422, "invalid", Some("min_coverage"));
}

#[tokio::test]
async fn a_course_shows_steps_and_drift() {
    let (server, token) = prepared().await;
    publish(&server, &token, "many", 400, None).await;
    for round in 0..8_i32 {
        let level = if round < 4 { 90 } else { 50 };
        let passes = |_: usize, model: usize, item: i32| {
            let level = if model == 0 { level } else { 70 };
            // Other items fail each time.
            (item * 37 + round * 11) % 100 < level
        };
        measure(&server, &token, "many", &["plain"], &MODELS[..2], passes).await;
    }
    let history = server
        .get("/api/v1/leaderboards/many/history", "")
        .await
        .expect(200);
    let courses = history["courses"].as_array().unwrap();
    let steps = |course: &Value| {
        let points = course["points"].as_array().unwrap().iter();
        points
            .map(|point| point["change"].as_bool().unwrap())
            .collect::<Vec<bool>>()
    };
    let expected = [false, false, false, false, true, false, false, false];
    assert_eq!(courses[0]["model"], "simulated:balanced");
    assert_eq!(steps(&courses[0]), [false; 8]);
    assert_eq!(steps(&courses[1]), expected);
    let models = history["models"].as_array().unwrap();
    let drifted = |model: &Value| model["drifted"].as_bool().unwrap();
    assert_eq!((drifted(&models[0]), drifted(&models[1])), (false, true));
    let runs = models[1]["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 7);
    assert!(runs[..3].iter().all(|run| !drifted(run)), "{runs:?}");
    assert!(runs[3..].iter().all(drifted), "{runs:?}");
    assert!((runs[6]["difference"].as_f64().unwrap() + 0.4).abs() < 1e-6);

    let one = "/api/v1/leaderboards/many/history?model=simulated:balanced&prompt=plain";
    let one = server.get(one, "").await.expect(200);
    assert_eq!(one["courses"].as_array().unwrap().len(), 1);
    let none = "/api/v1/leaderboards/many/history?prompt=steps";
    assert_eq!(server.get(none, "").await.expect(200)["courses"], json!([]));
    let board = server
        .get("/api/v1/leaderboards/many", "")
        .await
        .expect(200);
    let mut lines = board["standings"].as_array().unwrap().iter();
    let strong = lines
        .find(|line| line["model"] == "simulated:strong")
        .unwrap();
    assert_eq!(strong["runs"], 8);
    assert!(
        strong["trend_low"].as_f64().unwrap() <= 0.0
            && strong["trend_high"].as_f64().unwrap() >= 0.0
    );
}

#[tokio::test]
async fn kept_answers_follow_the_board_and_show_nobody_what_is_private() {
    let (server, token, _) = measured().await;
    let path = "/api/v1/leaderboards/hundred";
    let count = |board: &Value| board["standings"].as_array().unwrap().len();
    let first = server.get(path, "").await;
    assert_eq!(count(&first.expect(200)), 6);
    assert_eq!(
        server.get(path, "").await.header("etag"),
        first.header("etag")
    );
    // A run that ends is seen by whoever asks without a credential, within two seconds.
    measure(
        &server,
        &token,
        "hundred",
        &["short"],
        &MODELS[..1],
        |_, _, _| true,
    )
    .await;
    wait_for(&server, path, async |board| count(&board) == 7).await;
    // A prompt that becomes private goes, and its owner still sees it.
    server
        .sql("update prompts set visibility = 'private' where slug = 'short'")
        .await;
    assert_eq!(count(&server.get(path, &token).await.expect(200)), 7);
    wait_for(&server, path, async |board| count(&board) == 6).await;
    let other = server.user("bob").await;
    assert_eq!(count(&server.get(path, &other).await.expect(200)), 6);
    // What the owner saw is not kept for others.
    assert_eq!(count(&server.get(path, "").await.expect(200)), 6);
    // Errors are not kept either.
    server
        .get("/api/v1/leaderboards/later", "")
        .await
        .expect(404);
    publish(&server, &token, "later", 3, None).await;
    assert_eq!(
        count(
            &server
                .get("/api/v1/leaderboards/later", "")
                .await
                .expect(200)
        ),
        0
    );
}

/// Asks until the answer is right; it may be two seconds old.
async fn wait_for(server: &Server, path: &str, right: impl AsyncFn(Value) -> bool) {
    let begin = std::time::Instant::now();
    loop {
        let board = server.get(path, "").await.expect(200);
        if right(board).await {
            return;
        }
        // The promise is two seconds; a machine that is busy keeps no promise of time.
        assert!(
            begin.elapsed() < Duration::from_mins(2),
            "the answer is stale"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
