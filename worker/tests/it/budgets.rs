//! A run with a budget never spends more, by the provider's own count.

use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{resume_run, submit_run, update_run},
};
use std::time::Duration;

use opb_core::runs::{Run, RunState, SubmitRun, UpdateRun, cancel_run, find_run};
use serde_json::json;

use crate::{
    harness::{RunningWorker, wait_for},
    killed::WorkerProcess,
    runs::assert_counted_once,
    stand_in,
};

const DOLLAR: i64 = 1_000_000;

/// A run of both prompts on the stand-in.
fn request(budget_microusd: Option<i64>) -> SubmitRun {
    let models =
        json!([{"model": "counted:any", "parameters": {"max_tokens": 100, "stream": false}}]);
    SubmitRun {
        budget_microusd,
        ..fixtures::request(models, 1)
    }
}

fn committed(run: &Run) -> i64 {
    run.spend_microusd + run.unaccounted_microusd + run.reserved_microusd
}

#[tokio::test(flavor = "multi_thread")]
async fn sixteen_racing_workers_never_spend_more_than_a_dollar() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let books = stand_in::start(conn, Duration::from_millis(30), Some(7)).await;
    let run = submit_run(conn, &owner, &request(Some(DOLLAR)), None)
        .await
        .unwrap();
    let outbound = ["--allow-outbound", "127.0.0.1"];
    let doomed = WorkerProcess::start(&db, &outbound);
    // It is killed while it holds money and calls are on their way.
    let name = doomed.name();
    let holds = async || -> bool {
        let sql = "select exists(select 1 from shards where worker = $1 and state = 'running' and reserved_microusd > 0)";
        let query = sqlx::query_scalar(sql).bind(&name);
        query.fetch_one(&db.pool).await.unwrap()
    };
    while !(holds().await && books.answers() > 0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut workers = Vec::new();
    for _ in 0..15 {
        let pool = opb_core::database::connect(&db.url().into(), 5, "racing worker")
            .await
            .unwrap();
        // Patient, however busy the machine is: what is lost here is to be lost by the kill.
        let settings = [
            "--lease",
            "30",
            "--call-timeout",
            "60",
            "--allow-outbound",
            "127.0.0.1",
        ];
        workers.push(RunningWorker::start_on(&pool, &settings));
    }
    doomed.kill();

    let paused = wait_for(&db, &owner, run.id, |run| {
        assert!(committed(run) <= DOLLAR, "{run:#?}");
        run.state == RunState::Paused
    })
    .await;
    let billed = books.billed_microusd();
    println!(
        "billed {billed}, spent {}, unaccounted {}, {} of {} recorded, {} calls of {} answered",
        paused.spend_microusd,
        paused.unaccounted_microusd,
        paused.recorded,
        paused.planned,
        books.answers(),
        books.calls()
    );
    assert!(billed <= DOLLAR, "billed {billed}");
    assert!(
        paused.spend_microusd <= billed && billed <= committed(&paused),
        "{paused:#?}"
    );
    assert!(
        paused.unaccounted_microusd > 0,
        "the killed worker's calls are not forgotten: {paused:#?}"
    );
    assert!(
        paused
            .state_reason
            .contains("the budget of $1.00 is used up")
            && paused.state_reason.contains("raise it"),
        "{}",
        paused.state_reason
    );
    assert!(
        committed(&paused) > DOLLAR * 9 / 10,
        "it is really used up: {paused:#?}"
    );
    assert!(paused.recorded < paused.planned);

    let too_low = UpdateRun {
        budget_microusd: Some(committed(&paused) - 1),
        ..UpdateRun::default()
    };
    assert!(update_run(conn, &owner, run.id, &too_low).await.is_err());
    let raised = UpdateRun {
        budget_microusd: Some(20 * DOLLAR),
        ..UpdateRun::default()
    };
    update_run(conn, &owner, run.id, &raised).await.unwrap();
    resume_run(conn, &owner, run.id).await.unwrap();
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    for worker in workers {
        worker.stop().await;
    }
    assert_eq!(run.state, RunState::Completed, "{run:#?}");
    assert_counted_once(&db, &run).await;
    assert_eq!(run.reserved_microusd, 0);
    let billed = books.billed_microusd();
    assert!(
        run.spend_microusd <= billed && billed <= committed(&run),
        "{billed} {run:#?}"
    );
    assert!(books.answers() >= 800 - run.errors.cast_unsigned());
}

#[tokio::test(flavor = "multi_thread")]
async fn money_of_a_cancelled_run_is_accounted_for() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let books = stand_in::start(conn, Duration::from_millis(300), None).await;
    let run = submit_run(conn, &owner, &request(Some(100 * DOLLAR)), None)
        .await
        .unwrap();
    let worker = RunningWorker::start(&db, &["--allow-outbound", "127.0.0.1"]);
    wait_for(&db, &owner, run.id, |run| run.recorded > 0).await;
    cancel_run(conn, &owner, run.id).await.unwrap();
    worker.stop().await;
    let run = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!((run.state, run.reserved_microusd), (RunState::Cancelled, 0));
    let billed = books.billed_microusd();
    assert!(
        run.spend_microusd <= billed && billed <= committed(&run),
        "{billed} {run:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_that_suffices_is_given_back() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 30).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    let run = submit_run(conn, &owner, &request(Some(DOLLAR)), None)
        .await
        .unwrap();
    let worker = RunningWorker::start(&db, &["--allow-outbound", "127.0.0.1"]);
    let run = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!(
        (run.state, run.errors),
        (RunState::Completed, 0),
        "{run:#?}"
    );
    assert_eq!(
        (
            run.spend_microusd,
            run.reserved_microusd,
            run.unaccounted_microusd
        ),
        (books.billed_microusd(), 0, 0)
    );
    assert_eq!(books.calls(), 60);
}

/// Nothing but money that comes back makes this run go on: others are at work all the time, and none of them ends.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_money_goes_on_by_itself_while_others_wait_for_their_provider() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 40).await;
    let books = stand_in::start(conn, Duration::ZERO, None).await;
    books.refuse();
    let plain = |models, limit, budget_microusd| SubmitRun {
        prompts: vec!["plain".into()],
        limit,
        budget_microusd,
        ..fixtures::request(models, 1)
    };
    for _ in 0..6 {
        let waiting = plain(json!(["counted:any"]), Some(1), None);
        submit_run(conn, &owner, &waiting, None).await.unwrap();
    }
    let worker = RunningWorker::start(&db, &["--allow-outbound", "127.0.0.1"]);
    let at_work = async || -> i64 {
        let sql = "select count(*) from shards where state = 'running'";
        sqlx::query_scalar(sql).fetch_one(&db.pool).await.unwrap()
    };
    while at_work().await < 6 || books.calls() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Three calls fit at once.
    let quick = json!([{"model": "simulated:strong", "parameters": {"max_tokens": 1000, "latency": false}}]);
    let quick = plain(quick, None, Some(60_000));
    let quick = submit_run(conn, &owner, &quick, None).await.unwrap();
    let quick = wait_for(&db, &owner, quick.id, |run| run.state.has_ended()).await;
    worker.stop().await;
    assert_eq!((quick.state, quick.recorded), (RunState::Completed, 40));
    assert_counted_once(&db, &quick).await;
}
