//! Runs that go on after their end, by a retry or an extension: what is recorded is not called again.

use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{extend_run, retry_run, submit_run},
};
use std::time::Duration;

use opb_core::{
    leaderboards::{BoardFilter, load_leaderboard},
    runs::{ExtendRun, RunState, SubmitRun},
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    harness::{RunningWorker, wait_for},
    runs::assert_counted_once,
    stand_in,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_calls_for_failed_evaluations_only() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let books = stand_in::start(conn, Duration::ZERO, Some(5)).await;
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let run = fixtures::submit(conn, &owner, models, 1).await;
    {
        // On a connection of its own: what a refused transaction locks is free when its connection is given back.
        let mut other = db.pool.acquire().await.unwrap();
        let early = retry_run(&mut other, &owner, run.id).await;
        assert!(early.is_err(), "it has not ended");
    }
    let settings = ["--max-attempts", "1", "--allow-outbound", "127.0.0.1"];
    let worker = RunningWorker::start(&db, &settings);
    let mut run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert!(run.errors > 20, "{run:#?}");
    while run.errors > 0 {
        let answers = books.answers();
        let again = retry_run(conn, &owner, run.id).await.unwrap();
        assert_eq!(
            (again.state, again.recorded, again.errors),
            (RunState::Queued, run.recorded - run.errors, 0)
        );
        assert_eq!(
            (again.finished_at, again.spend_microusd),
            (None, run.spend_microusd)
        );
        let failed = run.errors.cast_unsigned();
        run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
        assert_eq!(
            books.answers() - answers,
            failed - run.errors.cast_unsigned()
        );
        assert_counted_once(&db, &run).await;
    }
    worker.stop().await;
    assert_eq!(
        (run.state, run.state_reason.as_str()),
        (RunState::Completed, "")
    );
    assert_eq!(books.answers(), 200, "nothing is paid twice");
    assert_eq!(run.spend_microusd, books.billed_microusd());
    let board = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    let sums: Vec<_> = board
        .standings
        .iter()
        .map(|standing| (standing.evaluations, standing.errors))
        .collect();
    assert_eq!(
        sums,
        [(100, 0), (100, 0)],
        "the standings are computed anew"
    );
    assert!(
        retry_run(conn, &owner, run.id).await.is_err(),
        "nothing failed"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_calls_for_what_is_new_only() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 20).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    let models = json!([{"model": "counted:any", "parameters": {"stream": false}}]);
    let small = SubmitRun {
        prompts: vec!["steps".into()],
        limit: Some(10),
        ..fixtures::request(models, 1)
    };
    let run = submit_run(conn, &owner, &small, None).await.unwrap();
    let worker = RunningWorker::start(&db, &["--allow-outbound", "127.0.0.1"]);
    wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!(books.calls(), 10);
    // By this, whatever is called or written again is seen.
    sqlx::query("update evaluations set recorded_at = '2001-01-01', output = 'kept'")
        .execute(&mut **conn)
        .await
        .unwrap();

    let nothing = extend_run(conn, &owner, run.id, &ExtendRun::default()).await;
    assert!(nothing.is_err());
    let fewer = ExtendRun {
        limit: Some(9),
        ..ExtendRun::default()
    };
    assert!(extend_run(conn, &owner, run.id, &fewer).await.is_err());
    let again = ExtendRun {
        prompts: vec!["steps".into()],
        ..ExtendRun::default()
    };
    assert!(extend_run(conn, &owner, run.id, &again).await.is_err());

    let more_columns = ExtendRun {
        prompts: vec!["plain".into()],
        models: serde_json::from_value(
            json!([{"model": "counted:other", "parameters": {"stream": false}}]),
        )
        .unwrap(),
        ..ExtendRun::default()
    };
    let extended = extend_run(conn, &owner, run.id, &more_columns)
        .await
        .unwrap();
    assert_eq!((extended.planned, extended.recorded), (40, 10));
    assert_eq!(extended.prompts, ["steps@1", "plain@1"]);
    assert_eq!(extended.models, ["counted:any", "counted:other"]);
    wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!(books.calls(), 40);

    let more_rows = ExtendRun {
        limit: Some(1_000),
        repeats: Some(2),
        ..ExtendRun::default()
    };
    let extended = extend_run(conn, &owner, run.id, &more_rows).await.unwrap();
    assert_eq!(
        (extended.planned, extended.recorded),
        (160, 40),
        "20 items, twice"
    );
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((run.state, run.errors), (RunState::Completed, 0));
    assert_eq!(books.calls(), 160, "nothing is called twice");
    assert_counted_once(&db, &run).await;
    assert_eq!(kept(&db, run.id).await, (10, 10));
    let board = load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap();
    let evaluations: Vec<i64> = board.standings.iter().map(|it| it.evaluations).collect();
    assert_eq!(evaluations, [40; 4]);
}

/// How many evaluations are untouched, and how many of them are where they were.
async fn kept(db: &TestDatabase, run_id: Uuid) -> (i64, i64) {
    sqlx::query_as(
        "select count(*), count(*) filter (where item_position < 10 and repeat = 0 and prompt_position = 0 and model_position = 0)
         from evaluations where run_id = $1 and recorded_at = '2001-01-01' and output = 'kept'",
    )
    .bind(run_id)
    .fetch_one(&db.pool)
    .await
    .unwrap()
}
