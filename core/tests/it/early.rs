//! Runs that stop early: columns whose place is decided are not asked any more, and every evaluation is accounted for.

use opb_testing::{
    TestDatabase, fixtures,
    without_rules::{extend_run, retry_run, submit_run},
};
use std::collections::HashSet;

use opb_core::{
    Error,
    auth::{CurrentUser, Visibility},
    benchmarks::publish_benchmark,
    finishing::finish_run,
    housekeeping::mend,
    leaderboards::{BoardFilter, Leaderboard, load_leaderboard},
    runs::{
        Answer, EvaluationError, EvaluationKey, EvaluationOutcome, ExtendRun, NewEvaluation,
        RescoreRun, Run, RunState, Settlement, SubmitRun, answers_of, find_run, finish_shard,
        load_work, note_skipped, record, recorded_keys, rescore_run,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const COST: i64 = 10_000;

/// Whether the model's answer passes.
type Answers = fn(EvaluationKey) -> bool;

async fn submit(conn: &mut PgConnection, owner: &CurrentUser, stop_early: bool) -> Run {
    let models = json!(["simulated:strong", "simulated:balanced", "simulated:weak"]);
    let request = SubmitRun {
        prompts: vec!["plain".into()],
        stop_early,
        cache: false,
        ..fixtures::request(models, 1)
    };
    submit_run(conn, owner, &request, None).await.unwrap()
}

/// Good at nine items of ten, at five, and at one.
fn apart(key: EvaluationKey) -> bool {
    key.item * 7 % 10 < [9, 5, 1][usize::try_from(key.model).unwrap()]
}

/// The first two are good at the same number of items, and not at the same items.
fn two_equal(key: EvaluationKey) -> bool {
    match key.model {
        0 => key.item % 10 != 3,
        1 => key.item % 10 != 8,
        _ => key.item % 10 == 5,
    }
}

/// The fourth is as good as the best.
fn new_best(key: EvaluationKey) -> bool {
    let model = if key.model == 3 { 0 } else { key.model };
    apart(EvaluationKey { model, ..key })
}

/// Every fifth call of the best fails.
fn fails(key: &EvaluationKey) -> bool {
    key.model == 0 && key.item % 5 == 0
}

/// Works on the shards that wait, in their order, as one worker would, and ends the run. Returns it with the keys that
/// were asked.
async fn work(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    run: &Run,
    answers: Answers,
) -> (Run, HashSet<EvaluationKey>) {
    work_with_failures(conn, owner, run, answers, |_| false).await
}

/// The same when some calls fail.
async fn work_with_failures(
    conn: &mut PgConnection,
    owner: &CurrentUser,
    run: &Run,
    answers: Answers,
    fails: fn(&EvaluationKey) -> bool,
) -> (Run, HashSet<EvaluationKey>) {
    let shards: Vec<Uuid> = sqlx::query_scalar(
        "select id from shards where run_id = $1 and state = 'available' order by first_ordinal",
    )
    .bind(run.id)
    .fetch_all(&mut *conn)
    .await
    .unwrap();
    let mut asked = HashSet::new();
    for shard in shards {
        let lease = fixtures::claim(conn, shard).await.unwrap();
        let work = load_work(conn, run.id).await.unwrap();
        assert!(work.is_ready_for(&lease));
        let recorded = recorded_keys(conn, &work, &lease).await.unwrap();
        let keys = work.keys(&lease).filter(|key| !recorded.contains(key));
        let (left_out, keys): (Vec<_>, Vec<_>) = keys.partition(|key| work.leaves_out(*key));
        let result = |key: &EvaluationKey| {
            if fails(key) {
                let error = EvaluationError::new("timeout", "too slow");
                return NewEvaluation::failed(*key, error, 1);
            }
            let passed = answers(*key);
            NewEvaluation {
                key: *key,
                outcome: EvaluationOutcome {
                    score: Some(f32::from(u8::from(passed))),
                    passed: Some(passed),
                    ..EvaluationOutcome::default()
                },
                answer: Some(Answer {
                    output: Some("words".into()),
                    cost_microusd: Some(COST),
                    ..Answer::default()
                }),
                attempts: 1,
                ..NewEvaluation::default()
            }
        };
        let batch: Vec<NewEvaluation> = keys.iter().map(result).collect();
        record(conn, &lease, &batch, Settlement::default())
            .await
            .unwrap();
        asked.extend(keys);
        let skipped = i32::try_from(left_out.len()).unwrap();
        note_skipped(conn, &lease, skipped).await.unwrap();
        assert!(finish_shard(conn, &lease).await.unwrap());
    }
    finish_run(conn, run.id).await.unwrap();
    let run = find_run(conn, Some(owner), run.id).await.unwrap();
    assert_accounted(conn, &run).await;
    (run, asked)
}

/// Counters say what the rows say, and every evaluation is recorded or skipped.
async fn assert_accounted(conn: &mut PgConnection, run: &Run) {
    let rows: (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), count(error_kind), coalesce(sum(cost_microusd), 0)::bigint,
                (select count(*) from settled_columns where run_id = $1)
         from evaluations where run_id = $1",
    )
    .bind(run.id)
    .fetch_one(conn)
    .await
    .unwrap();
    let counted = (
        run.recorded,
        run.errors,
        run.cost_microusd,
        run.settled.into(),
    );
    assert_eq!(rows, counted);
    assert_eq!(run.recorded + run.skipped, run.planned, "{run:#?}");
}

async fn board(conn: &mut PgConnection) -> Leaderboard {
    load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap()
}

fn order(board: &Leaderboard) -> Vec<&str> {
    let standings = board.standings.iter();
    standings.map(|standing| standing.model.as_str()).collect()
}

#[tokio::test]
async fn a_run_whose_order_is_decided_ends() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let run = submit(conn, &owner, true).await;
    let (run, asked) = work(conn, &owner, &run, apart).await;
    assert_eq!((run.state, run.settled), (RunState::Completed, 3));
    assert!(run.recorded < run.planned / 2, "{run:#?}");
    assert_eq!(i64::try_from(asked.len()).unwrap(), run.recorded);
    let saved = run.skipped * COST / 1_000_000;
    let cents = run.skipped * COST / 10_000 % 100;
    assert_eq!(
        run.state_reason,
        format!(
            "decided after {} of 1,200 evaluations; {} were skipped, about ${saved}.{cents:02} saved",
            run.recorded, run.skipped
        )
    );
    let early = board(conn).await;
    assert!(early.standings.iter().all(|line| line.stopped_early));
    let evaluations: i64 = early.standings.iter().map(|line| line.evaluations).sum();
    assert_eq!(evaluations, run.recorded);
    let line = &early.standings[0];
    assert_eq!(i64::from(line.figures.items), line.evaluations);
    assert_eq!(
        (
            line.figures.cost_per_1000_low_microusd,
            line.figures.cost_per_1000_high_microusd
        ),
        (Some(1_000 * COST), Some(1_000 * COST)),
        "what was not asked says nothing about costs"
    );
    let ranks = early
        .standings
        .iter()
        .map(|line| (line.rank_low, line.rank_high));
    assert_eq!(ranks.collect::<Vec<_>>(), [(1, 1), (2, 2), (3, 3)]);

    let whole = submit(conn, &owner, false).await;
    let (whole, _) = work(conn, &owner, &whole, apart).await;
    assert_eq!(
        (whole.recorded, whole.settled, whole.state_reason.as_str()),
        (1_200, 0, ""),
        "nobody asked it to stop early"
    );
    let full = board(conn).await;
    assert_eq!(order(&early), order(&full));
    assert!(full.standings.iter().all(|line| !line.stopped_early));
}

#[tokio::test]
async fn equals_go_to_the_end_and_the_settled_one_does_not() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let run = submit(conn, &owner, true).await;
    let (run, asked) = work(conn, &owner, &run, two_equal).await;
    assert_eq!((run.state, run.settled), (RunState::Completed, 1));
    let of = |model| asked.iter().filter(|key| key.model == model).count();
    assert_eq!((of(0), of(1)), (400, 400));
    assert!(of(2) < 100, "{}", of(2));
    assert!(
        run.state_reason
            .starts_with("the places of 1 of 3 columns were decided early; "),
        "{}",
        run.state_reason
    );
    let board = board(conn).await;
    let early: Vec<bool> = board.standings.iter().map(|it| it.stopped_early).collect();
    assert_eq!(early, [false, false, true]);
}

#[tokio::test]
async fn failures_count_for_nobody_and_can_be_retried() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let run = submit(conn, &owner, true).await;
    let (ended, asked) = work_with_failures(conn, &owner, &run, apart, fails).await;
    assert_eq!((ended.state, ended.settled), (RunState::Completed, 3));
    assert!(ended.errors > 5 && ended.skipped > 600, "{ended:#?}");
    let errors = format!(
        "; {} of {} evaluations ended in an error",
        ended.errors, ended.recorded
    );
    assert!(
        ended.state_reason.ends_with(&errors),
        "{}",
        ended.state_reason
    );

    let again = retry_run(conn, &owner, run.id).await.unwrap();
    assert_eq!((again.skipped, again.settled), (0, 3));
    let (ended, anew) = work(conn, &owner, &run, apart).await;
    assert_eq!((ended.state, ended.errors), (RunState::Completed, 0));
    assert!(
        !anew.is_empty() && anew.iter().all(|key| fails(key) && asked.contains(key)),
        "what was not asked is not asked now: {anew:?}"
    );
    // On a connection of its own, since a refusal leaves its transaction open.
    let other = &mut db.pool.acquire().await.unwrap();
    let nothing = retry_run(other, &owner, run.id).await;
    assert!(matches!(nothing, Err(Error::Conflict(_))), "nothing failed");
}

#[tokio::test]
async fn an_extension_opens_every_column_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let run = submit(conn, &owner, true).await;
    let (ended, before) = work(conn, &owner, &run, apart).await;
    let more = ExtendRun {
        models: serde_json::from_value(json!(["simulated:fast"])).unwrap(),
        ..ExtendRun::default()
    };
    let extended = extend_run(conn, &owner, run.id, &more).await.unwrap();
    assert_eq!(
        (
            extended.planned,
            extended.recorded,
            extended.skipped,
            extended.settled
        ),
        (1_600, ended.recorded, 0, 0)
    );
    let (ended, asked) = work(conn, &owner, &run, new_best).await;
    assert_eq!((ended.state, ended.settled), (RunState::Completed, 2));
    assert!(asked.is_disjoint(&before), "nothing is paid twice");
    let of = |model| {
        let all = asked.union(&before);
        all.filter(|key| key.model == model).count()
    };
    assert_eq!((of(0), of(3)), (400, 400), "the two best are equal");
    assert!(of(1) < 200 && of(2) < 200, "{} {}", of(1), of(2));
}

#[tokio::test]
async fn answers_of_a_run_that_stopped_early_are_scored_again() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 400).await;
    let run = submit(conn, &owner, true).await;
    let (ended, asked) = work(conn, &owner, &run, apart).await;
    publish_benchmark(
        conn,
        &owner,
        &{
            let mut definition = fixtures::sums(400);
            definition.description = "another version".into();
            definition.checked().unwrap()
        },
        Visibility::default(),
    )
    .await
    .unwrap();
    let request = RescoreRun {
        benchmark: fixtures::BENCHMARK.into(),
        name: String::new(),
        visibility: None,
    };
    let again = rescore_run(conn, &owner, run.id, &request, Visibility::Public)
        .await
        .unwrap();
    assert_eq!(again.settled, 3);
    // What has an answer is scored, settled or not.
    let shards: Vec<Uuid> =
        sqlx::query_scalar("select id from shards where run_id = $1 order by first_ordinal")
            .bind(again.id)
            .fetch_all(&mut **conn)
            .await
            .unwrap();
    let mut known = HashSet::new();
    for shard in shards {
        let lease = fixtures::claim(conn, shard).await.unwrap();
        let work = load_work(conn, again.id).await.unwrap();
        let answers = answers_of(conn, &work, &lease, run.id).await.unwrap();
        assert!(work.keys(&lease).all(|key| work.leaves_out(key)));
        known.extend(work.keys(&lease).filter(|key| answers.contains_key(key)));
    }
    assert_eq!(known, asked);
    assert_eq!(ended.settled, 3);
}

#[tokio::test]
async fn a_crash_on_what_is_not_asked_any_more_is_no_error() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let run = submit(conn, &owner, true).await;
    sqlx::query(
        "with settled as (insert into settled_columns values ($1, 0, 0, 0), ($1, 0, 1, 30))
         update runs set settled = 2 where id = $1",
    )
    .bind(run.id)
    .execute(&mut **conn)
    .await
    .unwrap();
    // Every shard is cut into single evaluations, and each of those is given up.
    for crashes in [1, 7] {
        loop {
            let running = "update shards set state = 'running', lease_until = now() - interval '1 second', crashes = $2
                           where run_id = $1 and state = 'available' and crashes < $2";
            let done = sqlx::query(running)
                .bind(run.id)
                .bind(crashes)
                .execute(&mut **conn)
                .await
                .unwrap();
            while mend(conn).await.unwrap().expired_leases > 0 {}
            if done.rows_affected() == 0 {
                break;
            }
        }
    }
    finish_run(conn, run.id).await.unwrap();
    let run = find_run(conn, Some(&owner), run.id).await.unwrap();
    assert_eq!((run.skipped, run.errors), (60 + 30, 60 + 30));
    assert_eq!(run.state, RunState::Failed, "nothing was scored");
    assert_accounted(conn, &run).await;
}

#[tokio::test]
async fn too_many_columns_are_not_compared() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let models: Vec<_> = (0..51)
        .map(|seed| json!({"model": "simulated:fast", "parameters": {"max_tokens": 100 + seed}}))
        .collect();
    let request = SubmitRun {
        stop_early: true,
        ..fixtures::request(json!(models), 1)
    };
    let Err(Error::Invalid(fields)) = submit_run(conn, &owner, &request, None).await else {
        panic!("102 columns are refused");
    };
    assert_eq!(fields[0].path, "stop_early");
}
