//! Ready-made users, benchmarks, prompts and runs.

use crate::without_rules::submit_run;
use std::time::Duration;

use opb_core::{
    auth::{CurrentUser, UserRole, Visibility, system_user},
    benchmarks::{Definition, Item, publish_benchmark},
    finishing::finish_run,
    library::{NewPrompt, ensure_prompt},
    models::{ModelRequest, Price, ProviderKind, ensure_provider, set_price},
    runs::{Run, ShardLease, SubmitRun, claim_shard},
    template::PromptBody,
};
use serde_json::{Map, json};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// The slug of the benchmark that [`library`] creates.
pub const BENCHMARK: &str = "sums";

/// Creates a benchmark of `items` sums, the prompts `plain` and `steps`, and the simulated provider. Returns the user
/// that owns them.
///
/// # Panics
/// The database refuses a statement.
pub async fn library(conn: &mut PgConnection, items: usize) -> CurrentUser {
    let owner = system_user(conn).await.expect("the owner is made");
    let definition = sums(items).checked().expect("the benchmark is right");
    publish_benchmark(conn, &owner, &definition, Visibility::default())
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
            visibility: Some(Visibility::Public),
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

/// A user with the rights of an administrator, who owns nothing.
#[must_use]
pub fn administrator() -> CurrentUser {
    CurrentUser {
        id: 0,
        username: "administrator".into(),
        role: UserRole::Admin,
    }
}

/// A benchmark of `items` sums.
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
        visibility: Some(Visibility::Public),
        scorers: serde_json::from_value(json!([{"type": "numeric"}])).expect("the scorer is one"),
        items: (0..items).map(item).collect(),
    }
}

/// A request for a run of both prompts on these models, given as JSON values of [`ModelRequest`].
///
/// # Panics
/// A model is not a valid [`ModelRequest`].
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
        concurrency: None,
        seed: 7,
        name: String::new(),
        visibility: Some(Visibility::Public),
    }
}

/// Submits a [`request`].
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

/// Divides a run whose shards nobody has claimed again, into about 64 shards however small they become.
///
/// # Panics
/// The database does not answer.
pub async fn cut_finely(conn: &mut PgConnection, run_id: Uuid) {
    for statement in [
        "delete from shards where run_id = $1",
        "with parts as (
            insert into shards (id, run_id, first_ordinal, size)
            select gen_random_uuid(), id, first, least(part, planned - first)
            from runs
            cross join lateral (select greatest(1, planned / 64)) as fine (part)
            cross join lateral generate_series(0, planned - 1, part) as first
            where id = $1
            returning id
        )
        update runs set shards_open = (select count(*) from parts) where id = $1",
    ] {
        sqlx::query(statement)
            .bind(run_id)
            .execute(&mut *conn)
            .await
            .expect("the run is divided again");
    }
}

/// Claims this shard. A worker's claim takes the first waiting shard, so the others are postponed meanwhile. `None`
/// if the shard cannot be claimed.
///
/// # Panics
/// The database does not answer.
pub async fn claim(conn: &mut PgConnection, shard: Uuid) -> Option<ShardLease> {
    let mut tx = conn.begin().await.expect("a transaction begins");
    put_off_others(&mut tx, shard, 1).await;
    let lease = claim_shard(&mut tx, "test", Duration::from_mins(1)).await;
    put_off_others(&mut tx, shard, -1).await;
    tx.commit().await.expect("the transaction ends");
    lease.expect("the database answers")
}

async fn put_off_others(tx: &mut PgConnection, shard: Uuid, days: i32) {
    let others = "update shards set available_at = available_at + make_interval(days => $2)
                  where id <> $1 and state = 'available'";
    let others = sqlx::query(others).bind(shard).bind(days).execute(tx).await;
    others.expect("the other shards wait");
}

/// Makes a run a firing of an hourly schedule: `tick` hours after a time 30 days ago.
///
/// # Panics
/// The database refuses it.
pub async fn fire(conn: &mut PgConnection, schedule: Uuid, tick: i32, run: Uuid) {
    let firing = "insert into firings (schedule_id, due_at, state, run_id)
                  values ($1, date_trunc('hour', now()) - interval '30 days' + make_interval(hours => $2), 'submitted', $3)";
    let firing = sqlx::query(firing).bind(schedule).bind(tick).bind(run);
    firing.execute(conn).await.expect("the firing is noted");
}

/// Completes a run of one prompt on one model, as if workers had recorded these scores, one per item, and an error
/// for each `None`. Each item took 100 ms and cost half a cent.
///
/// # Panics
/// The database refuses a statement.
pub async fn finish(conn: &mut PgConnection, run: Uuid, scores: &[Option<f32>]) {
    let evaluations = "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score,
                           passed, error_kind, attempts, latency_ms)
                       select $1, place - 1, 0, 0, 0, case when score is null then 'error' else 'scored' end::evaluation_state,
                              score, score = 1, case when score is null then 'timeout' end, 1, 100
                       from unnest($2::real[]) with ordinality as it (score, place)";
    let evaluations = sqlx::query(evaluations).bind(run).bind(scores);
    let recorded = evaluations.execute(&mut *conn).await;
    recorded.expect("the evaluations are recorded");
    let end = "update runs
               set state = 'finishing', recorded = planned, shards_open = 0, spend_microusd = 5000,
                   errors = (select count(*) from evaluations where run_id = id and state = 'error')
               where id = $1";
    let ended = sqlx::query(end).bind(run).execute(&mut *conn).await;
    ended.expect("every evaluation is there");
    finish_run(conn, run).await.expect("the run is completed");
}
