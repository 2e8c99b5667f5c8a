//! Reading what workers recorded.

use opb_core::runs::{
    self, Alternative, Answer, EvaluationError, EvaluationKey, EvaluationOutcome, Logprobs,
    NewEvaluation, Recorded, Settlement, TokenLogprob,
};
use opb_testing::fixtures;
use serde_json::Value;
use uuid::Uuid;

use crate::server::{Server, run};

fn logprobs() -> Logprobs {
    Logprobs {
        mean: Some(-0.25),
        tokens: vec![TokenLogprob {
            token: "2".to_owned(),
            logprob: Some(-0.25),
            top: vec![Alternative {
                token: "two".to_owned(),
                logprob: None,
            }],
        }],
        left_out: 3,
    }
}

/// Submits a run of six evaluations and records them all as a worker would; those of item `b` are errors.
async fn recorded_run(server: &Server) -> String {
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let run = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let id = run["id"].as_str().unwrap().to_owned();
    let mut conn = server.database.pool.acquire().await.unwrap();
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards where run_id = $1::uuid")
        .bind(&id)
        .fetch_all(&mut *conn)
        .await
        .unwrap();
    for shard in shards {
        let lease = fixtures::claim(&mut conn, shard).await.unwrap();
        let range = lease.range;
        for ordinal in range.first_ordinal..range.first_ordinal + i64::from(range.size) {
            let (item, repeat) = (ordinal / 2, ordinal % 2);
            let key = EvaluationKey {
                item: i32::try_from(item).unwrap(),
                repeat: i16::try_from(repeat).unwrap(),
                prompt: 0,
                model: 0,
            };
            let evaluation = if item == 1 {
                let error = EvaluationError::new("timeout", "no answer in time");
                NewEvaluation::failed(key, error, 1)
            } else {
                NewEvaluation {
                    key,
                    outcome: EvaluationOutcome {
                        score: Some(1.0),
                        passed: Some(true),
                        ..EvaluationOutcome::default()
                    },
                    answer: Some(Answer {
                        output: Some("2".to_owned()),
                        logprobs: (repeat == 0).then(logprobs),
                        ..Answer::default()
                    }),
                    attempts: 1,
                    ..NewEvaluation::default()
                }
            };
            let kept = runs::record(&mut conn, &lease, &[evaluation], Settlement::default()).await;
            assert_eq!(kept.unwrap(), Recorded::Kept(1));
        }
    }
    id
}

#[tokio::test]
async fn pages_hold_every_evaluation_once_in_order() {
    let server = Server::start().await;
    let id = recorded_run(&server).await;
    let check = async |filter: &str, limit: usize, expect: &[(&str, i64)]| {
        let first = format!("/api/v1/runs/{id}/evaluations?limit={limit}{filter}");
        let mut path = first.clone();
        let mut found: Vec<(String, i64)> = Vec::new();
        loop {
            let page = server.get(&path, "").await.expect(200);
            let items = page["items"].as_array().unwrap();
            assert!(items.len() <= limit);
            found.extend(items.iter().map(key));
            let Some(cursor) = page["next_cursor"].as_str() else {
                break;
            };
            assert_eq!(items.len(), limit, "only the last page is short");
            path = format!("{first}&cursor={cursor}");
        }
        let found: Vec<(&str, i64)> = found
            .iter()
            .map(|(item, repeat)| (item.as_str(), *repeat))
            .collect();
        assert_eq!(found, expect, "limit {limit} {filter}");
    };
    let all = [("a", 0), ("a", 1), ("b", 0), ("b", 1), ("c", 0), ("c", 1)];
    for limit in [1, 2, 4, 6, 100] {
        check("", limit, &all).await;
    }
    check("&state=error", 1, &all[2..4]).await;
    check("&item=b", 1, &all[2..4]).await;
    let run = server
        .get(&format!("/api/v1/runs/{id}"), "")
        .await
        .expect(200);
    assert_eq!(run["recorded"], 6);
    assert_eq!(run["errors"], 2);
}

fn key(evaluation: &Value) -> (String, i64) {
    let failed = evaluation["item"] == "b";
    assert_eq!(evaluation["error_kind"] == "timeout", failed);
    assert_eq!(evaluation["passed"] == true, !failed);
    (
        evaluation["item"].as_str().unwrap().to_owned(),
        evaluation["repeat"].as_i64().unwrap(),
    )
}

#[tokio::test]
async fn log_probabilities_come_with_the_evaluation_and_go_with_its_texts() {
    let server = Server::start().await;
    let id = recorded_run(&server).await;
    let path = format!("/api/v1/runs/{id}/evaluations");
    let shown = async || {
        let page = server.get(&path, "").await.expect(200);
        let items = page["items"].as_array().unwrap();
        let each = items.iter().map(|item| item["logprobs"].clone());
        each.collect::<Vec<Value>>()
    };
    let logprobs = serde_json::json!({
        "mean": -0.25,
        "tokens": [{"token": "2", "logprob": -0.25, "top": [{"token": "two", "logprob": null}]}],
        "left_out": 3,
    });
    let none = Value::Null;
    let expect = [&logprobs, &none, &none, &none, &logprobs, &none];
    assert_eq!(shown().await.iter().collect::<Vec<_>>(), expect);
    let mut conn = server.database.pool.acquire().await.unwrap();
    sqlx::query("update runs set state = 'completed', shards_open = 0, finished_at = now() - interval '2 days'")
        .execute(&mut *conn)
        .await
        .unwrap();
    let old = runs::next_prunable(&mut conn, 1).await.unwrap().unwrap();
    runs::prune_run(&mut conn, old).await.unwrap();
    assert!(shown().await.iter().all(Value::is_null));
}
