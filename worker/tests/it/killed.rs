//! Worker processes that are killed in the middle of a run: nothing is lost, nothing is doubled.

use std::process::{Child, Command, Stdio};

use opb_core::runs::{Run, RunState};
use opb_testing::{TestDatabase, fixtures};
use serde_json::json;

use crate::{
    harness::{MASTER_KEY, wait_for},
    runs::assert_counted_once,
};

/// A worker in a process of its own, as an operator starts it.
pub struct WorkerProcess(Child);

impl WorkerProcess {
    /// Starts one whose shards are given to another two seconds after it is killed.
    pub fn start(db: &TestDatabase, settings: &[&str]) -> Self {
        Self::start_with_lease(db, "2", settings)
    }

    /// Starts one with leases of so many seconds.
    pub fn start_with_lease(db: &TestDatabase, lease: &str, settings: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_opb-worker"))
            .args(["--lease", lease, "--log", "error"])
            .args(settings)
            .env("OPB_CONCURRENCY", "64")
            .env("DATABASE_URL", db.url())
            .env("OPB_MASTER_KEY", MASTER_KEY)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// The name that its shards have.
    pub fn name(&self) -> String {
        self.0.id().to_string()
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let told = Command::new("kill")
            .args(["-s", "TERM", &self.name()])
            .status()
            .unwrap();
        assert!(told.success());
        self.0.wait().unwrap().code()
    }

    /// SIGKILL: no destructor runs, no lease is given back.
    pub fn kill(mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What two runs of one request must have in common.
pub fn totals(run: &Run) -> (i64, i64, i64, i64, i64, i64) {
    (
        run.recorded,
        run.passed,
        run.errors,
        run.cost_microusd,
        run.input_tokens,
        run.output_tokens,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_evaluations_survive_kill_nine() {
    let db = TestDatabase::new().await;
    let conn = &mut db.pool.acquire().await.unwrap();
    let owner = fixtures::library(conn, 625).await;
    let models = json!([
        "simulated:strong",
        "simulated:balanced",
        "simulated:fast",
        "simulated:weak"
    ]);

    let run = fixtures::submit(conn, &owner, models.clone(), 1).await;
    assert_eq!(run.planned, 5_000);
    for share in [1_000, 2_500] {
        let worker = WorkerProcess::start(&db, &[]);
        wait_for(&db, &owner, run.id, |run| run.recorded >= share).await;
        worker.kill();
    }
    let worker = WorkerProcess::start(&db, &[]);
    let disturbed = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    assert_eq!(disturbed.state, RunState::Completed);
    assert_counted_once(&db, &disturbed).await;
    let crashes: i64 = sqlx::query_scalar("select coalesce(sum(crashes), 0) from shards")
        .fetch_one(&mut **conn)
        .await
        .unwrap();
    assert!(
        crashes > 0,
        "the kills hit shards in the middle of their work"
    );

    let run = fixtures::submit(conn, &owner, models, 1).await;
    let undisturbed = wait_for(&db, &owner, run.id, |run| run.state.has_ended()).await;
    drop(worker);
    assert_eq!(totals(&disturbed), totals(&undisturbed));
}
