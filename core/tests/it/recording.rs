//! What is recorded is what was found out, column by column.

use opb_core::runs::{
    Answer, EvaluationError, EvaluationKey, EvaluationOutcome, Logprobs, NewEvaluation, Recorded,
    Run, ScoredLine, Settlement, find_refused, find_run, finish_shard, load_work, record,
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::{Value, json};
use sqlx::PgConnection;
use uuid::Uuid;

/// Records `evaluation` as that of the shard, and returns the row that became of it.
async fn row_of(conn: &mut PgConnection, shard: Uuid, evaluation: NewEvaluation) -> Value {
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let work = load_work(conn, lease.run_id).await.unwrap();
    let key = work.keys(&lease).next().unwrap();
    let evaluation = NewEvaluation { key, ..evaluation };
    let kept = record(conn, &lease, &[evaluation], Settlement::default()).await;
    assert_eq!(kept.unwrap(), Recorded::Kept(1));
    sqlx::query_scalar(
        "select to_jsonb(evaluations) - '{run_id, recorded_at, item_position, repeat, prompt_position, model_position}'::text[]
        from evaluations
        where (run_id, item_position, repeat, prompt_position, model_position) = ($1, $2, $3, $4, $5)",
    )
    .bind(lease.run_id)
    .bind(key.item)
    .bind(key.repeat)
    .bind(key.prompt)
    .bind(key.model)
    .fetch_one(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn every_column_holds_what_it_is_named_for() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards where run_id = $1")
        .bind(run.id)
        .fetch_all(&mut **conn)
        .await
        .unwrap();

    let answer_key = Uuid::from_u128(0x0123_4567_89ab_cdef);
    let line = json!({"scorer": "icontains", "metric": "hit", "outcome": "scored", "score": 0.25, "pass": true, "reason": "so"});
    let logprobs =
        json!({"mean": -0.5, "tokens": [{"token": "a", "logprob": -0.5}], "left_out": 1});
    let full = NewEvaluation {
        outcome: EvaluationOutcome {
            score: Some(0.25),
            passed: Some(true),
            scores: vec![serde_json::from_value::<ScoredLine>(line.clone()).unwrap()],
            error: None,
        },
        answer: Some(Answer {
            output: Some("a\0b\n\\N\t\"ü\"".into()),
            finish_reason: Some("stop".into()),
            latency_ms: Some(3),
            first_token_ms: Some(4),
            input_tokens: Some(5),
            cached_input_tokens: Some(6),
            output_tokens: Some(7),
            reasoning_tokens: Some(8),
            cost_microusd: Some(i64::MAX / 2),
            logprobs: Some(serde_json::from_value::<Logprobs>(logprobs.clone()).unwrap()),
        }),
        attempts: 2,
        cached: true,
        answer_key: Some(answer_key),
        ..NewEvaluation::default()
    };
    let expect = json!({
        "state": "scored", "score": 0.25, "passed": true, "scores": [line], "output": "a\u{fffd}b\n\\N\t\"ü\"",
        "finish_reason": "stop", "error_kind": null, "error": null, "attempts": 2, "latency_ms": 3, "first_token_ms": 4,
        "input_tokens": 5, "cached_input_tokens": 6, "output_tokens": 7, "reasoning_tokens": 8,
        "cost_microusd": i64::MAX / 2, "logprobs": logprobs, "cached": true, "answer_key": answer_key,
    });
    assert_eq!(row_of(conn, shards[0], full).await, expect);

    let failed = NewEvaluation {
        answer: Some(Answer {
            output: Some(String::new()),
            ..Answer::default()
        }),
        answer_key: Some(answer_key),
        ..NewEvaluation::failed(
            EvaluationKey::default(),
            EvaluationError::new("timeout", "no\0 answer"),
            1,
        )
    };
    let expect = json!({
        "state": "error", "score": null, "passed": null, "scores": null, "output": "", "finish_reason": null,
        "error_kind": "timeout", "error": "no\u{fffd} answer", "attempts": 1, "latency_ms": null, "first_token_ms": null,
        "input_tokens": null, "cached_input_tokens": null, "output_tokens": null, "reasoning_tokens": null,
        "cost_microusd": null, "logprobs": null, "cached": false, "answer_key": null,
    });
    assert_eq!(row_of(conn, shards[1], failed).await, expect);
}

#[tokio::test]
async fn what_the_database_refuses_is_told_from_what_passes() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 70).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    let shard: Uuid = sqlx::query_scalar(
        "select id from shards where run_id = $1 order by first_ordinal limit 1",
    )
    .bind(run.id)
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    let result = |(key, score)| NewEvaluation {
        key,
        outcome: EvaluationOutcome {
            score: Some(score),
            ..EvaluationOutcome::default()
        },
        attempts: 1,
        ..NewEvaluation::default()
    };
    let mut batch: Vec<NewEvaluation> = work.keys(&lease).zip([0.5, 1.5]).map(result).collect();
    assert_eq!(batch.len(), 2);
    let refused = record(conn, &lease, &batch, Settlement::default()).await;
    assert!(refused.unwrap_err().refuses_data());
    let found = find_refused(conn, run.id, &batch).await.unwrap();
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(
        found[0].0 == 1 && found[0].1.contains("evaluations_score_check"),
        "{found:?}"
    );
    batch[1].outcome.score = None;
    let kept = record(conn, &lease, &batch, Settlement::default()).await;
    assert_eq!(kept.unwrap(), Recorded::Kept(2));
    let found = find_refused(conn, run.id, &batch).await.unwrap();
    assert_eq!(found, [], "what is recorded already is not refused");
}

/// The row of the run is locked by somebody else all the time.
#[tokio::test]
async fn a_batch_does_not_wait_for_the_row_of_its_run() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    let shard: Uuid = sqlx::query_scalar("select id from shards limit 1")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    let result = |key| NewEvaluation {
        key,
        outcome: EvaluationOutcome {
            passed: Some(true),
            ..EvaluationOutcome::default()
        },
        answer: Some(Answer {
            cost_microusd: Some(10),
            ..Answer::default()
        }),
        attempts: 3,
        ..NewEvaluation::default()
    };
    let batch: Vec<NewEvaluation> = work.keys(&lease).map(result).collect();
    let mut other = db.pool.begin().await.unwrap();
    sqlx::query("select from runs where id = $1 for update")
        .bind(run.id)
        .execute(&mut *other)
        .await
        .unwrap();
    sqlx::query("set lock_timeout = '10s'")
        .execute(&mut **conn)
        .await
        .unwrap();
    let kept = record(conn, &lease, &batch, Settlement::default()).await;
    assert_eq!(kept.unwrap(), Recorded::Kept(1));
    let open = find_run(conn, Some(&owner), run.id).await.unwrap();
    let counted = |run: &Run| (run.recorded, run.passed, run.retries, run.spend_microusd);
    assert_eq!(counted(&open), (1, 1, 2, 10));
    other.rollback().await.unwrap();
    assert!(finish_shard(conn, &lease).await.unwrap());
    let closed = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(counted(&closed), counted(&open), "added up once");
    let twice = sqlx::query("update shards set recorded = size + 1 where id = $1")
        .bind(shard)
        .execute(&mut **conn)
        .await;
    let constraint = twice.unwrap_err();
    let constraint = constraint.as_database_error().unwrap().constraint();
    assert_eq!(
        constraint,
        Some("shards_counted_check"),
        "the table itself refuses"
    );
}
