//! Waits until the server answers, and creates its roles and its database.

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, raw_sql};
use tokio::time::{Instant, sleep, timeout};
use tracing::info;

use super::account::Account;
use super::folder::{Folder, Login, create_password};
use super::server::Server;
use super::{Error, roles};

/// The extensions that the migrations create.
const EXTENSIONS: [&str; 3] = ["hstore", "pg_trgm", "pgcrypto"];

/// Timeout of one attempt to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The pause between two attempts to connect.
const PAUSE: Duration = Duration::from_millis(25);

/// A server that is starting, and how long to wait for it.
struct Waiting<'a> {
    server: &'a Server,
    folder: &'a Folder,
    silence: Duration,
    log_start: u64,
}

/// Waits until the server answers, checks its extensions, and creates the roles and the database `opb` if they are
/// missing.
///
/// Gives up when the server ends, or is silent for `silence`. `log_start` is the offset of this start in the log.
pub async fn prepare_database(
    server: &Server,
    folder: &Folder,
    account: &Account,
    silence: Duration,
    log_start: u64,
) -> Result<(), Error> {
    let start = Waiting {
        server,
        folder,
        silence,
        log_start,
    };
    let bank = folder.bank()?;
    let mut admin = connect_admin(&start, account, &bank).await?;
    require_extensions(&mut admin).await?;
    roles::ensure(&mut admin, &bank).await?;
    create_database(&mut admin).await?;
    admin
        .close()
        .await
        .map_err(database("close a connection"))?;
    let mut admin = connect(&start, &folder.admin()?, "opb").await?;
    roles::give_all(&mut admin).await?;
    admin
        .close()
        .await
        .map_err(database("close a connection"))?;
    let bank = connect(&start, &bank, "opb").await?;
    bank.close().await.map_err(database("close a connection"))
}

/// Connects as the superuser, which is created first if an older opb has created the data.
async fn connect_admin(
    start: &Waiting<'_>,
    account: &Account,
    bank: &Login,
) -> Result<PgConnection, Error> {
    let file = start.folder.admin_password_file();
    if file.exists() {
        let admin = connect(start, &start.folder.admin()?, "postgres").await;
        if !matches!(admin, Err(Error::PasswordRejected { .. })) {
            return admin;
        }
    }
    // Data of an older opb, or an interrupted conversion.
    let mut old = connect(start, bank, "postgres").await?;
    if !roles::is_superuser(&mut old).await? {
        return Err(if file.exists() {
            Error::PasswordRejected { file }
        } else {
            Error::PasswordMissing { file }
        });
    }
    create_password(&file, account)?;
    let admin = start.folder.admin()?;
    let port = start.server.port;
    let connect_as = async |login: &Login| {
        PgConnection::connect(login.url(port, "postgres").expose_secret()).await
    };
    roles::convert(old, bank, &admin, connect_as).await?;
    connect(start, &admin, "postgres").await
}

async fn connect(start: &Waiting<'_>, login: &Login, to: &str) -> Result<PgConnection, Error> {
    let Waiting {
        server,
        folder,
        silence,
        log_start,
    } = *start;
    let url = login.url(server.port, to);
    let options: PgConnectOptions = url
        .expose_secret()
        .parse()
        .map_err(database("read the address"))?;
    let log = || folder.log().tail(log_start);
    let mut deadline = Instant::now() + silence;
    let mut is_recovering = false;
    loop {
        let attempt = tokio::select! {
            biased;
            status = server.exited() => return Err(Error::Start { status, log: log() }),
            attempt = timeout(CONNECT_TIMEOUT, PgConnection::connect_with(&options)) => attempt,
        };
        match attempt.map(|result| result.map_err(|error| (code(&error), error))) {
            Ok(Ok(conn)) => return Ok(conn),
            // After a crash the server recovers, which can take minutes and must not be interrupted.
            Ok(Err((Some(code), _))) if code == "57P03" => {
                if !is_recovering {
                    info!("the Postgres server is starting up");
                }
                is_recovering = true;
                deadline = Instant::now() + silence;
            }
            Ok(Err((Some(code), _))) if code == "28P01" => {
                // Unless another server took the port first: then our own server is about to end.
                let status = timeout(CONNECT_TIMEOUT, server.exited()).await;
                let rejected = |_| Error::PasswordRejected {
                    file: login.file.clone(),
                };
                let status = status.map_err(rejected)?;
                return Err(Error::Start { status, log: log() });
            }
            _ if Instant::now() >= deadline => {
                return Err(Error::Silent {
                    seconds: silence.as_secs(),
                    log: log(),
                });
            }
            _ => {}
        }
        sleep(PAUSE).await;
    }
}

/// Queries about the server itself, before there is a schema, so they cannot be checked at compile time.
async fn require_extensions(conn: &mut PgConnection) -> Result<(), Error> {
    let statement = "
        -- readiness::require_extensions
        select name::text
        from pg_available_extensions
        where name = any($1)";
    let available: Vec<String> = sqlx::query_scalar(statement)
        .bind(EXTENSIONS)
        .fetch_all(conn)
        .await
        .map_err(database("list the extensions"))?;
    let missing: Vec<&str> = EXTENSIONS
        .into_iter()
        .filter(|name| !available.iter().any(|known| known == name))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Error::MissingExtensions {
            names: missing.join(" and "),
        })
    }
}

async fn create_database(conn: &mut PgConnection) -> Result<(), Error> {
    let statement = "
        -- readiness::create_database
        select exists (select from pg_database where datname = 'opb')";
    let exists: bool = sqlx::query_scalar(statement)
        .fetch_one(&mut *conn)
        .await
        .map_err(database("look for the database opb"))?;
    if exists {
        return Ok(());
    }
    raw_sql("create database opb owner opb")
        .execute(conn)
        .await
        .map_err(database("create the database opb"))?;
    Ok(())
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

fn database(what: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
    move |source| Error::Database { what, source }
}
