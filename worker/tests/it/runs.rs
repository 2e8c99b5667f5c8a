//! Runs from the queue to the leaderboard.

use std::time::Duration;

use opb_core::{
    auth::Visibility,
    benchmarks::publish_benchmark,
    leaderboards::{BoardFilter, load_leaderboard},
    models::{NewProvider, ProviderKind, create_provider},
    outbound::OutboundPolicy,
    runs::{Run, RunState, find_run, list_evaluations},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;

use crate::harness::{RunningWorker, master_key, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_run_ends_on_a_leaderboard() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let models = json!([{"model": "simulated:strong", "parameters": {"latency": false}},
                        {"model": "simulated:weak", "parameters": {"latency": false}}]);
    let run = fixtures::submit(conn, &owner, models, 2).await;
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.recorded, run.errors),
        (RunState::Completed, 480, 0)
    );
    assert!(run.cost_microusd > 0 && run.cost_microusd == run.spend_microusd);

    let board = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    assert!(board.simulated);
    assert_eq!(board.standings.len(), 4);
    let (best, worst) = (&board.standings[0], &board.standings[3]);
    assert_eq!(
        (best.model.as_str(), worst.model.as_str()),
        ("simulated:strong", "simulated:weak")
    );
    assert_eq!(
        (
            best.figures.items,
            best.evaluations,
            best.figures.interval_method.as_str()
        ),
        (60, 120, "clustered")
    );
    assert!(
        best.figures.score_low <= best.figures.score
            && best.figures.score <= best.figures.score_high
            && best.figures.score_low > worst.figures.score_high
    );
    assert_eq!((best.rank_low, worst.rank_high), (1, 4));
    let only_real = BoardFilter {
        simulated: Some(false),
        ..BoardFilter::default()
    };
    let real = load_leaderboard(conn, None, fixtures::BENCHMARK, &only_real)
        .await
        .unwrap()
        .compute()
        .unwrap();
    assert!(
        real.standings.is_empty(),
        "simulated standings never mix with real ones"
    );
}

/// A shard whose items are too large to be loaded at once is worked on in slices, and nothing of it is lost or done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_shard_of_large_items_is_worked_on_in_slices() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let mut large = fixtures::sums(10);
    for item in &mut large.items {
        let text = "a".repeat((1 << 20) - 1_000);
        item.metadata.insert("text".into(), text.into());
    }
    let checked = large.checked().unwrap();
    publish_benchmark(conn, &owner, &checked, Visibility::default())
        .await
        .unwrap();
    let models = json!([{"model": "simulated:strong", "parameters": {"latency": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    // All in one shard.
    for statement in [
        "delete from shards where first_ordinal > 0",
        "update shards set size = 20",
        "update runs set shards_open = 1",
    ] {
        sqlx::query(statement).execute(&mut **conn).await.unwrap();
    }
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.recorded, run.errors),
        (RunState::Completed, 20, 0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn many_workers_share_a_run_and_record_it_once() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let models = json!([{"model": "simulated:fast", "parameters": {"latency": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let workers: Vec<_> = (0..3)
        .map(|_| RunningWorker::start(&db, &["--shards", "8"]))
        .collect();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_counted_once(&db, &run).await;
    assert_eq!((run.state, run.recorded), (RunState::Completed, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_end_as_retries_or_recorded_errors() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 40).await;
    let models =
        json!([{"model": "simulated:fast", "parameters": {"latency": false, "fault_rate": 0.3}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    // A simulated silence lasts as long as a call may.
    let worker = RunningWorker::start(&db, &["--call-timeout", "1"]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.recorded), (RunState::Completed, 80));
    assert!(run.retries > 0, "{run:#?}");
    assert!(run.errors > 0, "a huge answer is final: {run:#?}");
    let errors = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter {
            state: Some(opb_core::runs::EvaluationState::Error),
            ..Default::default()
        },
        None,
        100,
    )
    .await
    .unwrap()
    .evaluations;
    assert_eq!(i64::try_from(errors.len()).unwrap(), run.errors);
    for error in &errors {
        assert!(
            error
                .error
                .as_ref()
                .is_some_and(|text| text.starts_with("simulated fault")),
            "{error:?}"
        );
        assert_eq!(
            (error.score, error.passed),
            (None, None),
            "an error is never a pass"
        );
    }
    assert_counted_once(&db, &run).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_cannot_be_reached_fails_the_run_and_nothing_else() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let provider = NewProvider {
        name: "gone".into(),
        kind: ProviderKind::Openai,
        base_url: Some("http://127.0.0.1:1/v1".into()),
        settings: serde_json::Map::new(),
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
    let run = fixtures::submit(conn, &owner, json!(["gone:model"]), 1).await;
    let settings = ["--max-attempts", "2", "--allow-outbound", "127.0.0.1"];
    let worker = RunningWorker::start(&db, &settings);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.recorded, run.errors, run.retries),
        (RunState::Failed, 4, 4, 0)
    );
    assert!(run.state_reason.contains("connect"), "{}", run.state_reason);
    let errors = list_evaluations(
        conn,
        &run,
        &opb_core::runs::EvaluationFilter {
            state: Some(opb_core::runs::EvaluationState::Error),
            ..Default::default()
        },
        None,
        100,
    )
    .await
    .unwrap()
    .evaluations;
    assert!(!format!("{errors:?}").contains("canary"));
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_parameters_are_recorded_with_the_reason() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 1).await;
    let models = json!([{"model": "simulated:fast", "parameters": {"faults": ["earthquake"]}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(run.state, RunState::Failed);
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
    assert!(
        errors[0]
            .error
            .as_ref()
            .is_some_and(|text| text.contains("earthquake")),
        "{errors:?}"
    );
}

/// Housekeeping would hide a run that is stuck, so it does not run here.
#[tokio::test(flavor = "multi_thread")]
async fn runs_end_without_housekeeping() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 30).await;
    let worker = RunningWorker::start(&db, &[]);
    let every_run_ends = async {
        for _ in 0..10 {
            let models = json!([{"model": "simulated:fast", "parameters": {"latency": false}}]);
            let run = fixtures::submit(conn, &owner, models, 1).await;
            while !find_run(conn, Some(&owner), run.id)
                .await
                .unwrap()
                .state
                .has_ended()
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    };
    tokio::time::timeout(Duration::from_mins(10), every_run_ends)
        .await
        .expect("every run ends without housekeeping");
    worker.stop().await;
}

/// A trigger stands for whatever Postgres cannot store: such an evaluation is an error, and its neighbours lose nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_result_that_cannot_be_stored_is_recorded_as_an_error() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    sqlx::raw_sql(
        "create function refuse_result() returns trigger language plpgsql as $$
         begin
             if new.item_position = 7 and new.state = 'scored' then
                 raise exception 'out of range' using errcode = 'numeric_value_out_of_range';
             end if;
             return new;
         end $$;
         create trigger refuse_result before insert on evaluations for each row execute function refuse_result()",
    )
    .execute(&mut **conn)
    .await
    .unwrap();
    let models = json!([{"model": "simulated:strong", "parameters": {"latency": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    let worker = RunningWorker::start(&db, &[]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.recorded, run.errors),
        (RunState::Completed, 200, 2)
    );
    let refused: Vec<(i32, String, String)> = sqlx::query_as(
        "select item_position, error_kind, error from evaluations where state = 'error'",
    )
    .fetch_all(&mut **conn)
    .await
    .unwrap();
    assert!(
        refused.iter().all(|(item, kind, error)| {
            *item == 7 && kind == "unrecordable" && error.contains("out of range")
        }),
        "{refused:?}"
    );
    assert_counted_once(&db, &run).await;
}

/// The counters of a run say what its rows say, and no row is there twice.
pub async fn assert_counted_once(db: &TestDatabase, run: &Run) {
    let row: (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), count(*) filter (where passed), count(error_kind), coalesce(sum(cost_microusd), 0)::bigint
         from evaluations where run_id = $1",
    )
    .bind(run.id)
    .fetch_one(&db.pool)
    .await
    .unwrap();
    assert_eq!(
        row,
        (run.recorded, run.passed, run.errors, run.cost_microusd)
    );
    assert_eq!(run.recorded, run.planned);
}
