//! Prices: which of several is in force, and what becomes of a file of them.

use opb_core::{
    Error,
    models::{
        CredentialChange, CurrentPrice, ModelPrice, NewProvider, PriceSource, ProviderChange,
        ProviderKind, create_provider, ensure_provider, import_litellm, list_prices,
        load_shipped_prices, update_price, update_provider,
    },
    outbound::OutboundPolicy,
    runs::{
        Answer, EvaluationFilter, NewEvaluation, Settlement, list_evaluations, load_work, record,
    },
    sealing::MasterKey,
};
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::{Map, Value, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

const GROQ: &str = "https://api.groq.com/openai/v1";

async fn load_shipped(conn: &mut PgConnection) {
    let mut tx = conn.begin().await.unwrap();
    load_shipped_prices(&mut tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn current(conn: &mut PgConnection, provider: &str, model: &str) -> Option<CurrentPrice> {
    let prices = list_prices(conn, Some(provider)).await.unwrap();
    prices.into_iter().find(|price| price.model == model)
}

fn by_hand(model: &str) -> ModelPrice {
    ModelPrice {
        model: model.into(),
        input_microusd_per_mtok: 7,
        output_microusd_per_mtok: 9,
        cached_input_microusd_per_mtok: Some(1),
        reasoning_microusd_per_mtok: None,
        max_output_tokens: None,
        max_image_tokens: None,
    }
}

fn file(model: &str, dollars_per_token: f64) -> Map<String, Value> {
    let row = json!({
        "litellm_provider": "groq", "mode": "chat",
        "input_cost_per_token": dollars_per_token, "output_cost_per_token": 2.0 * dollars_per_token,
    });
    Map::from_iter([(model.to_owned(), row)])
}

#[tokio::test]
async fn what_is_set_by_hand_goes_before_what_is_imported_and_that_before_what_is_shipped() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let model = "openai/gpt-oss-20b";
    ensure_provider(conn, "g", ProviderKind::Openai, Some(GROQ))
        .await
        .unwrap();
    assert!(current(conn, "g", model).await.is_none());

    load_shipped(conn).await;
    let shipped = current(conn, "g", model).await.unwrap();
    assert_eq!(
        (shipped.input_microusd_per_mtok, shipped.source),
        (75_000, PriceSource::Shipped)
    );

    let import = import_litellm(
        conn,
        &fixtures::administrator(),
        &file("groq/openai/gpt-oss-20b", 1e-6),
    )
    .await
    .unwrap();
    assert_eq!((import.added, import.changed, import.unchanged), (0, 1, 0));
    load_shipped(conn).await;
    let imported = current(conn, "g", model).await.unwrap();
    assert_eq!(
        (imported.input_microusd_per_mtok, imported.source),
        (1_000_000, PriceSource::Litellm),
        "a restart does not bring the shipped price back"
    );

    update_price(
        conn,
        &fixtures::administrator(),
        "g",
        &by_hand(model).into(),
    )
    .await
    .unwrap();
    let import = import_litellm(
        conn,
        &fixtures::administrator(),
        &file("groq/openai/gpt-oss-20b", 2e-6),
    )
    .await
    .unwrap();
    assert_eq!(import.changed, 1);
    load_shipped(conn).await;
    let set = current(conn, "g", model).await.unwrap();
    assert_eq!(
        (set.input_microusd_per_mtok, set.source),
        (7, PriceSource::Hand)
    );
    assert_eq!(set.cached_input_microusd_per_mtok, Some(1));

    let import = import_litellm(
        conn,
        &fixtures::administrator(),
        &file("groq/brand-new", 1e-6),
    )
    .await
    .unwrap();
    assert_eq!((import.added, import.changed), (1, 0));
    let import = import_litellm(
        conn,
        &fixtures::administrator(),
        &file("groq/brand-new", 1e-6),
    )
    .await
    .unwrap();
    assert_eq!((import.added, import.changed, import.unchanged), (0, 0, 1));
}

#[tokio::test]
async fn published_prices_belong_to_an_address() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    load_shipped(conn).await;
    let key = MasterKey::parse(&"5HI046TDhlz9GPdphmEzct2oXt2uPVenx8i3oJ0AJD8=".into()).unwrap();
    let public = OutboundPolicy::default();
    let add =
        async |conn: &mut PgConnection, name: &str, kind, url: Option<&str>, settings: Value| {
            let new = NewProvider {
                name: name.into(),
                kind,
                base_url: url.map(Into::into),
                settings: settings.as_object().cloned().unwrap(),
                free: None,
                credential: None,
            };
            create_provider(conn, &fixtures::administrator(), &key, &public, new).await
        };
    let openai = ProviderKind::Openai;
    add(
        conn,
        "groq",
        openai,
        Some("https://API.groq.com/openai/v1/"),
        json!({}),
    )
    .await
    .unwrap();
    add(
        conn,
        "other",
        openai,
        Some("https://groq.example.org/openai/v1"),
        json!({}),
    )
    .await
    .unwrap();
    let region = json!({"region": "eu-central-1"});
    let bedrock = add(conn, "aws", ProviderKind::Bedrock, None, region)
        .await
        .unwrap();
    assert_eq!(
        bedrock.base_url.as_deref(),
        Some("https://bedrock-runtime.eu-central-1.amazonaws.com")
    );
    add(conn, "echo", ProviderKind::Echo, None, json!({}))
        .await
        .unwrap();
    let model = "openai/gpt-oss-20b";
    assert!(current(conn, "groq", model).await.is_some());
    assert!(current(conn, "aws", "amazon.nova-pro-v1:0").await.is_some());
    assert!(current(conn, "other", model).await.is_none());
    let moved = ProviderChange {
        base_url: Some("https://groq.example.org/v1".into()),
        credential: CredentialChange::Keep,
        settings: None,
        ..ProviderChange::default()
    };
    let mut tx = conn.begin().await.unwrap();
    update_provider(
        &mut tx,
        &fixtures::administrator(),
        &key,
        &public,
        "groq",
        moved,
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    assert!(
        current(conn, "groq", model).await.is_none(),
        "its prices stay behind"
    );

    for (kind, url, settings, path) in [
        (
            ProviderKind::Echo,
            Some("https://example.org"),
            json!({}),
            "base_url",
        ),
        (ProviderKind::Bedrock, None, json!({}), "settings"),
        (ProviderKind::Anthropic, None, json!({}), "base_url"),
        (
            ProviderKind::Gemini,
            Some("https://example.org"),
            json!({"a": 1}),
            "settings.a",
        ),
    ] {
        let Err(Error::Invalid(fields)) = add(conn, "wrong", kind, url, settings).await else {
            panic!("{kind:?} accepted");
        };
        assert_eq!(fields[0].path, path);
    }
}

#[tokio::test]
async fn an_echo_is_free_bounded_and_not_real() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    ensure_provider(conn, "echo", ProviderKind::Echo, None)
        .await
        .unwrap();
    let mut request = fixtures::request(json!(["echo:any"]), 1);
    request.budget_microusd = Some(0);
    let run = submit_run(conn, &owner, &request, None).await.unwrap();
    assert!(run.simulated);
    let work = load_work(conn, run.id).await.unwrap();
    let price = work.models[0].price.unwrap();
    assert_eq!(
        (
            price.input_microusd_per_mtok,
            price.output_microusd_per_mtok
        ),
        (0, 0)
    );
}

#[tokio::test]
async fn tokens_of_the_cache_and_of_reasoning_are_kept_apart() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:fast"]), 1).await;
    let shard: Uuid = sqlx::query_scalar("select id from shards")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    let lease = fixtures::claim(conn, shard);
    let lease = lease.await.unwrap();
    let work = load_work(conn, run.id).await.unwrap();
    let key = work.keys(&lease).next().unwrap();
    let evaluation = NewEvaluation {
        key,
        attempts: 1,
        answer: Some(Answer {
            input_tokens: Some(100),
            cached_input_tokens: Some(60),
            output_tokens: Some(50),
            reasoning_tokens: Some(40),
            ..Answer::default()
        }),
        ..NewEvaluation::default()
    };
    record(conn, &lease, &[evaluation], Settlement::default())
        .await
        .unwrap();
    let kept = list_evaluations(conn, &run, &EvaluationFilter::default(), None, 10)
        .await
        .unwrap()
        .evaluations;
    assert_eq!(
        (kept[0].cached_input_tokens, kept[0].reasoning_tokens),
        (Some(60), Some(40))
    );
}

/// The published file itself; .config/nextest.toml leaves it out where there may be no copy of it.
#[tokio::test]
async fn with_data_the_published_file_is_imported_whole() {
    let path = std::env::var("MODEL_PRICES_PATH")
        .expect("MODEL_PRICES_PATH names litellm's model_prices_and_context_window.json");
    let text = std::fs::read_to_string(path).unwrap();
    let published: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    load_shipped(conn).await;
    let first = import_litellm(conn, &fixtures::administrator(), &published)
        .await
        .unwrap();
    let again = import_litellm(conn, &fixtures::administrator(), &published)
        .await
        .unwrap();
    let kept = first.added + first.changed + first.unchanged;
    assert!(kept > 500, "{first:?}");
    assert_eq!((again.added, again.changed, again.unchanged), (0, 0, kept));
    // The few that are wrong have no price at all, and are named.
    assert!(first.refused < kept / 10, "{first:?}");
    eprintln!("{first:#?}");
}
