//! Several scheduler processes, one of them killed: every tick becomes exactly one run.

use opb_testing::{TestDatabase, fixtures, without_rules};
use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use opb_core::schedules::{CatchUp, NewSchedule};
use serde_json::json;

/// A scheduler in a process of its own, as an operator starts it.
struct SchedulerProcess(Child);

impl SchedulerProcess {
    fn start(db: &TestDatabase) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_opb-scheduler"))
            .args(["--log", "error"])
            .env("DATABASE_URL", db.url())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for SchedulerProcess {
    /// SIGKILL: no destructor runs, no transaction ends in order.
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn count(db: &TestDatabase, what: &'static str) -> i64 {
    sqlx::query_scalar(what).fetch_one(&db.pool).await.unwrap()
}

async fn wait_until(db: &TestDatabase, firings: i64) -> i64 {
    let patience = Instant::now() + Duration::from_mins(1);
    loop {
        let fired = count(db, "select count(*) from firings").await;
        if fired >= firings {
            return fired;
        }
        assert!(Instant::now() < patience, "{fired} of {firings} fired");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Twenty schedules have slept for ten minutes each; their 200 ticks are made up for by three schedulers at once.
#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_ticks_fire_once_each_whoever_is_killed() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 2).await;
    for number in 0..20 {
        let new = NewSchedule {
            name: format!("every minute {number}"),
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
    }
    // All at once, so that the schedulers meet; ticks of the minutes to come are beside the point.
    let sleep = "update schedules
                 set last_due_at = date_trunc('minute', now()) - interval '10 minutes', next_at = now() - interval '9 minutes'";
    sqlx::query(sleep).execute(&mut **conn).await.unwrap();
    let slept_until: chrono::DateTime<chrono::Utc> =
        sqlx::query_scalar("select date_trunc('minute', now())")
            .fetch_one(&mut **conn)
            .await
            .unwrap();

    let victim = SchedulerProcess::start(&db);
    let survivors = [SchedulerProcess::start(&db), SchedulerProcess::start(&db)];
    let before = wait_until(&db, 20).await;
    drop(victim);
    assert!(before < 200, "the kill came in the middle: {before}");
    wait_until(&db, 200).await;
    drop(survivors);

    let of_the_sleep: i64 = sqlx::query_scalar("select count(*) from firings where due_at <= $1")
        .bind(slept_until)
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert_eq!(of_the_sleep, 200);
    // Each of the ten ticks of each schedule is there, none was left out, and each has a run of its own.
    let per_schedule = "select count(*) from (select 1 from firings group by schedule_id having count(*) >= 10
                        and count(*) = count(distinct due_at) and max(missed) = 0 and bool_and(state = 'submitted')) f";
    assert_eq!(count(&db, per_schedule).await, 20);
    let fired = count(&db, "select count(*) from firings").await;
    assert_eq!(count(&db, "select count(*) from runs").await, fired);
    assert_eq!(
        count(&db, "select count(distinct run_id) from firings").await,
        fired
    );
}
