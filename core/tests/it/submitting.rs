//! Submitting is one transaction, in time that does not grow with the evaluations.

use opb_core::Error;
use opb_testing::{TestDatabase, fixtures, without_rules::submit_run};
use serde_json::json;

#[tokio::test]
async fn a_run_is_visible_exactly_when_its_shards_are() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 100).await;
    let run = fixtures::submit(
        conn,
        &owner,
        json!(["simulated:strong", "simulated:weak"]),
        3,
    )
    .await;
    assert_eq!(run.planned, 1200);
    let (shards, open, evaluations): (i64, i32, i64) = sqlx::query_as(
        "select count(*), (select shards_open from runs where id = $1), sum(size) from shards where run_id = $1",
    )
    .bind(run.id)
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    assert_eq!((evaluations, i64::from(open)), (1200, shards));
}

#[tokio::test]
async fn a_refused_run_leaves_nothing() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    let request = fixtures::request(json!(["simulated:strong", "simulated:genius"]), 1);
    let refused = submit_run(conn, &owner, &request, None);
    let Err(Error::Invalid(fields)) = refused.await else {
        panic!("accepted")
    };
    assert_eq!(fields[0].path, "models[1]");
    assert!(
        fields[0].message.contains("strong"),
        "the known models are named: {}",
        fields[0].message
    );
    let left: i64 = sqlx::query_scalar(
        "select (select count(*) from runs) + (select count(*) from shards) + (select count(*) from apalis.jobs)",
    )
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn twenty_equal_requests_with_one_key_are_one_run() {
    let db = TestDatabase::new().await;
    let owner = fixtures::library(&mut db.pool.acquire().await.unwrap(), 3).await;
    let submissions = (0..20).map(|_| {
        let (pool, owner) = (db.pool.clone(), owner.clone());
        async move {
            let mut conn = pool.acquire().await.unwrap();
            submit_run(
                &mut conn,
                &owner,
                &fixtures::request(json!(["simulated:fast"]), 1),
                Some("key"),
            )
            .await
            .unwrap()
            .id
        }
    });
    let ids = futures::future::join_all(submissions).await;
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    let conn = &mut db.pool.acquire().await.unwrap();
    let other = submit_run(
        conn,
        &owner,
        &fixtures::request(json!(["simulated:fast"]), 2),
        Some("key"),
    )
    .await;
    assert!(matches!(other, Err(Error::Conflict(_))));
}
