//! The embedded Postgres server of `opb up`, for users who have none.
//!
//! One folder contains everything: the server's data, its passwords, its log and a lock.
//! The server listens on 127.0.0.1 only, on a free port that changes at each start, and lives as long as its
//! [`Cluster`].
//! Confirmed transactions are on disk; only [`Cluster::start_scratch`] trades that for speed, for temporary data.

mod account;
mod binaries;
mod error;
mod folder;
mod initdb;
mod log;
mod pidfile;
mod readiness;
mod roles;
mod server;
#[cfg(test)]
mod tests;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::SecretString;
use tracing::{info, warn};

use self::account::Account;
use self::binaries::Binaries;
pub use self::error::Error;
use self::folder::Folder;
use self::server::{Durability, Server};
use crate::folder_lock::{FolderLock, LockError};

/// Maximum number of attempts to start, if another process takes the port first.
const ATTEMPTS: u32 = 5;

/// How long a start waits for a silent server; a server that reports recovery is not silent.
const SILENCE: Duration = Duration::from_mins(1);

/// A running Postgres server with exclusive use of its folder.
///
/// Dropping it also stops the server, but blocks the thread; prefer [`Cluster::stop`].
#[derive(Debug)]
pub struct Cluster {
    // The order matters: fields are dropped from the top, and the lock must outlive the server.
    server: Server,
    database_url: SecretString,
    folder: Folder,
    _lock: FolderLock,
}

impl Cluster {
    /// Starts the server of the folder `data`, which is created first if it does not exist.
    ///
    /// # Errors
    /// The folder is in use or cannot be entered, no suitable Postgres is installed or can be downloaded, or the server
    /// does not start; the message then includes the last lines of its log.
    pub async fn start(data: &Path) -> Result<Self, Error> {
        Self::start_with(data, Durability::Kept).await
    }

    /// Starts a server for temporary data: it does not sync to disk, so a power failure corrupts the data.
    ///
    /// # Errors
    /// As [`Cluster::start`].
    pub async fn start_scratch(data: &Path) -> Result<Self, Error> {
        Self::start_with(data, Durability::Scratch).await
    }

    async fn start_with(data: &Path, durability: Durability) -> Result<Self, Error> {
        let folder = Folder::create(data)?;
        let lock = take_lock(&folder)?;
        let account = Account::for_server_of(&folder)?;
        account.require_entry(&folder)?;
        let binaries = Binaries::find_or_download(&folder).await?;
        info!(
            postgres.version = %binaries.version,
            postgres.folder = %binaries.folder.display(),
            "found Postgres {}", binaries.version
        );

        prepare(folder.clone(), account.clone(), binaries.clone()).await?;
        let server = start_server(&folder, &account, &binaries, durability).await?;
        let database_url = folder.database_url(server.port)?;
        info!(
            postgres.port = server.port,
            postgres.data = %folder.cluster().display(),
            "the Postgres server is ready on port {}", server.port
        );
        Ok(Self {
            server,
            database_url,
            folder,
            _lock: lock,
        })
    }

    /// The URL of the database `opb`, with its password; it changes at each start.
    #[must_use]
    pub fn database_url(&self) -> &SecretString {
        &self.database_url
    }

    /// The URL of the same database for the superuser, who may create other databases and roles.
    ///
    /// # Errors
    /// The password cannot be read.
    pub fn admin_database_url(&self) -> Result<SecretString, Error> {
        Ok(self.folder.admin()?.url(self.server.port, "opb"))
    }

    /// Waits until the server ends, and returns the reason; never returns while it runs.
    pub async fn wait_exit(&self) -> Error {
        let status = self.server.exited().await;
        Error::Exited {
            status,
            log: self.folder.log().tail(0),
        }
    }

    /// Stops the server: open connections are cut, confirmed transactions are kept.
    ///
    /// Takes at most about 45 seconds, usually far less than one.
    ///
    /// # Errors
    /// The server survives even a kill.
    pub async fn stop(self) -> Result<(), Error> {
        blocking(move || self.server.halt()).await
    }
}

/// The default data folder: `$XDG_DATA_HOME/openpromptbank` or `~/.local/share/openpromptbank`.
///
/// For root it is `/var/lib/openpromptbank`: root's server runs as another user, who cannot enter root's home.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if account::is_root() {
        return PathBuf::from("/var/lib/openpromptbank");
    }
    // The XDG specification requires relative paths to be ignored.
    let data_home = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    data_home
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
        .unwrap_or_default()
        .join("openpromptbank")
}

/// Creates a data folder that the server can enter, and returns its absolute path.
///
/// # Errors
/// The folder cannot be created.
pub fn create_data_folder(data: &Path) -> Result<PathBuf, Error> {
    Ok(Folder::create(data)?.root)
}

/// The URL of the database `opb` on the server that runs from the folder `data`, if one does.
#[must_use]
pub fn running_database_url(data: &Path) -> Option<SecretString> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let port = pidfile::port(&folder.cluster())?;
    folder.database_url(port).ok()
}

/// The version and the folder of the Postgres programs that a start would use. Nothing is downloaded.
///
/// # Errors
/// There are programs, but none fits the data.
pub fn installed_version(data: &Path) -> Result<Option<(String, PathBuf)>, Error> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let binaries = Binaries::installed(&folder)?;
    Ok(binaries.map(|binaries| (binaries.version, binaries.folder)))
}

/// Checks whether a server could be started in a data folder, which need not exist. Nothing is created.
///
/// # Errors
/// Those of [`Cluster::start`], as far as they can be predicted.
pub fn check_data_folder(data: &Path) -> Result<(), Error> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let account = Account::for_server_of(&folder)?;
    folder.version()?;
    // The server can enter a new folder if it can enter the existing folder above it.
    let there = data.ancestors().find_map(|there| there.canonicalize().ok());
    match there {
        Some(root) => account.require_entry(&Folder { root }),
        None => Ok(()),
    }
}

fn take_lock(folder: &Folder) -> Result<FolderLock, Error> {
    let path = folder.lock_file();
    FolderLock::take(&path).map_err(|refusal| match refusal {
        LockError::Held(process) => Error::Locked {
            process,
            folder: folder.root.clone(),
        },
        LockError::HeldByOtherUser { process, user } => Error::LockedByStranger {
            process,
            user,
            file: path.clone(),
        },
        LockError::Io(source) => Error::Io {
            what: format!("lock {}", path.display()),
            source,
        },
    })
}

/// Creates the data folder if there is none, and cleans up after a crash.
async fn prepare(folder: Folder, account: Account, binaries: Binaries) -> Result<(), Error> {
    blocking(move || {
        folder.log().rotate()?;
        if folder.version()?.is_none() {
            initdb::create(&folder, &account, &binaries)?;
        }
        pidfile::clear(&folder.cluster())
    })
    .await
}

/// Starts the server on a free port and prepares its database.
///
/// Another process can take the port after it was chosen, and the children of a killed server can hold its shared
/// memory a moment longer; both problems are temporary, so the start is retried.
async fn start_server(
    folder: &Folder,
    account: &Account,
    binaries: &Binaries,
    durability: Durability,
) -> Result<Server, Error> {
    let mut attempt = 1;
    loop {
        let log_start = folder.log().size();
        let server = Server::spawn(folder, account, binaries, durability, free_port()?)?;
        let Err(error) =
            readiness::prepare_database(&server, folder, account, SILENCE, log_start).await
        else {
            return Ok(server);
        };
        let Error::Start { log, .. } = &error else {
            return Err(error);
        };
        if attempt == ATTEMPTS || !mends_itself(log) {
            return Err(error);
        }
        warn!(
            attempt,
            "the Postgres server could not start (attempt {attempt}), trying again"
        );
        tokio::time::sleep(Duration::from_millis(250 * u64::from(attempt))).await;
        attempt += 1;
    }
}

fn mends_itself(log: &str) -> bool {
    [
        "could not bind",
        "Address already in use",
        "shared memory block",
    ]
    .iter()
    .any(|cause| log.contains(cause))
}

fn free_port() -> Result<u16, Error> {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Error::io("find a free port on 127.0.0.1"))
}

/// Runs `work` on a thread where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| Error::Io {
            what: "finish the work on the Postgres folder".to_owned(),
            source: error.into(),
        })?
}
