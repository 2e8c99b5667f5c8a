//! What costs nothing is bounded by quotas, wherever it comes from, and everything that is stored is counted.

use opb_core::{
    Error,
    auth::CurrentUser,
    community::{NewCollection, create_collection},
    models::{NewProvider, ProviderKind, create_provider},
    outbound::OutboundPolicy,
    quotas::{Quotas, find_usage, set_user_quotas},
    runs::{
        Answer, EvaluationError, EvaluationOutcome, Logprobs, NewEvaluation, ScoredLine,
        Settlement, load_work, record,
    },
    sealing::MasterKey,
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

async fn allow(conn: &mut PgConnection, owner: &CurrentUser, quotas: Quotas) {
    let administrator = fixtures::administrator();
    set_user_quotas(conn, &administrator, &owner.username, &quotas)
        .await
        .unwrap();
}

async fn stored_bytes(conn: &mut PgConnection, owner: &CurrentUser) -> i64 {
    find_usage(conn, owner).await.unwrap().stored_bytes.used
}

#[tokio::test]
async fn a_free_provider_without_prices_is_as_free_as_a_simulated_one() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 20).await;
    let local = NewProvider {
        name: "local".into(),
        kind: ProviderKind::Openai,
        base_url: Some("http://127.0.0.1:1/v1".into()),
        settings: serde_json::Map::new(),
        credential: None,
        free: Some(true),
    };
    let master_key = MasterKey::parse(&"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=".into());
    create_provider(
        conn,
        &fixtures::administrator(),
        &master_key.unwrap(),
        &OutboundPolicy::local(),
        local,
    )
    .await
    .unwrap();
    let quotas = Quotas {
        free_evaluations: Some(50),
        ..Quotas::default()
    };
    allow(conn, &owner, quotas).await;
    // Two prompts on twenty items are forty evaluations.
    let request = fixtures::request(json!(["local:small"]), 1);
    submit_run(conn, &owner, &request, None).await.unwrap();
    let usage = find_usage(conn, &owner).await.unwrap();
    assert_eq!(usage.free_evaluations.used, 40);
    let refused = submit_run(conn, &owner, &request, None).await;
    assert!(
        matches!(&refused, Err(Error::QuotaExceeded(message)) if message.contains("50 free evaluations")),
        "{refused:?}"
    );
    // What costs money is bounded by budgets.
    let paid = fixtures::request(json!(["simulated:strong", "local:small"]), 1);
    let refused = submit_run(conn, &owner, &paid, None).await;
    assert!(matches!(refused, Err(Error::QuotaExceeded(_))));
}

#[tokio::test]
async fn errors_reasons_and_rows_are_stored_too() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 20).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    let shard: Uuid = sqlx::query_scalar("select id from shards where run_id = $1 limit 1")
        .bind(run.id)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    let mut keys = work.keys(&lease);
    let before = stored_bytes(conn, &owner).await;
    let failed = EvaluationError::new("http", "e".repeat(1_000));
    let logprobs = json!({"mean": -0.5, "tokens": [{"token": "t".repeat(1_000), "logprob": -0.5}], "left_out": 0});
    let scored = NewEvaluation {
        key: keys.next().unwrap(),
        outcome: EvaluationOutcome {
            score: Some(1.0),
            passed: Some(true),
            scores: vec![ScoredLine {
                scorer: "equals".into(),
                metric: None,
                outcome: "scored".into(),
                score: Some(1.0),
                pass: Some(true),
                reason: "r".repeat(1_000),
            }],
            error: None,
        },
        answer: Some(Answer {
            output: Some("o".repeat(1_000)),
            logprobs: Some(serde_json::from_value::<Logprobs>(logprobs).unwrap()),
            ..Answer::default()
        }),
        attempts: 1,
        ..NewEvaluation::default()
    };
    let mut batch = vec![scored];
    batch.extend(keys.next().map(|key| NewEvaluation::failed(key, failed, 1)));
    let rows = i64::try_from(batch.len()).unwrap();
    record(conn, &lease, &batch, Settlement::default())
        .await
        .unwrap();
    let after = stored_bytes(conn, &owner).await;
    // An output, its log probabilities and a reason; an error, if the shard has room for it; and the rows themselves.
    let expected = 3_000 + (rows - 1) * 1_000 + rows * 500;
    assert!(after - before >= expected, "{before} {after} {rows}");

    let collection = NewCollection {
        title: "Long".into(),
        description: "d".repeat(10_000),
        visibility: None,
    };
    create_collection(conn, &owner, collection.clone())
        .await
        .unwrap();
    let with_it = stored_bytes(conn, &owner).await;
    assert!(with_it - after >= 10_000, "{after} {with_it}");
    let quotas = Quotas {
        stored_bytes: Some(with_it + 10_000),
        ..Quotas::default()
    };
    allow(conn, &owner, quotas).await;
    let refused = create_collection(conn, &owner, collection).await;
    assert!(
        matches!(refused, Err(Error::QuotaExceeded(_))),
        "{refused:?}"
    );
}
