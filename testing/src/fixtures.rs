//! Ready-made users, benchmarks, prompts and runs.

use opb_core::{
    auth::{CurrentUser, Visibility, system_user},
    benchmarks::{Definition, Item, publish_benchmark},
    library::{NewPrompt, ensure_prompt},
    models::{ModelRequest, Price, ProviderKind, ensure_provider, set_price},
    runs::{Run, SubmitRun, submit_run},
    template::PromptBody,
};
use serde_json::{Map, json};
use sqlx::PgConnection;

/// The slug of the benchmark that [`library`] makes.
pub const BENCHMARK: &str = "sums";

/// Makes a benchmark of so many sums, the prompts `plain` and `steps`, and the simulated provider.
/// Returns the user that owns it all.
///
/// # Panics
/// The database refuses something.
pub async fn library(conn: &mut PgConnection, items: usize) -> CurrentUser {
    let owner = system_user(conn).await.expect("the owner is made");
    publish_benchmark(conn, &owner, &sums(items))
        .await
        .expect("the benchmark is published");
    for (slug, text) in [
        ("plain", "{{ question }}"),
        (
            "steps",
            "{{ question }}\nThink step by step. End with: The answer is",
        ),
    ] {
        let prompt = NewPrompt {
            slug: Some(slug.into()),
            ..NewPrompt::new(slug, PromptBody::Text { text: text.into() })
        };
        ensure_prompt(conn, &owner, prompt)
            .await
            .expect("the prompt is added");
    }
    let provider = ensure_provider(conn, "simulated", ProviderKind::Simulated, None).await;
    let provider = provider.expect("the provider is added");
    for (name, dollars) in [("strong", 3), ("balanced", 1), ("fast", 1), ("weak", 0)] {
        let price = Price::new(dollars * 1_000_000, dollars * 5_000_000);
        set_price(conn, provider, name, price)
            .await
            .expect("the price is set");
    }
    owner
}

/// A benchmark of sums.
///
/// # Panics
/// Never: its scorer is a constant.
#[must_use]
pub fn sums(items: usize) -> Definition {
    let item = |number: usize| {
        let (left, right) = (17 + number * 7 % 90, 3 + number * 13 % 80);
        Item {
            id: format!("sum-{number}"),
            vars: Map::from_iter([(
                "question".to_owned(),
                json!(format!("What is {left} + {right}?")),
            )]),
            expected: Some(json!(left + right)),
            metadata: Map::new(),
            scorers: None,
        }
    };
    Definition {
        slug: BENCHMARK.into(),
        title: "Sums".into(),
        description: String::new(),
        source: Map::new(),
        visibility: Visibility::Public,
        scorers: serde_json::from_value(json!([{"type": "numeric"}])).expect("the scorer is one"),
        items: (0..items).map(item).collect(),
    }
}

/// A request for a run of both prompts on these models, as JSON values of a [`ModelRequest`].
///
/// # Panics
/// A model is not a model request.
#[must_use]
pub fn request(models: serde_json::Value, repeats: i32) -> SubmitRun {
    let models: Vec<ModelRequest> =
        serde_json::from_value(models).expect("the models are model requests");
    SubmitRun {
        benchmark: BENCHMARK.into(),
        prompts: vec!["plain".into(), "steps".into()],
        models,
        repeats,
        limit: None,
        budget_microusd: None,
        priority: 0,
        cache: true,
        stop_early: false,
        seed: 7,
        name: String::new(),
        visibility: Visibility::Public,
    }
}

/// Submits [`request`].
///
/// # Panics
/// The run is refused.
pub async fn submit(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    models: serde_json::Value,
    repeats: i32,
) -> Run {
    submit_run(conn, owner, &request(models, repeats), None)
        .await
        .expect("the run is accepted")
}
