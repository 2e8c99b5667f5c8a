//! Standings: summed up while a run goes on, complete when it ends.

use opb_core::{
    auth::CurrentUser,
    finishing::finish_run,
    leaderboards::{
        BoardFilter, BoardKind, HistoryFilter, Leaderboard, Shown, Standing, load_history,
        load_leaderboard, refresh_open_runs,
    },
    runs::{
        Answer, EvaluationError, EvaluationOutcome, NewEvaluation, Recorded, Run, RunShape,
        Settlement, ShardLease, cancel_run, finish_shard, record,
    },
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const ITEMS: i32 = 60;
const SHAPE: RunShape = RunShape {
    items: ITEMS,
    repeats: 2,
    prompts: 2,
    models: 2,
};

async fn submit(conn: &mut PgConnection, owner: &CurrentUser) -> Run {
    let models = json!(["simulated:strong", "simulated:weak"]);
    let run = fixtures::submit(conn, owner, models, SHAPE.repeats.into()).await;
    fixtures::cut_finely(conn, run.id).await;
    run
}

/// The run's shards, in the order of their evaluations.
async fn shards(conn: &mut PgConnection, run: &Run) -> Vec<Uuid> {
    sqlx::query_scalar("select id from shards where run_id = $1 order by first_ordinal")
        .bind(run.id)
        .fetch_all(conn)
        .await
        .unwrap()
}

/// What a worker would say about an evaluation: the second model fails twice as often, and some calls fail.
fn answer(ordinal: i64) -> NewEvaluation {
    let key = SHAPE.key(ordinal);
    let chance = (ordinal * 7919 + 13) % 97;
    if chance < 5 {
        return NewEvaluation::failed(key, EvaluationError::new("timeout", "too slow"), 3);
    }
    let passed = chance > 20 * (1 + i64::from(key.model));
    NewEvaluation {
        key,
        outcome: EvaluationOutcome {
            score: Some(f32::from(u8::from(passed))),
            passed: Some(passed),
            ..EvaluationOutcome::default()
        },
        answer: Some(Answer {
            latency_ms: Some(100 + i32::try_from(chance).unwrap()),
            first_token_ms: Some(30),
            output_tokens: Some(12),
            cost_microusd: Some(5 + chance),
            ..Answer::default()
        }),
        attempts: 1,
        ..NewEvaluation::default()
    }
}

/// Claims a shard and records it as a worker would.
async fn work(conn: &mut PgConnection, shard: Uuid) -> ShardLease {
    let lease = fixtures::claim(conn, shard).await.unwrap();
    let first = lease.range.first_ordinal;
    let ordinals = first..first + i64::from(lease.range.size);
    let batch: Vec<NewEvaluation> = ordinals.map(answer).collect();
    let kept = record(conn, &lease, &batch, Settlement::default())
        .await
        .unwrap();
    assert_eq!(kept, Recorded::Kept(batch.len()));
    lease
}

async fn complete(conn: &mut PgConnection, shards: &[Uuid]) {
    for shard in shards {
        let lease = work(conn, *shard).await;
        assert!(finish_shard(conn, &lease).await.unwrap());
    }
}

async fn board(conn: &mut PgConnection) -> Leaderboard {
    load_leaderboard(conn, None, fixtures::BENCHMARK, &BoardFilter::default())
        .await
        .unwrap()
        .compute()
        .unwrap()
}

/// What the owner sees without asking for a board.
async fn own_board(conn: &mut PgConnection, owner: &CurrentUser) -> Leaderboard {
    let filter = BoardFilter::default();
    load_leaderboard(conn, Some(owner), fixtures::BENCHMARK, &filter)
        .await
        .unwrap()
        .compute()
        .unwrap()
}

async fn kept_summaries(conn: &mut PgConnection) -> i64 {
    sqlx::query_scalar("select count(*) from run_summaries")
        .fetch_one(conn)
        .await
        .unwrap()
}

/// Everything but what differs between two runs.
fn figures(standings: &[Standing]) -> serde_json::Value {
    let mut figures = serde_json::to_value(standings).unwrap();
    for line in figures.as_array_mut().unwrap() {
        for name in [
            "run_id",
            "updated_at",
            "runs",
            "trend",
            "trend_low",
            "trend_high",
        ] {
            line.as_object_mut().unwrap().remove(name);
        }
    }
    figures
}

#[tokio::test]
async fn what_is_summed_up_on_the_way_ends_where_the_whole_does() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    // All at once, at the end.
    let run = submit(conn, &owner).await;
    let all = shards(conn, &run).await;
    complete(conn, &all).await;
    finish_run(conn, run.id).await.unwrap();
    let whole = board(conn).await;
    assert_eq!(whole.standings.len(), 4);
    assert!(
        whole
            .standings
            .iter()
            .all(|it| it.errors > 0 && it.trend.is_none())
    );

    // The same answers, the latter half first, with a look after every tenth of the shards.
    let run = submit(conn, &owner).await;
    let mut all = shards(conn, &run).await;
    let half = all.len() / 2;
    all.rotate_left(half);
    let mut reached = 0;
    // One process that remembers what it has shown.
    let mut shown = Shown::default();
    for part in all.chunks(all.len() / 10) {
        complete(conn, part).await;
        refresh_open_runs(conn, &mut shown).await.unwrap();
        let kept = kept_summaries(conn).await;
        assert!(kept >= reached, "what is kept stays");
        reached = kept;
    }
    // The last shard has closed the run's door: the run waits to be finished, and nobody sums it up any more.
    assert!(reached > 0 && reached < 4 * i64::from(ITEMS));
    let before = board(conn).await;
    assert_eq!(figures(&before.standings), figures(&whole.standings));
    assert_eq!(before.provisional.len(), 4);
    finish_run(conn, run.id).await.unwrap();
    let again = board(conn).await;
    assert_eq!(figures(&again.standings), figures(&whole.standings));
    assert!(again.provisional.is_empty());
    assert_eq!(kept_summaries(conn).await, 0);
    for line in &again.standings {
        assert_eq!((line.run_id, line.runs, line.trend), (run.id, 2, Some(0.0)));
    }
}

#[tokio::test]
async fn an_open_shard_keeps_its_items_out() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let run = submit(conn, &owner).await;
    let all = shards(conn, &run).await;
    complete(conn, &all[1..20]).await;
    // Recorded as far as it goes, but its worker may still have something to say.
    let open = work(conn, all[0]).await;
    refresh_open_runs(conn, &mut Shown::default())
        .await
        .unwrap();
    let found = board(conn).await;
    assert!(found.standings.is_empty());
    assert_eq!(found.provisional.len(), 4);
    let size = i64::from(open.range.size);
    let complete_items = (20 * size) / 8 - (size + 7) / 8;
    for line in &found.provisional {
        assert_eq!(line.evaluations, complete_items * 2, "{}", line.model);
        assert_eq!((line.rank_low, line.rank_high, line.runs), (1, 1, 0));
        let figures = &line.figures;
        assert!(figures.score_low <= figures.score && figures.score <= figures.score_high);
    }
    assert!(
        found.simulated,
        "what is provisional says what the board is"
    );

    // What is cancelled is gone from the board at once, and from the tables soon.
    cancel_run(conn, &owner, run.id).await.unwrap();
    assert!(board(conn).await.provisional.is_empty());
    refresh_open_runs(conn, &mut Shown::default())
        .await
        .unwrap();
    assert_eq!(kept_summaries(conn).await, 0);
}

#[tokio::test]
async fn a_private_run_is_on_its_owners_board_alone() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    let run = submit(conn, &owner).await;
    sqlx::query("update runs set visibility = 'private'")
        .execute(&mut **conn)
        .await
        .unwrap();
    let all = shards(conn, &run).await;
    complete(conn, &all[..30]).await;
    refresh_open_runs(conn, &mut Shown::default())
        .await
        .unwrap();
    assert!(board(conn).await.provisional.is_empty());
    let own = own_board(conn, &owner).await;
    assert_eq!((own.board, own.provisional.len()), (BoardKind::Own, 4));
    complete(conn, &all[30..]).await;
    finish_run(conn, run.id).await.unwrap();
    let found = board(conn).await;
    assert!(found.standings.is_empty() && found.provisional.is_empty());
    assert_eq!(own_board(conn, &owner).await.standings.len(), 4);
    for (viewer, board, courses) in [
        (None, None, 0),
        (Some(&owner), Some(BoardKind::Public), 0),
        (Some(&owner), None, 4),
    ] {
        let filter = HistoryFilter {
            board,
            ..HistoryFilter::default()
        };
        let history = load_history(conn, viewer, fixtures::BENCHMARK, &filter);
        let history = history.await.unwrap().compute().unwrap();
        assert_eq!(history.courses.len(), courses);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_it_is_summed_up_waits_for_nobody_for_ever() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 60).await;
    for _ in 0..5 {
        let run = submit(conn, &owner).await;
        let all = shards(conn, &run).await;
        complete(conn, &all).await;
        // The last shard has put the run into `finishing`; put it back, so that the refresh finds all of it to do.
        sqlx::query("update runs set state = 'running' where id = $1")
            .bind(run.id)
            .execute(&mut **conn)
            .await
            .unwrap();
        let (mut one, mut other) = (
            db.pool.acquire().await.unwrap(),
            db.pool.acquire().await.unwrap(),
        );
        let finish = async {
            sqlx::query("update runs set state = 'finishing' where id = $1")
                .bind(run.id)
                .execute(&mut *one)
                .await
                .unwrap();
            finish_run(&mut one, run.id).await
        };
        let mut shown = Shown::default();
        let refresh = refresh_open_runs(&mut other, &mut shown);
        let (refreshed, finished) = tokio::join!(refresh, finish);
        refreshed.unwrap();
        finished.unwrap();
        let found = board(conn).await;
        assert_eq!(found.standings.len(), 4);
        assert!(found.standings.iter().all(|line| line.run_id == run.id));
        assert!(found.provisional.is_empty());
    }
}
