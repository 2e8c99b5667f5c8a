//! Budgets: who is refused, and where the money goes.

use opb_core::{
    Error,
    housekeeping::mend,
    models::{ModelPrice, update_price},
    runs::{
        self, Answer, NewEvaluation, Recorded, Reserved, RunRules, RunState, Settlement, SubmitRun,
        UpdateRun, add_spend, find_run, load_work, record, release_shard, reserve, set_quota,
    },
};
use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{submit_run, update_run},
};
use serde_json::{Value, json};
use uuid::Uuid;

fn request(model: &Value, budget_microusd: Option<i64>) -> SubmitRun {
    SubmitRun {
        budget_microusd,
        ..fixtures::request(json!([model]), 1)
    }
}

fn bounded() -> Value {
    json!({"model": "simulated:strong", "parameters": {"max_tokens": 10}})
}

#[tokio::test]
async fn a_budget_needs_a_bound_on_every_call() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let unbounded = request(&json!("simulated:strong"), Some(1));
    let refused = submit_run(conn, &owner, &unbounded, None);
    let Err(Error::Invalid(fields)) = refused.await else {
        panic!("accepted")
    };
    assert_eq!(fields[0].path, "models[0]");
    assert!(fields[0].message.contains("max_tokens"), "{fields:?}");
    let known = ModelPrice {
        model: "strong".into(),
        input_microusd_per_mtok: 1,
        output_microusd_per_mtok: 1,
        cached_input_microusd_per_mtok: None,
        reasoning_microusd_per_mtok: None,
        max_output_tokens: Some(100),
        max_image_tokens: None,
    };
    update_price(conn, &fixtures::administrator(), "simulated", &known.into())
        .await
        .unwrap();
    submit_run(
        conn,
        &owner,
        &request(&json!("simulated:strong"), Some(1)),
        None,
    )
    .await
    .unwrap();
    sqlx::query("update providers set kind = 'openai', base_url = 'http://127.0.0.1/v1'")
        .execute(&mut **conn)
        .await
        .unwrap();
    let unknown = json!({"model": "simulated:new", "parameters": {"max_tokens": 10}});
    let unknown = request(&unknown, Some(1));
    let refused = submit_run(conn, &owner, &unknown, None);
    let Err(Error::Invalid(fields)) = refused.await else {
        panic!("accepted")
    };
    assert!(
        fields[0].message.contains("opb provider set-price"),
        "{fields:?}"
    );
    let negative = submit_run(conn, &owner, &request(&bounded(), Some(-1)), None).await;
    assert!(negative.is_err());
}

#[tokio::test]
#[expect(
    clippy::too_many_lines,
    reason = "one purse is followed from its first cent to its last"
)]
async fn money_is_reserved_settled_given_back_and_never_forgotten() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let run = submit_run(conn, &owner, &request(&bounded(), Some(1_000)), None)
        .await
        .unwrap();
    fixtures::cut_finely(conn, run.id).await;
    let shards: Vec<Uuid> = sqlx::query_scalar("select id from shards order by first_ordinal")
        .fetch_all(&mut **conn)
        .await
        .unwrap();
    let mut leases = Vec::new();
    for shard in &shards[..3] {
        leases.push(fixtures::claim(conn, *shard).await.unwrap());
    }
    let [first, second, third] = leases[..] else {
        panic!("three leases")
    };
    assert_eq!(
        reserve(conn, &first, &[400]).await.unwrap(),
        Reserved::Calls(1)
    );
    assert_eq!(
        reserve(conn, &second, &[300, 300, 300]).await.unwrap(),
        Reserved::Calls(2)
    );
    assert_eq!(
        reserve(conn, &third, &[1]).await.unwrap(),
        Reserved::Nothing,
        "others hold all of it"
    );
    assert!(
        fixtures::claim(conn, shards[3]).await.is_none(),
        "as long as nothing of it comes back"
    );
    let now = async |conn: &mut sqlx::PgConnection| {
        let run = find_run(conn, Some(&owner), run.id).await.unwrap();
        let money = (
            run.spend_microusd,
            run.reserved_microusd,
            run.unaccounted_microusd,
        );
        (run.state, money)
    };
    assert_eq!(now(conn).await, (RunState::Running, (0, 1_000, 0)));

    let work = load_work(conn, run.id).await.unwrap();
    let batch: Vec<NewEvaluation> = work
        .keys(&first)
        .map(|key| NewEvaluation {
            key,
            answer: Some(Answer {
                cost_microusd: Some(250),
                ..Answer::default()
            }),
            ..NewEvaluation::default()
        })
        .collect();
    for kept in [1, 0] {
        let settlement = Settlement {
            keep_microusd: 0,
            unaccounted_microusd: 50,
        };
        let recorded = record(conn, &first, &batch, settlement).await.unwrap();
        assert_eq!(recorded, Recorded::Kept(kept));
        assert_eq!(
            now(conn).await,
            (RunState::Running, (250, 600, 50)),
            "recording twice settles once"
        );
    }
    assert!(
        fixtures::claim(conn, shards[3]).await.is_some(),
        "some of it came back"
    );
    sqlx::query("update shards set lease_until = now() - interval '1 second' where id = $1")
        .bind(second.shard_id)
        .execute(&mut **conn)
        .await
        .unwrap();
    mend(conn).await.unwrap();
    assert_eq!(now(conn).await, (RunState::Running, (250, 0, 650)));
    assert_eq!(
        reserve(conn, &second, &[1]).await.unwrap(),
        Reserved::Fenced
    );
    add_spend(conn, run.id, 200).await.unwrap();
    assert_eq!(
        now(conn).await,
        (RunState::Running, (450, 0, 450)),
        "the late worker tells what it really spent"
    );
    assert_eq!(
        reserve(conn, &third, &[60, 60]).await.unwrap(),
        Reserved::Calls(1)
    );
    release_shard(conn, &third, 10).await.unwrap();
    assert_eq!(now(conn).await, (RunState::Running, (450, 0, 460)));

    assert_eq!(
        reserve(conn, &first, &[91]).await.unwrap(),
        Reserved::Nothing
    );
    let paused = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!(
        paused.state,
        RunState::Paused,
        "nobody holds money, and it does not fit"
    );
    assert!(
        paused.state_reason.contains("$0.00045 spent"),
        "{}",
        paused.state_reason
    );

    let change = |budget_microusd| UpdateRun {
        budget_microusd: Some(budget_microusd),
        ..UpdateRun::default()
    };
    let Err(Error::Invalid(fields)) = update_run(conn, &owner, run.id, &change(909)).await else {
        panic!("accepted")
    };
    assert_eq!(fields[0].path, "budget_microusd");
    update_run(conn, &owner, run.id, &change(910))
        .await
        .unwrap();
    let overspent = sqlx::query("update runs set spend_microusd = spend_microusd + 1")
        .execute(&mut **conn)
        .await;
    let constraint = overspent.unwrap_err();
    let constraint = constraint.as_database_error().unwrap().constraint();
    assert_eq!(
        constraint,
        Some("runs_budget_check"),
        "the table itself refuses"
    );
}

/// Rules that let a user spend so much a day.
fn spending(user_daily_budget: i64) -> RunRules {
    RunRules {
        user_daily_budget,
        ..RunRules::default()
    }
}

#[tokio::test]
async fn a_quota_bounds_what_the_runs_of_a_day_can_spend() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    sqlx::query("update users set role = 'user'")
        .execute(&mut **conn)
        .await
        .unwrap();
    let rules = spending(10_000);
    let submit = async |conn: &mut sqlx::PgConnection, budget| {
        runs::submit_run(conn, &owner, &request(&bounded(), budget), None, &rules).await
    };
    submit(conn, None).await.unwrap(); // Simulated models cost nothing.
    sqlx::query("update providers set kind = 'openai', base_url = 'http://127.0.0.1/v1'")
        .execute(&mut **conn)
        .await
        .unwrap();
    sqlx::query("delete from runs")
        .execute(&mut **conn)
        .await
        .unwrap();
    assert!(matches!(submit(conn, None).await, Err(Error::Invalid(_))));
    assert!(matches!(
        submit(conn, Some(10_001)).await,
        Err(Error::QuotaExceeded(_))
    ));
    let first = submit(conn, Some(6_000)).await.unwrap();
    assert!(matches!(
        submit(conn, Some(4_001)).await,
        Err(Error::QuotaExceeded(_))
    ));
    add_spend(conn, first.id, 1_000).await.unwrap();
    opb_core::runs::cancel_run(conn, &owner, first.id)
        .await
        .unwrap();
    let second = submit(conn, Some(9_000)).await.unwrap();
    assert!(
        matches!(submit(conn, Some(999)).await, Err(Error::QuotaExceeded(_))),
        "the thousand count"
    );
    sqlx::query("update runs set finished_at = now() - interval '25 hours' where id = $1")
        .bind(first.id)
        .execute(&mut **conn)
        .await
        .unwrap();
    submit(conn, Some(1_000)).await.unwrap();
    set_quota(conn, &fixtures::administrator(), &owner.username, Some(0))
        .await
        .unwrap();
    // As much again, which is nothing more.
    let change = UpdateRun {
        budget_microusd: Some(9_000),
        ..UpdateRun::default()
    };
    let refused = runs::update_run(conn, &owner, second.id, &change, &spending(1_000_000)).await;
    assert!(matches!(refused, Err(Error::QuotaExceeded(_))));
    set_quota(conn, &fixtures::administrator(), &owner.username, None)
        .await
        .unwrap();
    sqlx::query("update users set role = 'admin'")
        .execute(&mut **conn)
        .await
        .unwrap();
    runs::update_run(conn, &owner, second.id, &change, &spending(0))
        .await
        .unwrap();
    assert!(
        set_quota(conn, &fixtures::administrator(), "nobody", None)
            .await
            .is_err()
    );
}

/// B8: a price of zero, and no price at a provider that is free, need neither budget nor bound nor quota.
#[tokio::test]
async fn what_costs_nothing_needs_no_budget_and_counts_against_no_quota() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let set = async |conn: &mut sqlx::PgConnection, statement: &'static str| {
        sqlx::query(statement).execute(conn).await.unwrap();
    };
    set(conn, "update users set role = 'user'").await;
    let real = "update providers set kind = 'openai', base_url = 'http://127.0.0.1/v1'";
    set(conn, real).await;
    // Nothing may be spent, and the models' parameters bound nothing.
    let rules = spending(0);
    let submit = async |conn: &mut sqlx::PgConnection, budget| {
        let request = request(&json!("simulated:strong"), budget);
        runs::submit_run(conn, &owner, &request, None, &rules).await
    };
    assert!(matches!(submit(conn, None).await, Err(Error::Invalid(_))));
    for free in [
        "update model_prices set input_microusd_per_mtok = 0, output_microusd_per_mtok = 0",
        "with gone as (delete from model_prices) update providers set free = true",
    ] {
        set(conn, free).await;
        submit(conn, None).await.unwrap();
        let run = submit(conn, Some(5)).await.unwrap();
        let work = load_work(conn, run.id).await.unwrap();
        assert!(work.models[0].price.unwrap().is_free(), "{free}");
    }
    set(conn, "update providers set free = false").await;
    assert!(matches!(submit(conn, None).await, Err(Error::Invalid(_))));
    assert!(matches!(
        submit(conn, Some(5)).await,
        Err(Error::Invalid(_))
    ));
}
