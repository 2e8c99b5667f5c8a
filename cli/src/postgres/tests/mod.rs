//! Tests of the embedded Postgres under failures, with a real server.
#![expect(
    clippy::disallowed_methods,
    reason = "children of tests need what the tests need"
)]

mod crashes;
mod life;
mod refusals;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use secrecy::ExposeSecret;
use sqlx::{Connection, PgConnection};
use tempfile::TempDir;

use super::Cluster;
use super::folder::Folder;

/// The folder for [`parent`], when this test binary runs again as the process to kill.
const PARENT_FOLDER: &str = "OPB_TEST_PARENT_FOLDER";

/// A separate folder for each test, which the server's user can enter.
struct Site(TempDir);

impl Site {
    fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::set_permissions(temp.path(), Permissions::from_mode(0o755)).unwrap();
        Self(temp)
    }

    fn data(&self) -> PathBuf {
        self.0.path().join("data")
    }

    fn folder(&self) -> Folder {
        Folder::create(&self.data()).unwrap()
    }

    /// All live processes that name this folder or work in it.
    fn processes(&self) -> Vec<u32> {
        let needle = self.0.path().to_str().unwrap();
        let is_ours = |pid: &u32| {
            let proc = Path::new("/proc").join(pid.to_string());
            let command_line = fs::read(proc.join("cmdline")).unwrap_or_default();
            let is_here = fs::read_link(proc.join("cwd")).is_ok_and(|cwd| cwd.starts_with(needle));
            !command_line.is_empty()
                && (is_here || String::from_utf8_lossy(&command_line).contains(needle))
        };
        let entries = fs::read_dir("/proc").unwrap();
        entries
            .filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok())
            .filter(is_ours)
            .collect()
    }

    fn assert_empty(&self) {
        assert_eq!(self.processes(), Vec::<u32>::new());
    }

    /// Waits until no process runs here.
    fn wait_until_empty(&self) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !self.processes().is_empty() {
            assert!(
                Instant::now() < deadline,
                "still running: {:?}",
                self.processes()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

async fn ask(cluster: &Cluster, statement: &'static str) -> String {
    let mut conn = PgConnection::connect(cluster.database_url().expose_secret())
        .await
        .unwrap();
    let answer = sqlx::query_scalar(statement)
        .fetch_one(&mut conn)
        .await
        .unwrap();
    conn.close().await.unwrap();
    answer
}

async fn tell(cluster: &Cluster, statement: &'static str) {
    let mut conn = PgConnection::connect(cluster.database_url().expose_secret())
        .await
        .unwrap();
    sqlx::raw_sql(statement).execute(&mut conn).await.unwrap();
    conn.close().await.unwrap();
}

fn server_pid(site: &Site) -> u32 {
    let text = fs::read_to_string(site.data().join("postgres/postmaster.pid")).unwrap();
    text.lines().next().unwrap().parse().unwrap()
}

fn kill(signal: &str, pid: u32) {
    assert!(
        Command::new("sh")
            .args(["-c", "kill -s $0 $1", signal, &pid.to_string()])
            .status()
            .unwrap()
            .success()
    );
}

/// Runs this test binary again, with only [`parent`].
fn spawn_parent(data: &Path, uid: Option<u32>) -> Child {
    // The path of a test does not include its crate's name.
    let name = concat!(module_path!(), "::parent")
        .split_once("::")
        .unwrap()
        .1;
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "--nocapture", name])
        .env(PARENT_FOLDER, data)
        .current_dir("/");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit());
    if let Some(uid) = uid {
        command.uid(uid).gid(uid);
    }
    command.spawn().unwrap()
}

fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Not a test of its own: the process that the tests below start and kill.
///
/// Writes `ready` to a file and runs until its input is closed.
#[tokio::test]
async fn parent() {
    let Some(data) = std::env::var_os(PARENT_FOLDER).map(PathBuf::from) else {
        return;
    };
    let cluster = Cluster::start(&data).await.unwrap();
    File::create(data.join("ready")).unwrap();
    tokio::task::spawn_blocking(|| std::io::stdin().lines().count())
        .await
        .unwrap();
    cluster.stop().await.unwrap();
}
