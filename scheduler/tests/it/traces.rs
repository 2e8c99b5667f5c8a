//! What a scheduler process exports: that a schedule has submitted a run, so that the run's shards have something to link to.

use opb_testing::{TestDatabase, collector::Collector, fixtures, without_rules};
use std::process::{Command, Stdio};

use opb_core::schedules::{CatchUp, NewSchedule};
use serde_json::json;
use uuid::Uuid;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_a_schedule_is_said_to_be_submitted() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    let new = NewSchedule {
        name: "every minute".into(),
        cron: "* * * * *".into(),
        time_zone: "Europe/Berlin".into(),
        request: fixtures::request(json!(["simulated:strong"]), 1),
        catch_up: CatchUp::All,
        catch_up_limit: 100,
        jitter_seconds: 0,
    };
    without_rules::create_schedule(conn, &owner, &new)
        .await
        .unwrap();
    let sleep = "update schedules
                 set last_due_at = date_trunc('minute', now()) - interval '1 minute', next_at = date_trunc('minute', now())";
    sqlx::query(sleep).execute(&mut **conn).await.unwrap();
    let collector = Collector::start().await;
    let mut scheduler = Command::new(env!("CARGO_BIN_EXE_opb-scheduler"))
        .args(["--log", "error"])
        .env("DATABASE_URL", db.url())
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.url)
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    let spans = collector.wait_for(|spans| !spans.is_empty()).await;
    let told = Command::new("kill")
        .args(["-s", "TERM", &scheduler.id().to_string()])
        .status();
    assert!(told.unwrap().success());
    assert_eq!(scheduler.wait().unwrap().code(), Some(0));
    let run_id: Uuid = sqlx::query_scalar("select id from runs order by id limit 1")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(
        (spans[0].name.as_str(), spans[0].service()),
        ("submit run", "opb-scheduler")
    );
    assert_eq!(spans[0].get("opb.run.id"), run_id.to_string());
    assert_eq!(spans[0].trace_id, run_id.simple().to_string());
    assert!(spans[0].links.is_empty());
}
