//! Answers that are there already are taken, and paid for once: by the cache, and by scoring a run again.

use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{extend_run, retry_run, submit_run},
};
use std::time::Duration;

use opb_core::{
    auth::{CurrentUser, Visibility},
    benchmarks::publish_benchmark,
    leaderboards::{BoardFilter, Leaderboard, load_leaderboard},
    runs::{
        Evaluation, ExtendRun, RescoreRun, Run, RunState, SubmitRun, list_evaluations,
        next_prunable, prunable, prune_run, rescore_run,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::{
    fairness::another,
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
    stand_in,
};

const ALLOWED: [&str; 2] = ["--allow-outbound", "127.0.0.1"];

fn request() -> SubmitRun {
    let models =
        json!([{"model": "counted:any", "parameters": {"stream": false, "max_tokens": 50}}]);
    fixtures::request(models, 2)
}

async fn ended(db: &TestDatabase, owner: &CurrentUser, run: &Run) -> Run {
    let run = wait_for(db, owner, run.id, |run| run.state.has_ended()).await;
    assert_counted_once(db, &run).await;
    assert_eq!(run.state, RunState::Completed, "{run:#?}");
    run
}

async fn evaluations(db: &TestDatabase, run: &Run) -> Vec<Evaluation> {
    let conn = &mut db.pool.acquire().await.unwrap();
    list_evaluations(
        conn,
        run,
        &opb_core::runs::EvaluationFilter::default(),
        None,
        1_000,
    )
    .await
    .unwrap()
    .evaluations
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_answered_is_not_asked_and_not_paid_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 10).await;
    let books = stand_in::start(conn, Duration::from_millis(20), None).await;
    let worker = RunningWorker::start(&db, &ALLOWED);
    let submit = async |request: SubmitRun| {
        let conn = &mut db.pool.acquire().await.unwrap();
        let run = submit_run(conn, &owner, &request, None).await.unwrap();
        let before = books.calls();
        (ended(&db, &owner, &run).await, books.calls() - before)
    };
    let (first, calls) = submit(request()).await;
    assert_eq!(calls, 40, "repeats never share an answer");
    assert_eq!(first.spend_microusd, books.billed_microusd());

    // The second run has no money at all, and needs none.
    let (second, calls) = submit(SubmitRun {
        budget_microusd: Some(0),
        ..request()
    })
    .await;
    assert_eq!((calls, second.spend_microusd), (0, 0));
    assert_eq!(
        (second.cost_microusd, second.passed, second.output_tokens),
        (first.cost_microusd, first.passed, first.output_tokens)
    );
    let (old, new) = (
        evaluations(&db, &first).await,
        evaluations(&db, &second).await,
    );
    for (old, new) in old.iter().zip(&new) {
        assert!(!old.cached && new.cached);
        assert_eq!((old.attempts, new.attempts), (1, 0));
        assert_eq!(
            (&old.output, old.latency_ms, old.score, old.cost_microusd),
            (&new.output, new.latency_ms, new.score, new.cost_microusd)
        );
        assert!(old.logprobs.is_some() && old.logprobs == new.logprobs);
    }
    // An answer that was taken is no answer to keep: the places still name the first run.
    let (third, calls) = submit(request()).await;
    assert_eq!((calls, third.spend_microusd), (0, 0));

    // Whatever differs is asked.
    for (what, other) in [
        (
            "another seed",
            SubmitRun {
                seed: 8,
                ..request()
            },
        ),
        (
            "another parameter",
            SubmitRun {
                models: serde_json::from_value(json!([
                    {"model": "counted:any", "parameters": {"stream": false, "max_tokens": 50, "temperature": 1}}
                ]))
                .unwrap(),
                ..request()
            },
        ),
        (
            "no cache",
            SubmitRun {
                cache: false,
                ..request()
            },
        ),
    ] {
        assert_eq!(submit(other).await.1, 40, "{what}");
    }
    let (more, calls) = submit(SubmitRun {
        repeats: 3,
        ..request()
    })
    .await;
    assert_eq!((calls, more.recorded), (20, 60), "the third repeat only");

    // Nobody learns from a fast answer what somebody else has asked.
    let other = another(conn).await;
    let run = submit_run(conn, &other, &request(), None).await.unwrap();
    let before = books.calls();
    ended(&db, &other, &run).await;
    assert_eq!(books.calls() - before, 40);

    // A run that was deleted took its answers with it.
    sqlx::query("delete from evaluations where run_id <> $1")
        .bind(run.id)
        .execute(&mut **conn)
        .await
        .unwrap();
    assert_eq!(submit(request()).await.1, 40);
    assert_eq!(submit(request()).await.1, 0, "and it is kept again");
    worker.stop().await;
}

fn rescore(benchmark: &str) -> RescoreRun {
    RescoreRun {
        benchmark: benchmark.into(),
        name: "by spaces".into(),
        visibility: None,
    }
}

async fn check_refusals_of_benchmarks(conn: &mut PgConnection, owner: &CurrentUser, run: Uuid) {
    let error = rescore_run(conn, owner, run, &rescore("nothing@1"), Visibility::Public).await;
    assert!(error.is_err());
    let mut strange = fixtures::sums(3);
    strange.slug = "strange".into();
    for item in &mut strange.items {
        item.id.insert_str(0, "other-");
    }
    publish_benchmark(conn, owner, &strange.checked().unwrap(), Visibility::Public)
        .await
        .unwrap();
    let error = rescore_run(conn, owner, run, &rescore("strange"), Visibility::Public).await;
    let error = format!("{:?}", error.unwrap_err());
    assert!(error.contains("items match if their ids"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_scored_again_without_a_call() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 10).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    let worker = RunningWorker::start(&db, &ALLOWED);
    let without_cache = SubmitRun {
        cache: false,
        ..request()
    };
    let run = submit_run(conn, &owner, &without_cache, None)
        .await
        .unwrap();
    let first = ended(&db, &owner, &run).await;
    let calls = books.calls();

    // Other scorers, the first three items in another order, one whose question changed, and one that is new.
    let mut definition = fixtures::sums(11);
    definition.scorers =
        serde_json::from_value(json!([{"type": "contains", "value": " "}])).unwrap();
    definition.items.swap(0, 2);
    definition.items[5]
        .vars
        .insert("question".into(), json!("What is 1 + 1?"));
    publish_benchmark(
        conn,
        &owner,
        &definition.checked().unwrap(),
        Visibility::default(),
    )
    .await
    .unwrap();
    let second = rescore_run(
        conn,
        &owner,
        first.id,
        &rescore("sums@2"),
        Visibility::Public,
    )
    .await
    .unwrap();
    assert_eq!(
        (second.answers_of, second.planned, second.models.clone()),
        (Some(first.id), 44, first.models.clone())
    );
    let second = ended(&db, &owner, &second).await;
    assert_eq!(books.calls(), calls, "no model is called");
    assert_eq!((second.spend_microusd, second.errors), (0, 8));
    let (old, new) = (
        evaluations(&db, &first).await,
        evaluations(&db, &second).await,
    );
    for new in &new {
        let old = old.iter().find(|old| {
            (&old.item, old.repeat, old.prompt_position)
                == (&new.item, new.repeat, new.prompt_position)
        });
        if ["sum-5", "sum-10"].contains(&new.item.as_str()) {
            assert_eq!(new.error_kind.as_deref(), Some("unanswered"));
            continue;
        }
        let old = old.unwrap();
        assert_eq!(
            (&new.output, new.cost_microusd),
            (&old.output, old.cost_microusd)
        );
        assert!(new.logprobs == old.logprobs);
        let has_space = new.output.as_ref().unwrap().contains(' ');
        assert_eq!(new.passed, Some(has_space), "scored by the new scorer");
    }

    // What is asked for and cannot be is refused with a reason.
    let extension = ExtendRun {
        repeats: Some(3),
        ..ExtendRun::default()
    };
    let error = extend_run(conn, &owner, second.id, &extension).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("answers of the run")
    );
    check_refusals_of_benchmarks(conn, &owner, first.id).await;

    // A retry looks for the answers once more, and calls nobody.
    retry_run(conn, &owner, second.id).await.unwrap();
    let again = ended(&db, &owner, &second).await;
    assert_eq!((again.errors, books.calls()), (8, calls));
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn texts_of_old_runs_are_forgotten_and_nothing_else() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 10).await;
    let worker = RunningWorker::start(&db, &[]);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
        runs.push(ended(&db, &owner, &run).await);
    }
    let board = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    sqlx::query("update runs set finished_at = now() - interval '11 days' where id = $1")
        .bind(runs[0].id)
        .execute(&mut **conn)
        .await
        .unwrap();
    let found = prunable(conn, 10).await.unwrap();
    assert_eq!((found.runs, found.evaluations), (1, 20));
    assert!(found.bytes > 20 * 50, "{found:?}");
    assert_eq!(next_prunable(conn, 10).await.unwrap(), Some(runs[0].id));
    for _ in 0..2 {
        prune_run(conn, runs[0].id).await.unwrap();
        assert_eq!(next_prunable(conn, 10).await.unwrap(), None);
    }
    assert_eq!(prunable(conn, 10).await.unwrap().runs, 0);
    for old in evaluations(&db, &runs[0]).await {
        assert!(old.output.is_none() && old.scores.is_none() && old.score.is_some());
        assert!(old.logprobs.is_none());
    }
    for young in evaluations(&db, &runs[1]).await {
        assert!(young.output.is_some() && young.scores.is_some());
    }
    let after = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    let told = |board: &Leaderboard| serde_json::to_value(&board.standings).unwrap();
    assert_eq!(told(&after), told(&board));
    let again = RescoreRun {
        benchmark: fixtures::BENCHMARK.into(),
        name: String::new(),
        visibility: None,
    };
    let error = rescore_run(conn, &owner, runs[0].id, &again, Visibility::Public).await;
    assert!(error.unwrap_err().to_string().contains("pruned"));
    worker.stop().await;
}
