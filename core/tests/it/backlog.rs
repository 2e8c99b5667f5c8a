//! What operators see of the work that waits.

use opb_core::{
    metrics::METRICS,
    runs::{Backlog, read_backlog},
};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use uuid::Uuid;

#[tokio::test]
async fn the_backlog_counts_what_waits_and_runs() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let empty = read_backlog(conn).await.unwrap();
    assert!(empty.database_bytes > 0);
    let nothing = Backlog {
        database_bytes: empty.database_bytes,
        oldest_transaction_seconds: empty.oldest_transaction_seconds,
        ..Backlog::default()
    };
    assert_eq!(empty, nothing);

    let owner = fixtures::library(conn, 70).await;
    let run = fixtures::submit(conn, &owner, json!(["simulated:strong"]), 1).await;
    sqlx::query("update runs set active_since = now() - interval '1 hour'")
        .execute(&mut **conn)
        .await
        .unwrap();
    let shards: Vec<Uuid> = sqlx::query_scalar(
        "update shards set available_at = now() - interval '1 minute' where run_id = $1 returning id",
    )
    .bind(run.id)
    .fetch_all(&mut **conn)
    .await
    .unwrap();
    fixtures::claim(conn, shards[0]).await.unwrap();
    let backlog = read_backlog(conn).await.unwrap();
    let waiting = i64::try_from(shards.len()).unwrap() - 1;
    assert_eq!(
        (backlog.shards_available, backlog.shards_running),
        (waiting, 1)
    );
    assert_eq!(
        (
            backlog.runs_queued + backlog.runs_running,
            backlog.runs_finishing
        ),
        (1, 0)
    );
    assert_eq!(backlog.evaluations, 140);
    assert!(
        (60.0..300.0).contains(&backlog.oldest_shard_seconds),
        "{backlog:?}"
    );

    backlog.publish();
    let text = METRICS.text();
    for line in [
        format!(r#"opb_queue_shards{{state="available"}} {waiting}"#),
        r#"opb_queue_shards{state="running"} 1"#.to_owned(),
        "opb_evaluations_open 140".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
}
