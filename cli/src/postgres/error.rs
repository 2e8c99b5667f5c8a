//! Errors of the embedded Postgres, with advice for its owner.

use std::path::PathBuf;

/// Why the embedded Postgres does not run; each message says how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be handled.
    #[error("cannot {what}")]
    Io {
        /// The failed action, after "cannot".
        what: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The folder belongs to a running `opb`.
    #[error(
        "another opb (process {process}) already uses {}; stop it or choose another folder with --data",
        folder.display()
    )]
    Locked {
        /// The other process id, from the lock file.
        process: String,
        /// The folder in use.
        folder: PathBuf,
    },
    /// The lock is held by a process that is no opb of this user.
    #[error(
        "process {process} of the user {user} holds {}, which only your own opb should hold; \
         end that process and start again",
        file.display()
    )]
    LockedByStranger {
        /// The process.
        process: u32,
        /// Its user.
        user: String,
        /// The lock file.
        file: PathBuf,
    },
    /// The server's user cannot enter the folder.
    #[error(
        "Postgres refuses to run as root, and the user `{user}`, which is used instead, cannot enter {}; \
         choose another folder with --data, for example /var/lib/openpromptbank",
        folder.display()
    )]
    NoEntry {
        /// The user that the server would run as.
        user: String,
        /// The folder that this user cannot enter.
        folder: PathBuf,
    },
    /// There is no user that root can run the server as.
    #[error(
        "Postgres refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it as; \
         run opb as an ordinary user, or set DATABASE_URL to a server of your own"
    )]
    NoUser,
    /// Only servers outside the supported range are installed.
    #[error(
        "found Postgres {found}, but opb needs version 15, 16, 17 or 18; \
         install one of these, or set DATABASE_URL to a server of your own"
    )]
    UnsupportedVersion {
        /// The versions found, with their folders.
        found: String,
    },
    /// The data are from a version that is not installed.
    #[error(
        "the data in {} belong to Postgres {data}, but only Postgres {found} is here; \
         install Postgres {data} (on Debian: apt-get install postgresql-{data}), \
         or choose another folder with --data",
        folder.display()
    )]
    OtherVersion {
        /// The major version of the data.
        data: u32,
        /// The versions found, with their folders.
        found: String,
        /// The folder with the data.
        folder: PathBuf,
    },
    /// No server is installed and the download failed.
    #[error(
        "no Postgres server is installed and Postgres {version} could not be downloaded; \
         install it (on Debian: apt-get install postgresql), or set DATABASE_URL to a server of your own"
    )]
    Download {
        /// The requested major version.
        version: u32,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something other than a data folder is in its place.
    #[error(
        "{} is not empty and not a Postgres data folder; move it away or choose another folder with --data",
        folder.display()
    )]
    NotData {
        /// The path of the data folder.
        folder: PathBuf,
    },
    /// The password file is missing although there are data.
    #[error(
        "the password of the Postgres data is missing: {} does not exist; \
         restore it from your backup, or choose another folder with --data",
        file.display()
    )]
    PasswordMissing {
        /// The expected path of the password file.
        file: PathBuf,
    },
    /// The server rejects the password in the file.
    #[error(
        "the Postgres server does not accept the password in {}; restore the file that belongs to the data",
        file.display()
    )]
    PasswordRejected {
        /// The password file.
        file: PathBuf,
    },
    /// `initdb` failed.
    #[error("cannot create the Postgres data folder; the output of initdb:\n{log}")]
    Initdb {
        /// The last lines it wrote.
        log: String,
    },
    /// The server ended before it was ready.
    #[error("the Postgres server did not start ({status}); the last lines of its log:\n{log}")]
    Start {
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The server runs but does not answer.
    #[error(
        "the Postgres server did not answer for {seconds} s; the last lines of its log:\n{log}"
    )]
    Silent {
        /// How long the start waited.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The server ended unexpectedly.
    #[error("the Postgres server ended unexpectedly ({status}); the last lines of its log:\n{log}")]
    Exited {
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The installation lacks extensions that the migrations need.
    #[error(
        "this Postgres lacks the extensions {names}; install its contrib modules \
         (on Debian they are part of postgresql-15 and later, elsewhere the package postgresql-contrib), \
         or set DATABASE_URL to a server that has them"
    )]
    MissingExtensions {
        /// The missing extensions.
        names: String,
    },
    /// The running server rejected a statement.
    #[error("cannot {what} on the embedded Postgres server")]
    Database {
        /// The failed action, after "cannot".
        what: &'static str,
        /// The server's error.
        source: sqlx::Error,
    },
    /// The server does not stop.
    #[error("the Postgres server (process {pid}) does not stop; end that process and try again")]
    StillRunning {
        /// The server's process id.
        pid: u32,
    },
}

impl Error {
    /// Creates an [`Error::Io`] from the failed action.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source,
        }
    }
}
