//! A prompt with an image: rendered from an item, sent, scored, cached and bounded in cost.

use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use std::time::Duration;

use opb_core::{
    auth::{CurrentUser, Visibility},
    benchmarks::publish_benchmark,
    library::{NewPrompt, ensure_prompt},
    models::{ModelPrice, update_price},
    runs::{RunState, SubmitRun, find_prospect, list_evaluations},
};
use serde_json::json;
use sqlx::PgConnection;

use crate::{
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
    stand_in::{self, PRICE},
};

const PIXEL: &str = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";
const ALLOWED: [&str; 2] = ["--allow-outbound", "127.0.0.1"];
/// Tokens of an answer, at most.
const ANSWER: i64 = 100;

/// A benchmark of so many photos, and the prompt `look` that asks what is on them.
async fn library(conn: &mut PgConnection, items: usize) -> CurrentUser {
    let owner = fixtures::library(conn, 1).await;
    let mut photos = fixtures::sums(items);
    photos.slug = "photos".into();
    for (number, item) in photos.items.iter_mut().enumerate() {
        // The last one is none.
        let url = if number + 1 < items {
            PIXEL
        } else {
            "http://127.0.0.1/secret"
        };
        item.vars.insert("photo".into(), json!(url));
    }
    publish_benchmark(
        conn,
        &owner,
        &photos.checked().unwrap(),
        Visibility::default(),
    )
    .await
    .unwrap();
    let body = json!({"kind": "chat", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "{{ question }}"},
        {"type": "image", "url": "{{ photo }}"},
    ]}]});
    let prompt = NewPrompt {
        slug: Some("look".into()),
        visibility: Some(Visibility::Public),
        ..NewPrompt::new("look", serde_json::from_value(body).unwrap())
    };
    ensure_prompt(conn, &owner, prompt).await.unwrap();
    owner
}

fn request(budget_microusd: Option<i64>) -> SubmitRun {
    let models =
        json!([{"model": "counted:any", "parameters": {"max_tokens": ANSWER, "stream": false}}]);
    SubmitRun {
        benchmark: "photos".into(),
        prompts: vec!["look".into()],
        budget_microusd,
        ..fixtures::request(models, 1)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_an_item_is_asked_about_once() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = library(conn, 5).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    let worker = RunningWorker::start(&db, &ALLOWED);
    for calls in [4, 4] {
        let run = submit_run(conn, &owner, &request(None), None)
            .await
            .unwrap();
        let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
        assert_eq!(
            (run.state, run.errors),
            (RunState::Completed, 1),
            "{run:#?}"
        );
        assert_eq!(
            books.calls(),
            calls,
            "the second time they are in the cache"
        );
        assert_counted_once(&db, &run).await;
        let errors = list_evaluations(
            conn,
            &run,
            &opb_core::runs::EvaluationFilter {
                state: Some(opb_core::runs::EvaluationState::Error),
                ..Default::default()
            },
            None,
            10,
        )
        .await
        .unwrap()
        .evaluations;
        assert_eq!(errors[0].error_kind.as_deref(), Some("template"));
        let error = errors[0].error.as_deref().unwrap();
        assert!(
            error.contains("data URL") && !error.contains("secret"),
            "{error}"
        );
    }
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_bounded_in_what_it_can_cost() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = library(conn, 40).await;
    let books = stand_in::start(conn, Duration::from_millis(5), None).await;
    let by_tokens = |tokens: i64| tokens * PRICE.input_microusd_per_mtok / 1_000_000;
    let high = async |conn: &mut PgConnection| {
        let estimate = find_prospect(conn, &owner, &request(None))
            .await
            .unwrap()
            .estimate();
        estimate.cost_microusd.unwrap().high
    };
    let by_kind = high(conn).await;
    assert!(by_kind >= 40 * by_tokens(50_000) * 39 / 40, "{by_kind}");
    // Not one image fits, whatever it would take in truth.
    let poor = request(Some(by_tokens(50_000)));
    let run = submit_run(conn, &owner, &poor, None).await.unwrap();
    let worker = RunningWorker::start(&db, &ALLOWED);
    let run = wait_for(&db, &owner, run.id, |run| run.state == RunState::Paused).await;
    assert_eq!((books.calls(), run.spend_microusd), (0, 0), "{run:#?}");
    worker.stop().await;
    // Whoever knows the model better says so with its price.
    let price = ModelPrice {
        model: "any".into(),
        input_microusd_per_mtok: PRICE.input_microusd_per_mtok,
        output_microusd_per_mtok: PRICE.output_microusd_per_mtok,
        cached_input_microusd_per_mtok: None,
        reasoning_microusd_per_mtok: None,
        max_output_tokens: None,
        max_image_tokens: Some(1_000),
    };
    update_price(conn, &fixtures::administrator(), "counted", &price.into())
        .await
        .unwrap();
    assert!(high(conn).await < by_kind / 5);
    let worker = RunningWorker::start(&db, &ALLOWED);
    let run = submit_run(conn, &owner, &poor, None).await.unwrap();
    let run = wait_for(&db, &owner, run.id, |run| {
        run.state.has_ended() || run.state == RunState::Paused
    })
    .await;
    worker.stop().await;
    assert!(books.calls() > 0);
    assert!(run.spend_microusd <= by_tokens(50_000), "{run:#?}");
    assert!(books.billed_microusd() <= by_tokens(50_000));
}
