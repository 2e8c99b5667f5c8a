//! The connection to Postgres, and the migrations of its schema.

use std::{
    io,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use secrecy::{ExposeSecret as _, SecretString};
use sqlx::{
    Connection as _, Executor as _, PgConnection, PgPool,
    migrate::MigrateError,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::{metrics::METRICS, queue};

/// Our migrations, in the order of their file names.
pub static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// The key of the advisory lock that is held while migrating, so that processes that start together do not race. The
/// number is arbitrary.
const MIGRATION_LOCK: i64 = 0x6f70_622d_6d69_6772;

/// A process that hangs or loses its connection in the middle of a transaction must not keep its locks for ever:
/// Postgres ends its session after this time. None of our transactions is idle that long.
const SILENT_TRANSACTION: &str = "set idle_in_transaction_session_timeout = '10s'";

/// A replica refuses writes; a server that an operator wrongly configures as a replica must refuse them too.
const ONLY_READ: &str = "set default_transaction_read_only = on";

/// A connection that was used this recently is assumed to be alive, without a round trip.
const FRESH: Duration = Duration::from_millis(100);

/// Maximum time for connecting before the server counts as not responding.
const ANSWER_PATIENCE: Duration = Duration::from_secs(10);

/// How long to retry if connections are refused.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(2);

/// How long to retry while the server is starting, or has no free connection.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Maximum wait for a connection to a replica.
const REPLICA_PATIENCE: Duration = Duration::from_secs(1);

/// Opens a pool of at most `connections` connections and checks that the server responds.
/// Postgres and the metrics show `name`, so it must be one of a small fixed set.
///
/// # Errors
/// The URL does not parse, or the database cannot be used. The message names host, port and database, and the reason. A
/// wrong address, name or password is reported at once, a server that does not respond, or is still starting,
/// after ten seconds.
pub async fn connect(url: &SecretString, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    // The pool itself would only report a timeout, and retry a wrong host until then.
    knock(&options).await?;
    let pool = pool_options()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        .after_connect(|conn, _| {
            Box::pin(async { conn.execute(SILENT_TRANSACTION).await.map(drop) })
        })
        .connect_with(options.clone())
        .await
        .map_err(|error| cannot_use(&options, &reason(&options, &error)))?;
    METRICS.watch_pool(name, &pool);
    Ok(pool)
}

/// Connects once, with retries while the server is starting or refuses connections.
async fn knock(options: &PgConnectOptions) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        let connecting = PgConnection::connect_with(options);
        let error = match tokio::time::timeout(ANSWER_PATIENCE, connecting).await {
            Ok(Ok(conn)) => {
                // A clean close is optional.
                let _ = conn.close().await;
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => return Err(cannot_use(options, "does not answer")),
        };
        let patience = match &error {
            sqlx::Error::Io(cause) if cause.kind() == io::ErrorKind::ConnectionRefused => {
                REFUSAL_PATIENCE
            }
            // cannot_connect_now, too_many_connections
            sqlx::Error::Database(cause)
                if matches!(cause.code().as_deref(), Some("57P03" | "53300")) =>
            {
                START_PATIENCE
            }
            _ => Duration::ZERO,
        };
        if began.elapsed() >= patience {
            return Err(cannot_use(options, &reason(options, &error)));
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// An error that names the database and the reason, but never the password.
fn cannot_use(options: &PgConnectOptions, reason: &str) -> anyhow::Error {
    let place = match options.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", options.get_host(), options.get_port()),
    };
    let name = options.get_database().unwrap_or(options.get_username());
    anyhow::anyhow!("the database `{name}` at {place} cannot be used: {reason}")
}

/// Explains a failed connection to the operator.
fn reason(options: &PgConnectOptions, error: &sqlx::Error) -> String {
    let user = options.get_username();
    match error {
        sqlx::Error::Io(cause) => match cause.kind() {
            io::ErrorKind::ConnectionRefused => {
                "nothing listens there (connection refused); is the server started, and the port right?".to_owned()
            }
            io::ErrorKind::NotFound => "there is no such socket; is the server started?".to_owned(),
            io::ErrorKind::TimedOut => "does not answer".to_owned(),
            // Errors of the resolver have no kind of their own.
            _ if cause.to_string().contains("failed to lookup address") => {
                "the host name is not known".to_owned()
            }
            _ => cause.to_string(),
        },
        sqlx::Error::Database(cause) => match cause.code().as_deref() {
            Some("28P01") => format!("the password of the user `{user}` is wrong"),
            Some("28000") => format!("the user `{user}` may not connect: {}", cause.message()),
            Some("3D000") => "there is no database of this name; make it with createdb".to_owned(),
            _ => cause.message().to_owned(),
        },
        sqlx::Error::Tls(cause) => format!("no TLS connection: {cause}"),
        sqlx::Error::PoolTimedOut => "does not answer".to_owned(),
        other => other.to_string(),
    }
}

/// Options of a pool that checks connections before use, unless they were used recently.
fn pool_options() -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|conn, used| {
            Box::pin(async move {
                if used.idle_for > FRESH {
                    conn.ping().await?;
                }
                Ok(true)
            })
        })
}

/// A read-only pool for a replica. Its connections are opened on demand, and waiting for one fails after a second, so
/// that the caller can use the primary instead.
///
/// # Errors
/// The URL does not parse.
pub fn connect_replica(url: &SecretString, connections: u32, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    let pool = pool_options()
        .max_connections(connections)
        .acquire_timeout(REPLICA_PATIENCE)
        .after_connect(|conn, _| {
            Box::pin(async {
                conn.execute(SILENT_TRANSACTION).await?;
                conn.execute(ONLY_READ).await.map(drop)
            })
        })
        .connect_lazy_with(options);
    METRICS.watch_pool(name, &pool);
    Ok(pool)
}

/// A pool of one connection, opened on demand, for uses that need a session of their own.
///
/// # Errors
/// The URL does not parse.
pub fn connect_lazily(url: &SecretString, name: &str) -> anyhow::Result<PgPool> {
    let options = parse(url)?.application_name(name);
    Ok(PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options))
}

fn parse(url: &SecretString) -> anyhow::Result<PgConnectOptions> {
    url.expose_secret()
        .parse()
        // The parser's message may quote the URL with its password.
        .map_err(|_| anyhow::anyhow!("the database address is not a valid postgres:// URL"))
}

/// Migrates the schema of the queue and our own. Safe to run in many processes at once.
///
/// # Errors
/// A migration fails, or the database was created by another version of the program.
pub async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    // The lock has its own connection, because apalis migrates through the pool.
    let mut conn = PgConnection::connect_with(&pool.connect_options()).await?;
    sqlx::query_scalar!(
        r#"-- database::migrate
        select pg_advisory_lock($1) is null as "locked""#,
        MIGRATION_LOCK
    )
    .fetch_one(&mut conn)
    .await?;
    let migrated = async {
        queue::migrate(pool).await?;
        // A statement that waits for a lock blocks every later one: it is better to fail and be run again.
        conn.execute("set lock_timeout = '10s'").await?;
        match MIGRATIONS.run(&mut conn).await {
            Err(MigrateError::VersionMissing(version) | MigrateError::VersionMismatch(version)) => {
                Err(made_by_another_version(version))
            }
            migrated => migrated
                .context("could not migrate the schema; run it again if it could not get a lock"),
        }
    }
    .await;
    conn.close().await?;
    migrated
}

/// The error for a database with a migration that this program does not know, or knows with other content.
fn made_by_another_version(migration: i64) -> anyhow::Error {
    anyhow::anyhow!(
        "the database was made by another version of OpenPromptBank, whose migration {migration} this program does not know; \
         run that version or a newer one, or begin with an empty database: another data folder (--data) or another --database-url"
    )
}

/// Checks what [`migrate`] would refuse, a database of another version of the program, without changing anything.
///
/// # Errors
/// The database was created by another version, or does not respond.
pub async fn require_own_version(pool: &PgPool) -> anyhow::Result<()> {
    let conn = pool.acquire().await;
    let mut conn = conn.context("the database does not answer")?;
    // Not a checked query, for the same reason as in `is_migrated`; the table may also be missing.
    let applied = sqlx::query_as::<_, (i64, Vec<u8>)>(
        "select version, checksum from _sqlx_migrations where success order by version",
    );
    let applied = match applied.fetch_all(&mut *conn).await {
        Ok(applied) => applied,
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => {
            return Ok(());
        }
        Err(error) => return Err(error).context("could not read the migrations of the database"),
    };
    let is_ours = |version: i64, checksum: &[u8]| {
        let mut ours = MIGRATIONS.iter();
        ours.any(|ours| ours.version == version && *ours.checksum == *checksum)
    };
    match applied
        .iter()
        .find(|(version, checksum)| !is_ours(*version, checksum))
    {
        Some((version, _)) => Err(made_by_another_version(*version)),
        None => Ok(()),
    }
}

/// True if every migration of this program is applied; a newer program may have applied more.
///
/// # Errors
/// The database does not respond.
pub async fn is_migrated(conn: &mut PgConnection) -> crate::Result<bool> {
    let ours: Vec<i64> = MIGRATIONS
        .iter()
        .map(|migration| migration.version)
        .collect();
    let known = sqlx::query_scalar!(
        r#"-- database::is_migrated
        select to_regclass('public._sqlx_migrations') is not null as "known!""#
    )
    .fetch_one(&mut *conn)
    .await?;
    if !known {
        return Ok(false);
    }
    // Not a checked query: the table belongs to sqlx and does not exist while queries are checked.
    let missing: bool = sqlx::query_scalar(
        "select exists (select from unnest($1::bigint[]) as ours (version)
                        where not exists (select from _sqlx_migrations
                                          where _sqlx_migrations.version = ours.version and success))",
    )
    .bind(&ours)
    .fetch_one(conn)
    .await?;
    Ok(!missing)
}

/// Refuses a database whose schema is older than this program.
///
/// # Errors
/// The schema is older; the message says how to fix it.
pub async fn require_migrated(pool: &PgPool) -> anyhow::Result<()> {
    let mut conn = pool
        .acquire()
        .await
        .context("the database does not answer")?;
    anyhow::ensure!(
        is_migrated(&mut conn).await?,
        "the database is not migrated; run: opb migrate"
    );
    Ok(())
}
