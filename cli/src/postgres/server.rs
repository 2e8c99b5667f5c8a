//! The server process, from start to end.

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use tokio::sync::watch;

use super::account::Account;
use super::binaries::Binaries;
use super::folder::Folder;
use super::{Error, pidfile};

/// Whether confirmed transactions survive a power failure.
#[derive(Debug, Clone, Copy)]
pub enum Durability {
    /// They do.
    Kept,
    /// They need not: the data are temporary.
    Scratch,
}

impl Durability {
    fn settings(self) -> [&'static str; 3] {
        match self {
            Self::Kept => ["fsync=on", "full_page_writes=on", "synchronous_commit=on"],
            Self::Scratch => [
                "fsync=off",
                "full_page_writes=off",
                "synchronous_commit=off",
            ],
        }
    }
}

/// The settings of every server; on the command line they override any file in the data folder.
/// The sizes suit a small machine that also runs opb.
const SETTINGS: [&str; 15] = [
    "listen_addresses=127.0.0.1",
    // The path of a socket is limited to about 100 bytes, and the data folder's path may be longer.
    "unix_socket_directories=",
    "ssl=off",
    "max_connections=200",
    "shared_buffers=256MB",
    "wal_compression=on",
    "max_wal_size=2GB",
    "checkpoint_timeout=15min",
    "jit=off",
    "timezone=UTC",
    "log_timezone=UTC",
    "lc_messages=C",
    "log_destination=stderr",
    "logging_collector=off",
    "cluster_name=openpromptbank",
];

/// A server process; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    /// Its port on 127.0.0.1.
    pub port: u16,
    pid: u32,
    exit: watch::Receiver<Option<String>>,
}

impl Server {
    /// Starts the server, which needs a moment before it answers.
    pub fn spawn(
        folder: &Folder,
        account: &Account,
        binaries: &Binaries,
        durability: Durability,
        port: u16,
    ) -> Result<Self, Error> {
        let program = binaries.program("postgres");
        let what = || format!("run {}", program.display());
        let log = folder.log().open()?;
        account.give(&folder.log().path)?;
        let mut command = account.command(&program);
        command
            .arg("-D")
            .arg(folder.cluster())
            .args(["-p", &port.to_string()]);
        let settings = durability.settings();
        command.args(
            settings
                .iter()
                .chain(&SETTINGS)
                .flat_map(|setting| ["-c", setting]),
        );
        command
            .stdout(log.try_clone().map_err(Error::io(what()))?)
            .stderr(log);

        let (started, start) = mpsc::sync_channel(1);
        let (ended, exit) = watch::channel(None);
        // Linux sends the parent-death signal when the parent's *thread* ends: this one lives exactly as long as the
        // server.
        thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || keep(command, &started, &ended))
            .map_err(Error::io("start a thread for the Postgres server"))?;
        let started = start
            .recv()
            .unwrap_or_else(|_| Err(std::io::Error::other("its thread has ended")));
        Ok(Self {
            port,
            pid: started.map_err(Error::io(what()))?,
            exit,
        })
    }

    /// Waits until the server has ended, and returns its exit status.
    pub async fn exited(&self) -> String {
        let mut exit = self.exit.clone();
        let status = exit.wait_for(Option::is_some).await;
        status
            .ok()
            .and_then(|status| status.clone())
            .unwrap_or_else(|| "unknown".to_owned())
    }

    /// Stops the server and waits for its end; blocks for at most about 45 seconds.
    pub fn halt(&self) -> Result<(), Error> {
        if pidfile::halt(self.pid, || self.exit.borrow().is_some()) {
            return Ok(());
        }
        Err(Error::StillRunning { pid: self.pid })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.halt() {
            tracing::error!(pid = self.pid, %error, "could not stop the Postgres server (process {})", self.pid);
        }
    }
}

/// Runs the server to its end.
fn keep(
    mut command: Command,
    started: &mpsc::SyncSender<std::io::Result<u32>>,
    ended: &watch::Sender<Option<String>>,
) {
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            // The receiver waits for exactly this message.
            started.send(Err(error)).ok();
            return;
        }
    };
    started.send(Ok(child.id())).ok();
    let status = child
        .wait()
        .map_or_else(|error| error.to_string(), |status| status.to_string());
    ended.send_replace(Some(status));
}
