//! A shard is worked on by one lease at a time, and only that lease can write.

use opb_testing::{TestDatabase, fixtures, without_rules::resume_run};
use std::time::Duration;

use opb_core::{
    housekeeping::mend,
    runs::{
        Answer, EvaluationOutcome, HeldLease, NewEvaluation, Recorded, RunState, Settlement,
        ShardLease, cancel_run, claim_shard, find_run, finish_shard, load_work, pause_run, record,
        record_last, release_shard, renew_lease,
    },
};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

const LEASE: Duration = Duration::from_secs(30);

/// A run of one shard-sized plan, and the ids of its shards.
async fn run_with_shards(
    conn: &mut PgConnection,
) -> (opb_core::auth::CurrentUser, Uuid, Vec<Uuid>) {
    let owner = fixtures::library(conn, 3).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    fixtures::cut_finely(conn, run.id).await;
    let shards: Vec<Uuid> =
        sqlx::query_scalar("select id from shards where run_id = $1 order by first_ordinal")
            .bind(run.id)
            .fetch_all(&mut *conn)
            .await
            .unwrap();
    assert_eq!(
        shards.len(),
        6,
        "two prompts, three items, one model, one evaluation a shard"
    );
    (owner, run.id, shards)
}

async fn results(conn: &mut PgConnection, lease: &ShardLease) -> Vec<NewEvaluation> {
    let work = load_work(conn, lease.run_id).await.unwrap();
    let result = |key| NewEvaluation {
        key,
        outcome: EvaluationOutcome {
            score: Some(1.0),
            passed: Some(true),
            ..EvaluationOutcome::default()
        },
        answer: Some(Answer {
            output: Some("a\0b".into()),
            cost_microusd: Some(10),
            ..Answer::default()
        }),
        attempts: 2,
        ..NewEvaluation::default()
    };
    work.keys(lease).map(result).collect()
}

async fn expire(conn: &mut PgConnection, lease: &ShardLease) {
    sqlx::query("update shards set lease_until = now() - interval '1 second' where id = $1")
        .bind(lease.shard_id)
        .execute(&mut *conn)
        .await
        .unwrap();
}

#[tokio::test]
async fn only_one_of_many_claims_a_shard() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (_, _, shards) = run_with_shards(conn).await;
    sqlx::query("update shards set state = 'done' where id <> $1")
        .bind(shards[0])
        .execute(&mut **conn)
        .await
        .unwrap();
    let claims = (0..20).map(|number| {
        let pool = db.pool.clone();
        async move {
            let mut conn = pool.acquire().await.unwrap();
            let name = format!("worker {number}");
            claim_shard(&mut conn, &name, LEASE).await.unwrap()
        }
    });
    let claimed = futures::future::join_all(claims).await;
    assert_eq!(claimed.iter().flatten().count(), 1);
}

#[tokio::test]
async fn a_last_batch_is_kept_once_when_the_answer_to_it_was_lost() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (owner, run_id, shards) = run_with_shards(conn).await;
    let lease = fixtures::claim(conn, shards[0]).await.unwrap();
    let batch = results(conn, &lease).await;
    let count = i64::try_from(batch.len()).unwrap();
    for kept in [batch.len(), 0] {
        let recorded = record_last(conn, &lease, &batch, Settlement::default()).await;
        assert_eq!(recorded.unwrap(), Recorded::Kept(kept));
        let run = find_run(conn, Some(&owner), run_id).await.unwrap();
        assert_eq!(run.recorded, count);
        assert_eq!(run.spend_microusd, 10 * count);
    }
    let open: i32 = sqlx::query_scalar("select shards_open from runs where id = $1")
        .bind(run_id)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(open, 5, "it was closed once");
    assert!(!finish_shard(conn, &lease).await.unwrap());
    let stranger = ShardLease {
        fence: lease.fence + 1,
        ..lease
    };
    let recorded = record_last(conn, &stranger, &batch, Settlement::default()).await;
    assert_eq!(recorded.unwrap(), Recorded::Fenced);
}

#[tokio::test]
async fn results_are_kept_once_however_often_they_come() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 70).await;
    let run_id = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1)
        .await
        .id;
    fixtures::cut_finely(conn, run_id).await;
    let lease = claim_shard(conn, "w", LEASE).await.unwrap().unwrap();
    let more = results(conn, &lease).await;
    assert_eq!(more.len(), 2, "evaluations of the shard");
    let batch = more[..1].to_vec();
    for (tried, kept) in [(&batch, 1), (&batch, 0), (&more, 1), (&more, 0)] {
        let recorded = record(conn, &lease, tried, Settlement::default()).await;
        assert_eq!(recorded.unwrap(), Recorded::Kept(kept));
    }
    let run = find_run(conn, Some(&owner), run_id).await.unwrap();
    assert_eq!(
        (
            run.recorded,
            run.passed,
            run.retries,
            run.cost_microusd,
            run.spend_microusd
        ),
        (2, 2, 2, 20, 20)
    );
    assert_eq!(run.state, RunState::Running);
}

#[tokio::test]
async fn a_late_worker_writes_nothing() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (owner, run_id, shards) = run_with_shards(conn).await;
    let late = fixtures::claim(conn, shards[0]).await.unwrap();
    let batch = results(conn, &late).await;
    expire(conn, &late).await;
    assert_eq!(mend(conn).await.unwrap().expired_leases, 1);
    assert_eq!(
        record(conn, &late, &batch, Settlement::default())
            .await
            .unwrap(),
        Recorded::Fenced,
        "rescued, not claimed yet"
    );
    let next = fixtures::claim(conn, shards[0]).await.unwrap();
    assert_eq!(
        record(conn, &late, &batch, Settlement::default())
            .await
            .unwrap(),
        Recorded::Fenced,
        "claimed by another"
    );
    assert!(!finish_shard(conn, &late).await.unwrap());
    let held = HeldLease {
        shard_id: shards[0],
        paused: false,
    };
    assert_eq!(
        renew_lease(conn, &[late, next], LEASE).await.unwrap(),
        [held]
    );
    assert_eq!(
        record(conn, &next, &batch, Settlement::default())
            .await
            .unwrap(),
        Recorded::Kept(1)
    );
    assert!(finish_shard(conn, &next).await.unwrap());
    assert_eq!(
        record(conn, &next, &batch, Settlement::default())
            .await
            .unwrap(),
        Recorded::Fenced,
        "done is done"
    );
    assert_eq!(
        find_run(conn, Some(&owner), run_id).await.unwrap().recorded,
        1
    );
}

#[tokio::test]
async fn a_released_shard_can_be_claimed_at_once_and_counts_no_crash() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (_, _, shards) = run_with_shards(conn).await;
    let lease = fixtures::claim(conn, shards[0]).await.unwrap();
    release_shard(conn, &lease, 0).await.unwrap();
    release_shard(conn, &lease, 0).await.unwrap();
    let again = fixtures::claim(conn, shards[0]).await.unwrap();
    assert!(again.fence > lease.fence);
    let crashes: i32 = sqlx::query_scalar("select crashes from shards where id = $1")
        .bind(shards[0])
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(crashes, 0);
}

#[tokio::test]
async fn a_cancelled_run_takes_no_more_results() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (owner, run_id, shards) = run_with_shards(conn).await;
    let lease = fixtures::claim(conn, shards[0]).await.unwrap();
    let batch = results(conn, &lease).await;
    let run = cancel_run(conn, &owner, run_id).await.unwrap();
    assert_eq!(run.state, RunState::Cancelled);
    assert_eq!(
        record(conn, &lease, &batch, Settlement::default())
            .await
            .unwrap(),
        Recorded::Fenced
    );
    assert!(
        renew_lease(conn, &[lease], LEASE).await.unwrap().is_empty(),
        "the worker learns of it"
    );
    assert!(fixtures::claim(conn, shards[1]).await.is_none());
    assert!(
        cancel_run(conn, &owner, run_id).await.is_err(),
        "it has ended"
    );
}

#[tokio::test]
async fn a_paused_run_gives_no_leases_and_ends_when_its_last_shard_does() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let (owner, run_id, shards) = run_with_shards(conn).await;
    let mut leases = Vec::new();
    for shard in &shards[1..] {
        leases.push(fixtures::claim(conn, *shard).await.unwrap());
    }
    let (released, held) = leases.split_last().unwrap();
    pause_run(conn, &owner, run_id).await.unwrap();
    assert!(fixtures::claim(conn, shards[0]).await.is_none());
    let renewed = renew_lease(conn, &leases, LEASE).await.unwrap();
    assert_eq!(renewed.len(), leases.len());
    assert!(renewed.iter().all(|held| held.paused));
    release_shard(conn, released, 0).await.unwrap();
    assert!(fixtures::claim(conn, released.shard_id).await.is_none());
    for lease in held {
        let batch = results(conn, lease).await;
        record(conn, lease, &batch, Settlement::default())
            .await
            .unwrap();
        assert!(finish_shard(conn, lease).await.unwrap());
    }
    let run = resume_run(conn, &owner, run_id).await.unwrap();
    assert_eq!((run.state, run.recorded), (RunState::Running, 4));
    let mut last = Vec::new();
    for shard in [shards[0], shards[5]] {
        last.push(fixtures::claim(conn, shard).await.unwrap());
    }
    pause_run(conn, &owner, run_id).await.unwrap();
    for lease in &last {
        let batch = results(conn, lease).await;
        assert_eq!(
            record(conn, lease, &batch, Settlement::default())
                .await
                .unwrap(),
            Recorded::Kept(1),
            "calls that ran are recorded"
        );
        assert!(finish_shard(conn, lease).await.unwrap());
    }
    let run = find_run(conn, Some(&owner), run_id).await.unwrap();
    assert_eq!(
        (run.state, run.state_reason.as_str()),
        (RunState::Finishing, "")
    );
}
