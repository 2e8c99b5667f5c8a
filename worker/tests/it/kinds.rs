//! A run on a provider of another kind than `OpenAI`'s: asked its way, scored, and priced with what its cache saved.

use std::sync::Arc;

use opb_core::{
    models::{
        ModelPrice, NewProvider, ProviderKind, create_provider, ensure_provider, update_price,
    },
    outbound::OutboundPolicy,
    runs::{RunState, list_evaluations},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::{Map, json};
use tokio::{net::TcpListener, sync::Mutex};

use crate::{
    harness::{RunningWorker, master_key, wait_for},
    runs::assert_counted_once,
    stand_in::answer_all,
};

const SETTINGS: [&str; 2] = ["--allow-outbound", "127.0.0.1"];

#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_scored_and_its_cache_is_cheap() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let provider = NewProvider {
        name: "messages".into(),
        kind: ProviderKind::Anthropic,
        base_url: Some(format!("http://{}/v1", listener.local_addr().unwrap())),
        settings: Map::new(),
        free: None,
        credential: Some("sk-canary-canary".into()),
    };
    create_provider(
        conn,
        &fixtures::administrator(),
        &master_key(),
        &OutboundPolicy::local(),
        provider,
    )
    .await
    .unwrap();
    let price = ModelPrice {
        model: "any".into(),
        input_microusd_per_mtok: 1_000_000,
        output_microusd_per_mtok: 5_000_000,
        cached_input_microusd_per_mtok: Some(100_000),
        reasoning_microusd_per_mtok: None,
        max_output_tokens: None,
        max_image_tokens: None,
    };
    update_price(conn, &fixtures::administrator(), "messages", &price.into())
        .await
        .unwrap();
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let answer = json!({
        "type": "message", "role": "assistant", "stop_reason": "end_turn",
        "content": [{"type": "text", "text": "20 sk-canary-canary"}],
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "cache_creation_input_tokens": 0, "output_tokens": 4},
    });
    tokio::spawn(answer_all(
        listener,
        Arc::clone(&bodies),
        answer.to_string(),
    ));
    let run = fixtures::submit(conn, &owner, json!(["messages:any"]), 1).await;
    let worker = RunningWorker::start(&db, &SETTINGS);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.errors),
        (RunState::Completed, 0),
        "{run:#?}"
    );
    // 10 tokens at a dollar, 100 at ten cents, 4 at five dollars, for a million each; two items under two prompts.
    assert_eq!(run.cost_microusd, 4 * (10 + 10 + 20));
    assert_eq!(run.input_tokens, 4 * 110);
    assert_counted_once(&db, &run).await;
    let kept = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter::default(),
        None,
        10,
    )
    .await
    .unwrap()
    .evaluations;
    assert!(
        kept.iter()
            .all(|one| one.output.as_deref() == Some("20 [removed]")),
        "{kept:?}"
    );
    assert_eq!(kept[0].cached_input_tokens, Some(100));
    let bodies = bodies.lock().await;
    assert!(
        bodies.iter().all(|body| body["max_tokens"] == 4096),
        "{bodies:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_echo_needs_no_network() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    ensure_provider(conn, "echo", ProviderKind::Echo, None)
        .await
        .unwrap();
    let run = fixtures::submit(conn, &owner, json!(["echo:any"]), 1).await;
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.errors, run.cost_microusd),
        (RunState::Completed, 0, 0)
    );
    let kept = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter::default(),
        None,
        10,
    )
    .await
    .unwrap()
    .evaluations;
    assert!(
        kept[0].output.as_deref().unwrap().starts_with("What is "),
        "{kept:?}"
    );
    assert_eq!(kept[0].cost_microusd, Some(0));
}
