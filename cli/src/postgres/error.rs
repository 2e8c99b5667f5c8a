//! What can go wrong with the embedded Postgres, and how its owner mends it.

use std::path::PathBuf;

/// Why the embedded Postgres does not run; each message says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or a process could not be handled.
    #[error("cannot {what}")]
    Io {
        /// What was tried, as in "cannot …".
        what: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The folder belongs to a running `opb`.
    #[error(
        "another opb (process {process}) already uses {}; stop it or choose another folder with --data",
        folder.display()
    )]
    Locked {
        /// The other process, as it wrote itself down.
        process: String,
        /// The folder in use.
        folder: PathBuf,
    },
    /// The lock is held by a process that is no opb of this user.
    #[error(
        "process {process} of the user {user} holds {}, which only an opb of your own should; \
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
    /// The server's user may not enter the folder.
    #[error(
        "Postgres refuses to run as root, and the user `{user}`, as which it runs instead, cannot enter {}; \
         choose another folder with --data, for example /var/lib/openpromptbank",
        folder.display()
    )]
    NoEntry {
        /// The user as whom the server would run.
        user: String,
        /// The folder that is closed to that user.
        folder: PathBuf,
    },
    /// Root has nobody to run the server as.
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
        /// The versions found and where.
        found: String,
    },
    /// The data belong to a version that is not installed.
    #[error(
        "the data in {} belong to Postgres {data}, but only Postgres {found} is here; \
         install Postgres {data} (on Debian: apt-get install postgresql-{data}), \
         or choose another folder with --data",
        folder.display()
    )]
    OtherVersion {
        /// The major version of the data.
        data: u32,
        /// The versions found and where.
        found: String,
        /// The folder with the data.
        folder: PathBuf,
    },
    /// No server is installed and none could be fetched.
    #[error(
        "no Postgres server is installed and Postgres {version} could not be downloaded; \
         install it (on Debian: apt-get install postgresql), or set DATABASE_URL to a server of your own"
    )]
    Download {
        /// The major version asked for.
        version: u32,
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Something that is no data folder stands in its place.
    #[error(
        "{} is not empty and not a Postgres data folder; move it away or choose another folder with --data",
        folder.display()
    )]
    NotData {
        /// The folder in the way.
        folder: PathBuf,
    },
    /// The password file is gone while the data are there.
    #[error(
        "the password of the Postgres data is missing: {} does not exist; \
         restore it from your backup, or choose another folder with --data",
        file.display()
    )]
    PasswordMissing {
        /// Where the password belongs.
        file: PathBuf,
    },
    /// The server does not take the password from the file.
    #[error(
        "the Postgres server does not accept the password in {}; restore the file that belongs to the data",
        file.display()
    )]
    PasswordRejected {
        /// Where the password was read.
        file: PathBuf,
    },
    /// `initdb` failed.
    #[error("cannot make the Postgres data folder; initdb said:\n{log}")]
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
    /// The server runs and does not answer.
    #[error(
        "the Postgres server did not answer for {seconds} s; the last lines of its log:\n{log}"
    )]
    Silent {
        /// How long it was waited for.
        seconds: u64,
        /// The last lines of its log.
        log: String,
    },
    /// The server ended although nobody asked it to.
    #[error("the Postgres server ended unexpectedly ({status}); the last lines of its log:\n{log}")]
    Exited {
        /// How it ended.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// The installation lacks extensions that the queue needs.
    #[error(
        "this Postgres lacks the extensions {names}; install its contrib modules \
         (on Debian they are part of postgresql-15 and later, elsewhere the package postgresql-contrib), \
         or set DATABASE_URL to a server that has them"
    )]
    MissingExtensions {
        /// The missing extensions.
        names: String,
    },
    /// The running server refused a statement.
    #[error("cannot {what} on the embedded Postgres server")]
    Database {
        /// What was tried, as in "cannot …".
        what: &'static str,
        /// The server's answer.
        source: sqlx::Error,
    },
    /// A server does not end.
    #[error("the Postgres server (process {pid}) does not stop; end that process and try again")]
    StillRunning {
        /// The server's process id.
        pid: u32,
    },
}

impl Error {
    /// Makes an [`Error::Io`] from what was tried.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            what: what.into(),
            source,
        }
    }
}
