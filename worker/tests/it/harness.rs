//! Starts workers and waits for runs.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use opb_core::{
    auth::CurrentUser,
    housekeeping::mend,
    outbound::OutboundSettings,
    runs::{Run, find_run},
    sealing::MasterKey,
};
use opb_testing::TestDatabase;
use opb_worker::WorkerSettings;
use sqlx::PgPool;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

#[derive(Parser)]
#[command(args_override_self = true)]
struct Program {
    #[command(flatten)]
    worker: WorkerSettings,
    #[command(flatten)]
    outbound: OutboundSettings,
}

/// A worker in this process.
pub struct RunningWorker {
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl RunningWorker {
    /// Starts a worker with these settings. It is patient, however busy the machine is.
    pub fn start(db: &TestDatabase, settings: &[&str]) -> Self {
        Self::start_on(&db.pool, settings)
    }

    /// The same on a pool of its own.
    pub fn start_on(pool: &PgPool, settings: &[&str]) -> Self {
        let words = ["worker", "--call-timeout", "3600", "--grace", "60"];
        let program = Program::parse_from(words.iter().chain(settings));
        let settings = WorkerSettings {
            outbound: Arc::new(program.outbound.policy()),
            ..program.worker
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(opb_worker::run(
            pool.clone(),
            pool.clone(),
            Arc::new(master_key()),
            settings,
            stop.clone(),
        ));
        Self { stop, task }
    }

    /// Tells it to stop and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

/// Drawn by chance: a process refuses a key that can be guessed.
pub const MASTER_KEY: &str = "5HI046TDhlz9GPdphmEzct2oXt2uPVenx8i3oJ0AJD8=";

/// The same key for every worker of the tests.
pub fn master_key() -> MasterKey {
    MasterKey::parse(&MASTER_KEY.into()).unwrap()
}

/// Waits until a run looks as wanted, keeping house meanwhile as a scheduler does.
pub async fn wait_for(
    db: &TestDatabase,
    owner: &CurrentUser,
    run_id: Uuid,
    wanted: impl Fn(&Run) -> bool,
) -> Run {
    let deadline = Instant::now() + Duration::from_mins(15);
    loop {
        let mut conn = db.pool.acquire().await.unwrap();
        mend(&mut conn).await.unwrap();
        let run = find_run(&mut conn, Some(owner), run_id).await.unwrap();
        if wanted(&run) {
            return run;
        }
        assert!(
            Instant::now() < deadline,
            "the run did not come that far in time: {run:#?}"
        );
        drop(conn);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
