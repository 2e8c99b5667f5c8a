//! The Postgres server that `opb up` starts for people who have none.
//!
//! One folder holds everything: the server's data, its password, its log and a lock.
//! The server listens on 127.0.0.1 only, on another free port at each start, and lives as long as its [`Cluster`].
//! What the database has confirmed is on the disk: only [`Cluster::start_scratch`] trades that for speed, for data that
//! nobody keeps.

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
use crate::folder_lock::{FolderLock, Refusal};

/// How often a start is tried again when something else was quicker to take the port.
const ATTEMPTS: u32 = 5;

/// How long a server may keep silent before a start is given up; a server that says it is recovering is not silent.
const SILENCE: Duration = Duration::from_mins(1);

/// A running Postgres server and the sole right to its folder.
///
/// Dropping it stops the server too, but blocks the thread meanwhile; prefer [`Cluster::stop`].
#[derive(Debug)]
pub struct Cluster {
    // The order matters: fields are dropped from the top, and the lock must outlive the server.
    server: Server,
    database_url: SecretString,
    folder: Folder,
    _lock: FolderLock,
}

impl Cluster {
    /// Starts the server of the folder `data`, which is made first if it does not exist.
    ///
    /// # Errors
    /// When the folder is in use or cannot be entered, when no fitting Postgres is found or can be downloaded,
    /// and when the server does not start; the last lines of its log are then part of the message.
    pub async fn start(data: &Path) -> Result<Self, Error> {
        Self::start_with(data, Durability::Kept).await
    }

    /// Starts a server whose data goes with it: it waits for no disk, so a power cut leaves them unreadable.
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
        info!(postgres.version = %binaries.version, postgres.folder = %binaries.folder.display(), "found a Postgres server");

        prepare(folder.clone(), account.clone(), binaries.clone()).await?;
        let server = start_server(&folder, &account, &binaries, durability).await?;
        let database_url = folder.database_url(server.port)?;
        info!(postgres.port = server.port, postgres.data = %folder.cluster().display(), "the Postgres server is ready");
        Ok(Self {
            server,
            database_url,
            folder,
            _lock: lock,
        })
    }

    /// The address of the database `opb`, with its password; it changes at each start.
    #[must_use]
    pub fn database_url(&self) -> &SecretString {
        &self.database_url
    }

    /// The address of the same database for the superuser, who may make other databases and roles.
    ///
    /// # Errors
    /// The password cannot be read.
    pub fn admin_database_url(&self) -> Result<SecretString, Error> {
        Ok(self.folder.admin()?.url(self.server.port, "opb"))
    }

    /// Waits until the server has ended, and returns why; it never returns while the server runs.
    pub async fn wait_exit(&self) -> Error {
        let status = self.server.exited().await;
        Error::Exited {
            status,
            log: self.folder.log().tail(0),
        }
    }

    /// Stops the server: open connections are cut, everything confirmed is kept.
    ///
    /// It takes at most about 45 seconds, usually far less than one.
    ///
    /// # Errors
    /// When the server is still there after even a kill.
    pub async fn stop(self) -> Result<(), Error> {
        blocking(move || self.server.halt()).await
    }
}

/// The folder that is used when none is named: `$XDG_DATA_HOME/openpromptbank` or `~/.local/share/openpromptbank`.
///
/// For root it is `/var/lib/openpromptbank`: Postgres refuses to run as root, so the server runs as another user,
/// who could not enter root's home.
#[must_use]
pub fn default_data_dir() -> PathBuf {
    if account::is_root() {
        return PathBuf::from("/var/lib/openpromptbank");
    }
    // The XDG specification says that a relative path is to be ignored.
    let data_home = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    data_home
        .or_else(|| std::env::home_dir().map(|home| home.join(".local/share")))
        .unwrap_or_default()
        .join("openpromptbank")
}

/// Makes a data folder that the server will be able to enter, and returns its absolute path.
///
/// # Errors
/// When the folder cannot be made.
pub fn create_data_folder(data: &Path) -> Result<PathBuf, Error> {
    Ok(Folder::create(data)?.root)
}

/// The address of the database `opb` of the server that runs from the folder `data`, if one does.
#[must_use]
pub fn running_database_url(data: &Path) -> Option<SecretString> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let port = pidfile::port(&folder.cluster())?;
    folder.database_url(port).ok()
}

/// The Postgres programs that a start would use: their version and their folder. Nothing is downloaded.
///
/// # Errors
/// When there are programs, but none that fits the data.
pub fn installed_version(data: &Path) -> Result<Option<(String, PathBuf)>, Error> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let binaries = Binaries::installed(&folder)?;
    Ok(binaries.map(|binaries| (binaries.version, binaries.folder)))
}

/// Refuses a data folder in which no server can be started, whether it is there or not. Nothing is made.
///
/// # Errors
/// Those of [`Cluster::start`], as far as they can be foreseen.
pub fn check_data_folder(data: &Path) -> Result<(), Error> {
    let folder = Folder {
        root: data.to_owned(),
    };
    let account = Account::for_server_of(&folder)?;
    folder.version()?;
    // What is made in a folder can be entered by whoever can enter that.
    let there = data.ancestors().find_map(|there| there.canonicalize().ok());
    match there {
        Some(root) => account.require_entry(&Folder { root }),
        None => Ok(()),
    }
}

fn take_lock(folder: &Folder) -> Result<FolderLock, Error> {
    let path = folder.lock_file();
    FolderLock::take(&path).map_err(|refusal| match refusal {
        Refusal::Taken(process) => Error::Locked {
            process,
            folder: folder.root.clone(),
        },
        Refusal::Stranger { process, user } => Error::LockedByStranger {
            process,
            user,
            file: path.clone(),
        },
        Refusal::Io(source) => Error::Io {
            what: format!("lock {}", path.display()),
            source,
        },
    })
}

/// Makes the data folder if there is none, and clears what a crash has left.
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

/// Starts the server on a free port and makes its database ready.
///
/// Between choosing a port and listening on it another process can take it, and the children of a server
/// that was killed can hold its shared memory a moment longer; both mend themselves, so both are tried again.
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
        warn!(attempt, "the Postgres server could not start, trying again");
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

/// Runs `work` where it may block.
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
