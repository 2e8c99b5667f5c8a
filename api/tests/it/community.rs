//! What people make of the library.

mod collections;
mod comments;
mod evidence;
mod markup;
mod preferences;
mod profiles;
mod votes;

use opb_core::{
    finishing,
    runs::{self, Answer, EvaluationKey, EvaluationOutcome, NewEvaluation, Recorded, Settlement},
};
use opb_testing::fixtures;
use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::server::{Reply, Server, prompt, send, with_token};

/// Sends a body, or none for null.
pub async fn ask(server: &Server, method: Method, path: &str, token: &str, body: &Value) -> Reply {
    let request = with_token(server.request(method, path), token);
    match body {
        Value::Null => send(request).await,
        body => send(request.json(body)).await,
    }
}

/// Makes prompts of one user.
async fn prompts(server: &Server, token: &str, slugs: &[&str], visibility: &str) {
    for slug in slugs {
        let mut body = prompt(slug);
        body["visibility"] = json!(visibility);
        body["body"]["text"] = json!(format!("{slug}: {{{{ question }}}}"));
        server
            .post("/api/v1/prompts", token, &body)
            .await
            .expect(201);
    }
}

/// A text of each entry of a page.
fn column(page: &Value, name: &str) -> Vec<String> {
    let items = page["items"].as_array().unwrap().iter();
    items
        .map(|item| item[name].as_str().unwrap().to_owned())
        .collect()
}

/// Reads all pages of a list, two entries at a time.
async fn all_pages(server: &Server, path: &str, token: &str, name: &str) -> Vec<String> {
    let join = if path.contains('?') { '&' } else { '?' };
    let first = format!("{path}{join}limit=2");
    let mut found = Vec::new();
    let mut next = first.clone();
    loop {
        let page = server.get(&next, token).await.expect(200);
        found.extend(column(&page, name));
        let Some(cursor) = page["next_cursor"].as_str() else {
            return found;
        };
        next = format!("{first}&cursor={cursor}");
    }
}

/// Runs prompts on a benchmark with `simulated:strong` and records answers as a worker would: prompt number `n` passes
/// the items that `passes` says.
async fn measure(
    server: &Server,
    token: &str,
    benchmark: &str,
    prompts: &[&str],
    does_pass: impl Fn(usize, i64) -> bool,
) -> Uuid {
    let body = json!({"benchmark": benchmark, "prompts": prompts, "models": ["simulated:strong"], "repeats": 1});
    let run = server.post("/api/v1/runs", token, &body).await.expect(202);
    let id: Uuid = run["id"].as_str().unwrap().parse().unwrap();
    measure_run(server, id, prompts.len(), does_pass).await;
    id
}

/// The same with a run of so many prompts that there is.
pub async fn measure_run(
    server: &Server,
    id: Uuid,
    prompts: usize,
    does_pass: impl Fn(usize, i64) -> bool,
) {
    let mut conn = server.database.pool.acquire().await.unwrap();
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards where run_id = $1")
        .bind(id)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    let width = i64::try_from(prompts).unwrap();
    for shard in shards {
        let lease = fixtures::claim(&mut conn, shard).await.unwrap();
        let range = lease.range;
        let batch: Vec<NewEvaluation> = (range.first_ordinal
            ..range.first_ordinal + i64::from(range.size))
            .map(|ordinal| {
                let (item, prompt) = (ordinal / width, ordinal % width);
                let passed = does_pass(usize::try_from(prompt).unwrap(), item);
                NewEvaluation {
                    key: EvaluationKey {
                        item: i32::try_from(item).unwrap(),
                        repeat: 0,
                        prompt: i16::try_from(prompt).unwrap(),
                        model: 0,
                    },
                    outcome: EvaluationOutcome {
                        score: Some(f32::from(u8::from(passed))),
                        passed: Some(passed),
                        ..EvaluationOutcome::default()
                    },
                    answer: Some(Answer {
                        output: Some(format!("answer {item} in words {prompt}")),
                        latency_ms: Some(100),
                        cost_microusd: Some(7),
                        ..Answer::default()
                    }),
                    attempts: 1,
                    ..NewEvaluation::default()
                }
            })
            .collect();
        let kept = runs::record(&mut conn, &lease, &batch, Settlement::default())
            .await
            .unwrap();
        assert_eq!(kept, Recorded::Kept(batch.len()));
        runs::finish_shard(&mut conn, &lease).await.unwrap();
    }
    finishing::finish_run(&mut conn, id).await.unwrap();
}

/// Makes the simulated answers count as real ones: no test calls a model.
async fn call_it_real(server: &Server) {
    server.sql("update standings set simulated = false").await;
}
