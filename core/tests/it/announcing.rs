//! However much happens, one host gets a bounded number of messages in an hour, and the owner sees that some are missing.

use opb_core::{auth::CurrentUser, runs::cancel_run};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;
use sqlx::PgConnection;

/// A run of the owner ends.
async fn end_a_run(conn: &mut PgConnection, owner: &CurrentUser) {
    let run = fixtures::submit(conn, owner, json!(["simulated:strong"]), 1).await;
    cancel_run(conn, owner, run.id).await.unwrap();
}

/// Says how many messages there were for the host in this hour, and in the next, in case it begins meanwhile.
async fn set_messages(conn: &mut PgConnection, owner: &CurrentUser, messages: i64) {
    sqlx::query(
        "insert into webhook_hours (owner_id, host, hour, messages)
         select $1, 'https://victim.example', date_trunc('hour', now(), 'UTC') + n * interval '1 hour', $2
         from generate_series(0, 1) as n
         on conflict (owner_id, host, hour) do update set messages = excluded.messages",
    )
    .bind(owner.id)
    .bind(messages)
    .execute(conn)
    .await
    .unwrap();
}

/// The messages to the host, oldest first: their states, and why they failed.
async fn messages(conn: &mut PgConnection) -> Vec<(String, Option<String>)> {
    sqlx::query_as(
        "select state::text, error
         from webhook_deliveries
         join webhooks on webhooks.id = webhook_id
         left join webhook_attempts on delivery_id = webhook_deliveries.id
         where host = 'https://victim.example'
         order by webhook_deliveries.id",
    )
    .fetch_all(conn)
    .await
    .unwrap()
}

#[tokio::test]
async fn a_host_gets_so_many_messages_in_an_hour_and_one_notice() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 3).await;
    sqlx::query(
        "insert into webhooks (id, owner_id, name, host, sealed_url, sealed_secret, format, events)
         select gen_random_uuid(), $1, name, host, '', '', 'standard', '{run.finished}'
         from (values ('one', 'https://victim.example'), ('other', 'https://victim.example'),
                      ('elsewhere', 'https://elsewhere.example')) as it (name, host)",
    )
    .bind(owner.id)
    .execute(&mut **conn)
    .await
    .unwrap();
    let waiting = ("waiting".to_owned(), None);

    end_a_run(conn, &owner).await;
    assert_eq!(messages(conn).await, vec![waiting.clone(); 2]);

    // One more fits into the hour: of two that come at once the second is the notice.
    set_messages(conn, &owner, 599).await;
    end_a_run(conn, &owner).await;
    let found = messages(conn).await;
    let mut newest = found[2..].to_vec();
    newest.sort();
    assert_eq!(newest.len(), 2, "{found:?}");
    assert_eq!(newest[0].0, "failed");
    let reason = newest[0].1.as_deref().unwrap();
    assert!(reason.contains("at most 600 messages an hour"), "{reason}");
    assert_eq!(newest[1], waiting);

    set_messages(conn, &owner, 601).await;
    end_a_run(conn, &owner).await;
    assert_eq!(messages(conn).await.len(), 4);
    let elsewhere: i64 = sqlx::query_scalar(
        "select count(*) from webhook_deliveries join webhooks on webhooks.id = webhook_id
         where host = 'https://elsewhere.example' and state = 'waiting'",
    )
    .fetch_one(&mut **conn)
    .await
    .unwrap();
    assert_eq!(elsewhere, 3);
}
