//! Estimates: nothing is written, and what was recorded is believed.

use opb_core::{
    auth::CurrentUser,
    models::{ModelPrice, update_price},
    runs::{
        Answer, Basis, Estimate, Interval, NewEvaluation, Settlement, SubmitRun, find_prospect,
        load_work, record,
    },
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

async fn estimate(conn: &mut PgConnection, owner: &CurrentUser, request: &SubmitRun) -> Estimate {
    find_prospect(conn, owner, request)
        .await
        .unwrap()
        .estimate()
}

#[tokio::test]
async fn an_estimate_follows_what_was_recorded() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let price = ModelPrice {
        model: "strong".into(),
        input_microusd_per_mtok: 1_000_000,
        output_microusd_per_mtok: 10_000_000,
        cached_input_microusd_per_mtok: None,
        reasoning_microusd_per_mtok: None,
        max_output_tokens: Some(80),
        max_image_tokens: None,
    };
    update_price(conn, &fixtures::administrator(), "simulated", &price.into())
        .await
        .unwrap();
    let request = fixtures::request(json!(["simulated:strong"]), 1);
    let rough = estimate(conn, &owner, &request).await;
    assert_eq!(
        (rough.evaluations, rough.columns[0].basis),
        (200, Basis::RoughRule)
    );
    let (low, expected, high) = (200, 200 * 40, 200 * 80);
    assert_eq!(
        rough.output_tokens,
        Interval {
            low,
            expected,
            high
        }
    );
    assert!(rough.input_tokens.low < rough.input_tokens.expected);
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from runs) + (select count(*) from models) + (select count(*) from shards)",
    )
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    assert_eq!(left, 0, "nothing is written");

    // A run of the prompt `plain`, of which some is recorded: 10 and 12 input tokens, 50 output tokens.
    let plain = SubmitRun {
        prompts: vec!["plain".into()],
        ..fixtures::request(json!(["simulated:strong"]), 1)
    };
    let run = submit_run(conn, &owner, &plain, None).await.unwrap();
    fixtures::cut_finely(conn, run.id).await;
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards")
        .fetch_all(&mut **conn)
        .await
        .unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    for shard in &shards[..40] {
        let lease = fixtures::claim(conn, *shard).await.unwrap();
        let batch: Vec<NewEvaluation> = work
            .keys(&lease)
            .map(|key| NewEvaluation {
                key,
                attempts: 1,
                answer: Some(Answer {
                    input_tokens: Some(10 + key.item % 2 * 2),
                    output_tokens: Some(50),
                    ..Answer::default()
                }),
                ..NewEvaluation::default()
            })
            .collect();
        record(conn, &lease, &batch, Settlement::default())
            .await
            .unwrap();
    }
    let known = estimate(conn, &owner, &request).await;
    let bases: Vec<Basis> = known.columns.iter().map(|column| column.basis).collect();
    assert_eq!(bases, [Basis::SamePromptAndModel, Basis::SameModel]);
    assert!(known.columns[0].witnesses >= 40);
    let output = 200 * 50;
    assert_eq!(
        known.output_tokens,
        Interval {
            low: output,
            expected: output,
            high: output
        },
        "every answer had as many tokens"
    );
    let cost = known.cost_microusd.unwrap();
    assert!(
        cost.low < cost.expected && cost.expected < cost.high,
        "{cost:?}"
    );
    assert_eq!(cost.expected, known.input_tokens.expected + output * 10);

    let plain_only = estimate(conn, &owner, &plain).await;
    let input = plain_only.input_tokens;
    assert!((1_050..=1_150).contains(&input.expected), "{input:?}");
    assert!(
        input.low < input.expected && input.high - input.low < 200,
        "{input:?}"
    );
}

#[tokio::test]
async fn a_run_that_may_stop_early_may_take_less() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let whole = fixtures::request(json!(["simulated:strong"]), 1);
    let early = SubmitRun {
        stop_early: true,
        ..whole.clone()
    };
    let whole = estimate(conn, &owner, &whole).await;
    let early = estimate(conn, &owner, &early).await;
    assert_eq!(whole.calls.low, 200);
    let expect = Interval {
        low: 32,
        ..whole.calls
    };
    assert_eq!(
        early.calls, expect,
        "sixteen of a column's items may decide"
    );
    assert_eq!(
        early.output_tokens.expected, whole.output_tokens.expected,
        "nobody knows whether it will"
    );
    assert_eq!(early.evaluations, whole.evaluations);
    assert_eq!((whole.stop_early, early.stop_early), (false, true));
}
