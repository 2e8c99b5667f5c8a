//! The operator's door on a real Postgres.

mod traces;

use opb_monitor::{MonitorSettings, beside, serve};
use opb_testing::TestDatabase;
use tokio::net::TcpListener;

/// The status and the text of an answer.
async fn get(address: &str, path: &str) -> (u16, String) {
    let response = reqwest::get(format!("{address}{path}")).await.unwrap();
    let status = response.status().as_u16();
    (status, response.text().await.unwrap())
}

#[tokio::test]
async fn a_process_says_how_it_is() {
    let database = TestDatabase::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(serve(listener, database.pool.clone()));
    assert_eq!(get(&address, "/healthz").await, (200, "ok\n".into()));
    assert_eq!(get(&address, "/readyz").await, (200, "ready\n".into()));
    let (status, metrics) = get(&address, "/metrics").await;
    assert_eq!(status, 200);
    // The pool of the test's database is watched, because it was opened as every process opens its own.
    for line in [
        r#"opb_database_pool_connections_max{pool="test"} 20"#,
        r#"opb_build_info{version="0.1.0"} 1"#,
    ] {
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}: {metrics}"
        );
    }
    assert_eq!(get(&address, "/api/v1/runs").await.0, 404);
    // A page whose name leads here by DNS rebinding reads nothing.
    let rebound = reqwest::Client::new()
        .get(format!("{address}/metrics"))
        .header("host", "evil.example");
    assert_eq!(rebound.send().await.unwrap().status().as_u16(), 421);
    let posted = reqwest::Client::new()
        .post(format!("{address}/metrics"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (posted.status().as_u16(), &posted.headers()["allow"]),
        (405, &"GET, HEAD".parse().unwrap())
    );

    sqlx::query(
        "delete from _sqlx_migrations where version = (select max(version) from _sqlx_migrations)",
    )
    .execute(&database.pool)
    .await
    .unwrap();
    assert_eq!(
        get(&address, "/readyz").await,
        (503, "the database is not migrated\n".into())
    );
    database.pool.close().await;
    assert_eq!(
        get(&address, "/readyz").await,
        (503, "the database does not answer\n".into())
    );
    assert_eq!(get(&address, "/healthz").await.0, 200);
    // A pool that is closed is not reported any more.
    assert!(!get(&address, "/metrics").await.1.contains("pool=\"test\""));
}

#[tokio::test]
async fn the_door_closes_with_the_work() {
    let database = TestDatabase::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let settings = |listen| MonitorSettings {
        monitor_listen: listen,
    };
    let free = settings(Some("127.0.0.1:0".parse().unwrap()));
    beside(async { Ok(()) }, &free, database.pool.clone(), |_| {})
        .await
        .unwrap();
    beside(
        async { Ok(()) },
        &settings(None),
        database.pool.clone(),
        |_| {},
    )
    .await
    .unwrap();
    let taken = settings(Some(taken.local_addr().unwrap()));
    let error = beside(
        std::future::pending(),
        &taken,
        database.pool.clone(),
        |_| {},
    )
    .await
    .unwrap_err();
    assert!(error.to_string().contains("for monitoring"), "{error}");
}
