//! The table of a run that goes on is summed up once for all who ask, and none of them holds a connection meanwhile.

use std::time::Duration;

use futures::future::join_all;
use serde_json::json;

use crate::server::{Server, field, run};

#[tokio::test]
async fn many_who_ask_for_a_run_that_goes_on_wait_for_one_sum() {
    let server = Server::start().await;
    let token = server.user("ada").await;
    server.prepare_run(&token).await;
    let submitted = server
        .post("/api/v1/runs", &token, &run())
        .await
        .expect(202);
    let id = field(&submitted, "id");
    // Something is recorded, and as long as the table is locked it cannot be summed up.
    server
        .sql(
            "insert into evaluations (run_id, item_position, repeat, prompt_position, model_position, state, score, passed, attempts)
             select id, 0, 0, 0, 0, 'scored', 1, true, 1 from runs",
        )
        .await;
    server
        .sql("update shards set recorded = 1 where id = (select min(id::text)::uuid from shards)")
        .await;
    let mut locked = server.database.pool.begin().await.unwrap();
    sqlx::query("set local idle_in_transaction_session_timeout = 0")
        .execute(&mut *locked)
        .await
        .unwrap();
    sqlx::query("lock table evaluations in access exclusive mode")
        .execute(&mut *locked)
        .await
        .unwrap();
    let path = format!("/api/v1/runs/{id}/columns");
    let asked = join_all((0..40).map(|_| server.get(&path, "")));
    let others = async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock' and query like '%blocks::sum_up%'";
        loop {
            let waiting: i64 = sqlx::query_scalar(waiting)
                .fetch_one(&server.database.pool)
                .await
                .unwrap();
            if waiting > 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        // Who asks for something else finds a connection.
        server.get("/api/v1/prompts", "").await.expect(200);
        let waiting: i64 = sqlx::query_scalar(waiting)
            .fetch_one(&server.database.pool)
            .await
            .unwrap();
        locked.rollback().await.unwrap();
        waiting
    };
    tokio::pin!(asked);
    let waiting = tokio::select! {
        replies = &mut asked => panic!("nobody sums the run up: {}", replies[0].text),
        waiting = others => waiting,
    };
    assert_eq!(waiting, 1, "one sums up, and the others wait for it");
    for reply in asked.await {
        assert_eq!(reply.expect(200)["columns"][0]["evaluations"], json!(1));
    }
}
